"""Channels start with the kit or when they are registered; what one does harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.provider import Provider
from roomkit.authoring.transport import TransportChannel
from roomkit.models import (
    ChannelType,
    DeliveryState,
    InboundMessage,
    ProviderResult,
    RetryPolicy,
    RoomEvent,
    TextContent,
)
from roomkit.plugins import PluginManager, hookimpl
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, VirtualClock

pytestmark = pytest.mark.virtual_time
LEASE = 15.0


class Starting(RecordingChannel):
    """A transport whose start does what the test says."""

    def __init__(self, channel_id: str, script: Callable[[], Awaitable[Any]], **options: Any) -> None:
        super().__init__(channel_id, **options)
        self.begin = script
        self.started_at: float | None = None

    async def start(self) -> None:
        await self.begin()
        self.started_at = asyncio.get_running_loop().time()


def waits(seconds: float) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        await asyncio.sleep(seconds)

    return wait


def fails(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise error

    return fail


async def opened(kit: RoomKit, *channel_ids: str) -> None:
    await kit.create_room("r1")
    for channel_id in channel_ids:
        await kit.attach_channel("r1", channel_id)


async def say(kit: RoomKit, text: str = "hello", wait: Any = "committed") -> Any:
    message = InboundMessage(channel_id="ws", sender_id="ann", content=TextContent(body=text))
    return await kit.process_inbound(message, room_id="r1", wait=wait)


def texts(channel: RecordingChannel) -> list[str]:
    return [
        each.event.content.body for each in channel.delivered if isinstance(each.event.content, TextContent)
    ]


def kit_with(*channels: Any, **options: Any) -> RoomKit:
    kit = RoomKit(
        clock=VirtualClock(), plugins=PluginManager(entry_points=()), lease_seconds=LEASE, **options
    )
    for channel in channels:
        kit.register_channel(channel)
    return kit


async def test_channels_start_with_the_kit_beside_each_other() -> None:
    """`start` returns when all have; they wait for each other no longer than the slowest."""
    channels = [Starting(f"c{n}", waits(n)) for n in (1, 2, 3)]
    async with kit_with(*channels):
        assert [each.started_at for each in channels] == [1.0, 2.0, 3.0]
        assert asyncio.get_running_loop().time() == 3.0


async def test_a_provider_starts_before_its_channel_is_used() -> None:
    """Once, after it was bound."""
    done: list[str] = []

    class Vendor(Provider):
        def bind(self, services: Any) -> None:
            super().bind(services)
            done.append("bound")

        async def start(self) -> None:
            await asyncio.sleep(1)
            done.append("started")

        async def send(self, event: RoomEvent, to: str, **options: Any) -> ProviderResult:
            done.append("sent")
            return ProviderResult(success=True)

    sms = TransportChannel("sms", ChannelType.SMS, provider=Vendor())
    async with kit_with(sms, RecordingChannel("ws")) as kit:
        await kit.create_room("r1")
        await kit.attach_channel("r1", "ws")
        await kit.attach_channel("r1", "sms", metadata={"recipient_id": "+14165550123"})
        await say(kit, wait="settled")
    assert done == ["bound", "started", "sent"]


async def test_a_channel_that_is_registered_late_is_started_at_once() -> None:
    """Events committed before it has started are delivered then, in order, in one attempt."""
    late = Starting("late", waits(5))
    async with kit_with(RecordingChannel("ws")) as kit:
        kit.register_channel(late)
        await opened(kit, "ws", "late")
        for text in ("one", "two"):
            await say(kit, text)
        assert texts(late) == []
        await asyncio.sleep(5)
        await say(kit, "three", wait="settled")
        rows = await kit.list_deliveries("r1", channel_id="late")
    assert texts(late) == ["one", "two", "three"]
    assert [(row.state, row.attempts) for row in rows] == [(DeliveryState.SENT, 1)] * 3


async def test_an_agent_is_asked_once_it_has_started() -> None:
    class Agent(ScriptedIntelligence):
        async def start(self) -> None:
            await asyncio.sleep(5)

    async with kit_with(RecordingChannel("ws")) as kit:
        kit.register_channel(Agent("bot", ["hi"]))
        await opened(kit, "ws", "bot")
        await say(kit, wait="settled")
        assert asyncio.get_running_loop().time() == 5.0
        assert [event.source.channel_id for event in await kit.get_timeline("r1")][-1] == "bot"


async def test_an_answer_is_not_streamed_to_a_channel_that_starts() -> None:
    """It is delivered whole once the channel has started."""
    late = Starting("late", waits(5), streaming=True)
    async with kit_with(
        RecordingChannel("ws"), ScriptedIntelligence("bot", ["hi there"], streaming=True)
    ) as kit:
        kit.register_channel(late)
        await opened(kit, "ws", "bot", "late")
        await say(kit, wait="settled")
    assert [each.event.content for each in late.delivered][-1] == TextContent(body="hi there")


async def test_a_kit_waits_no_longer_than_a_lease_for_a_start() -> None:
    """The slow channel goes on starting; the others work."""
    slow, other = Starting("slow", waits(4 * LEASE)), RecordingChannel("other")
    async with kit_with(slow, other, RecordingChannel("ws")) as kit:
        assert asyncio.get_running_loop().time() == LEASE
        await opened(kit, "ws", "other", "slow")
        await say(kit)
        await asyncio.sleep(1)
        assert texts(other) == ["hello"]


async def test_a_start_that_takes_too_long_fails_the_delivery() -> None:
    """Each attempt waits for a lease's length; the policy says how many there are."""
    slow = Starting("slow", waits(1000))
    async with kit_with(RecordingChannel("ws")) as kit:
        kit.register_channel(slow)
        await kit.create_room("r1")
        await kit.attach_channel("r1", "ws")
        policy = RetryPolicy(max_retries=1, base_delay_seconds=2.0, max_delay_seconds=2.0)
        await kit.attach_channel("r1", "slow", retry_policy=policy)
        before = asyncio.get_running_loop().time()
        await say(kit, wait="settled")
        (row,) = await kit.list_deliveries("r1", channel_id="slow")
        assert 2 * LEASE < asyncio.get_running_loop().time() - before < 2 * LEASE + 5
    assert row.error is not None
    assert (row.state, row.error.code, row.error.retryable) == (
        DeliveryState.FAILED,
        "channel_not_started",
        True,
    )
    assert "did not start within 15 s, in 2 attempts" in row.error.message


