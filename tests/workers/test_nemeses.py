"""What befalls workers besides death: wrong clocks, a slow database, a network that splits.

The short run is part of the suite; `uv run nox -s kill` repeats each many times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from roomkit_plugins.testing.services.tcp import CutProxy
from tests.workers.house import KILLS, LEASE, SEED, House

ROUNDS = max(1, KILLS // 6)
SPREAD = 300.0
"""Seconds: far more than the test takes, so that it ends in time only if no work waits for a clock."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + KILLS * 10)]


async def test_clocks_that_differ_between_workers_and_jump(
    store: Mapping[str, Any], report: Callable[[str], None]
) -> None:
    """By minutes, while workers are killed: order, leases and observers hold, and nothing is late."""
    house = House(store, rooms=4, lease_seconds=LEASE, seed=SEED + 4, clock_spread=SPREAD)
    async with house.at_work(workers=2):
        for _ in range(ROUNDS):
            await house.said(20)
            await house.kill(house.chance.choice(house.workers))
            await house.start()
        await house.said(20)
        await house.settle()
        report(await house.judge())


async def test_a_database_that_is_slow_and_not_dead(postgres_dsn: str, report: Callable[[str], None]) -> None:
    """A fifth of a lease for each round trip, then two of them: nothing is lost, and nothing made twice."""
    async with CutProxy(postgres_dsn) as proxy:
        way = {"postgres": proxy.url}
        house = House({"postgres": postgres_dsn}, rooms=4, lease_seconds=LEASE, seed=SEED + 5, way=way)
        async with house.at_work(workers=2):
            for _ in range(ROUNDS):
                await house.said(10)
                proxy.delay = LEASE / 10
                await house.said(6)
                proxy.delay = LEASE
                await asyncio.sleep(LEASE * 2)  # other processes
                proxy.delay = 0.0
                await house.said(10)
            await house.settle()
            report(await house.judge())


async def test_a_worker_that_is_parted_from_the_database(
    postgres_dsn: str, report: Callable[[str], None]
) -> None:
    """The other worker reclaims its work; when the network heals, what it still writes is fenced."""
    async with CutProxy(postgres_dsn) as proxy:
        house = House({"postgres": postgres_dsn}, rooms=4, lease_seconds=LEASE, seed=SEED + 6)
        async with house.at_work(workers=1):
            await house.start({"postgres": proxy.url})
            for _ in range(ROUNDS):
                await house.said(20)
                proxy.hold()
                await asyncio.sleep(LEASE * 1.5)  # other processes
                await house.said(10)
                proxy.release()
                await house.said(20)
            await house.settle()
            report(await house.judge())
