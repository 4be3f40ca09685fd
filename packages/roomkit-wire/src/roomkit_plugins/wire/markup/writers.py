"""A tree as HTML and as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from roomkit_plugins.wire.markup.tree import (
    LINE_BREAK,
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

__all__ = ["to_html", "to_text"]

_TAGS = {"bold": "strong", "italic": "em", "strike": "s", "underline": "u"}


# -- HTML -----------------------------------------------------------------------------------------


def to_html(tree: Iterable[MarkupBlock]) -> str:
    """Return a tree as the content of an HTML body: no script, style or class, every text escaped."""
    return "\n".join(map(_html, tree))


def _html(block: MarkupBlock) -> str:
    match block:
        case Paragraph(spans):
            return f"<p>{_html_line(spans)}</p>"
        case Heading(level, spans):
            return f"<h{level}>{_html_line(spans)}</h{level}>"
        case CodeBlock(text, language):
            kind = f' class="language-{escape(language)}"' if language else ""
            return f"<pre><code{kind}>{escape(text, quote=False)}\n</code></pre>"
        case Quotation(blocks):
            return f"<blockquote>\n{to_html(blocks)}\n</blockquote>"
        case Listing():
            return _html_listing(block)
        case Grid():
            return _html_grid(block)
        case Divider():
            return "<hr>"


def _html_listing(block: Listing) -> str:
    items = "\n".join(f"<li>{_html_item(item)}</li>" for item in block.items)
    if block.start is None:
        return f"<ul>\n{items}\n</ul>"
    start = "" if block.start == 1 else f' start="{block.start}"'
    return f"<ol{start}>\n{items}\n</ol>"


def _html_item(item: tuple[MarkupBlock, ...]) -> str:
    """Return an item; its only paragraph, before a list at most, needs no element."""
    match item:
        case (Paragraph(spans),):
            return _html_line(spans)
        case (Paragraph(spans), Listing() as inner):
            return f"{_html_line(spans)}\n{_html(inner)}"
        case _:
            return to_html(item)


def _html_grid(block: Grid) -> str:
    lines = []
    for number, row in enumerate(block.rows):
        tag = "th" if block.has_header and number == 0 else "td"
        cells = "".join(f"<{tag}>{_html_line(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _html_line(spans: Iterable[MarkupSpan]) -> str:
    return "".join(map(_html_span, spans))


def _html_span(span: MarkupSpan) -> str:
    match span:
        case str():
            return "<br>\n" if span == LINE_BREAK else escape(span, quote=False)
        case Styled(style, spans):
            tag = _TAGS[style]
            return f"<{tag}>{_html_line(spans)}</{tag}>"
        case CodeSpan(text):
            return f"<code>{escape(text, quote=False)}</code>"
        case Hyperlink(url, spans):
            return f'<a href="{escape(url)}">{_html_line(spans)}</a>'
        case Picture(url, alt):
            return f'<img src="{escape(url)}" alt="{escape(alt)}">'


# -- plain text -----------------------------------------------------------------------------------


def to_text(tree: Iterable[MarkupBlock]) -> str:
    """Return a tree as plain text: no marks, links with their addresses, an empty line between blocks."""
    return "\n\n".join(map(_text, tree))


def _text(block: MarkupBlock) -> str:
    match block:
        case Paragraph(spans) | Heading(_, spans):
            return _text_line(spans)
        case CodeBlock(text):
            return text
        case Quotation(blocks):
            return "\n".join(f"> {line}".rstrip() for line in to_text(blocks).split("\n"))
        case Listing():
            return "\n".join(_text_items(block))
        case Grid(rows):
            return "\n".join(" | ".join(map(_text_cell, row)) for row in rows)
        case Divider():
            return "---"


def _text_items(block: Listing) -> Iterator[str]:
    for number, item in enumerate(block.items):
        mark = "- " if block.start is None else f"{block.start + number}. "
        between = "\n" if all(isinstance(each, Paragraph | Listing) for each in item) else "\n\n"
        lines = between.join(map(_text, item)).split("\n")
        indent = "\n" + " " * len(mark)
        yield mark + indent.join(lines)


def _text_cell(spans: Iterable[MarkupSpan]) -> str:
    return _text_line(spans).replace("\n", " ")


def _text_line(spans: Iterable[MarkupSpan]) -> str:
    return "".join(map(_text_span, spans))


def _text_span(span: MarkupSpan) -> str:
    match span:
        case str():
            return span
        case Styled(_, spans):
            return _text_line(spans)
        case CodeSpan(text):
            return text
        case Hyperlink(url, spans):
            return _text_link(url, _text_line(spans))
        case Picture(_, alt):
            return f"[{alt}]" if alt else ""


def _text_link(url: str, words: str) -> str:
    address = url.removeprefix("mailto:").removeprefix("tel:")
    if words in ("", url, address):
        return words or address
    return f"{words} ({address})"
