"""What runs under a room's lock: gates, and nothing else that is foreign."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType, EventType, HookTrigger, IdentificationStatus
from roomkit.models.hook import GATES, HookResult, InjectedEvent
from roomkit.models.identity import Identity
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing import MockIdentityResolver, RecordingChannel, ScriptedIntelligence

pytestmark = pytest.mark.virtual_time

BEFORE = HookTrigger.BEFORE_BROADCAST


class TracedLocks(InMemoryLockManager):
    """Locks that know which rooms are held now."""

    def __init__(self):
        super().__init__()
        self.held = set()

    def locked(self, room_id):
        return self._traced(room_id)

    @asynccontextmanager
    async def _traced(self, room_id):
        async with super().locked(room_id):
            self.held.add(room_id)
            try:
                yield
            finally:
                self.held.discard(room_id)


class Tracer:
    """Notes foreign code that runs while the room it works for is held."""

    def __init__(self, locks):
        self.locks = locks
        self.calls = set()
        self.violations = []

    def note(self, what, room_id="r1"):
        self.calls.add(what)
        if room_id in self.locks.held:
            self.violations.append(what)

    def watch(self, channel):
        """Note every call of a channel's methods."""
        for name in ("handle_inbound", "deliver", "deliver_stream", "on_event", "update_binding"):
            setattr(channel, name, self._noting(name, getattr(channel, name)))
        return channel

    def _noting(self, name, method):
        async def noted(*args, **kwargs):
            self.note(name)
            try:
                return await method(*args, **kwargs)
            finally:
                self.note(name)

        return noted


@pytest.fixture
async def traced(staging):
    """Return a stage whose locks are traced, and where every observer and handler is."""
    locks = TracedLocks()
    alice = Identity(id="alice")
    resolver = MockIdentityResolver({"alice": alice})
    async with staging(lock_manager=locks, identity_resolver=resolver) as stage:
        stage.tracer = tracer = Tracer(locks)
        for trigger in HookTrigger:
            if trigger not in GATES:

                async def observer(payload, context, trigger=trigger):
                    tracer.note(trigger)

                stage.kit.hook(trigger, name=f"observe {trigger}")(observer)

        async def handler(event):
            tracer.note(f"handler of {event.type}")

        stage.kit.on("*")(handler)
        stage.kit.on("*")(handler)

        async def resolve(message, context, base=resolver.resolve):
            tracer.note("resolve")
            return await base(message, context)

        resolver.resolve = resolve
        yield stage


async def populate(stage):
    watch = stage.tracer.watch
    await stage.join(watch(RecordingChannel("alice")))
    await stage.join(watch(RecordingChannel("bob", streaming=True)))
    task = Task(id="t", room_id="r1", title="call")
    seen = Observation(id="o", room_id="r1", channel_id="bot", content="sad")
    answers = [ChannelOutput(response_events=[stage.event("a")], tasks=[task], observations=[seen])]
    await stage.join(watch(ScriptedIntelligence("bot", answers)))
    await stage.join(watch(ScriptedIntelligence("speaker", ["one two"], streaming=True)))
    await stage.join(watch(ScriptedIntelligence("broken", [ValueError("a bug")])))


async def test_no_foreign_code_but_gates_runs_under_a_room_lock(traced):
    """Channels, observers, resolvers and framework handlers are all called with the room free."""
    await populate(traced)

    @traced.kit.hook(BEFORE)
    async def gate(event, context):
        assert "r1" in traced.tracer.locks.held or event.generation is not None
        if text_of(event.content) == "bad":
            return HookResult.block("bad", [InjectedEvent(traced.event("note"), ["alice"])])
        return HookResult.allow([InjectedEvent(traced.event("note"), ["bob"])])

    await traced.say()
    await traced.say("bad")
    target = await traced.kit.send_event("r1", "alice", TextContent(body="b"), participant_id="alice")
    await traced.kit.edit_event("r1", target.id, TextContent(body="c"))
    await traced.kit.mute("r1", "bob")
    await traced.kit.unmute("r1", "bob")
    await traced.kit.detach_channel("r1", "bob")
    await traced.kit.close_room("r1")
    assert traced.tracer.violations == []
    assert traced.tracer.calls >= {
        "resolve",
        "handle_inbound",
        "deliver",
        "deliver_stream",
        "on_event",
        "update_binding",
        HookTrigger.AFTER_BROADCAST,
        HookTrigger.ON_ERROR,
        HookTrigger.ON_TASK_CREATED,
        HookTrigger.ON_OBSERVATION,
        HookTrigger.ON_PARTICIPANT_IDENTIFIED,
        HookTrigger.ON_CHANNEL_ATTACHED,
        HookTrigger.ON_CHANNEL_DETACHED,
        HookTrigger.ON_CHANNEL_MUTED,
        HookTrigger.ON_CHANNEL_UNMUTED,
        HookTrigger.ON_ROOM_CLOSED,
        "handler of event_blocked",
        "handler of delivery_succeeded",
        "handler of room_closed",
    }


