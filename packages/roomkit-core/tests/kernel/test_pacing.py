"""The pace of deliveries: limits over all rooms of a channel, per recipient, and vendors' pauses."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from roomkit.abc.errors import LONGEST_PAUSE, ErrorCode, ProviderError
from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelOutput, RateLimit, RetryPolicy
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelType, DeliveryState, EphemeralEventType
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing import MockSMSProvider, RecordingChannel, SharedRealtime, SharedStore
from roomkit_plugins.testing.mocks.channels import Seen

pytestmark = pytest.mark.virtual_time

PATIENT = RetryPolicy(max_retries=3, base_delay_seconds=1, jitter=0)


def now() -> float:
    return asyncio.get_running_loop().time()


def throttled(seconds: float) -> ProviderError:
    return ProviderError("too many requests", error_code=ErrorCode.RATE_LIMIT, retry_after=seconds)


async def rooms(stage: Any, channel: Any, count: int, **binding: Any) -> list[str]:
    """Attach `alice` and the channel to so many new rooms; return their ids."""
    stage.kit.register_channel(RecordingChannel("alice"))
    stage.kit.register_channel(channel)
    ids = [f"room-{number}" for number in range(count)]
    for room_id in ids:
        await stage.kit.create_room(room_id)
        await stage.kit.attach_channel(room_id, "alice")
        await stage.kit.attach_channel(room_id, channel.channel_id, **binding)
    return ids


async def say_in(stage: Any, room_ids: list[str], text: str = "hello") -> None:
    await asyncio.gather(*(stage.say(text, room=room_id) for room_id in room_ids))


class Gateway:
    """A vendor that takes `rate` messages a second and answers 429 to the rest."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.taken: list[float] = []  # bound: the life of a test
        self.calls = 0

    def take(self) -> None:
        self.calls += 1
        if sum(at > now() - 1 for at in self.taken) >= self.rate:
            raise throttled(1)
        self.taken.append(now())


