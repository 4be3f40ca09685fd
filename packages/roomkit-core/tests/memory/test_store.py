"""Particulars of the in-memory store, besides the contract of every store."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roomkit.abc.store import Commit, Committed, Entry
from roomkit.memory.store import InMemoryStore
from roomkit.models.delivery import Delivery
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import binding, event
from roomkit_plugins.testing.contracts.store.base import jump, reported

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore()


async def say(store: InMemoryStore, room_id: str, *targets: str, **fields: Any) -> Committed:
    entries = [Entry(event(room_id, idempotency_key=fields.pop("key", None)), targets)]
    return await store.commit(Commit(room_id=room_id, entries=entries, at=NOW, **fields))


async def furnish(store: InMemoryStore, room_id: str, worker: str) -> list[Delivery]:
    """Put something of everything into a room; return its deliveries."""
    await store.create_room(Room(id=room_id), timers=[Timer(id="a1", room_id=room_id, kind="k", due_at=NOW)])
    person = Participant(id="ann", room_id=room_id, channel_id="sms", identity_id="i")
    await say(
        store,
        room_id,
        "sms",
        "email",
        key="key",
        worker_id=worker,
        fence=3,
        bindings=[binding(room_id, "sms", participant_id="ben")],
        participants=[person],
        tasks=[Task(id="t", room_id=room_id, title="t")],
        observations=[Observation(id="o", room_id=room_id, channel_id="sms", content="o")],
        timers=[Timer(id="a2", room_id=room_id, kind="k", due_at=NOW)],
    )
    await say(store, room_id, "sms")
    await say(store, room_id, "push", worker_id=worker)
    rows = await store.list_deliveries(room_id)
    await store.complete([rows[0].outcome(provider="acme", provider_message_id="m1", parts=("m1", "p1"))])
    again = {"state": DeliveryState.SENT, "provider": "acme", "provider_message_id": "m2"}
    await store.complete([rows[0].outcome(**again), rows[1].outcome(state=DeliveryState.FAILED)])
    await store.reopen_delivery(rows[1].id)
    await store.mark_all_read(room_id, "sms")
    await store.claim_timers(worker, NOW, limit=1)
    return rows


def contents(found: object, seen: set[int] | None = None) -> list[Any]:
    """Return the contents of the containers of an object and of the objects of the store that it holds."""
    seen = seen if seen is not None else set()
    if id(found) in seen:
        return []
    seen.add(id(found))
    values = [
        getattr(found, name) for name in (*getattr(found, "__dict__", ()), *getattr(found, "__slots__", ()))
    ]
    held = [each for each in values if isinstance(each, dict | list | set) and each]
    inner = [each for each in values if type(each).__module__.startswith("roomkit.memory")]
    return held + [each for found in inner for each in contents(found, seen)]


async def test_a_deleted_room_leaves_nothing_behind(store: InMemoryStore) -> None:
    """Nothing at all is in the store that was not there before, whatever is completed or reported later."""
    worker = await store.open_lease(60)
    before = contents(store)
    rows = await furnish(store, "r", worker)
    assert len(contents(store)) > len(before) + 10
    await store.delete_room("r")
    late = [row.outcome(state=DeliveryState.SENT, provider="acme", provider_message_id="m3") for row in rows]
    for worker_id in (worker, None):
        result = await store.complete(late, worker_id=worker_id, timers_done=["a1", "a2"])
        assert list(result.refused) == [row.id for row in rows]
    await store.close_lease(worker)
    assert [each for each in contents(store) if each not in before] == []


async def test_a_pruned_timeline_leaves_nothing_behind(store: InMemoryStore) -> None:
    await store.create_room(Room(id="r"))
    before = len(contents(store))
    for number in range(5):
        result = await say(store, "r", "sms", key=f"key {number}")
        row = Delivery.planned(result.events[0], "sms").outcome(
            state=DeliveryState.SENT, provider="acme", provider_message_id=f"m{number}"
        )
        await store.complete([row])
    assert await store.prune_events("r", LATER) == 5
    assert len(contents(store)) == before
    record = await store.load("r")
    assert record is not None
    assert (record.events, record.ledger, record.next_index) == ([], {}, 5)


async def test_a_deleted_identity_leaves_nothing_behind(store: InMemoryStore) -> None:
    await store.create_identity(Identity(id="i", channel_addresses={"sms": ("+1",)}))
    await store.link_address("i", "email", "a@b")
    await store.delete_identity("i")
    assert contents(store) == []


async def test_whoever_holds_a_deleted_room_finds_it_empty(store: InMemoryStore) -> None:
    """Its record is not that of a later room of the same id."""
    await furnish(store, "r", await store.open_lease(60))
    held = await store.load("r")
    assert held is not None
    await store.delete_room("r")
    await store.create_room(Room(id="r"))
    await say(store, "r", key="key")
    assert held.keyed("key") is None
    assert (dict(held.bindings), dict(held.participants)) == ({}, {})


async def test_what_is_used_by_nobody_takes_no_memory(store: InMemoryStore) -> None:
    await store.create_room(Room(id="r"))
    gc.collect()
    before = sum(isinstance(each, Delivery) for each in gc.get_objects())
    for _ in range(3):
        result = await say(store, "r", "sms", "email")
        assert result.elsewhere is (await say(store, "r", "sms")).elsewhere
    gc.collect()
    assert sum(isinstance(each, Delivery) for each in gc.get_objects()) == before
    record = await store.load("r")
    assert record is not None
    assert (record.fence, record.tasks, record.marks, record.observations) == (None,) * 4
    assert not store._ledger.keeps_lanes


async def test_workers_find_what_was_there_before_the_first_of_them(store: InMemoryStore) -> None:
    """Pending deliveries of any age, those that failed and were opened again, and no others."""
    await store.create_room(Room(id="r"))
    rows: list[Delivery] = []
    for _ in range(4):
        result = await say(store, "r", "sms")
        rows.append(Delivery.planned(result.events[0], "sms"))
    await store.complete([rows[0].outcome(state=DeliveryState.SENT)])
    await store.complete([rows[1].outcome(state=DeliveryState.FAILED)])
    await store.reopen_delivery(rows[1].id)
    await store.complete([rows[2].outcome(attempts=1)])
    worker = await store.open_lease(60)
    assert (await say(store, "r", "sms", worker_id=worker)).elsewhere
    claimed = await store.claim("r", worker)
    assert [each.delivery.id for each in claimed][:3] == [row.id for row in rows[1:]]
    assert [each.delivery.attempts for each in claimed] == [0, 1, 0, 0]


async def test_a_clock_that_goes_back_ends_leases_early(store: InMemoryStore) -> None:
    brief, long = await store.open_lease(60), await store.open_lease(60)
    jump(-0.5)
    assert await store.renew_lease(brief, 60)
    jump(-30)
    assert not await store.renew_lease(long, 60)
    jump(60)
    assert await store.renew_lease(await store.open_lease(60), 60)


async def test_leases_that_ran_out_are_forgotten(store: InMemoryStore) -> None:
    for _ in range(5):
        await store.open_lease(60)
        jump(61)
    assert len(store._leases._leases) == 1


async def test_receipts_wait_for_a_day(store: InMemoryStore) -> None:
    """Not less, and not for ever: they go when the next one comes."""
    await store.create_room(Room(id="r"))
    first, second, third = (reported(name) for name in ("first", "second", "third"))
    await store.record_receipt(first, ReceiptState.SENT)
    jump(3600)
    await store.record_receipt(second, ReceiptState.SENT)
    jump(23 * 3600 - 60)
    await store.record_receipt(third, ReceiptState.SENT)
    assert len(store._ledger._waiting._by_key) == 3
    jump(120)
    await store.record_receipt(third, ReceiptState.READ)
    row = Delivery.planned((await say(store, "r", "sms")).events[0], "sms")
    sent = row.replace(provider="acme", provider_message_id="second", parts=("first", "third"))
    result = await store.complete([sent.outcome()])
    assert [status for _, status in result.receipts] == [second, third, third]
    assert store._ledger._waiting._by_key == {}


async def test_timers_that_are_not_due_cost_nothing_to_ask_for(store: InMemoryStore) -> None:
    """Nothing is looked through while nothing is due and every holder is there; a set timer is noticed."""
    worker, rival = await store.open_lease(60), await store.open_lease(120)
    await store.create_room(Room(id="r"))
    timers = [Timer(id=str(n), room_id="r", kind="k", due_at=NOW + timedelta(minutes=n)) for n in range(3)]
    for timer in timers:
        await store.set_timer(timer)
    assert await store.claim_timers(worker, NOW) == timers[:1]
    assert store._timers._earliest == timers[1].due_at
    await store.set_timer(timers[2].replace(due_at=NOW))
    assert await store.claim_timers(rival, NOW) == [timers[2].replace(due_at=NOW)]
    jump(61)
    assert await store.claim_timers(rival, NOW) == [timers[0].replace(claims=1)]
    await store.close_lease(rival)
    last = await store.open_lease(60)
    assert {timer.id for timer in await store.claim_timers(last, NOW)} == {"0", "2"}


async def test_a_store_outlives_the_loop_it_was_used_on(store: InMemoryStore) -> None:
    """Another loop has another time: its leases are its own."""

    def elsewhere() -> tuple[str, bool]:
        async def work() -> tuple[str, bool]:
            worker = await store.open_lease(60)
            return worker, await store.renew_lease(worker, 60)

        return asyncio.run(work())

    _, is_in_force = await asyncio.to_thread(elsewhere)
    assert is_in_force
    assert store.is_process_local
    assert store.write_delay == 0
