"""Workers that are killed while they send a scheduled message: another one sends it, once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.store import Commit, Committed, ConversationStore
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import DeliveryState, EventType
from roomkit.models.value import Value
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel
from tests.workers.killed import exit_code_of
from tests.workers.program import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

LEASE = 1.0
POINTS = ("begun", "committed")
"""After its sending has begun; after it was committed."""


def _dying(store: ConversationStore, point: str) -> ConversationStore:
    """Have the process killed right after a step of the store."""
    whole, put_value = store.commit, store.put_value

    async def dying_commit(commit: Commit) -> Committed:
        done = await whole(commit)
        if point == "committed" and any(each.event.type is EventType.MESSAGE for each in commit.entries):
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    async def dying_put(value: Value, **conditions: Any) -> Value:
        put = await put_value(value, **conditions)
        if point == "begun" and value.namespace == "core.scheduled":
            os.kill(os.getpid(), signal.SIGKILL)
        return put

    store.commit, store.put_value = dying_commit, dying_put  # type: ignore[method-assign]
    return store


@asynccontextmanager
async def working(
    store: Mapping[str, Any], dying: Callable[[ConversationStore], ConversationStore] = lambda store: store
) -> AsyncIterator[RoomKit]:
    plugins = PluginManager(entry_points=())
    plugins.scan()
    shared, parts = build(store)
    async with RoomKit(store=dying(shared), plugins=plugins, lease_seconds=LEASE, **parts) as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(RecordingChannel("sms"))
        yield kit


async def _send_later(store: Mapping[str, Any], point: str) -> None:
    """Schedule something for the room named after the point, and be killed there."""

    def dying(shared: ConversationStore) -> ConversationStore:
        return _dying(shared, point)

    async with working(store, dying) as kit:
        due = kit.clock.now() + timedelta(seconds=0.05)
        await kit.send_event(point, "web", TextContent(body="later"), at=due)
        await asyncio.sleep(60)  # other processes: it is killed before


async def test_a_killed_worker_neither_loses_nor_repeats_what_is_sent_later(store: Mapping[str, Any]) -> None:
    async with working(store) as kit:
        for point in POINTS:
            await kit.create_room(point)
            for channel_id in ("web", "sms"):
                await kit.attach_channel(point, channel_id)
    died = await asyncio.gather(
        *(exit_code_of("test_scheduled_sends", "_send_later", dict(store), point) for point in POINTS)
    )
    assert died == [-signal.SIGKILL] * len(POINTS)
    async with working(store) as kit:
        for point in POINTS:
            async with asyncio.timeout(40):
                while not await _is_over(kit, point):  # noqa: ASYNC110  # other processes left it
                    await asyncio.sleep(0.05)  # other processes
            said = [each for each in await kit.get_timeline(point) if each.type is EventType.MESSAGE]
            assert [text_of(each.content) for each in said] == ["later"]
            rows = await kit.list_deliveries(point, channel_id="sms")
            assert [row.state for row in rows] == [DeliveryState.SENT]


async def _is_over(kit: RoomKit, room_id: str) -> bool:
    """Whether it was sent, and nothing of it waits."""
    rows = await kit.list_deliveries(room_id, state=DeliveryState.SENT)
    return bool(rows) and not await kit.list_scheduled(room_id) and not await kit.store.find_timers()
