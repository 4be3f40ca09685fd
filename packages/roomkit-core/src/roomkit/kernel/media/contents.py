"""Where contents refer to files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EditContent,
    EventContent,
    MediaContent,
    RichContent,
    VideoContent,
)
from roomkit.models.media import MEDIA_SCHEME, MediaRef

__all__ = ["id_of", "referred", "urls_of", "with_urls"]


def urls_of(content: EventContent) -> Iterator[str]:
    """Yield the URLs of files in a content, in order."""
    match content:
        case MediaContent() | AudioContent():
            yield content.url
        case VideoContent():
            yield content.url
            if content.thumbnail_url is not None:
                yield content.thumbnail_url
        case RichContent():
            yield from (url for card in content.cards if isinstance(url := card.get("media_url"), str))
        case CompositeContent():
            for part in content.parts:
                yield from urls_of(part)
        case EditContent():
            yield from urls_of(content.new_content)


def id_of(url: str) -> str | None:
    """Return the id of the file that a URL refers to; None for any other URL."""
    return url.removeprefix(MEDIA_SCHEME) if url.startswith(MEDIA_SCHEME) else None


def referred(content: EventContent) -> list[str]:
    """Return the ids of the files that a content refers to, each once."""
    found = (id_of(url) for url in urls_of(content))
    return list(dict.fromkeys(each for each in found if each is not None))


def with_urls(content: EventContent, urls: Mapping[str, str | MediaRef]) -> EventContent:
    """Return a content with other URLs; for those that are files now, with the file's description."""
    match content:
        case MediaContent() if content.url in urls:
            found = urls[content.url]
            if isinstance(found, str):
                return content.replace(url=found)
            return content.replace(url=found.url, mime_type=found.mime_type, size_bytes=found.size_bytes)
        case AudioContent() if content.url in urls:
            found = urls[content.url]
            if isinstance(found, str):
                return content.replace(url=found)
            return content.replace(url=found.url, mime_type=found.mime_type)
        case VideoContent():
            return _film(content, urls)
        case RichContent() if content.cards:
            return content.replace(cards=tuple(_card(card, urls) for card in content.cards))
        case CompositeContent():
            return content.replace(parts=tuple(with_urls(part, urls) for part in content.parts))
        case EditContent():
            return content.replace(new_content=with_urls(content.new_content, urls))
        case _:
            return content


def _film(content: VideoContent, urls: Mapping[str, str | MediaRef]) -> VideoContent:
    found, still = urls.get(content.url), urls.get(content.thumbnail_url or "")
    if still is not None:
        content = content.replace(thumbnail_url=still if isinstance(still, str) else still.url)
    if found is None:
        return content
    if isinstance(found, str):
        return content.replace(url=found)
    return content.replace(url=found.url, mime_type=found.mime_type)


def _card(card: Mapping[str, Any], urls: Mapping[str, str | MediaRef]) -> Mapping[str, Any]:
    url = card.get("media_url")
    found = urls.get(url) if isinstance(url, str) else None
    return card if found is None else {**card, "media_url": found if isinstance(found, str) else found.url}
