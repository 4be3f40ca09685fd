"""Stores in fresh databases of a real server, which are copies of one that is migrated already."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator

import asyncpg
import pytest

from roomkit.abc.store import Commit, Committed, Entry
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.postgres import PostgresConfig, PostgresStore
from roomkit_plugins.testing.contracts.base import NOW
from roomkit_plugins.testing.services import PostgresDatabases, PostgresServer

type StoreMaker = Callable[..., PostgresStore]
type DsnMaker = Callable[[], str]


def configured(dsn: str, **options: object) -> PostgresConfig:
    """Return a configuration for a database."""
    return PostgresConfig.model_validate({"dsn": dsn, "min_size": 0, **options})


@pytest.fixture(scope="session")
def template(request: pytest.FixtureRequest) -> Iterator[tuple[PostgresDatabases, str]]:
    """Migrate a database once; the tests' are copies of it."""
    if url := os.environ.get("ROOMKIT_TEST_POSTGRES_DSN"):
        databases = PostgresDatabases(url)
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        databases = server.ensure_running().databases
    with databases.database() as dsn:
        asyncio.run(_migrate(dsn))
        yield databases, dsn


async def _migrate(dsn: str) -> None:
    async with PostgresStore(configured(dsn)):
        pass


@pytest.fixture
def dsns(template: tuple[PostgresDatabases, str]) -> Iterator[DsnMaker]:
    """Make databases with the store's tables, and nothing in them."""
    databases, migrated = template
    made: list[str] = []

    def make() -> str:
        made.append(databases.create_database(migrated))
        return made[-1]

    yield make
    for dsn in made:
        databases.drop_database(dsn)


_EMPTY = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    SET session_replication_role = replica;
    DO $$
    DECLARE t text;
    BEGIN
        FOR t IN SELECT tablename FROM pg_tables
            WHERE schemaname = 'public' AND tablename <> 'roomkit_schema'
        LOOP
            EXECUTE format('DELETE FROM public.%I', t);
        END LOOP;
    END $$
"""


class _Pool:
    """Migrated databases that are emptied and used again: a copy costs ten times as much as its rows do.

    For tests that leave the tables as they are. After so many uses dead rows would make statements slow,
    and statistics would no longer be those of a new database.
    """

    USES = 40

    def __init__(self, databases: PostgresDatabases, template: str) -> None:
        self._databases = databases
        self._template = template
        self._idle: list[str] = []
        self._uses: dict[str, int] = {}

    def take(self) -> str:
        if self._idle:
            return self._idle.pop()
        return self._databases.create_database(self._template)

    def give_back(self, dsn: str) -> None:
        uses = self._uses.pop(dsn, 0) + 1
        if uses == self.USES:
            self._databases.drop_database(dsn)
            return
        self._databases.execute(_EMPTY, dsn)
        self._uses[dsn] = uses
        self._idle.append(dsn)

    def close(self) -> None:
        for dsn in self._idle:
            self._databases.drop_database(dsn)


@pytest.fixture(scope="session")
def pool(template: tuple[PostgresDatabases, str]) -> Iterator[_Pool]:
    pool = _Pool(*template)
    yield pool
    pool.close()


@pytest.fixture
def emptied_dsns(pool: _Pool) -> Iterator[DsnMaker]:
    """Lend databases with the store's tables and no rows, which other tests have used before."""
    lent: list[str] = []

    def lend() -> str:
        lent.append(pool.take())
        return lent[-1]

    yield lend
    for dsn in lent:
        pool.give_back(dsn)


@pytest.fixture
def dsn(dsns: DsnMaker) -> str:
    return dsns()


@pytest.fixture
async def stores(dsn: str) -> AsyncIterator[StoreMaker]:
    """Make stores, of one database unless told otherwise, and close them after the test."""
    made: list[PostgresStore] = []

    def make(url: str = dsn, **options: object) -> PostgresStore:
        made.append(PostgresStore(configured(url, **options)))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
def store(stores: StoreMaker) -> PostgresStore:
    return stores()


@pytest.fixture
async def room(store: PostgresStore) -> Room:
    return await store.create_room(Room())


async def send(
    store: PostgresStore, *events: RoomEvent, targets: tuple[str, ...] = (), **fields: object
) -> Committed:
    """Commit events of one room in one transaction."""
    entries = [Entry(each, targets) for each in events]
    return await store.commit(Commit(room_id=events[0].room_id, entries=entries, at=NOW, **fields))


async def ask(dsn: str, query: str, *values: object) -> list[asyncpg.Record]:
    """Ask the database behind the store's back."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(query, *values)
    finally:
        await connection.close()
