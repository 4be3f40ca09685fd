"""Several workers on one store: who carries out what, when one is killed, paused, or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelOutput, RateLimit, RetryPolicy
from roomkit.models.content import text_of
from roomkit.models.delivery import DeliveryStatus, ProviderResult
from roomkit.models.enums import DeliveryState, HookTrigger, ReceiptState, RoomStatus
from roomkit.models.hook import HookResult
from roomkit.models.room import RoomTimers
from roomkit.models.telemetry import Attr, SpanKind
from roomkit_plugins.testing import (
    MockTelemetryProvider,
    RecordingChannel,
    ScriptedIntelligence,
    VirtualClock,
)

pytestmark = pytest.mark.virtual_time

LEASE = 9.0
PENDING, SENT, FAILED, SKIPPED = (
    DeliveryState.PENDING,
    DeliveryState.SENT,
    DeliveryState.FAILED,
    DeliveryState.SKIPPED,
)


class SharedStore(InMemoryStore):
    """A store that says it outlives its workers; `gone` has every write fail."""

    write_delay = 0.5
    gone = False

    @property
    def is_process_local(self) -> bool:
        return False

    async def complete(self, *args: Any, **options: Any) -> Any:
        self._fail_if_gone()
        return await super().complete(*args, **options)

    async def renew_lease(self, *args: Any, **options: Any) -> bool:
        self._fail_if_gone()
        return await super().renew_lease(*args, **options)

    def _fail_if_gone(self) -> None:
        if self.gone:
            raise StoreUnavailableError("the store is gone")


class Carried(RecordingChannel):
    """A transport with a provider's name, so that receipts can be told apart."""

    @property
    def provider_name(self) -> str | None:
        return "acme"


class House:
    """Workers that share a store, locks and realtime, as kits of one event loop."""

    def __init__(self, stage_class: type[Any]) -> None:
        self._stage_class = stage_class
        self.store = SharedStore()
        self.locks = InMemoryLockManager()
        self.realtime = InMemoryRealtime()
        self.stages: list[Any] = []

    def worker(self, **options: Any) -> Any:
        """Return a worker that is not started yet."""
        stage = self._stage_class(
            store=self.store,
            lock_manager=self.locks,
            realtime=self.realtime,
            single_process=True,
            lease_seconds=LEASE,
            **options,
        )
        self.stages.append(stage)
        return stage

    async def kill(self, stage: Any) -> None:
        """End a worker as SIGKILL would: nothing is said, written or given back."""
        supervisor = stage.kit._kernel.supervisor
        stage.kit._kernel.ledger._rows.clear()
        stage.kit._kernel.ledger._timers.clear()
        supervisor.start = supervisor.serve = lambda work, *args, **options: work.close()
        for task in [*supervisor._services, *supervisor._tasks]:
            task.cancel()
        await asyncio.sleep(0)
        self.stages.remove(stage)

    async def rows(self, room: str = "r1") -> dict[str, Any]:
        """Return the ledger's rows by channel and text."""
        found = {}
        for row in await self.store.list_deliveries(room, limit=1000):
            event = await self.store.get_event(row.event_id)
            found[row.channel_id, text_of(event.content)] = row
        return found


@pytest.fixture
async def house(bare_stage: type[Any]) -> AsyncIterator[House]:
    """Return a house without workers."""
    house = House(bare_stage)
    yield house
    house.store.gone = False
    for stage in house.stages:
        await stage.kit.close()


@pytest.fixture
def two(house: House) -> Callable[[], Awaitable[tuple[Any, Any]]]:
    """Return what makes two started workers and the room `r1` with alice and bob.

    The second worker's clock is ahead of the first one's by so many seconds.
    """

    async def make(ahead: float = 0.0, **bob: Any) -> tuple[Any, Any]:
        clock = VirtualClock(VirtualClock().now() + timedelta(seconds=ahead))
        first, second = house.worker(), house.worker(clock=clock)
        await first.open()
        for stage, join in ((first, True), (second, False)):
            for name, options in (("alice", {}), ("bob", bob)):
                await add(stage, name, attach=join, **options)
            await stage.kit.start()
        return first, second

    return make


async def add(stage: Any, name: str, *, attach: bool, **options: Any) -> RecordingChannel:
    """Register a transport with a worker, and attach it to the room once."""
    channel = Carried(name, **options)
    if attach:
        return await stage.join(channel)
    stage.kit.register_channel(channel)
    return channel


