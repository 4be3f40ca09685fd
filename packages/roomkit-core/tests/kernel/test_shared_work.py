"""Several workers on one store: turns, observers, timers, receipts and the ledger that they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import (
    DeliveryNotFoundError,
    ErrorCode,
    InvalidInputError,
    LockLostError,
    ProviderError,
    StoreError,
    StoreUnavailableError,
)
from roomkit.models.channel import ChannelOutput, RateLimit, RetryPolicy
from roomkit.models.content import text_of
from roomkit.models.delivery import DeliveryStatus, ProviderResult
from roomkit.models.enums import HookTrigger, ReceiptState, RoomStatus
from roomkit.models.hook import HookResult
from roomkit.models.room import RoomTimers
from roomkit_plugins.testing import ScriptedIntelligence

from .house import FAILED, LEASE, PENDING, SENT, SKIPPED, House, add, heard, slow

pytestmark = pytest.mark.virtual_time


# -- agents -------------------------------------------------------------------------------------


async def test_an_agents_turn_is_taken_up_by_another_worker(house: House, two: Any) -> None:
    """Killed while it thought, it is asked again; the room hears one answer."""
    first, second = await two()
    agent = await first.agent("bot", ["too late"], delay=3600)
    spare = ScriptedIntelligence("bot", ["here I am"])
    second.kit.register_channel(spare)
    await first.say("help", wait="committed")
    await asyncio.sleep(1)
    await house.kill(first)
    await asyncio.sleep(LEASE * 2)
    assert agent.seen
    assert await second.texts() == ["help", "here I am"]
    assert (await house.rows())["bot", "help"].state is SENT


async def test_an_answer_that_was_committed_is_not_given_twice(house: House, two: Any) -> None:
    first, second = await two()
    await first.agent("bot", ["the answer"])
    spare = ScriptedIntelligence("bot", ["another answer"])
    second.kit.register_channel(spare)
    await first.say("help")
    await house.kill(first)
    await asyncio.sleep(LEASE * 2)
    assert await second.texts() == ["help", "the answer"]
    assert spare.seen == []
    rows = await house.rows()
    assert {row.state for row in rows.values()} == {SENT}


# -- observers ----------------------------------------------------------------------------------


async def test_observers_run_once_whoever_is_killed(house: House, two: Any) -> None:
    first, second = await two(delay=3600)
    slow(second, "bob", 0)
    seen = [stage.observe(HookTrigger.AFTER_BROADCAST) for stage in (first, second)]
    await first.say("one", wait="committed")
    await house.kill(first)
    await asyncio.sleep(LEASE * 3)
    assert [len(each) for each in seen] == [0, 1]
    assert await house.store.list_timers("r1") == []
    await second.say("two")
    await asyncio.sleep(LEASE * 3)
    assert [len(each) for each in seen] == [0, 2]
    assert await house.store.list_timers("r1") == []


async def test_observers_wait_for_deliveries_that_are_handed_over(house: House, two: Any) -> None:
    first, second = await two(delay=10)
    order: list[str] = []
    for stage in (first, second):

        async def after(event: Any, _context: object) -> None:
            order.append(text_of(event.content))

        stage.kit.hook(HookTrigger.AFTER_BROADCAST, name="after")(after)
    await first.say("one", wait="committed")
    await second.say("two", wait="committed")
    await asyncio.sleep(15)
    assert order == ["one"]
    await asyncio.sleep(LEASE * 2)
    assert order == ["one", "two"]


@pytest.mark.parametrize("ahead", [300.0, -300.0, 86400.0])
async def test_a_workers_clock_delays_no_observers_that_it_leaves(
    house: House, two: Any, ahead: float
) -> None:
    """Its lease alone does: not how far its clock is ahead of the one that reclaims its work."""
    first, second = await two(ahead, delay=3600)
    slow(first, "bob", 0)
    seen = first.observe(HookTrigger.AFTER_BROADCAST)
    second.observe(HookTrigger.AFTER_BROADCAST)
    await second.say("one", wait="committed")
    await house.kill(second)
    await asyncio.sleep(LEASE * 3)
    assert [text_of(event.content) for event in seen] == ["one"]
    assert await house.store.list_timers("r1") == []


@pytest.mark.parametrize("ahead", [300.0, -300.0, 86400.0])
@pytest.mark.parametrize("seconds", [0.1, LEASE, LEASE * 2.5])
async def test_a_workers_clock_delays_no_observers_that_wait_for_deliveries(
    house: House, two: Any, ahead: float, seconds: float
) -> None:
    """Whether it was killed before it looked at the deliveries, or after it has done so several times."""
    first, second = await two(ahead, delay=20)
    seen = first.observe(HookTrigger.AFTER_BROADCAST)
    second.observe(HookTrigger.AFTER_BROADCAST)
    await first.say("one", wait="committed")
    await second.say("two", wait="committed")
    await asyncio.sleep(seconds)
    await house.kill(second)
    await asyncio.sleep(40 - seconds + LEASE * 3)
    assert [text_of(event.content) for event in seen] == ["one", "two"]
    assert await house.store.list_timers("r1") == []


async def test_timers_that_are_due_again_at_once_end_no_sweep_late(house: House, two: Any) -> None:
    """More of them than a worker claims at a time: each is looked at once; room timers have their turn."""
    first, second = await two(delay=3600)
    seen = [stage.observe(HookTrigger.AFTER_BROADCAST) for stage in (first, second)]
    for number in range(120):
        await (first if number == 0 else second).say(str(number), wait="committed")
    await second.kit.create_room("r2", timers=RoomTimers(inactive_after_seconds=20))
    await asyncio.sleep(20 + LEASE)
    assert (await second.kit.get_room("r2")).status is RoomStatus.PAUSED
    waiting = await house.store.list_timers("r1")
    assert len(waiting) == 120
    assert seen == [[], []]


# -- what waits ---------------------------------------------------------------------------------


async def test_room_timers_survive_their_worker(house: House) -> None:
    first, second = house.worker(), house.worker()
    timers = RoomTimers(inactive_after_seconds=60, closed_after_seconds=600)
    await first.kit.create_room("r1", timers=timers)
    closed = second.observe(HookTrigger.ON_ROOM_CLOSED)
    await second.kit.start()
    await house.kill(first)
    await asyncio.sleep(100)
    assert (await second.kit.get_room("r1")).status is RoomStatus.PAUSED
    await asyncio.sleep(600)
    assert (await second.kit.get_room("r1")).status is RoomStatus.CLOSED
    assert len(closed) == 1
    assert await house.store.list_timers("r1") == []


async def test_a_room_that_is_used_again_is_paused_again(house: House) -> None:
    """Its timer stands for its close by then, and is set again."""
    stage = house.worker()
    timers = RoomTimers(inactive_after_seconds=60, closed_after_seconds=6000)
    await stage.kit.create_room("r1", timers=timers)
    await stage.socket("alice")
    await asyncio.sleep(100)
    assert (await stage.kit.get_room("r1")).status is RoomStatus.PAUSED
    await stage.say("still there")
    assert (await stage.kit.get_room("r1")).status is RoomStatus.ACTIVE
    await asyncio.sleep(50)
    assert (await stage.kit.get_room("r1")).status is RoomStatus.ACTIVE
    await asyncio.sleep(30)
    assert (await stage.kit.get_room("r1")).status is RoomStatus.PAUSED


async def test_retention_is_swept_by_any_worker(house: House) -> None:
    """Events older than the room keeps go, newer ones stay, and indexes are never used again."""
    first = house.worker(retention="1h")
    await first.open()
    await first.socket("alice")
    await first.say("old")
    await asyncio.sleep(timedelta(minutes=30).total_seconds())
    await first.say("newer")
    await house.kill(first)
    second = house.worker()
    await second.kit.start()
    await asyncio.sleep(timedelta(minutes=50).total_seconds())
    assert await second.texts() == ["newer"]
    newest = (await second.kit.get_room("r1")).latest_index
    await second.kit.set_retention("r1", None)
    await asyncio.sleep(timedelta(minutes=70).total_seconds())
    assert await second.texts() == ["newer"]
    await second.kit.set_retention("r1", timedelta(hours=1))
    await asyncio.sleep(timedelta(minutes=30).total_seconds())
    assert await second.texts() == []
    assert (await second.kit.get_room("r1")).latest_index == newest
    for wrong in ("soon", "", "-1d", 0, "10 parsecs", float("inf")):
        with pytest.raises(InvalidInputError, match="length of time"):
            await second.kit.set_retention("r1", wrong)


# -- dead letters and receipts ------------------------------------------------------------------


async def test_dead_letters_are_listed_retried_and_dropped(house: House, two: Any) -> None:
    first, _ = await two(script=[ProviderError("no line"), ProviderError("no line")])
    await first.say("one")
    await first.say("two")
    one, other = await first.kit.list_deliveries(state=FAILED)
    again = await first.kit.retry_delivery(one.id)
    assert (again.id, again.state, again.error) == (one.id, SENT, None)
    dropped = await first.kit.drop_delivery(other.id, "bob left the company")
    assert (dropped.state, dropped.reason) == (SKIPPED, "bob left the company")
    assert dropped.error == other.error
    assert await first.kit.list_deliveries(state=FAILED) == []
    for wrong in (one.id, other.id):
        with pytest.raises(StoreError):
            await first.kit.retry_delivery(wrong)
        with pytest.raises(StoreError):
            await first.kit.drop_delivery(wrong)
    with pytest.raises(DeliveryNotFoundError):
        await first.kit.retry_delivery("nowhere")


async def test_a_receipt_finds_its_delivery_on_any_worker(house: House, two: Any) -> None:
    """Also one that was faster than the note of the send."""
    sent = ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id="bob-1"))
    first, second = await two(delay=5, script=[sent])
    seen = [stage.observe(HookTrigger.ON_DELIVERY_STATUS) for stage in (first, second)]
    saying = first.saying("one")
    await asyncio.sleep(1)
    early = DeliveryStatus(provider="acme", message_id="bob-1", status="delivered")
    assert await second.kit.process_delivery_status(early) is None
    await saying
    await asyncio.sleep(1)
    row = (await house.rows())["bob", "one"]
    assert (row.provider_message_id, row.receipt) == ("bob-1", ReceiptState.DELIVERED)
    assert [[told.event_id for told in each] for each in seen] == [[row.event_id], [None]]
    late = await second.kit.process_delivery_status(early.replace(status="read"))
    assert late is not None
    assert late.receipt is ReceiptState.READ


# -- how the ledger is written ------------------------------------------------------------------


async def test_ends_of_deliveries_ride_with_the_next_commit(house: House, two: Any) -> None:
    """And are written by themselves when nothing else is; reading the ledger waits for no delay."""
    first, _ = await two()
    written: list[int] = []
    complete = house.store.complete

    async def counted(rows: Any, **options: Any) -> Any:
        written.append(len(rows))
        return await complete(rows, **options)

    house.store.complete = counted
    for text in ("one", "two", "three"):
        await first.say(text)
    assert written == []
    states = [row.state for row in (await house.rows()).values()]
    assert states == [SENT, SENT, PENDING]
    assert [row.state for row in await first.kit.list_deliveries("r1")] == [SENT, SENT, SENT]
    assert written == [1]


@asynccontextmanager
async def failing_commits(store: Any) -> AsyncIterator[None]:
    commit = store.commit

    async def fail(_commit: Any) -> Any:
        raise StoreUnavailableError("the store is gone")

    store.commit = fail
    yield
    store.commit = commit


async def test_a_commit_that_fails_loses_no_ends(house: House, two: Any) -> None:
    """What it took along goes with the next one, or by itself."""
    first, _ = await two()
    await first.say("one")
    async with failing_commits(house.store):
        with pytest.raises(StoreUnavailableError):
            await first.say("two")
    await asyncio.sleep(2)
    assert (await house.rows())["bob", "one"].state is SENT


async def test_a_lock_that_was_lost_is_taken_again(house: House, two: Any) -> None:
    first, _ = await two()
    judged: list[str] = []

    @first.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: Any, _context: object) -> HookResult:
        judged.append(text_of(event.content))
        return HookResult.allow()

    commit, losses = house.store.commit, iter([LockLostError("lost"), LockLostError("lost")])

    async def losing(given: Any) -> Any:
        if (loss := next(losses, None)) is not None:
            raise loss
        return await commit(given)

    house.store.commit = losing
    result = await first.say("one")
    assert result.delivery_results["bob"].success
    assert judged == ["one"] * 3
    losses = iter([LockLostError("lost")] * 3)
    with pytest.raises(LockLostError):
        await first.say("two")
    assert await first.texts() == ["one"]


async def test_a_turn_that_the_store_cut_short_is_had_again(house: House, two: Any) -> None:
    """It is not the agent's failure: the answer comes when the store does."""
    first, _ = await two()
    agent = await first.agent("bot", ["lost", "here I am"])
    commit, failures = house.store.commit, iter([None, StoreUnavailableError("gone")])

    async def failing(given: Any) -> Any:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await commit(given)

    house.store.commit = failing
    await first.say("help", wait="committed")
    await asyncio.sleep(LEASE * 2)
    assert await first.texts() == ["help", "here I am"]
    assert len(agent.seen) == 2
    assert {row.state for row in (await house.rows()).values()} == {SENT}


