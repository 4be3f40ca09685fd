"""The contracts of room locks and of realtime backends, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import override

import pytest

from roomkit.abc.locks import RoomLockManager
from roomkit_plugins.redis import RedisConfig, RedisLockManager, RedisRealtime
from roomkit_plugins.testing.contracts.locks import RoomLockManagerContract
from roomkit_plugins.testing.contracts.realtime import RealtimeBackendContract
from roomkit_plugins.testing.services import RedisDatabase


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

    @override
    async def break_connection(self, locks: RoomLockManager) -> bool:
        """Let the server lose the lock."""
        assert isinstance(locks, RedisLockManager)
        RedisDatabase(locks.config.url.get_secret_value()).flush()
        return True


class TestRedisRealtime(RealtimeBackendContract):
    """Every backend is another worker."""

    @property
    @override
    def reaches_others(self) -> bool:
        return True

    @pytest.fixture
    async def factory(self, redis_url: str) -> AsyncIterator[Callable[[], RedisRealtime]]:
        made: list[RedisRealtime] = []

        def make() -> RedisRealtime:
            made.append(RedisRealtime(redis_url))
            return made[-1]

        yield make
        for each in made:
            await each.close()
