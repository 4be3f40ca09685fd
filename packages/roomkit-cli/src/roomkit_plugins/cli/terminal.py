"""Writing to a terminal, to a pipe, or as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TextIO

__all__ = ["CommandError", "Terminal", "printable", "report_error"]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}

_LINE_ENDS = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}
"""JSON escapes all other ends of a line by itself."""


class CommandError(Exception):
    """What a command cannot do; `next_step` is what the user does about it."""

    def __init__(self, message: str, *, next_step: str, code: str = "command_failed") -> None:
        super().__init__(message)
        self.next_step = next_step
        self.code = code


def report_error(error: Exception, *, as_json: bool) -> None:
    """Say on standard error what went wrong, and what to do about it."""
    code = getattr(error, "code", "internal_error")
    message = str(error) if hasattr(error, "code") else f"{type(error).__name__}: {error}"
    next_step = getattr(error, "next_step", None)
    if next_step is None and not hasattr(error, "code"):
        next_step = "run it again with --verbose, and report what it shows"
    if as_json:
        document = {"type": "error", "code": str(code), "message": message}
        print(json.dumps({**document, **({"next_step": next_step} if next_step else {})}), file=sys.stderr)
    else:
        print(f"roomkit: {printable(message, keep_lines=True)}", file=sys.stderr)
        if next_step:
            print(f"  {next_step}", file=sys.stderr)


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Return `text` without what would move the cursor or change the terminal."""
    return "".join(
        mark if mark.isprintable() or (mark == "\n" and keep_lines) else ("\ufffd" if mark != "\n" else " ")
        for mark in text
    )


class Terminal:
    """Standard output, for people or (with `as_json`) for programs.

    Colours are used on a terminal that can show them, unless NO_COLOR is set.
    """

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.as_json = as_json
        self.is_terminal = self.out.isatty()
        self._coloured = (
            self.is_terminal
            and not as_json
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )
        if self.out is sys.stdout and hasattr(sys.stdout, "reconfigure"):
            # JSON is UTF-8; for people, a terminal that lacks a letter shows a question mark.
            sys.stdout.reconfigure(**({"encoding": "utf-8"} if as_json else {"errors": "replace"}))

    def style(self, text: str, *styles: str) -> str:
        """Return `text` in the given styles, or as it is."""
        if not self._coloured or not styles:
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def write(self, text: str) -> None:
        """Write `text` at once."""
        self.out.write(text)
        self.out.flush()

    def line(self, text: str = "") -> None:
        """Write a line."""
        self.write(f"{text}\n")

    def document(self, document: Mapping[str, object]) -> None:
        """Write a JSON object on one line, whatever its reader takes for a line's end."""
        self.line(json.dumps(document, ensure_ascii=False).translate(_LINE_ENDS))
