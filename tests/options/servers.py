"""Where the options of database components are observed: servers of the test run, and a proxy before them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from roomkit.plugins import default_manager
from roomkit_plugins.testing.services import CutProxy, PostgresDatabases, RedisDatabase
from tests.options.mechanism import Settings

__all__ = ["LONG", "SERVERS", "SHORT", "Servers", "is_over", "made", "placed", "still", "until"]

LONG = 60.0
"""Seconds that nothing here takes: an option with this value is not seen to act."""
SHORT = 0.3
"""Seconds after which an option that is not to act is given up on."""


class Servers:
    """The servers of this test run. The test that observes says which there are."""

    def __init__(self) -> None:
        self._postgres: PostgresDatabases | None = None
        self._redis = ""
        self.places: Mapping[str, str] = {}
        """The URLs of two databases of PostgreSQL, `a` and `b`, for all observations."""

    def use(self, postgres: PostgresDatabases, places: Mapping[str, str], redis: str) -> None:
        """Observe on these servers; `redis` is the URL of an empty database."""
        self._postgres, self.places, self._redis = postgres, places, redis

    @property
    def postgres(self) -> PostgresDatabases:
        """What makes databases on the PostgreSQL server."""
        assert self._postgres is not None
        return self._postgres

    @property
    def redis(self) -> str:
        """The URL of an empty database of Redis."""
        RedisDatabase(self._redis).call("FLUSHALL")
        return self._redis


SERVERS = Servers()


def placed(settings: Settings, **places: str) -> dict[str, Any]:
    """Return settings with the names of places replaced: `{a}` is a database, `{proxy}` the way there."""
    return {
        name: value.format(**places) if isinstance(value, str) else value for name, value in settings.items()
    }


async def made(kind: str, name: str, settings: Settings) -> Any:  # Any: made by name
    """Make a component from its settings."""
    return await default_manager().acreate(kind, name, settings)


async def still(work: Awaitable[object], *, acts: bool) -> str:
    """Return what work comes to: "done" or its error; "still waiting" if no option is to act."""
    task = asyncio.ensure_future(work)
    await asyncio.wait((task,), timeout=LONG if acts else SHORT)
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
        return "still waiting"
    error = task.exception()
    return "done" if error is None else str(getattr(error, "error_code", type(error).__name__))


async def is_over(work: Awaitable[object], proxy: CutProxy, *, acts: bool) -> bool:
    """Return whether a request that gets no answer is dropped: it fails, or another connection is tried."""
    connections = max(1, proxy.connections)
    task = asyncio.ensure_future(work)
    seen = await until(lambda: task.done() or proxy.connections > connections, LONG if acts else SHORT)
    task.cancel()
    await asyncio.wait((task,))
    return seen


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for what sets no event of ours, at most so long; return whether it came."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  # it sets no event
                await asyncio.sleep(0.005)  # other processes
    except TimeoutError:
        return False
    return True
