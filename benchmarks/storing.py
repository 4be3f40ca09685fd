"""What it costs to keep a conversation in a file: the SQLite store against a raw INSERT of the same row."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic_core import to_json

from benchmarks.report import Curve, Effort, Figure, Findings
from benchmarks.world import TEXT
from roomkit.abc.store import Commit, Entry
from roomkit.models.base import utcnow
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

__all__ = ["sqlite", "sqlite_length"]

type Synchronous = Literal["full", "normal"]
type Run = Callable[[int], Awaitable[object]]

_SOURCE = EventSource(channel_id="sms", channel_type=ChannelType.SMS, participant_id="ann")
_TARGETS = ("email", "websocket")


async def sqlite(effort: Effort) -> Findings:
    """A commit with two deliveries: one at a time, and of twenty rooms at once; loading a room in use."""
    figures: list[Figure] = []
    for synchronous in ("full", "normal"):
        items = effort.items(400 if synchronous == "full" else 2000)
        async with _store(synchronous) as store, _raw(synchronous) as raw:
            rooms = [(await store.create_room(Room())).id for _ in range(20)]
            found = await _contest(
                {
                    "raw": (raw, items),
                    "alone": (partial(_commit, store, rooms[:1]), items),
                    "together": (partial(_commit, store, rooms), items * 5),
                    "load": (partial(_load, store, rooms[0]), items),
                },
                effort.rounds(5),
            )
        floor = found["raw"]
        figures += [
            Figure(f"SQLite commit, {synchronous}, one at a time", found["alone"], "µs", floor, None),
            Figure(
                f"SQLite commit, {synchronous}, of 20 rooms at once", found["together"], "µs", floor, 500.0
            ),
            Figure(f"SQLite load of a room in use, {synchronous}", found["load"], "µs"),
        ]
    return Findings(figures)


async def sqlite_length(effort: Effort) -> Findings:
    """A commit and a load in a room that holds more and more events."""
    sizes = effort.sizes(0, 1_000, 10_000, 100_000)
    commits: list[tuple[float, float]] = []
    loads: list[tuple[float, float]] = []
    async with _store("normal") as store:
        cases: dict[str, tuple[Run, int]] = {}
        for size in sizes:
            room_id = (await store.create_room(Room())).id
            await _fill(store, room_id, size)
            cases[f"commit {size}"] = (partial(_commit, store, [room_id]), effort.items(300))
            cases[f"load {size}"] = (partial(_load, store, room_id), effort.items(300))
        found = await _contest(cases, effort.rounds(9))
    for size in sizes:
        commits.append((size, found[f"commit {size}"]))
        loads.append((size, found[f"load {size}"]))
    longest = f"{sizes[-1]:,} events / empty room"
    return Findings(
        [
            Figure(f"SQLite commit, room of {longest}", commits[-1][1] / commits[0][1], "x", 1.0, 1.2),
            Figure(f"SQLite load, room of {longest}", loads[-1][1] / loads[0][1], "x", 1.0, 1.2),
        ],
        [
            Curve(
                "sqlite-room-length",
                "events in the room",
                "µs",
                {"commit": commits, "load": loads},
                log=False,
            )
        ],
    )


async def _contest(cases: Mapping[str, tuple[Run, int]], rounds: int) -> dict[str, float]:
    """Measure all cases in turns; return microseconds an item took by the clock, in the best round.

    By the clock, not in CPU time as elsewhere: what is measured here is mostly waiting for the disk.
    """
    best: dict[str, float] = {}
    for turn in range(rounds + 1):
        for name, (run, items) in cases.items():
            began = time.perf_counter()
            await run(items)
            spent = (time.perf_counter() - began) / items * 1e6
            if turn:
                best[name] = min(spent, best.get(name, spent))
    return best


@asynccontextmanager
async def _store(synchronous: Synchronous) -> AsyncIterator[SQLiteStore]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # a real disk; /tmp may be none
        path = Path(folder, "rooms.db")
        async with SQLiteStore(SQLiteConfig(path=path, synchronous=synchronous)) as store:
            yield store


@asynccontextmanager
async def _raw(synchronous: Synchronous) -> AsyncIterator[Run]:
    """The floor: the event's row alone, with its unique keys, by hand and without a thread."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
        closing(sqlite3.connect(Path(folder, "raw.db"), isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(
            "CREATE TABLE events (seq INTEGER PRIMARY KEY, room INTEGER NOT NULL, idx INTEGER NOT NULL, "
            "id TEXT NOT NULL UNIQUE, data TEXT NOT NULL, UNIQUE (room, idx))"
        )

        async def insert(items: int) -> None:
            (first,) = connection.execute("SELECT count(*) FROM events").fetchone()
            for index in range(first, first + items):
                event = _event("room")
                row = (index, event.id, to_json(event, exclude_none=True).decode())
                connection.execute("INSERT INTO events (room, idx, id, data) VALUES (1, ?, ?, ?)", row)

        yield insert


async def _commit(store: SQLiteStore, rooms: list[str], items: int) -> None:
    async def write(room_id: str) -> None:
        for _ in range(max(1, items // len(rooms))):
            entries = [Entry(_event(room_id), _TARGETS)]
            await store.commit(Commit(room_id=room_id, entries=entries, at=utcnow()))

    await asyncio.gather(*map(write, rooms))


async def _load(store: SQLiteStore, room_id: str, items: int) -> None:
    for _ in range(items):
        await store.load(room_id, recent=50)


async def _fill(store: SQLiteStore, room_id: str, events: int) -> None:
    for left in range(events, 0, -500):
        entries = [Entry(_event(room_id), _TARGETS) for _ in range(min(left, 500))]
        await store.commit(Commit(room_id=room_id, entries=entries, at=utcnow()))


def _event(room_id: str) -> RoomEvent:
    return RoomEvent(room_id=room_id, source=_SOURCE, content=TextContent(body=TEXT))
