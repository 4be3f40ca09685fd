"""From a streamed answer of Mistral's chat API to our models.

https://docs.mistral.ai/api (Nov 2026). Pure: no network, no SDK. Unknown chunks are skipped, and null is
absent; known ones of the wrong shape raise ProviderError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit.models.base import new_id
from roomkit_plugins.mistral.errors import ORIGIN, api_error
from roomkit_plugins.mistral.wire import MistralRequest, signature
from roomkit_plugins.wire.fragments import Fragments
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import JSONReader, count
from roomkit_plugins.wire.tools import arguments

__all__ = ["ChatStream"]

_FINISH = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
}


class ChatStream(JSONReader):
    """Reads one answer: `feed` the data of each event, then `end`."""

    def __init__(self, request: MistralRequest, *, origin: Origin = ORIGIN) -> None:
        super().__init__(origin)
        self._names = request.names
        self._ids = set(request.call_ids)  # bound: one conversation
        self._calls = Fragments()
        self._thinks = False
        self._reason: str | None = None
        """Why the model stopped: "" when the end does not say, None while it goes on."""
        self._usage: object = None
        self._about: dict[str, Any] = {}

    def feed(self, data: str) -> Iterator[StreamEvent]:
        """Yield the parts of an event. Of events after the end, only the usage counts."""
        if data.strip() == "[DONE]":
            if self._reason is None:
                yield from self._finish("")
            return
        chunk = self.parse_event(data)
        if chunk is None:
            return
        if chunk.get("error") is not None or chunk.get("object") == "error":
            raise api_error(200, chunk, {}, origin=self.origin)
        if chunk.get("usage") is not None:
            self._usage = chunk["usage"]
        self._about = {**chunk, **self._about}
        for choice in self.optional_list(chunk.get("choices"), "'choices'"):
            if self._reason is not None:
                return
            entry = self.optional_object(choice, "a choice")
            yield from self._delta(self.optional_object(entry.get("delta"), "the delta"))
            if reason := self.optional_text(entry.get("finish_reason"), "'finish_reason'"):
                yield from self._finish(reason)

    def end(self) -> StreamDone:
        """Return the end of the answer. Raises ProviderError when the stream stopped before it."""
        if self._reason is None:
            raise self.origin.bad_response("the stream stopped before the end of the message")
        finish = _FINISH.get(self._reason or "stop", "error")
        if finish == "stop" and self._calls:
            finish = "tool_calls"
        metadata = {name: self._about[name] for name in ("id", "model") if self._about.get(name) is not None}
        if self._reason:
            metadata["finish_reason"] = self._reason
        return StreamDone(finish, _usage(self._usage), metadata)

    def _delta(self, delta: dict[str, Any]) -> Iterator[StreamEvent]:
        content = delta.get("content")
        if isinstance(content, list):
            for chunk in content:
                yield from self._chunk(self.optional_object(chunk, "a chunk"))
        elif text := self.optional_text(content, "'content'"):
            yield from self._text(text)
        for fragment in self.optional_list(delta.get("tool_calls"), "'tool_calls'"):
            yield from self._close("")
            self._collect(self.optional_object(fragment, "a tool call"))

    def _chunk(self, chunk: dict[str, Any]) -> Iterator[StreamEvent]:
        if chunk.get("type") == "thinking":
            yield from self._thinking(chunk)
        elif text := self.optional_text(chunk.get("text"), "'text'"):
            yield from self._text(text)

    def _thinking(self, chunk: dict[str, Any]) -> Iterator[StreamEvent]:
        for thought in self.optional_list(chunk.get("thinking"), "'thinking'"):
            said = self.optional_object(thought, "a thought").get("text")
            if text := self.optional_text(said, "'text'"):
                yield StreamThinkingDelta(text)
        self._thinks = True
        token = self.optional_text(chunk.get("signature"), "'signature'")
        if token or chunk.get("closed") is True:
            yield from self._close(token)

    def _text(self, text: str) -> Iterator[StreamEvent]:
        yield from self._close("")
        yield StreamTextDelta(text)

    def _close(self, token: str) -> Iterator[StreamEvent]:
        """End a thought, if one is open."""
        if self._thinks:
            self._thinks = False
            yield StreamThinkingDelta("", signature(token))

    def _collect(self, fragment: dict[str, Any]) -> None:
        function = self.optional_object(fragment.get("function"), "'function'")
        given = function.get("arguments")
        written = json.dumps(given) if isinstance(given, dict) else self.optional_text(given, "the arguments")
        identity = self.optional_text(fragment.get("id"), "a tool call's id")
        try:
            self._calls.add(
                index=fragment.get("index"),
                identity="" if identity == "null" else identity,
                name=self.optional_text(function.get("name"), "a tool's name"),
                arguments=written,
            )
        except ValueError as error:
            raise self.origin.bad_response(str(error)) from error

    def _finish(self, reason: str) -> Iterator[StreamEvent]:
        self._reason = reason
        yield from self._close("")
        for call in self._calls:
            if not call.name:
                raise self.origin.bad_response("a tool call without a name")
            yield self._call(call.identity, call.name, call.arguments)

    def _call(self, identity: str, name: str, written: str) -> StreamToolCall:
        if not identity or identity in self._ids:
            identity = f"call_{new_id()}"
        self._ids.add(identity)
        given, invalid = arguments(written)
        return StreamToolCall(identity, self._names.from_wire(name), given, invalid=invalid)


def _usage(usage: object) -> dict[str, int]:
    """Count tokens in our words; what the vendor does not say stays unsaid."""
    if not isinstance(usage, dict):
        return {}
    cached = count(usage.get("prompt_tokens_details"), "cached_tokens")
    prompt = count(usage, "prompt_tokens")
    found = {
        "input_tokens": None if prompt is None else max(0, prompt - (cached or 0)),
        "output_tokens": count(usage, "completion_tokens"),
        "cache_read_input_tokens": cached,
        "total_tokens": count(usage, "total_tokens"),
    }
    return {name: tokens for name, tokens in found.items() if tokens is not None}
