"""What a carrier of texts and files is given of a content, and what a content is made of what it brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

__all__ = ["PlainMessage", "file_url", "parts_of", "plain_message", "text_and_files"]


@dataclass(frozen=True, slots=True)
class PlainMessage:
    """A text, and files that the vendor fetches by their http(s) URLs; not both empty."""

    text: str = ""
    urls: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    texts: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)


def plain_message(
    content: EventContent, origin: Origin, *, longest: int | None = None, most_files: int | None = None
) -> PlainMessage:
    """Return the text and the files of a content, in its order; texts are lines.

    `longest` is how many UTF-16 code units the vendor takes, `most_files` how many files. Raises
    ProviderError: `invalid_request` for an empty message, `too_long`, and `unsupported_content` for too many
    files, for another kind of content, and for a file without a URL that the vendor could fetch.
    """
    found = _Found()
    for part in parts_of(content):
        _add(part, found, origin)
    text = "\n".join(filter(None, found.texts))
    if not text.strip() and not found.urls:
        raise origin.refused("the message is empty: it has neither text nor a file")
    if longest is not None and len(text.encode("utf-16-le")) > 2 * longest:
        raise origin.refused(
            f"the text has more than {longest} characters: send it by an SMSChannel, which divides it",
            error_code=ErrorCode.TOO_LONG,
        )
    if most_files is not None and len(found.urls) > most_files:
        raise _unsupported(f"a message of {len(found.urls)} files: it takes {most_files} at most", origin)
    return PlainMessage(text, tuple(found.urls))


def text_and_files(text: str, files: Sequence[EventContent]) -> EventContent:
    """Return what an inbound message says as one content: the words beside a single file are its caption."""
    if text and len(files) == 1 and isinstance(files[0], MediaContent):
        return files[0].replace(caption=text)
    parts = [*([TextContent(body=text)] if text else []), *files]
    if len(parts) < 2:
        return parts[0] if parts else TextContent(body="")
    return CompositeContent(parts=tuple(parts))


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
