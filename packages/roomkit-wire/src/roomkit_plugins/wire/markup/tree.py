"""The tree of a formatted text: blocks, and spans of text within them. It knows no format and no vendor.

A tree is a tuple of blocks, nested at most `MAX_DEPTH` deep. Its texts are data from outside: each writer
escapes them for its own format. URLs of links are absolute, with a scheme of `LINK_SCHEMES`; URLs of pictures
have one of `PICTURE_SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "LINE_BREAK",
    "LINK_SCHEMES",
    "MAX_DEPTH",
    "PICTURE_SCHEMES",
    "CodeBlock",
    "CodeSpan",
    "Divider",
    "Grid",
    "Heading",
    "Hyperlink",
    "Listing",
    "MarkupBlock",
    "MarkupSpan",
    "MarkupTree",
    "Paragraph",
    "Picture",
    "Quotation",
    "Styled",
    "words_of",
]

MAX_DEPTH = 24
"""How deep blocks nest, and how deep spans nest within one. What is nested deeper loses its form, no text."""
LINK_SCHEMES = ("http", "https", "mailto", "tel")
PICTURE_SCHEMES = ("http", "https", "cid")
LINE_BREAK = "\n"
"""A span that breaks the line; other texts hold no line breaks, outside code."""


@dataclass(frozen=True, slots=True)
class Styled:
    """Spans in one style."""

    style: Literal["bold", "italic", "strike", "underline"]
    spans: tuple[MarkupSpan, ...]


@dataclass(frozen=True, slots=True)
class CodeSpan:
    """Code within a line."""

    text: str


@dataclass(frozen=True, slots=True)
class Hyperlink:
    """Spans that lead to `url`; no link is within them."""

    url: str
    spans: tuple[MarkupSpan, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture within a line, and the text that stands for it."""

    url: str
    alt: str = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Spans that form one paragraph."""

    spans: tuple[MarkupSpan, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 1 to 6."""

    level: int
    spans: tuple[MarkupSpan, ...]


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Lines of code, without the last line break; `language` as the author named it."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Quotation:
    """Blocks that quote."""

    blocks: tuple[MarkupBlock, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Items, each of several blocks; numbered from `start`, or with bullets if it is None."""

    items: tuple[tuple[MarkupBlock, ...], ...]
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: rows of cells, each of spans; the first row is the header if `has_header`."""

    rows: tuple[tuple[tuple[MarkupSpan, ...], ...], ...]
    has_header: bool = False


@dataclass(frozen=True, slots=True)
class Divider:
    """A line between blocks."""


type MarkupSpan = str | Styled | CodeSpan | Hyperlink | Picture
"""A plain text is a `str`; `LINE_BREAK` is one of its own."""
type MarkupBlock = Paragraph | Heading | CodeBlock | Quotation | Listing | Grid | Divider
type MarkupTree = tuple[MarkupBlock, ...]


def words_of(spans: Iterable[MarkupSpan]) -> str:
    """Return the texts of spans without their styles; a picture is its alternative text."""
    return "".join(map(_words, spans))


def _words(span: MarkupSpan) -> str:
    match span:
        case str():
            return span
        case CodeSpan(text):
            return text
        case Picture(_, alt):
            return alt
        case Styled(_, spans) | Hyperlink(_, spans):
            return words_of(spans)
