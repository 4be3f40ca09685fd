"""Workers that are killed between the acceptance of a webhook and its answer; the vendor sends it again.

The short run is part of the suite; `uv run nox -s kill` kills 200 times for each store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.workers.house import KILLS, LEASE, SEED, House

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + KILLS * 10)]


async def test_workers_that_are_killed_while_they_take_webhooks(
    store: Mapping[str, Any], report: Callable[[str], None]
) -> None:
    """No 2xx without what it stands for, and every message once, however often it comes."""
    house = House(store, rooms=4, lease_seconds=LEASE, seed=SEED + 7, by_webhook=True)
    async with house.at_work(workers=2):
        for _ in range(max(1, KILLS // 2)):
            victim = house.chance.choice(house.workers)
            await house.accepts(victim, house.chance.randint(1, 8))
            await asyncio.sleep(house.chance.random() * 0.006)  # other processes
            await house.kill(victim)
            await house.start()
        await house.said(20)
        await house.settle()
        assert house.redelivered, "no worker was killed before it had answered"
        report(await house.judge())