async def test_a_kit_starts_when_its_store_does(house: House) -> None:
    """A start that failed can be tried again; plugins are started once."""
    stage = house.worker()
    opened = house.store.open_lease
    failures = iter([StoreUnavailableError("not yet")])

    async def flaky(seconds: float, **options: Any) -> str:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await opened(seconds, **options)

    house.store.open_lease = flaky
    with pytest.raises(StoreUnavailableError):
        await stage.kit.create_room("r1")
    await stage.kit.create_room("r1")
    assert stage.kit._kernel.ground.lease.worker_id is not None


async def test_a_large_inheritance_is_written_down_in_pieces(house: House, two: Any) -> None:
    """However much a dead worker left, no single write keeps everybody else waiting."""
    first, second = await two(delay=3600)
    slow(second, "bob", 0)
    for number in range(700):
        await first.say(str(number), wait="committed")
    await house.kill(first)
    sizes: list[int] = []
    complete = house.store.complete

    async def measured(rows: Any, **given: Any) -> Any:
        sizes.append(len(rows))
        return await complete(rows, **given)

    house.store.complete = measured
    await asyncio.sleep(LEASE * 3)
    assert heard(second, "bob") == [str(number) for number in range(700)]
    assert {row.state for row in await second.kit.list_deliveries("r1", limit=1000)} == {SENT}
    assert max(sizes) <= 200
    assert sum(sizes) == 700


