"""Any intelligence's answer is ended from outside, here or on the worker that has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models import (
    ChannelCategory,
    ChannelOutput,
    DeliveryState,
    InboundMessage,
    TextContent,
)
from roomkit.models.content import text_of
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, SharedStore, VirtualClock

pytestmark = pytest.mark.virtual_time


class Talking(ScriptedIntelligence):
    """An intelligence of no special kind, which says a word a second, without an end."""

    def __init__(self, channel_id: str = "bot") -> None:
        super().__init__(channel_id)
        self.said = 0

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        return ChannelOutput(responded=True, response_stream=self._words())

    async def _words(self) -> AsyncIterator[str]:
        while True:
            await asyncio.sleep(1)
            self.said += 1
            yield f"word {self.said}.\n"


class Thinking(ScriptedIntelligence):
    """An intelligence that thinks, without an end."""

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        return await asyncio.Event().wait() or ChannelOutput.empty()


def worker(store: InMemoryStore, realtime: InMemoryRealtime, *agents: Any) -> RoomKit:
    kit = RoomKit(
        store,
        lock_manager=InMemoryLockManager(),
        realtime=realtime,
        single_process=True,
        clock=VirtualClock(),
        plugins=PluginManager(entry_points=()),
    )
    kit.register_channel(RecordingChannel("ws", streaming=True))
    for agent in agents:
        kit.register_channel(agent)
    return kit


async def opened(kit: RoomKit, *agents: str) -> None:
    await kit.create_room("r1")
    await kit.attach_channel("r1", "ws")
    for agent in agents:
        await kit.attach_channel("r1", agent, category=ChannelCategory.INTELLIGENCE)


async def ask(kit: RoomKit) -> None:
    message = InboundMessage(channel_id="ws", sender_id="ann", content=TextContent(body="tell me"))
    await kit.process_inbound(message, room_id="r1", wait="committed")


async def answers(kit: RoomKit) -> list[Any]:
    return [event for event in await kit.get_timeline("r1") if event.generation is not None]


@pytest.mark.parametrize("where", ["here", "on another worker"])
async def test_an_answer_stops_and_keeps_what_was_shown(where: str) -> None:
    """With the finish reason `interrupted`; no later word is generated, and the ledger says why it ended."""
    store, realtime, bot = SharedStore(), InMemoryRealtime(), Talking()
    async with worker(store, realtime, bot) as kit, worker(store, realtime) as other:
        await opened(kit, "bot")
        await ask(kit)
        await asyncio.sleep(3.5)
        asker = kit if where == "here" else other
        assert await asker.services.turns.interrupt("r1") == 1
        await asyncio.sleep(0.1)
        (answer,) = await answers(kit)
        (row,) = await kit.list_deliveries("r1", channel_id="bot")
        assert text_of(answer.content).split() == ["word", "1.", "word", "2.", "word", "3."]
        assert answer.generation.finish_reason == "interrupted"
        assert (row.state, row.reason) == (DeliveryState.SKIPPED, "interrupted")
        assert await asker.services.turns.interrupt("r1") == 0
        await asyncio.sleep(100)
        assert bot.said == 3


async def test_every_intelligence_of_the_room_stops() -> None:
    """Those that stream and those that think; in that room alone, and with the reason that was given."""
    async with worker(InMemoryStore(), InMemoryRealtime(), Talking("a"), Thinking("b")) as kit:
        await opened(kit, "a", "b")
        await ask(kit)
        await asyncio.sleep(2.5)
        assert await kit.services.turns.interrupt("r2") == 0
        assert await kit.services.turns.interrupt("r1", reason="barge_in") == 2
        await asyncio.sleep(1)
        rows = await kit.list_deliveries("r1", state=DeliveryState.SKIPPED)
        assert {(row.channel_id, row.reason) for row in rows} == {("a", "barge_in"), ("b", "barge_in")}
        assert [event.generation.finish_reason for event in await answers(kit)] == ["barge_in"]


async def test_only_the_stream_that_is_named_stops() -> None:
    one, two = Talking("one"), Talking("two")
    async with worker(InMemoryStore(), InMemoryRealtime(), one, two) as kit:
        await opened(kit, "one", "two")
        await ask(kit)
        await asyncio.sleep(2.5)
        lane = kit._kernel.work.lanes.get("r1", "one")
        assert lane is not None
        assert lane.busy is not None
        assert lane.busy.stream is not None
        assert await kit.services.turns.interrupt("r1", stream_id="another") == 0
        assert await kit.services.turns.interrupt("r1", stream_id=lane.busy.stream.event_id) == 1
        await asyncio.sleep(10)
        assert (one.said, two.said) == (2, 12)
        await kit.services.turns.interrupt("r1")


async def test_the_turn_that_asks_goes_on() -> None:
    """A tool that interrupts the others is not its own victim."""
    ended: list[int] = []

    class Asking(ScriptedIntelligence):
        async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
            assert self.services is not None
            await asyncio.sleep(2.5)
            ended.append(await self.services.turns.interrupt("r1"))
            return await super().on_event(event, binding, context)

    async with worker(InMemoryStore(), InMemoryRealtime(), Talking(), Asking("ask", ["done"])) as kit:
        await opened(kit, "bot", "ask")
        await ask(kit)
        await asyncio.sleep(5)
        said = {event.source.channel_id: text_of(event.content) for event in await kit.get_timeline("r1")}
        assert ended == [1]
        assert said["ask"] == "done"


async def test_turns_that_wait_are_asked_afterwards() -> None:
    """Only the answer under way ends."""
    bot = Talking()
    async with worker(InMemoryStore(), InMemoryRealtime(), bot) as kit:
        await opened(kit, "bot")
        await ask(kit)
        await ask(kit)
        await asyncio.sleep(1.5)
        assert await kit.services.turns.interrupt("r1") == 1
        await asyncio.sleep(2.5)
        assert bot.said == 3
        assert await kit.services.turns.interrupt("r1") == 1
