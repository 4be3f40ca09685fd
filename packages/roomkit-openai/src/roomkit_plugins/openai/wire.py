"""What the two APIs have in common, between our models and theirs.

Pure: no network, no SDK. `chat.py` and `responses.py` write the requests and read the answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from roomkit.models.ai import AIImagePart, AIToolResultPart, StreamEvent, StreamToolCall
from roomkit.models.base import new_id
from roomkit.models.generation import AIContext
from roomkit_plugins.openai.config import OpenAIConfig
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import JSONReader, count
from roomkit_plugins.wire.tools import ToolNames, arguments

__all__ = ["LONGEST_NAME", "AnswerReader", "OpenAIReader", "OpenAIRequest", "image_problem", "image_url"]

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]+")
LONGEST_NAME = 64
"""How long a tool's name may be."""


@dataclass(frozen=True, slots=True)
class OpenAIRequest:
    """A request's body, with the facts needed to read the answer."""

    body: dict[str, Any]
    names: ToolNames
    call_ids: frozenset[str]
    """The ids of tool calls the conversation has; a new call gets none of these."""
    left_out: tuple[str, ...]
    """Parameters of the context that this model does not take."""


def image_problem(part: AIImagePart) -> str | None:
    """Return why an image cannot be sent, None when it can.

    The server decides which formats a model reads: they differ, and some are detected by the bytes.
    """
    if part.is_fetched:
        return None
    inline = part.inline
    if inline is not None and _IMAGE_TYPE.fullmatch(inline.media_type):
        return None
    return f"an image is given as {part.url[:40]!r}; use an http(s) URL, or data:image/... with base64"


def image_url(part: AIImagePart) -> str:
    """Return an image as the API takes it: a URL, with a media type under its registered name."""
    inline = part.inline
    return part.url if inline is None else inline.url


def sampling(config: OpenAIConfig, context: AIContext) -> tuple[float | None, list[str]]:
    """Return the temperature to send, and the names of what this model does not take."""
    temperature = config.temperature if context.temperature is None else context.temperature
    if temperature is not None and config.reasons:
        return None, ["temperature"]
    return temperature, []


def effort(config: OpenAIConfig, context: AIContext, origin: Origin) -> tuple[str | None, list[str]]:
    """Return the reasoning effort to ask for, and the names of what this model does not take."""
    chosen = context.reasoning_effort or config.reasoning_effort
    if chosen is not None and chosen not in _EFFORTS:
        raise origin.refused(f"there is no reasoning_effort {chosen!r}; use one of {', '.join(_EFFORTS)}")
    budget = context.thinking_budget
    if chosen or budget is None:
        return chosen, []
    if not config.reasons:
        return None, ["thinking_budget"]
    steps = ((0, "none"), (2_048, "low"), (8_192, "medium"), (24_576, "high"))
    return next((effort for limit, effort in steps if budget <= limit), "xhigh"), []


def result_text(part: AIToolResultPart) -> str:
    """Return what a tool answered; the API has no other place to say that it failed."""
    return f"Error: {part.result}" if part.is_error else part.result


class AnswerReader(Protocol):
    """Reads one answer of an API, whole or as the events of a stream."""

    def whole(self, body: bytes) -> Iterable[StreamEvent]:
        """Yield what a whole answer says, `StreamDone` last."""

    def feed(self, data: str) -> Iterator[StreamEvent]:
        """Yield the parts of an event. Events after the end are ignored."""

    def end(self) -> Iterator[StreamEvent]:
        """Yield the rest, `StreamDone` last. Raises ProviderError when the stream stopped too early."""


class OpenAIReader(JSONReader):
    """State shared by the readers of both APIs: calls with ids of their own, and the answer so far."""

    def __init__(self, request: OpenAIRequest, origin: Origin) -> None:
        super().__init__(origin)
        self._names = request.names
        self._ids = set(request.call_ids)  # bound: one conversation

    def call(
        self, identity: object, name: str, given: object, metadata: dict[str, Any] | None = None
    ) -> StreamToolCall:
        """Make a tool call, under an id that the conversation does not have yet."""
        if not isinstance(identity, str) or not identity or identity in self._ids:
            identity = f"call_{new_id()}"
        self._ids.add(identity)
        usable, invalid = arguments(given)
        return StreamToolCall(identity, self._names.from_wire(name), usable, metadata or {}, invalid)

    def metadata(self, answer: dict[str, Any], reason: str) -> dict[str, Any]:
        """Return the ids that help to find this answer at the vendor's."""
        known = ("id", "model", "service_tier", "system_fingerprint")
        found = {name: answer[name] for name in known if isinstance(answer.get(name), str)}
        if self.origin.request_id:
            found["request_id"] = self.origin.request_id
        return {**found, "finish_reason": reason} if reason else found


def usage(counts: object, *, prompt: str, completion: str) -> dict[str, int]:
    """Count tokens in our words; what the vendor does not say stays unsaid.

    `prompt` and `completion` are what the API calls the two; the first includes tokens read from
    and written to a cache, and ours does not.
    """
    if not isinstance(counts, dict):
        return {}
    given, written = counts.get(f"{prompt}_details"), counts.get(f"{completion}_details")
    found = {
        "cache_read_input_tokens": count(given, "cached_tokens"),
        "cache_creation_input_tokens": count(given, "cache_write_tokens"),
        "reasoning_tokens": count(written, "reasoning_tokens"),
        "output_tokens": count(counts, completion),
        "total_tokens": count(counts, "total_tokens"),
    }
    total_input = count(counts, prompt)
    if total_input is not None:
        cached = (found["cache_read_input_tokens"] or 0) + (found["cache_creation_input_tokens"] or 0)
        found["input_tokens"] = max(0, total_input - cached)
    return {name: tokens for name, tokens in found.items() if tokens is not None}
