"""An event loop whose clock jumps to the next timer: an hour of waiting takes no time.

In a test, the marker `virtual_time` gives the test and its async fixtures such a loop; elsewhere
use `run_virtual`. What runs in what order depends on nothing but the program, so a test that passes once
passes always.

Only the loop's clock is virtual: `asyncio.sleep`, timeouts and timers, and `VirtualClock`. What
reads `time.time()` or `datetime.now()` sees the real one.

**Real I/O.** Threads started by `asyncio.to_thread` are waited for. Sockets inside one process need
nothing special: data written to one end is read at the other before time jumps. When the other
end is a thread of its own or another process, give it `io_patience` real seconds before each jump.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from roomkit.abc.clock import Clock
from roomkit.abc.errors import RoomKitError
from roomkit_plugins.testing.waiting import waiting_at

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = ["DeadlockError", "VirtualClock", "VirtualTimeLoop", "run_virtual"]

DAY = 86_400.0
_RESOLUTION = 1e-9


class DeadlockError(RoomKitError, RuntimeError):
    """Nothing can happen any more, or only timers: the awaited result will never come."""

    code = "deadlock"


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop with virtual time, starting at 0 seconds.

    `io_patience` is how many real seconds sockets and foreign threads get before time jumps.
    `io_limit` is how many when there is nothing else to wait for, or a thread of the executor is
    at work. Beyond `horizon` virtual seconds the loop takes its timers for a treadmill.

    Raises DeadlockError from `run_until_complete`, naming each pending task and where it waits.
    """

    def __init__(self, *, io_patience: float = 0.0, io_limit: float = 10.0, horizon: float = 7 * DAY) -> None:
        self._now = 0.0
        self._order = 0
        self._threads_at_work = 0
        self._horizon = horizon
        super().__init__(_JumpingSelector(self, io_patience, io_limit))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def call_at[*Ts](
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule a callback; those of one instant run in the order in which they were scheduled."""
        self._check_closed()
        self._order += 1
        timer = _OrderedTimer(when, self._order, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def run_in_executor[T, *Ts](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` in a real thread; time stands still until it has finished."""
        future = super().run_in_executor(executor, func, *args)
        self._threads_at_work += 1
        future.add_done_callback(self._thread_finished)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait, in real time, for the threads of the default executor."""
        self._threads_at_work += 1
        try:
            await super().shutdown_default_executor(timeout)
        finally:
            self._threads_at_work -= 1

    def _thread_finished(self, _future: asyncio.Future[Any]) -> None:
        self._threads_at_work -= 1

    def _jump(self) -> None:
        self._now = self._scheduled[0].when()
        # The loop runs callbacks due before `time() + resolution`: from 2**24 s on, that would be `time()`.
        self._clock_resolution = max(_RESOLUTION, math.ulp(self._now))
        if self._now > self._horizon:
            raise DeadlockError(
                f"{self._horizon:g} virtual seconds have passed and only timers still fire; "
                f"raise `horizon` if so long a wait is meant. {_waiting(self)}"
            )

    if TYPE_CHECKING:  # what BaseEventLoop has and its stub does not show
        _scheduled: list[asyncio.TimerHandle]
        _clock_resolution: float

        def _check_closed(self) -> None: ...


class _OrderedTimer(asyncio.TimerHandle):
    """A timer that comes before those scheduled later for the same instant."""

    __slots__ = ("_order",)

    _scheduled: bool  # the loop's mark; it counts cancelled timers by it

    def __init__(
        self,
        when: float,
        order: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: VirtualTimeLoop,
        context: Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self._order = order

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _OrderedTimer):
            return NotImplemented
        return (self.when(), self._order) < (other.when(), other._order)


class _JumpingSelector(selectors.BaseSelector):
    """Where the loop would fall asleep, this moves its clock instead."""

    def __init__(self, loop: VirtualTimeLoop, patience: float, limit: float) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()
        self._patience = patience
        self._limit = limit

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        patience = self._patience
        # One descriptor is always there: the loop's own, by which threads wake it.
        if self._loop._threads_at_work or (timeout is None and len(self._real.get_map()) > 1):
            patience = max(patience, self._limit)
        if patience and (ready := self._real.select(patience)):
            return ready
        if timeout is None:
            raise DeadlockError(
                f"nothing is runnable, no timer is set and no I/O came: {_waiting(self._loop)}"
            )
        self._loop._jump()
        return []

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualClock(Clock):
    """A clock for the kit whose `now()` is `start` at the loop's time 0, and moves with the loop."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._start = start

    def now(self) -> datetime:
        """Return the present virtual time, aware and in UTC."""
        return self._start + timedelta(seconds=self.monotonic())


def run_virtual[T](
    main: Coroutine[Any, Any, T],
    *,
    io_patience: float = 0.0,
    io_limit: float = 10.0,
    horizon: float = 7 * DAY,
) -> T:
    """Run `main` on a loop with virtual time, as `asyncio.run` does on a real one."""

    def new_loop() -> VirtualTimeLoop:
        return VirtualTimeLoop(io_patience=io_patience, io_limit=io_limit, horizon=horizon)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=asyncio.Task.get_name)
    return "pending are " + ("; ".join(map(_where, tasks)) or "no tasks, only a future")


def _where(task: asyncio.Task[Any]) -> str:
    return f"task {task.get_name()!r} in " + " > ".join(waiting_at(task.get_coro()))
