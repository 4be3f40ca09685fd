"""The verdict on workers finds what workers do wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.house import LEASE, SEED, House
from tests.workers.program import Fault

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("fault", "found"), [("forgetful", "acknowledged and not there"), ("rekeying", "key_changed")]
)
async def test_a_worker_that_breaks_a_promise_is_found(tmp_path: Path, fault: Fault, found: str) -> None:
    """A message that is acknowledged and not stored; a delivery that is repeated under another key."""
    store = {"sqlite": str(tmp_path / "rooms.db")}
    house = House(store, rooms=2, lease_seconds=LEASE, seed=SEED, fault=fault)
    async with house.at_work(workers=1):
        await house.said(20)
        await house.settle()
        with pytest.raises(AssertionError, match=found):
            await house.judge()


async def test_a_webhook_that_is_answered_before_its_commit_is_found(tmp_path: Path) -> None:
    """The vendor does not send it again, and the worker dies in between; nor does it keep the order."""
    store = {"sqlite": str(tmp_path / "rooms.db")}
    house = House(store, rooms=4, lease_seconds=LEASE, seed=SEED, fault="hasty", by_webhook=True)
    async with house.at_work(workers=1):
        await house.said(20)
        await house.accepts(house.workers[0], 1)
        await house.kill(house.workers[0])
        await house.start()
        await house.settle()
        with pytest.raises(
            AssertionError, match=r"acknowledged and not there|the messages of room-\d are out of order"
        ):
            await house.judge()
