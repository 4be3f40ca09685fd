"""What the in-memory store finds rooms by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roomkit.memory.directory import _RoomIndex
from roomkit.memory.rooms import StoredRoom
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.strategies import PROPERTY

STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 3)), max_size=20)


@PROPERTY
@given(steps=STEPS)
def test_the_rooms_of_a_key_are_in_order_of_creation(steps: list[tuple[bool, str, int]]) -> None:
    """Whether there is none, one or several, whatever was added and removed before, repeatedly too."""
    rooms = [StoredRoom(Room(id=f"r{order}"), order, {}) for order in range(4)]
    index, expected = _RoomIndex[str](), {"a": set[int](), "b": set[int]()}
    for is_added, key, order in steps:
        if is_added:
            index.add(key, rooms[order])
            expected[key].add(order)
        else:
            index.discard(key, rooms[order])
            expected[key].discard(order)
        for each, orders in expected.items():
            assert [room.order for room in index.get(each)] == sorted(orders)
    assert index._rooms.keys() == {key for key, orders in expected.items() if orders}