class GatewayChannel(RecordingChannel):
    """A channel of that vendor; a call takes 50 ms."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__("sms")
        self.gateway = gateway

    async def deliver(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        await asyncio.sleep(0.05)
        self.gateway.take()
        return await super().deliver(event, binding, context)


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("said_by", ["bindings", "channel"])
@pytest.mark.parametrize(
    ("limit", "gaps"),
    [
        (RateLimit(max_per_second=1), [0, 1, 2, 3, 4]),
        (RateLimit(max_per_minute=2), [0, 30, 60, 90, 120]),
        (RateLimit(max_per_hour=2), [0, 1800, 3600, 5400, 7200]),
        (RateLimit(max_per_second=2, max_per_minute=3), [0, 0, 0.5, 20, 40]),
    ],
)
async def test_a_limit_holds_over_all_rooms_of_the_channel(
    stage: Any, said_by: str, limit: RateLimit, gaps: list[float]
) -> None:
    """Five rooms that send at once go out as one would, wherever the limit is said."""
    sms = RecordingChannel("sms")
    binding = {"rate_limit": limit} if said_by == "bindings" else {}
    if said_by == "channel":
        sms.rate_limit = limit
    await say_in(stage, await rooms(stage, sms, 5, **binding))
    assert [one.at for one in sms.delivered] == pytest.approx(gaps)


async def test_rooms_take_turns(stage: Any) -> None:
    """A room with a long queue gets no more than its share."""
    sms = RecordingChannel("sms")
    first, second = await rooms(stage, sms, 2, rate_limit=RateLimit(max_per_second=1))
    waiting = [stage.saying(str(number), room=first) for number in range(10)]
    await asyncio.sleep(0.1)
    await asyncio.gather(*(stage.say(f"b{number}", room=second) for number in range(3)))
    assert [one.event.room_id for one in sms.delivered[:6]] == [first, first, second, first, second, first]
    await asyncio.gather(*waiting)
    assert sms.texts(first) == [str(number) for number in range(10)]


async def test_a_recipients_limit_holds_beside_the_channels(stage: Any) -> None:
    """Two a second over the channel, and one in ten seconds to each recipient."""
    sms = RecordingChannel("sms")
    limits = {
        "rate_limit": RateLimit(max_per_second=2, burst=1),
        "recipient_rate_limit": RateLimit(max_per_minute=6),
    }
    room_ids = await rooms(stage, sms, 4, **limits)
    await asyncio.gather(*(say_in(stage, room_ids, str(number)) for number in range(3)))
    times = [one.at for one in sms.delivered]
    assert all(later - earlier >= 0.5 - 1e-6 for earlier, later in pairwise(times))
    for room_id in room_ids:
        own = [one.at for one in sms.delivered if one.event.room_id == room_id]
        assert all(later - earlier >= 10 - 1e-6 for earlier, later in pairwise(own))
    assert times[-1] == pytest.approx(21.5)


async def test_different_limits_of_one_channel_are_counted_apart(stage: Any) -> None:
    """A bulk room that is slowed down on purpose does not slow down the others."""
    sms = RecordingChannel("sms")
    (bulk,) = await rooms(stage, sms, 1, rate_limit=RateLimit(max_per_minute=1))
    await stage.kit.create_room("urgent")
    for channel_id, options in (("alice", {}), ("sms", {"rate_limit": RateLimit(max_per_second=10)})):
        await stage.kit.attach_channel("urgent", channel_id, **options)
    waiting = [stage.saying(str(number), room=bulk) for number in range(3)]
    await asyncio.sleep(0)
    await stage.say(room="urgent")
    assert now() == 0
    await asyncio.gather(*waiting)
    assert now() == 120


async def test_a_delivery_that_is_cancelled_while_it_waits_gives_its_place_back(stage: Any) -> None:
    """Those behind it go as if it had never waited."""
    limiter = stage.kit._kernel.sending.pacing
    sms = await stage.join(RecordingChannel("sms"), rate_limit=RateLimit(max_per_second=1))
    event = stage.event()
    binding = await stage.kit.get_binding("r1", "sms")
    await limiter.enter(sms, binding, event, None)
    waiting = [asyncio.create_task(limiter.enter(sms, binding, event, None)) for _ in range(3)]
    await asyncio.sleep(0.5)
    waiting[0].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert now() == 2
    assert not limiter.lines


# -- pauses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [5.0, 59.0, 600.0, 7200.0])
async def test_a_429_pauses_every_room_of_the_channel(stage: Any, seconds: float) -> None:
    sms = RecordingChannel("sms", script=[throttled(seconds)])
    first, second, third = await rooms(stage, sms, 3, retry_policy=PATIENT)
    refused = stage.saying("1", room=first)
    await asyncio.sleep(1)
    waiting = [stage.saying(text, room=room) for text in ("a", "b") for room in (second, third)]
    await asyncio.gather(refused, *waiting)
    assert all(one.at >= seconds for one in sms.delivered)
    assert [sms.texts(room) for room in (second, third)] == [["a", "b"], ["a", "b"]]
    rows = [row for room in (first, second, third) for row in await stage.kit.list_deliveries(room)]
    assert [row.attempts for row in rows if row.channel_id == "sms"] == [2, 1, 1, 1, 1]
    assert stage.facts("sending_paused") == [{"pace_key": "sms", "seconds": seconds}]


async def test_a_refusal_with_status_429_in_a_normal_answer_pauses_too(stage: Any) -> None:
    refused = ProviderResult(success=False, retryable=True, retry_after=30, status_code=429)
    sms = RecordingChannel("sms", script=[ChannelOutput(provider_result=refused)])
    first, second = await rooms(stage, sms, 2, retry_policy=PATIENT)
    refused_one = stage.saying(room=first)
    await asyncio.sleep(1)
    await stage.say(room=second)
    await refused_one
    assert [one.at for one in sms.attempts] == [0, 30, 30]


async def test_a_pause_is_one_channels(stage: Any) -> None:
    """Other channels of the same rooms go on."""
    sms = RecordingChannel("sms", script=[throttled(600)])
    (room,) = await rooms(stage, sms, 1, retry_policy=PATIENT)
    push = RecordingChannel("push")
    stage.kit.register_channel(push)
    await stage.kit.attach_channel(room, "push")
    both = [stage.saying(text, room=room) for text in ("1", "2")]
    await asyncio.sleep(1)
    assert push.texts() == ["1", "2"]
    await asyncio.gather(*both)


async def test_an_error_without_a_time_pauses_nothing(stage: Any) -> None:
    busy = ProviderError("slow down", error_code=ErrorCode.RATE_LIMIT)
    sms = RecordingChannel("sms", script=[busy])
    first, second = await rooms(stage, sms, 2, retry_policy=PATIENT)
    refused = stage.saying(room=first)
    await asyncio.sleep(0.5)
    await stage.say(room=second)
    assert now() == 0.5
    await refused


async def test_an_absurd_wait_is_a_day(stage: Any) -> None:
    """A vendor's number is not trusted without a bound."""
    sms = RecordingChannel("sms", script=[throttled(1e12)])
    first, second = await rooms(stage, sms, 2, retry_policy=PATIENT)
    refused = stage.saying(room=first)
    await asyncio.sleep(1)
    await stage.say(room=second)
    await refused
    assert [one.at for one in sms.delivered] == [LONGEST_PAUSE, LONGEST_PAUSE]


