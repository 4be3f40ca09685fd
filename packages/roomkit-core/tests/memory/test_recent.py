"""The newest messages of a room in memory, whatever was written in between."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.store import RECENT_SCAN
from roomkit.memory.rooms import StoredRoom
from roomkit.models.enums import EventStatus, EventType
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.contracts.strategies import examples


def add(room: StoredRoom, **fields: Any) -> None:
    room.events.append(event(room.room_id).replace(index=room.next_index, **fields))
    room.next_index += 1


def put(room: StoredRoom, number: int, status: EventStatus) -> None:
    if room.events:
        room.put(room.events[number % len(room.events)].replace(status=status))


def prune(room: StoredRoom, number: int) -> None:
    del room.events[:number]


MOVES = {
    "a message": lambda room, number: add(room),
    "many messages": lambda room, number: [add(room) for _ in range(number)],
    "a note of the system": lambda room, number: add(room, type=EventType.SYSTEM),
    "a blocked message": lambda room, number: add(room, status=EventStatus.BLOCKED),
    "a message blocked later": lambda room, number: put(room, number, EventStatus.BLOCKED),
    "a message replaced": lambda room, number: put(room, number, EventStatus.DELIVERED),
    "pruned": prune,
    "taken out": lambda room, number: room.take_out({one.id for one in room.events[number : number + 2]}),
}


def expected(room: StoredRoom, limit: int) -> list[RoomEvent]:
    scanned = room.events[-limit * RECENT_SCAN :] if limit else []
    found = [one for one in scanned if one.is_history]
    return found[-limit:] if limit else []


@given(st.lists(st.tuples(st.sampled_from(list(MOVES)), st.integers(0, 6)), max_size=16))
@examples(80)
def test_the_newest_messages_are_those_of_a_search(moves: list[tuple[str, int]]) -> None:
    """With every limit, asked after each change, so that remembered entries are compared too."""
    room = StoredRoom(Room(id="r1"), 0, {})
    for name, number in moves:
        MOVES[name](room, number)
        for limit in (3, 0, 1, 5):
            assert room.recent(limit) == expected(room, limit)
