"""Late results do not count; work that does not end when cancelled is abandoned: over all foreign code."""

from __future__ import annotations

import asyncio
import dis
import time
from contextlib import suppress
from typing import Any
from unittest.mock import AsyncMock

import pytest

from roomkit.abc.identity import IdentityResolver
from roomkit.abc.router import InboundRoomRouter
from roomkit.abc.transcoder import ContentTranscoder
from roomkit.authoring.coroutines import may_wait
from roomkit.authoring.source import BaseSourceProvider
from roomkit.models.channel import ChannelOutput, RetryPolicy
from roomkit.models.content import MediaContent, TextContent, text_of
from roomkit.models.enums import DeliveryState, EventStatus, HookTrigger, IdentificationStatus
from roomkit.models.hook import HookResult
from roomkit.models.identity import Identity, IdentityHookResult, IdentityResult
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence

pytestmark = pytest.mark.virtual_time

BEFORE, AFTER = HookTrigger.BEFORE_BROADCAST, HookTrigger.AFTER_BROADCAST
DEADLINE, BOUND = 2.0, 3.0
OPTIONS = {
    "process_timeout": 30.0,
    "identity_timeout": DEADLINE,
    "delivery_timeout": DEADLINE,
    "agent_timeout": 10.0,
    "abandon_after": BOUND,
    "retry_policy": RetryPolicy(max_retries=0),
}


class Deaf:
    """Foreign code with a bare except in a loop: it ends when the test says so, whatever cancels it."""

    def __init__(self) -> None:
        self.over = False
        self.calls = 0
        self.cancelled = 0

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls > 1:
            return self.answer()
        while not self.over:
            try:
                await asyncio.sleep(1000)
            except BaseException:  # noqa: BLE001  # the fault under test
                self.cancelled += 1
        return self.answer()

    def answer(self) -> Any:
        return None


def now() -> float:
    return asyncio.get_running_loop().time()


def swallowing(result: Any) -> Any:
    """Make a coroutine function that hangs, swallows its cancellation once, and then returns."""

    async def late(*args: Any, **kwargs: Any) -> Any:
        with suppress(BaseException):  # the fault under test
            await asyncio.sleep(60)
        return result

    return late


# -- late results ---------------------------------------------------------------------------------


class TestLateResults:
    @pytest.mark.parametrize("process_timeout", [30.0, 0.2], ids=["its own deadline", "the whole's"])
    async def test_a_gate_that_swallows_its_cancellation_blocks(self, staging, process_timeout):
        async with staging(process_timeout=process_timeout) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob")
            stage.kit.hook(BEFORE, timeout=0.3)(swallowing(HookResult.allow()))
            result = await stage.say()
            assert result.blocked
            assert result.reason == ("hook_timeout" if process_timeout > 1 else "process_timeout")
            assert bob.texts() == []

    async def test_a_gate_that_keeps_the_loop_is_late_too(self, stage):
        await stage.socket("alice")

        @stage.kit.hook(BEFORE, timeout=0.01)
        async def gate(event, context):
            end = time.monotonic() + 0.02
            while time.monotonic() < end:
                pass
            await asyncio.sleep(0.02)
            return HookResult.allow()

        assert (await stage.say()).reason == "hook_timeout"

    @pytest.mark.parametrize("where", ["handle_inbound", "route", "router"])
    async def test_what_swallows_the_whole_deadline_commits_nothing(self, staging, where):
        """The message is refused as late, though its event came in the end."""
        options = {"inbound_router": _Router(swallowing("r1"))} if where == "router" else {}
        async with staging(process_timeout=1, **options) as stage:
            alice = await stage.socket("alice")
            if where == "handle_inbound":
                alice.handle_inbound = swallowing(stage.event("late", channel="alice"))
            if where == "route":
                alice.route = swallowing("r1")
            result = await stage.say(room="r1" if where == "handle_inbound" else None)
            assert (result.blocked, result.reason) == (True, "process_timeout")
            assert await stage.texts() == []

    async def test_an_agent_that_swallows_its_time_says_nothing(self, staging):
        """Its turn failed when its time was up."""
        async with staging(agent_timeout=1) as stage:
            await stage.socket("alice")
            bot = await stage.agent("bot")
            answer = stage.event("too late", channel="bot")
            bot.on_event = swallowing(ChannelOutput(response_events=[answer]))
            result = await stage.say()
            assert result.delivery_results["bot"].error.code == "timeout"
            assert await stage.texts() == ["hello"]

    async def test_a_stream_that_goes_on_after_its_time_is_cut_there(self, staging):
        """What people saw in time is the answer."""

        class Stubborn(ScriptedIntelligence):
            async def on_event(self, event, binding, context):
                return ChannelOutput(response_stream=self.stream())

            async def stream(self):
                yield "in time "
                with suppress(BaseException):  # the fault under test
                    await asyncio.sleep(60)
                yield "too late"

        async with staging(agent_timeout=1) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob", streaming=True)
            await stage.join(Stubborn("bot"))
            result = await stage.say()
            assert result.delivery_results["bot"].error.code == "timeout"
            assert await stage.texts() == ["hello", "in time "]
            assert bob.texts() == ["hello", "in time "]

    async def test_a_resolver_that_swallows_its_time_knows_nobody(self, staging):
        """The sender is as unknown as with a resolver that is down."""
        ann = IdentityResult(status=IdentificationStatus.IDENTIFIED, identity=Identity(id="ann"))
        async with staging(identity_timeout=1, identity_resolver=_Resolver(swallowing(ann))) as stage:
            await stage.socket("alice")
            event = (await stage.say()).event
            assert event.source.participant_id == "alice"
            assert stage.facts("identity_timeout")


