"""Several workers on one store: who carries out what, when one is killed, paused, or cut off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.abc.errors import ProviderError
from roomkit.models.content import text_of
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.telemetry import Attr, SpanKind
from roomkit_plugins.testing import MockTelemetryProvider, ScriptedIntelligence

from .house import FAILED, LEASE, PENDING, SENT, Carried, House, add, heard, slow

pytestmark = pytest.mark.virtual_time


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
    assert second.kit._kernel.outcomes.ledger.refused == 0
    assert not second.kit._kernel.outcomes.ledger
    assert "were not written" not in caplog.text


async def test_a_failure_in_a_shared_room_is_written_before_it_shows(house: House, two: Any) -> None:
    """It may be retried as soon as it shows, and the repeated write must not undo the retry."""
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
    first_id = first.kit._kernel.ground.lease.worker_id

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
    assert first.kit._kernel.ground.lease.worker_id not in (first_id, None)
    assert first.kit._kernel.ground.lease.lost == 1
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


async def test_observers_do_not_wait_for_a_channel_that_no_worker_has(house: House, mixed: Any) -> None:
    """They see the event once it has been missing for a lease; the delivery is carried out all the same."""
    first, second = mixed
    seen: list[str] = []

    @first.kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
    async def note(event: Any, context: Any) -> None:
        seen.append(text_of(event.content))

    await house.kill(second)
    await asyncio.sleep(LEASE * 2)
    await first.say("one")
    await asyncio.sleep(LEASE / 2)
    assert seen == []
    await asyncio.sleep(LEASE * 2)
    assert seen == ["one"]
    assert (await house.rows())["bob", "one"].state is PENDING
    third = house.worker()
    third.kit.register_channel(Carried("bob"))
    await third.kit.start()
    await asyncio.sleep(LEASE)
    assert (await house.rows())["bob", "one"].state is SENT
    assert seen == ["one"]


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