@pytest.mark.parametrize(
    "error",
    [ValueError("no such account"), asyncio.CancelledError(), GeneratorExit()],
    ids=["an exception", "a CancelledError of its own", "GeneratorExit"],
)
@pytest.mark.parametrize("late", [False, True], ids=["with the kit", "late"])
async def test_a_start_that_fails_breaks_its_channel_alone(error: BaseException, late: bool) -> None:
    """The kit runs, the event says why, and its deliveries stay pending; no caller waits for them."""
    bad, other = Starting("bad", fails(error)), RecordingChannel("other")
    kit = kit_with(other, RecordingChannel("ws"))
    broken: list[Any] = []

    @kit.on("channel_broken")
    async def keep(event: Any) -> None:
        broken.append((event.channel_id, event.data["error"]))

    if not late:
        kit.register_channel(bad)
    async with kit:
        if late:
            kit.register_channel(bad)
        await opened(kit, "ws", "bad", "other")
        await say(kit, wait="settled")
        await asyncio.sleep(1)
        (row,) = await kit.list_deliveries("r1", channel_id="bad")
        assert row.state is DeliveryState.PENDING
        assert list(kit.broken_channels) == ["bad"]
        assert [each for each, _ in broken] == ["bad"]
        assert texts(other) == ["hello"]
        assert texts(bad) == []


