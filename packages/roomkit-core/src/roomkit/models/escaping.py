"""Text from outside, made safe for a terminal and a log."""

from __future__ import annotations

__all__ = ["printable"]

_OF_PROSE = "\n\t\u200c\u200d\u00a0\u202f\u3000"
"""Not "printable" to Python, but harmless in prose: line ends, joiners of scripts and emoji, and spaces."""


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Return `text` with every control character escaped as Python writes it: `\\n`, `\\x1b`, `\\u202e`.

    That is all that could end a line, move a cursor, change a terminal, reverse the direction of
    text or fail to be encoded: C0 and C1 controls, NUL, bidirectional controls, line and paragraph
    separators, lone surrogates. With `keep_lines`, for prose of several lines, newlines, tabs, and the
    joiners and spaces of scripts stay.
    """
    if text.isprintable():
        return text
    kept = _OF_PROSE if keep_lines else ""
    return "".join(
        mark if mark.isprintable() or mark in kept else mark.encode("unicode_escape").decode("ascii")
        for mark in text
    )
