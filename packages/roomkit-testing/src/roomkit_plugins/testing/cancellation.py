"""Cancels a coroutine at each of its await points, one run after the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any

from roomkit_plugins.testing.waiting import waiting_at

__all__ = ["Cancellation", "CancelledAt", "cancel_at_every_await", "cancellations"]

MAX_POINTS = 10_000


class CancelledAt(StrEnum):
    """The two moments at which a cancellation can meet a coroutine that waits."""

    WAITING = "waiting"
    """Before what it waits for has come."""
    RESUMING = "resuming"
    """After it has come, and before the coroutine could take it: the result is lost."""


@dataclass(slots=True, frozen=True)
class Cancellation:
    """One run that was cancelled at await number `point` (from 1), which is `where` in the code.

    `result` and `error` give its outcome; neither is set when it was cancelled, as it should
    unless it was past its point of no return.
    """

    point: int
    at: CancelledAt
    where: str
    result: Any = None
    error: Exception | None = None
    cancelled: bool = True


type Factory = Callable[[], Coroutine[Any, Any, Any]]
type Check = Callable[[Cancellation], Awaitable[None] | None]


async def cancellations(factory: Factory) -> AsyncIterator[Cancellation]:
    """Run `factory()` again and again, cancelled at its first await, its second, and so on.

    Each await is cancelled twice: while it waits, and when what it waits for has come but was not
    taken yet. Only awaits that really suspend count. Ends with the run that was not interrupted,
    which yields nothing; its exception, if any, is raised.

        async for cancellation in cancellations(lambda: lock_and_write(store)):
            assert lock.is_free(), cancellation
    """
    for point in range(1, MAX_POINTS):
        for at in CancelledAt:
            cancellation = await _Interrupted(factory(), point, at).ended()
            if cancellation is not None:
                yield cancellation
            elif at is CancelledAt.WAITING:
                return  # it ended before there were so many awaits
    raise AssertionError(f"more than {MAX_POINTS} await points: is it waiting in a loop?")


async def cancel_at_every_await(factory: Factory, check: Check) -> int:
    """Cancel `factory()` at each await in turn, see `cancellations`, and call `check` after each run.

    `check` asserts that everything is as it was, or as it should be after the whole; it may be a
    coroutine function. Returns how many runs were cancelled.
    """
    runs = 0
    async for cancellation in cancellations(factory):
        runs += 1
        try:
            checked = check(cancellation)
            if inspect.isawaitable(checked):
                await checked
        except AssertionError as error:
            error.add_note(
                f"cancelled while {cancellation.at} at await {cancellation.point}, {cancellation.where}"
            )
            raise
    return runs


class _Interrupted:
    """A coroutine in a task of its own, which cancels itself at one await point."""

    def __init__(self, work: Coroutine[Any, Any, Any], point: int, at: CancelledAt) -> None:
        self._work = work
        self._point = point
        self._at = at
        self._where: str | None = None
        self._task = asyncio.create_task(self._drive(), name=f"cancelled-at-{point}")

    async def ended(self) -> Cancellation | None:
        """Wait for the end; None when the point was never reached."""
        await asyncio.wait([self._task])
        task, where = self._task, self._where
        if where is None:
            task.result()
            return None
        if task.cancelled():
            return Cancellation(self._point, self._at, where)
        error = task.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        result = None if error is not None else task.result()
        return Cancellation(self._point, self._at, where, result, error, cancelled=False)

    async def _drive(self) -> Any:
        return await _Counted(self._work, self._suspended)

    def _suspended(self, number: int, awaited: Any) -> None:
        if number != self._point:
            return
        if self._at is CancelledAt.WAITING:
            self._where = list(waiting_at(self._work))[-1]
            self._task.cancel()
        elif asyncio.isfuture(awaited):
            # Ours is its first callback, so the cancellation overtakes the task's own wake-up.
            self._where = list(waiting_at(self._work))[-1]
            awaited.add_done_callback(lambda _: self._task.cancel())


class _Counted:
    """Awaits a coroutine and reports each time it suspends."""

    def __init__(self, work: Coroutine[Any, Any, Any], suspended: Callable[[int, Any], None]) -> None:
        self._work = work
        self._suspended = suspended

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[Any], Any] = self._work.send
        argument: BaseException | None = None
        for number in count(1):
            try:
                awaited = resume(argument)
            except StopIteration as end:
                return end.value
            self._suspended(number, awaited)
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001  # handed on to the coroutine, as it came
                resume, argument = self._work.throw, error
            else:
                resume, argument = self._work.send, None
