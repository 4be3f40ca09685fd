"""Deliveries that wait beyond what memory holds: their ledger row is enough until their turn comes."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from random import Random
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.kernel.flow.deferred import Deferred, Remainder
from roomkit.kernel.flow.draft import Run
from roomkit.kernel.flow.job import Job
from roomkit.models.channel import RetryPolicy
from roomkit.models.content import text_of
from roomkit.models.delivery import DeliveryResult
from roomkit.models.enums import DeliveryState, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing import Hang

from .house import FAILED, LEASE, PENDING, SENT, SKIPPED, House, SharedStore, add, heard

pytestmark = pytest.mark.virtual_time

ONCE = RetryPolicy(max_retries=0)
LONG = 10**6


class PagedStore(SharedStore):
    """A store that counts the pages that lanes read again, and how long they are."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[int] = []

    async def read_lane(self, *args: Any, **options: Any) -> Any:
        self._fail_if_gone()
        rows = await super().read_lane(*args, **options)
        self.pages.append(len(rows))
        return rows


@pytest.fixture
def durable(staging: Any) -> Any:
    """Return what makes a stage on a store that outlives its worker."""

    def made(**options: Any) -> Any:
        options.setdefault("store", PagedStore())
        options.setdefault("max_waiting_in_memory", 4)
        return staging(single_process=True, delivery_timeout=LONG, lease_seconds=LEASE, **options)

    return made


def waiting(stage: Any) -> Counter[str]:
    """Count the entries that wait in all lanes, by their kind."""
    lanes = stage.kit._kernel.work.lanes._lanes.values()
    return Counter(type(each).__name__ for lane in lanes for each in lane.queue)


