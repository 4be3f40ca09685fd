"""What it costs to keep a conversation: the durable stores against a raw INSERT of the same event."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
from pydantic_core import to_json

from benchmarks.durable import make_rooms, message, postgres_server, sqlite_folder, talk
from benchmarks.harness import Case, contest
from benchmarks.report import Effort, Figure, Findings
from benchmarks.world import TEXT
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresLockManager, PostgresRealtime, PostgresStore
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.services.tcp import CutProxy

__all__ = ["PEOPLE", "kit_rooms", "postgres", "said", "sqlite", "talking_kit"]

type Run = Callable[[int], Awaitable[object]]

PEOPLE = ("ann", "bob", "carol")
"""Who is in each room of a kit; ann speaks, the others are delivered to."""
_ROOMS = 20
_LEASE = 3600.0


# -- SQLite -------------------------------------------------------------------------------------


async def sqlite(effort: Effort) -> Findings:
    """A commit with two deliveries: one at a time, and of twenty rooms at once; loading a room in use."""
    figures: list[Figure] = []
    aims = {"full": 500.0, "normal": None}
    synchronous: Literal["full", "normal"]
    for synchronous in ("full", "normal"):
        items = effort.items(400 if synchronous == "full" else 2000)
        async with sqlite_folder() as folder, _raw_file(folder, synchronous) as raw:
            config = SQLiteConfig(path=folder / "rooms.db", synchronous=synchronous)
            async with SQLiteStore(config) as store:
                rooms = await make_rooms(store, _ROOMS)
                worker = await store.open_lease(_LEASE)
                found = await contest(
                    {
                        "raw": Case(raw, items),
                        "alone": Case(partial(talk, store, worker, rooms[:1]), items),
                        "together": Case(partial(talk, store, worker, rooms), items * 5),
                        "load": Case(partial(_load, store, rooms[0]), items),
                    },
                    effort.rounds(5),
                    time.perf_counter,
                )
        floor, alone, together = (found[name].best for name in ("raw", "alone", "together"))
        of_many = f"SQLite commit, {synchronous}, of {_ROOMS} rooms at once"
        figures += [
            Figure(f"SQLite commit, {synchronous}, one at a time", alone, "µs", floor),
            Figure(of_many, together, "µs", floor, aims[synchronous]),
            Figure(f"SQLite load of a room in use, {synchronous}", found["load"].best, "µs"),
        ]
    return Findings(figures)


@asynccontextmanager
async def _raw_file(folder: Path, synchronous: str) -> AsyncIterator[Run]:
    """The floor: the event's row alone, with its unique keys, by hand and without a thread."""
    with closing(sqlite3.connect(folder / "raw.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(
            "CREATE TABLE events (seq INTEGER PRIMARY KEY, room INTEGER NOT NULL, idx INTEGER NOT NULL, "
            "id TEXT NOT NULL UNIQUE, data TEXT NOT NULL, UNIQUE (room, idx))"
        )

        async def insert(items: int) -> None:
            (first,) = connection.execute("SELECT count(*) FROM events").fetchone()
            for index in range(first, first + items):
                event = message("room")
                row = (index, event.id, to_json(event, exclude_none=True).decode())
                connection.execute("INSERT INTO events (room, idx, id, data) VALUES (1, ?, ?, ?)", row)

        yield insert


async def _load(store: SQLiteStore, room_id: str, items: int) -> None:
    for _ in range(items):
        await store.load(room_id, recent=RECENT_EVENTS)


# -- PostgreSQL ---------------------------------------------------------------------------------


async def postgres(effort: Effort) -> Findings:
    """A message with two deliveries: in the store, through the whole kit, and counted in round trips."""
    items = effort.items(400)
    async with postgres_server() as server, AsyncExitStack() as stack:
        dsn = await asyncio.to_thread(server.create_database)
        raw = await stack.enter_async_context(_raw_rows(dsn, 1))
        raw_together = await stack.enter_async_context(_raw_rows(dsn, _ROOMS))
        store = await stack.enter_async_context(PostgresStore(dsn))
        rooms = await make_rooms(store, _ROOMS)
        worker = await store.open_lease(_LEASE)
        kit = await stack.enter_async_context(talking_kit(dsn))
        houses = await kit_rooms(kit, _ROOMS)
        found = await contest(
            {
                "raw": Case(raw, items),
                "raw together": Case(raw_together, items * 5),
                "store": Case(partial(talk, store, worker, rooms[:1], loading=True), items),
                "store together": Case(partial(talk, store, worker, rooms, loading=True), items * 5),
                "kit": Case(partial(say, kit, houses[:1]), items),
                "kit together": Case(partial(say, kit, houses), items * 5),
            },
            effort.rounds(6),
            time.perf_counter,
        )
        trips = await _round_trips(dsn, effort.items(200))
    raw_one, raw_many = found["raw"].best, found["raw together"].best
    of_many = f"of {_ROOMS} rooms at once"
    kit_many = found["kit together"].best
    return Findings(
        [
            Figure(
                "PostgreSQL load and commit, one at a time", found["store"].best, "µs", raw_one, 4 * raw_one
            ),
            Figure(
                f"PostgreSQL load and commit, {of_many}", found["store together"].best, "µs", raw_many, 400.0
            ),
            Figure(
                "PostgreSQL message through the kit, one at a time", found["kit"].best, "µs", raw_one, 700.0
            ),
            Figure(f"PostgreSQL message through the kit, {of_many}", kit_many, "µs", raw_many, 250.0),
            *trips,
        ]
    )


@asynccontextmanager
async def _raw_rows(dsn: str, connections: int) -> AsyncIterator[Run]:
    """The floor: the event's row alone, with its unique keys, from as many connections as rooms speak."""
    async with asyncpg.create_pool(dsn, min_size=connections, max_size=connections) as pool:
        await pool.execute(
            "CREATE TABLE IF NOT EXISTS raw_events (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            "room bigint NOT NULL, idx bigint NOT NULL, id text NOT NULL UNIQUE, data text NOT NULL, "
            "UNIQUE (room, idx))"
        )

        async def insert(room: int, items: int) -> None:
            async with pool.acquire() as connection:
                first = await connection.fetchval("SELECT count(*) FROM raw_events WHERE room = $1", room)
                statement = await connection.prepare(
                    "INSERT INTO raw_events (room, idx, id, data) VALUES ($1, $2, $3, $4)"
                )
                for index in range(first, first + items):
                    event = message("room")
                    data = to_json(event, exclude_none=True).decode()
                    await statement.fetch(room, index, event.id, data)

        async def insert_all(items: int) -> None:
            rooms = range(connections * 100, connections * 101)
            await asyncio.gather(*(insert(room, max(1, items // connections)) for room in rooms))

        yield insert_all


@asynccontextmanager
async def talking_kit(dsn: str, *, locks: str | None = None, **options: Any) -> AsyncIterator[RoomKit]:
    """Open a kit with three recording channels on a database; its locks may have a way of their own."""
    plugins = PluginManager(entry_points=())
    plugins.scan()
    async with RoomKit(
        store=PostgresStore(dsn),
        lock_manager=PostgresLockManager(locks or dsn),
        realtime=PostgresRealtime(locks or dsn),
        plugins=plugins,
        **options,
    ) as kit:
        for name in PEOPLE:
            kit.register_channel(RecordingChannel(name))
        yield kit


async def kit_rooms(kit: RoomKit, count: int) -> list[str]:
    """Make rooms with everybody in them; return their ids."""
    rooms: list[str] = []  # bound: count
    for _ in range(count):
        room = await kit.create_room()
        for name in PEOPLE:
            await kit.attach_channel(room.id, name)
        rooms.append(room.id)
    return rooms


def said(room_id: str) -> InboundMessage:
    """Return an inbound message for a room; the sender is known in no other one."""
    return InboundMessage(channel_id="ann", sender_id=f"ann of {room_id}", content=TextContent(body=TEXT))


async def say(kit: RoomKit, rooms: list[str], items: int, *, routed: bool = False) -> None:
    """Take messages through the kit until all is delivered, in all rooms at once and in each one by one."""

    async def speak(room_id: str) -> None:
        for _ in range(max(1, items // len(rooms))):
            result = await kit.process_inbound(said(room_id), room_id=None if routed else room_id)
            assert len(result.delivery_results) == 2, result

    await asyncio.gather(*map(speak, rooms))


async def _round_trips(dsn: str, items: int) -> list[Figure]:
    """Count what a message asks the server, of the store and of the locks, each by a proxy of its own."""
    figures: list[Figure] = []
    async with (
        CutProxy(dsn) as storing,
        CutProxy(dsn) as locking,
        talking_kit(storing.url, locks=locking.url) as kit,
    ):
        rooms = await kit_rooms(kit, 1)

        async def count(name: str, aim: float | None, **how: Any) -> None:
            await say(kit, rooms, 5, **how)
            store, locks = storing.requests, locking.requests
            await say(kit, rooms, items, **how)
            store, locks = storing.requests - store, locking.requests - locks
            figures.append(Figure(f"round trips of a message, {name}", store / items, "", aim=aim))
            figures.append(Figure(f"and of its room lock, {name}", locks / items, ""))

        await count("room given", 2.1)
        await count("routed by its sender", None, routed=True)

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.allow()

        await count("one gate", None)
    return figures