class _Router(InboundRoomRouter):
    def __init__(self, act):
        self.act = act

    async def route(self, channel_id, channel_type, participant_id=None, *, message=None):
        return await self.act()


class _Resolver(IdentityResolver):
    def __init__(self, act):
        self.act = act

    async def resolve(self, message, context):
        return await self.act()


class _Transcoder(ContentTranscoder):
    def __init__(self, act):
        self.act = act

    async def transcode(self, content, source_binding, target_binding):
        return await self.act()


class _Session(BaseSourceProvider):
    name = "deaf"

    def __init__(self, act):
        super().__init__()
        self.act = act

    async def start(self, emit):
        await self.act()


# -- what never ends ------------------------------------------------------------------------------


async def gate(stage, deaf):
    """A gate: its message is refused, and the room's lock is free again."""
    stage.kit.hook(BEFORE, timeout=DEADLINE)(_hook(deaf, HookResult.allow()))
    assert (await stage.say()).reason == "hook_timeout"


async def gate_past_everything(stage, deaf):
    """A gate with more time than the message has."""
    stage.kit.hook(BEFORE, timeout=1000)(_hook(deaf, HookResult.allow()))
    assert (await stage.say()).reason == "process_timeout"


async def segment_gate(stage, deaf):
    """A gate on a segment of a streamed answer."""
    carol = await stage.socket("carol", streaming=True)

    async def judge(event, context):
        if event.generation is not None:
            await deaf()
        return HookResult.allow()

    stage.kit.hook(BEFORE, timeout=DEADLINE)(judge)
    await stage.agent("bot", ["an answer"], streaming=True)
    await stage.say()
    assert await stage.refused() == [("judge", "hook_timeout")]
    assert carol.texts() == ["hello"]


async def observer(stage, deaf):
    """An observer: its message settles all the same."""
    stage.kit.hook(AFTER, timeout=DEADLINE)(_hook(deaf, None))
    assert not (await stage.say()).blocked
    assert stage.facts("hook_timeout")


async def observers_beside_others(stage, deaf):
    """One of two observers: the other one is not disturbed."""
    seen = stage.observe(AFTER)
    await observer(stage, deaf)
    assert len(seen) == 1


async def resolver(stage, deaf):
    """An identity resolver: the sender is unknown."""
    stage.kit._kernel.entry.desk.resolver = _Resolver(deaf)
    assert not (await stage.say()).blocked
    assert stage.facts("identity_timeout")


async def identity_hook(stage, deaf):
    """An identity hook: it decides nothing, so the sender is not let in."""

    async def unknown():
        return IdentityResult(status=IdentificationStatus.UNKNOWN)

    stage.kit._kernel.entry.desk.resolver = _Resolver(unknown)

    async def decide(event, context, result):
        return await deaf() or IdentityHookResult.reject("no")

    stage.kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN, timeout=DEADLINE)(decide)
    assert (await stage.say()).reason == "identity_hook_failed"
    stage.kit._kernel.entry.desk.resolver = None


