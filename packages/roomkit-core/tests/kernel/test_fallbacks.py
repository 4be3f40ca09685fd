"""Bindings with a fallback: which deliveries go to it, when, once, and not back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models import (
    ChannelOutput,
    Delivery,
    DeliveryState,
    DeliveryStatus,
    ProviderResult,
    RetryPolicy,
)
from roomkit_plugins.testing import Hang, RecordingChannel, SharedStore, VirtualClock

ONCE = RetryPolicy(max_retries=0)


def failing(code: ErrorCode = ErrorCode.INVALID_RECIPIENT) -> ProviderError:
    return ProviderError("planted", error_code=code)


def sent(message_id: str) -> ChannelOutput:
    return ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id=message_id))


async def chain(stage: Any, *names: str, script: Any = None, **last: Any) -> dict[str, RecordingChannel]:
    """Attach channels of which each falls back to the next; all fail but the last, unless scripted."""
    await stage.socket("alice")
    made = {}
    for number, name in enumerate(names):
        following = names[number + 1] if number + 1 < len(names) else last.get("back_to")
        steps = (script or {}).get(name, [failing()] if number + 1 < len(names) else [])
        made[name] = await stage.join(
            RecordingChannel(name, script=steps), fallback=following, retry_policy=ONCE
        )
    return made


async def rows(stage: Any, event: Any) -> dict[str, Delivery]:
    found: dict[str, Delivery] = await stage.ledger(event)
    return found


async def test_a_failed_delivery_goes_to_the_fallback(staging: Any, store: Any) -> None:
    """Over each store, by a row that says in whose place it is; who waits for the message waits for it."""
    async with staging(store=store, single_process=True) as stage:
        made = await chain(stage, "sms", "mail", script={"sms": [None, failing()]})
        await stage.say("by sms")
        assert made["mail"].texts() == [], "what stands in gets nothing of its own"
        result = await stage.say("by mail")
        await stage.idle()
        found = await rows(stage, result.event)

        assert (made["sms"].texts(), made["mail"].texts()) == (["by sms"], ["by mail"])
        assert found["sms"].state is DeliveryState.FAILED
        assert (found["mail"].state, found["mail"].fallback_of) == (DeliveryState.SENT, found["sms"].id)
        assert {each.kind for each in await store.list_timers("r1")} <= {"retention", "room_timers"}


@pytest.mark.virtual_time
async def test_a_channel_is_not_its_own_fallback(stage: Any) -> None:
    stage.kit.register_channel(RecordingChannel("sms"))
    with pytest.raises(InvalidInputError, match="channel 'sms' cannot be its own fallback"):
        await stage.kit.attach_channel("r1", "sms", fallback="sms")


@pytest.mark.virtual_time
async def test_a_message_of_unknown_outcome_goes_nowhere_else(stage: Any) -> None:
    made = await chain(stage, "sms", "mail", script={"sms": [failing(ErrorCode.OUTCOME_UNKNOWN)]})
    await stage.say("hello")
    assert made["mail"].attempts == []


@pytest.mark.virtual_time
async def test_three_channels_stand_in_and_no_more(stage: Any) -> None:
    made = await chain(stage, "c0", "c1", "c2", "c3", "c4")
    made["c3"]._script = type(made["c3"]._script)([failing()])
    result = await stage.say("hello")
    found = await rows(stage, result.event)

    assert sorted(found) == ["c0", "c1", "c2", "c3"]
    assert stage.facts("delivery_fell_back") == [
        {"fallback_of": found[name].id} for name in ("c0", "c1", "c2")
    ]
    assert [each["reason"] for each in stage.facts("fallback_unavailable")] == ["too_many_fallbacks"]


@pytest.mark.virtual_time
async def test_nothing_goes_back(stage: Any) -> None:
    """Two channels that stand in for each other: the one attached first is asked first, each once."""
    made = await chain(stage, "sms", "mail", back_to="sms", script={"sms": [failing()], "mail": [failing()]})
    await stage.say("hello")

    assert [len(each.attempts) for each in made.values()] == [1, 1]
    assert [each["reason"] for each in stage.facts("fallback_unavailable")] == ["delivered_before"]


@pytest.mark.virtual_time
@pytest.mark.parametrize("why", ["channel_not_attached", "not_visible"])
async def test_a_fallback_that_may_not_have_the_event_gets_none(stage: Any, why: str) -> None:
    made = await chain(stage, "sms", "mail")
    if why == "channel_not_attached":
        await stage.kit.detach_channel("r1", "mail")
    else:
        await stage.kit.set_access("r1", "mail", "write_only")
    await stage.say("hello")

    assert made["mail"].attempts == []
    assert [each["reason"] for each in stage.facts("fallback_unavailable")] == [why]


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("word", "falls_back"), [(None, True), ("sent", True), ("delivered", False), ("read", False)]
)
async def test_a_message_that_is_not_confirmed_in_time_goes_to_the_fallback(
    stage: Any, word: str | None, falls_back: bool
) -> None:
    await stage.socket("alice")
    sms = RecordingChannel("sms", script=[sent("m1")])
    await stage.join(sms, fallback="mail", fallback_after=60)
    mail = await stage.socket("mail")
    await stage.say("hello")
    if word is not None:
        await stage.kit.process_delivery_status(
            DeliveryStatus(channel_id="sms", message_id="m1", status=word)
        )
    await asyncio.sleep(59)
    assert mail.attempts == []
    await asyncio.sleep(2)

    assert mail.texts() == (["hello"] if falls_back else [])


@pytest.mark.virtual_time
@pytest.mark.parametrize("after", [None, 600])
@pytest.mark.parametrize("word", ["failed", "undelivered", "expired", "canceled"])
@pytest.mark.parametrize("is_early", [False, True], ids=["late", "before the send was recorded"])
async def test_a_message_that_is_reported_lost_goes_to_the_fallback_at_once(
    stage: Any, word: str, is_early: bool, after: float | None
) -> None:
    """Once, however often it is reported, and whether or not a confirmation was waited for."""
    await stage.socket("alice")
    await stage.join(RecordingChannel("sms", script=[sent("m1")]), fallback="mail", fallback_after=after)
    mail = await stage.socket("mail")
    lost = DeliveryStatus(channel_id="sms", message_id="m1", status=word)
    if is_early:
        await stage.kit.process_delivery_status(lost)
    await stage.say("hello")
    for _ in range(2):
        await stage.kit.process_delivery_status(lost)
        await asyncio.sleep(1)

    assert mail.texts() == ["hello"]
    await asyncio.sleep(1200)
    assert mail.texts() == ["hello"]
    assert stage.facts("fallback_unavailable") == []


@pytest.mark.virtual_time
async def test_a_message_that_partly_failed_goes_nowhere_else(stage: Any) -> None:
    """Some of it arrived."""
    await stage.socket("alice")
    in_parts = ProviderResult(success=True, provider_message_id="m1", parts=("m1", "m2"))
    sms = RecordingChannel("sms", script=[ChannelOutput(provider_result=in_parts)])
    await stage.join(sms, fallback="mail")
    mail = await stage.socket("mail")
    await stage.say("hello")
    for message_id, word in (("m1", "delivered"), ("m2", "failed")):
        await stage.kit.process_delivery_status(
            DeliveryStatus(channel_id="sms", message_id=message_id, status=word)
        )
    await asyncio.sleep(60)

    assert mail.attempts == []


@pytest.mark.virtual_time
@pytest.mark.parametrize("killed", ["before the outcome", "after the outcome", "while it waits"])
async def test_a_fallback_outlives_its_worker(bare_stage: Any, killed: str) -> None:
    """Another worker makes it, once; never if the message was sent after all."""
    store, locks, realtime = SharedStore(), InMemoryLockManager(), InMemoryRealtime()
    shared = {"store": store, "lock_manager": locks, "realtime": realtime, "single_process": True}
    first = await bare_stage(**shared, lease_seconds=9).open()
    hang = Hang()
    steps: dict[str, Any] = {
        "before the outcome": [hang],
        "after the outcome": [failing()],
        "while it waits": [sent("m1")],
    }
    await first.socket("alice")
    sms = RecordingChannel("sms", script=steps[killed])
    await first.join(sms, fallback="mail", fallback_after=60, retry_policy=ONCE)
    await first.join(RecordingChannel("mail", script=[Hang()] * 5))
    await first.kit.start()
    await first.say("hello", wait="committed")
    await asyncio.sleep(1)
    await kill(first)

    second = bare_stage(**shared, lease_seconds=9, clock=VirtualClock(VirtualClock().now() + timedelta()))
    mail = RecordingChannel("mail")
    for channel in (RecordingChannel("alice"), RecordingChannel("sms", script=[failing()]), mail):
        second.kit.register_channel(channel)
    await second.kit.start()
    await asyncio.sleep(180)
    try:
        assert mail.texts() == ["hello"]
        found = {row.channel_id: row for row in await store.list_deliveries("r1")}
        assert found["mail"].fallback_of == found["sms"].id
        assert found["mail"].state is DeliveryState.SENT
    finally:
        await second.kit.close()


async def kill(stage: Any) -> None:
    """End a worker as SIGKILL would: nothing is said, written or given back."""
    kernel = stage.kit._kernel
    kernel.outcomes.ledger._rows.clear()
    kernel.outcomes.ledger._timers.clear()
    kernel.ground.supervisor.start = kernel.ground.supervisor.serve = lambda work, *_, **__: work.close()
    for task in [*kernel.ground.supervisor._services, *kernel.ground.supervisor._tasks]:
        task.cancel()
    await asyncio.sleep(0)


@pytest.mark.virtual_time
async def test_an_answer_that_was_streamed_falls_back_too(stage: Any) -> None:
    """To a channel that shows nothing until then."""

    class Broken(RecordingChannel):
        async def deliver_stream(self, *args: Any) -> Any:
            raise failing()

    await stage.socket("alice")
    await stage.join(Broken("web", streaming=True), fallback="mail", retry_policy=ONCE)
    mail = await stage.socket("mail", streaming=True)
    await stage.agent("bot", ["an answer"], streaming=True)
    await stage.say("hello")

    assert mail.texts()[-1] == "an answer"
    assert mail.streams == []
