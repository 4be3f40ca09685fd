"""From an `AIContext` to Pydantic AI's messages, tools and settings.

https://pydantic.dev/docs/ai/api/messages (Nov 2026). No network; the library is imported at the first call.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit.authoring.conversation import conversation, labelled, parts_of
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.models.generation import AIContext
from roomkit_plugins.pydantic_ai.config import PydanticAIConfig
from roomkit_plugins.pydantic_ai.errors import ORIGIN
from roomkit_plugins.wire.structured import answer_name, answer_schema
from roomkit_plugins.wire.tools import CallIds, ToolNames, object_schema, tool_choice

if TYPE_CHECKING:
    from pydantic_ai import messages
    from pydantic_ai.tools import ToolDefinition

__all__ = ["Asked", "asked", "kept"]

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_IDS = CallIds(r"[a-zA-Z0-9_-]{1,40}")
_LONGEST_NAME = 64
_OPENING = "(The conversation begins with the assistant's message.)"
_KEPT = ("id", "signature", "provider_name", "provider_details")
"""Opaque fields of a part, to be sent back to the provider that gave them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in Pydantic AI's words, with the facts needed to read the answer."""

    system: str
    messages: list[messages.ModelMessage]
    """Without the system prompt, which a model and an agent take in different places."""
    tools: list[ToolDefinition]
    settings: dict[str, Any]
    names: ToolNames
    call_ids: frozenset[str]
    """The ids of tool calls the conversation has; a new call gets none of these."""
    shape: dict[str, Any] | None = None
    """The JSON Schema of the answer, if it has one, and its name."""
    shape_name: str = ""


def asked(config: PydanticAIConfig, context: AIContext) -> Asked:
    """Write the request. Raises ProviderError for a conversation that no model takes."""
    names = ToolNames(_LONGEST_NAME, letter_first=True)
    checked = conversation(
        context,
        ORIGIN.provider,
        vision=config.vision,
        is_mute=_is_foreign_thought,
        image_problem=_image_problem,
    )
    tools = [_tool(tool, names) for tool in context.tools]
    written = _messages(checked.messages, names)
    settings = _settings(config, context, names)
    shape = answer_schema(context, ORIGIN)
    shape_name = answer_name(context) if shape is not None else ""
    return Asked(checked.system, written, tools, settings, names, checked.call_ids, shape, shape_name)


def kept(part: object) -> dict[str, Any]:
    """Return the opaque fields of a part that has any, to be sent back."""
    fields = {name: getattr(part, name, None) for name in _KEPT}
    return {name: value for name, value in fields.items() if value is not None}


def _settings(config: PydanticAIConfig, context: AIContext, names: ToolNames) -> dict[str, Any]:
    choice = tool_choice(context, names, ORIGIN)
    optional = {
        "max_tokens": context.max_tokens or config.max_tokens,
        "temperature": config.temperature if context.temperature is None else context.temperature,
        "stop_sequences": list(context.stop) or None,
        "tool_choice": choice if choice in (None, "auto", "none", "required") else [choice],
        "thinking": _thinking(context),
        "timeout": config.timeout,
        "max_retries": 0,
    }
    return {**config.settings, **{name: value for name, value in optional.items() if value is not None}}


def _thinking(context: AIContext) -> str | bool | None:
    """Return how to think, in Pydantic AI's words for every vendor."""
    effort, budget = context.reasoning_effort, context.thinking_budget
    if effort is not None and effort not in _EFFORTS:
        raise ORIGIN.refused(f"there is no reasoning_effort {effort!r}; use one of {', '.join(_EFFORTS)}")
    if effort is None and budget is not None:
        steps = ((0, "none"), (2_048, "low"), (8_192, "medium"), (24_576, "high"))
        effort = next((effort for limit, effort in steps if budget <= limit), "xhigh")
    return False if effort == "none" else effort


def _tool(tool: AITool, names: ToolNames) -> ToolDefinition:
    from pydantic_ai.tools import ToolDefinition

    return ToolDefinition(
        name=names.to_wire(tool.name),
        description=tool.description or None,
        # Plain, because the library rewrites schemas for each vendor.
        parameters_json_schema=json.loads(json.dumps(object_schema(tool, ORIGIN))),
    )