async def test_what_waited_for_a_broken_channel_goes_out_once_it_works() -> None:
    """Registered again it starts, and delivers in the order of the timeline; nothing twice."""
    bad = Starting("bad", fails(ValueError("no")))
    async with kit_with(RecordingChannel("ws"), bad) as kit:
        await opened(kit, "ws", "bad")
        for text in ("one", "two"):
            await say(kit, text, wait="settled")
        await kit.unregister_channel("bad")
        mended = Starting("bad", waits(2))
        kit.register_channel(mended)
        await say(kit, "three")
        await asyncio.sleep(2)
        await say(kit, "four", wait="settled")
        await asyncio.sleep(1)
        rows = await kit.list_deliveries("r1", channel_id="bad")
    assert texts(mended) == ["one", "two", "three", "four"]
    assert {row.state for row in rows} == {DeliveryState.SENT}
    assert kit.broken_channels == {}


async def test_a_channel_uses_its_services_while_it_starts() -> None:
    """The kit is not waited for: it waits for the channel."""

    class Greeting(RecordingChannel):
        async def start(self) -> None:
            assert self.services is not None
            room = await kit.create_room("r1")
            await kit.attach_channel(room.id, "greeting")
            posted = await self.services.rooms.post("r1", TextContent(body="I am up"))
            self.services.tasks.serve(asyncio.Event().wait(), name="a connection")  # type: ignore[arg-type]
            self.posted = posted
            await kit.start()

    greeting = Greeting("greeting")
    kit = kit_with(greeting)
    async with kit:
        assert greeting.posted.index >= 0
        assert asyncio.get_running_loop().time() == 0.0


async def test_plugins_start_before_channels() -> None:
    """A channel that a plugin registers when it starts is started with the others."""
    order: list[str] = []

    class Noted(RecordingChannel):
        async def start(self) -> None:
            order.append(f"channel {self.channel_id}")

    class Plugin:
        @hookimpl
        def roomkit_startup(self, kit: RoomKit) -> Awaitable[None]:
            async def begin() -> None:
                kit.register_channel(Noted("own"))
                order.append("plugin")

            return begin()

    class EntryPoint:
        name, value = "acme", "acme.plugin"

        def load(self) -> object:
            return Plugin()

    kit = RoomKit(clock=VirtualClock(), plugins=PluginManager(entry_points=[EntryPoint()]))
    kit.register_channel(Noted("first"))
    async with kit:
        assert order == ["plugin", "channel first", "channel own"]


@pytest.mark.parametrize("how", ["unregister", "close"])
async def test_a_start_under_way_is_cancelled_when_its_channel_ends(how: str) -> None:
    """The channel is closed after that, and nothing of it is left running."""
    order: list[str] = []

    class Slow(RecordingChannel):
        async def start(self) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                order.append("cancelled")

        async def close(self) -> None:
            order.append("closed")

    kit = kit_with(RecordingChannel("ws"))
    await kit.start()
    kit.register_channel(Slow("slow"))
    await opened(kit, "ws", "slow")
    await say(kit)
    before = asyncio.get_running_loop().time()
    if how == "unregister":
        await kit.unregister_channel("slow")
    await kit.close()
    assert order == ["cancelled", "closed"]
    assert asyncio.get_running_loop().time() - before < 1


async def test_a_channel_that_never_started_is_closed() -> None:
    """A kit that was not started closes its channels all the same."""
    channel = Starting("c", waits(1))
    await kit_with(channel).close()
    assert channel.closed
    assert channel.started_at is None


async def test_a_start_that_ignores_its_cancellation_is_left_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The kit closes in its time, and reports abandoned work."""

    async def stubborn() -> None:
        for _ in range(100):
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue

    kit = kit_with(RecordingChannel("ws"), close_timeout=10.0, abandon_after=1.0)
    await kit.start()
    kit.register_channel(Starting("stubborn", stubborn))
    await asyncio.sleep(0)
    await kit.close()
    assert "start() of channel stubborn was abandoned" in caplog.text
    assert asyncio.get_running_loop().time() <= 11


async def test_a_start_that_is_no_coroutine_breaks_its_channel() -> None:
    class Plain(RecordingChannel):
        def start(self) -> Any:
            return 3

    async with kit_with(Plain("plain")) as kit:
        assert "TypeError" in kit.broken_channels["plain"]
