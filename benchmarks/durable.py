"""Durable stores on real disks, and messages in their rooms: past the kit, as a kit does it."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed

from benchmarks.world import TEXT
from roomkit.abc.store import Commit, ConversationStore, Entry
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.models.base import utcnow
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery, DeliveryOutcome
from roomkit.models.enums import ChannelType, DeliveryState
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing.services.postgres import PostgresServer

__all__ = [
    "TARGETS",
    "Disk",
    "PostgresDisk",
    "SQLiteDisk",
    "disks",
    "ended",
    "make_rooms",
    "message",
    "postgres_server",
    "sqlite_folder",
    "talk",
]

TARGETS = ("email", "websocket")
_SOURCE = EventSource(channel_id="sms", channel_type=ChannelType.SMS, participant_id="ann")


def message(room_id: str) -> RoomEvent:
    """Return a message of a person in a room."""
    return RoomEvent(room_id=room_id, source=_SOURCE, content=TextContent(body=TEXT))


def ended(event: RoomEvent) -> list[DeliveryOutcome]:
    """Return how the deliveries of an event ended: sent, each with the vendor's id."""
    return [
        Delivery.planned(event, channel_id).outcome(
            state=DeliveryState.SENT,
            attempts=1,
            provider="acme",
            provider_message_id=f"{event.id}/{channel_id}",
            finished_at=event.created_at,
            duration_ms=1.5,
        )
        for channel_id in TARGETS
    ]


async def make_rooms(store: ConversationStore, count: int) -> list[str]:
    """Make empty rooms; return their ids."""
    return [(await store.create_room(Room())).id for _ in range(count)]


