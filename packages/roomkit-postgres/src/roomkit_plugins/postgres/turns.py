"""When the next batch may go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

__all__ = ["BatchTurn", "BatchTurns"]

_PATIENCE = 0.05


class BatchTurns:
    """One batch at a time, so that requests during it go together; a second one when it takes too long.

    So a batch that waits for a lock of another process does not block all others. `start` is
    called when the next may go because of that.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        self._free = 1

    @property
    def is_free(self) -> bool:
        """Whether a batch may go now."""
        return self._free > 0

    def take(self) -> BatchTurn:
        """Take a turn, to be held from now until a context with it ends."""
        self._free -= 1
        return BatchTurn(self)

    def give(self, *, start: bool = False) -> None:
        """Give a turn back, or on."""
        self._free += 1
        if start:
            self._start()


class BatchTurn:
    """A turn to send one batch after the other, until one takes too long: then another sender takes over."""

    def __init__(self, turns: BatchTurns) -> None:
        self._turns = turns
        self._is_held = True
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_PATIENCE, self._give_on)

    @property
    def is_held(self) -> bool:
        """Whether the next batch may follow."""
        return self._is_held

    def renew(self) -> None:
        """Begin the next batch."""
        self._timer.cancel()
        self._timer = self._loop.call_later(_PATIENCE, self._give_on)

    def _give_on(self) -> None:
        self._is_held = False
        self._turns.give(start=True)

    def __enter__(self) -> BatchTurn:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._is_held:
            self._is_held = False
            self._turns.give()
