"""Turning content into what a channel can carry."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any, override

from roomkit.abc.transcoder import ContentTranscoder
from roomkit.models.channel import ChannelBinding, ChannelCapabilities
from roomkit.models.content import (
    MEDIA_TYPE_OF,
    AudioContent,
    CompositeContent,
    CustomContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    UnknownContent,
    VideoContent,
    text_of,
)
from roomkit.models.enums import ChannelMediaType

__all__ = ["DefaultContentTranscoder", "carries", "markup_to_text"]

# Each pattern reads on only to the next of its own marks: the time grows with the text, not its square.
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"<\s*(?:br|/p|/div|/li|/h[1-6])\s*/?\s*>", re.IGNORECASE)
_TAG_IN_ANCHOR = re.compile(r"<(?!/?a[\s>])[^<>]*>", re.IGNORECASE)
_ANCHOR = re.compile(r"<a\s([^<>]*)>([^<>]*)</a\s*>", re.IGNORECASE)
_HREF = re.compile(r"\bhref\s*=\s*[\"']?([^\"'\s<>]+)", re.IGNORECASE)
_MARKDOWN_LINK = re.compile(r"!?\[([^\[\]]*)\]\(([^()\s]+)\)")
_MARKDOWN_MARKS = tuple(
    re.compile(rf"(?<!\w){mark}(?=\S)({body})(?<=\S){mark}(?!\w)")
    for mark, body in (
        (r"\*\*", r"(?:[^*\n]|\*(?!\*))+"),
        ("__", r"(?:[^_\n]|_(?!_))+"),
        ("~~", r"(?:[^~\n]|~(?!~))+"),
        ("`", r"[^`\n]+"),
        (r"\*", r"[^*\n]+"),
        ("_", r"(?:[^_\n]|(?<=\w)_(?=\w))+"),
    )
)
_MARKDOWN_HEADING = re.compile(r"^#{1,6}\s+", re.MULTILINE)


def carries(capabilities: ChannelCapabilities, content: EventContent) -> bool:
    """Return whether a channel takes `content` exactly as it is."""
    media_type = MEDIA_TYPE_OF.get(content.type)
    if media_type is not None and media_type not in capabilities.media_types:
        return False
    match content:
        case TextContent():
            return True
        case RichContent():
            return _shows(capabilities, content)
        case MediaContent():
            return _accepts(capabilities, content.mime_type, content.size_bytes)
        case CompositeContent():
            return all(carries(capabilities, part) for part in content.parts)
        case EditContent():
            return capabilities.supports_edit and carries(capabilities, content.new_content)
        case DeleteContent():
            return capabilities.supports_delete
        case UnknownContent():
            return False
        case _:
            return True


def _shows(capabilities: ChannelCapabilities, content: RichContent) -> bool:
    if content.buttons and not capabilities.supports_buttons:
        return False
    if capabilities.max_buttons is not None and len(content.buttons) > capabilities.max_buttons:
        return False
    if content.cards and not capabilities.supports_cards:
        return False
    return not content.quick_replies or capabilities.supports_quick_replies


def _accepts(capabilities: ChannelCapabilities, mime_type: str, size: int | None) -> bool:
    if capabilities.supported_media_types and mime_type not in capabilities.supported_media_types:
        return False
    limit = capabilities.max_media_size_bytes
    return limit is None or size is None or size <= limit


class DefaultContentTranscoder(ContentTranscoder):
    """Falls back from rich to text, and from one kind of media to another, keeping words and links."""

    @override
    async def transcode(
        self,
        content: EventContent,
        source_binding: ChannelBinding | None,
        target_binding: ChannelBinding,
    ) -> EventContent | None:
        return fit(content, target_binding.capabilities)


def fit(content: EventContent, capabilities: ChannelCapabilities) -> EventContent | None:
    """Return the nearest thing to `content` that the channel carries; None when there is none."""
    if carries(capabilities, content):
        return content
    match content:
        case CompositeContent():
            return _fit_composite(content, capabilities)
        case EditContent():
            return _fit_edit(content, capabilities)
        case RichContent() if ChannelMediaType.RICH in capabilities.media_types:
            return _fit_rich(content, capabilities)
        case AudioContent() | VideoContent() | MediaContent():
            other = _as_other_media(content, capabilities)
            return other if other is not None else _text(_describe(content), capabilities)
        case _:
            return _text(_describe(content), capabilities)


def _text(body: str, capabilities: ChannelCapabilities) -> TextContent | None:
    return TextContent(body=body) if ChannelMediaType.TEXT in capabilities.media_types else None


def _fit_composite(content: CompositeContent, capabilities: ChannelCapabilities) -> EventContent | None:
    parts = [part for part in (fit(part, capabilities) for part in content.parts) if part is not None]
    if not parts:
        return None
    if all(isinstance(part, TextContent) for part in parts):
        return TextContent(body="\n".join(part.body for part in parts if isinstance(part, TextContent)))
    return CompositeContent(parts=tuple(parts))


def _fit_edit(content: EditContent, capabilities: ChannelCapabilities) -> EventContent | None:
    new = fit(content.new_content, capabilities)
    if capabilities.supports_edit and new is not None:
        return content.replace(new_content=new)
    if isinstance(new, TextContent):
        return TextContent(body=f"Correction: {new.body}")
    return new if new is not None else _text("[Correction]", capabilities)


def _fit_rich(content: RichContent, capabilities: ChannelCapabilities) -> RichContent:
    """Keep the formatting, and say in words what the channel has no buttons or cards for."""
    most = capabilities.max_buttons if capabilities.supports_buttons else 0
    kept = content.buttons if most is None else content.buttons[:most]
    said = list(_options(content.buttons[len(kept) :]))
    if content.cards and not capabilities.supports_cards:
        said.extend(_cards(content.cards))
    replies = content.quick_replies
    if replies and not capabilities.supports_quick_replies:
        said.extend(f"- {reply}" for reply in replies)
        replies = ()
    cards = content.cards if capabilities.supports_cards else ()
    changes: dict[str, Any] = {"buttons": kept, "cards": cards, "quick_replies": replies}
    if said:
        if content.format == "html":
            as_html = (html.escape(line).replace("\n", "<br>") for line in said)
            changes["body"] = "<br>".join([content.body, *as_html])
        else:
            changes["body"] = "\n".join([content.body, *said])
        if content.plain_text is not None:
            changes["plain_text"] = "\n".join([content.plain_text, *said])
    return content.replace(**changes)


def _as_other_media(
    content: AudioContent | VideoContent | MediaContent, capabilities: ChannelCapabilities
) -> EventContent | None:
    """Return the same file as another kind of media that the channel carries."""
    if isinstance(content, MediaContent):
        main = content.mime_type.partition("/")[0]
        other: AudioContent | VideoContent
        if main == "audio" and ChannelMediaType.AUDIO in capabilities.media_types:
            other = AudioContent(url=content.url, mime_type=content.mime_type)
        elif main == "video" and ChannelMediaType.VIDEO in capabilities.media_types:
            other = VideoContent(url=content.url, mime_type=content.mime_type)
        else:
            return None
        said = _text(content.caption, capabilities) if content.caption else None
        return other if said is None else CompositeContent(parts=(other, said))
    caption = content.transcript if isinstance(content, AudioContent) else None
    media = MediaContent(url=content.url, mime_type=content.mime_type, caption=caption)
    return media if carries(capabilities, media) else None


def _describe(content: EventContent) -> str:
    match content:
        case RichContent():
            return _rich_as_text(content)
        case MediaContent():
            named = content.caption or content.filename
            return f"[Media: {_joined(named, content.url)}]"
        case AudioContent():
            return content.transcript or f"[Voice message{_link(content.url)}]"
        case VideoContent():
            return f"[Video{_link(content.url)}]"
        case LocationContent():
            place = content.label or content.address or ""
            return f"[Location: {place} ({content.latitude}, {content.longitude})]".replace(":  (", ": (")
        case TemplateContent():
            return content.body or f"[Template: {content.template_id}]"
        case DeleteContent():
            return "[Message deleted]"
        case TextContent() | SystemContent():
            return content.body
        case CustomContent():
            return content.body or f"[{content.kind}]"
        case UnknownContent():
            return text_of(content)
        case _:
            return ""


def _link(url: str) -> str:
    """A data: URL is a file, not a link: it is never put into a text."""
    return "" if url.lower().startswith("data:") else f": {url}"


def _joined(named: str | None, url: str) -> str:
    link = _link(url).removeprefix(": ")
    return " ".join(filter(None, (named, link))) or "file"


def _rich_as_text(content: RichContent) -> str:
    body = content.plain_text
    if body is None:
        body = markup_to_text(content.body, content.format)
    said = [body, *_cards(content.cards), *_options(content.buttons)]
    said.extend(f"- {reply}" for reply in content.quick_replies)
    return "\n".join(filter(None, said))


def _options(buttons: object) -> Iterable[str]:
    """Buttons are free-form JSON: anything else is omitted."""
    if not isinstance(buttons, list | tuple):
        return
    for number, button in enumerate((each for each in buttons if isinstance(each, Mapping)), 1):
        label = str(button.get("text") or button.get("title") or button.get("label") or "")
        target = button.get("url") or button.get("phone_number")
        yield f"{number}. {label}: {target}" if target else f"{number}. {label}"


def _cards(cards: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for card in cards:
        media = str(card.get("media_url") or "")
        link = "" if media.lower().startswith("data:") else media
        words = (card.get("title"), card.get("description"), link)
        yield "\n".join([*(str(each) for each in words if each), *_options(card.get("buttons"))])


def markup_to_text(body: str, markup: str) -> str:
    """Return HTML or Markdown as plain text: marks go, links keep their address."""
    if markup == "html":
        text = _TAG_IN_ANCHOR.sub("", _BREAK.sub("\n", body))
        text = _TAG.sub("", _ANCHOR.sub(_anchor_as_text, text))
        return html.unescape(text).replace("\xa0", " ").strip()
    text = _MARKDOWN_LINK.sub(lambda link: f"{link[1]} ({link[2]})" if link[1] else link[2], body)
    for mark in _MARKDOWN_MARKS:
        text = mark.sub(r"\1", text)
    return _MARKDOWN_HEADING.sub("", text)


def _anchor_as_text(anchor: re.Match[str]) -> str:
    href, words = _HREF.search(anchor[1]), anchor[2].strip()
    address = href[1] if href is not None else ""
    if not address.lower().startswith(("http://", "https://")) or address == words:
        return words
    return f"{words} ({address})" if words else address
