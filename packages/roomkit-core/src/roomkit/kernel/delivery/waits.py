"""Turns that wait for what they set going in other rooms: a wait that would close a circle ends at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from roomkit.kernel.flow.job import Job
from roomkit.kernel.runtime.scope import innermost_work

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator, Mapping

    from roomkit.kernel.flow.cascade import Cascade
    from roomkit.kernel.flow.deferred import Deferred
    from roomkit.kernel.runtime.scope import Work

__all__ = ["Waits"]


class _Lane(Protocol):
    scope: Work | None
    """The work that it is at."""
    queue: deque[Job | Deferred]


class _Wait:
    """One piece of work that waits for a cascade; `freed` is set where it must not."""

    __slots__ = ("cascade", "freed", "work")

    def __init__(self, work: Work, cascade: Cascade) -> None:
        self.work = work
        self.cascade = cascade
        self.freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def free(self) -> None:
        if not self.freed.done():
            self.freed.set_result(None)


class Waits:
    """Which work waits for which cascade, in this process.

    A cascade waits for the lanes that its deliveries are queued in, a lane for the work it is at, and work
    for the cascade that it awaits. No circle goes through another worker: a cascade does not wait for
    deliveries that are handed over.
    """

    def __init__(self, lanes: Mapping[tuple[str, str], _Lane]) -> None:
        self._lanes = lanes
        self.waiting: list[_Wait] = []  # bound: turns and observers under way

    async def settled(self, cascade: Cascade) -> None:
        """Wait until a cascade has settled; return at once, or as soon as that is so, if it never could."""
        work = innermost_work()
        if work is None:
            await cascade.settled()
            return
        wait = _Wait(work, cascade)
        self.waiting.append(wait)
        try:
            if self._is_in_circle(wait):
                return
            while cascade.pending and not wait.freed.done():
                await asyncio.wait((cascade.waiter(), wait.freed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting.remove(wait)

    def queued(self) -> None:
        """Look again, as a delivery was put behind work under way: that may have closed a circle."""
        for wait in self.waiting:
            if self._is_in_circle(wait):
                wait.free()
                return

    def _is_in_circle(self, wait: _Wait) -> bool:
        seen, ahead = set[int](), [wait.cascade]
        while ahead:
            cascade = ahead.pop()
            if id(cascade) in seen:
                continue
            seen.add(id(cascade))
            for work in self._awaited(cascade):
                if work is wait.work:
                    return True
                ahead += [each.cascade for each in self.waiting if each.work is work]
        return False

    def _awaited(self, cascade: Cascade) -> Iterator[Work]:
        """Yield the work that has to end before a cascade can settle, as far as it may wait itself."""
        for lane in self._lanes.values():
            jobs = (each for each in lane.queue if isinstance(each, Job))  # nothing waits for the others
            if lane.scope is not None and any(job.run.cascade.is_part_of(cascade) for job in jobs):
                yield lane.scope
        for each in self.waiting:
            own = each.work.cascade
            if own is not None and own.is_part_of(cascade):
                yield each.work