async def talk(
    store: ConversationStore, worker_id: str, rooms: Sequence[str], items: int, *, loading: bool = False
) -> None:
    """Commit `items` messages with two targets each, in all rooms at once and in each one by one.

    The ends of a message's deliveries ride with the next commit of its room, as in a kit. `loading`
    loads the room before each.
    """

    async def speak(room_id: str, count: int) -> None:
        ends: list[DeliveryOutcome] = []  # bound: the targets
        for _ in range(count):
            version = None
            if loading:
                record = await store.load(room_id, recent=RECENT_EVENTS)
                assert record is not None
                version = record.version
            committed = await store.commit(
                Commit(
                    room_id=room_id,
                    entries=[Entry(message(room_id), TARGETS)],
                    at=utcnow(),
                    expected_version=version,
                    worker_id=worker_id,
                    completed=ends,
                )
            )
            assert not committed.elsewhere, committed
            assert not committed.completed.refused, committed
            ends = ended(committed.events[0])
        await store.complete(ends, worker_id=worker_id)

    await asyncio.gather(*(speak(room_id, max(1, items // len(rooms))) for room_id in rooms))


# -- what they are kept on ----------------------------------------------------------------------


class Disk(Protocol):
    """Where a store keeps everything, and a way to it past the store."""

    @property
    def name(self) -> str:
        """What the store is called."""

    def store(self) -> SQLiteStore | PostgresStore:
        """Return a new store, not open yet, that has read nothing of its data."""

    async def lengthen(self, room_id: str, events: int) -> None:
        """Repeat the newest event of a room, with its deliveries, that many times.

        No store may have the room in memory.
        """

    async def size(self) -> int:
        """Return the bytes of all stored data, with its indexes and without removed data."""

    async def claim_by_hand(self) -> int:
        """Lease all pending deliveries to a worker, read them and their events, undo it; return how many."""

    async def pending(self) -> int:
        """Return how many deliveries have not ended."""


def _columns(names: Iterable[str], **instead: str) -> tuple[str, str]:
    """Return columns as INSERT names them, and as SELECT has them: as they are, or `instead`."""
    taken = list(names)
    return ", ".join(taken), ", ".join(instead.get(name, f"o.{name}") for name in taken)


# -- SQLite -------------------------------------------------------------------------------------


@asynccontextmanager
async def sqlite_folder() -> AsyncIterator[Path]:
    """Give a folder on a real disk; that of temporary files may be none."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        yield Path(folder)


class SQLiteDisk:
    """A file."""

    name = "SQLite"

    def __init__(self, path: Path) -> None:
        self._path = path

    def store(self) -> SQLiteStore:
        return SQLiteStore(SQLiteConfig(path=self._path))

    async def lengthen(self, room_id: str, events: int) -> None:
        await asyncio.to_thread(self._lengthen, room_id, events)

    def _lengthen(self, room_id: str, events: int) -> None:
        with closing(self._connect()) as connection:
            room, first = connection.execute(
                "SELECT seq, next_index FROM rooms WHERE id = ?", (room_id,)
            ).fetchone()
            old = connection.execute(
                "SELECT seq FROM events WHERE room = ? AND idx = ?", (room, first - 1)
            ).fetchone()[0]
            given = {"room": room, "first": first, "old": old, "count": events}
            names, values = _columns(
                self._names(connection, "events"),
                idx="o.idx + n.i",
                id="o.id || '.' || n.i",
                data="replace(o.data, o.id, o.id || '.' || n.i)",
            )
            connection.execute("BEGIN")
            connection.execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
                f"INSERT INTO events ({names}) SELECT {values} FROM n, events o WHERE o.seq = :old",
                given,
            )
            new = "FROM events e, events n {} WHERE e.seq = :old AND n.room = :room AND n.idx >= :first"
            again = "replace(o.{}, e.id, n.id)"
            names, values = _columns(
                self._names(connection, "deliveries"), event="n.seq", data=again.format("data")
            )
            connection.execute(
                f"INSERT INTO deliveries ({names}) SELECT {values} "
                + new.format("JOIN deliveries o ON o.event = e.seq"),
                given,
            )
            connection.execute(
                "INSERT INTO delivery_messages (provider, message_id, delivery) "
                f"SELECT o.provider, {again.format('message_id')}, d.seq "
                + new.format(
                    "JOIN deliveries b ON b.event = e.seq JOIN delivery_messages o ON o.delivery = b.seq "
                    "JOIN deliveries d ON d.event = n.seq AND d.channel_id = b.channel_id"
                ),
                given,
            )
            connection.execute(
                "INSERT INTO search (rowid, room, text) SELECT n.seq, o.room, o.text "
                + new.format("JOIN search o ON o.rowid = e.seq"),
                given,
            )
            connection.execute(
                "UPDATE rooms SET next_index = next_index + :count, event_count = event_count + :count, "
                "edition = edition + 1 WHERE seq = :room",
                given,
            )
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint (TRUNCATE)")

    async def size(self) -> int:
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA wal_checkpoint (TRUNCATE)")
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    async def claim_by_hand(self) -> int:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE deliveries SET holder = 'me' WHERE state = 'pending'")
            rows = connection.execute(
                "SELECT d.*, e.* FROM deliveries d JOIN events e ON e.seq = d.event WHERE d.state = 'pending'"
            ).fetchall()
            connection.execute("ROLLBACK")
        return len(rows)

    async def pending(self) -> int:
        with closing(self._connect()) as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM deliveries WHERE state = 'pending'"
            ).fetchone()
        return int(count)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None, timeout=30.0)

    @staticmethod
    def _names(connection: sqlite3.Connection, table: str) -> list[str]:
        rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
        return [name for (name,) in rows if name != "seq"]


# -- PostgreSQL ---------------------------------------------------------------------------------


@asynccontextmanager
async def postgres_server() -> AsyncIterator[PostgresServer]:
    """Start a server that waits for its disk, as those of users do, and end it."""
    server = PostgresServer(durable=True, settings={"shared_buffers": "128MB", "max_wal_size": "4GB"})
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


class PostgresDisk:
    """A database."""

    name = "PostgreSQL"

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def store(self) -> PostgresStore:
        return PostgresStore(self.dsn)

    async def lengthen(self, room_id: str, events: int) -> None:
        async with self._connected() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")  # no foreign keys
            room, first = await connection.fetchrow(
                "SELECT h.room, h.next_index FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq "
                "WHERE r.id = $1",
                room_id,
            )
            repeat = partial(self._repeat, connection, room, first - 1, events)
            await repeat("roomkit_events", id="o.id || '.' || n")
            await repeat(
                "roomkit_deliveries",
                provider_message_id="replace(o.provider_message_id, '/', '.' || n || '/')",
            )
            await connection.execute(
                "UPDATE roomkit_heads SET next_index = next_index + $2, event_count = event_count + $2, "
                "edition = edition + 1 WHERE room = $1",
                room,
                events,
            )
        await self._execute("VACUUM ANALYZE")
        await self._execute("CHECKPOINT")

    @staticmethod
    async def _repeat(connection: Any, room: int, index: int, count: int, table: str, **instead: str) -> None:
        names, values = _columns(
            (
                row[0]
                for row in await connection.fetch(
                    "SELECT column_name FROM information_schema.columns WHERE table_name = $1 "
                    "AND table_schema = current_schema() AND is_identity = 'NO' AND is_generated = 'NEVER'",
                    table,
                )
            ),
            idx="o.idx + n",
            **instead,
        )
        await connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} o, generate_series(1, $3::bigint) n "
            "WHERE o.room = $1 AND o.idx = $2",
            room,
            index,
            count,
            timeout=None,
        )

    async def size(self) -> int:
        await self._execute("VACUUM")
        async with self._connected() as connection:
            return int(
                await connection.fetchval(
                    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' "
                    "AND relnamespace = current_schema()::regnamespace"
                )
            )

    async def claim_by_hand(self) -> int:
        async with self._connected() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("UPDATE roomkit_deliveries SET holder = 'me' WHERE state = 'pending'")
            rows = await connection.fetch(
                "SELECT d.*, e.* FROM roomkit_deliveries d JOIN roomkit_events e USING (room, idx) "
                "WHERE d.state = 'pending'"
            )
            await transaction.rollback()
        return len(rows)

    async def pending(self) -> int:
        async with self._connected() as connection:
            return int(
                await connection.fetchval("SELECT count(*) FROM roomkit_deliveries WHERE state = 'pending'")
            )

    async def _execute(self, command: str) -> None:
        async with self._connected() as connection:
            await connection.execute(command)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def disks() -> AsyncIterator[list[Disk]]:
    """Give an empty one of each kind."""
    async with sqlite_folder() as folder, postgres_server() as server:
        yield [
            SQLiteDisk(folder / "rooms.db"),
            PostgresDisk(await asyncio.to_thread(server.create_database)),
        ]
