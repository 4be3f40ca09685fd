"""Foreign code that raises CancelledError by itself has failed: it cancels no other task."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import RoomKitError, SelfCancelledError
from roomkit.models.channel import RateLimit
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState, EventStatus, HookTrigger
from roomkit_plugins.testing import MockIdentityResolver, RecordingChannel

pytestmark = pytest.mark.virtual_time


async def at_once(*args, **kwargs):
    raise asyncio.CancelledError


async def later(*args, **kwargs):
    await asyncio.sleep(1)
    raise asyncio.CancelledError


async def of_other_work(*args, **kwargs):
    other = asyncio.ensure_future(asyncio.sleep(10))
    asyncio.get_running_loop().call_later(1, other.cancel)
    await other


each_way = pytest.mark.parametrize("cancelled", [at_once, later, of_other_work], ids=lambda way: way.__name__)


def is_undisturbed():
    return not asyncio.current_task().cancelling()


@each_way
async def test_handle_inbound(stage, cancelled):
    """Its caller gets a typed error that names it."""
    alice = await stage.socket("alice")
    alice.handle_inbound = cancelled
    with pytest.raises(SelfCancelledError, match="handle_inbound of channel alice"):
        await stage.say("hello")
    assert is_undisturbed()


@each_way
async def test_route(stage, cancelled):
    """As handle_inbound."""
    alice = await stage.socket("alice")
    alice.route = cancelled
    with pytest.raises(SelfCancelledError, match="route of channel alice"):
        await stage.say("hello", room=None)
    assert is_undisturbed()


@pytest.mark.parametrize("code", ["pace_key", "rate_limit", "provider_name"])
async def test_a_plain_method_or_property_of_a_channel(stage, code):
    """The delivery has failed, and the next message is delivered."""

    def cancelled(*_arguments):
        raise asyncio.CancelledError

    await stage.socket("alice")
    bob = await stage.socket("bob")
    bob.rate_limit = RateLimit(max_per_second=100)
    await stage.say("before")
    kind = type(bob)
    cancelling = type(
        kind.__name__, (kind,), {code: cancelled if code == "pace_key" else property(cancelled)}
    )
    bob.__class__ = cancelling
    await stage.say("hello")
    bob.__class__ = kind
    await stage.say("after")
    rows = {row.event_index: row.state for row in await stage.kit.list_deliveries("r1", channel_id="bob")}
    assert [rows[index] for index in sorted(rows)][-3:] == [
        DeliveryState.SENT,
        DeliveryState.FAILED,
        DeliveryState.SENT,
    ]


@each_way
async def test_a_router(stage, cancelled):
    """As handle_inbound."""
    await stage.socket("alice")
    stage.kit._kernel.entry.inbound.finder.router = type("Router", (), {"route": cancelled})()
    with pytest.raises(RoomKitError, match="Router"):
        await stage.say("hello", room=None)
    assert is_undisturbed()


@each_way
async def test_an_identity_resolver(staging, cancelled):
    """The message is not lost with it, as with any failure of a resolver."""
    resolver = MockIdentityResolver({})
    resolver.resolve = cancelled
    async with staging(identity_resolver=resolver) as stage:
        await stage.socket("alice")
        result = await stage.say("hello")
        assert is_undisturbed()
        assert not result.blocked


@each_way
async def test_an_identity_hook(staging, cancelled):
    """The sender is refused, as by any hook that breaks."""
    async with staging(identity_resolver=MockIdentityResolver({})) as stage:
        await stage.socket("alice")
        stage.kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)(cancelled)
        result = await stage.say("hello")
        assert is_undisturbed()
        assert (result.blocked, result.reason) == (True, "identity_hook_failed")


@each_way
async def test_connect_session(stage, cancelled):
    """The message is committed all the same."""
    alice = await stage.socket("alice")
    alice.connect_session = cancelled
    said = InboundMessage(
        channel_id="alice", sender_id="alice", content=TextContent(body="hello"), session=object()
    )
    with pytest.raises(SelfCancelledError, match="connect_session of channel alice"):
        await stage.kit.process_inbound(said, room_id="r1")
    assert is_undisturbed()
    assert (await stage.kit.get_timeline("r1"))[-1].content == said.content


@each_way
async def test_a_gate(stage, cancelled):
    """It blocks."""
    await stage.socket("alice")
    stage.kit.hook(HookTrigger.BEFORE_BROADCAST)(cancelled)
    result = await stage.say("hello")
    assert result.event.status is EventStatus.BLOCKED


@each_way
async def test_an_observer(stage, cancelled):
    """It is reported, and the message is delivered."""
    await stage.socket("alice")
    bob = await stage.socket("bob")
    stage.kit.hook(HookTrigger.AFTER_BROADCAST)(cancelled)
    await stage.say("hello")
    assert bob.texts() == ["hello"]
    assert "hook_error" in stage.kinds()


@each_way
@pytest.mark.parametrize("code", ["deliver", "deliver_stream", "on_event"])
async def test_a_channel(stage, cancelled, code):
    """Its row says that it failed."""
    await stage.socket("alice")
    bob = RecordingChannel("bob", streaming=True)
    await stage.join(bob)
    bot = await stage.agent("bot", ["yes"], streaming=True)
    setattr(bot if code == "on_event" else bob, code, cancelled)
    await stage.say("hello")
    failed = [row for row in await stage.kit.list_deliveries("r1") if row.state is DeliveryState.FAILED]
    assert {row.channel_id for row in failed} == {"bot" if code == "on_event" else "bob"}


@each_way
async def test_update_binding(stage, cancelled):
    """The change of the binding is made; its caller gets what the channel raised."""
    await stage.socket("alice")
    bob = await stage.socket("bob")
    bob.update_binding = cancelled
    with pytest.raises(SelfCancelledError, match="update_binding of channel bob"):
        await stage.kit.mute("r1", "bob")
    assert is_undisturbed()
    assert (await stage.kit.get_binding("r1", "bob")).muted


@pytest.mark.parametrize(
    "strings", ["one two", ["one ", "two"], iter(["one ", "two"])], ids=["text", "list", "iterator"]
)
async def test_plain_strings_are_a_stream(stage, strings):
    bob = await stage.socket("bob", streaming=True)
    binding = await stage.kit.get_binding("r1", "bob")
    event = stage.event("", channel="bot")
    await bob.deliver_stream(strings, event, binding, None)
    assert bob.delivered[-1].event.content == TextContent(body="one two")
