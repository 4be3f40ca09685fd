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
