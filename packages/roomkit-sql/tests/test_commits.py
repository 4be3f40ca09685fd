"""A prepared commit is its own: checked, and out of its caller's reach."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError, StoreError
from roomkit.abc.store import Commit, Entry
from roomkit.models.enums import EventStatus
from roomkit.models.room import Room
from roomkit_plugins.sql.cached import Counters
from roomkit_plugins.sql.commits import PreparedCommit, prepare
from roomkit_plugins.testing.contracts.base import NOW, binding, event

COUNTERS = Counters(seq=1, edition=2, version=1, next_index=1, event_count=1, last_activity=NOW)


def commit(**fields: Any) -> Commit:
    return Commit(room_id="room", at=NOW, **{"entries": (), **fields})


def test_its_events_are_as_they_are_stored() -> None:
    """Delivered, at the time of the commit; a blocked one stays blocked."""
    pending, blocked = event("room", "hello"), event("room", "spam").replace(status=EventStatus.BLOCKED)
    prepared = PreparedCommit(commit(entries=[Entry(pending), Entry(blocked)]))
    assert [each.status for each in prepared.events] == [EventStatus.DELIVERED, EventStatus.BLOCKED]
    assert {each.created_at for each in prepared.events} == {NOW}


def test_what_the_caller_changes_later_does_not_reach_it() -> None:
    """A store may write it in another thread, or with a later batch."""
    metadata, changes, bindings = {"plan": {"tier": 1}}, {"status": "paused"}, [binding("room", "sms")]
    prepared = PreparedCommit(commit(metadata=metadata, room_changes=changes, bindings=bindings))
    metadata["plan"]["tier"] = 2
    changes.clear()
    bindings.clear()
    after = prepared.changed_room(Room(id="room"))
    assert (after.metadata["plan"]["tier"], after.status) == (1, "paused")
    assert [each.channel_id for each in prepared.done(COUNTERS, after, [], []).bindings] == ["sms"]


def test_metadata_is_merged_and_keys_are_unset() -> None:
    """And the room was updated at the time of the commit."""
    before = Room(id="room", metadata={"a": 1, "b": 2, "c": 3})
    after = PreparedCommit(commit(metadata={"b": 20, "d": 4})).changed_room(before, unset={"c"})
    assert after.metadata == {"a": 1, "b": 20, "d": 4}
    assert after.updated_at == NOW


@pytest.mark.parametrize(
    ("fields", "changes", "raises"),
    [
        ({}, False, False),
        ({"redact": ["e"]}, False, True),
        ({"metadata": {"a": 1}}, True, True),
        ({"room_changes": {"status": "paused"}}, True, True),
        ({"bindings": [binding("room", "sms")]}, False, True),
        ({"unbind": ["sms"]}, False, True),
        ({"remove_participants": ["anna"]}, False, True),
    ],
)
def test_it_knows_what_a_plan_depends_on(fields: dict[str, Any], changes: bool, raises: bool) -> None:
    """Events alone do not make plans stale."""
    prepared = PreparedCommit(commit(**fields))
    assert (prepared.changes_room, prepared.raises_version) == (changes, raises)


def test_a_commit_that_cannot_be_encoded_is_refused() -> None:
    """With the room's name, whatever the encoding raised; errors of the contract pass."""

    def broken(given: Commit) -> PreparedCommit:
        raise RecursionError("too deep")

    def refusing(given: Commit) -> PreparedCommit:
        raise StoreError("twice")

    with pytest.raises(InvalidInputError, match=r"room 'room' cannot be stored: .*too deep.*nothing was"):
        prepare(broken, commit())
    with pytest.raises(StoreError, match="twice"):
        prepare(refusing, commit())
