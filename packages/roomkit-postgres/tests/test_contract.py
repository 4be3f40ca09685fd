"""The contracts of the core, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from roomkit.abc.executor import TurnExecutor
from roomkit.abc.locks import RoomLockManager
from roomkit.abc.realtime import RealtimeBackend
from roomkit.models.base import new_id
from roomkit_plugins.postgres import (
    PostgresLockManager,
    PostgresRealtime,
    PostgresTurnConfig,
    PostgresTurnExecutor,
    line,
)
from roomkit_plugins.testing.contracts import (
    RealtimeBackendContract,
    RoomLockManagerContract,
    TurnExecutorContract,
)
from roomkit_plugins.testing.contracts.realtime import Ear, signal
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.services import CutProxy

from .conftest import end_sessions


@pytest.fixture
async def link(postgres_dsn: str) -> AsyncIterator[CutProxy]:
    """Return a way to the database that can go silent."""
    async with CutProxy(postgres_dsn) as proxy:
        yield proxy


class TestPostgresLockManager(RoomLockManagerContract):
    dsn = ""

    @pytest.fixture
    def factory(self, postgres_dsn: str, link: CutProxy) -> Callable[[], PostgresLockManager]:
        self.dsn, self.link = postgres_dsn, link
        return lambda: PostgresLockManager(link.url)

    async def silence_link(self, locks: RoomLockManager) -> bool:
        """Let the network forget the connection."""
        self.link.silence()
        return True

    async def kill(self, locks: RoomLockManager) -> bool:
        """End the session without a word, and the task that would make another."""
        assert isinstance(locks, PostgresLockManager)
        line = locks._server._line
        assert line._connection is not None
        assert line._task is not None
        line._connection.terminate()
        line._task.cancel()
        await asyncio.wait([line._task])
        return True

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
    def factory(self, postgres_dsn: str, link: CutProxy) -> Callable[[], PostgresRealtime]:
        self.dsn, self.link = postgres_dsn, link
        return lambda: PostgresRealtime(link.url)

    async def silence_link(self, backend: RealtimeBackend) -> bool:
        """Let the network forget the connection."""
        self.link.silence()
        return True

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


@pytest.mark.virtual_time(io_patience=0.3)
async def test_the_suite_finds_a_backend_that_does_not_prove_its_link(
    link: CutProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "_PROOF_INTERVAL", 24 * 3600.0)
    suite, made = TestPostgresRealtime(), [PostgresRealtime(link.url)]
    suite.link = link

    def make() -> PostgresRealtime:
        made.append(PostgresRealtime(link.url))
        return made[-1]

    with pytest.raises(TimeoutError):
        await suite.test_a_link_that_goes_silent_is_replaced(made[0], "topic", make)
    link.cut()
    for backend in made:
        await backend.close()


class TestPostgresTurnExecutor(TurnExecutorContract):
    """Every executor is another process as far as the server knows."""

    dsn = ""

    @pytest.fixture
    def factory(self, postgres_dsn: str) -> Callable[..., PostgresTurnExecutor]:
        self.dsn = postgres_dsn
        return lambda **options: PostgresTurnExecutor(
            PostgresTurnConfig.model_validate({"dsn": postgres_dsn, **options})
        )

    @property
    def secrets(self) -> list[str]:
        return [urlsplit(self.dsn).password or "no password"]

    @property
    def location(self) -> tuple[str, str, Mapping[str, Any]]:
        module = "roomkit_plugins.postgres"
        return f"{module}:PostgresTurnExecutor", f"{module}:PostgresTurnConfig", {"dsn": self.dsn}

    async def break_connections(self, executor: TurnExecutor) -> bool:
        """End all sessions on the server."""
        await asyncio.to_thread(end_sessions, self.dsn)
        return True
