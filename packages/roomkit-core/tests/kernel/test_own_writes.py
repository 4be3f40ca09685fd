"""Writes from inside a room's work are part of it: of its chain, its cascade, its right to end."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import EventStatus, HookTrigger
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import ScriptedIntelligence, SharedStore

pytestmark = pytest.mark.virtual_time

BEFORE, AFTER = HookTrigger.BEFORE_BROADCAST, HookTrigger.AFTER_BROADCAST


class Passing(ScriptedIntelligence):
    """An agent whose tool hands over to another one, in its room or in another."""

    def __init__(self, channel_id, stage, to, room="r1", wait="settled", way="send_event"):
        super().__init__(channel_id)
        self.stage, self.to, self.room, self.wait, self.way = stage, to, room, wait, way
        self.turns = 0
        self.depths = []

    async def on_event(self, event, binding, context):
        self.turns += 1
        self.depths.append(event.chain_depth)
        await asyncio.sleep(0.01)
        async with asyncio.TaskGroup() as tools:
            tools.create_task(self.tool())
        return ChannelOutput.empty()

    async def tool(self):
        if self.way == "a task left behind":
            self.left = asyncio.create_task(self.write("send_event"))
            return None
        return await self.write(self.way)

    async def write(self, way):
        if way == "process_inbound":
            message = InboundMessage(
                channel_id="alice",
                sender_id="alice",
                content=TextContent(body="go on"),
                addressed_to=(self.to,),
            )
            return await self.stage.kit.process_inbound(message, room_id=self.room, wait=self.wait)
        return await self.stage.kit.send_event(
            self.room, "system", TextContent(body="go on"), addressed_to=[self.to], wait=self.wait
        )


@pytest.mark.parametrize("way", ["send_event", "process_inbound"])
@pytest.mark.parametrize("wait", ["settled", "committed"])
@pytest.mark.parametrize("rooms", [("r1", "r1"), ("r1", "r2")], ids=["one room", "two rooms"])
async def test_agents_that_hand_to_each_other_come_to_an_end(staging, rooms, wait, way):
    """At the depth of the chain, and before the first caller comes back."""
    async with staging(max_chain_depth=3) as stage:
        if "r2" in rooms:
            await stage.kit.create_room("r2")
        await stage.socket("alice")
        if "r2" in rooms:
            await stage.kit.attach_channel("r2", "alice")
        here, there = rooms
        one = await stage.join(Passing("one", stage, "two", there, wait, way), here)
        two = await stage.join(Passing("two", stage, "one", here, wait, way), there)
        await stage.say(addressed_to=("one",))
        assert (one.turns, two.turns) == (2, 1)
        assert (one.depths, two.depths) == ([0, 2], [1])
        await stage.idle()
        assert (one.turns, two.turns) == (2, 1)
        events = [event for room in dict.fromkeys(rooms) for event in await stage.timeline(room)]
        assert sorted(event.chain_depth for event in events) == [0, 1, 2, 3]
        first = next(event for event in events if event.chain_depth == 0)
        assert {event.correlation_id for event in events if event is not first} == {first.id}
        (refused,) = (event for event in events if event.status is EventStatus.BLOCKED)
        assert refused.blocked_by == "event_chain_depth_limit"


async def test_what_a_turn_leaves_to_a_task_is_as_deep_as_the_turn(staging):
    """Nothing waits for it, and yet the chain ends."""
    async with staging(max_chain_depth=3) as stage:
        await stage.socket("alice")
        one = await stage.join(Passing("one", stage, "two", way="a task left behind"))
        two = await stage.join(Passing("two", stage, "one", way="a task left behind"))
        await stage.say(addressed_to=("one",))
        await asyncio.sleep(60)
        assert (one.depths, two.depths) == ([0, 2], [1])


class Redelivering(ScriptedIntelligence):
    """An agent whose tool takes a message in once more, by its key, and waits for all that follows."""

    def __init__(self, channel_id, stage, message, room):
        super().__init__(channel_id)
        self.stage, self.message, self.room = stage, message, room
        self.results = []

    async def on_event(self, event, binding, context):
        await asyncio.sleep(0.01)
        result = await self.stage.kit.process_inbound(self.message, room_id=self.room)
        self.results.append(result)
        return ChannelOutput.empty()


def keyed(key):
    return InboundMessage(
        channel_id="alice", sender_id="alice", content=TextContent(body="go on"), idempotency_key=key
    )


@pytest.mark.parametrize("wait", ["settled", "committed"])
async def test_a_turn_does_not_wait_for_a_redelivered_message_that_it_is_part_of(stage, wait):
    await stage.kit.create_room("r2")
    await stage.socket("alice")
    await stage.join(Passing("boss", stage, "worker", "r2", wait))
    worker = await stage.join(Redelivering("worker", stage, keyed("k"), "r1"), "r2")
    first = await stage.kit.process_inbound(keyed("k"), room_id="r1")
    await stage.idle()
    (again,) = worker.results
    assert (again.duplicate, again.event.id) == (True, first.event.id)
    assert asyncio.get_running_loop().time() < 1


async def test_two_turns_that_redeliver_each_others_message_do_not_wait_for_each_other(stage):
    await stage.kit.create_room("r2")
    await stage.socket("alice")
    await stage.kit.attach_channel("r2", "alice")
    first = await stage.join(Redelivering("first", stage, keyed("two"), "r2"))
    second = await stage.join(Redelivering("second", stage, keyed("one"), "r1"), "r2")
    await asyncio.gather(
        stage.kit.process_inbound(keyed("one"), room_id="r1"),
        stage.kit.process_inbound(keyed("two"), room_id="r2"),
    )
    assert len(first.results) == len(second.results) == 1
    assert asyncio.get_running_loop().time() < 1


async def test_an_agent_may_wait_for_another_room_that_writes_back(stage):
    await stage.kit.create_room("r2")
    await stage.socket("alice")
    boss = await stage.join(Passing("boss", stage, "worker", "r2"))
    worker = await stage.join(Passing("worker", stage, "no one", "r1"), "r2")
    await stage.say(addressed_to=("boss",))
    assert (boss.turns, worker.turns) == (1, 1)
    assert asyncio.get_running_loop().time() < 1
    assert [event.chain_depth for event in await stage.timeline()] == [0, 2]


@pytest.mark.parametrize("where", ["gate", "observer"])
async def test_a_gate_and_an_observer_write_as_deep_as_what_they_saw(stage, where):
    await stage.kit.create_room("r2")
    await stage.socket("alice")
    bob = await stage.join(type(await stage.socket("carol"))("bob", delay=5), "r2")
    written = []

    async def copy(event, context):
        if event.room_id == "r1" and event.chain_depth == 1:
            body = TextContent(body="copy")
            written.append(await stage.kit.send_event("r2", "system", body, wait="committed"))
        return HookResult.allow()

    stage.kit.hook(BEFORE if where == "gate" else AFTER)(copy)
    await stage.agent("bot", ["an answer"])
    result = await stage.say()
    assert [event.chain_depth for event in written] == [1]
    assert written[0].correlation_id == result.event.id
    assert bob.texts() == ["copy"]


async def test_a_failure_of_what_a_tool_set_going_is_known_to_the_caller(stage):
    """The first failure of the whole cascade."""
    await stage.kit.create_room("r2")
    await stage.socket("alice")
    await stage.join(Passing("boss", stage, "broken", "r2", "committed"))
    await stage.join(ScriptedIntelligence("broken", [ValueError("a bug")]), "r2")
    result = await stage.say()
    assert "a bug" in str(result.error)


async def test_what_a_hook_leaves_behind_is_nobodys_turn(stage):
    """A task that goes on after its observer writes as if it came from outside."""
    await stage.socket("alice")
    left = []

    async def later():
        await asyncio.sleep(10)
        await stage.kit.send_event("r1", "system", TextContent(body="later"))

    @stage.kit.hook(AFTER)
    async def observer(event, context):
        if event.chain_depth == 1 and not left:
            left.append(asyncio.create_task(later()))

    await stage.agent("bot", ["an answer"])
    await stage.say()
    await left[0]
    assert [event.chain_depth for event in await stage.timeline()] == [0, 1, 0]


@pytest.mark.parametrize("who", ["observer", "agent", "gate"])
async def test_work_under_way_may_write_while_the_kit_closes(bare_stage, who):
    shared = {"store": SharedStore(), "lock_manager": InMemoryLockManager(), "realtime": InMemoryRealtime()}
    stage = await bare_stage(**shared, single_process=True).open()
    await stage.kit.create_room("r2")
    await stage.socket("alice")

    async def carry(event):
        if event.room_id == "r1" and event.chain_depth == 0:
            await asyncio.sleep(1)
            await stage.kit.send_event("r2", "system", TextContent(body="the result"))

    async def hook(event, context):
        await carry(event)
        return HookResult.allow()

    if who == "agent":
        bot = await stage.agent("bot")

        async def on_event(event, binding, context):
            await carry(event)
            return ChannelOutput.empty()

        bot.on_event = on_event
    else:
        stage.kit.hook(AFTER if who == "observer" else BEFORE)(hook)
    saying = stage.saying()
    await asyncio.sleep(0.5)
    closing = asyncio.create_task(stage.kit.close())
    await asyncio.sleep(0.1)
    with pytest.raises(Exception, match="closed, or closing"):
        await stage.kit.send_event("r2", "system", TextContent(body="from outside"))
    await closing
    await saying
    store = shared["store"]
    assert [text_of(event.content) for event in await store.list_events("r2")] == ["the result"]
    assert not await store.list_timers("r1")


async def test_an_observer_that_the_close_cuts_short_runs_again(bare_stage):
    """Its work was refused, so the timer that has it run stays."""
    shared = {"store": SharedStore(), "lock_manager": InMemoryLockManager(), "realtime": InMemoryRealtime()}
    stage = await bare_stage(**shared, single_process=True, close_timeout=4).open()
    await stage.socket("alice")

    @stage.kit.hook(AFTER)
    async def slow(event, context):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await stage.kit.send_event("r1", "system", TextContent(body="too late"))
            raise

    saying = stage.saying()
    await asyncio.sleep(0.5)
    await stage.kit.close()
    assert not (await saying).blocked
    assert [timer.kind for timer in await shared["store"].list_timers("r1")] == ["after_broadcast"]


@pytest.mark.parametrize("count", [2, 3])
async def test_gates_that_write_into_each_others_rooms_are_refused(staging, count):
    async with staging(process_timeout=30) as stage:
        rooms = [f"r{number + 1}" for number in range(count)]
        for room in rooms[1:]:
            await stage.kit.create_room(room)
        alice = await stage.socket("alice")
        for room in rooms[1:]:
            await stage.kit.attach_channel(room, alice.channel_id)
        arrived = asyncio.Barrier(count)

        @stage.kit.hook(BEFORE)
        async def gate(event, context):
            if text_of(event.content) == "go":
                await arrived.wait()
                other = rooms[(rooms.index(event.room_id) + 1) % count]
                await stage.kit.send_event(other, "system", TextContent(body="a copy"))
            return HookResult.allow()

        results = await asyncio.gather(*(stage.say("go", room=room) for room in rooms))
        assert asyncio.get_running_loop().time() < 1
        assert sorted(str(one.reason) for one in results) == ["None"] * (count - 1) + ["hook_failed"]
        assert any("waits to write" in fact["error"] for fact in stage.facts("hook_error"))
