"""A room is kept in memory as long as the file agrees, with writes of other processes too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import StaleRoomError
from roomkit.abc.store import Amend, Commit, Entry, RoomRecord
from roomkit.models.content import TextContent
from roomkit.models.enums import DeliveryState, EventStatus, EventType, RoomStatus
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.contracts.base import NOW, binding, event

from .conftest import Opener, Statements, Steps, say

type Change = Callable[[SQLiteStore, str], Coroutine[Any, Any, object]]


async def _edit(store: SQLiteStore, room_id: str, content: TextContent | None) -> object:
    (first, *_) = await store.list_events(room_id)
    return await store.commit(
        Commit(room_id=room_id, entries=(), at=NOW, amend=Amend(first.id, content, "ann"))
    )


async def _redact(store: SQLiteStore, room_id: str) -> object:
    (newest,) = await store.list_events(room_id, limit=1, newest_first=True)
    return await store.commit(Commit(room_id=room_id, entries=(), at=NOW, redact=[newest.id]))


CHANGES: dict[str, Change] = {
    "a message": lambda store, room_id: say(store, event(room_id, "news")),
    "a blocked message": lambda store, room_id: say(store, event(room_id, status=EventStatus.BLOCKED)),
    "an entry": lambda store, room_id: say(store, event(room_id, type=EventType.SYSTEM)),
    "an edit": lambda store, room_id: _edit(store, room_id, TextContent(body="edited")),
    "a deletion": lambda store, room_id: _edit(store, room_id, None),
    "a binding": lambda store, room_id: store.add_binding(binding(room_id, "new")),
    "a detachment": lambda store, room_id: store.remove_binding(room_id, "sms"),
    "a person": lambda store, room_id: store.add_participant(
        Participant(id="new", room_id=room_id, channel_id="sms")
    ),
    "a redaction": lambda store, room_id: _redact(store, room_id),
    "a pruning": lambda store, room_id: store.prune_events(room_id, NOW + timedelta(days=1), limit=4),
    "a removal": lambda store, room_id: store.commit(
        Commit(room_id=room_id, entries=(), at=NOW, remove_participants=["ann"])
    ),
    "metadata": lambda store, room_id: store.patch_room_metadata(room_id, {"a": 1}),
    "a status": lambda store, room_id: store.commit(
        Commit(room_id=room_id, entries=(), at=NOW, room_changes={"status": RoomStatus.CLOSED})
    ),
}


def _shown(record: RoomRecord | None) -> Any:
    assert record is not None
    return (
        record.room,
        record.version,
        record.status,
        dict(record.bindings),
        dict(record.participants),
        list(record.recent(3)),
        list(record.recent(1)),
        record.keyed("key"),
        record.keyed("another key"),
    )


@pytest.fixture
async def furnished(store: SQLiteStore, room: Room) -> str:
    await store.add_binding(binding(room.id, "sms"))
    for number in range(6):
        await say(store, event(room.id, str(number), idempotency_key="key" if number == 5 else None))
    await store.add_participant(Participant(id="ann", room_id=room.id, channel_id="sms"))
    return room.id


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["by this process", "by another"])
async def test_every_change_is_seen_by_the_next_load(
    store: SQLiteStore, opener: Opener, furnished: str, change: Change, elsewhere: bool
) -> None:
    await store.load(furnished, recent=3, key="key")
    await change(opener() if elsewhere else store, furnished)
    loaded = _shown(await store.load(furnished, recent=3, key="key"))
    assert loaded == _shown(await opener().load(furnished, recent=3, key="key"))


@pytest.mark.parametrize("first", CHANGES.values(), ids=CHANGES)
async def test_changes_by_two_in_turn_are_seen_by_both(
    store: SQLiteStore, opener: Opener, furnished: str, first: Change
) -> None:
    """Neither takes its own change for the only one."""
    other = opener()
    for each in (store, other):
        await each.load(furnished, recent=3, key="key")
    await first(other, furnished)
    await say(store, event(furnished, "mine"))
    await say(other, event(furnished, "theirs"))
    shown = [_shown(await each.load(furnished, recent=3, key="key")) for each in (store, other, opener())]
    assert shown[0] == shown[1] == shown[2]


async def test_a_plan_on_what_another_process_changed_is_stale(
    store: SQLiteStore, opener: Opener, furnished: str
) -> None:
    """The guard is in the file, not in the cache."""
    record = await store.load(furnished)
    assert record is not None
    await opener().add_binding(binding(furnished, "new"))
    commit = Commit(
        room_id=furnished, entries=[Entry(event(furnished))], at=NOW, expected_version=record.version
    )
    with pytest.raises(StaleRoomError):
        await store.commit(commit)
    again = await store.load(furnished)
    assert again is not None
    assert again.version > commit.expected_version  # type: ignore[operator]  # it was given
    assert "new" in again.bindings


async def test_loading_again_is_one_statement(store: SQLiteStore, furnished: str) -> None:
    """After commits of this process too: what they wrote is known."""
    await store.load(furnished, recent=50)
    statements = await Statements().watch(store)
    for _ in range(3):
        await say(store, event(furnished))
        await store.add_binding(binding(furnished, "new"))
        statements.since_last()
        record = await store.load(furnished, recent=50, key="key")
        assert len(statements.since_last()) == 1
        assert record is not None
        assert record.keyed("key") is not None
        assert record.recent(1)[0].index == record.room.latest_index


async def test_a_load_that_meets_commits_shows_one_moment(store: SQLiteStore, furnished: str) -> None:
    """However they interleave, counters and messages agree."""

    async def write() -> None:
        for number in range(30):
            await say(store, event(furnished, str(number)))
            if number % 5 == 0:
                await _edit(store, furnished, None)

    async def read() -> None:
        for recent in (0, 1, 3, 40, 2) * 6:
            record = await store.load(furnished, recent=recent)
            assert record is not None
            shown = record.recent(recent)
            assert [each.index for each in shown][-1:] == ([record.room.latest_index] if recent else [])

    await asyncio.gather(write(), read(), read(), read())


async def test_a_deleted_room_is_gone_from_memory(store: SQLiteStore, opener: Opener, furnished: str) -> None:
    """And one made again under its id has nothing of it."""
    await store.load(furnished, recent=3, key="key")
    await opener().delete_room(furnished)
    assert await store.load(furnished, recent=3, key="key") is None
    await opener().create_room(Room(id=furnished))
    record = await store.load(furnished, recent=3, key="key")
    assert record is not None
    assert (record.room.event_count, dict(record.bindings), list(record.recent(3))) == (0, {}, [])


async def test_what_is_kept_in_memory_is_bounded(opener: Opener) -> None:
    """The room that was used longest ago is read again when it is asked for."""
    store = opener(cached_rooms=3)
    rooms = [await store.create_room(Room()) for _ in range(5)]
    for room in rooms:
        assert await store.load(room.id) is not None
    assert len(store._rooms) == 3
    record = await store.load(rooms[0].id)
    assert record is not None
    assert record.room == rooms[0]
    assert len(store._rooms) == 3


async def test_cost_does_not_grow_with_the_room(store: SQLiteStore, room: Room) -> None:
    """A commit, a load, a page and a lookup take the steps in a long timeline they take in a short one."""
    steps = await Steps().watch(store)
    empty = await store.create_room(Room())
    for _ in range(20):
        await say(store, *(event(room.id, f"hello {number}") for number in range(100)), targets=("sms",))
        pending = await store.list_deliveries(room.id, state=DeliveryState.PENDING, limit=100)
        await store.complete([row.outcome(state=DeliveryState.SENT) for row in pending])

    async def use(room_id: str) -> dict[str, int]:
        sent = event(room_id, "once more", idempotency_key="key")
        for number in range(60):
            await say(store, event(room_id, str(number)))
        await store.add_binding(binding(room_id, "reader"))
        await store.load(room_id, recent=50)
        taken: dict[str, int] = {}
        steps.since_last()
        (stored,) = await say(store, sent, targets=("a", "b"))
        taken["commit"] = steps.since_last()
        await store.load(room_id, recent=50)
        taken["load"] = steps.since_last()
        await store.list_events(room_id, after_index=stored.index - 20)
        taken["page"] = steps.since_last()
        await store.find_event_by_key(room_id, "key")
        taken["key"] = steps.since_last()
        rows = await store.list_deliveries(room_id, event_id=stored.id)
        taken["ledger"] = steps.since_last()
        await store.complete([row.outcome() for row in rows])
        taken["record"] = steps.since_last()
        await store.list_deliveries(room_id, limit=5)
        taken["the room's ledger"] = steps.since_last()
        await store.list_deliveries(room_id, state=DeliveryState.PENDING, limit=5)
        taken["the room's pending"] = steps.since_last()
        await store.list_deliveries(state=DeliveryState.PENDING, limit=5)
        taken["pending"] = steps.since_last()
        await store.list_deliveries(state=DeliveryState.FAILED, limit=5)
        taken["failed"] = steps.since_last()
        await store.mark_read(room_id, "reader", stored.id)
        taken["mark"] = steps.since_last()
        await store.get_unread_count(room_id, "reader")
        taken["unread"] = steps.since_last()
        await store.get_event_count(room_id)
        taken["count"] = steps.since_last()
        return taken

    long, short = await use(room.id), await use(empty.id)
    for what, taken in short.items():
        assert long[what] <= taken * 1.3 + 50, what