@pytest.mark.parametrize("rate", [1, 5, 40])
async def test_a_burst_adapts_to_a_vendor_that_refuses_most_of_it(stage: Any, rate: int) -> None:
    gateway = Gateway(rate)
    sms = GatewayChannel(gateway)
    room_ids = await rooms(stage, sms, 60, retry_policy=PATIENT)
    await say_in(stage, room_ids)
    rows = [row for room in room_ids for row in await stage.kit.list_deliveries(room)]
    assert {row.state for row in rows} == {DeliveryState.SENT}
    assert gateway.calls <= 5 * len(room_ids)


async def test_a_vendor_with_room_again_is_used_in_full_again(stage: Any) -> None:
    gateway = Gateway(10_000)
    sms = GatewayChannel(gateway)
    room_ids = await rooms(stage, sms, 300)
    stage.kit._kernel.sending.pacing.pause("sms", 10)
    await say_in(stage, room_ids)
    assert now() < 13
    await stage.idle()
    assert not stage.kit._kernel.sending.pacing.lines


async def test_a_pause_that_nothing_waits_for_is_forgotten(stage: Any) -> None:
    """Nothing of it is left a minute after its end."""
    sms = await stage.join(RecordingChannel("sms"))
    stage.kit._kernel.sending.pacing.pause("sms", 10)
    await asyncio.sleep(75)
    assert not stage.kit._kernel.sending.pacing.lines
    assert sms.delivered == []


# -- pace keys ------------------------------------------------------------------------------------


async def test_a_limit_is_the_sending_numbers(stage: Any) -> None:
    """Two numbers of one account have a pace each, wherever the number is said."""
    provider = MockSMSProvider()
    sms = TransportChannel(
        "sms",
        ChannelType.SMS,
        provider=provider,
        recipient_key="phone",
        defaults={"from_": None},
        paced_by="from_",
    )
    sms.rate_limit = RateLimit(max_per_second=1)
    stage.kit.register_channel(RecordingChannel("alice"))
    stage.kit.register_channel(sms)
    for number in range(4):
        await stage.kit.create_room(f"n{number}")
        await stage.kit.attach_channel(f"n{number}", "alice")
        metadata = {"phone": f"+1555{number}", "from_": f"+1999{number % 2}"}
        await stage.kit.attach_channel(f"n{number}", "sms", metadata=metadata)
    await say_in(stage, [f"n{number}" for number in range(4)])
    assert now() == 1
    assert sorted(send["from"] for send in provider.sent) == ["+19990", "+19990", "+19991", "+19991"]


async def test_a_pause_is_the_sending_numbers(stage: Any) -> None:
    provider = MockSMSProvider(script=[throttled(60)])
    sms = TransportChannel(
        "sms",
        ChannelType.SMS,
        provider=provider,
        recipient_key="to",
        defaults={"from_": None},
        paced_by="from_",
    )
    stage.kit.register_channel(RecordingChannel("alice"))
    stage.kit.register_channel(sms)
    for room, number in (("a", "+1"), ("b", "+1"), ("c", "+2")):
        await stage.kit.create_room(room)
        await stage.kit.attach_channel(room, "alice")
        metadata = {"to": room, "from_": number}
        await stage.kit.attach_channel(room, "sms", metadata=metadata, retry_policy=PATIENT)
    waiting = [stage.saying(room="a")]
    await asyncio.sleep(1)
    waiting += [stage.saying(room=room) for room in ("b", "c")]
    await asyncio.sleep(1)
    assert [send["to"] for send in provider.sent] == ["c"]
    await asyncio.gather(*waiting)
    assert now() == 60


