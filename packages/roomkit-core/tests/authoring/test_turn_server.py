"""What an executor process says of a queue that it cannot reach."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from roomkit.abc.errors import StoreUnavailableError
from roomkit.authoring.turns.executor import QueueTurnExecutor
from roomkit.authoring.turns.queue import TurnClaim, TurnOptions
from roomkit.memory.executor import InMemoryTurnQueue, TurnTable
from roomkit_plugins.testing import MockAIProvider

pytestmark = pytest.mark.virtual_time


class _Queue(InMemoryTurnQueue):
    is_away = False

    async def claim(self, agents: Sequence[str], limit: int) -> Sequence[TurnClaim]:
        if self.is_away:
            raise StoreUnavailableError("the server is away")
        return await super().claim(agents, limit)


async def test_each_outage_is_logged_once_with_its_end(caplog: pytest.LogCaptureFixture) -> None:
    queue = _Queue(TurnOptions(), TurnTable())
    executor = QueueTurnExecutor(queue)
    caplog.set_level(logging.INFO, "roomkit.turns")
    serving = asyncio.create_task(executor.serve({"agent": MockAIProvider()}))
    for _ in range(2):
        queue.is_away = True
        await asyncio.sleep(30)
        queue.is_away = False
        await asyncio.sleep(30)
    await executor.close()
    await serving
    away = "Turns cannot be claimed; it is tried again: the server is away"
    assert caplog.messages == [away, "Turns can be claimed again"] * 2
    assert executor.counters["queue_failures"] > 20
