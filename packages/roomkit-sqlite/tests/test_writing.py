"""Writes wait for the disk together, and succeed or fail each for itself."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from roomkit.abc.errors import (
    DuplicateEventError,
    RoomNotFoundError,
    StoreBusyError,
    StoreClosedError,
    StoreFullError,
)
from roomkit.abc.store import Commit, Entry
from roomkit.models.enums import DeliveryState
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.contracts.base import NOW, event

from .conftest import Opener, Statements, on_writer, say


async def test_writes_of_one_moment_share_a_transaction(store: SQLiteStore, room: Room) -> None:
    """Twenty commits wait for the disk once, not twenty times."""
    statements = await Statements().watch(store)
    stored = await asyncio.gather(*(say(store, event(room.id, str(number))) for number in range(20)))
    assert statements.since_last().count("COMMIT") == 1
    assert [each.index for (each,) in stored] == list(range(20))


async def test_a_commit_is_a_handful_of_statements(store: SQLiteStore, room: Room) -> None:
    """The room, who is alive, the event, its words; for each target its lane and its row."""
    await say(store, event(room.id))  # the first one reads how the full-text index is set up
    statements = await Statements().watch(store)
    await say(store, event(room.id), targets=("a", "b"))
    run = [each for each in statements.since_last() if "fts" not in each and not each.startswith("--")]
    targets = ["SELECT", "INSERT"] * 2
    assert [each.split()[0] for each in run] == [
        "BEGIN",
        "UPDATE",
        "SELECT",
        "INSERT",
        "INSERT",
        *targets,
        "COMMIT",
    ]


async def test_one_that_fails_takes_no_other_with_it(store: SQLiteStore, room: Room) -> None:
    """Of a shared transaction, each writer hears of its own."""
    (first,) = await say(store, event(room.id, idempotency_key="key"))
    results = await asyncio.gather(
        say(store, event(room.id, "before")),
        say(store, event(room.id, idempotency_key="key"), targets=("sms",)),
        say(store, event("nowhere")),
        say(store, event(room.id, "after"), event(room.id, "after that")),
        return_exceptions=True,
    )
    assert isinstance(results[1], DuplicateEventError)
    assert results[1].event == first
    assert isinstance(results[2], RoomNotFoundError)
    assert [each.index for each in await store.list_events(room.id)] == [0, 1, 2, 3]
    assert await store.list_deliveries(room.id) == []


async def test_who_fits_alone_is_written_when_the_whole_does_not_fit(store: SQLiteStore, room: Room) -> None:
    """A full disk refuses the large one, and only that one."""

    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")

    await on_writer(store, limit)
    results = await asyncio.gather(
        say(store, event(room.id, "small")),
        say(store, event(room.id, "large" * 50_000)),
        say(store, event(room.id, "small too")),
        return_exceptions=True,
    )
    assert isinstance(results[1], StoreFullError)
    assert [each.index for each in await store.list_events(room.id)] == [0, 1]


async def test_too_many_writes_are_refused(opener: Opener) -> None:
    """Beyond the bound nothing waits: it is refused at once, counted, and nothing of it is stored."""
    store = opener(max_waiting_writes=3)
    room = await store.create_room(Room())
    results = await asyncio.gather(*(say(store, event(room.id)) for _ in range(5)), return_exceptions=True)
    refused = [each for each in results if isinstance(each, StoreBusyError)]
    assert len(refused) == store.refused_writes == 2
    assert "max_waiting_writes" in str(refused[0])
    assert await store.get_event_count(room.id) == 3


async def test_closing_writes_what_waits(store: SQLiteStore, room: Room, opener: Opener) -> None:
    """Who was accepted is written; who comes later is refused."""
    waiting = [asyncio.ensure_future(say(store, event(room.id))) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    assert [(await each)[0].index for each in waiting] == [0, 1, 2, 3, 4]
    with pytest.raises(StoreClosedError):
        await say(store, event(room.id))
    assert await opener().get_event_count(room.id) == 5


async def test_a_cancelled_write_is_in_the_cache_as_it_is_on_disk(store: SQLiteStore, room: Room) -> None:
    record = await store.load(room.id, recent=5)
    assert record is not None
    writing = asyncio.ensure_future(say(store, event(room.id, "anyway")))
    for _ in range(3):  # until it is in the writer's hands
        await asyncio.sleep(0)
    assert not store._database._jobs
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    (after,) = await say(store, event(room.id, "next"))
    loaded = await store.load(room.id, recent=5)
    assert loaded is not None
    assert list(loaded.recent(5)) == await store.list_events(room.id)
    assert after.index == 1


async def test_many_readers_share_a_few_connections(store: SQLiteStore, room: Room) -> None:
    """More questions than connections wait for their turn, and cancelled ones free theirs."""
    asked = [asyncio.ensure_future(store.get_room(room.id)) for _ in range(50)]
    await asyncio.sleep(0)
    for each in asked[::2]:
        each.cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [each for each in answers if not isinstance(each, BaseException)] == [room] * 25
    assert len(store._database._idle) == 2


async def test_a_target_named_twice_is_one_delivery(store: SQLiteStore, room: Room) -> None:
    """The row's id is the event's and the channel's, so there is only one."""
    (stored,) = await say(store, event(room.id), targets=("sms", "sms"))
    (row,) = await store.list_deliveries(room.id)
    assert (row.id, row.state) == (f"{stored.id}:sms", DeliveryState.PENDING)


async def test_ids_may_have_colons(store: SQLiteStore, room: Room) -> None:
    """A row is found by its id wherever the colon between the two halves is."""
    (stored,) = await say(store, event(room.id, id="a:b:c"), targets=("d:e",))
    row = await store.get_delivery("a:b:c:d:e")
    assert row is not None
    assert (row.event_id, row.channel_id) == (stored.id, "d:e")


async def test_an_event_of_the_same_commit_is_not_there_to_amend(store: SQLiteStore, room: Room) -> None:
    twin = event(room.id)
    with pytest.raises(Exception, match="twice"):
        await store.commit(Commit(room_id=room.id, entries=[Entry(twin), Entry(twin)], at=NOW))
    assert await store.get_event_count(room.id) == 0


async def test_a_stored_event_keeps_no_lists_of_the_fields_that_were_given(
    store: SQLiteStore, room: Room
) -> None:
    """Of its source and content neither: in each of the fifty events that a room in use has at hand."""
    (stored,) = await say(store, event(room.id))
    parts = (stored, stored.source, stored.content)
    assert len({id(part.__pydantic_fields_set__) for part in parts}) == 1
