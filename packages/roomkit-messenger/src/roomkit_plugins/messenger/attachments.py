"""What the attachments of Messenger's inbound messages say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from mimetypes import guess_type
from urllib.parse import urlsplit

from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    CustomContent,
    EventContent,
    LocationContent,
    MediaContent,
    TextContent,
    VideoContent,
)

__all__ = ["content_of"]


def content_of(said: VendorPayload) -> EventContent:
    """Return what a message says: its text, its attachments, or both; never nothing."""
    text = said.text("text")
    parts = [_attachment(each) for each in said.several("attachments")]
    if text:
        parts.insert(0, TextContent(body=text))
    if not parts:
        return _unsupported("message", said)
    return parts[0] if len(parts) == 1 else CompositeContent(parts=tuple(parts))


def _attachment(said: VendorPayload) -> EventContent:
    """Return an attachment; one that cannot be read is named, and is whole in the payload."""
    kind = said.text("type")
    read = _KINDS.get(kind, _other)
    try:
        return read(said)
    except ValueError:
        return _unsupported(kind, said)


def _image(said: VendorPayload) -> EventContent:
    url = said.inside("payload").needed("url")
    return MediaContent(url=url, mime_type=_type_of(url, "image/jpeg"))


def _audio(said: VendorPayload) -> EventContent:
    url = said.inside("payload").needed("url")
    return AudioContent(url=url, mime_type=_type_of(url, "audio/mp4"))


def _video(said: VendorPayload) -> EventContent:
    url = said.inside("payload").needed("url")
    return VideoContent(url=url, mime_type=_type_of(url, "video/mp4"))


def _file(said: VendorPayload) -> EventContent:
    url = said.inside("payload").needed("url")
    name = urlsplit(url).path.rpartition("/")[2]
    return MediaContent(url=url, mime_type=_type_of(url, "application/octet-stream"), filename=name or None)


def _location(said: VendorPayload) -> EventContent:
    place = said.inside("payload").inside("coordinates")
    return LocationContent(
        latitude=place.number("lat"), longitude=place.number("long"), label=said.text("title") or None
    )


def _link(said: VendorPayload) -> EventContent:
    """A page or a post was shared."""
    shared = said.inside("payload")
    named = (said.text("title") or shared.text("title"), said.text("url") or shared.text("url"))
    lines = [each for each in named if each]
    if not lines:
        raise said.wrong("url", "there")
    return TextContent(body="\n".join(lines))


def _other(said: VendorPayload) -> EventContent:
    """Return another kind with its link, such as a reel or a post."""
    if "url" in said.inside("payload"):
        return _link(said)
    return _unsupported(said.text("type"), said)


def _unsupported(kind: str, said: VendorPayload) -> EventContent:
    return CustomContent(
        kind="messenger.unsupported",
        body=f"[Unsupported message: {kind or 'unknown'}]",
        data={"type": kind},
    )


def _type_of(url: str, otherwise: str) -> str:
    """Return the type that a file's name says; Messenger names none."""
    return guess_type(urlsplit(url).path)[0] or otherwise


_KINDS: Mapping[str, Callable[[VendorPayload], EventContent]] = {
    "image": _image,
    "sticker": _image,
    "audio": _audio,
    "video": _video,
    "file": _file,
    "location": _location,
    "fallback": _link,
}
