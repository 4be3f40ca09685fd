"""Division of content that is longer than a channel takes."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.plain_text import markup_to_text
from roomkit.models.content import (
    CompositeContent,
    EventContent,
    MediaContent,
    RichContent,
    TextContent,
)
from roomkit.models.enums import LengthPolicy

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding, ChannelCapabilities

__all__ = ["Takes", "in_parts", "split_text"]

type Takes = Callable[[str], bool]
"""Whether a text goes out as one message; so does whatever begins one that does."""


def in_parts(content: EventContent, binding: ChannelBinding, takes: Takes | None) -> list[EventContent]:
    """Return a content in as many messages as the channel and its lengths ask for, as the policy says.

    The caption of a file, and texts beside files, that are too long go first, as texts of their own; so does
    all but the end of a formatted text, which keeps the buttons, cards and quick replies. Raises
    ProviderError if the policy is to refuse it.
    """
    capabilities = binding.capabilities
    singles = [content] if capabilities.supports_composite else _singly(content, capabilities)
    return [
        part
        for single in singles
        for each in _cards_apart(single, capabilities)
        for part in _in_length(each, binding, takes)
    ]


def _cards_apart(content: EventContent, capabilities: ChannelCapabilities) -> list[EventContent]:
    """Return a formatted text and its cards as two messages, where the vendor shows them apart."""
    is_both = isinstance(content, RichContent) and content.cards and (content.body or content.buttons)
    if not is_both or capabilities.supports_text_with_cards:
        return [content]
    assert isinstance(content, RichContent)
    said = content.replace(cards=(), quick_replies=())
    return [said, content.replace(body="", plain_text="", buttons=())]


def _singly(content: EventContent, capabilities: ChannelCapabilities) -> list[EventContent]:
    """Return the parts of a content one by one, a text as the caption of the only file beside it."""
    flat = list(_flat(content))
    texts = [part for part in flat if isinstance(part, TextContent)]
    files = [part for part in flat if isinstance(part, MediaContent)]
    if len(flat) == 2 and len(texts) == len(files) == 1 and files[0].caption is None:
        most = capabilities.max_caption_length
        if most is None or len(texts[0].body) <= most:
            return [files[0].replace(caption=texts[0].body)]
    return flat


def _flat(content: EventContent) -> Iterator[EventContent]:
    if isinstance(content, CompositeContent):
        for part in content.parts:
            yield from _flat(part)
    else:
        yield content


def _in_length(content: EventContent, binding: ChannelBinding, takes: Takes | None) -> list[EventContent]:
    most = binding.capabilities.max_length
    said, rest = _apart(content)
    if not said or _has_room(content, said, binding.capabilities, takes):
        return [content]
    most = len(said) if most is None else most
    match binding.length_policy:
        case LengthPolicy.ERROR:
            raise ProviderError(
                f"the text has {len(said)} characters and channel {binding.channel_id!r} takes "
                f"{_most_of(content, binding.capabilities) or 'less'}; "
                "shorten it, or attach the channel with length_policy='split'",
                error_code=ErrorCode.TOO_LONG,
            )
        case LengthPolicy.TRUNCATE:
            texts = [_truncated(said, _most_of(content, binding.capabilities) or most, takes)]
        case _:
            texts = split_text(said, most, takes)
    if isinstance(content, RichContent):
        return _rich_in_parts(content, texts, binding.capabilities)
    return [*(TextContent(body=text) for text in texts), *rest]


def _has_room(
    content: EventContent, said: str, capabilities: ChannelCapabilities, takes: Takes | None
) -> bool:
    """Whether the words of a content go out in one message with the rest of it."""
    measured = content.body if isinstance(content, RichContent) else said
    most = _most_of(content, capabilities)
    return (most is None or len(measured) <= most) and (takes is None or takes(said))


def _most_of(content: EventContent, capabilities: ChannelCapabilities) -> int | None:
    """Return how long the words of a content may be; None for any length."""
    beside = None
    if isinstance(content, MediaContent):
        beside = capabilities.max_caption_length
    elif isinstance(content, RichContent) and _has_options(content):
        beside = capabilities.max_rich_length
    known = [most for most in (beside, capabilities.max_length) if most is not None]
    return min(known, default=None)


def _has_options(content: RichContent) -> bool:
    return bool(content.buttons or content.cards or content.quick_replies)


def _rich_in_parts(
    content: RichContent, texts: Sequence[str], capabilities: ChannelCapabilities
) -> list[EventContent]:
    """Return a formatted text that is too long in parts; the last keeps what can be chosen.

    Markdown is cut as it is, between paragraphs where it can be. HTML loses its marks: they could not be
    closed in one message and opened in the next.
    """
    most = _most_of(content, capabilities)
    if _has_options(content) and most is not None and len(texts[-1]) > most:
        texts = [*texts[:-1], *split_text(texts[-1], most)]
    *before, last = texts
    if not _keeps_marks(content):
        end = content.replace(body=_as_html(last), format="html", plain_text=last)
        return [
            *(TextContent(body=text) for text in before),
            end if _has_options(content) else TextContent(body=last),
        ]
    bare = content.replace(buttons=(), cards=(), quick_replies=())
    return [*(bare.replace(body=text) for text in before), content.replace(body=last)]


def _words_of(content: RichContent) -> str:
    """Return what is cut of a formatted text: Markdown itself, else the plain text."""
    if content.plain_text is not None:
        return content.plain_text
    return content.body if _keeps_marks(content) else markup_to_text(content.body, content.format)


def _keeps_marks(content: RichContent) -> bool:
    return content.format == "markdown" and content.plain_text is None


def _as_html(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")


def _apart(content: EventContent) -> tuple[str, list[EventContent]]:
    """Return the words of a content whose length counts, and the rest without them."""
    match content:
        case TextContent():
            return content.body, []
        case RichContent():
            return _words_of(content), []
        case MediaContent() if content.caption:
            return content.caption, [content.replace(caption=None)]
        case CompositeContent():
            apart = [_apart(part) for part in content.parts]
            rest = tuple(each for _, parts in apart for each in parts)
            left: list[EventContent] = [*rest] if len(rest) < 2 else [content.replace(parts=rest)]
            return "\n".join(said for said, _ in apart if said), left
        case _:
            return "", [content]


def _truncated(text: str, most: int, takes: Takes | None) -> str:
    if len(text) <= most and (takes is None or takes(text)):
        return text
    kept = max(most - 1, 0)
    if takes is not None:
        kept = _longest(text, kept, lambda prefix: takes(prefix + "…"))
    return text[:kept] + "…"


def _longest(text: str, most: int, takes: Takes) -> int:
    """Return the length of the longest beginning of a text, of `most` code points at most, that is taken.

    At least 1: a text of which no character is taken is not divided for ever.
    """
    taken, refused = 1, min(most, len(text)) + 1
    while refused - taken > 1:
        middle = (taken + refused) // 2
        if takes(text[:middle]):
            taken = middle
        else:
            refused = middle
    return taken


_BOUNDARIES = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?…])\s+"), re.compile(r"\s+"))


def split_text(text: str, most: int, takes: Takes | None = None) -> list[str]:
    """Return `text` in pieces of at most `most` code points that `takes` takes, cut where a reader would.

    The cut is made at the last paragraph, line, sentence or word boundary in the second half of
    a piece, else at the limit. Only white space at the cuts is lost; combining marks and joined
    emoji stay with what they belong to where the limit allows.
    """
    if most < 1:
        raise ValueError(f"cannot split text into pieces of {most} characters")
    pieces: list[str] = []  # bound: the text itself
    rest = text
    while len(rest) > most or (rest and takes is not None and not takes(rest)):
        cut, resume = _cut(rest, most if takes is None else _longest(rest, most, takes))
        piece = rest[:cut]
        if piece.strip():
            pieces.append(piece)
        rest = rest[resume:]
    if rest.strip() or not pieces:
        pieces.append(rest)
    return pieces


def _cut(text: str, most: int) -> tuple[int, int]:
    window = text[: most + 1]
    for boundary in _BOUNDARIES:
        found = [match for match in boundary.finditer(window) if most // 2 <= match.start() <= most]
        if found and found[-1].start() > 0:
            start = found[-1].start()
            return start, start + len(text[start:]) - len(text[start:].lstrip())
    cut = most
    while (cut > max(most // 2, 1) and (_joins(text[cut]) or _halves_a_flag(text, cut))) or (
        cut > 1 and text[cut - 1] == "\u200d"
    ):
        cut -= 1
    return cut, cut


def _joins(character: str) -> bool:
    """Whether a character belongs to the one before: a mark, a joiner, a variation or skin tone."""
    return (
        unicodedata.category(character).startswith("M")
        or character == "\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def _halves_a_flag(text: str, cut: int) -> bool:
    """Whether the cut falls between the two letters of a flag."""
    start = cut
    while start > 0 and _is_flag_letter(text[start - 1]):
        start -= 1
    return (cut - start) % 2 == 1 and _is_flag_letter(text[cut])


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
