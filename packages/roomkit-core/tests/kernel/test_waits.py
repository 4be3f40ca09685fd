"""Turns of different rooms that wait for each other's messages: the wait that closes the circle ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import ScriptedIntelligence

pytestmark = pytest.mark.virtual_time


class Teller(ScriptedIntelligence):
    """Told `go`, it tells other rooms `hear` and waits for all that this sets going; `ended` says when."""

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id)
        self.targets: list[str] = []
        self.way = "send"
        self.before: Any = None
        self.ended: list[float] = []
        self.heard: list[float] = []
        self.on_hearing: Any = None

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        words = text_of(event.content)
        if words == "go":
            if self.before is not None:
                await self.before()
            for room_id in self.targets:
                await self.tell(room_id)
            self.ended.append(asyncio.get_running_loop().time())
        elif words == "hear":
            if self.on_hearing is not None:
                await self.on_hearing()
            self.heard.append(asyncio.get_running_loop().time())
        elif words == "slow":
            await asyncio.sleep(5)
        return ChannelOutput.empty()

    async def tell(self, room_id: str, wait: str = "settled") -> None:
        assert self.services is not None
        body = TextContent(body="hear")
        if self.way == "send":
            await self.kit.send_event(room_id, "system", body, wait=wait)
        else:
            message = InboundMessage(channel_id="alice", sender_id="alice", content=body)
            await self.kit.process_inbound(message, room_id=room_id, wait=wait)


async def rooms_of(stage: Any, count: int) -> tuple[list[str], list[Teller]]:
    """Make rooms with one agent each, and a person in all of them."""
    rooms = [f"r{number + 1}" for number in range(count)]
    for room_id in rooms[1:]:
        await stage.kit.create_room(room_id)
    await stage.socket("alice")
    for room_id in rooms[1:]:
        await stage.kit.attach_channel(room_id, "alice")
    agents = []
    for number, room_id in enumerate(rooms):
        agent = await stage.join(Teller(f"bot{number}"), room_id)
        agent.kit = stage.kit
        agents.append(agent)
    return rooms, agents


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("way", ["send", "receive"])
@pytest.mark.parametrize("count", [2, 3, 5])
async def test_turns_that_wait_for_each_other_do_not_wait_for_their_time(stage, count, way):
    rooms, agents = await rooms_of(stage, count)
    arrived = asyncio.Barrier(count)
    for number, agent in enumerate(agents):
        agent.before, agent.way = arrived.wait, way
        agent.targets = [rooms[(number + 1) % count]]
    began = now()
    await asyncio.gather(*(stage.say("go", room=room_id) for room_id in rooms))
    await stage.idle()
    assert now() == began
    assert all(len(agent.ended) == len(agent.heard) == 1 for agent in agents)


async def test_only_the_wait_that_closes_the_circle_is_cut(stage):
    """The others return when what they wait for has settled."""
    rooms, (first, second) = await rooms_of(stage, 2)
    arrived = asyncio.Barrier(2)
    first.before = second.before = arrived.wait
    first.targets, second.targets = [rooms[1]], [rooms[0]]
    first.on_hearing = second.on_hearing = lambda: asyncio.sleep(3)
    began = now()
    await asyncio.gather(*(stage.say("go", room=room_id) for room_id in rooms))
    await stage.idle()
    ends = sorted([first.ended[0] - began, second.ended[0] - began])
    assert ends == [0, 3]


async def test_a_wait_for_a_room_that_is_only_busy_lasts_as_long(stage):
    rooms, (first, second) = await rooms_of(stage, 2)
    first.targets = [rooms[1]]
    began = now()
    await stage.say("slow", room=rooms[1], wait="committed")
    await stage.say("go", room=rooms[0])
    assert first.ended == second.heard == [began + 5]


async def test_a_circle_that_is_closed_later_ends_then(stage):
    """What the first room's message sets going is queued behind the turn that waits for it."""
    rooms, (first, second) = await rooms_of(stage, 2)
    first.targets = [rooms[1]]
    second.on_hearing = lambda: second.tell(rooms[0], wait="committed")
    began = now()
    await stage.say("slow", room=rooms[1], wait="committed")
    await stage.say("go", room=rooms[0])
    await stage.idle()
    assert first.ended == [began + 5]
    assert first.heard == [began + 5]


