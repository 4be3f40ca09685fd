"""The contracts of the core, on a real server."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from roomkit.models.base import new_id
from roomkit_plugins.postgres import PostgresLockManager, PostgresRealtime
from roomkit_plugins.testing.contracts import RealtimeBackendContract, RoomLockManagerContract
from roomkit_plugins.testing.contracts.realtime import Ear, signal


class TestPostgresLockManager(RoomLockManagerContract):
    dsn = ""

    @pytest.fixture
    def factory(self, postgres_dsn: str) -> Callable[[], PostgresLockManager]:
        self.dsn = postgres_dsn
        return lambda: PostgresLockManager(postgres_dsn)

    @property
    def secrets(self) -> list[str]:
        return [urlsplit(self.dsn).password or "no password"]


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
