"""Showing on a terminal that long work goes on."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

__all__ = ["Progress"]

_PAUSE = 0.1


class Progress:
    """Shows progress on standard error; silent without a terminal, and for programs."""

    def __init__(self, what: str, *, as_json: bool = False, out: TextIO | None = None) -> None:
        self._what = what
        self._out = out or sys.stderr
        self._shows = self._out.isatty() and not as_json
        self._shown_at = 0.0
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown_at:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def step(self, by: int = 1) -> None:
        """Note that so much more is done."""
        self.count += by
        now = time.monotonic()
        if self._shows and now - self._shown_at >= _PAUSE:
            self._shown_at = now
            self._out.write(f"\r\x1b[K{self.count:,} {self._what} ...")
            self._out.flush()
