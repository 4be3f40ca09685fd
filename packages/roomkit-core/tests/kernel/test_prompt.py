"""Deliveries that cannot wait take no lane, and differ from others in cost alone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta

import pytest

from roomkit.abc.channel import Channel
from roomkit.abc.errors import ErrorCode, NoHomeError, ProviderError
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.channel import ChannelCapabilities, ChannelOutput, RateLimit, RetryPolicy
from roomkit.models.content import RichContent, TextContent, text_of
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import Access, ChannelMediaType, ChannelType, HookTrigger
from roomkit.models.hook import HookResult

pytestmark = pytest.mark.virtual_time

RETRIES = RetryPolicy(max_retries=2, base_delay_seconds=1, jitter=0)


class Quick(Channel):
    """A channel that never waits: `behave` says what becomes of each delivery."""

    channel_type = ChannelType.WEBSOCKET
    is_joined = False

    def __init__(self, channel_id, behave=lambda channel, event, context: ChannelOutput.empty()):
        super().__init__(channel_id)
        self.behave = behave
        self.calls = []

    def capabilities(self):
        return ChannelCapabilities(media_types=(ChannelMediaType.TEXT, ChannelMediaType.RICH), max_length=100)

    async def handle_inbound(self, message, context):
        return self.event_of(message, context)

    def made(self, event, context):
        self.calls.append((text_of(event.content), context.delivery.id == f"{event.id}:{self.channel_id}"))
        return self.behave(self, event, context)

    async def deliver(self, event, binding, context):
        return self.made(event, context)


class Slow(Quick):
    """The same, but it may wait."""

    async def deliver(self, event, binding, context):
        await asyncio.sleep(0)
        return self.made(event, context)


class Panic(BaseException):
    """What an extension raises."""


def raising(error):
    def behave(channel, event, context):
        raise error

    return behave


def at_first(error, then):
    def behave(channel, event, context):
        if len(channel.calls) == 1:
            raise error
        return then

    return behave


def giving(output):
    return lambda channel, event, context: output


EMPTY = ChannelOutput.empty()
TAKEN = ProviderResult(success=True, provider_message_id="m1")
FINE = giving(EMPTY)
BUSY = ProviderError("busy", error_code=ErrorCode.CONNECTION, retryable=True)
BEHAVIOURS = {
    "nothing more": giving(EMPTY),
    "a skip": giving(ChannelOutput.skipped("no_connections")),
    "a reason without a skip": giving(ChannelOutput(skip_reason="none")),
    "a skip with no text": giving(ChannelOutput.skipped(4)),
    "a state of its own": giving(ChannelOutput(state="sent")),
    "no output": giving(None),
    "a provider's id": giving(ChannelOutput(provider_result=TAKEN)),
    "a refusal": giving(ChannelOutput(provider_result=ProviderResult(success=False, error="no such number"))),
    "state of the binding": giving(ChannelOutput(binding_state={"conversation": "c1"})),
    "other content": giving(ChannelOutput(rendered=TextContent(body="a template"))),
    "the heard text": giving(ChannelOutput(heard=2)),
    "a provider's error": raising(ProviderError("bad", error_code=ErrorCode.AUTH)),
    "an error for good": raising(BUSY),
    "an error at first": at_first(BUSY, EMPTY),
    "an id after an error": at_first(BUSY, ChannelOutput(provider_result=TAKEN)),
    "any error": raising(ValueError("oops")),
    "a cancellation of its own": raising(asyncio.CancelledError()),
    "a panic": raising(Panic("stack overflow")),
    "an exit of a generator": raising(GeneratorExit()),
    "no home": raising(NoHomeError("no call here")),
}


def later(name, value):
    """Return an attribute that changes once the channel is registered; an error is raised."""

    def read(self):
        if not self.is_joined:
            return getattr(Channel, name) if name != "provider_name" else None
        if isinstance(value, Exception):
            raise value
        return value

    return {name: property(read)}


CHANNELS = {
    "a rate limit that cannot be read": later("rate_limit", RuntimeError("not now")),
    "a provider that cannot be read": later("provider_name", RuntimeError("not now")),
    "providers that cannot be read": later("provider_names", RuntimeError("not now")),
    "a time that is none": later("delivery_timeout", "soon"),
    "a rate limit": {"rate_limit": RateLimit(max_per_second=1)},
    "a provider": {"provider_name": "acme"},
    "following": later("follows_rooms", True),
    "a purpose": {"consent_purpose": lambda self, event, binding: "marketing"},
}
BINDINGS = {
    "a rate limit": {"rate_limit": RateLimit(max_per_second=1)},
    "a recipient's rate limit": {"recipient_rate_limit": RateLimit(max_per_second=1)},
}


async def outcome(staging, kind, behave=FINE, *, texts=("one", "two"), **binding):
    """Return all that can be seen of messages through a channel of that kind."""
    async with staging(retry_policy=RETRIES) as stage:
        await stage.socket("alice")
        bob = await stage.join(kind("bob", behave), **binding)
        bob.is_joined = True
        results = [await stage.say(text) for text in texts]
        await stage.idle()
        rows = [
            row.model_dump(exclude={"id", "event_id", "created_at", "finished_at", "duration_ms"})
            for row in await stage.kit.list_deliveries("r1", channel_id="bob")
        ]
        state = (await stage.kit.get_binding("r1", "bob")).state
        seen = [result.delivery_results["bob"] for result in results]
        return bob.calls, rows, state, seen, [one for one in stage.kinds() if one != "delivery_succeeded"]


@pytest.mark.parametrize("behave", BEHAVIOURS.values(), ids=BEHAVIOURS)
async def test_the_outcome_is_that_of_a_channel_that_may_wait(staging, behave):
    """Whatever the channel returns or raises, for it and for the next message."""
    assert await outcome(staging, Quick, behave) == await outcome(staging, Slow, behave)


@pytest.mark.parametrize("own", CHANNELS.values(), ids=CHANNELS)
async def test_the_channels_own_facts_count_as_ever(staging, own):
    quick, slow = (type(kind.__name__, (kind,), own) for kind in (Quick, Slow))
    assert await outcome(staging, quick) == await outcome(staging, slow)


@pytest.mark.parametrize("fields", BINDINGS.values(), ids=BINDINGS)
async def test_the_bindings_limits_count_as_ever(staging, fields):
    assert await outcome(staging, Quick, **fields) == await outcome(staging, Slow, **fields)


@pytest.mark.parametrize(
    "content",
    [RichContent(body="**bold**"), TextContent(body="long " * 50)],
    ids=["another kind of content", "a long text"],
)
async def test_content_that_has_to_be_fitted_is_fitted(staging, content):
    assert await outcome(staging, Quick, texts=(content,)) == await outcome(staging, Slow, texts=(content,))


async def test_a_channel_whose_deliver_is_replaced_may_wait(stage):
    """By an object's own attribute, or in its class."""
    await stage.socket("alice")
    bob, carol = await stage.join(Quick("bob")), await stage.join(type("Own", (Quick,), {})("carol"))

    async def deliver(event, binding, context):
        await asyncio.sleep(1)
        return EMPTY

    async def of_class(self, event, binding, context):
        return await deliver(event, binding, context)

    await stage.say()
    bob.deliver = deliver
    type(carol).deliver = of_class
    started = asyncio.get_running_loop().time()
    result = await stage.say()
    assert [one.state for one in result.delivery_results.values()] == ["sent", "sent"]
    assert asyncio.get_running_loop().time() - started == 1
    assert (len(bob.calls), len(carol.calls)) == (1, 1)