def slow(stage: Any, name: str, seconds: float) -> None:
    """Have a worker's channel take so long for each delivery from now on."""
    stage.kit.get_channel(name)._script.delay = seconds


def heard(stage: Any, name: str) -> list[str]:
    """Return what a worker's channel has delivered."""
    return stage.kit.get_channel(name).texts()


# -- a worker that is killed --------------------------------------------------------------------


async def test_what_a_killed_worker_had_begun_is_finished_by_another(house: House, two: Any) -> None:
    """In order, under the same keys, and each row ends once."""
    first, second = await two(delay=3600)
    slow(second, "bob", 0)
    for text in ("one", "two", "three"):
        await first.say(text, wait="committed")
    before = await house.rows()
    assert {row.state for row in before.values()} == {PENDING}
    await house.kill(first)
    await asyncio.sleep(LEASE * 2)
    assert heard(second, "bob") == ["one", "two", "three"]
    after = await house.rows()
    assert {key: row.id for key, row in after.items()} == {key: row.id for key, row in before.items()}
    assert {row.state for row in after.values()} == {SENT}
    assert {row.claims for row in after.values()} == {1}
    assert {row.holder for row in after.values()} == {None}


async def test_what_another_worker_finishes_is_in_the_same_trace(house: House) -> None:
    """Deliveries, an agent's turn and answer, observers: below the broadcast of the killed one."""
    providers = [MockTelemetryProvider(), MockTelemetryProvider()]
    first, second = (house.worker(telemetry=provider) for provider in providers)
    await first.open()
    seen = second.observe(HookTrigger.AFTER_BROADCAST, name="watch")
    first.observe(HookTrigger.AFTER_BROADCAST, name="watch")
    for stage, attach, delay in ((first, True, 3600), (second, False, 0)):
        await add(stage, "alice", attach=attach)
        await add(stage, "bob", attach=attach, delay=delay)
        bot = ScriptedIntelligence("bot", ["an answer"], delay=delay)
        await (stage.join(bot) if attach else asyncio.sleep(0))
        if not attach:
            stage.kit.register_channel(bot)
        await stage.kit.start()
    await first.say("one", wait="committed")
    (broadcast,) = (span for span in providers[0].spans if span.kind is SpanKind.BROADCAST)
    await house.kill(first)
    await asyncio.sleep(LEASE * 4)
    spans = {span.id: span for span in (*providers[0].spans, *providers[1].spans)}
    work = [span for span in providers[1].spans if span.kind is not SpanKind.STORE_QUERY]

    def is_below(span: Any) -> bool:
        while span.id != broadcast.id:
            if span.parent_id is None:
                return False
            span = spans[span.parent_id]
        return True

    assert [text_of(event.content) for event in seen] == ["an answer", "one"]
    assert {span.channel_id for span in work if span.kind is SpanKind.DELIVERY} == {"alice", "bob", "bot"}
    assert sum(span.kind is SpanKind.HOOK_ASYNC for span in work) == 2
    assert all(is_below(span) for span in work)
    assert {span.attributes[Attr.TRACE_ID] for span in work} == {broadcast.attributes[Attr.TRACE_ID]}


async def test_a_worker_that_is_started_again_finishes_its_own_work(house: House, two: Any) -> None:
    """Though the program registers its channels only after the kit has started."""
    first, second = await two(delay=3600)
    await house.kill(second)
    await first.say("one", wait="committed")
    await house.kill(first)
    await asyncio.sleep(LEASE * 2)
    again = house.worker()
    await again.kit.start()
    await asyncio.sleep(1)
    assert (await house.rows())["bob", "one"].state is PENDING
    channel = await add(again, "bob", attach=False)
    await asyncio.sleep(1)
    assert channel.texts() == ["one"]
    assert (await house.rows())["bob", "one"].state is SENT


async def test_what_ended_but_was_not_written_down_is_delivered_again_with_its_key(
    house: House, two: Any
) -> None:
    """The vendor sees it twice, under one idempotency key."""
    first, second = await two()
    await first.say("one")
    assert heard(first, "bob") == ["one"]
    await house.kill(first)
    await asyncio.sleep(LEASE * 2)
    assert heard(second, "bob") == ["one"]
    (one,), (other,) = (stage.kit.get_channel("bob").delivered for stage in (first, second))
    assert one.context.delivery.id == other.context.delivery.id


