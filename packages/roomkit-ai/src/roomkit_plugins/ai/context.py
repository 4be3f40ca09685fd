"""The model's request at the start of a turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.models.ai import AIMessage
from roomkit.models.context import RoomContext
from roomkit.models.generation import AIContext
from roomkit.models.room import AIConfig
from roomkit_plugins.ai.history import history_of
from roomkit_plugins.ai.limits import audience, common_capabilities, limits_line
from roomkit_plugins.ai.shape import well_formed

if TYPE_CHECKING:
    from roomkit.abc.memory import MemoryResult
    from roomkit.models.ai import AITool
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.generation import ResponseSchema
    from roomkit_plugins.ai.transcript import Transcript

__all__ = ["FirstMessages", "conversation", "first_request", "settings_for", "system_texts", "view_for"]

FIELDS = ("system_prompt", "temperature", "max_tokens", "thinking_budget", "response_schema", "tools")


def settings_for(
    defaults: AIConfig, room: AIConfig | None, binding: ChannelBinding
) -> tuple[AIConfig, Sequence[AITool] | None]:
    """Return the settings in force, and the tools that take the place of the agent's own, if any.

    Field by field the binding's metadata comes first, then the room, then the agent's defaults.
    None leaves a field to the next; an empty text or list does not. Raises InvalidInputError for
    metadata that does not fit a setting.
    """
    own = {key: binding.metadata[key] for key in FIELDS if binding.metadata.get(key) is not None}
    if not own and room is None:
        return defaults, None
    chosen = _checked(own, binding)
    tools = chosen.tools if "tools" in own else (room.tools if room else ()) or None
    layers = [layer for layer in (chosen, room, defaults) if layer is not None]
    merged = {
        field: next((value for one in layers if (value := getattr(one, field)) is not None), None)
        for field in FIELDS[:-1]
    }
    return defaults.replace(**merged), tools


def view_for(binding: ChannelBinding, context: RoomContext) -> RoomContext:
    """Return the room as the agent may see it."""
    reader = context.reader
    if reader is not None and reader.channel_id == binding.channel_id:
        return context
    return RoomContext(
        lambda: context.room,
        lambda: context.bindings,
        lambda: context.participants,
        lambda: context.recent_events,
        reader=binding,
        delivery=context.delivery,
    )


class FirstMessages(NamedTuple):
    """The first messages of a turn, none when there is nothing to answer.

    `is_legal` says that they are known to have the shape that vendors ask for.
    """

    messages: list[AIMessage]
    is_legal: bool = False


def conversation(
    event: RoomEvent,
    binding: ChannelBinding,
    room: RoomContext,
    memory: MemoryResult,
    transcript: Transcript,
) -> FirstMessages:
    """Return the remembered history, then `event`; nothing if that says nothing a model could answer.

    The agent may see the event. Every other message is from an event that it may see, or from its memory.
    """
    said = transcript.messages((*history_of(memory.events, event, binding), event), room)
    if said[-1] is None:
        return FirstMessages([])
    remembered = [message for message in memory.messages if message.role != "system"]
    return FirstMessages([*remembered, *filter(None, said)], not remembered and transcript.is_legal)


def first_request(
    first: FirstMessages,
    event: RoomEvent,
    binding: ChannelBinding,
    room: RoomContext,
    *,
    settings: AIConfig,
    tools: list[AITool],
    instructions: Iterable[str],
    response_schema: ResponseSchema | None = None,
) -> AIContext:
    """Return the request a turn begins with; `instructions` follow the system prompt."""
    capabilities = common_capabilities(audience(room.bindings, event, binding))
    prompt = [settings.system_prompt, *instructions, limits_line(capabilities)]
    return AIContext(
        messages=[*first.messages] if first.is_legal else well_formed(first.messages),
        system_prompt="\n\n".join(filter(None, prompt)) or None,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        thinking_budget=settings.thinking_budget,
        tools=tools,
        response_schema=response_schema,
        room=room,
        target_capabilities=capabilities,
        target_media_types=capabilities.media_types if capabilities else (),
    )


def system_texts(messages: Iterable[AIMessage]) -> list[str]:
    """Return what a memory says as `system`: it goes to the prompt, which every vendor has."""
    return [one.content for one in messages if one.role == "system" and isinstance(one.content, str)]


def _checked(settings: dict[str, object], binding: ChannelBinding) -> AIConfig:
    try:
        return AIConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInputError(
            f"the metadata of the binding of {binding.channel_id!r} in room {binding.room_id!r} is no "
            f"AI setting: {place}: {first['msg']}; correct it with update_binding_metadata"
        ) from error
