"""Server-sent events of a bounded size: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

__all__ = ["OVERSIZED", "BoundedAnswer", "EventBound"]

OVERSIZED = "\0oversized"
"""The name of an event of which its id and its size, as data, are left; a server's own has no NUL in it."""


class EventBound:
    """Passes on a stream without its comments, and of events of more than `most` bytes id, `retry` and size.

    Without it such an event ends the connection, and comes again with each further one, for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = ""  # bound: most
        self._has_cr = False
        self._size = 0
        self._is_over = False
        self._is_inside = False
        """Whether the line that comes is the rest of one that is left out."""
        self._is_comment = False

    def feed(self, text: str) -> str:
        """Return the whole lines of what has come, each with its end."""
        *lines, self._rest = (self._rest + self._with_plain_ends(text)).split("\n")
        passed = [found for line in lines for found in self._line(line)]
        self._bound_rest()
        return "".join(f"{line}\n" for line in passed)

    def _with_plain_ends(self, text: str) -> str:
        """Return text whose lines end with LF; a CR at its end may be half of one end."""
        text = f"\r{text}" if self._has_cr else text
        self._has_cr = text.endswith("\r")
        return text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")

    def _line(self, line: str) -> list[str]:
        if self._is_inside:
            self._is_inside = False
            self._leave_out(line)
        elif not line:
            return self._ended()
        elif not line.startswith(":"):
            self._size += len(line.encode())
            self._is_over |= self._size > self._most
            if not self._is_over or (line.startswith(("id:", "retry:")) and len(line) <= self._most):
                return [line.replace("\0", "\ufffd") if line.startswith("event") else line]
        return []

    def _ended(self) -> list[str]:
        ended = [f"event: {OVERSIZED}", f"data: {self._size}", ""] if self._is_over else [""]
        self._size, self._is_over = 0, False
        return ended

    def _bound_rest(self) -> None:
        """Leave out a line that is too long before its end has come."""
        if not self._is_inside and len(self._rest) > self._most:
            self._is_inside, self._is_comment = True, self._rest.startswith(":")
            self._is_over |= not self._is_comment
        if self._is_inside:
            self._leave_out(self._rest)
            self._rest = ""

    def _leave_out(self, text: str) -> None:
        if not self._is_comment:
            self._size += len(text.encode())


class BoundedAnswer:
    """A response whose events are bounded, as far as the library reads them."""

    def __init__(self, answer: httpx2.Response, most: int) -> None:
        self.request = answer.request
        self.headers = answer.headers
        self._answer = answer
        self._bound = EventBound(most)

    async def aiter_text(self) -> AsyncIterator[str]:
        """Yield what is passed on."""
        async for text in self._answer.aiter_text():
            yield self._bound.feed(text)
