"""The in-memory store's move: events, or all that a room has, go to another room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from roomkit.abc.moved import busy_room, moved_key
from roomkit.abc.store import Commit, Move
from roomkit.memory.homes import HomeTable
from roomkit.memory.leases import TimerTable
from roomkit.memory.ledger import Ledger
from roomkit.memory.rooms import StoredRoom
from roomkit.memory.tasks import TaskTable
from roomkit.memory.timelines import Timelines
from roomkit.memory.values import ValueTable
from roomkit.models.delivery import Delivery
from roomkit.models.enums import DeliveryState
from roomkit.models.event import RoomEvent

__all__ = ["Mover"]


class Mover:
    """Carries out the part of a move that lies between its two commits."""

    def __init__(
        self,
        timelines: Timelines,
        ledger: Ledger,
        tasks: TaskTable,
        values: ValueTable,
        timers: TimerTable,
        homes: HomeTable,
    ) -> None:
        self._timelines = timelines
        self._ledger = ledger
        self._tasks = tasks
        self._values = values
        self._timers = timers
        self._homes = homes

    def check_settled(
        self, move: Move, source: StoredRoom, into: StoredRoom, events: Sequence[RoomEvent]
    ) -> None:
        """Raise RoomBusyError if a delivery is pending of what moves, or over a binding that changes."""
        for event in source.events if move.everything else events:
            _check_none_pending(self._ledger.of_event(event))
        for commit, record in ((move.source, source), (move.into, into)):
            touched = _touched(commit)
            if touched:
                rows = self._ledger.of_room(record)
                _check_none_pending(row for row in rows if row.channel_id in touched)

    def move(self, move: Move, source: StoredRoom, into: StoredRoom, events: Sequence[RoomEvent]) -> None:
        """Move the events, with their ledger and read marks; the tasks and all else if `everything` goes."""
        first = into.next_index
        source.take_out({event.id for event in events})
        for event in events:
            moved = self._timelines.move(source, into, event, move.authors)
            targets = (source.ledger or {}).pop(event.index, None)
            if targets is not None:
                if into.ledger is None:
                    into.ledger = {}
                into.ledger[moved.index] = targets
                self._ledger.moved(moved)
        _move_marks(source, into, move.channels, events, first)
        if move.everything:
            self._move_rest(source, into)

    def _move_rest(self, source: StoredRoom, into: StoredRoom) -> None:
        self._tasks.move_room(source, into)
        _move_observations(source, into)
        self._values.move_room(source.room_id, into.room_id)
        self._timers.move_room(source.room_id, into.room_id)
        self._homes.delete_room(source.room_id)


def _check_none_pending(rows: Iterable[Delivery]) -> None:
    for row in rows:
        if row.state is DeliveryState.PENDING:
            raise busy_room(row.room_id)


def _touched(commit: Commit) -> set[str]:
    """Return the channels whose bindings a commit changes."""
    return {*commit.unbind, *(binding.channel_id for binding in commit.bindings)}


def _move_observations(source: StoredRoom, into: StoredRoom) -> None:
    for each in (source.observations or {}).values():
        taken = into.observations or {}
        own_id = each.id if each.id not in taken else moved_key(source.room_id, each.id)
        into.observe(each.replace(id=own_id, room_id=into.room_id))
    source.observations = None


def _move_marks(
    source: StoredRoom, into: StoredRoom, channels: Sequence[str], events: Sequence[RoomEvent], first: int
) -> None:
    """Move read marks to the last that a channel had read of the moved events, which begin at `first`."""
    for channel_id in channels:
        mark = (source.marks or {}).pop(channel_id, -1)
        count = sum(event.index <= mark for event in events)
        if count:
            into.marks = into.marks or {}
            into.marks[channel_id] = max(first + count - 1, into.marks.get(channel_id, -1))
