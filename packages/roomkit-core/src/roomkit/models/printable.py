"""Text from outside, made safe for a terminal and a log."""

from __future__ import annotations

__all__ = ["printable"]

_HARMLESS = "\u200c\u200d\u00a0\u202f\u3000"
"""Not "printable" to Python, but part of ordinary text: joiners of scripts and emoji, and spaces."""


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Return `text` with every control character escaped as Python writes it: `\\n`, `\\x1b`, `\\u202e`.

    That is all that could end a line, move a cursor, change a terminal, reverse the direction of
    text or fail to be encoded: C0 and C1 controls, NUL, bidirectional controls, line and paragraph
    separators, lone surrogates. With `keep_lines` a newline stays.
    """
    if text.isprintable():
        return text
    kept = _HARMLESS + "\n" if keep_lines else _HARMLESS
    return "".join(
        mark if mark.isprintable() or mark in kept else mark.encode("unicode_escape").decode("ascii")
        for mark in text
    )
