"""What a carrier of texts and files is given of a content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EventContent,
    MediaContent,
    SystemContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.wire.origin import Origin

__all__ = ["PlainMessage", "file_url", "parts_of", "plain_message"]


@dataclass(frozen=True, slots=True)
class PlainMessage:
    """A text, and files that the vendor fetches by their http(s) URLs; not both empty."""

    text: str = ""
    urls: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    texts: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)


def plain_message(content: EventContent, origin: Origin) -> PlainMessage:
    """Return the text and the files of a content, in its order; texts are lines.

    Raises ProviderError: `invalid_request` for an empty message, `unsupported_content` for another kind of
    content, and for a file without a URL that the vendor could fetch.
    """
    found = _Found()
    for part in parts_of(content):
        _add(part, found, origin)
    text = "\n".join(filter(None, found.texts))
    if not text.strip() and not found.urls:
        raise origin.refused("the message is empty: it has neither text nor a file")
    return PlainMessage(text, tuple(found.urls))


def parts_of(content: EventContent) -> Iterator[EventContent]:
    """Yield a content, or the parts of a composite one, whatever their depth."""
    if isinstance(content, CompositeContent):
        for part in content.parts:
            yield from parts_of(part)
    else:
        yield content


def _add(part: EventContent, found: _Found, origin: Origin) -> None:
    match part:
        case TextContent() | SystemContent():
            found.texts.append(part.body)
        case MediaContent():
            found.texts.append(part.caption or "")
            found.urls.append(file_url(part.url, origin))
        case AudioContent() | VideoContent():
            found.urls.append(file_url(part.url, origin))
        case _:
            raise _unsupported(f"{part.type} content in a text message", origin)


def file_url(url: str, origin: Origin) -> str:
    """Return a file's URL if the vendor can fetch it. Raises ProviderError, as `unsupported_content`."""
    if not url.lower().startswith(("http://", "https://")):
        raise _unsupported(
            "a file without an http(s) URL that it can fetch: set media_url of the kit for its own files",
            origin,
        )
    return url


def _unsupported(what: str, origin: Origin) -> ProviderError:
    vendor = origin.vendor or origin.provider
    return origin.refused(f"{vendor} cannot carry {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)
