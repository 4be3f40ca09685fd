"""Markdown as a tree: CommonMark with strikethrough and tables, by markdown-it-py. HTML in it is text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markdown_it.tree import SyntaxTreeNode

__all__ = ["markdown_tree"]

_MOST_PICTURES = 100
"""Pictures of a text: the parser calls itself for one within another, and has no bound."""


def markdown_tree(body: str, *, keeps_lines: bool = False) -> MarkupTree:
    """Return the tree of a Markdown text, see `parse`; one that nests too deep is read as plain text."""
    from markdown_it.tree import SyntaxTreeNode

    if body.count("![") > _MOST_PICTURES:
        return plain_tree(body)
    tokens = _parser().parse(body)
    # The parser drops what is in a block of the last level: such a text is kept whole, without its form.
    if any(token.level >= MAX_DEPTH - 1 or _is_deep(token.children or ()) for token in tokens):
        return plain_tree(body)
    for break_ in _soft_breaks(tokens) if keeps_lines else ():
        break_.type = "hardbreak"
    return tuple(_blocks(SyntaxTreeNode(tokens).children))


def _soft_breaks(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the line breaks of the source that CommonMark shows as spaces."""
    for token in tokens:
        yield from (each for each in token.children or () if each.type == "softbreak")


def _is_deep(line: Sequence[Token]) -> bool:
    """Whether spans nest too deep: the parser bounds links, not emphasis."""
    return any(token.level >= MAX_DEPTH for token in line)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_DEPTH})
    parser.validateLink = _is_kept  # type: ignore[method-assign]  # how the library documents to replace it
    return parser.enable(["strikethrough", "table"])


def _is_kept(url: str) -> bool:
    return bool(kept_url(url, {*LINK_SCHEMES, *PICTURE_SCHEMES}))


def _blocks(nodes: Sequence[SyntaxTreeNode]) -> Iterator[MarkupBlock]:
    for node in nodes:
        match node.type:
            case "heading":
                yield Heading(int(node.tag[1:]), _spans_in(node))
            case "fence" | "code_block":
                yield CodeBlock(node.content.removesuffix("\n"), node.info.partition(" ")[0])
            case "blockquote":
                yield Quotation(tuple(_blocks(node.children)))
            case "bullet_list" | "ordered_list":
                yield _listing(node)
            case "table":
                yield _grid(node)
            case "hr":
                yield Divider()
            case _:
                if spans := _spans_in(node):
                    yield Paragraph(spans)


def _listing(node: SyntaxTreeNode) -> Listing:
    items = tuple(tuple(_blocks(item.children)) for item in node.children)
    start = None if node.type == "bullet_list" else int(node.attrs.get("start", 1))
    return Listing(items, start)


def _grid(node: SyntaxTreeNode) -> Grid:
    rows = [row for part in node.children for row in part.children]
    return Grid(tuple(tuple(map(_spans_in, row.children)) for row in rows), has_header=True)


def _spans_in(node: SyntaxTreeNode) -> tuple[MarkupSpan, ...]:
    """Return the spans of a block, whose one child is its line."""
    return tidied(span for line in node.children for span in _spans(line.children))


def _spans(nodes: Sequence[SyntaxTreeNode]) -> Iterator[MarkupSpan]:
    for node in nodes:
        match node.type:
            case "text" | "text_special":
                yield node.content
            case "softbreak":
                yield " "
            case "hardbreak":
                yield LINE_BREAK
            case "code_inline":
                yield CodeSpan(node.content)
            case "strong":
                yield Styled("bold", tuple(_spans(node.children)))
            case "em":
                yield Styled("italic", tuple(_spans(node.children)))
            case "s":
                yield Styled("strike", tuple(_spans(node.children)))
            case "link":
                yield from _link(node)
            case "image":
                yield from _picture(node)
            case _:
                yield node.content


def _link(node: SyntaxTreeNode) -> Iterator[MarkupSpan]:
    url = kept_url(str(node.attrs.get("href", "")), LINK_SCHEMES)
    spans = tuple(_spans(node.children))
    yield from (Hyperlink(url, spans),) if url else spans


def _picture(node: SyntaxTreeNode) -> Iterator[MarkupSpan]:
    url = kept_url(str(node.attrs.get("src", "")), PICTURE_SCHEMES)
    yield Picture(url, node.content) if url else node.content