@pytest.mark.parametrize("failure", ["raises", "late"])
async def test_a_failed_gate_is_told_with_the_room_free(traced, failure):
    """The handlers of `hook_error` are not run by the task that holds the lock."""
    await populate(traced)

    @traced.kit.hook(BEFORE, timeout=1)
    async def broken(event, context):
        if failure == "raises":
            raise ValueError("a bug")
        await asyncio.sleep(5)

    await traced.say()
    assert f"handler of hook_{'error' if failure == 'raises' else 'timeout'}" in traced.tracer.calls
    assert traced.tracer.violations == []


async def test_a_full_lane_is_told_with_the_room_free(staging):
    """What a commit finds no place for is refused after the lock."""
    locks = TracedLocks()
    async with staging(lock_manager=locks, max_lane_backlog=1) as stage:
        tracer = Tracer(locks)

        async def handler(event):
            tracer.note(f"handler of {event.type}")

        stage.kit.on("delivery_failed")(handler)
        await stage.socket("alice")
        await stage.socket("bob", delay=5)
        await asyncio.gather(*(stage.say(str(number)) for number in range(4)))
        assert tracer.calls == {"handler of delivery_failed"}
        assert tracer.violations == []


@pytest.mark.parametrize("act", ["attach", "detach", "mute", "close", "resolve", "ban", "timers"])
async def test_what_a_gate_changes_is_observed_with_the_room_free(traced, act):
    """From inside a gate a change is made at once; its observers and its channel hear of it afterwards."""
    await populate(traced)
    traced.kit.register_channel(traced.tracer.watch(RecordingChannel("late")))
    await traced.kit.store.create_identity(Identity(id="bob"))
    await traced.kit.ensure_participant("r1", "bob", "bob")
    kit = traced.kit
    acts = {
        "attach": lambda: kit.attach_channel("r1", "late"),
        "detach": lambda: kit.detach_channel("r1", "bob"),
        "mute": lambda: kit.mute("r1", "bob"),
        "close": lambda: kit.close_room("r1"),
        "resolve": lambda: kit.resolve_participant("r1", "bob", "bob"),
        "ban": lambda: kit.remove_participant("r1", "bob", banned=True),
        "timers": lambda: kit.check_room_timers("r1"),
    }
    heard = {
        "attach": HookTrigger.ON_CHANNEL_ATTACHED,
        "detach": HookTrigger.ON_CHANNEL_DETACHED,
        "mute": HookTrigger.ON_CHANNEL_MUTED,
        "close": HookTrigger.ON_ROOM_CLOSED,
        "resolve": HookTrigger.ON_PARTICIPANT_IDENTIFIED,
    }
    traced.tracer.calls.clear()
    done = []

    @kit.hook(BEFORE)
    async def gate(event, context):
        if event.type is EventType.MESSAGE and not done:
            done.append(act)
            await acts[act]()
        return HookResult.allow()

    await traced.say()
    await traced.idle()
    assert done == [act]
    assert traced.tracer.violations == []
    if act in heard:
        assert heard[act] in traced.tracer.calls


