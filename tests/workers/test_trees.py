"""Workers that are killed while random trees of commands are played on them.

The short run is part of the suite; `uv run nox -s kill` kills 200 times for each store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.workers.grove import Grove
from tests.workers.house import KILLS, LEASE, SEED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + KILLS * 10)]


async def test_trees_of_commands_keep_what_is_promised_though_workers_are_killed(
    store: Mapping[str, Any], report: Callable[[str], None]
) -> None:
    """In the middle of a gate, a turn, an observer, or any command."""
    grove = Grove(store, gardeners=3, lease_seconds=LEASE, seed=SEED + 8)
    async with grove.at_work(workers=2):
        for _ in range(max(1, KILLS // 2)):
            await grove.said(grove.chance.randint(1, 20))
            await asyncio.sleep(grove.chance.random() * 0.02)  # other processes
            await grove.kill(grove.chance.choice(grove.workers))
            await grove.start()
        await grove.said(20)
        await grove.settle()
        report(await grove.judge())
