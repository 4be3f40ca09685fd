"""One room hammered by many, many rooms on the same channels: nothing lost, nothing twice, all in order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from roomkit import RoomKit
from roomkit.abc.errors import ErrorCode, ProviderError, RoomClosedError
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import RetryPolicy
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import (
    Access,
    ChannelCategory,
    DeliveryState,
    EventStatus,
    EventType,
    HookTrigger,
)
from roomkit.models.hook import HookResult
from roomkit.models.visibility import admits
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import Recipient as Witness
from roomkit_plugins.testing import (
    RecordingChannel,
    ScriptedIntelligence,
    VirtualClock,
    VirtualTimeLoop,
    assert_history,
    run_virtual,
)

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()


class Snapshot:
    """A room as a remote store returns it: it does not move on while it is held."""

    def __init__(self, record, key):
        self._keyed = record.keyed(key) if key is not None else None
        self.room_id = record.room_id
        self.room = record.room
        self.version = record.version
        self.status = record.status
        self.is_interleaved = record.is_interleaved
        self.bindings = dict(record.bindings)
        self.participants = dict(record.participants)
        self._newest = tuple(record.recent(50))

    def recent(self, limit):
        return self._newest[-limit:]

    def keyed(self, idempotency_key):
        return self._keyed


class RemoteStore(InMemoryStore):
    """A store on the other side of a network: it takes its time, and returns snapshots."""

    def __init__(self, seed):
        super().__init__()
        self._random = random.Random(seed)

    async def _travel(self):
        await asyncio.sleep(self._random.choice((0, 0.001, 0.02)))  # virtual time

    async def load(self, room_id, *, recent=0, key=None):
        await self._travel()
        record = await super().load(room_id, recent=recent)
        return None if record is None else Snapshot(record, key)

    async def commit(self, commit):
        await self._travel()
        stored = await super().commit(commit)
        await self._travel()
        return stored

    async def complete(self, outcomes, **given):
        await self._travel()
        return await super().complete(outcomes, **given)

    async def find_event_by_key(self, room_id, idempotency_key):
        await self._travel()
        return await super().find_event_by_key(room_id, idempotency_key)


class FaultyChannel(RecordingChannel):
    """A provider with moods: slow, failing for a moment, failing for good; it takes one call at a time."""

    def __init__(self, channel_id, seed, *, slowness=0.3, transient=0.2, permanent=0.05, streaming=False):
        super().__init__(channel_id, streaming=streaming)
        self._random = random.Random(f"{seed} {channel_id}")
        self._slowness, self._transient, self._permanent = slowness, transient, permanent
        self._inside = defaultdict(int)
        self.overlaps = 0
        self.foreign = []

    async def deliver(self, event, binding, context):
        room_id = binding.room_id
        self._inside[room_id] += 1
        self.overlaps += self._inside[room_id] > 1
        if event.room_id != room_id or any(one.room_id != room_id for one in context.recent_events):
            self.foreign.append(event)
        try:
            await asyncio.sleep(self._random.random() * self._slowness)  # virtual time
            mood = self._random.random()
            if mood < self._permanent:
                raise ProviderError("no such number", error_code=ErrorCode.INVALID_RECIPIENT)
            shown_already = self.supports_streaming_delivery and event.generation is not None
            if mood < self._permanent + self._transient and not shown_already:
                raise ProviderError("try again", error_code=ErrorCode.RATE_LIMIT)
            return await super().deliver(event, binding, context)
        finally:
            self._inside[room_id] -= 1


class EchoAgent(ScriptedIntelligence):
    """An agent that answers people by what they said, now and then late or not at all."""

    def __init__(self, channel_id, seed, **options):
        super().__init__(channel_id, **options)
        self._random = random.Random(f"{seed} {channel_id}")
        self.foreign = []

    async def on_event(self, event, binding, context):
        if any(one.room_id != event.room_id for one in context.recent_events):
            self.foreign.append(event)
        said = text_of(event.content)
        await asyncio.sleep(self._random.random())  # virtual time
        if self._random.random() < 0.1:
            raise ProviderError("overloaded", error_code=ErrorCode.OVERLOADED)
        self._answers = iter([f"re {said}" if event.chain_depth == 0 else None])
        return await super().on_event(event, binding, context)


@dataclass(frozen=True)
class Plan:
    """How a room is hammered."""

    seed: int
    senders: int
    messages: int
    remote: bool
    gated: bool


plans = st.builds(
    Plan,
    seed=st.integers(0, 2**32),
    senders=st.integers(3, 10),
    messages=st.integers(4, 15),
    remote=st.booleans(),
    gated=st.booleans(),
)
VISIBILITIES = ("all", "all", "all", "none", "transport", "intelligence", "c1", "c0,c2")
PATIENT = RetryPolicy(max_retries=50, base_delay_seconds=0.05, max_delay_seconds=0.2)


async def opened(plan, rooms=("r",)):
    """Return a kit with all the channels in each of the rooms."""
    store = RemoteStore(plan.seed) if plan.remote else InMemoryStore()
    kit = RoomKit(
        store,
        clock=VirtualClock(),
        plugins=PLUGINS,
        retry_policy=PATIENT,
        process_timeout=600,
        single_process=True,
    )
    people = [FaultyChannel(f"c{number}", plan.seed, streaming=number == 3) for number in range(4)]
    agents = [
        EchoAgent("bot", plan.seed),
        EchoAgent("streamer", plan.seed, streaming=True, word_delay=0.1),
    ]
    for channel in (*people, *agents):
        kit.register_channel(channel)
    for room_id in rooms:
        await kit.create_room(room_id)
        for channel in (*people, *agents):
            await kit.attach_channel(room_id, channel.channel_id)
    if plan.gated:

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event, context):
            await asyncio.sleep(0.01)  # virtual time
            return HookResult.block("bad") if text_of(event.content).endswith("3") else HookResult.allow()

    return kit, people, agents


async def talk(kit, plan, number, room_id, results):
    """Say a row of things over random channels, some of them twice."""
    dice = random.Random(f"{plan.seed} {room_id} {number}")
    for count in range(plan.messages):
        await asyncio.sleep(dice.random() * 0.3)  # virtual time
        message = InboundMessage(
            channel_id=f"c{dice.randrange(4)}",
            sender_id=f"sender {number}",
            content=TextContent(body=f"{room_id} {number} {count}"),
            visibility=dice.choice(VISIBILITIES),
            idempotency_key=f"{number} {count}",
        )
        wait = dice.choice(("settled", "committed"))
        calls = [kit.process_inbound(message, room_id=room_id, wait=wait)]
        if dice.random() < 0.2:
            calls.append(kit.process_inbound(message, room_id=room_id, wait=wait))
        results.append(await asyncio.gather(*calls))


async def check_room(kit, room_id, people):
    """Assert that the room's history is right for each of its people."""
    timeline = await kit.get_timeline(room_id, limit=100_000)
    assert [event.index for event in timeline] == list(range(len(timeline)))
    rows = {row.id: row for row in await kit.list_deliveries(room_id, limit=1_000_000)}
    assert all(row.state is not DeliveryState.PENDING for row in rows.values())
    bindings = {one.channel_id: one for one in await kit.list_bindings(room_id)}
    witnesses = []
    for channel in people:
        channel_id = channel.channel_id

        def arrived(event, channel_id=channel_id):
            row = rows.get(f"{event.id}:{channel_id}")
            return event.type is EventType.MESSAGE and (row is None or row.state is DeliveryState.SENT)

        witnesses.append(Witness(bindings[channel_id], channel.events(room_id), wants=arrived))
        for row in rows.values():
            if row.channel_id == channel_id and row.state is DeliveryState.FAILED:
                assert row.error.code == ErrorCode.INVALID_RECIPIENT
    assert_history(timeline, witnesses)
    return timeline


