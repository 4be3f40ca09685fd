"""What the in-memory store keeps of one room."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

from roomkit.abc.errors import ChannelNotFoundError, RoomNotFoundError
from roomkit.abc.store import RECENT_SCAN, EventQuery
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import EventStatus, EventType
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation
from roomkit.models.visibility import sees

__all__ = ["StoredRoom", "unknown_room"]

_index_of = attrgetter("index")
_by_time = attrgetter("created_at", "index")


class StoredRoom:
    """One room and all that belongs to it.

    The last event's index is `next_index - 1` or less. Without `holes` the indexes follow each other: only a
    beginning of the timeline was ever taken out. `ledger` has the
    targets of those events that have any, by index; `keys` is the store's own, of all rooms. What most
    rooms have none of is None until there is some.
    """

    __slots__ = (
        "_messages",
        "_room",
        "bindings",
        "events",
        "fence",
        "holes",
        "is_interleaved",
        "keys",
        "last_activity",
        "ledger",
        "marks",
        "next_index",
        "observations",
        "order",
        "participants",
        "room_id",
        "status",
        "tasks",
        "version",
    )

    def __init__(self, room: Room, order: int, keys: Mapping[tuple[str, str], int]) -> None:
        self._room = room
        self.order = order
        self.keys = keys
        self.room_id = room.id
        self.status = room.status
        self.is_interleaved = room.is_interleaved
        self.version = room.version
        self.last_activity = room.timers.last_activity_at
        self.bindings: dict[str, ChannelBinding] = {}
        self.participants: dict[str, Participant] = {}
        self.next_index = 0
        self.holes = False
        self.events: list[RoomEvent] = []  # bound: the timeline itself, until it is pruned or deleted
        self.ledger: dict[int, Sequence[str]] | None = None
        self.marks: dict[str, int] | None = None
        self.tasks: list[str] | None = None  # bound: the tasks of the room
        self.observations: dict[str, Observation] | None = None
        self.fence: int | None = None
        self._messages: tuple[int, int] | None = None
        """From which index on, and up to which, entries were found to be messages that are shown."""

    @property
    def room(self) -> Room:
        """The room with its counters, made again only when they moved."""
        room = self._room
        count = len(self.events)
        latest = self.next_index - 1
        if (
            room.latest_index != latest
            or room.version != self.version
            or room.timers.last_activity_at is not self.last_activity
            or room.event_count != count
        ):
            room = self._room = room.replace(
                event_count=count,
                latest_index=latest,
                version=self.version,
                timers=self._timers(room),
            )
        return room

    @property
    def organization_id(self) -> str | None:
        """Whose room it is."""
        return self._room.organization_id

    def _timers(self, room: Room) -> Any:
        if room.timers.last_activity_at == self.last_activity:
            return room.timers
        return room.timers.replace(last_activity_at=self.last_activity)

    def change(self, **fields: Any) -> Room:
        """Set fields of the room and raise its version."""
        self.version += 1
        self._room = self.room.replace(**fields, version=self.version)
        self.status = self._room.status
        self.is_interleaved = self._room.is_interleaved
        return self._room

    def at(self, index: int) -> RoomEvent:
        """Return the event of an index that is in the timeline."""
        return self.events[self.place(index)]

    def place(self, index: int) -> int:
        """Return how many events of the timeline have a lower index."""
        count = len(self.events)
        if self.holes:
            return bisect_left(self.events, index, key=_index_of)
        return min(max(index - self.next_index + count, 0), count)

    def put(self, event: RoomEvent) -> None:
        """Replace an event of the timeline."""
        self.events[self.place(event.index)] = event
        self._messages = None

    def take_out(self, gone: Collection[str]) -> None:
        """Remove events from anywhere in the timeline."""
        kept = [event for event in self.events if event.id not in gone]
        first = self.next_index - len(kept)
        self.holes = self.holes or any(event.index != first + place for place, event in enumerate(kept))
        self.events = kept
        self._messages = None

    def since(self, index: int) -> Iterable[RoomEvent]:
        """Return the events from an index on."""
        return islice(self.events, self.place(index), None)

    def recent(self, limit: int) -> Sequence[RoomEvent]:
        """Return up to `limit` of the newest messages, oldest first."""
        newest = self.events[-limit:] if limit > 0 else []
        if self._are_messages(newest):
            return newest
        scanned = islice(reversed(self.events), max(limit, 0) * RECENT_SCAN)
        found = [*islice((event for event in scanned if event.is_history), limit)]
        found.reverse()
        return found

    def _are_messages(self, newest: Sequence[RoomEvent]) -> bool:
        """Return whether all of the newest entries are shown as history, looking at new ones only."""
        if not newest:
            return True
        start, stop = self._messages or (self.next_index, self.next_index)
        added = self.next_index - stop
        if newest[0].index < start or added >= len(newest):
            start, added = newest[0].index, len(newest)
        if added and not all(event.is_history for event in newest[-added:]):
            return False
        self._messages = start, self.next_index
        return True

    def keyed(self, idempotency_key: str) -> RoomEvent | None:
        """Return the event with that idempotency key."""
        index = self.keys.get((self.room_id, idempotency_key))
        return None if index is None else self.at(index)

    def select(self, query: EventQuery) -> Iterable[RoomEvent]:
        """Return the events that a query asks for, in its order; all pages of them."""
        after, before = query.after_index, query.before_index
        start = 0 if after is None else self.place(after + 1)
        stop = len(self.events) if before is None else self.place(before)
        events: Iterable[RoomEvent]
        if query.by_time:
            events = sorted(self.events[start:stop], key=_by_time, reverse=query.newest_first)
        else:
            places = range(start, max(stop, start))
            events = map(self.events.__getitem__, reversed(places) if query.newest_first else places)
        types, visibility, reader = query.types, query.visibility, query.reader
        if types is None and visibility is None and reader is None:
            return events
        return (
            event
            for event in events
            if (types is None or event.type in types)
            and (visibility is None or event.visibility == visibility)
            and (reader is None or sees(reader, event))
        )

    def is_of(self, organization_id: str | None) -> bool:
        """Whether the room belongs to the organization; always true for None."""
        return organization_id is None or self.organization_id == organization_id

    def bound(self, channel_id: str) -> ChannelBinding:
        """Return the binding of a channel. Raises ChannelNotFoundError."""
        try:
            return self.bindings[channel_id]
        except KeyError:
            raise ChannelNotFoundError(
                f"channel {channel_id!r} is not attached to room {self.room_id!r}: attach_channel first"
            ) from None

    def observe(self, observation: Observation) -> None:
        """Add an observation, or replace the one of that id."""
        if self.observations is None:
            self.observations = {}
        self.observations[observation.id] = observation

    def mark(self, channel_id: str, index: int) -> int:
        """Raise the read mark of an attached channel to an index; return the mark."""
        self.bound(channel_id)
        if self.marks is None:
            self.marks = {}
        self.marks[channel_id] = mark = max(index, self.marks.get(channel_id, -1))
        return mark

    def unread(self, reader: ChannelBinding) -> int:
        """Count the messages of others that the reader may see, after its read mark."""
        mark = (self.marks or {}).get(reader.channel_id, -1)
        return sum(
            event.type is EventType.MESSAGE
            and event.status is not EventStatus.BLOCKED
            and event.source.channel_id != reader.channel_id
            and sees(reader, event)
            for event in self.since(mark + 1)
        )

    def abandon(self) -> None:
        """Empty the record of a deleted room, for those who still hold it."""
        self.keys = {}
        self.bindings.clear()
        self.participants.clear()


def unknown_room(room_id: str) -> RoomNotFoundError:
    """Return the error of a room that is not there."""
    return RoomNotFoundError(f"no room {room_id!r}: create_room first")
