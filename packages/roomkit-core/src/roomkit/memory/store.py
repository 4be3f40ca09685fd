"""The store that lives in this process: the reference for every other one, and the tests' default."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice, takewhile
from operator import attrgetter
from typing import Any, override

from roomkit.abc.errors import (
    ChannelNotFoundError,
    DuplicateEventError,
    EventNotFoundError,
    IdentityNotFoundError,
    InvalidInputError,
    LockLostError,
    ParticipantNotFoundError,
    RoomAlreadyExistsError,
    RoomNotFoundError,
    StaleRoomError,
    StoreError,
)
from roomkit.abc.moved import busy_room, moved_key
from roomkit.abc.store import (
    NOTHING_COMPLETED,
    Claimed,
    Commit,
    Committed,
    Completed,
    ConversationStore,
    DeliveryQuery,
    Entry,
    EventQuery,
    HomeRecord,
    Move,
    RoomQuery,
)
from roomkit.abc.store.media import MediaUse
from roomkit.memory.directory import Directory, Identities
from roomkit.memory.homes import HomeTable
from roomkit.memory.leases import Leases, TimerTable
from roomkit.memory.ledger import NOWHERE, Ledger
from roomkit.memory.register import MediaTable
from roomkit.memory.rooms import StoredRoom
from roomkit.memory.values import ValueTable
from roomkit.models.base import EMPTY, FrozenDict, freeze, utcnow
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import (
    ChannelType,
    DeliveryState,
    EventStatus,
    EventType,
    ReceiptState,
    RoomStatus,
    TaskStatus,
)
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit.models.value import Value
from roomkit.models.visibility import sees

__all__ = ["InMemoryStore"]

_by_time = attrgetter("created_at", "index")


class InMemoryStore(ConversationStore):
    """Keeps everything in dicts, bounded by nothing but memory; see `ConversationStore`.

    What a kit that ended has left pending is there for the next one in the process. Time, for leases, is
    that of the running loop.
    """

    def __init__(self) -> None:
        self._rooms: dict[str, StoredRoom] = {}  # bound: the rooms themselves, until deleted
        self._events: dict[str, RoomEvent] = {}  # bound: the events of the rooms, in order of commit
        self._keys: dict[tuple[str, str], int] = {}  # bound: the events
        self._wide_keys: dict[tuple[str | None, str], str] = {}  # bound: the events
        self._external: dict[tuple[str, str], list[str]] = {}  # bound: the events with a vendor's id
        self._tasks: dict[str, Task] = {}  # bound: the tasks of the rooms
        self._created = 0
        self._directory = Directory()
        self._identities = Identities()
        self._leases = Leases()
        self._timers = TimerTable(self._leases)
        self._homes = HomeTable(self._leases)
        self._ledger = Ledger(self._rooms, self._events, self._leases, self._homes)
        self._values = ValueTable()
        self._media = MediaTable()

    @property
    def is_process_local(self) -> bool:
        """True: no other process sees this store."""
        return True

    # -- the one write path -------------------------------------------------------------------

    @override
    async def load(self, room_id: str, *, recent: int = 0, key: str | None = None) -> StoredRoom | None:
        return self._rooms.get(room_id)

    @override
    async def commit(self, commit: Commit) -> Committed:
        record = self._record(commit.room_id)
        self._check(record, commit)
        return self._commit(record, commit)

    def _commit(self, record: StoredRoom, commit: Commit) -> Committed:
        """Write a commit that was checked."""
        metadata = _checked_metadata(commit) if commit.metadata else EMPTY
        at, worker_id = commit.at, commit.worker_id
        if commit.fence is not None:
            record.fence = commit.fence
        completed = NOTHING_COMPLETED
        if commit.completed or commit.timers_done:
            completed = self._complete(commit.completed, worker_id, commit.timers_done)
        places = self._ledger.keeps_lanes or worker_id is not None
        if places:
            self._ledger.keep_lanes()
        stored = [self._append(record, entry, at) for entry in commit.entries]
        elsewhere = (
            self._ledger.place(commit.entries, stored, worker_id, commit.absent, commit.agents)
            if places
            else NOWHERE
        )
        if commit.participants or commit.remove_participants or commit.bindings or commit.unbind:
            self._move_people(record, commit)
        if commit.amend is not None or commit.redact or commit.heard:
            self._rewrite(commit)
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

    def _rewrite(self, commit: Commit) -> None:
        amend = commit.amend
        if amend is not None:
            before = self._events[amend.event_id]
            self._put_event(before.amended(amend.content, amend.amended_by, commit.at))
        if commit.redact:
            self._values.delete_derived(commit.room_id)
        for each in commit.heard:
            self._put_event(self._events[each.event_id].as_heard(each.heard))
        for event_id in commit.redact:
            self._put_event(self._events[event_id].redacted(commit.at))
            self._ledger.redact(self._events[event_id])
            self._media.release(event_id)

    def _put_work(self, record: StoredRoom, commit: Commit) -> None:
        for task in commit.tasks:
            self._put_task(record, task)
        for observation in commit.observations:
            self._put_observation(record, observation)
        for value in commit.values:
            self._values.put(value, None)
        for timer in commit.timers:
            is_theirs = timer.due_at <= commit.at and self._leases.in_force(commit.worker_id)
            self._timers.set(timer, commit.worker_id if is_theirs else None)

    def _check(self, record: StoredRoom, commit: Commit) -> None:
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
            event = entry.event
            key = event.idempotency_key
            if key is not None and (commit.room_id, key) in self._keys:
                first = record.at(self._keys[commit.room_id, key])
                raise DuplicateEventError(
                    f"room {commit.room_id!r} has the idempotency key {key!r} already", first
                )
            if key is not None and entry.key_spans_rooms:
                self._check_wide_key(record, key)
            if event.id in self._events:
                raise DuplicateEventError(f"event {event.id!r} exists already", self._events[event.id])
        if len(commit.entries) > 1:
            _check_distinct(commit)
        if commit.amend is not None:
            self._own_event(record, commit.amend.event_id, "amend")
        for each in commit.heard:
            self._own_event(record, each.event_id, "mark as heard")
        if commit.redact:
            for event_id in commit.redact:
                self._own_event(record, event_id, "redact")
        if commit.tasks or commit.observations:
            _check_kinds(commit)
            for task in commit.tasks:
                self._check_task(task)
        if commit.timers:
            for timer in commit.timers:
                if timer.room_id is not None:
                    self._record(timer.room_id)

    def _check_wide_key(self, record: StoredRoom, key: str) -> None:
        first = self._events.get(self._wide_keys.get((record.organization_id, key), ""))
        if first is not None:
            raise DuplicateEventError(
                f"room {first.room_id!r} has the idempotency key {key!r} already", first
            )

    def _append(self, record: StoredRoom, entry: Entry, at: datetime) -> RoomEvent:
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
        self._events[stored.id] = stored
        external_id = stored.source.external_id
        if external_id is not None:
            self._external.setdefault((stored.source.channel_id, external_id), []).append(stored.id)
        key = stored.idempotency_key
        if key is not None:
            self._keys[record.room_id, key] = index
            if entry.key_spans_rooms:
                self._wide_keys[record.organization_id, key] = stored.id
        if entry.targets:
            if record.ledger is None:
                record.ledger = {}
            record.ledger[index] = tuple(entry.targets)
        return stored

    @override
    async def move(self, move: Move) -> int:
        source, into = self._record(move.source.room_id), self._record(move.into.room_id)
        events = [
            event
            for event_id in dict.fromkeys(move.events)
            if (event := self._events.get(event_id)) is not None and event.room_id == source.room_id
        ]
        self._check(source, move.source)
        self._check(into, move.into)
        self._check_settled(move, source, events)
        self._commit(source, move.source)
        first = into.next_index
        self._move_events(source, into, events, move.authors)
        _move_marks(source, into, move.channels, events, first)
        if move.everything:
            self._move_everything(source, into)
        self._commit(into, move.into)
        return len(events)

    def _check_settled(self, move: Move, source: StoredRoom, events: Sequence[RoomEvent]) -> None:
        pending: list[Delivery] = []  # bound: the pending rows of two rooms
        for event in source.events if move.everything else events:
            pending += [row for row in self._ledger.of_event(event) if row.state is DeliveryState.PENDING]
        for commit in (move.source, move.into):
            touched = {*commit.unbind, *(binding.channel_id for binding in commit.bindings)}
            for row in self._deliveries(commit.room_id, None) if touched else ():
                if row.channel_id in touched and row.state is DeliveryState.PENDING:
                    pending.append(row)
        if pending:
            raise busy_room(pending[0].room_id)

    def _move_events(
        self,
        source: StoredRoom,
        into: StoredRoom,
        events: Sequence[RoomEvent],
        authors: Mapping[str, str],
    ) -> None:
        source.take_out({event.id for event in events})
        for event in events:
            key = event.idempotency_key
            if key is not None:
                del self._keys[source.room_id, key]
                if (into.room_id, key) in self._keys:
                    key = moved_key(source.room_id, key)
                self._keys[into.room_id, key] = into.next_index
            moved = event.moved(into.room_id, into.next_index, key=key, authors=authors)
            into.events.append(moved)
            into.next_index += 1
            self._events[event.id] = moved
            self._move_wide_key(source, event, moved)
            targets = (source.ledger or {}).pop(event.index, None)
            if targets is not None:
                if into.ledger is None:
                    into.ledger = {}
                into.ledger[moved.index] = targets
                self._ledger.moved(moved)

    def _move_wide_key(self, source: StoredRoom, event: RoomEvent, moved: RoomEvent) -> None:
        organization_id, key = source.organization_id, event.idempotency_key
        if key is not None and self._wide_keys.get((organization_id, key)) == event.id:
            del self._wide_keys[organization_id, key]
            self._wide_keys[organization_id, moved.idempotency_key or key] = event.id

    def _move_everything(self, source: StoredRoom, into: StoredRoom) -> None:
        for task_id in source.tasks or ():
            into.tasks = into.tasks or []  # bound: the tasks of the room
            into.tasks.append(task_id)
            self._tasks[task_id] = self._tasks[task_id].replace(room_id=into.room_id)
        source.tasks = None
        for each in (source.observations or {}).values():
            into.observations = into.observations or {}
            own_id = each.id if each.id not in into.observations else moved_key(source.room_id, each.id)
            into.observations[own_id] = each.replace(id=own_id, room_id=into.room_id)
        source.observations = None
        self._values.move_room(source.room_id, into.room_id)
        self._timers.move_room(source.room_id, into.room_id)
        self._homes.delete_room(source.room_id)

    # -- rooms --------------------------------------------------------------------------------

    @override
    async def create_room(self, room: Room, *, timers: Sequence[Timer] = ()) -> Room:
        if room.id in self._rooms:
            raise RoomAlreadyExistsError(f"room {room.id!r} exists already: use get_room, or another id")
        room = room.replace(event_count=0, latest_index=-1, version=0).kept()
        room.timers.forget_given()
        self._created += 1
        self._rooms[room.id] = StoredRoom(room, self._created, self._keys)
        for timer in timers:
            self._timers.set(timer)
        return room

    @override
    async def get_room(self, room_id: str, *, organization_id: str | None = None) -> Room | None:
        record = self._rooms.get(room_id)
        return record.room if record is not None and _is_of(record, organization_id) else None

    @override
    async def update_room(self, room: Room) -> Room:
        record = self._record(room.id)
        if room.version != record.version:
            raise StaleRoomError(
                f"room {room.id!r} is at version {record.version}, not {room.version}: "
                "read it and decide again"
            )
        record.last_activity = record.room.moved_activity(room) or record.last_activity
        timers = room.timers.replace(last_activity_at=record.last_activity)
        kept = {"event_count", "latest_index", "version", "timers", "id"}
        fields = {name: value for name, value in room.__dict__.items() if name not in kept}
        return record.change(**fields, timers=timers)

    @override
    async def patch_room_metadata(
        self, room_id: str, patch: Mapping[str, Any], unset: Collection[str] = ()
    ) -> Room:
        record = self._record(room_id)
        merged = {**record.room.metadata, **patch}
        kept = {key: value for key, value in merged.items() if key not in unset}
        return record.change(metadata=freeze(kept), updated_at=utcnow())

    @override
    async def delete_room(self, room_id: str) -> bool:
        record = self._rooms.get(room_id)
        if record is None:
            return False
        for event in record.events:
            self._forget_event(record, event)
        for task_id in record.tasks or ():
            self._tasks.pop(task_id, None)
        self._timers.remove([timer.id for timer in self._timers.of(room_id)])
        self._directory.forget(record)
        self._values.delete_room(room_id)
        self._homes.delete_room(room_id)
        del self._rooms[room_id]
        record.abandon()
        return True

    @override
    async def query_rooms(self, query: RoomQuery) -> list[Room]:
        found = (
            record.room
            for record in self._after(query.after, query.organization_id)
            if (query.status is None or record.status == query.status)
            and (not query.metadata or _has(record.room, query.metadata))
        )
        return _page(found, query.offset, query.limit)

    def _after(self, room_id: str | None, organization_id: str | None) -> Iterator[StoredRoom]:
        records = (record for record in self._rooms.values() if _is_of(record, organization_id))
        if room_id is not None:
            for record in records:
                if record.room_id == room_id:
                    return records
            raise StoreError(
                f"cursor room {room_id!r} no longer exists: restart from the first page with after=None"
            )
        return records

    @override
    async def find_latest_room(
        self,
        participant_id: str,
        channel_type: ChannelType | None = None,
        status: RoomStatus | str | None = None,
        *,
        organization_id: str | None = None,
    ) -> Room | None:
        found = [
            record.room
            for record in _chosen(self._directory.with_person(participant_id), status, organization_id)
            if channel_type is None
            or any(binding.channel_type == channel_type for binding in record.bindings.values())
        ]
        return max(found, key=lambda room: room.created_at, default=None)

    @override
    async def find_sender_room_ids(
        self, channel_id: str, sender_id: str, *, limit: int = 2, organization_id: str | None = None
    ) -> list[str]:
        known = _chosen(self._directory.with_sender(channel_id, sender_id), None, organization_id)
        return _last_active([record for record in known if channel_id in record.bindings], limit)

    @override
    async def find_address_room_ids(
        self, channel_id: str, address: str, *, limit: int = 2, organization_id: str | None = None
    ) -> list[str]:
        known = _chosen(self._directory.with_address(channel_id, address), None, organization_id)
        return _last_active(list(known), limit)

    @override
    async def find_bound_room_ids(
        self,
        address: str,
        *,
        organization_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[str]:
        known = self._directory.with_any_address(address)
        ids = sorted(record.room_id for record in known if _is_of(record, organization_id))
        return _page((each for each in ids if after is None or each > after), 0, limit)

    @override
    async def find_room_ids_by_channel(
        self,
        channel_id: str,
        status: RoomStatus | str | None = None,
        *,
        limit: int = 2,
        organization_id: str | None = None,
    ) -> list[str]:
        records = _chosen(self._directory.with_channel(channel_id), status, organization_id)
        return [record.room_id for record in islice(records, max(0, limit))]

    # -- events -------------------------------------------------------------------------------

    @override
    async def get_event(self, event_id: str, *, organization_id: str | None = None) -> RoomEvent | None:
        event = self._events.get(event_id)
        return event if event is not None and self._owns(organization_id, event.room_id) else None

    @override
    async def query_events(self, query: EventQuery) -> list[RoomEvent]:
        record = self._rooms.get(query.room_id)
        if record is None:
            return []
        after, before = query.after_index, query.before_index
        start = 0 if after is None else record.place(after + 1)
        stop = len(record.events) if before is None else record.place(before)
        events: Iterable[RoomEvent]
        if query.by_time:
            events = sorted(record.events[start:stop], key=_by_time, reverse=query.newest_first)
        else:
            places = range(start, max(stop, start))
            events = map(record.events.__getitem__, reversed(places) if query.newest_first else places)
        types, visibility, reader = query.types, query.visibility, query.reader
        if types is not None or visibility is not None or reader is not None:
            events = (
                event
                for event in events
                if (types is None or event.type in types)
                and (visibility is None or event.visibility == visibility)
                and (reader is None or sees(reader, event))
            )
        return _page(events, query.offset, query.limit)

    @override
    async def find_event_by_key(self, room_id: str, idempotency_key: str) -> RoomEvent | None:
        record = self._rooms.get(room_id)
        return record.keyed(idempotency_key) if record is not None else None

    @override
    async def find_keyed_event(
        self, idempotency_key: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        found = (
            record.at(self._keys[room_id, idempotency_key])
            for room_id, record in reversed(self._rooms.items())
            if (room_id, idempotency_key) in self._keys and _is_of(record, organization_id)
        )
        return max(found, key=lambda event: event.created_at, default=None)

    @override
    async def find_event(
        self, channel_id: str, external_id: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        found = (self._events[each] for each in reversed(self._external.get((channel_id, external_id), ())))
        return next((event for event in found if self._owns(organization_id, event.room_id)), None)

    @override
    async def get_event_count(self, room_id: str) -> int:
        record = self._rooms.get(room_id)
        return len(record.events) if record is not None else 0

    @override
    async def prune_events(
        self, room_id: str, before: datetime, *, limit: int = 1000, interleaved: bool = False
    ) -> int:
        record = self._record(room_id)
        settled = takewhile(self._ledger.is_settled, record.events)
        choose = filter if interleaved else takewhile
        old = list(islice(choose(lambda event: event.created_at < before, settled), max(0, limit)))
        for event in old:
            self._forget_event(record, event)
        if interleaved:
            record.take_out({event.id for event in old})
        else:
            del record.events[: len(old)]
        return len(old)

    def _own_event(self, record: StoredRoom, event_id: str, verb: str) -> RoomEvent:
        event = self._events.get(event_id)
        if event is None or event.room_id != record.room_id:
            raise EventNotFoundError(f"room {record.room_id!r} has no event {event_id!r} to {verb}")
        return event

    def _put_event(self, event: RoomEvent) -> None:
        before = self._events[event.id]
        if before.source != event.source:
            self._forget_external(before)
        self._events[event.id] = event
        self._rooms[event.room_id].put(event)

    def _forget_event(self, record: StoredRoom, event: RoomEvent) -> None:
        """Remove an event's data outside the timeline itself."""
        if event.id in self._media.by_event:
            self._media.release(event.id)
        self._ledger.forget(event)
        if record.ledger is not None:
            record.ledger.pop(event.index, None)
        del self._events[event.id]
        self._forget_external(event)
        if event.idempotency_key is not None:
            del self._keys[record.room_id, event.idempotency_key]
            wide = record.organization_id, event.idempotency_key
            if self._wide_keys.get(wide) == event.id:
                del self._wide_keys[wide]

    def _forget_external(self, event: RoomEvent) -> None:
        if event.source.external_id is not None:
            place = event.source.channel_id, event.source.external_id
            left = [each for each in self._external[place] if each != event.id]
            if left:
                self._external[place] = left
            else:
                del self._external[place]

    # -- bindings -----------------------------------------------------------------------------

    @override
    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        self._directory.put_binding(self._record(binding.room_id), binding)
        return binding

    @override
    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        record = self._rooms.get(room_id)
        return record.bindings.get(channel_id) if record is not None else None

    @override
    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        record = self._record(binding.room_id)
        _bound(record, binding.channel_id)
        self._directory.put_binding(record, binding)
        return binding

    @override
    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        return self._directory.drop_binding(self._record(room_id), channel_id)

    @override
    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        record = self._rooms.get(room_id)
        return list(record.bindings.values()) if record is not None else []

    # -- participants -------------------------------------------------------------------------

    @override
    async def add_participant(self, participant: Participant) -> Participant:
        self._directory.put_participant(self._record(participant.room_id), participant)
        return participant

    @override
    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        record = self._rooms.get(room_id)
        return record.participants.get(participant_id) if record is not None else None

    @override
    async def update_participant(self, participant: Participant) -> Participant:
        record = self._record(participant.room_id)
        if participant.id not in record.participants:
            raise ParticipantNotFoundError(
                f"participant {participant.id!r} not found in room {participant.room_id!r}: "
                "ensure_participant adds them"
            )
        self._directory.put_participant(record, participant)
        return participant

    @override
    async def list_participants(self, room_id: str) -> list[Participant]:
        record = self._rooms.get(room_id)
        return list(record.participants.values()) if record is not None else []

    @override
    async def find_participants(
        self,
        *,
        participant_id: str | None = None,
        identity_id: str | None = None,
        organization_id: str | None = None,
        limit: int = 100,
        after: tuple[str, str] | None = None,
    ) -> list[Participant]:
        if participant_id is not None:
            records = self._directory.with_person(participant_id)
        elif identity_id is not None:
            records = self._directory.with_identity(identity_id)
        else:
            records = self._rooms.values()
        found = {
            (record.room_id, person.id): person
            for record in records
            if _is_of(record, organization_id)
            for person in record.participants.values()
            if (participant_id is None or person.id == participant_id)
            and (identity_id is None or person.identity_id == identity_id)
        }
        places = sorted(place for place in found if after is None or place > after)
        return [found[place] for place in places[:limit]]

    # -- identities ---------------------------------------------------------------------------

    @override
    async def create_identity(self, identity: Identity) -> Identity:
        self._identities.put(identity)
        return identity

    @override
    async def get_identity(self, identity_id: str, *, organization_id: str | None = None) -> Identity | None:
        identity = self._identities.get(identity_id)
        if identity is None or organization_id not in (None, identity.organization_id):
            return None
        return identity

    @override
    async def delete_identity(self, identity_id: str) -> bool:
        return self._identities.remove(identity_id)

    @override
    async def resolve_identity(
        self, channel_type: str, address: str, *, organization_id: str | None = None
    ) -> Identity | None:
        return self._identities.resolve(organization_id, channel_type, address)

    @override
    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        identity = self._identities.get(identity_id)
        if identity is None:
            raise IdentityNotFoundError(f"no identity {identity_id!r}: create_identity first")
        known = identity.channel_addresses.get(channel_type, ())
        if address not in known:
            addresses = {**identity.channel_addresses, str(channel_type): (*known, address)}
            self._identities.put(identity.replace(channel_addresses=addresses))

    # -- tasks and observations ---------------------------------------------------------------

    @override
    async def add_task(self, task: Task) -> Task:
        record = self._record(task.room_id)
        self._check_task(task)
        self._put_task(record, task)
        return task

    @override
    async def get_task(self, task_id: str, *, organization_id: str | None = None) -> Task | None:
        task = self._tasks.get(task_id)
        return task if task is not None and self._owns(organization_id, task.room_id) else None

    @override
    async def update_task(self, task: Task) -> Task:
        if task.id not in self._tasks:
            raise StoreError(f"no task {task.id!r}: add_task first")
        self._check_task(task)
        self._tasks[task.id] = task
        return task

    @override
    async def list_tasks(self, room_id: str, status: TaskStatus | None = None) -> list[Task]:
        record = self._rooms.get(room_id)
        tasks = [self._tasks[task_id] for task_id in (record.tasks or ())] if record is not None else []
        return tasks if status is None else [task for task in tasks if task.status == status]

    def _check_task(self, task: Task) -> None:
        known = self._tasks.get(task.id)
        if known is not None and known.room_id != task.room_id:
            raise StoreError(f"task {task.id!r} is another room's, not {task.room_id!r}'s: use another id")

    def _put_task(self, record: StoredRoom, task: Task) -> None:
        if task.id not in self._tasks:
            if record.tasks is None:
                record.tasks = []  # bound: the tasks of the room
            record.tasks.append(task.id)
        self._tasks[task.id] = task

    @override
    async def add_observation(self, observation: Observation) -> Observation:
        self._put_observation(self._record(observation.room_id), observation)
        return observation

    @override
    async def list_observations(self, room_id: str) -> list[Observation]:
        record = self._rooms.get(room_id)
        return list((record.observations or {}).values()) if record is not None else []

    def _put_observation(self, record: StoredRoom, observation: Observation) -> None:
        if record.observations is None:
            record.observations = {}
        record.observations[observation.id] = observation

    # -- read marks ---------------------------------------------------------------------------

    @override
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> int:
        record = self._record(room_id)
        event = self._own_event(record, event_id, "mark as read")
        return self._mark(record, channel_id, event.index)

    @override
    async def mark_all_read(self, room_id: str, channel_id: str) -> int:
        record = self._record(room_id)
        return self._mark(record, channel_id, record.room.latest_index)

    def _mark(self, record: StoredRoom, channel_id: str, index: int) -> int:
        _bound(record, channel_id)
        if record.marks is None:
            record.marks = {}
        record.marks[channel_id] = mark = max(index, record.marks.get(channel_id, -1))
        return mark

    @override
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        record = self._record(room_id)
        reader = _bound(record, channel_id)
        mark = (record.marks or {}).get(channel_id, -1)
        return sum(
            event.type is EventType.MESSAGE
            and event.status is not EventStatus.BLOCKED
            and event.source.channel_id != channel_id
            and sees(reader, event)
            for event in record.since(mark + 1)
        )

    @override
    async def list_read_marks(self, room_id: str) -> dict[str, int]:
        record = self._rooms.get(room_id)
        return dict(record.marks or {}) if record is not None else {}

    # -- the ledger ---------------------------------------------------------------------------

    @override
    async def complete(
        self,
        deliveries: Sequence[Delivery],
        *,
        worker_id: str | None = None,
        timers_done: Sequence[str] = (),
        durable: bool = True,
    ) -> Completed:
        return self._complete(deliveries, worker_id, timers_done)

    def _complete(
        self, deliveries: Sequence[Delivery], worker_id: str | None, timers_done: Sequence[str]
    ) -> Completed:
        if timers_done:
            self._timers.complete(timers_done, worker_id)
        return self._ledger.complete(deliveries, worker_id)

    @override
    async def get_delivery(self, delivery_id: str, *, organization_id: str | None = None) -> Delivery | None:
        row = self._ledger.get(delivery_id)
        return row if row is not None and self._owns(organization_id, row.room_id) else None

    @override
    async def find_delivery(
        self, provider: str, message_id: str, *, organization_id: str | None = None
    ) -> Delivery | None:
        row = self._ledger.find(provider, message_id)
        return row if row is not None and self._owns(organization_id, row.room_id) else None

    @override
    async def query_deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        rows = self._deliveries(query.room_id, query.organization_id)
        if query.newest_first:
            rows = iter([*rows][::-1])
        if query.after is not None and not any(row.id == query.after for row in rows):
            raise StoreError(
                f"cursor delivery {query.after!r} no longer exists: restart from the first page "
                "with after=None"
            )
        found = (
            row
            for row in rows
            if (query.event_id is None or row.event_id == query.event_id)
            and (query.channel_id is None or row.channel_id == query.channel_id)
            and (query.state is None or row.state is query.state)
        )
        return _page(found, 0, query.limit)

    def _deliveries(self, room_id: str | None, organization_id: str | None) -> Iterator[Delivery]:
        if room_id is None:
            rows = self._ledger.of_all()
            return (row for row in rows if self._owns(organization_id, row.room_id))
        record = self._rooms.get(room_id)
        if record is None or not _is_of(record, organization_id):
            return iter(())
        return self._ledger.of_room(record)

    @override
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        return self._ledger.reopen(delivery_id)

    @override
    async def add_fallback(self, delivery_id: str, channel_id: str) -> Delivery | None:
        return self._ledger.add_fallback(delivery_id, channel_id)

    @override
    async def drop_delivery(self, delivery_id: str, reason: str) -> Delivery:
        return self._ledger.drop(delivery_id, reason)

    @override
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        return self._ledger.receive(status, receipt)

    @override
    async def delete_waiting_receipts(
        self, recipients: Collection[str], *, not_of: Collection[str] = ()
    ) -> int:
        return self._ledger.delete_waiting(recipients, not_of)

    # -- values -------------------------------------------------------------------------------

    @override
    async def get_value(
        self, namespace: str, key: Sequence[str], *, organization_id: str | None = None
    ) -> Value | None:
        return self._values.get(namespace, key, organization_id)

    @override
    async def put_value(
        self, value: Value, *, if_revision: int | None = None, fence: HomeRecord | None = None
    ) -> Value:
        self._homes.check(fence)
        return self._values.put(value, if_revision)

    @override
    async def delete_value(
        self,
        namespace: str,
        key: Sequence[str],
        *,
        organization_id: str | None = None,
        if_revision: int | None = None,
        fence: HomeRecord | None = None,
    ) -> bool:
        self._homes.check(fence)
        return self._values.delete(namespace, key, organization_id, if_revision)

    @override
    async def list_values(
        self,
        namespace: str,
        prefix: Sequence[str] = (),
        *,
        organization_id: str | None = None,
        subject: str | None = None,
        after: Sequence[str] | None = None,
        limit: int = 100,
    ) -> list[Value]:
        return self._values.scan(namespace, tuple(prefix), organization_id, subject, after, limit)

    @override
    async def list_values_of(
        self, subject: str, *, organization_id: str | None = None, after: int = 0, limit: int = 100
    ) -> list[Value]:
        return self._values.of_subject(subject, organization_id, after, limit)

    @override
    async def list_room_values(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[Value]:
        return self._values.of_room(room_id, after, limit)

    @override
    async def delete_values_of(self, subject: str, *, organization_id: str | None = None) -> int:
        return self._values.delete_subject(subject, organization_id)

    @override
    async def purge_values(self, before: datetime, *, limit: int = 1000) -> int:
        return self._values.purge(before, limit)

    # -- files --------------------------------------------------------------------------------

    @override
    async def register_media(self, room_id: str, media_ids: Collection[str], *, unused_at: datetime) -> None:
        self._media.register(room_id, media_ids, unused_at)

    @override
    async def find_media_rooms(self, media_ids: Collection[str]) -> dict[str, frozenset[str]]:
        return self._media.rooms(media_ids, self._events)

    @override
    async def list_unused_media(self, before: datetime, *, limit: int = 100) -> list[tuple[str, str]]:
        return self._media.unused(before, limit)

    @override
    async def forget_media(self, media_ids: Collection[str]) -> int:
        return self._media.forget(media_ids)

    @override
    async def list_event_media(self, event_ids: Sequence[str]) -> list[MediaUse]:
        return self._media.uses(event_ids)

    # -- leases and lanes ---------------------------------------------------------------------

    @override
    async def open_lease(self, seconds: float, *, channels: Collection[str] | None = None) -> str:
        return self._leases.open(seconds, channels)

    @override
    async def renew_lease(
        self, worker_id: str, seconds: float, *, channels: Collection[str] | None = None
    ) -> bool:
        return self._leases.renew(worker_id, seconds, channels)

    @override
    async def close_lease(self, worker_id: str) -> None:
        self._leases.close(worker_id)
        self._ledger.release(worker_id)
        self._timers.release(worker_id)

    @override
    async def find_claimable(
        self, worker_id: str, *, channels: Collection[str] | None = None, limit: int = 100
    ) -> list[str]:
        return self._ledger.claimable(worker_id, channels, limit)

    @override
    async def claim(
        self, room_id: str, worker_id: str, *, channels: Collection[str] | None = None
    ) -> list[Claimed]:
        record = self._rooms.get(room_id)
        return self._ledger.claim(record, worker_id, channels) if record is not None else []

    @override
    async def count_unclaimed(self) -> dict[str, int]:
        return self._ledger.unclaimed()

    # -- homes --------------------------------------------------------------------------------

    @override
    async def take_home(
        self,
        room_id: str | None,
        name: str,
        worker_id: str,
        *,
        url: str | None = None,
        token: int | None = None,
    ) -> HomeRecord:
        if room_id is not None:
            self._record(room_id)
        self._ledger.keep_lanes()
        return self._homes.take(HomeRecord(room_id, name, worker_id, url=url), token)

    @override
    async def leave_home(self, room_id: str | None, name: str, worker_id: str) -> bool:
        return self._homes.leave(room_id, name, worker_id)

    @override
    async def get_home(self, room_id: str | None, name: str) -> HomeRecord | None:
        return self._homes.get(room_id, name)

    @override
    async def yield_lane(
        self, room_id: str, channel_id: str, worker_id: str, *, at: datetime, grace: float
    ) -> HomeRecord | None:
        home = self._homes.noticed(room_id, channel_id, at)
        if home is not None and (home.is_alive or home.is_awaited(at, grace)):
            to = home.worker_id if home.is_alive and home.worker_id != worker_id else None
            self._ledger.pass_on(room_id, channel_id, worker_id, to)
        return home

    # -- timers -------------------------------------------------------------------------------

    @override
    async def set_timer(self, timer: Timer) -> None:
        if timer.room_id is not None:
            self._record(timer.room_id)
        self._timers.set(timer)

    @override
    async def delete_timer(self, timer_id: str) -> bool:
        return self._timers.remove([timer_id]) > 0

    @override
    async def delete_timers_of(self, subject: str, *, organization_id: str | None = None) -> int:
        about = self._timers.about(subject)
        return self._timers.remove(
            timer.id
            for timer in about
            if organization_id is None
            or (timer.room_id is not None and self._owns(organization_id, timer.room_id))
        )

    @override
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        return self._timers.claim(worker_id, now, kinds, limit)

    @override
    async def find_timers(
        self,
        kind: str | None = None,
        *,
        due_before: datetime | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Timer]:
        return self._timers.page(kind, due_before, after, limit)

    @override
    async def list_timers(self, room_id: str) -> list[Timer]:
        return self._timers.of(room_id)

    # -- which room ---------------------------------------------------------------------------

    def _record(self, room_id: str) -> StoredRoom:
        try:
            return self._rooms[room_id]
        except KeyError:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first") from None

    def _owns(self, organization_id: str | None, room_id: str) -> bool:
        """Whether an existing room belongs to the organization; always true for None."""
        return organization_id is None or self._rooms[room_id].organization_id == organization_id


def _is_of(record: StoredRoom, organization_id: str | None) -> bool:
    return organization_id is None or record.organization_id == organization_id


def _chosen(
    records: Iterable[StoredRoom], status: RoomStatus | str | None, organization_id: str | None
) -> Iterator[StoredRoom]:
    """Return the rooms of a status, the open ones when it is None, and of an organization."""
    for record in records:
        is_wanted = record.status.is_open if status is None else record.status == status
        if is_wanted and _is_of(record, organization_id):
            yield record


def _last_active(records: list[StoredRoom], limit: int) -> list[str]:
    if len(records) > 1:
        records.sort(key=lambda record: record.last_activity or record.room.created_at, reverse=True)
    return [record.room_id for record in records[: max(limit, 0)]]


def _bound(record: StoredRoom, channel_id: str) -> ChannelBinding:
    try:
        return record.bindings[channel_id]
    except KeyError:
        raise ChannelNotFoundError(
            f"channel {channel_id!r} is not attached to room {record.room_id!r}: attach_channel first"
        ) from None


def _checked_metadata(commit: Commit) -> Mapping[str, Any]:
    try:
        return dict(freeze(commit.metadata))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"metadata of room {commit.room_id!r} cannot be stored: {error}; nothing was stored"
        ) from error


def _check_kinds(commit: Commit) -> None:
    for given, kind in ((commit.tasks, Task), (commit.observations, Observation)):
        for each in given:
            if not isinstance(each, kind):
                raise InvalidInputError(
                    f"a commit to room {commit.room_id!r} has {type(each).__name__} in place of "
                    f"{kind.__name__}; nothing was stored"
                )


def _check_distinct(commit: Commit) -> None:
    ids = {entry.event.id for entry in commit.entries}
    keys = [key for entry in commit.entries if (key := entry.event.idempotency_key) is not None]
    if len(ids) < len(commit.entries) or len(set(keys)) < len(keys):
        raise StoreError(
            f"a commit to room {commit.room_id!r} has one event id or idempotency key twice: send it once"
        )


def _has(room: Room, metadata: Mapping[str, Any]) -> bool:
    missing = object()
    return all(room.metadata.get(key, missing) == value for key, value in metadata.items())


def _page[R](found: Iterable[R], offset: int, limit: int) -> list[R]:
    """Return a page; a negative offset or limit is 0."""
    start = max(0, offset)
    return list(islice(found, start, start + max(0, limit)))


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