def texts(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def hanging(stage: Any, count: int, *names: str, **binding: Any) -> list[Hang]:
    """Say so many things to channels that do not end their first delivery; return what releases them."""
    await stage.kit.start()
    await stage.socket("alice")
    hangs = [Hang() for _ in names]
    for name, hang in zip(names, hangs, strict=True):
        await stage.socket(name, script=[hang], **binding)
    for text in texts(count):
        await stage.say(text, wait="committed")
    return hangs


async def ended(stage: Any, channel: str = "bob") -> Counter[tuple[DeliveryState, str | None]]:
    """Count how the deliveries to a channel ended, once all under way has."""
    await stage.idle()
    await asyncio.sleep(1)
    rows = await stage.kit.list_deliveries("r1", channel_id=channel, limit=100_000)
    return Counter((row.state, row.reason) for row in rows)


class TestOrder:
    async def test_all_that_waited_goes_out_once_and_in_order(self, durable: Any) -> None:
        """Observers see each event after its deliveries."""
        async with durable(max_waiting_in_memory=100) as stage:
            seen = stage.observe(HookTrigger.AFTER_BROADCAST)
            (hang,) = await hanging(stage, 1_000, "bob")
            assert waiting(stage) == {"Job": 32, "Deferred": 999 - 32}
            assert seen == []
            hang.release()
            assert await ended(stage) == {(SENT, None): 1_000}
            assert stage.kit.get_channel("bob").texts() == texts(1_000)
            assert [text_of(event.content) for event in seen] == texts(1_000)
            rows = await stage.kit.list_deliveries("r1", channel_id="bob", limit=10_000)
            assert {row.claims for row in rows} == {0}
            assert {row.attempts for row in rows} == {1}

    async def test_a_page_is_one_request(self, durable: Any) -> None:
        """However many wait."""
        async with durable(max_waiting_in_memory=100) as stage:
            (hang,) = await hanging(stage, 1 + 32 + 320, "bob")
            hang.release()
            await stage.idle()
            assert stage.seen_by_store.pages == [32] * 10

    async def test_lanes_share_the_bound(self, durable: Any) -> None:
        """One job waits in each at least."""
        async with durable(max_waiting_in_memory=4) as stage:
            names = ("bob", "carol", "dave", "erin", "frank", "grace")
            hangs = await hanging(stage, 10, *names)
            assert waiting(stage) == {"Job": len(names), "Deferred": len(names) * 8}
            for hang in hangs:
                hang.release()
            for name in names:
                assert await ended(stage, name) == {(SENT, None): 10}
                assert stage.kit.get_channel(name).texts() == texts(10)

    async def test_a_caller_that_waits_gets_the_outcome_in_its_turn(self, durable: Any) -> None:
        """Its delivery keeps its place between deferred ones."""
        async with durable() as stage:
            (hang,) = await hanging(stage, 10, "bob")
            asked = stage.saying("asked")
            await asyncio.sleep(1)
            await stage.say("last", wait="committed")
            assert waiting(stage) == {"Job": 5, "Deferred": 6}
            assert not asked.done()
            hang.release()
            result = (await asked).delivery_results["bob"]
            assert isinstance(result, DeliveryResult)
            assert result.success
            await stage.idle()
            assert stage.kit.get_channel("bob").texts() == [*texts(10), "asked", "last"]

    async def test_a_store_that_ends_with_the_process_defers_nothing(self, staging: Any) -> None:
        """Its rows are the memory."""
        async with staging(max_waiting_in_memory=1, delivery_timeout=LONG) as stage:
            (hang,) = await hanging(stage, 10, "bob")
            assert waiting(stage) == {"Job": 9}
            hang.release()


class TestMemory:
    async def test_what_waits_holds_no_event_no_run_and_no_job(self, durable: Any) -> None:
        """Its place, and one object for the event, which its deliveries share."""
        async with durable(max_waiting_in_memory=10, store=Forgetful()) as stage:
            hangs = await hanging(stage, 10, "bob", "carol")
            kinds = (Job, Run, RoomEvent, Deferred, Remainder)
            before = held(*kinds)
            for text in texts(200):
                await stage.say(text, wait="committed")
            await asyncio.sleep(LEASE)
            after = held(*kinds)
            grown = {kind.__name__: after[kind] - before[kind] for kind in kinds}
            # The store of this test is memory: what it holds of 200 events is one event each.
            assert grown == {"Job": 0, "Run": 0, "RoomEvent": 200, "Deferred": 400, "Remainder": 200}
            for hang in hangs:
                hang.release()


class Forgetful(PagedStore):
    """A store without the deferred writes of outcomes, so that nothing waits beside the lanes."""

    write_delay = 0.0


def held(*kinds: type) -> Counter[type]:
    gc.collect()
    return Counter(kind for each in gc.get_objects() if (kind := type(each)) in kinds)


class TestRefusals:
    async def test_a_full_lane_refuses_deferred_or_not(self, durable: Any) -> None:
        async with durable(max_lane_backlog=8) as stage:
            (hang,) = await hanging(stage, 12, "bob")
            hang.release()
            assert await ended(stage) == {(SENT, None): 9, (FAILED, None): 3}
            assert stage.kit.get_channel("bob").texts() == texts(9)

    async def test_failures_of_deferred_deliveries_are_reported_with_their_event(self, durable: Any) -> None:
        """Once, when the last delivery has ended, with all of them."""
        async with durable() as stage:
            hangs = [Hang(), Hang()]
            await stage.kit.start()
            await stage.socket("alice")
            for name, hang in zip(("bob", "carol"), hangs, strict=True):
                await stage.socket(name, script=[hang, *(broken() for _ in range(9))], retry_policy=ONCE)
            for text in texts(10):
                await stage.say(text, wait="committed")
            hangs[0].release()
            await asyncio.sleep(1)
            hangs[1].release()
            await stage.idle()
            reported = [each.data for each in stage.told if each.type == "broadcast_partial_failure"]
            assert [(each["failed"], each["total"]) for each in reported] == [(2, 2)] * 9
            assert all(set(each["errors"]) == {"bob", "carol"} for each in reported)
            processed = [each for each in stage.told if each.type == "event_processed"]
            assert len(processed) == 10


def broken() -> ProviderError:
    return ProviderError("out of order", error_code=ErrorCode.AUTH)


class TestObservers:
    async def test_an_event_with_several_deferred_deliveries_is_observed_once(self, durable: Any) -> None:
        """After the last of them, whichever lane is the slower one."""
        async with durable() as stage:
            seen = stage.observe(HookTrigger.AFTER_BROADCAST)
            slow_one, fast = await hanging(stage, 20, "bob", "carol")
            fast.release()
            await asyncio.sleep(LEASE * 3)
            assert stage.kit.get_channel("carol").texts() == texts(20)
            assert seen == []
            slow_one.release()
            await stage.idle()
            assert [text_of(event.content) for event in seen] == texts(20)
            await asyncio.sleep(LEASE * 3)
            assert len(seen) == 20
            assert await stage.kit.store.list_timers("r1") == []


class TestChanges:
    async def test_an_erased_persons_words_are_not_sent(self, durable: Any) -> None:
        """And the receipt names only the delivery under way."""
        async with durable() as stage:
            seen = stage.observe(HookTrigger.AFTER_BROADCAST)
            (hang,) = await hanging(stage, 20, "bob")
            receipt = await stage.kit.erase_person(participant_id="alice")
            rows = await stage.kit.list_deliveries("r1", channel_id="bob", state=PENDING)
            assert len(rows) == 1
            hang.release()
            assert await ended(stage) == {(SENT, None): 1, (SKIPPED, "erased"): 19}
            assert stage.kit.get_channel("bob").texts() == ["0"]
            under_way = [each.ids for each in receipt.retained if each.reason == "under_way"]
            assert under_way == [tuple(row.id for row in rows)]
            assert len([each for each in seen if each.type == "message"]) == 20
            await asyncio.sleep(LEASE * 3)
            assert await stage.kit.store.list_timers("r1") == []

    async def test_a_detached_channel_is_sent_no_more_of_what_was_deferred(self, durable: Any) -> None:
        async with durable() as stage:
            (hang,) = await hanging(stage, 20, "bob")
            await stage.kit.detach_channel("r1", "bob")
            hang.release()
            ends = await ended(stage)
            assert ends[SKIPPED, "channel_detached"] == 15
            assert PENDING not in {state for state, _ in ends}

    async def test_a_deleted_room_leaves_nothing(self, durable: Any) -> None:
        async with durable() as stage:
            (hang,) = await hanging(stage, 20, "bob")
            await stage.kit.delete_room("r1")
            hang.release()
            await stage.idle()
            assert stage.kit.get_channel("bob").texts() == texts(5)

    async def test_an_erased_room_sends_no_more(self, durable: Any) -> None:
        async with durable() as stage:
            (hang,) = await hanging(stage, 20, "bob")
            await stage.kit.erase_room("r1")
            hang.release()
            await stage.idle()
            assert stage.kit.get_channel("bob").texts() == ["0"]

    async def test_what_waited_for_an_unregistered_channel_waits_for_it(self, durable: Any) -> None:
        """In the ledger, for a worker that has it."""
        async with durable() as stage:
            (hang,) = await hanging(stage, 20, "bob")
            await stage.kit.unregister_channel("bob")
            hang.release()
            await stage.idle()
            await asyncio.sleep(LEASE)
            rows = await stage.kit.list_deliveries("r1", channel_id="bob", state=PENDING)
            assert len(rows) == 15
            again = await add(stage, "bob", attach=False)
            await asyncio.sleep(LEASE)
            assert again.texts() == texts(20)[5:]
            assert await ended(stage) == {(SENT, None): 20}


class TestLosses:
    async def test_what_a_killed_worker_deferred_is_finished_by_another(self, house: House) -> None:
        """In order, once, though it defers most of it as well."""
        first, second = [house.worker(max_waiting_in_memory=4) for _ in range(2)]
        seen = second.observe(HookTrigger.AFTER_BROADCAST)
        first.observe(HookTrigger.AFTER_BROADCAST)
        await first.open()
        for stage, attach in ((first, True), (second, False)):
            await add(stage, "alice", attach=attach)
            await add(stage, "bob", attach=attach, delay=3600 if attach else 1)
            await stage.kit.start()
        for text in texts(40):
            await first.say(text, wait="committed")
        assert waiting(first)["Deferred"] == 35
        await house.kill(first)
        await asyncio.sleep(LEASE * 2)
        assert waiting(second)["Deferred"] > 10
        await asyncio.sleep(60)
        assert heard(second, "bob") == texts(40)
        rows = await house.rows()
        assert {row.state for row in rows.values()} == {SENT}
        assert {row.claims for row in rows.values()} == {1}
        await asyncio.sleep(LEASE * 3)
        assert sorted(text_of(event.content) for event in seen) == sorted(texts(40))

    async def test_what_another_worker_commits_joins_behind(self, house: House) -> None:
        first, second = [house.worker(max_waiting_in_memory=4) for _ in range(2)]
        await first.open()
        for stage, attach in ((first, True), (second, False)):
            await add(stage, "alice", attach=attach)
            await add(stage, "bob", attach=attach, delay=1)
            await stage.kit.start()
        for number in range(40):
            await (first, second)[number >= 20].say(str(number), wait="committed")
        await asyncio.sleep(60)
        assert heard(first, "bob") + heard(second, "bob") == texts(40)
        assert {row.state for row in (await house.rows()).values()} == {SENT}

    async def test_a_worker_that_closes_leaves_what_it_deferred(self, house: House) -> None:
        first, second = [house.worker(max_waiting_in_memory=4, close_timeout=3) for _ in range(2)]
        await first.open()
        for stage, attach in ((first, True), (second, False)):
            await add(stage, "alice", attach=attach)
            await add(stage, "bob", attach=attach, delay=1)
            await stage.kit.start()
        for text in texts(40):
            await first.say(text, wait="committed")
        await first.kit.close()
        house.stages.remove(first)
        await asyncio.sleep(60)
        done = heard(first, "bob")
        assert 0 < len(done) < 40
        assert done + heard(second, "bob") == texts(40)

    async def test_a_store_out_of_reach_loses_and_repeats_nothing(self, durable: Any) -> None:
        """The lane is released, and its rows are claimed again under another lease."""
        async with durable() as stage:
            (hang,) = await hanging(stage, 20, "bob")
            stage.seen_by_store.gone = True
            hang.release()
            await asyncio.sleep(LEASE)
            assert stage.kit.get_channel("bob").texts() == texts(5)
            stage.seen_by_store.gone = False
            await asyncio.sleep(LEASE * 3)
            await stage.idle()
            delivered = stage.kit.get_channel("bob").texts()
            assert list(dict.fromkeys(delivered)) == texts(20)
            # Those whose outcomes could not be written are sent again, under their keys.
            assert Counter(delivered) <= Counter(texts(5)) + Counter(texts(20))


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_each_delivery_is_made_once_and_in_order(seed: int, house: House) -> None:
    """Two workers write and deliver at random paces; one is killed, or closes, at a random time."""
    random = Random(seed)
    stages = [house.worker(max_waiting_in_memory=random.choice((1, 3, 8)), close_timeout=1) for _ in range(2)]
    await stages[0].open()
    for stage, attach in zip(stages, (True, False), strict=True):
        await add(stage, "alice", attach=attach)
        for name in ("bob", "carol"):
            await add(stage, name, attach=attach, delay=random.choice((0.1, 1, 5)))
        await stage.kit.start()
    said, asked = 0, set[asyncio.Task[Any]]()
    fate, at = random.choice(("none", "kill", "close")), random.randrange(60)
    for step in range(60):
        stage = stages[0] if step > at and fate != "none" else random.choice(stages)
        if step == at and fate != "none":
            lost = stages.pop()
            await (house.kill(lost) if fate == "kill" else close(house, lost))
            stage = stages[0]
        if random.random() < 0.1:
            asked.add(stage.saying(str(said)))
            await asyncio.sleep(0)  # it is committed in this step
        else:
            await stage.say(str(said), wait="committed")
        said += 1
        if random.random() < 0.3:
            await asyncio.sleep(random.choice((0.1, 2, 9)))
    await asyncio.sleep(600)
    if fate != "kill":
        await asyncio.gather(*asked)
    for name in ("bob", "carol"):
        rows = [row for (channel, _), row in (await house.rows()).items() if channel == name]
        assert [row.state for row in rows] == [SENT] * said
        for each in stages:
            numbers = [int(text) for text in heard(each, name)]
            assert numbers == sorted(set(numbers))
    assert not any(len(stage.kit._kernel.work.lanes) for stage in stages)


async def close(house: House, stage: Any) -> None:
    house.stages.remove(stage)
    await stage.kit.close()
