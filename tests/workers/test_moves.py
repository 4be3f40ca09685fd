"""A worker that is killed in the middle of merges; another one finishes them."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import RoomBusyError
from roomkit.abc.store import Commit, ConversationStore, Entry
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from tests.workers.merger import BATCH, LEASE
from tests.workers.program import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_ROOMS = 6
_EVENTS = 3 * BATCH + 1


async def test_a_worker_that_is_killed_while_it_merges_rooms(store: Mapping[str, Any]) -> None:
    """Each event is in the merged room, once, under an index of its own; the rooms take messages again."""
    first, options = build(store)
    ids = [await filled(first, f"source{number}") for number in range(_ROOMS)]
    await first.create_room(Room(id="into"))
    await first.close()
    await kill_at_some_instant(store)

    kept, options = build(store)
    async with RoomKit(store=kept, lease_seconds=LEASE, **options) as kit:
        for number in range(_ROOMS):
            await merged(kit, f"source{number}")
        await emptied(kept)
        events = await kept.list_events("into", limit=1000)
        said = Counter(each.id for each in events if each.origin is not None)
        assert said == Counter(each for part in ids for each in part)
        assert [each.index for each in events] == sorted({each.index for each in events})
        room = await kept.get_room("into")
        assert room is not None
        assert (room.status, room.event_count) == ("active", len(events))
        for number in range(_ROOMS):
            assert (await kit.get_room(f"source{number}")).id == "into"


async def filled(store: ConversationStore, room_id: str) -> list[str]:
    """Make a room of some events; return their ids."""
    await store.create_room(Room(id=room_id))
    source = EventSource(channel_id="web", channel_type=ChannelType.WEBSOCKET)
    entries = [
        Entry(RoomEvent(room_id=room_id, source=source, content=TextContent(body=str(number))))
        for number in range(_EVENTS)
    ]
    room = await store.get_room(room_id)
    assert room is not None
    committed = await store.commit(Commit(room_id=room_id, entries=entries, at=room.created_at))
    return [each.id for each in committed.events]


async def kill_at_some_instant(store: Mapping[str, Any]) -> None:
    """Start a worker that merges rooms, and kill it while it does."""
    chance = random.Random(5)
    sources = [f"source{number}" for number in range(_ROOMS)]
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.workers.merger", json.dumps(dict(store)), json.dumps(sources), "into"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    for _ in range(chance.randint(2, 4)):
        assert await worker.stdout.readline()
    await asyncio.sleep(chance.random() * 0.02)  # other processes
    worker.kill()
    await worker.wait()


async def emptied(store: ConversationStore) -> None:
    """Wait until the rest of every room was moved, also by timers that the killed worker held."""
    async with asyncio.timeout(140):
        for number in range(_ROOMS):
            while await store.list_events(f"source{number}", limit=1):  # noqa: ASYNC110  # other processes
                await asyncio.sleep(0.05)  # other processes


async def merged(kit: RoomKit, source: str) -> None:
    """Merge a room, once the mark of the killed worker is taken away."""
    async with asyncio.timeout(140):
        while True:
            try:
                await kit.merge_rooms(source, "into")
                return
            except RoomBusyError:
                await asyncio.sleep(0.05)  # other processes
