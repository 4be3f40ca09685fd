"""Reads the uncached parts of rooms for a plan; requests during a read go together in the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.store import RECENT_SCAN
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.rows import (
    BINDINGS,
    EVENTS,
    HEAD,
    PARTICIPANTS,
    ROOMS,
    load_event,
    load_record,
    load_room,
    unread_event,
)
from roomkit_plugins.postgres.turns import BatchTurn, BatchTurns
from roomkit_plugins.sql.cached import Counters, Known, Reading

__all__ = ["LOAD", "Loads"]

_TOGETHER = 64
_EVENT = f"ROW({EVENTS.select('e')}, e.idx)"
_MOVED = "h.room <> k.room OR h.version <> k.version"

# `k` is the cached state. While a room's version stands, all that can have happened to it is that events were
# added: then only those are read. In steady state it is one row of numbers for each room.
LOAD: Final = f"""
SELECT k.place, h.room, h.edition, h.version, h.next_index, h.event_count, h.last_activity,
    CASE WHEN {_MOVED} THEN ROW({ROOMS.select("r")}, {HEAD}) END,
    CASE WHEN {_MOVED} THEN ARRAY(
        SELECT ROW({BINDINGS.select("b")}) FROM roomkit_bindings b WHERE b.room = h.room ORDER BY b.seq
    ) END,
    CASE WHEN {_MOVED} THEN ARRAY(
        SELECT ROW({PARTICIPANTS.select("p")}) FROM roomkit_participants p
        WHERE p.room = h.room ORDER BY p.seq
    ) END,
    CASE WHEN {_MOVED} OR h.edition <> k.edition OR k.wanted > k.tail THEN ARRAY(
        SELECT {_EVENT} FROM roomkit_events e
        WHERE e.room = h.room AND e.is_history AND e.idx >= greatest(
            h.next_index - greatest(k.tail, k.wanted) * {RECENT_SCAN},
            CASE WHEN {_MOVED} OR k.wanted > k.tail THEN 0 ELSE k.next_index END
        )
        ORDER BY e.idx DESC LIMIT greatest(k.tail, k.wanted)
    ) END,
    CASE WHEN k.key IS NOT NULL THEN ARRAY(
        SELECT {_EVENT} FROM roomkit_events e WHERE e.room = h.room AND e.idempotency_key = k.key
    ) END
FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[]
) WITH ORDINALITY AS k (id, room, edition, version, tail, next_index, wanted, key, place)
JOIN roomkit_rooms r ON r.id = k.id JOIN roomkit_heads h ON h.room = r.seq
"""


@dataclass(slots=True, eq=False)
class _Job:
    """The cached state of a room, and the parts to read."""

    known: tuple[str, int, int, int, int, int, int, str | None]
    outcome: asyncio.Future[Any]


class Loads:
    """Reads rooms; those asked for in one turn of the loop, or while others are read, go together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Job] = []  # bound: the callers of load()
        self._turns = BatchTurns(self._start)

    async def load(self, room_id: str, known: Known, wanted: int, key: str | None) -> Reading | None:
        """Read the uncached parts of a room, and the event of a key; None when the room does not exist."""
        await self._database.open()
        job = _Job((room_id, *known, wanted, key), asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._start()
        row = await job.outcome
        return None if row is None else _reading(room_id, known, wanted, row)

    def _start(self) -> None:
        if self._waiting and self._turns.is_free:
            self._database.supervise(self._run(self._turns.take()))

    async def _run(self, turn: BatchTurn) -> None:
        with turn:
            while turn.is_held and (jobs := self._take()):
                turn.renew()
                await self._read(jobs)

    def _take(self) -> list[_Job]:
        taken, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
        return [job for job in taken if not job.outcome.cancelled()]

    async def _read(self, jobs: list[_Job]) -> None:
        try:
            rows = await self._database.fetch(
                LOAD, *map(list, zip(*(job.known for job in jobs), strict=True))
            )
        except InvalidInputError as error:  # about one of them: the others are read apart from it
            if len(jobs) > 1:
                for job in jobs:
                    await self._read([job])
            elif not jobs[0].outcome.done():
                jobs[0].outcome.set_exception(error)
            return
        except Exception as error:  # noqa: BLE001  # handed to the callers, all of them
            for job in jobs:
                if not job.outcome.done():
                    job.outcome.set_exception(error)
            return
        by_place = {row[0]: row for row in rows}
        for place, job in enumerate(jobs, 1):
            if not job.outcome.done():
                job.outcome.set_result(by_place.get(place))


def _reading(room_id: str, known: Known, wanted: int, row: Sequence[Any]) -> Reading:
    reading = Reading(Counters(*row[1:7]))
    room, bindings, people, tail, keyed = row[7:]
    if room is not None:
        reading.room = load_room(room)
        reading.bindings = {each[0]: load_record(BINDINGS, each, room_id) for each in bindings}
        reading.participants = {each[0]: load_record(PARTICIPANTS, each, room_id) for each in people}
    if tail is not None:
        reading.tail = [unread_event(room_id, each) for each in reversed(tail)]
        reading.tail_size = max(wanted, known.tail)
        reading.is_growth = room is None and wanted <= known.tail
    if keyed:
        reading.keyed = load_event(room_id, keyed[0])
    return reading