def check_idle(kit):
    """Assert that nothing is left of the storm."""
    assert len(kit._kernel.ground.supervisor) == 0
    assert len(kit._kernel.work.lanes) == 0
    assert not kit._kernel.entry.inbound._in_flight
    assert not any(lock.held for lock in kit._kernel.ground.locks._known.values())


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans)
def test_one_room_hammered_by_many_senders(plan):
    """Index strictly rises, each recipient sees order, nothing twice, nothing lost, nothing betrayed."""

    async def storm():
        kit, people, agents = await opened(plan)
        results = []
        async with asyncio.TaskGroup() as group:
            for number in range(plan.senders):
                group.create_task(talk(kit, plan, number, "r", results))
        assert await kit._kernel.ground.supervisor.drain(86_400)
        timeline = await check_room(kit, "r", people)
        assert not any(channel.overlaps for channel in people)
        said = {event.idempotency_key: event for event in timeline if event.idempotency_key}
        assert len(said) == plan.senders * plan.messages
        for first, *again in results:
            for result in (first, *again):
                event = said[result.event.idempotency_key]
                assert result.event.id == event.id
                assert result.blocked == (event.status is EventStatus.BLOCKED)
            assert sum(result.duplicate for result in (first, *again)) == len(again)
        check_answers(timeline, agents)
        check_idle(kit)
        await kit.close()

    run_virtual(storm())


