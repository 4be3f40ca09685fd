"""Managers and backends on a fresh database of a real server, closed after the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from roomkit.abc.errors import LockLostError, StoreUnavailableError
from roomkit_plugins.postgres import PostgresConfig, PostgresLockManager
from roomkit_plugins.postgres.realtime import PostgresRealtime
from roomkit_plugins.testing.services import PostgresDatabases

PATIENCE = 30.0

type LockMaker = Callable[..., PostgresLockManager]
type RealtimeMaker = Callable[..., PostgresRealtime]


def configured(dsn: str, **options: object) -> PostgresConfig:
    """Return a configuration for a database."""
    return PostgresConfig.model_validate({"dsn": dsn, **options})


async def once_back[T](attempt: Callable[[], Awaitable[T]]) -> T:
    """Try what a server that just came back may be too slow for, until it works."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await attempt()
            except (LockLostError, StoreUnavailableError):
                await asyncio.sleep(0.001)  # other processes


def end_sessions(dsn: str) -> None:
    """End every session of a database but the one that asks."""
    others = "datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
    PostgresDatabases(dsn).execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {others}")


@pytest.fixture
async def managers(postgres_dsn: str) -> AsyncIterator[LockMaker]:
    """Make lock managers, of one database unless told otherwise."""
    made: list[PostgresLockManager] = []

    def make(dsn: str = postgres_dsn, namespace: str | None = None, **options: object) -> PostgresLockManager:
        made.append(PostgresLockManager(configured(dsn, **options), namespace=namespace))
        return made[-1]

    yield make
    for manager in made:
        await manager.close()


@pytest.fixture
async def backends(postgres_dsn: str) -> AsyncIterator[RealtimeMaker]:
    """Make realtime backends, of one database unless told otherwise."""
    made: list[PostgresRealtime] = []

    def make(dsn: str = postgres_dsn, namespace: str | None = None, **options: object) -> PostgresRealtime:
        made.append(PostgresRealtime(configured(dsn, **options), namespace=namespace))
        return made[-1]

    yield make
    for backend in made:
        await backend.close()
