"""Formatted text in WhatsApp's marks.

https://faq.whatsapp.com/539178204879377 (2026): *bold*, _italic_, ~strike~, `code`, ```monospace```, lists
and quotes. A mark counts beside words only, within one line, and around text that does not hold it: where
it would not, or would show, it is left out, and the words stay.
"""

from __future__ import annotations

from collections.abc import Iterable

from roomkit.models.content import RichContent
from roomkit_plugins.wire.markup import parse
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
)

__all__ = ["marked_up"]

_MARKS = {"bold": "*", "italic": "_", "strike": "~", "underline": ""}
_FENCE = "```"


def marked_up(content: RichContent) -> str:
    """Return the text of a rich content with WhatsApp's marks. Raises InvalidInputError: see `parse`."""
    return _blocks(parse(content.body, content.format, keeps_lines=True))


def _blocks(blocks: Iterable[MarkupBlock]) -> str:
    return "\n\n".join(map(_block, blocks))


def _block(block: MarkupBlock) -> str:
    match block:
        case Paragraph(spans):
            return _line(spans)
        case Heading(_, spans):
            return _marked("*", _line(spans, inside="*"))
        case CodeBlock(text):
            return text if _FENCE in text or not text.strip() else f"{_FENCE}\n{text}\n{_FENCE}"
        case Quotation(blocks):
            return "\n".join(f"> {line}".rstrip() for line in _blocks(blocks).split("\n"))
        case Listing():
            return "\n".join(_items(block))
        case Grid(rows):
            return "\n".join(" | ".join(_line(cell).replace("\n", " ") for cell in row) for row in rows)
        case Divider():
            return "---"


def _items(block: Listing) -> Iterable[str]:
    for number, item in enumerate(block.items):
        mark = "- " if block.start is None else f"{block.start + number}. "
        lines = "\n".join(map(_block, item)).split("\n")
        yield mark + ("\n" + " " * len(mark)).join(lines)


def _line(spans: Iterable[MarkupSpan], inside: str = "") -> str:
    return "".join(_span(span, inside) for span in spans)


def _span(span: MarkupSpan, inside: str) -> str:
    """Return a span; `inside` are the marks around it, which do not nest in themselves."""
    match span:
        case str():
            return span
        case CodeSpan(text):
            return _marked("`", text)
        case Styled(style, spans):
            mark = _MARKS[style]
            words = _line(spans, inside + mark)
            return words if mark in inside else _marked(mark, words)
        case Hyperlink(url, spans):
            return _link(url, _line(spans, inside))
        case Picture(_, alt):
            return f"[{alt}]" if alt else ""


def _marked(mark: str, words: str) -> str:
    """Return each line of a text between marks, which touch its words."""
    if not mark or mark in words:
        return words
    return "\n".join(_marked_line(mark, line) for line in words.split("\n"))


def _marked_line(mark: str, line: str) -> str:
    words = line.strip()
    if not words:
        return line
    before, _, after = line.partition(words)
    return f"{before}{mark}{words}{mark}{after}"


def _link(url: str, words: str) -> str:
    address = url.removeprefix("mailto:").removeprefix("tel:")
    return words or address if words in ("", url, address) else f"{words} ({address})"
