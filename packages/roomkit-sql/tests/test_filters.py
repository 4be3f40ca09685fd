"""What queries ask for, as a database takes it."""

from __future__ import annotations

import pytest

from roomkit.models.enums import RoomStatus
from roomkit.models.room import Room
from roomkit_plugins.sql.filters import LARGEST, bounded, clamp, halves, has_metadata, statuses


@pytest.mark.parametrize(("given", "taken"), [(-1, 0), (0, 0), (7, 7), (10**30, LARGEST)])
def test_a_limit_is_neither_negative_nor_too_large(given: int, taken: int) -> None:
    assert clamp(given) == taken


@pytest.mark.parametrize(("given", "taken"), [(None, None), (-5, -1), (-1, -1), (3, 3), (10**30, LARGEST)])
def test_a_bound_keeps_its_meaning(given: int | None, taken: int | None) -> None:
    """Before the first event, or after every one that can be."""
    assert bounded(given) == taken


def test_open_rooms_are_asked_for_by_default() -> None:
    """Else those of one status, also of a newer version."""
    assert set(statuses(None)) == {each.value for each in RoomStatus if each.is_open}
    assert statuses(RoomStatus.CLOSED) == ["closed"]
    assert statuses("frozen") == ["frozen"]


@pytest.mark.parametrize(
    ("wanted", "has"),
    [({}, True), ({"a": 1.0}, True), ({"b": None}, True), ({"c": None}, False), ({"a": 1, "b": 2}, False)],
)
def test_metadata_match_by_equality(wanted: dict[str, object], has: bool) -> None:
    """A key that is missing is not one that is None."""
    assert has_metadata(Room(metadata={"a": 1, "b": None}), wanted) is has


def test_either_half_of_an_id_may_have_colons() -> None:
    """Each colon may be the one between the event's id and the channel's."""
    assert list(halves("a:b:c")) == [("a", "b:c"), ("a:b", "c")]
    assert list(halves("none")) == []