async def test_a_pace_key_that_cannot_be_told_fails_the_delivery(stage: Any) -> None:
    """A bug in a channel ends in the ledger."""
    sms = RecordingChannel("sms")

    def broken(binding: Any, event: Any) -> str:
        raise KeyError("no number")

    sms.pace_key = broken  # type: ignore[method-assign]
    await stage.socket("alice")
    await stage.join(sms, rate_limit=RateLimit(max_per_second=1))
    end = (await stage.say()).delivery_results["sms"]
    assert (end.state, end.error.code) == (DeliveryState.FAILED, "foreign_code_failed")
    assert "pace_key() of channel 'sms' raised KeyError: 'no number'" in end.error.message


# -- several workers ------------------------------------------------------------------------------


async def test_a_pause_is_announced_to_the_other_workers(bare_stage: Any) -> None:
    """They wait without having been refused themselves."""
    store, realtime = SharedStore(), SharedRealtime()
    options = {"store": store, "realtime": realtime, "single_process": True}
    one, other = bare_stage(**options), bare_stage(**options)
    channels = [RecordingChannel("sms", script=[throttled(30)]), RecordingChannel("sms")]
    for stage, channel in zip((one, other), channels, strict=True):
        stage.kit.register_channel(RecordingChannel("alice"))
        stage.kit.register_channel(channel)
        await stage.kit.start()
    for room in ("r1", "r2"):
        await one.kit.create_room(room)
        for channel_id in ("alice", "sms"):
            await one.kit.attach_channel(room, channel_id, retry_policy=PATIENT)
    refused = one.saying(room="r1")
    await asyncio.sleep(1)
    await other.say(room="r2")
    assert [seen.at for seen in channels[1].delivered] == pytest.approx([30], abs=0.1)
    await refused
    for stage in (one, other):
        await stage.kit.close()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"key": 1, "seconds": 5},
        {"key": "sms"},
        {"key": "sms", "seconds": "1"},
        {"key": "sms", "seconds": -1},
    ],
)
async def test_an_announcement_that_makes_no_sense_changes_nothing(bare_stage: Any, data: Any) -> None:
    """Anyone who can publish on the backend may write anything."""
    realtime = SharedRealtime()
    stage = bare_stage(store=SharedStore(), realtime=realtime, single_process=True)
    await stage.kit.start()
    signal = EphemeralEvent(room_id="x", type=EphemeralEventType.CUSTOM, user_id="other", data=data)
    await realtime.publish("sending-paused", signal)
    await asyncio.sleep(1)
    assert not stage.kit._kernel.sending.pacing.lines
    await stage.kit.close()


class Deaf(RecordingChannel):
    """A channel whose first delivery ignores that it is cancelled, until the test ends it."""

    def __init__(self) -> None:
        super().__init__("sms")
        self.ends = asyncio.Event()

    async def deliver(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        if not self.attempts:
            self.attempts.append(Seen(event, binding, context, now()))
            while not self.ends.is_set():
                try:
                    await self.ends.wait()
                except asyncio.CancelledError:
                    continue
        return await super().deliver(event, binding, context)


async def test_a_send_that_never_ends_does_not_stop_its_line(stage: Any) -> None:
    """After a pause sends go out one at a time; one that was abandoned gives its turn back, once."""
    sms = Deaf()
    first, second, third = await rooms(stage, sms, 3, retry_policy=RetryPolicy(max_retries=0))
    stage.kit._kernel.sending.pacing.pause("sms", 10)
    stuck = stage.saying(room=first)
    await asyncio.sleep(1)
    await asyncio.gather(stuck, say_in(stage, [second, third]))
    assert sorted(sms.texts(second) + sms.texts(third)) == ["hello", "hello"]
    sms.ends.set()
    await asyncio.sleep(75)
    assert not stage.kit._kernel.sending.pacing.lines


@pytest.mark.parametrize(
    ("code", "waits"), [(ErrorCode.RATE_LIMIT, [6, 6]), (ErrorCode.RECIPIENT_RATE_LIMIT, [0, 6])]
)
async def test_a_limit_of_one_recipient_holds_up_no_other(
    stage: Any, code: ErrorCode, waits: list[float]
) -> None:
    """A limit of the account does; either way the refused message goes out after the vendor's wait."""
    busy = ProviderError("too many to this one", error_code=code, retry_after=6)
    sms = RecordingChannel("sms", script=[busy])
    first, second = await rooms(stage, sms, 2)
    waiting = stage.saying("one", room=first)
    await asyncio.sleep(0.1)
    await stage.say("two", room=second)
    await waiting
    at = {one.event.content.body: one.at for one in sms.delivered}
    assert [at["two"] // 1, at["one"] // 1] == waits