async def router(stage, deaf):
    """A router: the message is late."""
    deaf.answer = lambda: "r1"
    stage.kit._kernel.entry.inbound.finder.router = _Router(deaf)
    assert (await stage.say(room=None)).reason == "process_timeout"


async def parser(stage, deaf):
    """`handle_inbound`: the message is late."""
    alice = stage.kit.channels["alice"]
    deaf.answer = lambda: stage.event("parsed", channel="alice")
    alice.handle_inbound = deaf
    assert (await stage.say()).reason == "process_timeout"


async def session(stage, deaf):
    """`connect_session`: the message is committed, the result says what failed."""
    stage.kit.channels["alice"].connect_session = deaf
    result = await stage.say(session=object())
    assert not result.blocked
    assert isinstance(result.error, TimeoutError)


async def binding(stage, deaf):
    """`update_binding`: the change is committed, and the failure is reported."""
    stage.kit.channels["bob"].update_binding = deaf
    await stage.kit.mute("r1", "bob")
    await stage.kit.unmute("r1", "bob")
    assert stage.facts("background_error")


async def deliver(stage, deaf):
    """`deliver`: the row says why, and the lane goes on."""
    stage.kit.channels["bob"].deliver = _output(deaf)
    result = await stage.say()
    assert result.delivery_results["bot2"].success
    row = (await stage.ledger(result.event))["bob"]
    assert (row.state, row.error.code) == (DeliveryState.FAILED, "timeout")


async def deliver_with_a_queue(stage, deaf):
    """`deliver`, with more waiting behind it: they are delivered in order."""
    texts = []
    act = _output(deaf)

    async def in_order(event, binding, context):
        output = await act()
        texts.append(text_of(event.content))
        return output

    stage.kit.channels["bob"].deliver = in_order
    await asyncio.gather(*(stage.say(word) for word in ("one", "two", "three")))
    assert texts == ["two", "three"]


async def stream(stage, deaf):
    """`deliver_stream`: the answer is committed, the row says why."""
    bob = stage.kit.channels["bob"]
    bob._streaming, bob.stream_idle_timeout = True, 30.0
    bob.deliver_stream = _output(deaf)
    await stage.agent("bot", ["an answer"], streaming=True)
    await stage.say()
    answer = (await stage.timeline())[-1]
    assert text_of(answer.content) == "an answer"
    assert (await stage.ledger(answer))["bob"].error.code == "timeout"
    bob._streaming = False


async def agent(stage, deaf):
    """`on_event`, as a tool in a loop makes it: the turn failed."""
    bot = await stage.agent("bot")
    bot.on_event = _output(deaf)
    result = await stage.say()
    assert result.delivery_results["bot"].error.code == "timeout"
    assert len(stage.facts("agent_failed")) == 1


async def agents_stream(stage, deaf):
    """An agent's stream: what people saw is committed."""
    bob = stage.kit.channels["bob"]
    bob._streaming = True

    class Bot(ScriptedIntelligence):
        async def on_event(self, event, binding, context):
            return ChannelOutput(response_stream=self.stream(event))

        async def stream(self, event):
            yield f"to {text_of(event.content)} "
            await deaf()
            yield "for ever"

    await stage.join(Bot("bot"))
    result = await stage.say()
    assert result.delivery_results["bot"].error.code == "timeout"
    assert await stage.texts() == ["hello", "to hello "]
    bob._streaming = False
    deaf.calls = 5


async def transcoder(stage, deaf):
    """A transcoder: the delivery failed."""
    deaf.answer = lambda: TextContent(body="a picture")
    stage.kit._kernel.work.lanes.executor._deliverer._transcoder = _Transcoder(deaf)
    result = await stage.say(MediaContent(url="https://example.com/a.png", mime_type="image/png"))
    assert result.delivery_results["bob"].error.code == "timeout"


async def source(stage, deaf):
    """A source: detaching it comes to its end."""
    await stage.kit.attach_source("alice", _Session(deaf))
    await asyncio.sleep(1)
    await stage.kit.detach_source("alice")


CASES = [
    gate,
    gate_past_everything,
    segment_gate,
    observer,
    observers_beside_others,
    resolver,
    identity_hook,
    router,
    parser,
    session,
    binding,
    deliver,
    deliver_with_a_queue,
    stream,
    agent,
    agents_stream,
    transcoder,
    source,
]