@pytest.mark.parametrize("kinds", [(Quick, Quick), (Quick, Slow), (Slow, Quick)])
async def test_what_a_delivery_writes_at_once_comes_after_it_everywhere(stage, kinds):
    """The task that it leaves behind commits before the other channel has the first event."""
    left, inside = [], []

    def behave(channel, event, context):
        inside.append(f"+{text_of(event.content)}")
        if text_of(event.content) == "hello":
            echo = stage.kit.send_event("r1", "alice", TextContent(body="echo"))
            left.append(asyncio.Task(echo, loop=asyncio.get_running_loop(), eager_start=True))
        inside.append(f"-{text_of(event.content)}")
        return EMPTY

    await stage.socket("alice")
    bob = await stage.join(kinds[0]("bob", behave))
    carol = await stage.join(kinds[1]("carol"))
    await stage.say()
    await asyncio.gather(*left)
    await stage.idle()
    assert inside == ["+hello", "-hello", "+echo", "-echo"]
    assert [text for text, _ in bob.calls] == [text for text, _ in carol.calls] == ["hello", "echo"]


async def test_a_context_variable_of_a_delivery_is_not_the_callers(stage):
    own = ContextVar("own", default="the caller's")

    def behave(channel, event, context):
        own.set("the channel's")
        return EMPTY

    await stage.socket("alice")
    bob = await stage.join(Quick("bob", behave))
    await stage.say()
    assert len(bob.calls) == 1
    assert own.get() == "the caller's"


