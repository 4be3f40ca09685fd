"""A change of rights reaches the channels of the other workers, whichever worker made it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.enums import Access
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time


class SharedStore(InMemoryStore):
    @property
    def is_process_local(self) -> bool:
        return False

    async def close(self) -> None:
        """Stay open for the others."""


class SharedRealtime(InMemoryRealtime):
    is_down = False

    @property
    def is_process_local(self) -> bool:
        return False

    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        if self.is_down:
            raise ConnectionError("down")
        await super().publish(channel, event)

    async def close(self) -> None:
        """Stay open for the others."""


class Attentive(RecordingChannel):
    """A channel that keeps the rooms whose rights another worker changed; its first notice fails."""

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id)
        self.rooms: list[str] = []

    async def update_rights(self, room_id: str) -> None:
        self.rooms.append(room_id)
        if len(self.rooms) == 1:
            raise OSError("a bug")


class Pair:
    """A worker that has the channels, and one that has none."""

    def __init__(self) -> None:
        self.realtime = SharedRealtime()
        store, locks = SharedStore(), InMemoryLockManager()
        self.here, self.there = [
            RoomKit(store=store, lock_manager=locks, realtime=self.realtime, single_process=True)
            for _ in range(2)
        ]
        self.channels = [Attentive("web"), Attentive("also"), RecordingChannel("plain")]
        for channel in self.channels:
            self.here.register_channel(channel)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.here.start()
    await pair.there.start()
    await pair.here.create_room("r1")
    for channel in pair.channels:
        await pair.here.attach_channel("r1", channel.channel_id)
    await asyncio.sleep(1)  # virtual time
    for channel in pair.channels[:2]:
        assert channel.rooms == []  # attaching takes no rights
    yield pair
    await pair.there.close()
    await pair.here.close()


WAYS: dict[str, Callable[[RoomKit], Awaitable[Any]]] = {
    "remove": lambda kit: kit.remove_participant("r1", "bob"),
    "ban": lambda kit: kit.remove_participant("r1", "bob", banned=True),
    "detach": lambda kit: kit.detach_channel("r1", "web"),
    "access": lambda kit: kit.set_access("r1", "web", Access.WRITE_ONLY),
    "visibility": lambda kit: kit.set_visibility("r1", "web", "none"),
    "delete": lambda kit: kit.delete_room("r1"),
    "erase": lambda kit: kit.erase_room("r1"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_each_change_is_announced_to_the_other_workers_channels(pair: Pair, way: str) -> None:
    """Once, by a worker that has none of them; the failure of one channel keeps no other from it."""
    await WAYS[way](pair.there)
    await asyncio.sleep(1)  # virtual time
    assert [channel.rooms for channel in pair.channels[:2]] == [["r1"]] * 2


async def test_a_worker_does_not_notify_its_own_channels_so(pair: Pair) -> None:
    """They were notified of the change itself."""
    await pair.here.remove_participant("r1", "bob", banned=True)
    await asyncio.sleep(1)  # virtual time
    assert pair.channels[0].rooms == []


async def test_a_change_holds_though_it_cannot_be_announced(pair: Pair, caplog: Any) -> None:
    pair.realtime.is_down = True
    await pair.there.remove_participant("r1", "bob", banned=True)
    await asyncio.sleep(1)  # virtual time
    assert [person.status for person in await pair.here.list_participants("r1")] == ["banned"]
    assert "'rights-changed' of 'r1' could not be announced to other workers" in caplog.text


async def test_nothing_is_published_where_no_other_process_receives_it() -> None:
    """A kit of one process has no topic for it."""
    realtime = InMemoryRealtime()
    async with RoomKit(realtime=realtime) as kit:
        await kit.create_room("r1")
        await kit.remove_participant("r1", "bob", banned=True)
        assert realtime._topics == {}