async def test_a_delivery_that_outlives_its_workers_is_given_up(house: House, two: Any) -> None:
    """It may be what kills them: it ends as a dead letter, and can be retried."""
    first, second = await two(delay=3600)
    await house.kill(second)
    await first.say("poison", wait="committed")
    for _ in range(8):
        await house.kill(house.stages[0])
        await asyncio.sleep(LEASE * 2)
        stage = house.worker()
        await add(stage, "bob", attach=False, delay=3600)
        await stage.kit.start()
        await asyncio.sleep(1)
        assert (await house.rows())["bob", "poison"].state is PENDING
    await house.kill(house.stages[0])
    await asyncio.sleep(LEASE * 2)
    last = house.worker()
    channel = await add(last, "bob", attach=False)
    await last.kit.start()
    await asyncio.sleep(1)
    row = (await house.rows())["bob", "poison"]
    assert (row.state, row.error.code, row.claims) == (FAILED, "worker_lost", 9)
    assert channel.attempts == []
    assert (await last.kit.retry_delivery(row.id)).state is SENT
    assert len(channel.delivered) == 1


async def test_a_worker_that_closes_leaves_its_work_to_others_at_once(house: House, two: Any) -> None:
    first, second = await two(delay=3600)
    slow(second, "bob", 0)
    await first.say("one", wait="committed")
    await first.kit.close()
    house.stages.remove(first)
    await asyncio.sleep(LEASE / 2)
    assert heard(second, "bob") == ["one"]
    assert (await house.rows())["bob", "one"].claims == 0


# -- lanes over workers -------------------------------------------------------------------------


async def test_a_lane_is_one_workers_for_as_long_as_it_has_work(house: House, two: Any) -> None:
    first, second = await two(delay=5)
    await first.say("one", wait="committed")
    await second.say("two", wait="committed")
    await first.say("three", wait="committed")
    await asyncio.sleep(30)
    assert heard(first, "bob") == ["one", "two", "three"]
    assert heard(second, "bob") == []
    assert {row.state for row in (await house.rows()).values()} == {SENT}
    await second.say("four")
    assert heard(second, "bob") == ["four"]


async def test_a_worker_that_is_not_called_looks_by_itself(house: House, two: Any) -> None:
    """A lost signal costs a third of a lease, not the message."""
    first, second = await two(delay=5)

    async def lost(*_: Any) -> None:
        pass

    second.kit.realtime.publish = lost
    await first.say("one", wait="committed")
    await second.say("two", wait="committed")
    await asyncio.sleep(LEASE + 15)
    assert heard(first, "bob") == ["one", "two"]


async def test_lanes_do_not_wait_for_lanes_of_another_worker(house: House, two: Any) -> None:
    """Bob's carrier is stuck at one worker; alice hears the other one at once."""
    first, second = await two(delay=3600)
    await first.say("one", wait="committed")
    await second.say("two", channel="bob", wait="committed")
    await asyncio.sleep(0.1)
    assert heard(second, "alice") == ["two"]


# -- a worker that is paused or cut off ---------------------------------------------------------


async def test_workers_that_take_turns_in_a_room_hand_over_once(house: House, two: Any) -> None:
    """From then on outcomes are written at once, so each worker finds the lanes free."""
    first, second = await two()
    for number in range(8):
        await (second if number % 2 else first).say(f"{number}", wait="settled")
        await asyncio.sleep(0)
    assert heard(first, "bob") == ["0", "1", "2", "4", "6"]
    assert heard(second, "bob") == ["3", "5", "7"]


