"""From a streamed answer of the Gemini API to our models.

https://ai.google.dev/api/generate-content (Nov 2026). Pure: no network, no SDK. Unknown parts are skipped,
and null is absent; known ones of the wrong shape raise ProviderError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit.models.base import new_id
from roomkit_plugins.gemini.errors import ORIGIN, api_error
from roomkit_plugins.gemini.wire import GeminiRequest, signature, signature_of_text
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import JSONReader, count
from roomkit_plugins.wire.tools import arguments

__all__ = ["ContentStream"]

_LONGEST = 8 * 1024 * 1024
"""Characters that all events with tool calls of one answer may have."""
_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "MODEL_ARMOR",
        ),
        "content_filter",
    ),
}  # fmt: skip


class ContentStream(JSONReader):
    """Reads one answer: `feed` the data of each event, then `end`."""

    def __init__(self, request: GeminiRequest, *, origin: Origin = ORIGIN) -> None:
        super().__init__(origin)
        self._names = request.names
        self._ids = set(request.call_ids)  # bound: one conversation
        self._reason: str | None = None
        """Why the model stopped: "" when the end does not say, None while it goes on."""
        self._blocked = False
        self._called = False
        self._size = 0
        self._usage: object = None
        self._about: dict[str, Any] = {}

    def feed(self, data: str) -> Iterator[StreamEvent]:
        """Yield the parts of an event. Of events after the end, only the usage counts."""
        if data.strip() == "[DONE]":  # proxies that speak several APIs end every stream so
            self._reason = self._reason or ""
            return
        chunk = self.parse_event(data)
        if chunk is None:
            return
        if chunk.get("error") is not None:
            raise api_error(200, chunk, {}, origin=self.origin)
        self._note(chunk)
        candidates = self.optional_list(chunk.get("candidates"), "'candidates'")
        if self._reason is not None or not candidates:
            return
        candidate = self.as_object(candidates[0], "a candidate")
        content = self.optional_object(candidate.get("content"), "'content'")
        for part in self.optional_list(content.get("parts"), "'parts'"):
            yield from self._part(self.optional_object(part, "a part"), len(data))
        self._reason = self.optional_text(candidate.get("finishReason"), "'finishReason'") or None

    def end(self) -> StreamDone:
        """Return the end of the answer. Raises ProviderError when the stream stopped before it."""
        if self._reason is None:
            raise self.origin.bad_response("the stream stopped before the end of the answer")
        finish = _FINISH.get(self._reason or "STOP", "error")
        if self._blocked:
            finish = "content_filter"
        elif finish == "stop" and self._called:
            finish = "tool_calls"
        metadata = dict(self._about)
        if self._reason:
            metadata["finish_reason"] = self._reason
        return StreamDone(finish, _usage(self._usage), metadata)

    def _note(self, chunk: dict[str, Any]) -> None:
        """Keep what informs only, and notice a prompt that is blocked."""
        if chunk.get("usageMetadata") is not None:
            self._usage = chunk["usageMetadata"]
        for theirs, ours in (
            ("responseId", "id"),
            ("modelVersion", "model"),
            ("modelStatus", "model_status"),
        ):
            if chunk.get(theirs) is not None:
                self._about[ours] = chunk[theirs]
        feedback = self.optional_object(chunk.get("promptFeedback"), "'promptFeedback'")
        if blocked := self.optional_text(feedback.get("blockReason"), "'blockReason'"):
            self._blocked, self._reason = True, self._reason or blocked

    def _part(self, part: dict[str, Any], size: int) -> Iterator[StreamEvent]:
        token = self.optional_text(part.get("thoughtSignature"), "'thoughtSignature'")
        if part.get("functionCall") is not None:
            self._size += size
            if self._size > _LONGEST:
                raise self.origin.bad_response(f"its tool calls have more than {_LONGEST} characters")
            yield self._call(self.as_object(part["functionCall"], "'functionCall'"), token)
            return
        text = self.optional_text(part.get("text"), "'text'")
        if part.get("thought") is True:
            if text or token:
                yield StreamThinkingDelta(text, signature(token) if token else None)
            return
        if text:
            yield StreamTextDelta(text)
        if token:
            yield StreamThinkingDelta("", signature_of_text(token))

    def _call(self, call: dict[str, Any], token: str) -> StreamToolCall:
        name = self._names.from_wire(self.as_text(call.get("name"), "'name'"))
        identity = self.optional_text(call.get("id"), "'id'")
        if not identity or identity in self._ids:
            identity = f"call_{new_id()}"
        self._ids.add(identity)
        self._called = True
        given, invalid = arguments(call.get("args"))
        return StreamToolCall(identity, name, given, {"thought_signature": token} if token else {}, invalid)


def _usage(usage: object) -> dict[str, int]:
    """Count tokens in our words; what the vendor does not say stays unsaid."""
    if not isinstance(usage, dict):
        return {}
    cached = count(usage, "cachedContentTokenCount")
    thoughts = count(usage, "thoughtsTokenCount")
    written = count(usage, "candidatesTokenCount")
    prompt = count(usage, "promptTokenCount")
    found = {
        "input_tokens": None if prompt is None else max(0, prompt - (cached or 0)),
        "output_tokens": None if written is None and thoughts is None else (written or 0) + (thoughts or 0),
        "cache_read_input_tokens": cached,
        "reasoning_tokens": thoughts,
        "total_tokens": count(usage, "totalTokenCount"),
    }
    return {name: tokens for name, tokens in found.items() if tokens is not None}
