"""A tree from outside without its pictures: one at a URL says who reads it, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from roomkit_plugins.wire.markup.spans import tidied
from roomkit_plugins.wire.markup.tree import (
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

__all__ = ["without_pictures"]


def without_pictures(tree: MarkupTree) -> MarkupTree:
    """Return a tree with the alternative text of each picture in its place."""
    return tuple(_blocks(tree))


def _blocks(blocks: Iterable[MarkupBlock]) -> Iterator[MarkupBlock]:
    for block in blocks:
        match block:
            case Paragraph(spans):
                if kept := _line(spans):
                    yield Paragraph(kept)
            case Heading(level, spans):
                if kept := _line(spans):
                    yield Heading(level, kept)
            case Quotation(inner):
                if inside := tuple(_blocks(inner)):
                    yield Quotation(inside)
            case Listing(items, start):
                if listed := tuple(filter(None, (tuple(_blocks(item)) for item in items))):
                    yield Listing(listed, start)
            case Grid(rows, has_header):
                yield Grid(tuple(tuple(map(_line, row)) for row in rows), has_header)
            case _:
                yield block


def _line(spans: Iterable[MarkupSpan]) -> tuple[MarkupSpan, ...]:
    return tidied(_span(span) for span in spans)


def _span(span: MarkupSpan) -> MarkupSpan:
    match span:
        case Picture(_, alt):
            return alt
        case Styled(style, spans):
            return Styled(style, tuple(map(_span, spans)))
        case Hyperlink(url, spans):
            return Hyperlink(url, tuple(map(_span, spans)))
        case _:
            return span