# -- waiting work holds up nothing else ----------------------------------------------------------


@pytest.mark.parametrize("why", ["pause", "limit", "retry"])
async def test_deliveries_that_wait_for_their_pace_hold_up_no_other_room(
    house: House, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A worker that reclaims more of them than it works on at a time goes on with the next room."""
    monkeypatch.setattr("roomkit.kernel.cluster.reclaim._MAX_UNDER_WAY", 5)
    limit = RateLimit(max_per_hour=1) if why == "limit" else None
    first = house.worker()
    await first.open()
    await first.kit.create_room("r2")
    for name in ("alice", "slow", "fast"):
        await add(first, name, attach=False)
    await first.kit.attach_channel("r1", "alice")
    await first.kit.attach_channel("r1", "slow", rate_limit=limit, retry_policy=RetryPolicy())
    for name in ("alice", "fast"):
        await first.kit.attach_channel("r2", name)
    for name in ("slow", "fast"):
        slow(first, name, 3600)
    waiting = [first.saying(str(number)) for number in range(20)]
    waiting.append(first.saying("now", room="r2"))
    await asyncio.sleep(1)
    await house.kill(first)

    second = house.worker()
    busy = ProviderError("busy", error_code=ErrorCode.OVERLOADED, retry_after=3000)
    for name in ("alice", "slow", "fast"):
        script = [busy] if why == "retry" and name == "slow" else []
        await add(second, name, attach=False, script=script)
    if why == "pause":
        second.kit._kernel.sending.pacing.pause("slow", 3000)
    await second.kit.start()
    await asyncio.sleep(30)
    assert heard(second, "fast") == ["now"]
    assert len(heard(second, "slow")) <= 1
    for each in waiting:
        each.cancel()
