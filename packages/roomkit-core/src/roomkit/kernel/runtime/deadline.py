"""One timer for everything a task waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

__all__ = ["Abandoned", "Cause", "Deadline", "Expiry", "cause_of", "ends_task"]


class Cause(Enum):
    """Why a step ended with a CancelledError or a TimeoutError."""

    LATE = "late"
    """The deadline's time was up. Its cancellation is taken back: the task goes on."""
    STOPPED = "stopped"
    """The running task was cancelled: the error has to be raised again."""
    FAILED = "failed"
    """What the step awaited failed that way by itself, as foreign code may."""


def cause_of(error: asyncio.CancelledError | TimeoutError, deadline: Deadline | None = None) -> Cause:
    """Return why a step ended, for the handler that has just caught `error`.

    The one place that distinguishes a deadline of ours from a cancellation of the caller's and from a failure
    of the awaited code. Ask once per error: `LATE` takes the deadline's cancellation back.
    """
    if deadline is None:
        task = asyncio.current_task()
        return Cause.STOPPED if task is None or task.cancelling() > 0 else Cause.FAILED
    if isinstance(error, TimeoutError):
        return Cause.LATE if deadline.passed else Cause.FAILED
    if not deadline.disturbed:
        return Cause.FAILED
    return Cause.LATE if deadline.caught() else Cause.STOPPED


class Abandoned(BaseException):
    """The running task was abandoned: what it was for goes on without it, and it must end."""


_ENDS_TASK = (asyncio.CancelledError, Abandoned, KeyboardInterrupt, SystemExit)


def ends_task(error: BaseException) -> bool:
    """Return whether an exception has to be raised again because it ends the running task.

    Any other one of foreign code is its failure, also if its class derives from BaseException alone, as the
    panics of extensions do. A GeneratorExit ends the task only if its coroutine is closed from outside,
    which no running task does: the supervisor holds every task until it is done or the loop has ended.
    """
    if isinstance(error, GeneratorExit):
        try:
            return asyncio.current_task() is None
        except RuntimeError:  # no loop is running: a task that outlived it is collected
            return True
    return isinstance(error, _ENDS_TASK)


class Expiry:
    """The one timer of all deadlines of the same length, which end in the order in which they began.

    A deadline that is kept costs it an entry in a dict; the timer is armed once in each such length of time.
    """

    def __init__(self) -> None:
        self.pending: dict[Deadline, float] = {}  # bound: the tasks that have such a deadline
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, deadline: Deadline, at: float, loop: asyncio.AbstractEventLoop) -> None:
        """Have a deadline's time pass at an instant of its loop, which is not earlier than the others'."""
        if self._loop is not loop:  # another loop has the kit now: the former one has ended
            self.pending, self._timer, self._loop = {}, None, loop  # bound: as at first
        self.pending[deadline] = at
        if self._timer is None:
            self._timer = loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        assert self._loop is not None
        self._timer = None
        while self.pending:
            deadline, at = next(iter(self.pending.items()))
            if at > self._loop.time():
                self._timer = self._loop.call_at(at, self._on_time)
                return
            del self.pending[deadline]
            deadline.pass_by()


