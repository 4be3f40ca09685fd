"""The executor of one process is under the contract of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from roomkit.authoring.turns.queue import TurnOptions
from roomkit.memory.executor import InMemoryTurnExecutor, TurnTable
from roomkit_plugins.testing.contracts import TurnExecutorContract


@pytest.mark.virtual_time
class TestInMemoryTurnExecutor(TurnExecutorContract):
    @pytest.fixture
    def factory(self) -> Callable[..., InMemoryTurnExecutor]:
        table = TurnTable()

        def make(**options: Any) -> InMemoryTurnExecutor:
            return InMemoryTurnExecutor(TurnOptions(**options), table=table)

        return make
