"""Spans in their one form: spaces collapsed, neighbouring texts joined, nothing empty."""

from __future__ import annotations

import re
from collections.abc import Iterable

from roomkit_plugins.wire.markup.tree import LINE_BREAK, Hyperlink, MarkupSpan, Styled

__all__ = ["tidied"]

_SPACES = re.compile(r"[ \t\r\n\f\v]+")


def tidied(spans: Iterable[MarkupSpan]) -> tuple[MarkupSpan, ...]:
    """Return the spans of a block as a browser shows them: no space at its ends, one between words."""
    found = _collapsed(spans, _Cursor())
    return _trimmed(found)


class _Cursor:
    """Whether the text so far ends with a space, or has not begun."""

    __slots__ = ("is_spaced",)

    def __init__(self) -> None:
        self.is_spaced = True


def _collapsed(spans: Iterable[MarkupSpan], cursor: _Cursor) -> tuple[MarkupSpan, ...]:
    found: list[MarkupSpan] = []
    for span in spans:
        match span:
            case "\n":
                _end_line(found)
                found.append(LINE_BREAK)
                cursor.is_spaced = True
            case str():
                _add_text(found, span, cursor)
            case Styled(style, inner):
                if kept := _collapsed(inner, cursor):
                    found.append(Styled(style, kept))
            case Hyperlink(url, inner):
                found.append(Hyperlink(url, _collapsed(inner, cursor) or (url,)))
            case _:
                found.append(span)
                cursor.is_spaced = False
    return tuple(found)


def _add_text(found: list[MarkupSpan], text: str, cursor: _Cursor) -> None:
    text = _SPACES.sub(" ", text)
    if cursor.is_spaced:
        text = text.removeprefix(" ")
    if not text:
        return
    cursor.is_spaced = text.endswith(" ")
    if found and isinstance(found[-1], str) and found[-1] != LINE_BREAK:
        found[-1] += text
    else:
        found.append(text)


def _end_line(found: list[MarkupSpan]) -> None:
    """Drop the space before a line break."""
    if found and isinstance(found[-1], str) and found[-1] != LINE_BREAK:
        found[-1] = found[-1].rstrip(" ")
        if not found[-1]:
            del found[-1]


def _trimmed(spans: tuple[MarkupSpan, ...]) -> tuple[MarkupSpan, ...]:
    """Return spans without spaces and line breaks at their end, nor line breaks at their beginning."""
    kept = list(spans)
    while kept and kept[0] == LINE_BREAK:
        del kept[0]
    while kept:
        last = _without_end(kept.pop())
        if last is not None:
            return (*kept, last)
    return ()


def _without_end(span: MarkupSpan) -> MarkupSpan | None:
    """Return a span without spaces at its end; None if nothing is left."""
    match span:
        case str():
            return span.rstrip(" \n") or None
        case Styled(style, inner):
            return Styled(style, rest) if (rest := _trimmed(inner)) else None
        case Hyperlink(url, inner):
            return Hyperlink(url, _trimmed(inner) or (url,))
        case _:
            return span