def check_answers(timeline, agents):
    """Assert that each answer follows its question, and that no agent answered an event hidden from it."""
    events = {event.id: event for event in timeline}
    for event in timeline:
        if event.chain_depth:
            trigger = events[event.correlation_id]
            assert trigger.index < event.index
            assert admits(trigger.visibility, event.source.channel_id, ChannelCategory.INTELLIGENCE)
            assert trigger.status is not EventStatus.BLOCKED
    assert not any(agent.foreign for agent in agents)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans)
def test_many_rooms_on_the_same_channels_stay_apart(plan):
    """Nothing of one room is seen in another, though they share every channel and agent."""
    rooms = [f"room-{number}" for number in range(5)]

    async def storm():
        kit, people, agents = await opened(plan, rooms)
        results = []
        async with asyncio.TaskGroup() as group:
            for room_id in rooms:
                for number in range(2):
                    group.create_task(talk(kit, plan, number, room_id, results))
        assert await kit._kernel.ground.supervisor.drain(86_400)
        for room_id in rooms:
            timeline = await check_room(kit, room_id, people)
            for event in timeline:
                if event.type is EventType.MESSAGE:
                    assert room_id in text_of(event.content)
        assert not any(channel.foreign or channel.overlaps for channel in people)
        assert not any(agent.foreign for agent in agents)
        check_idle(kit)
        await kit.close()

    run_virtual(storm())


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_a_dead_provider_delays_no_other_room(remote):
    """Ninety rooms go on as fast as they would without the ten whose provider hangs."""

    class Dead(RecordingChannel):
        async def deliver(self, event, binding, context):
            await asyncio.Event().wait()

    async def storm(dead):
        kit, _, _ = await opened(Plan(1, 1, 3, remote, gated=False), rooms=())
        kit.register_channel(Dead("dead"))
        for number in range(100):
            await kit.create_room(f"room-{number}")
            for channel_id in ("c0", "c1"):
                await kit.attach_channel(f"room-{number}", channel_id)
            if dead and number < 10:
                await kit.attach_channel(f"room-{number}", "dead")
        started = asyncio.get_running_loop().time()

        async def one(number):
            message = InboundMessage(channel_id="c0", sender_id="s", content=TextContent(body="hello"))
            await kit.process_inbound(message, room_id=f"room-{number}")
            return asyncio.get_running_loop().time() - started

        ill = [asyncio.ensure_future(one(number)) for number in range(10)]
        took = await asyncio.gather(*(one(number) for number in range(10, 100)))
        assert [task.done() for task in ill].count(False) == (10 if dead else 0) or not dead
        for task in ill:
            task.cancel()
        await asyncio.wait(ill)
        await kit.close()
        return max(took)

    assert run_virtual(storm(dead=True)) <= run_virtual(storm(dead=False)) + 2


