"""HTML from outside as a tree; a table that serves as layout, as in mails, becomes its cells' blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from roomkit.authoring.plain_text import markup_to_text
from roomkit_plugins.wire.markup.elements import Element, element_of
from roomkit_plugins.wire.markup.links import kept_url
from roomkit_plugins.wire.markup.plain import plain_tree
from roomkit_plugins.wire.markup.spans import tidied
from roomkit_plugins.wire.markup.tree import (
    LINE_BREAK,
    LINK_SCHEMES,
    MAX_DEPTH,
    PICTURE_SCHEMES,
    CodeBlock,
    CodeSpan,
    Divider,
    Grid,
    Heading,
    Hyperlink,
    Listing,
    MarkupBlock,
    MarkupSpan,
    MarkupTree,
    Paragraph,
    Picture,
    Quotation,
    Styled,
)

__all__ = ["MOST_TAGS", "html_tree"]

MOST_TAGS = 10_000
"""Tags of an HTML text whose form is kept."""


type _Wrap = Callable[[tuple[MarkupSpan, ...]], tuple[MarkupSpan, ...]]
"""Puts the styles of the inline elements around a block upon spans in it."""

_STYLES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "cite": "italic",
    "dfn": "italic",
    "var": "italic",
    "s": "strike",
    "strike": "strike",
    "del": "strike",
    "u": "underline",
    "ins": "underline",
}
_CODE = frozenset({"code", "kbd", "samp", "tt"})
_ROWS = frozenset({"tbody", "thead", "tfoot"})
_TAG = re.compile(r"<[a-zA-Z]")
_UNSEEN = re.compile(r"<(script|style|title)\b[^<]*(?:<(?!/\1)[^<]*)*</\1", re.IGNORECASE)
_HIGHEST_NUMBER = 999_999_999


def html_tree(body: str) -> MarkupTree:
    """Return the tree of an HTML text; of one with more than `MOST_TAGS` tags, the text without its form."""
    # The parser's time grows with the square of what is nested: 10,000 tags take it a second at the worst.
    if body.count("<") > MOST_TAGS and len(_TAG.findall(body)) > MOST_TAGS:
        return plain_tree(markup_to_text(_UNSEEN.sub(" ", body), "html"))
    return tuple(_blocks(element_of(body), _as_they_are, 0))


def _as_they_are(spans: tuple[MarkupSpan, ...]) -> tuple[MarkupSpan, ...]:
    return spans


# -- blocks ---------------------------------------------------------------------------------------


def _blocks(element: Element, wrap: _Wrap, depth: int) -> Iterator[MarkupBlock]:
    """Yield the blocks of an element's children; spans between blocks are paragraphs."""
    line: list[MarkupSpan] = []
    for child in element.children:
        if isinstance(child, Element) and child.has_block:
            yield from _paragraph(line, wrap)
            line = []
            yield from _block(child, wrap, depth)
        else:
            line.extend(_spans(child, 0))
    yield from _paragraph(line, wrap)


def _paragraph(line: Iterable[MarkupSpan], wrap: _Wrap) -> Iterator[MarkupBlock]:
    if spans := tidied(line):
        yield Paragraph(wrap(spans))


def _block(element: Element, wrap: _Wrap, depth: int) -> Iterator[MarkupBlock]:
    tag = element.tag
    if depth >= MAX_DEPTH - 1 and tag in ("blockquote", "ul", "ol", "table"):
        yield from _blocks(element, wrap, depth)
        return
    match tag:
        case "hr":
            yield Divider()
        case "pre":
            yield from _code_block(element)
        case "blockquote":
            if inner := tuple(_blocks(element, wrap, depth + 1)):
                yield Quotation(inner)
        case "ul" | "ol":
            yield from _listing(element, wrap, depth + 1)
        case "table":
            yield from _table(element, wrap, depth)
        case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
            yield from _heading(element, wrap, depth)
        case _:
            yield from _blocks(element, _wrapped(element, wrap), depth)


def _wrapped(element: Element, wrap: _Wrap) -> _Wrap:
    """Return how spans within an inline element that holds blocks are wrapped."""
    if element.tag in _STYLES or element.tag == "a":
        return lambda spans: wrap(tuple(_inline(element, spans)))
    return wrap


def _heading(element: Element, wrap: _Wrap, depth: int) -> Iterator[MarkupBlock]:
    for block in _blocks(element, wrap, depth):
        yield Heading(int(element.tag[1]), block.spans) if isinstance(block, Paragraph) else block


