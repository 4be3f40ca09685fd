"""The events of all rooms, and what the in-memory store finds them by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from roomkit.abc.errors import DuplicateEventError, EventNotFoundError, StoreError
from roomkit.abc.moved import moved_key
from roomkit.abc.store import Commit, Entry
from roomkit.memory.rooms import StoredRoom
from roomkit.models.enums import EventStatus
from roomkit.models.event import RoomEvent

__all__ = ["Timelines", "check_distinct"]


class Timelines:
    """Events by id, by idempotency key, and by the id that a vendor gave them.

    `keys` has the index of an event by room and key. A change of an event here changes the timeline of its
    room, too.
    """

    def __init__(self) -> None:
        self.events: dict[str, RoomEvent] = {}  # bound: the events of the rooms, in order of commit
        self.keys: dict[tuple[str, str], int] = {}  # bound: the events
        self._wide_keys: dict[tuple[str | None, str], str] = {}  # bound: the events
        self._external: dict[tuple[str, str], list[str]] = {}  # bound: the events with a vendor's id

    # -- reading ------------------------------------------------------------------------------

    def of_room(self, record: StoredRoom, event_id: str, verb: str) -> RoomEvent:
        """Return an event of the room. Raises EventNotFoundError, which says that it was to `verb` it."""
        event = self.events.get(event_id)
        if event is None or event.room_id != record.room_id:
            raise EventNotFoundError(f"room {record.room_id!r} has no event {event_id!r} to {verb}")
        return event

    def some(self, record: StoredRoom, event_ids: Iterable[str]) -> list[RoomEvent]:
        """Return those events that are the room's, each once, in the order of the ids."""
        found = (self.events.get(event_id) for event_id in dict.fromkeys(event_ids))
        return [event for event in found if event is not None and event.room_id == record.room_id]

    def with_external_id(self, channel_id: str, external_id: str) -> Iterator[RoomEvent]:
        """Return the events that a vendor gave that id, newest first."""
        return (self.events[each] for each in reversed(self._external.get((channel_id, external_id), ())))

    # -- writing ------------------------------------------------------------------------------

    def check_new(self, record: StoredRoom, entry: Entry) -> None:
        """Raise DuplicateEventError if the key or the id of a new event is taken."""
        event, key = entry.event, entry.event.idempotency_key
        first = None
        if key is not None:
            first = record.keyed(key)
            if first is None and entry.key_spans_rooms:
                first = self.events.get(self._wide_keys.get((record.organization_id, key), ""))
        if first is not None:
            raise DuplicateEventError(
                f"room {first.room_id!r} has the idempotency key {key!r} already", first
            )
        if event.id in self.events:
            raise DuplicateEventError(f"event {event.id!r} exists already", self.events[event.id])

    def append(self, record: StoredRoom, entry: Entry, at: datetime) -> RoomEvent:
        """Add an event that was checked to its room; return it with its index."""
        event = entry.event
        index = record.next_index
        record.next_index += 1
        values = {**event.__dict__, "index": index, "created_at": at}
        if values["status"] is EventStatus.PENDING:
            values["status"] = EventStatus.DELIVERED
        values.pop("json_bytes", None)  # what it was encoded to before it had an index
        stored = type(event).trusted(values, like=event)
        stored.source.forget_given()
        stored.content.forget_given()
        record.events.append(stored)
        self.events[stored.id] = stored
        external_id = stored.source.external_id
        if external_id is not None:
            self._external.setdefault((stored.source.channel_id, external_id), []).append(stored.id)
        key = stored.idempotency_key
        if key is not None:
            self.keys[record.room_id, key] = index
            if entry.key_spans_rooms:
                self._wide_keys[record.organization_id, key] = stored.id
        if entry.targets:
            if record.ledger is None:
                record.ledger = {}
            record.ledger[index] = tuple(entry.targets)
        return stored

    def put(self, record: StoredRoom, event: RoomEvent) -> None:
        """Replace the room's event of that id."""
        before = self.events[event.id]
        if before.source != event.source:
            self._forget_external(before)
        self.events[event.id] = event
        record.put(event)

    def forget(self, record: StoredRoom, event: RoomEvent) -> None:
        """Let nothing find an event that leaves the timeline of its room."""
        del self.events[event.id]
        self._forget_external(event)
        if event.idempotency_key is not None:
            del self.keys[record.room_id, event.idempotency_key]
            wide = record.organization_id, event.idempotency_key
            if self._wide_keys.get(wide) == event.id:
                del self._wide_keys[wide]

    def move(
        self, source: StoredRoom, into: StoredRoom, event: RoomEvent, authors: Mapping[str, str]
    ) -> RoomEvent:
        """Append to a room an event that was taken out of another one; return it as it is there."""
        key = event.idempotency_key
        if key is not None:
            del self.keys[source.room_id, key]
            if (into.room_id, key) in self.keys:
                key = moved_key(source.room_id, key)
            self.keys[into.room_id, key] = into.next_index
        moved = event.moved(into.room_id, into.next_index, key=key, authors=authors)
        into.events.append(moved)
        into.next_index += 1
        self.events[event.id] = moved
        self._move_wide_key(source, event, moved)
        return moved

    def _move_wide_key(self, source: StoredRoom, event: RoomEvent, moved: RoomEvent) -> None:
        organization_id, key = source.organization_id, event.idempotency_key
        if key is not None and self._wide_keys.get((organization_id, key)) == event.id:
            del self._wide_keys[organization_id, key]
            self._wide_keys[organization_id, moved.idempotency_key or key] = event.id

    def _forget_external(self, event: RoomEvent) -> None:
        if event.source.external_id is not None:
            place = event.source.channel_id, event.source.external_id
            left = [each for each in self._external[place] if each != event.id]
            if left:
                self._external[place] = left
            else:
                del self._external[place]


def check_distinct(commit: Commit) -> None:
    """Raise StoreError if two events of a commit have one id or one idempotency key."""
    ids = {entry.event.id for entry in commit.entries}
    keys = [key for entry in commit.entries if (key := entry.event.idempotency_key) is not None]
    if len(ids) < len(commit.entries) or len(set(keys)) < len(keys):
        raise StoreError(
            f"a commit to room {commit.room_id!r} has one event id or idempotency key twice: send it once"
        )