class Deadline:
    """An instant by which a task must be done, and earlier ones for its steps.

    Like `asyncio.timeout`, but with a single timer however many steps there are, and with none
    until the task really waits when `lazy` (see `waiting`), or while it shares one by its `expiry`. A step
    that is late is cancelled; the handler of the CancelledError asks `cause_of` whether it was this
    deadline's.
    """

    __slots__ = (
        "_baseline",
        "_begun",
        "_expiry",
        "_handle",
        "_lazy",
        "_limit",
        "_loop",
        "_stuck",
        "_task",
        "abandoned",
        "expires",
        "fired",
        "foreign",
        "grace",
        "is_shielded",
        "on_stuck",
    )

    def __init__(self, seconds: float | None, expiry: Expiry | None = None, *, lazy: bool = False) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a Deadline bounds a task; there is none running")
        self._task = task
        self._loop = loop = asyncio.get_running_loop()
        self._baseline = task.cancelling()
        self.fired = False
        """Whether the step under way was cancelled because its time was up; `caught` takes it back."""
        self.foreign = False
        """Whether it is foreign code that is at work, for an `on_stuck` that cares."""
        self.is_shielded = False
        """Whether the step under way is not cancelled although its time is up: it is bounded otherwise."""
        self._handle: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._expiry: Expiry | None = None
        """The timer that it shares, until it needs one of its own."""
        self.abandoned = False
        """Whether the task was left behind: from here on each step of it ends with `Abandoned`."""
        self.grace = 0.0
        """Seconds that a step has to heed its cancellation, where there is an `on_stuck`."""
        self.on_stuck: Callable[[], None] | None = None
        """Called for a step that does not."""
        self._lazy = lazy
        self._begun = begun = loop.time()
        self.expires = self._limit = limit = None if seconds is None else begun + seconds
        if limit is None or lazy:
            return
        if expiry is None:
            self._arm()
        else:
            self._expiry = expiry
            expiry.add(self, limit, loop)

    def _arm(self) -> None:
        assert self._limit is not None
        self._handle = self._loop.call_at(self._limit, self._on_time)

    def waiting(self) -> None:
        """Note that the task of a lazy deadline was left waiting: from here on there is a timer."""
        self._lazy = False
        if self._limit is not None and self._handle is None:
            self._arm()

    def pass_by(self) -> None:
        """Cancel the step under way; its `expiry`, which calls this, has forgotten the deadline."""
        self._expiry = None
        self._on_time()

    def _on_time(self) -> None:
        self._handle = None
        if self._limit is None or self.is_shielded:
            return
        if self._limit > self._loop.time():
            self._arm()
            return
        self.fired = True
        self._task.cancel()
        self.insist()

    def enter(self, seconds: float | None) -> float | None:
        """Begin a step of at most `seconds`; return what `leave` needs."""
        outer = self._limit
        if seconds is not None:
            # Until the task first waits, all its steps begin at the same moment, give or take microseconds.
            limit = (self._begun if self._lazy else self._loop.time()) + seconds
            if outer is None or limit < outer:
                self._limit = limit
                if not self._lazy and (self._handle is None or limit < self._handle.when()):
                    if self._handle is not None:
                        self._handle.cancel()
                    if self._expiry is not None:
                        self._expiry.pending.pop(self, None)
                        self._expiry = None
                    self._arm()
        return outer

    def insist(self) -> None:
        """Have `on_stuck` called in `grace` seconds, unless the step under way ends before."""
        if self._stuck is not None:
            self._stuck.cancel()
        if self.on_stuck is not None:
            self._stuck = self._loop.call_later(self.grace, self.on_stuck)

    def leave(self, outer: float | None) -> bool:
        """End the step begun by the `enter` that returned `outer`; return whether it was late.

        It is when it swallowed its cancellation, or kept the loop from sending it; its result
        does not count then.
        """
        limit, self._limit = self._limit, outer
        late = self.fired or (limit is not None and self._loop.time() > limit)
        if self.abandoned:
            raise Abandoned
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        if self.fired:
            # The step swallowed the cancellation, or ended in the very turn it was sent.
            self.fired = False
            self._task.uncancel()
        if outer is not None and self._handle is None and self._expiry is None and not self._lazy:
            self._arm()
        return late

    def caught(self) -> bool:
        """Return whether the CancelledError just caught was this deadline's, and take it back."""
        if not self.fired:
            return False
        self.fired = False
        return self._task.uncancel() <= self._baseline

    @property
    def disturbed(self) -> bool:
        """Whether the task is to stop.

        If not, a CancelledError just caught is the failure of the awaited code.
        """
        return self.fired or self._task.cancelling() > self._baseline

    @property
    def passed(self) -> bool:
        """Whether the whole deadline, not only a step of it, has passed."""
        return self.expires is not None and self._loop.time() >= self.expires

    def close(self) -> bool:
        """Stop the timers: from here on nothing is cancelled. Return whether it was too late for that.

        It is when a step swallowed its cancellation, or kept the loop from sending it.
        """
        limit, self._limit = self._limit, None
        late = self.fired or (limit is not None and self._loop.time() > limit)
        if self._expiry is not None:
            self._expiry.pending.pop(self, None)  # its timer stays for those that follow
            self._expiry = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        return late

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._limit is not None or self._handle is not None:
            self.close()
        if self.fired:
            # What we waited for swallowed the cancellation: it is not the caller's to find.
            self.fired = False
            self._task.uncancel()
