"""The contracts of room locks and of realtime backends, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, override

import pytest
from redis.asyncio import Redis

from roomkit.abc.executor import TurnExecutor
from roomkit.abc.locks import RoomLockManager
from roomkit.abc.realtime import RealtimeBackend
from roomkit_plugins.redis import (
    RedisConfig,
    RedisLockManager,
    RedisRealtime,
    RedisTurnConfig,
    RedisTurnExecutor,
)
from roomkit_plugins.testing.contracts.executor import TurnExecutorContract
from roomkit_plugins.testing.contracts.locks import RoomLockManagerContract
from roomkit_plugins.testing.contracts.realtime import RealtimeBackendContract
from roomkit_plugins.testing.services import CutProxy, RedisDatabase


class TestRedisLockManager(RoomLockManagerContract):
    """Every manager is another worker."""

    @pytest.fixture
    async def factory(self, redis_url: str, proxy: CutProxy) -> AsyncIterator[Callable[[], RedisLockManager]]:
        made: list[RedisLockManager] = []
        self.url, self.link = redis_url, proxy

        def make() -> RedisLockManager:
            made.append(RedisLockManager(RedisConfig.model_validate({"url": proxy.url})))
            return made[-1]

        yield make
        for each in made:
            await each.close()

    @override
    async def silence_link(self, locks: RoomLockManager) -> bool:
        """Let the network forget the connections."""
        self.link.silence()
        return True

    @override
    async def use(self, locks: RoomLockManager, room: str) -> list[int | None]:
        """As a worker that has heard for some time: it keeps no lock before."""
        assert isinstance(locks, RedisLockManager)
        first = await super().use(locks, room)
        while not locks._is_listening:  # noqa: ASYNC110  # a server
            await asyncio.sleep(0)
        return first + await super().use(locks, room)

    @override
    async def kill(self, locks: RoomLockManager) -> bool:
        """End both connections, and the tasks that would make others."""
        assert isinstance(locks, RedisLockManager)
        tasks = [locks._link._task, locks._listener._task, locks._leases._task]
        ending = [task for task in tasks if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        await locks._link._disconnect()
        return True

    @override
    async def break_connection(self, locks: RoomLockManager) -> bool:
        """Let the server lose the lock."""
        RedisDatabase(self.url).flush()
        return True


class TestRedisRealtime(RealtimeBackendContract):
    """Every backend is another worker."""

    @override
    async def silence_link(self, backend: RealtimeBackend) -> bool:
        """Let the network forget the connections."""
        self.link.silence()
        return True

    @property
    @override
    def reaches_others(self) -> bool:
        return True

    @pytest.fixture
    async def factory(self, proxy: CutProxy) -> AsyncIterator[Callable[[], RedisRealtime]]:
        made: list[RedisRealtime] = []
        self.link = proxy

        def make() -> RedisRealtime:
            made.append(RedisRealtime(proxy.url))
            return made[-1]

        yield make
        for each in made:
            await each.close()


class TestRedisTurnExecutor(TurnExecutorContract):
    """Every executor is another process as far as the server knows."""

    @pytest.fixture
    def factory(self, redis_url: str) -> Callable[..., RedisTurnExecutor]:
        self.url = redis_url
        return lambda **options: RedisTurnExecutor(
            RedisTurnConfig.model_validate({"url": redis_url, **options})
        )

    @property
    @override
    def location(self) -> tuple[str, str, Mapping[str, Any]]:
        module = "roomkit_plugins.redis"
        return f"{module}:RedisTurnExecutor", f"{module}:RedisTurnConfig", {"url": self.url}

    @override
    async def break_connections(self, executor: TurnExecutor) -> bool:
        """End all connections of clients, subscribers included."""
        client = Redis.from_url(self.url)
        for kind in ("normal", "pubsub"):
            await client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        await client.aclose()
        return True