async def test_a_handler_that_writes_is_no_part_of_the_gate_it_heard_of(stage):
    await stage.socket("alice")
    bob = await stage.socket("bob")
    wrote = []

    async def apologise(event):
        wrote.append(await stage.kit.send_event("r1", "alice", TextContent(body="sorry")))

    stage.kit.on("hook_error")(apologise)

    @stage.kit.hook(BEFORE, on_error="allow")
    async def broken(event, context):
        if text_of(event.content) == "hello":
            raise ValueError("a bug")
        return HookResult.allow()

    await stage.say()
    await stage.idle()
    assert bob.texts() == ["hello", "sorry"]
    assert wrote[0].chain_depth == 0


async def test_an_observer_that_goes_on_and_on_leaves_nothing_behind_it(stage):
    """Work that sets work going does not remember all that came before it."""
    await stage.socket("alice")
    await stage.socket("bob")
    depths = []

    @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
    async def again(event, context):
        from roomkit.kernel.runtime.scope import _current

        depth, work = 0, _current.get()
        while work is not None:
            depth, work = depth + 1, work.parent
        depths.append(depth)
        if len(depths) < 300:
            await stage.kit.send_event("r1", "alice", TextContent(body=str(len(depths))))

    await stage.say()
    await stage.idle()
    assert len(depths) == 300
    assert max(depths) < 100


async def test_observers_do_not_hold_up_the_room(stage):
    await stage.socket("alice")
    bob = await stage.socket("bob")

    @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
    async def slow(event, context):
        await asyncio.sleep(20)

    first = stage.saying("one")
    await asyncio.sleep(1)
    await stage.say("two", wait="committed")
    assert bob.texts() == ["one", "two"]
    assert asyncio.get_running_loop().time() == 1
    await first


async def test_observers_run_beside_each_other_and_each_has_its_time(stage):
    await stage.socket("alice")
    ran = []

    def observer(name, seconds):
        async def observe(event, context):
            if event.type is EventType.MESSAGE:
                await asyncio.sleep(seconds)
                ran.append(name)

        return observe

    stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="slow", timeout=5)(observer("slow", 60))
    stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="quick", priority=9)(observer("quick", 1))
    stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="other")(observer("other", 1))
    result = await stage.say()
    assert asyncio.get_running_loop().time() == 5
    assert sorted(ran) == ["other", "quick"]
    assert isinstance(result.error, TimeoutError)
    assert stage.facts("hook_timeout")[0]["hook"] == "slow"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("a bug"), "hook_error"),
        (TimeoutError("its own"), "hook_error"),
        (asyncio.CancelledError("its own"), "hook_error"),
    ],
)
async def test_a_broken_observer_breaks_nothing_else(stage, error, kind):
    await stage.socket("alice")

    @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
    async def broken(event, context):
        if event.type is EventType.MESSAGE:
            raise error

    seen = stage.observe(HookTrigger.AFTER_BROADCAST)
    result = await stage.say()
    assert not result.blocked
    assert len([one for one in seen if one.type is EventType.MESSAGE]) == 1
    assert [type(error).__name__ in fact["error"] for fact in stage.facts(kind)] == [True]
    assert "event_processed" in stage.kinds()


async def test_identified_is_observed_beside_a_committed_wait(staging):
    """Who waits for the commit only does not wait for the observers of who it was."""
    resolver = MockIdentityResolver({"alice": Identity(id="person")})
    async with staging(identity_resolver=resolver) as stage:
        await stage.socket("alice")
        heard = []

        @stage.kit.hook(HookTrigger.ON_PARTICIPANT_IDENTIFIED)
        async def slow(event, context):
            await asyncio.sleep(20)
            heard.append(event)

        result = await stage.say(wait="committed")
        assert asyncio.get_running_loop().time() == 0
        assert result.event.source.participant_id == "person"
        await stage.idle()
        (event,) = heard
        assert event.type is EventType.PARTICIPANT_IDENTIFIED
        people = await stage.kit.list_participants("r1")
        assert [one.identification for one in people] == [IdentificationStatus.IDENTIFIED]
        message = InboundMessage(channel_id="alice", sender_id="alice", content=TextContent(body="x"))
        assert (await stage.kit.process_inbound(message, room_id="r1")).event.source.channel_type is (
            ChannelType.WEBSOCKET
        )
