"""Writes that arrive while others are under way go together, in one round trip and one transaction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roomkit.abc.errors import RoomKitError, StoreBusyError, StoreUnavailableError
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.turns import BatchTurn, BatchTurns

__all__ = ["Batches"]

_TOGETHER = 64
_MOST_WAITING = 10_000


@dataclass(slots=True, eq=False)
class _Job:
    """A write that waits for its turn. `done` runs before its caller resumes, even if the caller is gone."""

    room_id: str | None
    operation: str
    done: Callable[[Any], None]
    outcome: asyncio.Future[Any]


class Batches:
    """Runs the operations of `roomkit_write`, those of one room one after the other.

    Each succeeds or fails alone: a refusal is an answer of its own, and when the server fails
    a batch of several, each is tried again by itself.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Job] = deque()  # bound: _MOST_WAITING, checked in write()
        self._busy: set[str] = set()  # bound: _TOGETHER for each batch under way
        self._turns = BatchTurns(self._start)

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
        if self._waiting and self._turns.is_free:
            self._database.supervise(self._run(self._turns.take()))

    def _take(self) -> list[_Job]:
        """Take the jobs that may be written together: one of each room without a write under way."""
        taken: list[_Job] = []  # bound: _TOGETHER
        left: list[_Job] = []  # bound: the queue
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

    async def _run(self, turn: BatchTurn) -> None:
        has_written = False
        with turn:
            while turn.is_held and (jobs := self._take()):
                turn.renew()
                await self._write(jobs)
                has_written = True
        if has_written:  # a job may have waited for a room of these, when it had the turn
            self._start()

    async def _write(self, jobs: list[_Job]) -> None:
        apart: list[_Job] = []  # bound: jobs
        try:
            apart += await self._write_together(jobs)
        finally:
            self._busy.difference_update(
                job.room_id for job in jobs if job.room_id is not None and job not in apart
            )
        for job in apart:
            self._database.supervise(self._write_apart(job))

    async def _write_apart(self, job: _Job) -> None:
        await self._write([job])
        self._start()

    async def _write_together(self, jobs: list[_Job]) -> list[_Job]:
        """Write jobs in one transaction; return those to be tried alone."""
        operations = f"[{','.join(job.operation for job in jobs)}]"
        try:
            answers = await self._database.write_once("roomkit_write($3)", operations)
        except Exception as error:  # noqa: BLE001  # handed to the callers, all of them
            if (
                len(jobs) > 1
                and isinstance(error, RoomKitError)
                and not isinstance(error, StoreUnavailableError)
            ):
                return jobs
            for job in jobs:
                if not job.outcome.done():
                    job.outcome.set_exception(error)
            return []
        apart: list[_Job] = []  # bound: jobs
        for job, answer in zip(jobs, answers, strict=True):
            if answer.get("error") == "busy":
                apart.append(job)
                continue
            try:
                job.done(answer)
            except Exception as error:  # noqa: BLE001  # written, but not understood: its caller gets it alone
                if not job.outcome.done():
                    job.outcome.set_exception(error)
            if not job.outcome.done():
                job.outcome.set_result(answer)
        return apart
