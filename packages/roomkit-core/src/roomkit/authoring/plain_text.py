"""Content as plain text: what a channel shows that has no form for it. Nothing is left unsaid."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roomkit.models.content import (
    AudioContent,
    CustomContent,
    DeleteContent,
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

__all__ = [
    "buttons_of",
    "cards_as_lines",
    "described",
    "label_of",
    "markup_to_text",
    "options_as_lines",
    "rich_as_text",
]

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


def described(content: EventContent) -> str:
    """Return a content in words; "" for a composite one and an edit, which have none of their own."""
    match content:
        case RichContent():
            return rich_as_text(content)
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


def rich_as_text(content: RichContent) -> str:
    """Return formatted text without marks, its cards, buttons and quick replies as lines."""
    body = content.plain_text
    if body is None:
        body = markup_to_text(content.body, content.format)
    said = [body, *cards_as_lines(content.cards), *options_as_lines(content.buttons)]
    said.extend(f"- {reply}" for reply in content.quick_replies)
    return "\n".join(filter(None, said))


def buttons_of(card: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the buttons of a card; none if it has something else in their place."""
    buttons = card.get("buttons")
    if not isinstance(buttons, list | tuple):
        return ()
    return [button for button in buttons if isinstance(button, Mapping)]


def label_of(button: Mapping[str, Any]) -> str:
    """Return the text that a button shows."""
    return str(button.get("text") or button.get("title") or button.get("label") or "")


def options_as_lines(buttons: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Yield each button with a number and where it leads."""
    for number, button in enumerate(buttons, 1):
        target = button.get("url") or button.get("phone_number")
        label = label_of(button)
        yield f"{number}. {label}: {target}" if target else f"{number}. {label}"


def cards_as_lines(cards: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Yield each card, with its buttons, as lines."""
    for card in cards:
        media = str(card.get("media_url") or "")
        link = "" if media.lower().startswith("data:") else media
        words = (card.get("title"), card.get("description"), link)
        yield "\n".join([*(str(each) for each in words if each), *options_as_lines(buttons_of(card))])


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
