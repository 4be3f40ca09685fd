"""Workers of an earlier version beside today's on one store: each finishes what the other left.

`rolling_base` names the commit from which on versions can run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.workers.house import LEASE, SEED, House, Version, has_commit, is_shallow

BASE = (Path(__file__).parent / "rolling_base").read_text(encoding="utf-8").strip()
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Return the version of the rolling base. Only a shallow clone, which lacks it, skips the test."""
    if not has_commit(BASE):
        if is_shallow():
            pytest.skip("this clone has no history: run `git fetch --unshallow`")
        pytest.fail(f"tests/workers/rolling_base names {BASE}, which is no commit of this repository")
    return Version(BASE, tmp_path_factory.mktemp("base"))


async def test_workers_of_the_rolling_base_run_beside_todays(
    store: Mapping[str, Any], base: Version, report: Callable[[str], None]
) -> None:
    """Both take messages; each finishes what the other left; nothing is lost or comes twice unkeyed."""
    house = House(store, rooms=3, lease_seconds=LEASE, seed=SEED)
    async with house.at_work(workers=0, version=base):
        old = [await house.start_of(base) for _ in range(2)]
        await house.said(20)
        today = await house.start()
        await house.said(40)
        await house.retire(old[0])  # its deliveries are today's, or the other old one's
        await house.said(20)
        await house.retire(today)  # today's are the old one's, unless another of today is quicker
        await house.said(20)
        await house.start()
        await house.retire(old[1])
        await house.said(20)
        await house.settle()
        report(await house.judge())
