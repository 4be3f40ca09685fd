"""What a message costs: round trips, and the plan of each query, in a database without statistics."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest

from roomkit.models.delivery import Delivery, DeliveryOutcome
from roomkit.models.enums import DeliveryState
from roomkit.models.room import Room
from roomkit_plugins.postgres import PostgresStore, ledger, loads
from roomkit_plugins.postgres.database import SESSION
from roomkit_plugins.postgres.rows import IN_LANE, IS_HELD
from roomkit_plugins.testing.contracts.base import binding, event
from roomkit_plugins.testing.services import CutProxy

from .conftest import StoreMaker, send

TARGETS = ("sms", "email")


async def test_a_message_is_two_round_trips(stores: StoreMaker, dsn: str) -> None:
    """One to load the room, one to commit, with the ends of the message before; the same in a long room."""
    async with CutProxy(dsn) as proxy:
        store = await stores(proxy.url).open()
        room = await store.create_room(Room())
        await store.add_binding(binding(room.id, "sms"))
        worker = await store.open_lease(600)
        ends: list[Delivery] = []
        for _ in range(3):  # statements are prepared, and the room is known
            ends = await _say(store, room, worker, ends)
        for _ in range(10):
            before = proxy.requests
            ends = await _say(store, room, worker, ends)
            assert proxy.requests - before == 2


async def _say(
    store: PostgresStore, room: Room, worker: str, ends: list[DeliveryOutcome]
) -> list[DeliveryOutcome]:
    record = await store.load(room.id, recent=20, key="key")
    assert record is not None
    committed = await send(
        store,
        event(room.id),
        targets=TARGETS,
        expected_version=record.version,
        worker_id=worker,
        completed=ends,
        fence=1,
    )
    assert not committed.elsewhere
    assert not committed.completed.refused
    return [
        Delivery.planned(committed.events[0], target).outcome(state=DeliveryState.SENT) for target in TARGETS
    ]


async def test_rooms_of_one_moment_go_together(stores: StoreMaker, dsn: str) -> None:
    """Twenty rooms that are written to at once cost a few round trips, not twenty."""
    async with CutProxy(dsn) as proxy:
        store = await stores(proxy.url).open()
        rooms = [await store.create_room(Room()) for _ in range(20)]
        for _ in range(2):
            before = proxy.requests
            records = await asyncio.gather(*(store.load(room.id, recent=5) for room in rooms))
            stored = await asyncio.gather(*(send(store, event(room.id)) for room in rooms))
            trips = proxy.requests - before
        assert trips <= 4
        assert [record.room_id for record in records if record is not None] == [room.id for room in rooms]
        assert [each.events[0].room_id for each in stored] == [room.id for room in rooms]


async def test_only_what_others_added_is_read(stores: StoreMaker) -> None:
    """A room that grew elsewhere is not read again from the start."""
    store, other = stores(), stores()
    room = await store.create_room(Room())
    first = await send(store, *(event(room.id, str(number)) for number in range(30)))
    record = await store.load(room.id, recent=20)
    assert record is not None
    known = list(record.recent(20))
    added = await send(other, event(room.id, "new"), event(room.id, "newer"))
    again = await store.load(room.id, recent=20)
    assert again is record
    assert list(again.recent(20)) == [*known[2:], *added.events]
    assert all(mine is before for mine, before in zip(again.recent(20), known[2:], strict=False))
    assert list(again.recent(20))[:-2] == list(first.events[12:])


PLANS = {
    "a lane": f"SELECT seq FROM roomkit_deliveries d WHERE room = $1 AND channel_id = $2 AND {IN_LANE}",
    "held rows": f"SELECT seq FROM roomkit_deliveries d WHERE holder = $1 AND {IS_HELD} ORDER BY seq",
    "a load": loads.LOAD,
    "what can be claimed": ledger.CLAIMABLE,
    "a head": "SELECT h.room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq WHERE r.id = $1",
    "a message": "SELECT seq FROM roomkit_deliveries WHERE provider = $1 AND provider_message_id = $2",
    "an event": "SELECT id FROM roomkit_events WHERE id = $1",
}


@pytest.mark.parametrize("name", PLANS)
async def test_every_way_is_by_an_index_from_the_start(dsn: str, name: str) -> None:
    """Plans are made while the tables are empty, and kept: none of them may look at all rows of a table."""
    connection = await asyncpg.connect(dsn, server_settings=SESSION)
    try:
        places = {int(number) for number in re.findall(r"\$(\d+)", PLANS[name])}
        await connection.execute(f"PREPARE way AS {PLANS[name]}")
        values = ", ".join(["NULL"] * max(places))
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE way ({values})"))
    finally:
        await connection.close()
    assert "Seq Scan" not in plan
    assert "Join Filter" not in plan
    for scan in re.findall(r"Index (?:Only )?Scan[^\n]*using (\S+)[^\n]*\n\s+(\S+ ?\S*)", plan):
        assert scan[1] == "Index Cond:" or scan[0] == "roomkit_deliveries_by_holder", plan
