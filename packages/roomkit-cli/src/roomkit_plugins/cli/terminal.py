"""Writing to a terminal, to a pipe, or as JSON: nothing that comes from outside goes there unescaped."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from roomkit.models.escaping import printable
from roomkit_plugins.cli.refusals import spoken

__all__ = ["CommandError", "Terminal", "complain", "json_line", "report_error", "report_traceback"]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


class CommandError(Exception):
    """What a command cannot do; `next_step` is what the user does about it."""

    def __init__(self, message: str, *, next_step: str, code: str = "command_failed") -> None:
        super().__init__(message)
        self.next_step = next_step
        self.code = code


def complain(text: str, *, end: str = "\n") -> None:
    """Write `text` to standard error; lines after the first are indented, so that none looks like ours."""
    sys.stderr.write(printable(text, keep_lines=True).replace("\n", "\n  ") + end)
    sys.stderr.flush()


def report_error(error: Exception, *, as_json: bool) -> None:
    """Print an error and its remedy to standard error."""
    code = getattr(error, "code", "internal_error")
    message, next_step = spoken(error)
    message = message if hasattr(error, "code") else f"{type(error).__name__}: {message}"
    if next_step is None and not hasattr(error, "code"):
        next_step = "run it again with --verbose, and report what it shows"
    if as_json:
        document = {"type": "error", "code": str(code), "message": message}
        complain(json.dumps({**document, **({"next_step": next_step} if next_step else {})}))
    else:
        complain(f"roomkit: {message}")
        if next_step:
            complain(f"  {next_step}")


def report_traceback(error: BaseException) -> None:
    """Write the traceback, escaped."""
    from roomkit.abc.log import traceback_lines

    complain("\n".join(traceback_lines(error, texts=True)))


def json_line(text: str) -> str:
    """Return JSON with all escaped that a terminal, or a reader of lines, could take for a control."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else json.dumps(mark)[1:-1] for mark in text)


class Terminal:
    """Standard output, for people or (with `as_json`) for programs.

    Colours are used on a terminal that can show them, unless NO_COLOR is set. Whatever else could change the
    terminal is escaped, wherever it comes from.
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
        # Stands for an escape sequence of ours until the text is written; text from outside cannot know it.
        self._mark = f"\x1b{os.urandom(8).hex()}"
        if self.out is sys.stdout and hasattr(sys.stdout, "reconfigure"):
            # JSON is UTF-8; for people, a terminal that lacks a letter shows a question mark.
            sys.stdout.reconfigure(**({"encoding": "utf-8"} if as_json else {"errors": "replace"}))

    def style(self, text: str, *styles: str) -> str:
        """Return `text` in the given styles, or as it is; for `write` and `line` of this terminal."""
        if not self._coloured or not styles:
            return text
        return f"{self._mark}{';'.join(_STYLES[style] for style in styles)}m{text}{self._mark}0m"

    def write(self, text: str, *, keep_lines: bool = False) -> None:
        """Write `text` at once; a newline in it is escaped too, unless it is to be kept."""
        self._put(self._rendered(text, keep_lines))

    def line(self, text: str = "") -> None:
        """Write a line."""
        self._put(f"{self._rendered(text, False)}\n")

    def lines(self, text: str) -> None:
        """Write text that may have several lines."""
        self._put(f"{self._rendered(text, True)}\n")

    def document(self, document: Mapping[str, object]) -> None:
        """Write a JSON object on one line, whatever its reader takes for a line's end."""
        self._put(f"{json_line(json.dumps(document, ensure_ascii=False))}\n")

    def _rendered(self, text: str, keep_lines: bool) -> str:
        pieces: Sequence[str] = re.split(rf"{self._mark}([0-9;]+)m", text)
        return "".join(
            f"\x1b[{piece}m" if position % 2 else printable(piece, keep_lines=keep_lines)
            for position, piece in enumerate(pieces)
        )

    def _put(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()
