"""The contracts of room locks and of realtime backends, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomkit_plugins.redis import RedisConfig, RedisLockManager, RedisRealtime
from roomkit_plugins.testing.contracts.locks import RoomLockManagerContract
from roomkit_plugins.testing.contracts.realtime import RealtimeBackendContract


class TestRedisLockManager(RoomLockManagerContract):
    """Every manager is another worker."""

    @pytest.fixture
    async def factory(self, redis_url: str) -> AsyncIterator[Callable[[], RedisLockManager]]:
        made: list[RedisLockManager] = []

        def make() -> RedisLockManager:
            made.append(RedisLockManager(RedisConfig.model_validate({"url": redis_url})))
            return made[-1]

        yield make
        for each in made:
            await each.close()


class TestRedisRealtime(RealtimeBackendContract):
    """Every backend is another worker."""

    @pytest.fixture
    async def factory(self, redis_url: str) -> AsyncIterator[Callable[[], RedisRealtime]]:
        made: list[RedisRealtime] = []

        def make() -> RedisRealtime:
            made.append(RedisRealtime(redis_url))
            return made[-1]

        yield make
        for each in made:
            await each.close()
