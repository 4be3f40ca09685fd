"""From an answer of the Messages API, whole or streamed, to our models.

https://platform.claude.com/docs/en/build-with-claude/streaming (Nov 2026). Pure: no network, no SDK.
Unknown events and blocks are skipped, as the vendor asks, and null is absent; known ones of the
wrong shape raise ProviderError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit.models.base import new_id
from roomkit.models.generation import AIResponse
from roomkit_plugins.anthropic.errors import ORIGIN, api_error
from roomkit_plugins.wire.answer import collect
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import JSONReader, count
from roomkit_plugins.wire.tools import ToolNames, arguments

__all__ = ["MessageStream", "whole"]

_LONGEST = 8 * 1024 * 1024
"""Characters that all tool calls of one message may have; each fragment counts as a hundred more."""
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


def whole(body: bytes, names: ToolNames, *, origin: Origin = ORIGIN) -> AIResponse:
    """Read a whole message. Raises ProviderError when it is not one."""
    return collect(MessageStream(names, origin=origin).whole(body))


class MessageStream(JSONReader):
    """Reads one message: `whole`, or streamed: `feed` each event's data, until `done` is there."""

    def __init__(self, names: ToolNames, *, origin: Origin = ORIGIN) -> None:
        super().__init__(origin)
        self.done: StreamDone | None = None
        """The end of the message, once it has come."""
        self._names = names
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._open: dict[int, tuple[dict[str, Any], list[str]]] = {}  # bound: one message
        self._opened = -1
        self._size = 0
        self._called = False

    def whole(self, body: bytes) -> Iterator[StreamEvent]:
        """Yield the parts of a whole message, `StreamDone` last."""
        message = self.parse(body)
        if message.get("type") == "error":
            raise api_error(200, message, {}, origin=self.origin)
        if message.get("type") != "message":
            raise self.origin.bad_response("not a message")
        if message.get("content") is None and not message.get("stop_reason"):
            raise self.origin.bad_response("a message with neither content nor a stop reason")
        for block in self.optional_list(message.get("content"), "'content'"):
            yield from self._block(self.as_object(block, "a content block"))
        yield self._ended(message)

    def feed(self, data: str) -> Iterator[StreamEvent]:
        """Yield the parts of an event. Events after the end are ignored."""
        if self.done is not None:
            return
        if data.strip() == "[DONE]":  # proxies that speak several APIs end every stream so
            self._end(self._message)
            return
        event = self.parse_event(data)
        if event is None:
            return
        match event.get("type"):
            case "message_start":
                self._message = self.optional_object(event.get("message"), "'message'")
                self._usage = _said(self._message.get("usage"))
            case "content_block_start":
                self._opened += 1
                block = self.as_object(event.get("content_block"), "'content_block'")
                self._open[self._index(event)] = (block, [])
            case "content_block_delta":
                delta = self.optional_object(event.get("delta"), "'delta'")
                yield from self._delta(self._index(event), delta)
            case "content_block_stop":
                yield from self._stop(self._index(event))
            case "message_delta":
                self._message |= self.optional_object(event.get("delta"), "'delta'")
                self._usage |= _said(event.get("usage"))
            case "message_stop":
                self._end(self._message)
            case "error":
                raise api_error(200, event, {}, origin=self.origin)

    def end(self) -> StreamDone:
        """Return the end of the message. Raises ProviderError when the stream stopped before it."""
        if self.done is None:
            raise self.origin.bad_response("the stream stopped before the end of the message")
        return self.done

    def _end(self, message: dict[str, Any]) -> None:
        if self._open:
            raise self.origin.bad_response("the message ended inside a block")
        self.done = self._ended({**message, "usage": self._usage})

    def _block(self, block: dict[str, Any]) -> Iterator[StreamEvent]:
        match block.get("type"):
            case "text":
                yield from self._text(block)
            case "thinking":
                signature = block.get("signature")
                yield StreamThinkingDelta(
                    self.optional_text(block.get("thinking"), "'thinking'"),
                    signature if isinstance(signature, str) else None,
                )
            case "redacted_thinking":
                yield StreamThinkingDelta("", redacted_data=self.as_text(block.get("data"), "'data'"))
            case "tool_use":
                yield self._call(block, block.get("input"))

    def _ended(self, message: dict[str, Any]) -> StreamDone:
        """Read how a message ended and what it cost. One that does not say why is a whole one."""
        reason = self.optional_text(message.get("stop_reason"), "'stop_reason'")
        known = ("id", "model", "stop_sequence", "stop_details")
        metadata = {name: message[name] for name in known if message.get(name) is not None}
        if self.origin.request_id:
            metadata["request_id"] = self.origin.request_id
        if reason:
            metadata["finish_reason"] = reason
        return StreamDone(
            finish_reason=_FINISH.get(reason, "error") if reason else self._unsaid_reason,
            usage=_usage(message.get("usage")),
            metadata=metadata,
        )

    @property
    def _unsaid_reason(self) -> str:
        return "tool_calls" if self._called else "stop"

    def _text(self, holder: dict[str, Any]) -> Iterator[StreamEvent]:
        if text := self.optional_text(holder.get("text"), "'text'"):
            yield StreamTextDelta(text)

    def _delta(self, index: int, delta: dict[str, Any]) -> Iterator[StreamEvent]:
        if index not in self._open:
            raise self.origin.bad_response(f"a delta for block {index}, which is not open")
        pieces = self._open[index][1]
        match delta.get("type"):
            case "text_delta":
                yield from self._text(delta)
            case "thinking_delta":
                yield StreamThinkingDelta(self.optional_text(delta.get("thinking"), "'thinking'"))
            case "signature_delta":
                pieces.append(self.optional_text(delta.get("signature"), "'signature'"))
            case "input_json_delta":
                pieces.append(self.optional_text(delta.get("partial_json"), "'partial_json'"))
                self._size += len(pieces[-1]) + 100
                if self._size > _LONGEST:
                    raise self.origin.bad_response(f"its tool calls have more than {_LONGEST} characters")

    def _stop(self, index: int) -> Iterator[StreamEvent]:
        if index not in self._open:
            raise self.origin.bad_response(f"the end of block {index}, which is not open")
        block, pieces = self._open.pop(index)
        rest = "".join(pieces)
        match block.get("type"):
            case "thinking":
                if rest:
                    yield StreamThinkingDelta("", signature=rest)
            case "redacted_thinking":
                yield StreamThinkingDelta("", redacted_data=self.as_text(block.get("data"), "'data'"))
            case "tool_use":
                yield self._call(block, rest if rest else block.get("input"))

    def _call(self, block: dict[str, Any], given: object) -> StreamToolCall:
        given_arguments, invalid = arguments(given)
        name = self._names.from_wire(self.as_text(block.get("name"), "'name'"))
        self._called = True
        identity = self.optional_text(block.get("id"), "'id'") or f"call_{new_id()}"
        return StreamToolCall(identity, name, given_arguments, invalid=invalid)

    def _index(self, event: dict[str, Any]) -> int:
        """Return which block an event belongs to; one without a number, to the last that began."""
        value = event.get("index")
        if value is None:
            return self._opened
        if not isinstance(value, int):
            raise self.origin.bad_response("'index' is not a number")
        return value


def _said(usage: object) -> dict[str, Any]:
    """Return what an event counts; it informs only, so anything odd counts nothing."""
    counts = usage if isinstance(usage, dict) else {}
    return {name: tokens for name, tokens in counts.items() if tokens is not None}


def _usage(usage: object) -> dict[str, int]:
    """Count tokens in our words; what the vendor does not say stays unsaid."""
    if not isinstance(usage, dict):
        return {}
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    )
    counted = {name: tokens for name in names if (tokens := count(usage, name)) is not None}
    total = sum(counted.values())
    thinking = count(usage.get("output_tokens_details"), "thinking_tokens")
    if thinking is not None:
        counted["reasoning_tokens"] = thinking
    return {**counted, "total_tokens": total} if counted else {}
