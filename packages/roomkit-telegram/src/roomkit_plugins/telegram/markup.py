"""Formatted text as Telegram's HTML: https://core.telegram.org/bots/api#html-style (Bot API 10.0).

Telegram knows styles of text, links, code and quotations, and no blocks: a heading is bold, a list is lines,
a table is code. Code holds no other mark and stands in no style, and quotations are not nested.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from itertools import groupby
from typing import Literal

from roomkit_plugins.wire.markup import parse, to_text
from roomkit_plugins.wire.markup.tree import (
    CodeBlock,
    CodeSpan,
    Divider,
    Grid,
    Heading,
    Hyperlink,
    Listing,
    MarkupBlock,
    MarkupSpan,
    Paragraph,
    Picture,
    Quotation,
    Styled,
    words_of,
)

__all__ = ["TelegramText", "telegram_html", "words_shown"]

_TAGS = {"bold": "b", "italic": "i", "strike": "s", "underline": "u"}
_LINKED = ("http://", "https://")
_RULE = "———"
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class TelegramText:
    """A text with Telegram's tags, and the same words without any."""

    text: str
    plain: str


def words_shown(html: str) -> str:
    """Return what a person sees of Telegram's HTML, which is what Telegram counts."""
    return unescape(_TAG.sub("", html))


@dataclass(frozen=True, slots=True)
class _Run:
    """Words that look alike."""

    text: str
    styles: tuple[str, ...] = ()
    url: str = ""
    is_code: bool = False


def telegram_html(body: str, format: Literal["markdown", "html", "plain"]) -> TelegramText:
    """Return a text from outside as Telegram shows it. Raises InvalidInputError for one that is too long."""
    tree = parse(body, format, keeps_lines=True)
    return TelegramText(_blocks(tree, quoted=False), to_text(tree))


def _blocks(blocks: Sequence[MarkupBlock], *, quoted: bool) -> str:
    return "\n\n".join(filter(None, (_block(block, quoted=quoted) for block in blocks)))


def _block(block: MarkupBlock, *, quoted: bool) -> str:
    match block:
        case Paragraph(spans):
            return _line(spans)
        case Heading(_, spans):
            return _line((Styled("bold", spans),))
        case CodeBlock(text, language):
            named = f' class="language-{escape(language)}"' if language else ""
            return f"<pre><code{named}>{_escaped(text)}</code></pre>"
        case Quotation(blocks):
            inner = _blocks(blocks, quoted=True)
            return inner if quoted or not inner else f"<blockquote>{inner}</blockquote>"
        case Listing():
            return "\n".join(_items(block, quoted=quoted))
        case Grid():
            return f"<pre>{_escaped(_table(block))}</pre>"
        case Divider():
            return _RULE


def _items(listing: Listing, *, quoted: bool) -> Iterator[str]:
    for at, item in enumerate(listing.items):
        sign = "•" if listing.start is None else f"{listing.start + at}."
        lines = "\n".join(filter(None, (_block(block, quoted=quoted) for block in item)))
        if any(isinstance(block, CodeBlock | Grid) for block in item):
            yield f"{sign} {lines}"  # the lines of code keep their own indent
        else:
            yield f"{sign} " + lines.replace("\n", "\n   ")


def _table(grid: Grid) -> str:
    rows = [[words_of(cell).replace("\n", " ") for cell in row] for row in grid.rows]
    columns = max(map(len, rows), default=0)
    widths = [max((len(row[at]) for row in rows if at < len(row)), default=0) for at in range(columns)]
    lines = [" | ".join(cell.ljust(widths[at]) for at, cell in enumerate(row)).rstrip() for row in rows]
    if grid.has_header and lines:
        lines.insert(1, "-+-".join("-" * width for width in widths))
    return "\n".join(lines)


def _line(spans: Iterable[MarkupSpan]) -> str:
    out = []
    for (styles, url, is_code), runs in groupby(
        _runs(spans, (), ""), key=lambda run: (run.styles, run.url, run.is_code)
    ):
        words = _escaped("".join(run.text for run in runs))
        if is_code:
            words = f"<code>{words}</code>"
        for style in reversed(styles):
            words = f"<{_TAGS[style]}>{words}</{_TAGS[style]}>"
        out.append(f'<a href="{escape(url)}">{words}</a>' if url else words)
    return "".join(out)


def _runs(spans: Iterable[MarkupSpan], styles: tuple[str, ...], url: str) -> Iterator[_Run]:
    for span in spans:
        match span:
            case str():
                yield _Run(span, styles, url)
            case CodeSpan(text):
                yield _Run(text, is_code=True) if not url else _Run(text, styles, url)
            case Styled(style, inner):
                yield from _runs(inner, styles if style in styles else (*styles, style), url)
            case Hyperlink(target, inner):
                yield from _link(target, inner, styles)
            case Picture(target, alt):
                linked = url or (target if target.startswith(_LINKED) else "")
                yield _Run(alt or "picture", styles, linked)


def _link(url: str, spans: tuple[MarkupSpan, ...], styles: tuple[str, ...]) -> Iterator[_Run]:
    """Yield a link; of another kind than Telegram's links the target is said."""
    if url.startswith(_LINKED):
        yield from _runs(spans, styles, url)
        return
    yield from _runs(spans, styles, "")
    target = url.partition(":")[2]
    if target and target not in words_of(spans):
        yield _Run(f" ({target})", styles)


def _escaped(text: str) -> str:
    return escape(text, quote=False)
