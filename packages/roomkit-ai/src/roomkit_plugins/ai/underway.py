"""Tool calls under way: each ends by itself, at its deadline, or is abandoned.

A handler that catches its own cancellation (a bare `except:` around an await) would hold its turn,
its room's lane and the caller for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roomkit.models.ai import AIToolResultPart
    from roomkit.models.tool import ToolUse

__all__ = ["ABANDON_AFTER", "StuckHandlers", "ToolRun", "all_ended", "end"]

ABANDON_AFTER = 2.0
"""Seconds that a cancelled handler has to end; less than the kit gives a whole turn."""


class StuckHandlers:
    """The tasks of one agent that went on after they were cancelled."""

    __slots__ = ("_tasks", "count")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()  # bound: handlers that ignore cancellation
        self.count = 0
        """How many there were so far."""

    def add(self, task: asyncio.Task[Any]) -> None:
        """Keep a task until it ends after all; what it returns or raises is ignored."""
        self.count += 1
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def cancel(self) -> None:
        """Ask all of them to end again."""
        for task in self._tasks:
            task.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it


class ToolRun:
    """One call that is run in a task of its own."""

    __slots__ = ("_due", "_timer", "ended", "late", "seconds", "stuck", "task", "use")

    def __init__(self, use: ToolUse) -> None:
        self.use = use
        """The call, as it is run once its gates have passed it."""
        self.seconds: float | None = None
        """The deadline of its handler."""
        self.ended: asyncio.Future[None] | None = None
        """Done when nothing is to be waited for: the task has ended, or does not end. None before a wait."""
        self.task: asyncio.Task[AIToolResultPart | None]
        self.late = False
        """Whether it was cancelled because its time was up: what it returns does not count."""
        self.stuck = False
        """Whether it went on after that."""
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, work: Coroutine[Any, Any, AIToolResultPart | None]) -> None:
        """Run `work` until it first waits: a call that waits for nothing has ended by then."""
        loop = asyncio.get_running_loop()
        self.task = task = asyncio.Task(work, loop=loop, eager_start=True)  # supervised: by `end`
        if task.done():
            return
        task.set_name(f"tool:{self.use.name}")
        task.add_done_callback(self._release)
        self.ended = loop.create_future()
        if self._due is not None:
            self._timer = loop.call_at(self._due, self._on_time)

    def begin_step(self, seconds: float | None) -> None:
        """Give the next step so many seconds; None or 0: no deadline."""
        self.seconds = seconds
        if not seconds:
            return
        loop = asyncio.get_running_loop()
        self._due = loop.time() + seconds
        if self.ended is not None:
            self._timer = loop.call_at(self._due, self._on_time)

    def end_step(self) -> None:
        """End the step, and with it its deadline."""
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
        if self.late and not self.stuck:
            self.task.uncancel()

    def _on_time(self) -> None:
        self.late = True
        self.task.cancel()
        self._timer = asyncio.get_running_loop().call_later(ABANDON_AFTER, self._on_stuck)

    def _on_stuck(self) -> None:
        self.stuck = True
        self._release()

    def _release(self, task: object = None) -> None:
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)


async def all_ended(runs: Iterable[ToolRun]) -> None:
    """Wait for every run. The first failure ends the wait."""
    waiting: dict[asyncio.Future[None], ToolRun] = {}
    for run in runs:
        if run.ended is None:
            run.task.result()
        else:
            waiting[run.ended] = run
    while waiting:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            task = waiting.pop(ended).task
            if task.done():
                task.result()


async def end(runs: Iterable[ToolRun]) -> list[ToolRun]:
    """Cancel the runs that have not ended, and return those that do not end."""
    left = [run for run in runs if not run.task.done()]
    if not left:
        return left
    for run in left:
        run.task.cancel()
    try:
        if fresh := [run.task for run in left if not run.stuck]:
            await asyncio.wait(fresh, timeout=ABANDON_AFTER)
    finally:
        for run in left:
            run.stuck = run.stuck or not run.task.done()
    return [run for run in left if run.stuck]
