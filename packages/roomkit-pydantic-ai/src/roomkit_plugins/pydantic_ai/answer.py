"""From Pydantic AI's events and responses to our models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit.models.base import new_id
from roomkit_plugins.pydantic_ai.wire import Asked, kept
from roomkit_plugins.wire.tools import arguments

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse, ToolCallPart
    from pydantic_ai.usage import UsageBase

__all__ = ["ResponseReader", "is_cut"]

_FINISH = {"stop": "stop", "length": "length", "tool_call": "tool_calls", "content_filter": "content_filter"}


class ResponseReader:
    """Reads one answer: `whole`, or as a stream: `feed` each event, then `end`."""

    def __init__(self, asked: Asked) -> None:
        self._names = asked.names
        self._ids = set(asked.call_ids)  # bound: one conversation

    def whole(self, response: ModelResponse) -> Iterator[StreamEvent]:
        """Yield the parts of a whole answer, `StreamDone` last."""
        from pydantic_ai.messages import PartEndEvent, PartStartEvent

        for index, part in enumerate(response.parts):
            yield from self.feed(PartStartEvent(index=index, part=part))
            yield from self.feed(PartEndEvent(index=index, part=part))
        yield from self.end(response, response.usage)

    def feed(self, event: object) -> Iterator[StreamEvent]:
        """Yield the text and the thinking of an event; other events say nothing to a room."""
        from pydantic_ai.messages import (
            PartDeltaEvent,
            PartEndEvent,
            PartStartEvent,
            TextPart,
            TextPartDelta,
            ThinkingPart,
            ThinkingPartDelta,
        )

        match event:
            case (
                PartStartEvent(part=TextPart(content=text))
                | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
            ):
                if text:
                    yield StreamTextDelta(text)
            case (
                PartStartEvent(part=ThinkingPart(content=thought))
                | PartDeltaEvent(delta=ThinkingPartDelta(content_delta=thought))
            ):
                if thought:
                    yield StreamThinkingDelta(thought)
            case PartEndEvent(part=ThinkingPart() as part):
                yield StreamThinkingDelta("", json.dumps({"pydantic_ai": kept(part)}))

    def end(
        self,
        response: ModelResponse,
        usage: UsageBase,
        *,
        calls: Iterable[ToolCallPart] | None = None,
    ) -> Iterator[StreamEvent]:
        """Yield the tool calls and `StreamDone`; `calls` are those to answer, when not all are."""
        from pydantic_ai.messages import ToolCallPart

        made = [part for part in response.parts if isinstance(part, ToolCallPart)] if calls is None else calls
        written = [self._call(call) for call in made]
        yield from written
        reason = response.finish_reason
        finish = _FINISH.get(reason or "stop", "error")
        if finish in ("stop", "tool_calls"):
            finish = "tool_calls" if written else "stop"
        metadata = {"model": response.model_name, "id": response.provider_response_id}
        found = {name: value for name, value in metadata.items() if value is not None}
        if said := (response.provider_details or {}).get("finish_reason", reason):
            found["finish_reason"] = str(said)
        yield StreamDone(finish, _usage(usage), dict(found))

    def _call(self, call: ToolCallPart) -> StreamToolCall:
        identity = call.tool_call_id
        if not identity or identity in self._ids:
            identity = f"call_{new_id()}"
        self._ids.add(identity)
        given, invalid = arguments(call.args)
        opaque: dict[str, Any] = {"pydantic_ai": kept(call)} if kept(call) else {}
        return StreamToolCall(identity, self._names.from_wire(call.tool_name), given, opaque, invalid)


def is_cut(response: ModelResponse) -> bool:
    """Whether the stream of a vendor ended before the answer did.

    Some adapters say `stop` for such a stream (checked 2026-11-30); it then has neither the vendor's
    own reason nor usage.
    """
    if response.finish_reason is None:
        return True
    said = "finish_reason" in (response.provider_details or {})
    return not said and bool(response.usage.unmeasured_requests)


def _usage(usage: UsageBase) -> dict[str, int]:
    """Count tokens in our words; Pydantic AI counts cached ones as input, and unknown ones as 0."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    found = {
        "input_tokens": max(0, usage.input_tokens - cached),
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.output_reasoning_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    return {name: tokens for name, tokens in found.items() if tokens}
