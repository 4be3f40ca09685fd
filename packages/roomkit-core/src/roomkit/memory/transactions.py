"""The in-memory store's commits: checked as a whole, then written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roomkit.abc.errors import InvalidInputError, LockLostError, StaleRoomError
from roomkit.abc.store import NOTHING_COMPLETED, Commit, Committed, Completed
from roomkit.memory.directory import Directory
from roomkit.memory.leases import Leases, TimerTable
from roomkit.memory.ledger import NOWHERE, Ledger
from roomkit.memory.register import MediaTable
from roomkit.memory.rooms import StoredRoom, unknown_room
from roomkit.memory.tasks import TaskTable
from roomkit.memory.timelines import Timelines, check_distinct
from roomkit.memory.values import ValueTable
from roomkit.models.base import EMPTY, FrozenDict, freeze
from roomkit.models.delivery import DeliveryOutcome

__all__ = ["Transactions"]


class Transactions:
    """Writes what one commit has into all tables, or nothing of it.

    Nothing else runs between `check` and `commit`: neither awaits.
    """

    def __init__(
        self,
        rooms: Mapping[str, StoredRoom],
        timelines: Timelines,
        directory: Directory,
        tasks: TaskTable,
        leases: Leases,
        timers: TimerTable,
        ledger: Ledger,
        values: ValueTable,
        media: MediaTable,
    ) -> None:
        self._rooms = rooms
        self._timelines = timelines
        self._events, self._keys = timelines.events, timelines.keys
        self._directory = directory
        self._tasks = tasks
        self._leases = leases
        self._timers = timers
        self._ledger = ledger
        self._values = values
        self._media = media

    def check(self, record: StoredRoom, commit: Commit) -> None:
        """Raise every error that the commit can have; after this, it cannot fail."""
        expected, fence = commit.expected_version, commit.fence
        if expected is not None and expected != record.version:
            raise StaleRoomError(
                f"room {commit.room_id!r} is at version {record.version}, not {expected}: plan again"
            )
        if fence is not None and record.fence is not None and fence < record.fence:
            raise LockLostError(
                f"room {commit.room_id!r} was written to under lock {record.fence}, after lock {fence} had "
                "run out: plan again"
            )
        for entry in commit.entries:
            key = entry.event.idempotency_key
            is_known = key is not None and (entry.key_spans_rooms or (record.room_id, key) in self._keys)
            if is_known or entry.event.id in self._events:
                self._timelines.check_new(record, entry)
        if len(commit.entries) > 1:
            check_distinct(commit)
        if commit.amend is not None:
            self._timelines.of_room(record, commit.amend.event_id, "amend")
        for each in commit.heard:
            self._timelines.of_room(record, each.event_id, "mark as heard")
        for event_id in commit.redact:
            self._timelines.of_room(record, event_id, "redact")
        if commit.tasks or commit.observations:
            self._tasks.check(commit)
        if commit.timers:
            for timer in commit.timers:
                if timer.room_id is not None and timer.room_id not in self._rooms:
                    raise unknown_room(timer.room_id)

    def commit(self, record: StoredRoom, commit: Commit) -> Committed:
        """Write a commit that was checked."""
        metadata = _checked_metadata(commit) if commit.metadata else EMPTY
        at, worker_id = commit.at, commit.worker_id
        if commit.fence is not None:
            record.fence = commit.fence
        completed = NOTHING_COMPLETED
        if commit.completed or commit.timers_done:
            completed = self.complete(commit.completed, worker_id, commit.timers_done)
        places = self._ledger.keeps_lanes or worker_id is not None
        if places:
            self._ledger.keep_lanes()
        stored = [self._timelines.append(record, entry, at) for entry in commit.entries]
        elsewhere = (
            self._ledger.place(commit.entries, stored, worker_id, commit.absent, commit.agents)
            if places
            else NOWHERE
        )
        if commit.participants or commit.remove_participants or commit.bindings or commit.unbind:
            self._move_people(record, commit)
        if commit.amend is not None or commit.redact or commit.heard:
            self._rewrite(record, commit)
        if commit.tasks or commit.observations or commit.timers or commit.values:
            self._put_work(record, commit)
        if commit.media:
            self._media.use(each for each in commit.media if self._is_of_room(each.event_id, record))
        if commit.activity:
            record.last_activity = at
        if commit.room_changes or metadata:
            changes = dict(commit.room_changes or {})
            if metadata:
                changes["metadata"] = FrozenDict({**record.room.metadata, **metadata})
            record.change(**{"updated_at": at, **changes})
        return Committed(stored, elsewhere, completed)

    def complete(
        self, outcomes: Sequence[DeliveryOutcome], worker_id: str | None, timers_done: Sequence[str]
    ) -> Completed:
        """Record outcomes of deliveries, and remove timers that were handled."""
        if timers_done:
            self._timers.complete(timers_done, worker_id)
        return self._ledger.complete(outcomes, worker_id)

    def _is_of_room(self, event_id: str, record: StoredRoom) -> bool:
        event = self._events.get(event_id)
        return event is not None and event.room_id == record.room_id

    def _move_people(self, record: StoredRoom, commit: Commit) -> None:
        for participant in commit.participants:
            self._directory.put_participant(record, participant)
        for participant_id in commit.remove_participants:
            self._directory.drop_participant(record, participant_id)
        for binding in commit.bindings:
            self._directory.put_binding(record, binding)
        for channel_id in commit.unbind:
            self._directory.drop_binding(record, channel_id)

    def _rewrite(self, record: StoredRoom, commit: Commit) -> None:
        amend = commit.amend
        if amend is not None:
            before = self._events[amend.event_id]
            self._timelines.put(record, before.amended(amend.content, amend.amended_by, commit.at))
        if commit.redact:
            self._values.delete_derived(commit.room_id)
        for each in commit.heard:
            self._timelines.put(record, self._events[each.event_id].as_heard(each.heard))
        for event_id in commit.redact:
            self._timelines.put(record, self._events[event_id].redacted(commit.at))
            self._ledger.redact(self._events[event_id])
            self._media.release(event_id)

    def _put_work(self, record: StoredRoom, commit: Commit) -> None:
        for task in commit.tasks:
            self._tasks.put(record, task)
        for observation in commit.observations:
            record.observe(observation)
        for value in commit.values:
            self._values.put(value, None)
        for timer in commit.timers:
            is_theirs = timer.due_at <= commit.at and self._leases.in_force(commit.worker_id)
            self._timers.set(timer, commit.worker_id if is_theirs else None)


def _checked_metadata(commit: Commit) -> Mapping[str, Any]:
    try:
        return dict(freeze(commit.metadata))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"metadata of room {commit.room_id!r} cannot be stored: {error}; nothing was stored"
        ) from error