def _code_block(element: Element) -> Iterator[MarkupBlock]:
    only = element.children[0] if len(element.children) == 1 else None
    names = only.attributes.get("class", "") if isinstance(only, Element) else ""
    language = next((name[9:] for name in names.split() if name.startswith("language-")), "")
    if text := _text(element).removeprefix("\n").removesuffix("\n"):
        yield CodeBlock(text, language)


def _text(element: Element | str) -> str:
    """Return the text of an element as it stands, for code."""
    if isinstance(element, str):
        return element
    return "\n" if element.tag == "br" else "".join(map(_text, element.children))


def _listing(element: Element, wrap: _Wrap, depth: int) -> Iterator[MarkupBlock]:
    items: list[tuple[MarkupBlock, ...]] = []
    for child in element.children:
        if isinstance(child, Element) and child.tag == "li":
            items.append(tuple(_blocks(child, wrap, depth)))
        elif isinstance(child, Element) or child.strip():
            # A list or a text that is not in an item belongs to the item before.
            inner = tuple(_blocks(Element("li", children=[child]), wrap, depth))
            items.append((*(items.pop() if items else ()), *inner))
    if kept := tuple(filter(None, items)):
        yield Listing(kept, _start(element))


def _start(element: Element) -> int | None:
    if element.tag == "ul":
        return None
    said = element.attributes.get("start", "").strip()
    return min(int(said), _HIGHEST_NUMBER) if said.isascii() and said.isdigit() and len(said) < 12 else 1


# -- tables ---------------------------------------------------------------------------------------


def _table(element: Element, wrap: _Wrap, depth: int) -> Iterator[MarkupBlock]:
    rows = [list(_cells(row)) for row in _rows(element)]
    caption = [each for each in element.children if isinstance(each, Element) and each.tag == "caption"]
    if not _is_grid(element, rows):
        yield from _blocks(element, wrap, depth)
        return
    for each in caption:
        yield from _blocks(each, wrap, depth)
    cells = tuple(tuple(wrap(tidied(_line(cell))) for cell in row) for row in rows)
    yield Grid(cells, has_header=all(cell.tag == "th" for cell in rows[0]))


def _rows(table: Element) -> Iterator[Element]:
    for child in table.children:
        if isinstance(child, Element):
            if child.tag == "tr":
                yield child
            elif child.tag in _ROWS:
                yield from _rows(child)


def _cells(row: Element) -> Iterator[Element]:
    for child in row.children:
        if isinstance(child, Element) and child.tag in ("td", "th"):
            yield child


def _is_grid(table: Element, rows: list[list[Element]]) -> bool:
    """Whether a table has data: rows of one width, two columns at least, with nothing but text in them."""
    if table.attributes.get("role") in ("presentation", "none") or len({len(row) for row in rows}) != 1:
        return False
    cells = [cell for row in rows for cell in row]
    is_headed = any(cell.tag == "th" for cell in cells)
    return len(rows[0]) > 1 and (is_headed or len(rows) > 1) and not any(map(_has_inner_block, cells))


def _has_inner_block(cell: Element) -> bool:
    return any(isinstance(child, Element) and child.has_block for child in cell.children)


def _line(cell: Element) -> Iterator[MarkupSpan]:
    for child in cell.children:
        yield from _spans(child, 0)


# -- spans ----------------------------------------------------------------------------------------


def _spans(child: Element | str, depth: int) -> Iterator[MarkupSpan]:
    if isinstance(child, str):
        yield child.replace("\n", " ")
        return
    match child.tag:
        case "br":
            yield LINE_BREAK
        case "img":
            url = kept_url(child.attributes.get("src"), PICTURE_SCHEMES)
            alt = child.attributes.get("alt", "").strip()
            yield Picture(url, alt) if url else alt
        case tag if tag in _CODE:
            if text := _text(child).strip():
                yield CodeSpan(text)
        case _:
            inner = tuple(span for each in child.children for span in _spans(each, depth + 1))
            yield from _inline(child, inner) if depth < MAX_DEPTH else inner


def _inline(element: Element, inner: tuple[MarkupSpan, ...]) -> Iterator[MarkupSpan]:
    """Yield spans with the style of an inline element."""
    if not inner:
        return
    style = _STYLES.get(element.tag)
    if style is not None:
        yield Styled(style, inner)  # type: ignore[arg-type]
        return
    url = kept_url(element.attributes.get("href"), LINK_SCHEMES) if element.tag == "a" else ""
    yield from (Hyperlink(url, inner),) if url and not _has_link(inner) else inner


def _has_link(spans: Iterable[MarkupSpan]) -> bool:
    """Whether a link is within: through a table, even HTML nests them."""
    return any(
        isinstance(span, Hyperlink) or (isinstance(span, Styled) and _has_link(span.spans)) for span in spans
    )
