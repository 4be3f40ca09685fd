"""One generation: what an AI provider is given for it, and its whole answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

from roomkit._dataclasses import dataclass

if TYPE_CHECKING:
    from pydantic import BaseModel

    from roomkit.models.ai import AIMessage, AIThinkingPart, AITool, AIToolCall
    from roomkit.models.channel import ChannelCapabilities
    from roomkit.models.context import RoomContext
    from roomkit.models.enums import ChannelMediaType
    from roomkit.models.task import Observation, Task

__all__ = ["AIContext", "AIResponse", "OwnCalls", "ResponseSchema"]

type ResponseSchema = type[BaseModel] | Mapping[str, Any]
"""The shape of an answer: a pydantic model, or a JSON Schema of type object."""


class OwnCalls(Protocol):
    """Runs the calls that a provider makes of tools of its own, such as an agent's, as a room runs all calls.

    The tool policy and the gates before tools judge them, observers see them, and the deadline of tools ends
    them.
    """

    async def run(
        self,
        call_id: str,
        name: str,
        arguments: Mapping[str, Any],
        work: Callable[[dict[str, Any]], Awaitable[object]],
    ) -> object:
        """Return what `work(arguments)` returns, with the arguments as gates left them.

        For a call that is refused or late, a text for the model that says why. Raises what `work` raises.
        """


@dataclass(slots=True, kw_only=True)
class AIContext:
    """Everything handed to a provider for one generation.

    None for `temperature`, `max_tokens`, `thinking_budget`, `reasoning_effort`, `tool_choice`
    leaves the provider's own configuration in force. `tool_choice` is `auto`, `none`, `required`
    or a tool's name. With a `response_schema` the answer is JSON that fits it, instead of prose.
    `trace_parent` is the place of this request in a trace (W3C Trace Context), where telemetry is on.
    `own_calls` is for providers that have `runs_tools`; None outside of a turn.
    """

    messages: list[AIMessage] = field(default_factory=list)
    system_prompt: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    thinking_budget: int | None = None
    reasoning_effort: str | None = None
    stop: tuple[str, ...] = ()
    tools: list[AITool] = field(default_factory=list)
    tool_choice: str | None = None
    response_schema: ResponseSchema | None = None
    room: RoomContext | None = None
    target_capabilities: ChannelCapabilities | None = None
    target_media_types: tuple[ChannelMediaType, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    trace_parent: str | None = None
    own_calls: OwnCalls | None = None


@dataclass(slots=True, kw_only=True)
class AIResponse:
    """A provider's whole answer.

    `finish_reason` is one of `FINISH_REASONS` of `roomkit.models.ai`, `usage` has its `USAGE_KEYS`.
    `thinking_parts` keeps every reasoning block as it came, for replay; `thinking` is their text.
    `parsed` is the answer to a context with a `response_schema`, checked: an instance of the model, or the
    JSON value. It is None without one, and while the model calls tools.
    """

    content: str
    thinking: str | None = None
    thinking_signature: str | None = None
    thinking_parts: list[AIThinkingPart] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    tool_calls: list[AIToolCall] = field(default_factory=list)
    parsed: Any = None
