"""What an event says: a union discriminated by `type`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from roomkit.models.base import EMPTY, Json, Record, freeze
from roomkit.models.enums import ChannelMediaType, ConsentState, DeleteType
from roomkit.models.values import Int, Key, Label, Reference, Text

__all__ = [
    "AudioContent",
    "CompositeContent",
    "ConsentContent",
    "CustomContent",
    "DeleteContent",
    "EditContent",
    "EventContent",
    "LocationContent",
    "MediaContent",
    "RichContent",
    "SystemContent",
    "TemplateContent",
    "TextContent",
    "UnknownContent",
    "VideoContent",
    "text_of",
]

MAX_COMPOSITE_DEPTH = 5
_SCHEMES = ("http://", "https://", "data:", "media:")


def _check_url(url: str) -> str:
    if not url.lower().startswith(_SCHEMES):
        raise ValueError("a media URL starts with http://, https://, data: or media:")
    return url


type MediaUrl = Annotated[Reference, AfterValidator(_check_url)]


class TextContent(Record):
    """Plain text; `language` is a BCP 47 tag."""

    type: Literal["text"] = "text"
    body: Text
    language: Text | None = None


class RichContent(Record):
    """Formatted text with optional buttons, cards and quick replies.

    `body` is in `format`; `plain_text` is what channels without formatting get, else `body`.
    A button is `{"text", "type": "reply" | "url" | "call", "payload" | "url" | "phone_number"}`,
    a card `{"title", "description", "media_url", "buttons"}`, whose URL may be `media:<id>`.
    """

    type: Literal["rich"] = "rich"
    body: Text
    format: Literal["html", "markdown"] = "markdown"
    plain_text: Text | None = None
    buttons: tuple[Json, ...] = ()
    cards: tuple[Json, ...] = ()
    quick_replies: tuple[Text, ...] = ()


class MediaContent(Record):
    """A file or an image behind a URL; `media:<id>` is one that the kit keeps."""

    type: Literal["media"] = "media"
    url: MediaUrl
    mime_type: Text
    filename: Text | None = None
    size_bytes: Int | None = Field(default=None, ge=0)
    caption: Text | None = None


class LocationContent(Record):
    """A place, in WGS 84 degrees."""

    type: Literal["location"] = "location"
    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False)
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False)
    label: Text | None = None
    address: Text | None = None


class AudioContent(Record):
    """A sound recording behind a URL; `transcript` is what text-only channels get."""

    type: Literal["audio"] = "audio"
    url: MediaUrl
    mime_type: Text = "audio/ogg"
    duration_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    transcript: Text | None = None


class VideoContent(Record):
    """A film behind a URL."""

    type: Literal["video"] = "video"
    url: MediaUrl
    mime_type: Text = "video/mp4"
    duration_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    thumbnail_url: MediaUrl | None = None


class SystemContent(Record):
    """What the framework says of the room itself; `code` is stable, `body` is for people."""

    type: Literal["system"] = "system"
    body: Text
    code: Text | None = None
    data: Json = EMPTY


class TemplateContent(Record):
    """A template approved at the vendor; `body` is the text for channels without templates."""

    type: Literal["template"] = "template"
    template_id: Text
    language: Text = "en"
    parameters: dict[Text, Text] = Field(default_factory=dict)
    body: Text | None = None


class CustomContent(Record):
    """What a plugin made up; `kind` says whose and what, as in "acme.ticket".

    `body` is the text for channels that do not carry ChannelMediaType.CUSTOM, and for agents and search.
    `data` is not looked into: bytes in it stay in the event, and a `media:<id>` in it keeps no file. Send a
    file as a MediaContent, and name that event here.
    """

    type: Literal["custom"] = "custom"
    kind: Label = Field(min_length=1)
    body: Text = ""
    data: Json = EMPTY


class DeleteContent(Record):
    """The wish to delete an earlier event; whether it is granted depends on who asks."""

    type: Literal["delete"] = "delete"
    target_event_id: Key
    delete_type: DeleteType = DeleteType.SENDER
    reason: Text | None = None


class ConsentContent(Record):
    """What a person said of being written to, such as STOP or START.

    `address_type` and `address` say where, `purpose` for what ("all" for everything). `source` says how it is
    known, such as "keyword" or "vendor", `at` when it was said, if the vendor says. `body` are their words.
    """

    type: Literal["consent"] = "consent"
    address_type: Label
    address: Key
    state: ConsentState
    purpose: Label = "all"
    source: Label | None = None
    at: datetime | None = None
    body: Text = ""


class EditContent(Record):
    """The wish to replace an earlier event's content, granted to its author."""

    type: Literal["edit"] = "edit"
    target_event_id: Key
    new_content: EventContent
    edit_source: Text | None = None

    @field_validator("new_content")
    @classmethod
    def _not_an_act(cls, content: Any) -> Any:
        return _check_no_act(content)

    @property
    def depth(self) -> int:
        """How deeply composites are nested in the new content."""
        return _depth(self.new_content)


