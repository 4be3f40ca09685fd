"""A cache of the rooms in use, and its coherence with the storage.

Each room in the storage has an `edition` that rises with every write to it: records cached at one edition
need not be read again at the same one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, cast

from roomkit.abc.store import RECENT_SCAN
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room

__all__ = ["CachedRoom", "CachedRooms", "Change", "Counters", "Known", "Reading", "RoomGrowth", "UnreadEvent"]

_SPARE = 64
_KEYS = 16


class Counters(NamedTuple):
    """The numbers of a room that move with every commit; `seq` is the storage's own for the room."""

    seq: int
    edition: int
    version: int
    next_index: int
    event_count: int
    last_activity: datetime | None


class Known(NamedTuple):
    """The cached state of a room when it is read again."""

    seq: int = -1
    edition: int = -1
    version: int = -1
    tail: int = 0
    next_index: int = 0


@dataclass(slots=True, frozen=True)
class UnreadEvent:
    """A message of a room's tail, decoded when it is asked for: in most rooms none is."""

    index: int
    read: Callable[[], RoomEvent]


type TailEntry = RoomEvent | UnreadEvent


class RoomGrowth(NamedTuple):
    """What other processes added to a room after it was `known` and before a write of this one.

    `events` are the newest messages that were added, up to `known.tail` of them. `is_whole`: they are the
    newest of all, because older ones may have changed.
    """

    known: Known
    events: Sequence[TailEntry]
    is_whole: bool = False


@dataclass(slots=True)
class Change:
    """What a write did to a room. `room` is set when more of it changed than its counters."""

    counters: Counters
    room: Room | None = None
    stored: Sequence[RoomEvent] = ()
    amended: Sequence[RoomEvent] = ()
    bindings: Sequence[ChannelBinding] = ()
    unbound: Sequence[str] = ()
    participants: Sequence[Participant] = ()
    removed: Sequence[str] = ()
    pruned: bool = False
    growth: RoomGrowth | None = None


@dataclass(slots=True)
class Reading:
    """The result of a read: the room's counters, and the rest as far as it was not cached.

    `keyed` is the event with the idempotency key that was asked for. `is_growth`: the tail are only the
    messages that were added since, up to `tail_size`.
    """

    counters: Counters
    room: Room | None = None
    bindings: Mapping[str, ChannelBinding] = field(default_factory=dict)
    participants: Mapping[str, Participant] = field(default_factory=dict)
    tail: Sequence[TailEntry] | None = None
    tail_size: int = 0
    keyed: RoomEvent | None = None
    is_growth: bool = False


class CachedRoom:
    """A room as the storage holds it, for reading. What this process writes is seen in it at once.

    `tail` are the newest messages: all of them that the last `tail_size` times RECENT_SCAN entries
    hold, up to `tail_size` at least.
    """

    __slots__ = (
        "_has_unread",
        "_keyed",
        "_room",
        "_tail",
        "bindings",
        "counters",
        "is_interleaved",
        "participants",
        "room_id",
        "status",
        "tail_size",
    )

    def __init__(self, room: Room, reading: Reading) -> None:
        self._room = room
        self.room_id = room.id
        self.status: RoomStatus = room.status
        self.is_interleaved = room.is_interleaved
        self.counters = reading.counters
        self.bindings: dict[str, ChannelBinding] = dict(reading.bindings)
        self.participants: dict[str, Participant] = dict(reading.participants)
        self._tail: list[TailEntry] = []  # bound: tail_size and _SPARE
        self._has_unread = False
        self.replace_tail(reading.tail, reading.tail_size)
        self._keyed: OrderedDict[str, RoomEvent] = OrderedDict()  # bound: _KEYS
        if reading.keyed is not None:
            self.remember(reading.keyed)

    @property
    def tail(self) -> list[RoomEvent]:
        """The newest messages, oldest first."""
        if self._has_unread:
            self._tail = [each.read() if isinstance(each, UnreadEvent) else each for each in self._tail]
            self._has_unread = False
        return cast("list[RoomEvent]", self._tail)

    def replace_tail(self, tail: Sequence[TailEntry] | None, size: int) -> None:
        """Keep other newest messages."""
        self._tail, self.tail_size, self._has_unread = list(tail or ()), size, bool(tail)

    def tail_with(self, events: Sequence[TailEntry]) -> list[TailEntry]:
        """Return the tail with newer messages; without those that it had at or after the first of them."""
        if not events:
            return self._tail
        first = events[0].index
        return [*(each for each in self._tail if each.index < first), *events][-self.tail_size :]

    @property
    def room(self) -> Room:
        """The room with its counters, made again only when they moved."""
        room, now = self._room, self.counters
        if (room.version, room.event_count, room.latest_index) != (
            now.version,
            now.event_count,
            now.next_index - 1,
        ) or room.timers.last_activity_at != now.last_activity:
            room = self._room = room.replace(
                event_count=now.event_count,
                latest_index=now.next_index - 1,
                version=now.version,
                timers=room.timers.replace(last_activity_at=now.last_activity),
            )
        return room

    @property
    def version(self) -> int:
        """`room.version`, cheaply."""
        return self.counters.version

    def recent(self, limit: int) -> Sequence[RoomEvent]:
        """Return the newest messages, oldest first, without blocked and deleted ones."""
        first = self.counters.next_index - limit * RECENT_SCAN
        found = self.tail[-limit:] if limit > 0 else []
        return found if not found or found[0].index >= first else [e for e in found if e.index >= first]

    def keyed(self, idempotency_key: str) -> RoomEvent | None:
        """Return the room's event with an idempotency key that it was lately read or written with."""
        return self._keyed.get(idempotency_key)

    def remember(self, event: RoomEvent) -> None:
        """Keep an event that has an idempotency key, to be found by it."""
        assert event.idempotency_key is not None
        self._keyed[event.idempotency_key] = event
        self._keyed.move_to_end(event.idempotency_key)
        if len(self._keyed) > _KEYS:
            self._keyed.popitem(last=False)

    @property
    def known(self) -> Known:
        """What need not be read again while the file says the same numbers."""
        now = self.counters
        return Known(now.seq, now.edition, now.version, self.tail_size, now.next_index)

    def apply(self, change: Change) -> None:
        """Follow a write of this process."""
        self.counters = change.counters
        if change.room is not None:
            self._room = change.room
            self.status = change.room.status
            self.is_interleaved = change.room.is_interleaved
        if change.participants:
            self.participants.update((person.id, person) for person in change.participants)
        if change.bindings:
            self.bindings.update((binding.channel_id, binding) for binding in change.bindings)
        for channel_id in change.unbound:
            self.bindings.pop(channel_id, None)
        for participant_id in change.removed:
            self.participants.pop(participant_id, None)
        if change.pruned:
            self._keyed.clear()
            self._forget_tail()
        for event in change.amended:
            self._amend(event)
        for event in change.stored:
            if event.idempotency_key is not None:
                self.remember(event)
        if self.tail_size:
            self._tail.extend(event for event in change.stored if event.is_history)
            if len(self._tail) > self.tail_size + _SPARE:
                del self._tail[: -self.tail_size]

    def grow(self, growth: RoomGrowth) -> None:
        """Follow what other processes added before a write of this one, which is applied next."""
        self._keyed.clear()  # another process may have changed or removed them
        asked = growth.known.tail
        if growth.is_whole:
            self.replace_tail(growth.events, asked)
        elif asked < self.tail_size and len(growth.events) == asked:
            self._forget_tail()  # there may be more between these and those in memory
        elif growth.events:
            self._tail, self._has_unread = self.tail_with(growth.events), True

    def _amend(self, event: RoomEvent) -> None:
        if event.idempotency_key in self._keyed:
            self.remember(event)
        tail = self.tail
        for place, each in enumerate(tail):
            if each.id == event.id:
                if event.is_history:
                    tail[place] = event
                else:
                    self._forget_tail()  # an older one takes its place, which is not in memory
                return

    def _forget_tail(self) -> None:
        self.replace_tail(None, 0)

    def follow(self, reading: Reading) -> None:
        """Replace the cached state with a newer read."""
        if reading.room is not None:
            self._room, self.status = reading.room, reading.room.status
            self.is_interleaved = reading.room.is_interleaved
            self.bindings, self.participants = dict(reading.bindings), dict(reading.participants)
        self.counters = reading.counters
        self.replace_tail(reading.tail, reading.tail_size)
        self._keyed.clear()  # another process may have changed or removed them


