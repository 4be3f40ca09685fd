"""The databases that tests borrow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roomkit_plugins.testing.services import PostgresDatabases, PostgresPool, PostgresServer

TABLES = "create table said (n int primary key); create table t_schema as select 7 as version"


@pytest.fixture
def databases(postgres_server: PostgresServer) -> PostgresDatabases:
    return postgres_server.ensure_running().databases


@pytest.fixture
def pool(databases: PostgresDatabases) -> Iterator[PostgresPool]:
    with databases.database() as template:
        databases.execute(TABLES, template)
        pool = PostgresPool(databases, template)
        yield pool
        pool.close()


def count(databases: PostgresDatabases, table: str, dsn: str) -> str:
    return databases.execute(f"select count(*) from {table}", dsn)


def test_a_database_is_lent_again_without_its_rows(databases: PostgresDatabases, pool: PostgresPool) -> None:
    dsn = pool.take()
    databases.execute("insert into said values (1)", dsn)
    pool.give_back(dsn)
    assert pool.take() == dsn
    assert [count(databases, table, dsn) for table in ("said", "t_schema")] == ["0", "1"]


def test_two_that_are_lent_are_two(databases: PostgresDatabases, pool: PostgresPool) -> None:
    first, second = pool.take(), pool.take()
    databases.execute("insert into said values (1)", first)
    assert count(databases, "said", second) == "0"


@pytest.mark.parametrize(
    "change",
    [
        "alter table said add column more int",
        "alter table said drop constraint said_pkey",
        "create table more (n int)",
        "drop table said",
        "create index on said (n)",
        "create function twice(n int) returns int language sql as 'select 2 * n'",
        "create rule quiet as on insert to said do instead nothing",
        "create schema more",
    ],
)
def test_a_changed_database_is_not_lent_again(
    databases: PostgresDatabases, pool: PostgresPool, change: str
) -> None:
    dsn = pool.take()
    databases.execute(change, dsn)
    pool.give_back(dsn)
    assert pool.take() != dsn
    assert dsn.rpartition("/")[2] not in databases.execute("select datname from pg_database")


def test_a_sequence_that_a_lock_manager_made_may_stay(
    databases: PostgresDatabases, pool: PostgresPool
) -> None:
    """Each kit on a shared store makes one for its locks."""
    dsn = pool.take()
    databases.execute("create sequence roomkit_fence", dsn)
    pool.give_back(dsn)
    assert pool.take() == dsn


def test_a_database_is_not_lent_for_ever(pool: PostgresPool) -> None:
    """Dead rows and old statistics go with it."""
    first = pool.take()
    pool.give_back(first)
    lent = {first}
    while len(lent) == 1:
        dsn = pool.take()
        lent.add(dsn)
        pool.give_back(dsn)
    assert len(lent) == 2


def test_a_closed_pool_leaves_no_database(databases: PostgresDatabases, pool: PostgresPool) -> None:
    before = databases.execute("select datname from pg_database order by 1")
    idle, lent = pool.take(), pool.take()
    pool.give_back(idle)
    assert lent
    pool.close()
    assert databases.execute("select datname from pg_database order by 1") == before