def _messages(said: tuple[AIMessage, ...], names: ToolNames) -> list[messages.ModelMessage]:
    """Write the messages, one for each turn of a side."""
    from pydantic_ai.messages import ModelRequest, ModelResponse, UserPromptPart

    turns: list[messages.ModelMessage] = []
    called: dict[str, str] = {}  # bound: one conversation
    for message in said:
        parts = parts_of(message)
        called |= {part.id: part.name for part in parts if isinstance(part, AIToolCallPart)}
        if message.role == "assistant":
            if not turns:
                turns.append(ModelRequest(parts=[UserPromptPart(_OPENING)]))
            answer = list(_answer(parts, names))
            last = turns[-1]
            if isinstance(last, ModelResponse):
                turns[-1] = ModelResponse(parts=[*last.parts, *answer])
            else:
                turns.append(ModelResponse(parts=answer))
        else:
            request = list(_request(message, names, called))
            before = turns[-1] if turns else None
            if isinstance(before, ModelRequest):
                turns[-1] = ModelRequest(parts=[*before.parts, *request])
            else:
                turns.append(ModelRequest(parts=request))
    return turns


def _answer(parts: tuple[AIPart, ...], names: ToolNames) -> Iterator[messages.ModelResponsePart]:
    from pydantic_ai.messages import TextPart, ThinkingPart, ToolCallPart

    for part in parts:
        match part:
            case AITextPart(text=text):
                yield TextPart(text)
            case AIThinkingPart():
                yield ThinkingPart(part.thinking, **_own(part.signature))
            case AIToolCallPart():
                opaque = part.metadata.get("pydantic_ai")
                yield ToolCallPart(
                    names.to_wire(part.name),
                    json.loads(json.dumps(part.arguments)),
                    _IDS.to_wire(part.id),
                    **(dict(opaque) if isinstance(opaque, dict) else {}),
                )


def _request(
    message: AIMessage, names: ToolNames, called: dict[str, str]
) -> Iterator[messages.ModelRequestPart]:
    from pydantic_ai.messages import ToolReturnPart, UserPromptPart

    said: list[messages.UserContent] = []
    for part in labelled(message) if message.role == "user" else parts_of(message):
        match part:
            case AIToolResultPart():
                yield ToolReturnPart(
                    names.to_wire(called[part.tool_call_id]),
                    f"Error: {part.result}" if part.is_error else part.result,
                    _IDS.to_wire(part.tool_call_id),
                    outcome="failed" if part.is_error else "success",
                )
            case AITextPart(text=text):
                said.append(text)
            case AIImagePart():
                said.append(_image(part))
    if said:
        yield UserPromptPart(said[0] if len(said) == 1 and isinstance(said[0], str) else said)


def _own(signature: str | None) -> dict[str, Any]:
    """Return the opaque fields that the signature of one of Pydantic AI's thoughts holds; none of another."""
    try:
        held = json.loads(signature or "")
    except ValueError:
        return {}
    fields = held.get("pydantic_ai") if isinstance(held, dict) else None
    if not isinstance(fields, dict):
        return {}
    return {name: value for name, value in fields.items() if name in _KEPT}


def _is_foreign_thought(part: AIPart) -> bool:
    """Whether it is a thought that did not come from here: it says nothing to this model."""
    return isinstance(part, AIThinkingPart) and not _own(part.signature)


def _image_problem(part: AIImagePart) -> str | None:
    """Return why an image cannot be sent, None when it can; the model's library decides on formats."""
    if part.is_fetched:
        return None
    inline = part.inline
    if inline is None or not inline.media_type.startswith("image/") or not _is_base64(inline.data):
        return f"an image is given as {part.url[:40]!r}; use an http(s) URL, or data:image/... with base64"
    return None


def _is_base64(data: str) -> bool:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _image(part: AIImagePart) -> messages.UserContent:
    from pydantic_ai.messages import BinaryContent, ImageUrl

    inline = part.inline
    if inline is None:
        return ImageUrl(part.url, media_type=part.mime_type)
    return BinaryContent(base64.b64decode(inline.data), media_type=inline.media_type)