async def test_outcomes_in_a_shared_room_are_shown_at_once_and_written_with_the_next_commit(
    house: House, two: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """No caller waits for a disk; that a row has ended already when it is written is no loss."""
    first, second = await two()
    written: list[tuple[str, bool]] = []
    complete = house.store.complete

    async def counted(rows: Any, **options: Any) -> Any:
        written.extend((row.channel_id, options.get("durable", True)) for row in rows)
        return await complete(rows, **options)

    for number in range(3):
        await (second if number % 2 else first).say(f"{number}", wait="settled")
        await asyncio.sleep(0)
    house.store.complete = counted
    await second.say("3", wait="settled")
    assert {state.state for state in (await house.rows()).values()} == {SENT}
    assert written
    assert not any(durable for _, durable in written)
    await second.say("4", wait="settled")
    await asyncio.sleep(2.0)
    assert second.kit._kernel.ledger.refused == 0
    assert not second.kit._kernel.ledger
    assert "were not written" not in caplog.text


async def test_a_failure_in_a_shared_room_is_written_before_it_shows(house: House, two: Any) -> None:
    """It may be retried as soon as it shows, and what is written again must not undo the retry."""
    first, second = await two()
    for number in range(3):
        await (second if number % 2 else first).say(f"{number}", wait="settled")
        await asyncio.sleep(0)

    async def fail(*_: Any) -> Any:
        raise ProviderError("no line")

    second.kit.get_channel("bob").deliver = fail
    durable: list[bool] = []
    complete = house.store.complete

    async def counted(rows: Any, **options: Any) -> Any:
        durable.extend(options.get("durable", True) for row in rows if row.state is FAILED)
        return await complete(rows, **options)

    house.store.complete = counted
    await second.say("failing", wait="settled")
    assert durable == [True]
    assert (await house.rows())["bob", "failing"].state is FAILED


async def test_outcomes_wait_again_when_a_room_had_no_hand_over_for_ten_seconds(
    house: House, two: Any
) -> None:
    """Also where the store failed in between: nothing is lost."""
    first, second = await two()
    await first.say("one", wait="settled")
    await second.say("two", wait="settled")
    house.store.gone = True
    await first.say("three", wait="settled")
    house.store.gone = False
    await asyncio.sleep(2.0)
    assert {row.state for row in (await house.rows()).values()} == {SENT}
    await asyncio.sleep(10.0)
    await first.say("four", wait="settled")
    assert (await house.rows())["bob", "four"].state is PENDING


async def test_a_worker_that_oversleeps_is_overtaken_and_stops(house: House, two: Any) -> None:
    first, second = await two()
    slow(first, "bob", LEASE * 1.5)
    first_id = first.kit._kernel.lease.worker_id

    async def asleep(*_: Any) -> bool:
        await asyncio.sleep(LEASE * 2)
        return True

    house.store.renew_lease, renew = asleep_for(first_id, asleep, house.store), house.store.renew_lease
    for text in ("one", "two"):
        await first.say(text, wait="committed")
    await asyncio.sleep(LEASE * 4)
    house.store.renew_lease = renew
    assert heard(second, "bob") == ["one", "two"]
    assert heard(first, "bob") == ["one"], "the second was not begun: the lease was over"
    assert {row.state for row in (await house.rows()).values()} == {SENT}
    await asyncio.sleep(LEASE * 2)
    assert first.kit._kernel.lease.worker_id not in (first_id, None)
    assert first.kit._kernel.lease.lost == 1
    await first.say("three")
    await first.kit.list_deliveries()
    assert (await house.rows())["bob", "three"].state is SENT


def asleep_for(worker_id: str, asleep: Any, store: Any) -> Any:
    renew = type(store).renew_lease

    async def chosen(renewing: str, seconds: float) -> bool:
        return await (asleep() if renewing == worker_id else renew(store, renewing, seconds))

    return chosen


# -- channels that not every worker has ------------------------------------------------------------


@pytest.fixture
async def mixed(house: House) -> tuple[Any, Any]:
    """Two workers and a room with `alice` and `bob`; only the second has `bob`."""
    first, second = house.worker(), house.worker()
    await second.open()
    for name in ("alice", "bob"):
        await add(second, name, attach=True)
    first.kit.register_channel(Carried("alice"))
    await first.kit.start()
    return first, second


async def test_a_worker_hands_over_deliveries_of_channels_it_lacks(house: House, mixed: Any) -> None:
    """At the commit, to a worker that has announced the channel; in order."""
    first, second = mixed
    for text in ("one", "two"):
        await first.say(text)
    await asyncio.sleep(1)  # less than a look of its own takes
    assert heard(second, "bob") == ["one", "two"]
    assert {row.state for row in (await house.rows()).values()} == {SENT}


async def test_a_delivery_waits_for_a_worker_that_has_its_channel(house: House, mixed: Any) -> None:
    """It is reported after one lease, once, and delivered as soon as the channel is registered."""
    first, second = mixed
    unclaimed: list[Any] = []

    @first.kit.on("delivery_unclaimed")
    async def note(event: Any) -> None:
        unclaimed.append((event.channel_id, event.data["deliveries"]))

    await house.kill(second)
    await asyncio.sleep(LEASE * 2)
    for text in ("one", "two"):
        await first.say(text)
    await asyncio.sleep(LEASE / 2)
    assert unclaimed == []
    await asyncio.sleep(LEASE * 4)
    assert unclaimed == [("bob", 2)]
    assert {row.state for row in (await house.rows()).values()} == {PENDING}
    channel = Carried("bob")
    first.kit.register_channel(channel)
    await asyncio.sleep(0.1)
    assert channel.texts() == ["one", "two"]


async def test_what_a_dead_worker_left_goes_only_to_a_worker_with_the_channel(
    house: House, mixed: Any
) -> None:
    _, second = mixed
    slow(second, "bob", 3600)
    await second.say("one", wait="committed")
    await house.kill(second)
    await asyncio.sleep(LEASE * 4)
    assert (await house.rows())["bob", "one"].state is PENDING
    third = house.worker()
    third.kit.register_channel(channel := Carried("bob"))
    await third.kit.start()
    await asyncio.sleep(0.1)
    assert channel.texts() == ["one"]
    await asyncio.sleep(1)
    row = (await house.rows())["bob", "one"]
    assert (row.state, row.claims) == (SENT, 1)


async def test_a_channel_that_no_worker_has_fails_its_deliveries(house: House, mixed: Any) -> None:
    """After `unclaimed_after`, as a dead letter that says what to do; not while a worker announces it."""
    first, second = mixed
    await house.kill(second)
    await asyncio.sleep(LEASE * 2)
    await first.say("one")
    await asyncio.sleep(800)
    third = house.worker()
    third.kit.register_channel(Carried("carol"))
    await third.kit.start()
    assert (await house.rows())["bob", "one"].state is PENDING
    await asyncio.sleep(100 + LEASE * 3)
    row = (await house.rows())["bob", "one"]
    assert (row.state, row.error.code) == (FAILED, "channel_not_registered")
    assert "register_channel" in row.error.message


async def test_all_deliveries_that_wait_for_a_missing_channel_fail_together(house: House, mixed: Any) -> None:
    """Each does not wait for the channel again: a backlog would take hours, and hold up its observers."""
    first, second = mixed
    await house.kill(second)
    await asyncio.sleep(LEASE * 2)
    for number in range(20):
        await first.say(f"{number}")
    await asyncio.sleep(900 + LEASE * 4)
    rows = [row for (channel_id, _), row in (await house.rows()).items() if channel_id == "bob"]
    assert [row.state for row in rows] == [FAILED] * 20


async def test_a_channel_that_is_unregistered_is_no_longer_announced(house: House, mixed: Any) -> None:
    first, second = mixed
    await second.kit.unregister_channel("bob")
    await asyncio.sleep(0.1)
    await first.say("one")
    await second.say("two")
    await asyncio.sleep(LEASE)
    rows = await house.rows()
    assert [rows["bob", text].state for text in ("one", "two")] == [PENDING, PENDING]


async def test_a_store_that_is_gone_for_a_while_loses_nothing(house: House, two: Any) -> None:
    first, second = await two()
    await first.say("one")
    house.store.gone = True
    await asyncio.sleep(LEASE * 3)
    assert (await house.store.list_deliveries("r1"))[0].state is PENDING
    house.store.gone = False
    await asyncio.sleep(LEASE * 3)
    assert {row.state for row in (await house.rows()).values()} == {SENT}
    await first.say("two")
    await second.say("three")
    await asyncio.sleep(1)
    assert {row.state for row in (await house.rows()).values()} == {SENT}


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


async def test_retention_is_swept_by_whoever_is_there(house: House) -> None:
    """Events older than the room keeps go, newer ones stay, and indexes are never used again."""
    first = house.worker(retention="30h")
    await first.open()
    await first.socket("alice")
    await first.say("old")
    await asyncio.sleep(timedelta(hours=2).total_seconds())
    await first.say("newer")
    await house.kill(first)
    second = house.worker()
    await second.kit.start()
    await asyncio.sleep(timedelta(hours=29).total_seconds())
    assert await second.texts() == ["newer"]
    newest = (await second.kit.get_room("r1")).latest_index
    await second.kit.set_retention("r1", None)
    await asyncio.sleep(timedelta(hours=31).total_seconds())
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
    assert stage.kit._kernel.lease.worker_id is not None


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


# -- what waits holds up nothing else ------------------------------------------------------------


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
        second.kit._kernel.pacing.pause("slow", 3000)
    await second.kit.start()
    await asyncio.sleep(30)
    assert heard(second, "fast") == ["now"]
    assert len(heard(second, "slow")) <= 1
    for each in waiting:
        each.cancel()
