"""Stores in fresh databases of a real server, which are copies of one that is migrated already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import asyncpg
import pytest

from roomkit.abc.store import Commit, Committed, Entry
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.postgres import PostgresConfig, PostgresStore
from roomkit_plugins.testing.contracts.base import NOW
from roomkit_plugins.testing.services import PostgresDatabases, PostgresPool

type StoreMaker = Callable[..., PostgresStore]
type DsnMaker = Callable[[], str]


def configured(dsn: str, **options: object) -> PostgresConfig:
    """Return a configuration for a database."""
    return PostgresConfig.model_validate({"dsn": dsn, "min_size": 0, **options})


@pytest.fixture
def dsns(postgres_databases: Callable[[], PostgresDatabases], postgres_template: str) -> Iterator[DsnMaker]:
    """Make databases with the store's tables, and nothing in them."""
    made: list[str] = []

    def make() -> str:
        made.append(postgres_databases().create_database(postgres_template))
        return made[-1]

    yield make
    for dsn in made:
        postgres_databases().drop_database(dsn)


@pytest.fixture
def emptied_dsns(postgres_pool: PostgresPool) -> Iterator[DsnMaker]:
    """Lend databases with the store's tables and no rows, which other tests have used before."""
    lent: list[str] = []

    def lend() -> str:
        lent.append(postgres_pool.take())
        return lent[-1]

    yield lend
    for dsn in lent:
        postgres_pool.give_back(dsn)


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
