"""From an answer of the Messages API, whole or streamed, to our models.

https://platform.claude.com/docs/en/build-with-claude/streaming (Nov 2026). Pure: no network, no SDK.
Unknown events and blocks are skipped, as the vendor asks; known ones of the wrong shape raise
ProviderError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from roomkit.models.ai import (
    AIResponse,
    AIThinkingPart,
    AIToolCall,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.base import freeze
from roomkit_plugins.anthropic.errors import api_error, bad_response
from roomkit_plugins.anthropic.wire import ToolNames

__all__ = ["MessageStream", "whole"]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


def whole(body: bytes, names: ToolNames, *, request_id: str | None = None) -> AIResponse:
    """Read a whole message. Raises ProviderError when it is not one."""
    stream = MessageStream(names, request_id=request_id)
    message = stream.parse(body)
    if message.get("type") == "error":
        raise api_error(200, message, {})
    blocks = message.get("content")
    if message.get("type") != "message" or not isinstance(blocks, list):
        raise bad_response("not a message", request_id=request_id)
    response = AIResponse(content="")
    text: list[str] = []
    for item in (event for block in blocks for event in stream.block(block)):
        match item:
            case StreamTextDelta():
                text.append(item.text)
            case StreamThinkingDelta(thinking, signature, redacted):
                part = AIThinkingPart(thinking=thinking, signature=signature, redacted_data=redacted)
                response.thinking_parts.append(part)
            case StreamToolCall():
                response.tool_calls.append(
                    AIToolCall(id=item.id, name=item.name, arguments=item.arguments, invalid=item.invalid)
                )
    done = stream.ended(message)
    response.content = "".join(text)
    response.thinking = "\n\n".join(p.thinking for p in response.thinking_parts if p.thinking) or None
    response.thinking_signature = next(
        (part.signature for part in response.thinking_parts if part.signature), None
    )
    response.finish_reason, response.usage, response.metadata = (
        done.finish_reason,
        done.usage,
        done.metadata,
    )
    return response


class MessageStream:
    """Reads one streamed message: `feed` each event's data, until `done` is there."""

    def __init__(self, names: ToolNames, *, request_id: str | None = None) -> None:
        self.done: StreamDone | None = None
        """The end of the message, once it has come."""
        self._names = names
        self._request_id = request_id
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._open: dict[int, tuple[dict[str, Any], list[str]]] = {}  # bound: one message

    def feed(self, data: str) -> Iterator[StreamEvent]:
        """Yield what an event tells. What comes after the end is not looked at."""
        if self.done is not None:
            return
        event = self.parse(data)
        match event.get("type"):
            case "message_start":
                self._message = self._object(event, "message")
                self._usage = dict(self._object(self._message, "usage"))
            case "content_block_start":
                self._open[self._index(event)] = (self._object(event, "content_block"), [])
            case "content_block_delta":
                yield from self._delta(self._index(event), self._object(event, "delta"))
            case "content_block_stop":
                yield from self._stop(self._index(event))
            case "message_delta":
                self._message |= self._object(event, "delta")
                changed = self._object(event, "usage")
                self._usage |= {name: count for name, count in changed.items() if count is not None}
            case "message_stop":
                if self._open:
                    raise self._bad("the message ended inside a block")
                self.done = self.ended({**self._message, "usage": self._usage})
            case "error":
                raise api_error(200, event, {"request-id": self._request_id or ""})

    def end(self) -> StreamDone:
        """Return the end of the message. Raises ProviderError when the stream stopped before it."""
        if self.done is None:
            raise self._bad("the stream stopped before the end of the message")
        return self.done

    def parse(self, data: str | bytes) -> dict[str, Any]:
        """Read a JSON object."""
        try:
            value = from_json(data)
        except ValueError as error:
            raise self._bad(f"not JSON ({error})") from error
        if not isinstance(value, dict):
            raise self._bad(f"a JSON {type(value).__name__} where an object belongs")
        return value

    def block(self, block: object) -> Iterator[StreamEvent]:
        """Yield what a whole content block tells."""
        if not isinstance(block, dict):
            raise self._bad("a content block that is not an object")
        match block.get("type"):
            case "text":
                yield StreamTextDelta(self._string(block, "text"))
            case "thinking":
                signature = block.get("signature")
                yield StreamThinkingDelta(
                    self._string(block, "thinking"), signature if isinstance(signature, str) else None
                )
            case "redacted_thinking":
                yield StreamThinkingDelta("", redacted_data=self._string(block, "data"))
            case "tool_use":
                yield self._call(block, block.get("input"))

    def ended(self, message: dict[str, Any]) -> StreamDone:
        """Read how a message ended and what it cost."""
        reason = message.get("stop_reason")
        if not isinstance(reason, str):
            raise self._bad("a message that does not say why it stopped")
        known = ("id", "model", "stop_sequence", "stop_details")
        metadata = {name: message[name] for name in known if message.get(name) is not None}
        if self._request_id:
            metadata["request_id"] = self._request_id
        return StreamDone(
            finish_reason=_FINISH.get(reason, "error"),
            usage=_usage(message.get("usage")),
            metadata={**metadata, "finish_reason": reason},
        )

    def _delta(self, index: int, delta: dict[str, Any]) -> Iterator[StreamEvent]:
        if index not in self._open:
            raise self._bad(f"a delta for block {index}, which is not open")
        pieces = self._open[index][1]
        match delta.get("type"):
            case "text_delta":
                yield StreamTextDelta(self._string(delta, "text"))
            case "thinking_delta":
                yield StreamThinkingDelta(self._string(delta, "thinking"))
            case "signature_delta":
                pieces.append(self._string(delta, "signature"))
            case "input_json_delta":
                pieces.append(self._string(delta, "partial_json"))

    def _stop(self, index: int) -> Iterator[StreamEvent]:
        if index not in self._open:
            raise self._bad(f"the end of block {index}, which is not open")
        block, pieces = self._open.pop(index)
        rest = "".join(pieces)
        match block.get("type"):
            case "thinking":
                if rest:
                    yield StreamThinkingDelta("", signature=rest)
            case "redacted_thinking":
                yield StreamThinkingDelta("", redacted_data=self._string(block, "data"))
            case "tool_use":
                yield self._call(block, rest if rest else block.get("input"))

    def _call(self, block: dict[str, Any], given: object) -> StreamToolCall:
        arguments, invalid = _arguments(given)
        name = self._names.from_wire(self._string(block, "name"))
        return StreamToolCall(self._string(block, "id"), name, arguments, invalid=invalid)

    def _object(self, holder: dict[str, Any], name: str) -> dict[str, Any]:
        value = holder.get(name)
        if not isinstance(value, dict):
            raise self._bad(f"{name!r} is not an object")
        return value

    def _string(self, holder: dict[str, Any], name: str) -> str:
        value = holder.get(name)
        if not isinstance(value, str):
            raise self._bad(f"{name!r} is not a string")
        return value

    def _index(self, event: dict[str, Any]) -> int:
        value = event.get("index")
        if not isinstance(value, int):
            raise self._bad("'index' is not a number")
        return value

    def _bad(self, what: str) -> Exception:
        return bad_response(what, request_id=self._request_id)


def _arguments(given: object) -> tuple[dict[str, Any], str | None]:
    """Return a call's arguments, or what the model wrote instead and why that is none."""
    raw = given if isinstance(given, str) else None
    try:
        value = from_json(raw, allow_inf_nan=False) if raw is not None else given
        value = {} if value is None else value
        if isinstance(value, dict):
            return dict(freeze(value)), None
        problem = f"the arguments are a JSON {type(value).__name__}, not an object"
    except ValueError as error:
        problem = f"the arguments are not JSON: {error}"
    return {"raw": raw if raw is not None else repr(given)}, problem


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
    counted = {name: usage[name] for name in names if _is_count(usage.get(name))}
    total = sum(counted.values())
    details = usage.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
    if _is_count(thinking):
        counted["reasoning_tokens"] = thinking
    return {**counted, "total_tokens": total} if counted else {}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
