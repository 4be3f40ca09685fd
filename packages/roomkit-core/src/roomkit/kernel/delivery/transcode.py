"""Turning content into what a channel can carry."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, override

from roomkit.abc.transcoder import ContentTranscoder
from roomkit.authoring.plain_text import (
    buttons_of,
    cards_as_lines,
    described,
    label_of,
    options_as_lines,
)
from roomkit.models.channel import ChannelBinding, ChannelCapabilities
from roomkit.models.content import (
    MEDIA_TYPE_OF,
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    MediaContent,
    RichContent,
    TextContent,
    UnknownContent,
    VideoContent,
)
from roomkit.models.enums import ChannelMediaType

__all__ = ["DefaultContentTranscoder", "carries"]


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
    return (
        _buttons_shown(content.buttons, capabilities) == len(content.buttons)
        and _cards_shown(content.cards, capabilities) == len(content.cards)
        and _replies_shown(content.quick_replies, capabilities) == len(content.quick_replies)
    )


def _buttons_shown(buttons: Sequence[Mapping[str, Any]], capabilities: ChannelCapabilities) -> int:
    """Return how many buttons, from the first, a channel shows; the others are said in words."""
    if not capabilities.supports_buttons:
        return 0
    labels = [label_of(button) for button in buttons]
    return _fitting(labels, capabilities.max_buttons, capabilities.max_button_text_length)


def _replies_shown(replies: Sequence[str], capabilities: ChannelCapabilities) -> int:
    if not capabilities.supports_quick_replies:
        return 0
    return _fitting(replies, capabilities.max_quick_replies, capabilities.max_button_text_length)


def _cards_shown(cards: Sequence[Mapping[str, Any]], capabilities: ChannelCapabilities) -> int:
    if not capabilities.supports_cards:
        return 0
    most = len(cards) if capabilities.max_cards is None else min(capabilities.max_cards, len(cards))
    too_much = (at for at, card in enumerate(cards[:most]) if not _card_fits(card, capabilities))
    return next(too_much, most)


def _card_fits(card: Mapping[str, Any], capabilities: ChannelCapabilities) -> bool:
    """Whether the words of a card, and its buttons, are within the channel's limits."""
    buttons = buttons_of(card)
    labels = [label_of(button) for button in buttons]
    return (
        _is_within(capabilities.max_card_title_length, str(card.get("title") or ""))
        and _is_within(capabilities.max_card_description_length, str(card.get("description") or ""))
        and _fitting(labels, capabilities.max_card_buttons, capabilities.max_button_text_length)
        == len(buttons)
    )


def _is_within(most: int | None, words: str) -> bool:
    return most is None or len(words) <= most


def _fitting(labels: Sequence[str], most: int | None, longest: int | None) -> int:
    """Return how many of the first labels are `most` at most, and none of them longer than `longest`."""
    kept = len(labels) if most is None else min(most, len(labels))
    too_long = (at for at, label in enumerate(labels[:kept]) if longest is not None and len(label) > longest)
    return next(too_long, kept)


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
            return other if other is not None else _text(described(content), capabilities)
        case _:
            return _text(described(content), capabilities)


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
    buttons = _buttons_shown(content.buttons, capabilities)
    cards = _cards_shown(content.cards, capabilities)
    replies = _replies_shown(content.quick_replies, capabilities)
    said = [
        *options_as_lines(content.buttons[buttons:]),
        *cards_as_lines(content.cards[cards:]),
        *(f"- {reply}" for reply in content.quick_replies[replies:]),
    ]
    changes: dict[str, Any] = {
        "buttons": content.buttons[:buttons],
        "cards": content.cards[:cards],
        "quick_replies": content.quick_replies[:replies],
    }
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