class RoomMachine(RuleBasedStateMachine):
    """A room beside the simplest model of it: who sees what, and what the timeline holds."""

    names = ("a", "b", "c")

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.run = self.runner.run
        self.channels = {name: RecordingChannel(name) for name in self.names}
        self.bound = {}
        self.detached = set()
        self.open = True
        self.said = []
        self.expected = defaultdict(list)
        self.count = 0

    @initialize(remote=st.booleans())
    def begin(self, remote):
        async def start():
            store = RemoteStore(7) if remote else InMemoryStore()
            self.kit = RoomKit(store, clock=VirtualClock(), plugins=PLUGINS, single_process=True)
            for channel in self.channels.values():
                self.kit.register_channel(channel)
            await self.kit.create_room("r")

        self.run(start())

    def teardown(self):
        if hasattr(self, "kit"):
            self.run(self.kit.close())
        self.runner.close()

    def _attached(self, name):
        return self.bound.setdefault(name, {"access": Access.READ_WRITE, "muted": False, "sees": "all"})

    @rule(name=st.sampled_from(names), visibility=st.sampled_from(["all", "none", "b", "a,c", "transport"]))
    def say(self, name, visibility):
        """A message from outside attaches its channel, unless that was taken away."""
        self.count += 1
        text = f"message {self.count}"
        message = InboundMessage(
            channel_id=name, sender_id=name, content=TextContent(body=text), visibility=visibility
        )
        result = self.run(self.kit.process_inbound(message, room_id="r"))
        if not self.open:
            assert result.reason == "room_closed"
            return
        if name not in self.bound and name in self.detached:
            assert result.reason == "channel_detached"
            return
        binding = self._attached(name)
        if binding["muted"] or not binding["access"].can_write:
            assert result.reason == ("source_muted" if binding["access"].can_write else "source_read_only")
            self.said.append((text, EventStatus.BLOCKED))
            return
        assert not result.blocked
        self.said.append((text, EventStatus.DELIVERED))
        for other, state in self.bound.items():
            if (
                other != name
                and state["access"].can_read
                and admits(visibility, other, ChannelCategory.TRANSPORT)
                and admits(binding["sees"], other, ChannelCategory.TRANSPORT)
            ):
                self.expected[other].append(text)

    @rule(name=st.sampled_from(names), access=st.sampled_from(Access))
    def attach(self, name, access):
        """A host's attachment replaces the one before."""
        if not self.open:
            with pytest.raises(RoomClosedError):
                self.run(self.kit.attach_channel("r", name))
            return
        self.run(self.kit.attach_channel("r", name, access=access))
        self.bound[name] = {"access": access, "muted": False, "sees": "all"}
        self.detached.discard(name)

    @rule(name=st.sampled_from(names))
    def detach(self, name):
        """Detaching is remembered."""
        if not self.open and name in self.bound:
            with pytest.raises(RoomClosedError):
                self.run(self.kit.detach_channel("r", name))
            return
        assert self.run(self.kit.detach_channel("r", name)) == (name in self.bound)
        if self.bound.pop(name, None) is not None:
            self.detached.add(name)

    @precondition(lambda self: self.bound)
    @rule(data=st.data(), muted=st.booleans(), sees=st.sampled_from(["all", "none", "b", "a,c"]))
    def change(self, data, muted, sees):
        """Muting and visibility hold from the next message on."""
        name = data.draw(st.sampled_from(sorted(self.bound)))
        if not self.open:
            with pytest.raises(RoomClosedError):
                self.run(self.kit.mute("r", name))
            return
        self.run(self.kit.mute("r", name) if muted else self.kit.unmute("r", name))
        self.run(self.kit.set_visibility("r", name, sees))
        self.bound[name] |= {"muted": muted, "sees": sees}

    @precondition(lambda self: self.count > 12)
    @rule()
    def close(self):
        """A closed room is closed for good."""
        self.run(self.kit.close_room("r"))
        self.open = False

    @invariant()
    def the_room_is_as_the_model_says(self):
        """Deliveries and timeline, after every step."""
        if not hasattr(self, "kit"):
            return
        for name, channel in self.channels.items():
            assert channel.texts() == self.expected[name]
        timeline = self.run(self.kit.get_timeline("r", limit=10_000))
        assert [event.index for event in timeline] == list(range(len(timeline)))
        messages = [event for event in timeline if event.type is EventType.MESSAGE]
        assert [(text_of(event.content), event.status) for event in messages] == self.said
        assert set(self.bound) == {one.channel_id for one in self.run(self.kit.list_bindings("r"))}


TestRoomMachine = RoomMachine.TestCase
TestRoomMachine.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
