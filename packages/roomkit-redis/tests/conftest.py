"""Workers that share one server, and short words for what the tests do with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.redis import RedisConfig, RedisLockManager, RedisRealtime
from roomkit_plugins.testing.services import CutProxy

PATIENCE = 30.0

type Worker = Callable[..., RedisLockManager]
type Backend = Callable[..., RedisRealtime]


@pytest.fixture
async def worker(redis_url: str) -> AsyncIterator[Worker]:
    """Make lock managers, all of one server unless told otherwise, and close them after the test."""
    made: list[RedisLockManager] = []

    def make(url: str = redis_url, **options: object) -> RedisLockManager:
        made.append(RedisLockManager(RedisConfig.model_validate({"url": url, **options})))
        return made[-1]

    yield make
    await asyncio.gather(*(each.close() for each in made))


@pytest.fixture
async def backend(redis_url: str) -> AsyncIterator[Backend]:
    """Make realtime backends, all of one server unless told otherwise, and close them after the test."""
    made: list[RedisRealtime] = []

    def make(url: str = redis_url, **options: object) -> RedisRealtime:
        made.append(RedisRealtime(RedisConfig.model_validate({"url": url, **options})))
        return made[-1]

    yield make
    await asyncio.gather(*(each.close() for each in made))


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[CutProxy]:
    async with CutProxy(redis_url) as made:
        yield made


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A plain client of the same server."""
    made = Redis.from_url(redis_url)
    yield made
    await made.aclose()


async def calls(client: Redis) -> dict[str, int]:
    """Return how often each command was done since the server's statistics were reset."""
    stats = await client.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


def signal(number: int = 0) -> EphemeralEvent:
    return EphemeralEvent(
        room_id="room", type=EphemeralEventType.TYPING_START, user_id="user", data={"number": number}
    )