async def test_one_wait_of_several_is_cut(stage):
    """A turn that tells two rooms, of which one waits for it, still waits for the other."""
    rooms, (first, second, third) = await rooms_of(stage, 3)
    arrived = asyncio.Barrier(2)
    first.before = second.before = arrived.wait
    first.targets, second.targets = [rooms[1], rooms[2]], [rooms[0]]
    third.on_hearing = lambda: asyncio.sleep(7)
    began = now()
    await asyncio.gather(*(stage.say("go", room=room_id) for room_id in rooms[:2]))
    await stage.idle()
    assert first.ended == [began + 7]
    assert third.heard == [began + 7]


async def test_observers_that_wait_for_each_others_rooms_end_too(stage):
    """Theirs is work of a room like a turn."""
    rooms, _ = await rooms_of(stage, 2)
    arrived = asyncio.Barrier(2)
    ended = []

    @stage.kit.hook("after_broadcast", name="teller")
    async def tell(event, context):
        if text_of(event.content) == "start":
            await arrived.wait()
            other = rooms[1] if event.room_id == rooms[0] else rooms[0]
            await stage.kit.send_event(other, "system", TextContent(body="hear"))
            ended.append(now())

    began = now()
    await asyncio.gather(*(stage.say("start", room=room_id) for room_id in rooms))
    await stage.idle()
    assert ended == [began, began]


async def test_waits_that_have_ended_leave_nothing_behind(stage):
    rooms, agents = await rooms_of(stage, 2)
    for number, agent in enumerate(agents):
        agent.targets = [rooms[1 - number]]
    for _ in range(3):
        await asyncio.gather(*(stage.say("go", room=room_id) for room_id in rooms))
    await stage.idle()
    assert stage.kit._kernel.work.lanes.waits.waiting == []


# -- the commit of an answer ------------------------------------------------------------------


async def slowly_committed(stage, seconds):
    """Have answers judged for so long, once they were shown."""
    await stage.socket("alice", streaming=True)
    await stage.agent("bot", ["It is on its way."], streaming=True)

    @stage.kit.hook("before_broadcast", channel_ids={"bot"})
    async def judge(event, context):
        if event.generation is not None and event.generation.segment is None:
            await asyncio.sleep(seconds)
        return HookResult.allow()


@pytest.mark.parametrize("way", ["interrupt", "two interrupts", "unregister"])
async def test_an_interruption_does_not_cut_the_commit_of_what_was_shown(stage, way):
    await slowly_committed(stage, 5)
    asked = await stage.say("Where?", wait="committed")
    await asyncio.sleep(1)
    if way == "unregister":
        await stage.kit.unregister_channel("bot")
        assert "It is on its way." in await stage.texts()
    for _ in range(way.count("interrupt") + way.count("two")):
        assert await stage.kit.services.turns.interrupt("r1") == 0
    await stage.idle()
    assert await stage.texts() == ["Where?", "It is on its way."]
    assert (await stage.ledger(asked.event))["bot"].state == "sent"
    assert (await stage.timeline())[-1].generation.finish_reason == "stop"


async def test_the_time_of_a_turn_does_not_cut_the_commit_of_what_was_shown(staging):
    async with staging(agent_timeout=3) as stage:
        await slowly_committed(stage, 5)
        result = await stage.say("Where?")
        assert result.error is None
        assert await stage.texts() == ["Where?", "It is on its way."]
        assert (await stage.ledger(result.event))["bot"].state == "sent"
