"""The pieces of a model's conversation and of its answer, whatever the vendor."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.values import Id, Text, VendorJson

__all__ = [
    "AIImagePart",
    "AIMessage",
    "AIPart",
    "AITextPart",
    "AIThinkingPart",
    "AITool",
    "AIToolCall",
    "AIToolCallPart",
    "AIToolResultPart",
    "InlineImage",
    "StreamDone",
    "StreamEvent",
    "StreamTextDelta",
    "StreamThinkingDelta",
    "StreamToolCall",
]

FINISH_REASONS = frozenset(
    {"stop", "length", "tool_calls", "content_filter", "refusal", "cancelled", "error"}
)
"""The normalised finish reasons; the vendor's own word goes to `metadata["finish_reason"]`."""

USAGE_KEYS = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "reasoning_tokens",
        "total_tokens",
    }
)
"""The keys of `usage`. `input_tokens` excludes cache reads for every vendor."""

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,(.+)", re.DOTALL | re.IGNORECASE)
_OTHER_NAMES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
"""Names in use that no registry has, and their right ones."""


class AITextPart(Record):
    """Text inside a message."""

    type: Literal["text"] = "text"
    text: Text


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image whose bytes are in the conversation itself."""

    media_type: str
    """Lower case, under its registered name, without parameters."""
    data: str
    """In base64."""

    @property
    def url(self) -> str:
        """The image as a data: URL."""
        return f"data:{self.media_type};base64,{self.data}"


class AIImagePart(Record):
    """An image inside a message: an http(s) or data: URL."""

    type: Literal["image"] = "image"
    url: str
    mime_type: str | None = None

    @property
    def is_fetched(self) -> bool:
        """Whether the vendor fetches the image itself."""
        return self.url.startswith(("http://", "https://"))

    @property
    def inline(self) -> InlineImage | None:
        """The image that the data: URL holds; None for another URL. `mime_type` overrides the URL's type."""
        found = _DATA_URL.fullmatch(self.url)
        if found is None:
            return None
        return InlineImage(_registered(self.mime_type or found[1]), found[2])

    @property
    def note(self) -> AITextPart:
        """What replaces the image for a model that cannot take it: `[image: image/heic]`, never its data."""
        inline = self.inline
        known = inline is not None and inline.media_type
        return AITextPart(text=f"[image: {known}]" if known else "[image]")


def _registered(media_type: str) -> str:
    name = media_type.partition(";")[0].strip().lower()
    return _OTHER_NAMES.get(name, name)


class AIToolCallPart(Record):
    """A tool call the model made; `metadata` is opaque vendor data to send back unchanged."""

    type: Literal["tool_call"] = "tool_call"
    id: Text
    name: Text
    arguments: Json = EMPTY
    metadata: VendorJson = EMPTY


class AIToolResultPart(Record):
    """What a tool answered to the call `tool_call_id`."""

    type: Literal["tool_result"] = "tool_result"
    tool_call_id: Text
    name: Text
    result: Text
    is_error: bool = False


class AIThinkingPart(Record):
    """A reasoning block, to be sent back unchanged and in place.

    `signature` and `redacted_data` are the vendor's opaque tokens; a redacted block has no text.
    """

    type: Literal["thinking"] = "thinking"
    thinking: Text
    signature: str | None = None
    redacted_data: str | None = None


type AIPart = Annotated[
    AITextPart | AIImagePart | AIToolCallPart | AIToolResultPart | AIThinkingPart,
    Field(discriminator="type"),
]


class AIMessage(Record):
    """One turn of the model's conversation. `name` labels the speaker of a `user` turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | tuple[AIPart, ...]
    name: str | None = None
    metadata: Json = EMPTY


class AITool(Record):
    """A tool the model may call; `parameters` is a JSON Schema of type object."""

    name: Id
    """The name by which the model calls it."""
    description: Text = ""
    """When to use it, for the model."""
    parameters: Json = EMPTY
    """The JSON Schema of its arguments, of type object."""


class AIToolCall(Record):
    """A complete tool call of a response.

    `invalid` is set when the model's arguments were not a JSON object: the raw text is then in
    `arguments["raw"]`, and the tool is not run.
    """

    id: Text
    name: Text
    arguments: Json = EMPTY
    metadata: VendorJson = EMPTY
    invalid: str | None = None


@dataclass(slots=True, frozen=True)
class StreamThinkingDelta:
    """A piece of reasoning.

    The last delta of a block carries the block's `signature` (its `thinking` may be empty);
    `redacted_data` stands alone.
    """

    thinking: str
    signature: str | None = None
    redacted_data: str | None = None
    type: Literal["thinking_delta"] = "thinking_delta"


@dataclass(slots=True, frozen=True)
class StreamTextDelta:
    """A piece of the answer."""

    text: str
    type: Literal["text_delta"] = "text_delta"


@dataclass(slots=True, frozen=True)
class StreamToolCall:
    """A complete tool call, never a partial one; fields as in `AIToolCall`."""

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    invalid: str | None = None
    type: Literal["tool_call"] = "tool_call"


@dataclass(slots=True, frozen=True)
class StreamDone(str):
    """The end of a structured stream: exactly one, and last.

    It is an empty string too, so that a reader that only joins the pieces gets strings.
    """

    finish_reason: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    parsed: Any = None
    """As in `AIResponse`."""
    type: Literal["done"] = "done"

    def __new__(cls, *args: object, **fields: object) -> StreamDone:
        """Make the empty string; `__init__` takes the fields."""
        return str.__new__(cls)


type StreamEvent = StreamThinkingDelta | StreamTextDelta | StreamToolCall | StreamDone
