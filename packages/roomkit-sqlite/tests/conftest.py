"""A store in a file of its own, and short words for what the tests do with it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from roomkit.abc.store import Commit, Committed, Entry
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.sqlite.database import Work, _connect
from roomkit_plugins.testing.contracts.base import NOW, event

type Opener = Callable[..., SQLiteStore]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the store's tables and no rows, to be copied: that costs a fifth of making them."""
    path = tmp_path_factory.mktemp("prepared") / "rooms.db"
    _connect(SQLiteConfig(path=path), writes=True).close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rooms.db"


@pytest.fixture
async def opener(path: Path) -> AsyncIterator[Opener]:
    """Make stores, all of one file unless told otherwise, and close them after the test."""
    made: list[SQLiteStore] = []

    def make(**options: object) -> SQLiteStore:
        settings = {"path": path, "synchronous": "normal", "busy_timeout": 5.0, **options}
        made.append(SQLiteStore(SQLiteConfig.model_validate(settings)))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
def store(opener: Opener) -> SQLiteStore:
    return opener()


@pytest.fixture
async def room(store: SQLiteStore) -> Room:
    return await store.create_room(Room())


async def say(store: SQLiteStore, *events: RoomEvent, targets: tuple[str, ...] = ()) -> list[RoomEvent]:
    """Commit events of one room in one transaction; return them as stored."""
    entries = [Entry(each, targets) for each in events]
    committed = await store.commit(Commit(room_id=events[0].room_id, entries=entries, at=NOW))
    return list(committed.events)


async def plan_sms(store: SQLiteStore, room_id: str, worker: str | None = None) -> Committed:
    """Commit a message that is to be delivered to `sms`, for a worker if there is one."""
    entries = [Entry(event(room_id), ["sms"])]
    return await store.commit(Commit(room_id=room_id, entries=entries, at=NOW, worker_id=worker))


async def on_writer[T](store: SQLiteStore, work: Work[T]) -> T:
    """Do something on the connection that writes, outside a transaction."""
    await store.open()
    writer = store._database._writer
    assert writer is not None
    return await writer.run(work)


async def on_readers(store: SQLiteStore, work: Work[object]) -> None:
    """Do something on each connection that reads."""
    await store.open()
    for reader in store._database._readers:
        await reader.run(work)


async def let_leases_run_out(store: SQLiteStore) -> None:
    """Move every lease that was opened on the file until now into the past."""
    await on_writer(
        store,
        lambda connection: connection.execute("UPDATE leases SET renewed_at = renewed_at - 7200 * 1000000"),
    )


class Steps:
    """Counts the steps that SQLite's machine takes on all connections of a store."""

    def __init__(self) -> None:
        self.taken = 0

    async def watch(self, store: SQLiteStore) -> Steps:
        await on_writer(store, self._watch)
        await on_readers(store, self._watch)
        return self

    def _watch(self, connection: sqlite3.Connection) -> None:
        connection.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        self.taken += 1
        return 0

    def since_last(self) -> int:
        taken, self.taken = self.taken, 0
        return taken


class Statements:
    """Remembers the statements that are run on all connections of a store."""

    def __init__(self) -> None:
        self.run: list[str] = []  # bound: the life of a test

    async def watch(self, store: SQLiteStore) -> Statements:
        await on_writer(store, lambda connection: connection.set_trace_callback(self.run.append))
        await on_readers(store, lambda connection: connection.set_trace_callback(self.run.append))
        return self

    def since_last(self) -> list[str]:
        run, self.run[:] = list(self.run), []
        return run
