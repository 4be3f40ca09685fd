"""The fixtures and properties of the contract of turn executors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from roomkit.abc.executor import TurnExecutor
from roomkit.models.base import new_id
from roomkit_plugins.testing.contracts.base import ContractSuite
from roomkit_plugins.testing.contracts.turns.scripts import (
    PATIENCE,
)


class TurnSuite(ContractSuite):
    """What the tests of a turn executor share; `TurnExecutorContract` is all of them."""

    @property
    def location(self) -> tuple[str, str, Mapping[str, Any]] | None:
        """How another process makes such an executor: class and config as references, and settings."""
        return None

    async def break_connections(self, executor: TurnExecutor) -> bool:
        """End the connections to the queue's service from outside; False if there are none."""
        return False

    @pytest.fixture
    async def made(self, factory: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
        """Make executors, closed after the test."""
        executors: list[Any] = []

        def make(**options: Any) -> Any:
            executors.append(factory(**options))
            return executors[-1]

        yield make
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(each.close() for each in executors))

    @pytest.fixture
    def asker(self, made: Callable[..., Any]) -> Any:
        """Return the executor that asks."""
        return made()

    @pytest.fixture
    def server(self, made: Callable[..., Any]) -> Any:
        """Return the executor that serves, of the same queue."""
        return made()

    @pytest.fixture
    def agent(self) -> str:
        """Return a name of the test's own."""
        return f"agent-{new_id()}"
