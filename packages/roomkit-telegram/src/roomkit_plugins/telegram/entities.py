"""Telegram's marks of a text, whose places count UTF-16 code units: to HTML, and to plain text.

https://core.telegram.org/bots/api#messageentity (Bot API 10.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from roomkit.authoring.payload import VendorPayload

__all__ = ["Mark", "formatted", "marks_of", "plain_with_links", "utf16_length"]

_TAGS = {
    "bold": "b",
    "italic": "i",
    "underline": "u",
    "strikethrough": "s",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "expandable_blockquote": "blockquote",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark, from one code unit up to another. `said` is the text that it covers."""

    kind: str
    start: int
    end: int
    said: str
    url: str = ""
    user_id: str = ""
    language: str = ""


def utf16_length(text: str) -> int:
    """Return the length of a text in UTF-16 code units, as Telegram counts."""
    return len(text) + sum(character > "\uffff" for character in text)


def marks_of(text: str, entities: Sequence[VendorPayload]) -> list[Mark]:
    """Return the marks of a text, in their order. One that lies outside of it raises InvalidInputError."""
    units = text.encode("utf-16-le", "surrogatepass")
    found = []
    for each in entities:
        start, length = each.integer("offset"), each.integer("length")
        if start is None or length is None or start < 0 or length < 0 or (start + length) * 2 > len(units):
            raise each.wrong("offset", "a place in the text")
        said = units[start * 2 : (start + length) * 2].decode("utf-16-le", "replace")
        found.append(
            Mark(
                kind=each.needed("type"),
                start=start,
                end=start + length,
                said=said,
                url=each.text("url"),
                user_id=each.inside("user").text("id"),
                language=each.text("language"),
            )
        )
    return sorted(found, key=lambda mark: (mark.start, -mark.end))


def formatted(text: str, marks: Sequence[Mark]) -> str | None:
    """Return a text with its marks as HTML; None if no mark says how it looks, or where a link leads."""
    shown = [mark for mark in marks if mark.kind in _TAGS or _target(mark)]
    if not shown:
        return None
    units = text.encode("utf-16-le", "surrogatepass")
    out, open_marks, at = [], [], 0  # type: list[str], list[Mark], int
    for place in _places(shown, len(units) // 2):
        out.append(escape(units[at * 2 : place * 2].decode("utf-16-le", "replace"), quote=False))
        at = place
        # A mark that begins inside another and ends after it is closed with it, and opened again.
        while open_marks and any(mark.end <= place for mark in open_marks):
            closed = [open_marks.pop()]
            while any(mark.end <= place for mark in open_marks):
                closed.append(open_marks.pop())
            out.extend(f"</{_tag(mark)}>" for mark in closed)
            again = [mark for mark in reversed(closed) if mark.end > place]
            out.extend(_opened(mark) for mark in again)
            open_marks.extend(again)
        begun = [mark for mark in shown if mark.start == place and mark.end > place]
        out.extend(_opened(mark) for mark in begun)
        open_marks.extend(begun)
    return "".join(out)


def plain_with_links(text: str, marks: Sequence[Mark]) -> str:
    """Return a text with the targets of its links behind their words."""
    units = text.encode("utf-16-le", "surrogatepass")
    out, at = [], 0  # type: list[str], int
    for mark in sorted((each for each in marks if _target(each)), key=lambda each: each.end):
        out.append(units[at * 2 : mark.end * 2].decode("utf-16-le", "replace"))
        out.append(f" ({_target(mark)})")
        at = mark.end
    out.append(units[at * 2 :].decode("utf-16-le", "replace"))
    return "".join(out)


def _places(marks: Sequence[Mark], length: int) -> Iterator[int]:
    yield from sorted({0, length, *(mark.start for mark in marks), *(mark.end for mark in marks)})


def _target(mark: Mark) -> str:
    return mark.url if mark.kind == "text_link" else ""


def _tag(mark: Mark) -> str:
    return _TAGS.get(mark.kind, "a")


def _opened(mark: Mark) -> str:
    if target := _target(mark):
        return f'<a href="{escape(target)}">'
    return f"<{_tag(mark)}>"