async def test_what_a_gate_writes_goes_out_before_what_it_judges(stage):
    """Both once the room's lock is free, to one that may wait and one that may not."""
    await stage.socket("alice")
    bob, carol = await stage.join(Quick("bob")), await stage.join(Slow("carol"))
    under_way = []

    async def gate(event, context):
        if text_of(event.content) == "hello":
            await stage.kit.send_event("r1", "alice", TextContent(body="first"))
            under_way.append((*bob.calls, *carol.calls))
        return HookResult.allow()

    stage.kit.hook(HookTrigger.BEFORE_BROADCAST)(gate)
    await stage.say()
    await stage.idle()
    assert under_way == [()]
    assert [text for text, _ in bob.calls] == [text for text, _ in carol.calls] == ["first", "hello"]


class LateRelease(InMemoryLockManager):
    """Its first release takes until the test lets it: the commit's deliveries are not started yet."""

    def __init__(self):
        super().__init__()
        self.waits = False
        self.free = asyncio.Event()

    @asynccontextmanager
    async def locked(self, room_id):
        async with super().locked(room_id) as fence:
            yield fence
        if self.waits:
            self.waits = False
            await self.free.wait()


@pytest.mark.parametrize("kind", [Quick, Slow])
async def test_a_commit_that_is_not_started_keeps_its_place(staging, kind):
    locks = LateRelease()
    async with staging(lock_manager=locks) as stage:
        await stage.socket("alice")
        bob = await stage.join(kind("bob"))
        locks.waits = True
        first = stage.saying("one")
        await asyncio.sleep(1)
        assert bob.calls == []
        second = await stage.say("two")
        assert second.delivery_results["bob"].state == "sent"
        assert [text for text, _ in bob.calls] == ["one", "two"]
        locks.free.set()
        assert (await first).delivery_results["bob"].state == "sent"


@pytest.mark.parametrize("kind", [Quick, Slow])
async def test_a_commit_that_is_not_started_can_be_erased(staging, kind):
    """An erasure finds the deliveries of a commit wherever they wait."""
    locks = LateRelease()
    async with staging(lock_manager=locks) as stage:
        await stage.socket("alice")
        bob = await stage.join(kind("bob"))
        locks.waits = True
        said = stage.saying("a secret")
        await asyncio.sleep(1)
        await stage.kit.erase_person(participant_id="alice")
        locks.free.set()
        result = await said
        assert bob.calls == []
        assert result.delivery_results["bob"].reason == "erased"


async def test_each_delivery_has_its_own_duration_and_end(staging):
    """Also where they are made one after the other, and each keeps the loop for a time."""

    def busy(channel, event, context):
        asyncio.get_running_loop()._now += 2
        return EMPTY

    async with staging() as stage:
        await stage.socket("alice")
        for name in ("bob", "eve"):
            await stage.join(Quick(name, busy))
        await stage.say("one")
        bob, eve = [row for row in await stage.kit.list_deliveries("r1") if row.channel_id in {"bob", "eve"}]
    assert (bob.duration_ms, eve.duration_ms) == (2000, 2000)
    assert eve.finished_at - bob.finished_at == timedelta(seconds=2)


async def test_a_channel_registered_in_place_of_another_gets_the_next_message(staging):
    """And one attached with other rights."""
    async with staging() as stage:
        await stage.socket("alice")
        first = await stage.join(Quick("bob"))
        await stage.say("one")
        await stage.kit.unregister_channel("bob")
        second = Quick("bob")
        stage.kit.register_channel(second)
        await stage.say("two")
        await stage.kit.set_access("r1", "bob", Access.WRITE_ONLY)
        await stage.say("three")
    assert [text for text, _ in first.calls] == ["one"]
    assert [text for text, _ in second.calls] == ["two"]
