"""While an answer plays, how far it was heard is stored once a second: a worker that dies loses no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import StoreUnavailableError
from roomkit.kernel.flow.timers import PLAYBACK
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.event import Heard, RoomEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, VirtualClock

pytestmark = pytest.mark.virtual_time

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()
ANSWER = "x" * 1_000
PACE = 10
"""Characters a second."""


class Shared(InMemoryStore):
    """A store that outlives its workers, and counts the timers that are set; `down` for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.set: list[float] = []
        self.down = False

    @property
    def is_process_local(self) -> bool:
        return False

    async def set_timer(self, timer: Any) -> None:
        if timer.kind == PLAYBACK:
            if self.down:
                raise StoreUnavailableError("the store is down")
            self.set.append(asyncio.get_running_loop().time())
        await super().set_timer(timer)


class Phone(RecordingChannel):
    """Speaks ten characters a second, and says so each fifth of a second."""

    def __init__(self) -> None:
        super().__init__("phone", streaming=True)

    async def deliver_stream(self, stream: Any, event: Any, binding: Any, context: Any) -> ChannelOutput:
        played, text = 0, ""
        async for piece in stream:
            text += piece
        while played < len(text):
            await asyncio.sleep(0.2)
            played += 2
            stream.heard(played)
        return ChannelOutput.empty()


async def start(store: Shared, *channels: Any, rooms: int = 1) -> RoomKit:
    kit = RoomKit(
        store,
        lock_manager=InMemoryLockManager(),
        realtime=InMemoryRealtime(),
        single_process=True,
        clock=VirtualClock(),
        plugins=PLUGINS,
        lease_seconds=3,
    )
    for channel in channels:
        kit.register_channel(channel)
    await kit.start()
    if await store.get_room("r0") is None:
        for number in range(rooms):
            await kit.create_room(f"r{number}")
            for name in ("alice", *(each.channel_id for each in channels if each.channel_id != "alice")):
                await kit.attach_channel(f"r{number}", name)
    return kit


def agent() -> ScriptedIntelligence:
    return ScriptedIntelligence("bot", [ANSWER] * 1_000, streaming=True)


async def ask(kit: RoomKit, room_id: str = "r0") -> None:
    body = TextContent(body="Tell me.")
    message = InboundMessage(channel_id="alice", sender_id="alice", content=body)
    await kit.process_inbound(message, room_id=room_id, wait="committed")


async def answer_in(store: Shared, room_id: str = "r0") -> RoomEvent:
    events = await store.list_events(room_id, limit=100)
    return next(event for event in events if event.source.channel_id == "bot")


async def kill() -> None:
    """End the worker without a word, as SIGKILL does: none of its tasks goes on."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)


def heard_of(event: RoomEvent) -> dict[str, Heard]:
    assert event.generation is not None
    return {each.channel_id: each for each in event.generation.heard}


@pytest.mark.parametrize("seconds", [1.5, 10.1, 37.9])
async def test_what_a_dead_worker_played_is_known_to_one_second(seconds):
    store = Shared()
    kit = await start(store, RecordingChannel("alice"), Phone(), agent())
    await ask(kit)
    await asyncio.sleep(seconds)
    await kill()
    other = await start(store, RecordingChannel("alice"))  # it has no phone
    await asyncio.sleep(20)
    event = await answer_in(store)
    heard = heard_of(event)["phone"]
    assert heard.estimated
    assert (seconds - 1) * PACE - 2 <= heard.chars <= seconds * PACE
    assert event.content == TextContent(body=ANSWER)
    await other.close()


async def test_who_read_all_of_it_is_said_too():
    """Else an agent would think that a person who read the whole in one channel heard less in another."""
    store = Shared()
    kit = await start(store, RecordingChannel("alice"), Phone(), agent())
    await ask(kit)
    await asyncio.sleep(10)
    await kill()
    other = await start(store, RecordingChannel("alice"))
    await asyncio.sleep(20)
    heard = heard_of(await answer_in(store))
    assert heard["alice"].chars == len(ANSWER)
    assert heard["phone"].chars < len(ANSWER)
    await other.close()


async def test_a_worker_that_lives_says_it_exactly():
    """No estimate is left, nor a timer."""
    store = Shared()
    kit = await start(store, RecordingChannel("alice"), Phone(), agent())
    await ask(kit)
    await asyncio.sleep(len(ANSWER) / PACE + 20)
    assert heard_of(await answer_in(store))["phone"] == Heard(channel_id="phone", chars=len(ANSWER))
    assert [timer for timer in await store.find_timers(limit=100) if timer.kind == PLAYBACK] == []
    await kit.close()


async def test_it_costs_one_statement_a_second_however_much_plays():
    store = Shared()
    kit = await start(store, RecordingChannel("alice"), Phone(), agent(), rooms=20)
    for number in range(20):
        await ask(kit, f"r{number}")
    await asyncio.sleep(30.5)
    assert len(store.set) == 30
    await kit.close()


async def test_it_costs_nothing_where_nothing_plays():
    """Neither before, nor after, nor for a channel that does not say how far it was heard."""
    store = Shared()
    reader = RecordingChannel("reader", streaming=True)
    kit = await start(store, RecordingChannel("alice"), reader, agent())
    await ask(kit)
    await asyncio.sleep(60)
    assert store.set == []
    assert reader.texts()[-1] == ANSWER
    await kit.close()


async def test_more_than_one_timer_can_name_is_stored_in_several():
    store = Shared()
    kit = await start(store, RecordingChannel("alice"), Phone(), agent(), rooms=100)
    for number in range(100):
        await ask(kit, f"r{number}")
    await asyncio.sleep(5.5)
    await kill()
    other = await start(store, RecordingChannel("alice"))
    await asyncio.sleep(20)
    for number in range(100):
        assert heard_of(await answer_in(store, f"r{number}"))["phone"].chars >= 3 * PACE
    await other.close()


async def test_a_store_that_was_away_is_told_when_it_is_back():
    store = Shared()
    kit = await start(store, RecordingChannel("alice"), Phone(), agent())
    await ask(kit)
    await asyncio.sleep(3)
    store.down = True
    await asyncio.sleep(10)
    store.down = False
    await asyncio.sleep(3)
    await kill()
    other = await start(store, RecordingChannel("alice"))
    await asyncio.sleep(20)
    assert heard_of(await answer_in(store))["phone"].chars >= 15 * PACE - 2
    await other.close()


async def test_an_answer_that_is_played_again_and_to_the_end_was_heard_to_the_end():
    """The call was taken again on another worker, where the delivery that was cut off is made again."""
    store = Shared()
    kit = await start(store, RecordingChannel("alice"), Phone(), agent())
    await ask(kit)
    await asyncio.sleep(10)
    await kill()
    phone = Phone()
    other = await start(store, RecordingChannel("alice"), phone)
    await asyncio.sleep(60)
    assert phone.texts() == ["Tell me.", ANSWER][-len(phone.texts()) :]
    assert heard_of(await answer_in(store))["phone"].chars == len(ANSWER)
    await other.close()


async def test_what_was_erased_is_not_marked():
    store = Shared()
    kit = await start(store, RecordingChannel("alice"), Phone(), agent())
    await ask(kit)
    await asyncio.sleep(10)
    await kill()
    other = await start(store, RecordingChannel("alice"))
    await other.delete_room("r0")
    await asyncio.sleep(20)
    assert [timer for timer in await store.find_timers(limit=100) if timer.kind == PLAYBACK] == []
    await other.close()
