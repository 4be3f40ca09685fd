"""Failures of a real server, and the error of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit.abc.errors import (
    StoreAccessError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreSchemaError,
    StoreUnavailableError,
)
from roomkit_plugins.postgres.errors import translated
from roomkit_plugins.testing.services import PostgresServer

from .conftest import LockMaker, configured


@pytest.fixture
def server(postgres_server: PostgresServer) -> PostgresServer:
    return postgres_server.ensure_running()


async def raised_by(dsn: str, statement: str) -> StoreError:
    """Run a statement that fails, and return the error that a user sees."""
    connection = await asyncpg.connect(dsn)
    try:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(statement)
    finally:
        await connection.close()
    return translated(caught.value, configured(dsn).where)


@pytest.mark.parametrize(
    ("statement", "kind", "advice"),
    [
        ("select * from no_such_table", StoreSchemaError, "schema_name"),
        ("select no_such_column from pg_class", StoreSchemaError, "migrate"),
        ("select no_such_function()", StoreSchemaError, "migrate"),
        ("set transaction read only; create table t ()", StoreReadOnlyError, "primary"),
        ("set statement_timeout = 1; select pg_sleep(1)", StoreUnavailableError, "in time"),
        ("select 1 / 0", StoreError, "see the cause"),
        ("do $$ begin raise sqlstate '53100'; end $$", StoreFullError, "disk is full"),
        ("do $$ begin raise sqlstate '53200'; end $$", StoreBusyError, "max_locks_per_transaction"),
        ("do $$ begin raise sqlstate '53400'; end $$", StoreBusyError, "limits"),
        ("do $$ begin raise sqlstate '40P01'; end $$", StoreLockedError, "try again"),
        ("do $$ begin raise sqlstate '55P03'; end $$", StoreLockedError, "try again"),
        ("do $$ begin raise sqlstate 'XX001'; end $$", StoreCorruptError, "backup"),
        ("do $$ begin raise sqlstate '58030'; end $$", StoreUnavailableError, "disk"),
    ],
)
async def test_a_failing_statement_has_a_name_and_advice(
    postgres_dsn: str, statement: str, kind: type[StoreError], advice: str
) -> None:
    """By the code of the server, never by its words."""
    error = await raised_by(postgres_dsn, statement)
    assert type(error) is kind
    assert advice in str(error)
    assert configured(postgres_dsn).where in str(error)


async def test_rows_are_not_quoted(postgres_dsn: str) -> None:
    """The server's details hold what people wrote."""
    error = await raised_by(
        postgres_dsn, "create table t (a text unique); insert into t values ('between us'), ('between us')"
    )
    assert "duplicate key" in str(error)
    assert "between us" not in str(error)


type Dsn = Callable[[PostgresServer, str], str]


@pytest.mark.parametrize(
    ("dsn", "kind", "advice"),
    [
        (lambda server, name: server.databases.dsn("nowhere"), StoreAccessError, "create it"),
        (
            lambda server, name: server.databases.dsn(name, user="nobody_of_that_name", password="x"),
            StoreAccessError,
            "check user",
        ),
        (
            lambda server, name: f"{server.databases.dsn(name)}?options=-cdefault_transaction_read_only%3Don",
            StoreReadOnlyError,
            "primary",
        ),
        (lambda server, name: "postgresql://127.0.0.1:1/x", StoreUnavailableError, "check that it runs"),
        (lambda server, name: "postgresql://no-such-host.invalid/x", StoreUnavailableError, "can be reached"),
    ],
)
async def test_a_connection_that_cannot_be_has_a_name_and_advice(
    server: PostgresServer,
    postgres_dsn: str,
    managers: LockMaker,
    dsn: Dsn,
    kind: type[StoreError],
    advice: str,
) -> None:
    manager = managers(dsn(server, postgres_dsn.rpartition("/")[2]), acquire_timeout=1.0)
    with pytest.raises(StoreError, match=advice) as caught:
        await manager.open()
    assert type(caught.value) is kind


async def test_too_many_connections_are_a_server_that_is_busy(
    server: PostgresServer, postgres_dsn: str, managers: LockMaker
) -> None:
    name = postgres_dsn.rpartition("/")[2]
    await asyncio.to_thread(server.create_user, f"many_{name}", "x", "connection limit 0")
    manager = managers(server.databases.dsn(name, user=f"many_{name}", password="x"), acquire_timeout=2.0)
    with pytest.raises(StoreBusyError, match="max_connections"):
        await manager.open()


def test_the_clients_own_words_are_not_quoted() -> None:
    for error in (
        asyncpg.InterfaceError("postgresql://a:s3cret@host"),
        OSError("s3cret"),
        TimeoutError("s3cret"),
    ):
        assert "s3cret" not in str(translated(error, "host/rooms"))


def test_an_error_with_a_name_keeps_it() -> None:
    error = StoreFullError("full")
    assert translated(error, "host/rooms") is error
