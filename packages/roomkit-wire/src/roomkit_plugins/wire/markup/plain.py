"""Plain text as a tree: paragraphs at empty lines, other line breaks kept, web addresses as links."""

from __future__ import annotations

import re
from collections.abc import Iterator

from roomkit_plugins.wire.markup.links import kept_url
from roomkit_plugins.wire.markup.tree import (
    LINE_BREAK,
    LINK_SCHEMES,
    Hyperlink,
    MarkupSpan,
    MarkupTree,
    Paragraph,
)

__all__ = ["plain_tree"]

_BETWEEN = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_URL = re.compile(r"https?://[^\s<>\"]{1,1990}", re.IGNORECASE)
_AFTER = ".,;:!?'\"*_"
"""Marks at the end of a URL that belong to the sentence."""


def plain_tree(text: str) -> MarkupTree:
    """Return the tree of a plain text; spaces within a line stay as they are."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    return tuple(Paragraph(spans) for part in _BETWEEN.split(lines) if (spans := tuple(_lines(part))))


def _lines(part: str) -> Iterator[MarkupSpan]:
    for number, line in enumerate(part.split("\n")):
        if number:
            yield LINE_BREAK
        yield from _linked(line.rstrip())


def _linked(line: str) -> Iterator[MarkupSpan]:
    at = 0
    for found in _URL.finditer(line):
        url = _url_alone(found[0])
        if not kept_url(url, LINK_SCHEMES):
            continue
        if before := line[at : found.start()]:
            yield before
        yield Hyperlink(url, (url,))
        at = found.start() + len(url)
    if rest := line[at:]:
        yield rest


def _url_alone(url: str) -> str:
    """Return a URL without the marks of the sentence around it; a bracket stays if it was opened in it."""
    while url:
        if url[-1] in _AFTER or (url[-1] == ")" and url.count("(") < url.count(")")):
            url = url[:-1]
        else:
            return url
    return url
