"""The cache of a room follows writes, and is dropped when it cannot."""

from __future__ import annotations

import pytest

from roomkit.models.enums import EventStatus
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit_plugins.sql.cached import CachedRoom, CachedRooms, Change, Counters, Known, Reading
from roomkit_plugins.testing.contracts.base import NOW, event

ROOM = Room(id="room")
START = Counters(seq=1, edition=10, version=3, next_index=2, event_count=2, last_activity=NOW)


def said(index: int, *, key: str | None = None) -> RoomEvent:
    """Return an event as stored."""
    return event("room", f"message {index}", idempotency_key=key).replace(index=index)


def after(counters: Counters, *, events: int = 0, version: int = 0) -> Counters:
    """Return the counters one write later."""
    return counters._replace(
        edition=counters.edition + 1,
        version=counters.version + version,
        next_index=counters.next_index + events,
        event_count=counters.event_count + events,
    )


@pytest.fixture
def rooms() -> CachedRooms:
    return CachedRooms(2)


@pytest.fixture
def record(rooms: CachedRooms) -> CachedRoom:
    """Return a room that was read with its two messages."""
    tail = [said(0), said(1, key="first")]
    reading = Reading(START, room=ROOM, tail=tail, tail_size=5, keyed=tail[1])
    record = rooms.absorb("room", reading, 5)
    assert record is not None
    return record


def test_an_event_is_found_by_the_key_it_was_read_or_written_with(
    rooms: CachedRooms, record: CachedRoom
) -> None:
    second = said(2, key="second")
    rooms.apply("room", Change(after(START, events=1), stored=[second]))
    assert record.keyed("first") == record.recent(5)[1]
    assert record.keyed("second") is second
    assert record.keyed("third") is None


def test_a_redacted_event_is_found_as_what_is_left_of_it(rooms: CachedRooms, record: CachedRoom) -> None:
    """By its key; among the messages it is not shown, and they are read again."""
    first = record.keyed("first")
    assert first is not None
    left = first.redacted(NOW)
    rooms.apply("room", Change(after(START), amended=[left]))
    assert record.keyed("first") is left
    assert (list(record.recent(5)), rooms.known("room").tail) == ([], 0)


def test_what_was_pruned_is_not_found(rooms: CachedRooms, record: CachedRoom) -> None:
    """Neither by its key nor among the messages."""
    rooms.apply("room", Change(after(START), pruned=True))
    assert record.keyed("first") is None
    assert rooms.known("room").tail == 0


def test_what_others_wrote_may_have_changed_what_is_known_by_key(
    rooms: CachedRooms, record: CachedRoom
) -> None:
    mine, theirs = said(1, key="mine"), said(2, key="theirs")
    record.remember(mine)
    now = after(after(START, events=1))
    assert rooms.absorb("room", Reading(now, tail=[theirs], tail_size=5, keyed=theirs), 5) is record
    assert record.keyed("theirs") is theirs
    assert (record.keyed("mine"), record.keyed("first")) == (None, None)


def test_a_reading_that_was_overtaken_brings_nothing_back(rooms: CachedRooms, record: CachedRoom) -> None:
    first = record.keyed("first")
    assert first is not None
    rooms.apply("room", Change(after(START), amended=[first.redacted(NOW)]))
    assert rooms.absorb("room", Reading(START, keyed=first), 0) is record
    found = record.keyed("first")
    assert found is not None
    assert found.deleted


def test_few_events_are_kept_by_key(record: CachedRoom) -> None:
    for number in range(100):
        record.remember(said(number, key=str(number)))
    kept = [number for number in range(100) if record.keyed(str(number)) is not None]
    assert kept == list(range(84, 100))


def test_who_was_removed_is_gone(rooms: CachedRooms, record: CachedRoom) -> None:
    ann = Participant(id="ann", room_id="room", channel_id="sms")
    added = after(START, version=1)
    rooms.apply("room", Change(added, participants=[ann]))
    assert record.participants == {"ann": ann}
    rooms.apply("room", Change(after(added, version=1), removed=["ann"]))
    assert record.participants == {}
    assert record.version == START.version + 2


def test_the_newest_messages_are_those_that_are_history(rooms: CachedRooms, record: CachedRoom) -> None:
    blocked = said(2).replace(status=EventStatus.BLOCKED)
    rooms.apply("room", Change(after(START, events=1), stored=[blocked]))
    assert [each.index for each in record.recent(5)] == [0, 1]
    far = START._replace(edition=11, next_index=100)
    record.counters = far
    assert list(record.recent(5)) == []


def test_a_write_after_one_that_was_not_seen_is_not_applied(rooms: CachedRooms, record: CachedRoom) -> None:
    skipped = after(after(START, events=1), events=1)
    rooms.apply("room", Change(skipped, stored=[said(3)]))
    assert record.counters == START
    assert rooms.known("room") == Known(1, 10, 3, 5, 2)


def test_the_rooms_last_used_are_kept(rooms: CachedRooms, record: CachedRoom) -> None:
    """As many as there is room for."""
    for number in (2, 3):
        room = Room(id=f"room {number}")
        rooms.absorb(room.id, Reading(START._replace(seq=number), room=room), 0)
    assert len(rooms) == 2
    assert rooms.known("room") == Known()
    assert rooms.known("room 3").seq == 3
    rooms.forget("room 3", seq=99)
    assert rooms.known("room 3").seq == 3
    rooms.forget("room 3")
    assert rooms.known("room 3") == Known()
