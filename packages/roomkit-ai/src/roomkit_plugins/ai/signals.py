"""Reports of a turn: observers, ephemeral events, spans. Nothing here can fail a turn.

Tool arguments, results and reasoning may hold what no end user may read. So the ephemeral events
have the visibility `internal`: a subscriber that names a channel never gets them, an operator's
view, which names none, does.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.log import get_logger
from roomkit.models.ai import AIThinkingPart
from roomkit.models.base import FrozenDict, FrozenList, new_id
from roomkit.models.enums import EphemeralEventType, HookTrigger
from roomkit.models.realtime import EphemeralEvent
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.values import repaired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from roomkit.abc.ai import AIProvider
    from roomkit.abc.services import Services
    from roomkit.models.tool import ToolUse

__all__ = ["Signals"]

logger = get_logger("roomkit.ai")

_USAGE = {
    "input_tokens": Attr.LLM_INPUT_TOKENS,
    "output_tokens": Attr.LLM_OUTPUT_TOKENS,
    "cache_read_input_tokens": Attr.LLM_CACHE_READ_TOKENS,
    "cache_creation_input_tokens": Attr.LLM_CACHE_CREATION_TOKENS,
    "reasoning_tokens": Attr.LLM_REASONING_TOKENS,
}
RESULT_PREVIEW = 500
THINKING_PREVIEW = 1000


class Signals:
    """Reports one turn of one agent in one room; a no-op without services."""

    __slots__ = ("_channel_id", "_loop_id", "_request", "_room_id", "_services", "deferred", "round")

    def __init__(self, services: Services | None, *, room_id: str, channel_id: str, loop_id: str) -> None:
        self._services = services
        self._room_id = room_id
        self._channel_id = channel_id
        self._loop_id = loop_id
        self._request: str | None = None
        self.round = 0
        self.deferred: list[Callable[[], Awaitable[None]]] | None = None  # bound: the turn's
        """Where reports are kept while the turn may not be noticed; spans are made all the same."""

    async def tool_started(self, use: ToolUse) -> None:
        """Report that a call which passed every gate starts."""
        if not self._is_seen:
            return
        call = FrozenDict(id=use.call_id, name=use.name, arguments=use.arguments)
        await self._publish(EphemeralEventType.TOOL_CALL_START, {"tool_calls": FrozenList([call])})

    async def tool_ended(self, use: ToolUse) -> None:
        """Report the outcome of a call, run or refused."""
        if self._is_seen:
            await self._publish(EphemeralEventType.TOOL_CALL_END, _outcome_of(use))
        await self._observe(HookTrigger.ON_TOOL_CALL, use)

    async def thinking_started(self) -> None:
        """Report that the model starts to reason."""
        if self._is_seen:
            await self._publish(EphemeralEventType.THINKING_START, {})

    async def thinking_ended(self, thought: AIThinkingPart) -> None:
        """Report the model's reasoning; not for a redacted block, which has no text."""
        if self._is_seen:
            preview = thought.thinking[:THINKING_PREVIEW]
            details = {"thinking": preview, "thinking_length": len(thought.thinking)}
            await self._publish(EphemeralEventType.THINKING_END, details)
        if thought.thinking:
            await self._observe(HookTrigger.ON_AI_THINKING, thought)

    def generation_started(self, provider: AIProvider, *, tools: int, streaming: bool) -> str | None:
        """Open the span of one request to a model; None without telemetry."""
        if not self._traced:
            return None
        attributes = {
            Attr.PROVIDER: provider.name,
            Attr.MODEL: provider.model_name,
            Attr.LLM_STREAMING: streaming,
            Attr.LLM_TOOL_COUNT: tools,
        }
        self._request = self._open(SpanKind.LLM_GENERATE, SpanKind.LLM_GENERATE.value, attributes)
        return self._request

    def trace_parent(self, span: str) -> str | None:
        """Return the place below the span of a request, for what the provider has done elsewhere."""
        return None if self._services is None else self._services.telemetry.trace_parent(span)

    def generation_ended(self, span: str | None, usage: Mapping[str, int], error: str | None) -> None:
        """Close the span of one request, with the tokens it took."""
        if span is not None:
            known = {attribute: usage[key] for key, attribute in _USAGE.items() if key in usage}
            self._close(span, known, error)

    def first_token(self, span: str | None, milliseconds: float) -> None:
        """Record how long a model took to say anything."""
        if self._services is not None and span is not None:
            telemetry = self._services.telemetry
            telemetry.set_attribute(span, Attr.TTFB_MS, milliseconds)
            telemetry.record_metric("roomkit.llm.ttfb_ms", milliseconds, unit="ms")

    def tool_opened(self, use: ToolUse) -> str | None:
        """Open the span of one call, below the request that the model made it in; None without telemetry."""
        if not self._traced:
            return None
        attributes = {Attr.LLM_TOOL_NAME: use.name, Attr.LLM_TOOL_CALL_ID: use.call_id}
        return self._open(SpanKind.LLM_TOOL_CALL, f"tool.{use.name}", attributes, self._request)

    def tool_closed(self, span: str | None, milliseconds: float, error: str | None) -> None:
        """Close the span of one call."""
        if span is None:
            return
        self._close(span, {Attr.DURATION_MS: milliseconds}, error)

    @property
    def _is_seen(self) -> bool:
        """Whether a subscriber may see the turn's events: now, or once the turn may be noticed."""
        services = self._services
        if services is None or self.deferred is not None:
            return services is not None
        try:
            return services.realtime.has_subscribers_in_room(self._room_id)
        except Exception:  # noqa: BLE001  # a foreign backend may raise anything: it may have subscribers
            return True

    @property
    def _traced(self) -> bool:
        return self._services is not None and self._services.telemetry.enabled

    def _open(
        self, kind: SpanKind, name: str, attributes: Mapping[str, Any], parent_id: str | None = None
    ) -> str | None:
        services = self._services
        return (
            None
            if services is None
            else services.telemetry.start_span(
                kind,
                name,
                parent_id=parent_id,
                attributes=attributes,
                room_id=self._room_id,
                channel_id=self._channel_id,
            )
        )

    def _close(self, span: str | None, attributes: Mapping[str, Any], error: str | None) -> None:
        if self._services is not None and span is not None:
            status = "error" if error else "ok"
            self._services.telemetry.end_span(span, status=status, error_message=error, attributes=attributes)

    async def _publish(self, kind: EphemeralEventType, data: dict[str, Any]) -> None:
        services = self._services
        if services is None:
            return
        if self.deferred is not None:
            self.deferred.append(partial(self._publish, kind, data))
            return
        try:
            event = EphemeralEvent.trusted(
                {
                    "room_id": self._room_id,
                    "type": kind,
                    "user_id": self._channel_id,
                    "id": new_id(),
                    "channel_id": self._channel_id,
                    "visibility": "internal",
                    "data": self._details(data),
                    "timestamp": services.clock.now(),
                }
            )
            await services.realtime.publish_to_room(self._room_id, event)
        except Exception as error:  # noqa: BLE001 - a signal that is lost must not cost the answer
            logger.warning("%s was not published: %s", kind, type(error).__name__)

    def _details(self, data: Mapping[str, Any]) -> FrozenDict:
        own = {"round": self.round, "channel_id": self._channel_id, "loop_id": self._loop_id}
        return FrozenDict({**data, **own})

    async def _observe(self, trigger: HookTrigger, payload: object) -> None:
        if self.deferred is not None:
            self.deferred.append(partial(self._observe, trigger, payload))
        elif self._services is not None:
            await self._services.turns.observe(
                trigger, payload, room_id=self._room_id, channel_id=self._channel_id
            )


def _outcome_of(use: ToolUse) -> dict[str, Any]:
    result = FrozenDict(
        id=use.call_id,
        name=use.name,
        result=repaired((use.result or "")[:RESULT_PREVIEW], keep_nul=True),
        is_error=use.is_error,
        duration_ms=use.duration_ms,
    )
    return {"tool_calls": FrozenList([result]), "duration_ms": use.duration_ms}