class CachedRooms:
    """The rooms in use, the last used kept; the storage alone says whether they are current."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._records: OrderedDict[str, CachedRoom] = OrderedDict()  # bound: size

    def __len__(self) -> int:
        return len(self._records)

    def known(self, room_id: str) -> Known:
        """Return the cached state of a room; None if there is none."""
        record = self._records.get(room_id)
        return Known() if record is None else record.known

    def recall(self, room_id: str, recent: int) -> CachedRoom | None:
        """Return the cached room as it is, current or not; None without so many of its messages."""
        record = self._records.get(room_id)
        if record is None or record.tail_size < recent:
            return None
        self._records.move_to_end(room_id)
        return record

    def complete(self, room_id: str, known: Known, reading: Reading) -> None:
        """Put the messages that were `known` before those that a reading found added.

        If they are not in memory any more, it has none.
        """
        record = self._records.get(room_id)
        if record is None or record.counters.seq != known.seq or record.tail_size != known.tail:
            reading.tail, reading.tail_size = None, 0
        else:
            reading.tail = record.tail_with(reading.tail or ())
        reading.is_growth = False

    def forget(self, room_id: str, seq: int | None = None) -> None:
        """Drop a room that was deleted."""
        record = self._records.get(room_id)
        if record is not None and (seq is None or record.counters.seq == seq):
            del self._records[room_id]

    def apply(self, room_id: str, change: Change) -> None:
        """Follow a write of this process, unless another that is not known came before it."""
        record = self._records.get(room_id)
        if record is not None:
            before, after, growth = record.counters, change.counters, change.growth
            if before.seq != after.seq:
                return
            if before.edition == after.edition - 1:
                record.apply(change)
            elif growth is not None and before.edition == growth.known.edition:
                record.grow(growth)
                record.apply(change)

    def absorb(self, room_id: str, reading: Reading, recent: int) -> CachedRoom | None:
        """Return the record after a reading; None when more of the room must be read."""
        record, read = self._records.get(room_id), reading.counters
        if record is not None and record.counters.seq == read.seq:
            here = record.counters
            if here.edition < read.edition:
                if reading.room is None and here.version != read.version:
                    return None
                record.follow(reading)
            elif here.edition == read.edition and reading.tail_size > record.tail_size:
                record.replace_tail(reading.tail, reading.tail_size)
            if record.tail_size < recent:
                return None
            if reading.keyed is not None and record.counters.edition == read.edition:
                record.remember(reading.keyed)  # else it may have been redacted since
        elif reading.room is None or (record is not None and record.counters.seq > read.seq):
            return None
        else:
            record = self._records[room_id] = CachedRoom(reading.room, reading)
            if len(self._records) > self._size:
                self._records.popitem(last=False)
        self._records.move_to_end(room_id)
        return record