def _hook(deaf, verdict):
    async def hook(event, context):
        await deaf()
        return verdict

    return hook


def _output(deaf):
    async def act(*args):
        return await deaf() or ChannelOutput.empty()

    return act


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_what_ignores_its_cancellation_holds_nothing(staging, case):
    """Neither its caller, nor its lane, nor its room's lock; it is counted and reported once."""
    deaf = Deaf()
    async with staging(**OPTIONS) as stage:
        await stage.socket("alice")
        await stage.socket("bob")
        await stage.agent("bot2")
        try:
            await case(stage, deaf)
            assert now() < 30 + 2 * BOUND
            before = now()
            result = await stage.say("next")
            assert not result.blocked
            assert result.delivery_results["bob"].success
            assert now() - before < 1

            assert deaf.cancelled >= 1
            assert stage.kit._kernel.ground.supervisor.abandoned == 1
            (fact,) = stage.facts("work_abandoned")
            assert fact["seconds"] == BOUND
        finally:
            deaf.over = True
            stage.kit._kernel.ground.supervisor.cancel_abandoned()


async def test_a_caller_comes_back_when_the_kit_closes_on_deaf_code(bare_stage):
    """Long before the code's own deadline; the row stays pending for the next start."""
    deaf, deaf_too = Deaf(), Deaf()
    stage = await bare_stage(delivery_timeout=1000, agent_timeout=1000, close_timeout=4).open()
    await stage.socket("alice")
    bob = await stage.socket("bob")
    bob.deliver = _output(deaf)
    bot = await stage.agent("bot")
    bot.on_event = _output(deaf_too)
    talking = stage.saying()
    await asyncio.sleep(1)
    try:
        with pytest.raises(ExceptionGroup, match="not all of it went well"):
            await stage.kit.close()
        async with asyncio.timeout(1):
            result = await talking
        assert result.event.status is not EventStatus.BLOCKED
    finally:
        deaf.over = deaf_too.over = True
        stage.kit._kernel.ground.supervisor.cancel_abandoned()


async def test_deaf_code_on_its_way_back_changes_nothing(staging):
    """A delivery that was abandoned returns much later: it is neither sent nor counted again."""
    deaf = Deaf()
    async with staging(**OPTIONS) as stage:
        await stage.socket("alice")
        bob = await stage.socket("bob")
        bob.deliver = _output(deaf)
        result = await stage.say()
        assert result.delivery_results["bob"].error.code == "timeout"
        deaf.over = True
        for task in list(stage.kit._kernel.ground.supervisor._abandoned):
            task.cancel()
        await asyncio.sleep(10)
        assert not stage.kit._kernel.ground.supervisor._abandoned
        assert (await stage.ledger(result.event))["bob"].error.code == "timeout"
        assert len(stage.facts("delivery_failed")) == 1


def test_only_what_awaits_can_wait() -> None:
    """A coroutine function without an await never leaves its caller's step of the loop."""

    async def prompt(event, context):
        return HookResult.allow()

    async def awaiting(event, context):
        await asyncio.sleep(0)

    async def looping(event, context):
        async for _ in event:
            pass

    async def managing(event, context):
        async with event:
            pass

    class Callable:
        async def __call__(self, event, context):
            return None

    assert [may_wait(one) for one in (prompt, awaiting, looping, managing)] == [False, True, True, True]
    assert may_wait(Callable())
    assert may_wait(AsyncMock())  # it says that it has code, which is a mock too
    assert may_wait(lambda event, context: awaiting(event, context))
    assert not may_wait(RecordingChannel("a").handle_inbound)


async def test_whether_a_function_may_wait_is_found_out_once(monkeypatch):
    """Its instructions are read at the first message, and not at each."""
    made: dict[str, Any] = {}
    exec("async def waiting():\n    await None\n\nasync def prompt():\n    return None\n", made)
    read, instructions_of = [], dis.get_instructions
    monkeypatch.setattr(dis, "get_instructions", lambda code: read.append(code) or instructions_of(code))
    for _ in range(3):
        assert may_wait(made["waiting"])
        assert not may_wait(made["prompt"])
    assert read == [made["waiting"].__code__, made["prompt"].__code__]
