"""The contracts of the core, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from roomkit.abc.locks import RoomLockManager
from roomkit.models.base import new_id
from roomkit_plugins.postgres import PostgresLockManager, PostgresRealtime
from roomkit_plugins.testing.contracts import RealtimeBackendContract, RoomLockManagerContract
from roomkit_plugins.testing.contracts.realtime import Ear, signal

from .conftest import end_sessions, until


class TestPostgresLockManager(RoomLockManagerContract):
    dsn = ""

    @pytest.fixture
    def factory(self, postgres_dsn: str) -> Callable[[], PostgresLockManager]:
        self.dsn = postgres_dsn
        return lambda: PostgresLockManager(postgres_dsn)

    @property
    def secrets(self) -> list[str]:
        return [urlsplit(self.dsn).password or "no password"]

    async def break_connection(self, locks: RoomLockManager) -> bool:
        """End the session on the server, and wait until the manager has noticed."""
        assert isinstance(locks, PostgresLockManager)
        before = locks.lost
        await asyncio.to_thread(end_sessions, self.dsn)
        await until(lambda: locks.lost > before)
        return True


class TestPostgresRealtime(RealtimeBackendContract):
    dsn = ""

    @pytest.fixture
    def factory(self, postgres_dsn: str) -> Callable[[], PostgresRealtime]:
        self.dsn = postgres_dsn
        return lambda: PostgresRealtime(postgres_dsn)

    @pytest.fixture(autouse=True)
    def _remember(self, backend: PostgresRealtime) -> None:
        self.backend = backend

    @property
    def secrets(self) -> list[str]:
        return [urlsplit(self.dsn).password or "no password"]

    @property
    def reaches_others(self) -> bool:
        return True

    async def settle(self) -> None:
        """Hear a signal that was published after all the others."""
        await super().settle()
        topic, ear = new_id(), Ear()
        subscription = await self.backend.subscribe(topic, ear)
        if not self.backend.subscription_count:
            return
        await self.backend.publish(topic, signal())
        await ear.heard_all()
        await self.backend.unsubscribe(subscription)
        await super().settle()
