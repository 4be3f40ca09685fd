"""Waiting for conditions that have no event."""

from __future__ import annotations

import asyncio

import pytest

from roomkit_plugins.testing.polling import TURNS, until

pytestmark = pytest.mark.virtual_time


async def test_a_condition_is_looked_at_until_it_holds() -> None:
    looks = iter(range(TURNS + 10))
    await until(lambda: next(looks) == TURNS + 5)
    assert next(looks) == TURNS + 6


async def test_an_async_condition_is_awaited() -> None:
    looks = iter(range(5))

    async def holds() -> bool:
        await asyncio.sleep(0)
        return next(looks) == 3

    await until(holds)
    assert next(looks) == 4


async def test_a_wait_ends_at_its_deadline() -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await until(lambda: False, seconds=2.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.01)
