"""Workers of an earlier version beside today's on one store: each finishes what the other left.

`rolling_base` names the commit from which on versions can run side by side.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelType, DeliveryState, HookExecution, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.history import Recipient, assert_history
from tests.workers.house import LEASE, SEED, House, Version, has_commit, is_shallow
from tests.workers.program import build

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


@asynccontextmanager
async def paging(store: Mapping[str, Any], house: House) -> AsyncIterator[tuple[RoomKit, RecordingChannel]]:
    """Open a worker of today that has nothing but a channel of a type that the base does not know."""

    async def observed(event: RoomEvent, _context: RoomContext) -> None:
        house.observed[event.id] += 1

    shared, parts = build(store)
    plugins = PluginManager(entry_points=())
    plugins.scan()
    pager = RecordingChannel("pager", channel_type=ChannelType("pager"))
    async with RoomKit(store=shared, plugins=plugins, lease_seconds=LEASE, **parts) as kit:
        kit.register_channel(pager)
        kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)(observed)
        yield kit, pager


async def test_a_channel_type_that_only_one_version_knows_waits_for_its_workers(
    store: Mapping[str, Any], base: Version, report: Callable[[str], None]
) -> None:
    """Workers of the base go on in rooms with such a channel, and leave its deliveries to the others."""
    house = House(store, rooms=2, lease_seconds=LEASE, seed=SEED + 8)
    house.most_behind = 400  # observers wait for all deliveries of an event, the pager's included
    async with house.at_work(workers=0, version=base):
        await house.start_of(base)
        async with paging(store, house) as (kit, pager):
            attached = {}
            for room_id in house.rooms:
                await kit.attach_channel(room_id, "pager")
                attached[room_id] = (await kit.get_room(room_id)).latest_index
            await house.said(20)
        paged = pager.delivered
        house.allow(400)  # nothing more is observed until a worker with a pager is back
        await house.said(20)
        async with paging(store, house) as (kit, pager):
            await house.settle()
            assert pager.delivered, "nothing was left to the second worker"
            paged += pager.delivered
            for room_id in house.rooms:
                timeline = await kit.get_timeline(room_id, limit=10_000)
                events = [seen.event for seen in paged if seen.event.room_id == room_id]
                binding = await kit.get_binding(room_id, "pager")
                rows = await kit.list_deliveries(room_id, channel_id="pager", limit=10_000)
                assert {row.state for row in rows} == {DeliveryState.SENT}
                assert_history(timeline, [Recipient(binding, events, attached[room_id], at_least_once=True)])
        report(await house.judge())