class CompositeContent(Record):
    """Several contents as one message, nested at most five deep."""

    type: Literal["composite"] = "composite"
    parts: tuple[EventContent, ...] = Field(min_length=1)

    @field_validator("parts")
    @classmethod
    def _no_acts(cls, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(map(_check_no_act, parts))

    @model_validator(mode="after")
    def _bounded(self) -> CompositeContent:
        if _depth(self) > MAX_COMPOSITE_DEPTH:
            raise ValueError(f"composites nest at most {MAX_COMPOSITE_DEPTH} deep")
        return self


class UnknownContent(Record):
    """Stored content that this version cannot read: a newer one's, kept whole and written back as it is.

    It comes out of a store only. `original` is its JSON, `kind` the type it gives itself.
    """

    type: Literal["unknown"] = "unknown"
    original: Json

    @classmethod
    def of(cls, original: Mapping[str, Any]) -> Self:
        """Return the content that stands for `original`, a JSON object."""
        return cls.trusted({"type": "unknown", "original": freeze(original)})

    @property
    def kind(self) -> str:
        """The type that the content gives itself, "unknown" if it gives none."""
        kind = self.original.get("type")
        return kind if isinstance(kind, str) else "unknown"

    @model_validator(mode="before")
    @classmethod
    def _comes_from_a_store(cls, given: Any) -> Any:
        if not isinstance(given, cls):
            raise ValueError(f"content of type 'unknown' cannot be made: use one of {', '.join(_known())}")
        return given

    @model_serializer
    def _as_it_came(self) -> Mapping[str, Any]:
        return self.original


type EventContent = Annotated[
    TextContent
    | RichContent
    | MediaContent
    | LocationContent
    | AudioContent
    | VideoContent
    | CompositeContent
    | SystemContent
    | TemplateContent
    | CustomContent
    | EditContent
    | DeleteContent
    | ConsentContent
    | UnknownContent,
    Field(discriminator="type"),
]

MEDIA_TYPE_OF: dict[str, ChannelMediaType] = {
    "text": ChannelMediaType.TEXT,
    "rich": ChannelMediaType.RICH,
    "media": ChannelMediaType.MEDIA,
    "audio": ChannelMediaType.AUDIO,
    "video": ChannelMediaType.VIDEO,
    "location": ChannelMediaType.LOCATION,
    "template": ChannelMediaType.TEMPLATE,
    "custom": ChannelMediaType.CUSTOM,
}
"""The one media type that carries a content `type`; composite, system, edit, delete and consent have none."""


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(EventContent)


def _known() -> list[str]:
    return sorted({*MEDIA_TYPE_OF, "composite", "system", "edit", "delete", "consent"})


def readable_content(stored: Any) -> Any:
    """Return the content of a stored JSON value, `UnknownContent` in place of unreadable parts.

    For `Record.from_stored`. Other values than JSON objects are returned as they are.
    """
    if not isinstance(stored, Mapping):
        return stored
    fields = dict(stored)
    if isinstance(parts := fields.get("parts"), list):
        fields["parts"] = [readable_content(part) for part in parts]
    if isinstance(new := fields.get("new_content"), Mapping):
        fields["new_content"] = readable_content(new)
    try:
        return _adapter().validate_python(fields, extra="allow")
    except ValidationError:
        return UnknownContent.of(stored)


def _check_no_act(content: Any) -> Any:
    # Permission is asked for the top-level content: a nested one would escape the check.
    if content.type in ("edit", "delete"):
        raise ValueError("content cannot hold an edit or a deletion: send each as an event of its own")
    return content


def _depth(content: Any) -> int:
    if isinstance(content, CompositeContent):
        return 1 + max(_depth(part) for part in content.parts)
    if isinstance(content, EditContent):
        return content.depth
    return 0


def text_of(content: EventContent) -> str:
    """Return the words of `content` as plain text, "" when it has none.

    The same reading for every kind: body, plain text, caption, transcript, place, template
    fallback; a composite's parts are joined by newlines. Nothing is invented for bare media; content of
    a newer version is named.
    """
    match content:
        case TextContent() | SystemContent() | CustomContent() | ConsentContent():
            return content.body
        case RichContent():
            return content.plain_text if content.plain_text is not None else content.body
        case MediaContent():
            return content.caption or ""
        case AudioContent():
            return content.transcript or ""
        case LocationContent():
            return content.label or content.address or f"{content.latitude}, {content.longitude}"
        case TemplateContent():
            return content.body or ""
        case CompositeContent():
            return "\n".join(filter(None, (text_of(part) for part in content.parts)))
        case EditContent():
            return text_of(content.new_content)
        case UnknownContent():
            return f"[Unsupported content: {content.kind}]"
        case _:
            return ""
