"""Writes to rooms that arrive while others are under way go together, in one round trip and one transaction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roomkit.abc.errors import RoomKitError, StoreBusyError, StoreUnavailableError
from roomkit_plugins.postgres.database import Database

__all__ = ["Batches"]

_TOGETHER = 32
_AT_ONCE = 2
_MOST_WAITING = 10_000


@dataclass(slots=True, eq=False)
class _Job:
    """A write that waits for its turn. `done` runs before anybody hears, even if nobody listens any more."""

    room_id: str | None
    operation: str
    done: Callable[[Any], None]
    outcome: asyncio.Future[Any]


class Batches:
    """Runs the operations of `roomkit_write`, those of one room one after the other.

    Each succeeds or fails alone: what may be refused is refused by an answer, and when the server fails
    a batch of several, each is tried again by itself.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Job] = deque()  # bound: _MOST_WAITING, checked in write()
        self._busy: set[str] = set()  # bound: _AT_ONCE * _TOGETHER
        self._running = 0

    async def write(self, room_id: str | None, operation: str, done: Callable[[Any], None]) -> Any:
        """Run one operation, of a room or of none; return its answer. Cancellation does not undo it.

        Raises StoreBusyError when too many wait already.
        """
        await self._database.open()
        if len(self._waiting) >= _MOST_WAITING:
            raise StoreBusyError(
                f"{_MOST_WAITING} writes wait for PostgreSQL already; nothing was stored: slow down"
            )
        job = _Job(room_id, operation, done, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._start()
        return await job.outcome

    def _start(self) -> None:
        """Begin batches while there is something to write and a turn is free."""
        while self._running < _AT_ONCE and (jobs := self._take()):
            self._running += 1
            self._database.supervise(self._run(jobs))

    def _take(self) -> list[_Job]:
        """Take what may be written together: one job of each room that is not being written to."""
        taken: list[_Job] = []  # bound: _TOGETHER
        left: list[_Job] = []  # bound: what waits
        while self._waiting and len(taken) < _TOGETHER:
            job = self._waiting.popleft()
            if job.outcome.cancelled():
                continue
            if job.room_id in self._busy:
                left.append(job)
                continue
            if job.room_id is not None:
                self._busy.add(job.room_id)
            taken.append(job)
        self._waiting.extendleft(reversed(left))
        return taken

    async def _run(self, jobs: list[_Job]) -> None:
        try:
            while jobs:
                await self._write(jobs)
                self._busy.difference_update(job.room_id for job in jobs if job.room_id is not None)
                jobs = self._take()
        finally:
            self._running -= 1

    async def _write(self, jobs: list[_Job]) -> None:
        operations = f"[{','.join(job.operation for job in jobs)}]"
        try:
            answers = await self._database.write_once("roomkit_write($3)", operations)
        except Exception as error:  # noqa: BLE001  # handed to the callers, all of them
            if (
                len(jobs) > 1
                and isinstance(error, RoomKitError)
                and not isinstance(error, StoreUnavailableError)
            ):
                for job in jobs:
                    await self._write([job])
                return
            for job in jobs:
                if not job.outcome.done():
                    job.outcome.set_exception(error)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.done(answer)
            if not job.outcome.done():
                job.outcome.set_result(answer)
