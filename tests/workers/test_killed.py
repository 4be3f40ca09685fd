"""Workers that are killed, paused and cut off under load: nothing is lost, and nothing comes twice unkeyed.

The short run is part of the suite; `uv run nox -s kill` kills 200 times for each store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from roomkit_plugins.testing.services.postgres import PostgresServer
from roomkit_plugins.testing.services.tcp import CutProxy
from tests.workers.house import KILLS, LEASE, SEED, House

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + KILLS * 10)]


async def test_workers_that_are_killed_at_any_instant(
    store: Mapping[str, Any], report: Callable[[str], None]
) -> None:
    """Each is overtaken by another, or by itself started again."""
    house = House(store, rooms=4, lease_seconds=LEASE, seed=SEED)
    async with house.at_work(workers=2):
        for _ in range(KILLS):
            await house.said(house.chance.randint(1, 20))
            await asyncio.sleep(house.chance.random() * 0.02)  # other processes
            await house.kill(house.chance.choice(house.workers))
            if not house.workers or house.chance.random() < 0.7:
                await house.start()
        await house.settle()
        report(await house.judge())


async def test_a_worker_that_is_paused_beyond_its_lease(
    store: Mapping[str, Any], report: Callable[[str], None]
) -> None:
    """It is overtaken, and when it goes on it harms nothing."""
    house = House(store, rooms=4, lease_seconds=LEASE, seed=SEED + 1)
    async with house.at_work(workers=2):
        for _ in range(max(1, KILLS // 6)):
            await house.said(20)
            sleeper = house.chance.choice(house.workers)
            house.pause(sleeper)
            await asyncio.sleep(LEASE * 1.5)  # other processes
            if "sqlite" not in store:  # a process that is stopped in a transaction has the file locked
                await house.said(10)
            house.resume(sleeper)
            await house.said(20)
        await house.settle()
        report(await house.judge())


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """Return a server of the test's own, to be ended as it likes."""
    with PostgresServer() as server:
        yield server


async def test_a_database_that_is_killed_and_comes_back(
    own_postgres: PostgresServer, report: Callable[[str], None]
) -> None:
    house = House({"postgres": own_postgres.dsn}, rooms=4, lease_seconds=LEASE, seed=SEED + 2)
    async with house.at_work(workers=2):
        for _ in range(max(1, KILLS // 6)):
            await house.said(20)
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.to_thread(own_postgres.restart)
            await house.said(20)
        await house.settle()
        report(await house.judge())


async def test_connections_that_are_cut_at_any_moment(
    postgres_dsn: str, report: Callable[[str], None]
) -> None:
    """In the middle of a commit too, before the database has seen it and after it has answered."""
    async with CutProxy(postgres_dsn) as proxy:
        house = House(
            {"postgres": postgres_dsn},
            rooms=4,
            lease_seconds=LEASE,
            seed=SEED + 3,
            way={"postgres": proxy.url},
        )
        async with house.at_work(workers=2):
            for number in range(KILLS * 2):
                await house.said(house.chance.randint(1, 10))
                if number % 3:
                    proxy.cut_at_request(house.chance.randint(1, 12), answer_is_lost=number % 3 == 1)
                else:
                    proxy.cut()
            await house.said(20)
            await house.settle()
            report(await house.judge())
