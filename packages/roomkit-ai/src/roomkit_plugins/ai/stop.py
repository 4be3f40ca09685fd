"""How a turn is ended from outside: by its deadline, or by a direction to cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Stop", "Stopped"]


class Stopped(Exception):
    """The turn is to end now; `cause` is the error to raise, None when it was cancelled."""

    def __init__(self, cause: Exception | None) -> None:
        super().__init__()
        self.cause = cause


class Stop:
    """Interrupts whatever a turn waits for.

    A turn puts each of its waits into `with stop:`. A request interrupts the wait under way, or
    the next one, by `Stopped`. One object instead of an `asyncio.timeout` per wait: a streamed
    answer waits once a token, and an async generator may not hold a timeout across its `yield`.
    """

    __slots__ = ("_cancels", "_cause", "_interrupting", "_task", "_timer", "_watch", "heard", "requested")

    def __init__(self) -> None:
        self.requested = False
        self._cause: Exception | None = None
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._interrupting = False
        self._cancels = 0
        self._watch: asyncio.TimerHandle | None = None
        self.heard = 0.0
        """When something was heard last, by the loop's clock, for `after_silence`."""

    def at_deadline(self, seconds: float, error: Exception) -> None:
        """Stop with `error` after that many seconds, unless `disarm` comes first."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self.request, error)

    def after_silence(self, seconds: float, make_error: Callable[[], Exception]) -> None:
        """Stop once nothing was `heard` for that long, unless `listen_no_more` comes first."""
        loop = asyncio.get_running_loop()
        left = self.heard + seconds - loop.time()
        if left <= 0:
            self.request(make_error())
        else:
            self._watch = loop.call_later(left, self.after_silence, seconds, make_error)

    def listen_no_more(self) -> None:
        """Forget about silence."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def disarm(self) -> None:
        """Forget the deadline."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, None without one."""
        if self._timer is None:
            return None
        return self._timer.when() - asyncio.get_running_loop().time()

    def request(self, cause: Exception | None = None) -> None:
        """Ask the turn to end; the first request counts."""
        if self.requested:
            return
        self.requested, self._cause = True, cause
        # A tool that cancels its own turn from the waiting task itself ends at its next wait.
        if self._task is not None and self._task is not asyncio.current_task():
            self._interrupting = self._task.cancel()

    def __enter__(self) -> Self:
        if self.requested:
            raise Stopped(self._cause)
        task = asyncio.current_task()
        assert task is not None  # a turn is awaited, so it is in a task
        self._task = task
        self._cancels = task.cancelling()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if not self._interrupting or task is None:
            return
        self._interrupting = False
        cancelled_by_others = task.uncancel() > self._cancels
        if not cancelled_by_others:
            raise Stopped(self._cause) from None
