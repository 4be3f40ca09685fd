"""The store that lives in this process: the reference for every other one, and the tests' default."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, override

from roomkit.abc.errors import (
    ChannelNotFoundError,
    DuplicateEventError,
    EventNotFoundError,
    IdentityNotFoundError,
    ParticipantNotFoundError,
    RoomAlreadyExistsError,
    RoomNotFoundError,
    StaleRoomError,
    StoreError,
)
from roomkit.abc.store import Amend, Commit, ConversationStore, Entry
from roomkit.models.base import EMPTY, FrozenDict, freeze, utcnow
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery
from roomkit.models.enums import (
    ChannelType,
    DeliveryState,
    EventStatus,
    EventType,
    ReceiptState,
    RoomStatus,
    TaskStatus,
)
from roomkit.models.event import Amendment, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.visibility import sees

__all__ = ["InMemoryStore"]

_RECEIPT_ORDER = (ReceiptState.QUEUED, ReceiptState.SENT, ReceiptState.DELIVERED, ReceiptState.READ)
_RECENT_SCAN = 10
"""`recent(n)` looks at no more than this many times n entries, so that it is flat in the room's length."""


class _Record:
    """One room and all that belongs to it. `events[i].index == i`: nothing is ever taken out."""

    __slots__ = (
        "_room",
        "bindings",
        "events",
        "last_activity",
        "ledger",
        "marks",
        "observations",
        "order",
        "participants",
        "room_id",
        "status",
        "tasks",
        "version",
    )

    def __init__(self, room: Room, order: int) -> None:
        self._room = room
        self.order = order
        self.room_id = room.id
        self.status = room.status
        self.version = room.version
        self.last_activity = room.timers.last_activity_at
        self.bindings: dict[str, ChannelBinding] = {}
        self.participants: dict[str, Participant] = {}
        self.events: list[RoomEvent] = []  # bound: the timeline itself, removed with the room
        self.ledger: dict[int, Sequence[str]] | None = None
        self.marks: dict[str, int] | None = None
        self.tasks: list[str] | None = None  # bound: the tasks of the room
        self.observations: dict[str, Observation] | None = None

    @property
    def room(self) -> Room:
        """The room with its counters, made again only when they moved."""
        room = self._room
        count = len(self.events)
        if (
            room.event_count != count
            or room.version != self.version
            or room.timers.last_activity_at is not self.last_activity
        ):
            room = self._room = room.replace(
                event_count=count,
                latest_index=count - 1,
                version=self.version,
                timers=self._timers(room),
            )
        return room

    def _timers(self, room: Room) -> Any:
        if room.timers.last_activity_at == self.last_activity:
            return room.timers
        return room.timers.replace(last_activity_at=self.last_activity)

    def change(self, **fields: Any) -> Room:
        """Set fields of the room and raise its version."""
        self.version += 1
        self._room = self.room.replace(**fields, version=self.version)
        self.status = self._room.status
        return self._room

    def recent(self, limit: int) -> Sequence[RoomEvent]:
        found: list[RoomEvent] = []  # bound: `limit`
        for event in islice(reversed(self.events), limit * _RECENT_SCAN):
            if (
                event.type is EventType.MESSAGE
                and event.status is not EventStatus.BLOCKED
                and not event.deleted
            ):
                found.append(event)
                if len(found) == limit:
                    break
        found.reverse()
        return found


class _Index:
    """Rooms by some key, each set in order of creation; an empty one takes no memory."""

    __slots__ = ("_rooms",)

    def __init__(self) -> None:
        self._rooms: dict[Any, dict[str, _Record]] = {}

    def add(self, key: Any, room_id: str, record: _Record) -> None:
        rooms = self._rooms.setdefault(key, {})
        late = rooms and next(reversed(rooms.values())).order > record.order
        rooms[room_id] = record
        if late:
            self._rooms[key] = dict(sorted(rooms.items(), key=lambda item: item[1].order))

    def discard(self, key: Any, room_id: str) -> None:
        rooms = self._rooms.get(key)
        if rooms is not None:
            rooms.pop(room_id, None)
            if not rooms:
                del self._rooms[key]

    def get(self, key: Any) -> Iterable[_Record]:
        rooms = self._rooms.get(key)
        return rooms.values() if rooms is not None else ()


class InMemoryStore(ConversationStore):
    """Keeps everything in dicts, bounded by nothing but memory; see `ConversationStore`."""

    def __init__(self) -> None:
        self._rooms: dict[str, _Record] = {}
        self._events: dict[str, RoomEvent] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._by_message_id: dict[tuple[str, str], str] = {}
        self._tasks: dict[str, Task] = {}
        self._identities: dict[str, Identity] = {}
        self._addresses: dict[tuple[str, str, str], str] = {}
        self._created = 0
        self._by_channel = _Index()
        self._by_sender = _Index()
        self._by_participant = _Index()

    @property
    def is_process_local(self) -> bool:
        """True: no other process sees this store."""
        return True

    # -- the one write path -------------------------------------------------------------------

    @override
    async def load(self, room_id: str, *, recent: int = 0) -> _Record | None:
        return self._rooms.get(room_id)

    @override
    async def commit(self, commit: Commit) -> Sequence[RoomEvent]:
        record = self._record(commit.room_id)
        self._check(record, commit)
        metadata = freeze(commit.metadata or EMPTY)  # refused, if it must be, before anything is written
        at = commit.at
        stored = [self._append(record, entry, at) for entry in commit.entries]
        if commit.participants:
            for participant in commit.participants:
                self._put_participant(record, participant)
        if commit.bindings:
            for binding in commit.bindings:
                self._put_binding(record, binding)
        for channel_id in commit.unbind:
            self._drop_binding(record, channel_id)
        if commit.amend is not None:
            self._amend(commit.amend, at)
        for task in commit.tasks:
            self._put_task(record, task)
        for observation in commit.observations:
            self._put_observation(record, observation)
        if commit.activity:
            record.last_activity = at
        if commit.room_changes or metadata:
            changes = dict(commit.room_changes or {})
            if metadata:
                changes["metadata"] = FrozenDict({**record.room.metadata, **metadata})
            record.change(**changes, updated_at=at)
        return stored

    def _check(self, record: _Record, commit: Commit) -> None:
        expected = commit.expected_version
        if expected is not None and expected != record.version:
            raise StaleRoomError(
                f"room {commit.room_id!r} is at version {record.version}, not {expected}: plan again"
            )
        for entry in commit.entries:
            event = entry.event
            key = event.idempotency_key
            if key is not None and (commit.room_id, key) in self._keys:
                first = record.events[self._keys[commit.room_id, key]]
                raise DuplicateEventError(
                    f"room {commit.room_id!r} has the idempotency key {key!r} already", first
                )
            if event.id in self._events:
                raise DuplicateEventError(f"event {event.id!r} exists already", self._events[event.id])
        if len(commit.entries) > 1:
            _check_distinct(commit)
        if commit.amend is not None:
            target = self._events.get(commit.amend.event_id)
            if target is None or target.room_id != commit.room_id:
                raise EventNotFoundError(
                    f"room {commit.room_id!r} has no event {commit.amend.event_id!r} to amend"
                )

    def _append(self, record: _Record, entry: Entry, at: datetime) -> RoomEvent:
        event = entry.event
        index = len(record.events)
        status = event.status
        stored = event.replace(
            index=index,
            created_at=at,
            status=EventStatus.DELIVERED if status is EventStatus.PENDING else status,
        )
        stored.source.forget_given()
        stored.content.forget_given()
        record.events.append(stored.forget_given())
        self._events[stored.id] = stored
        if stored.idempotency_key is not None:
            self._keys[stored.room_id, stored.idempotency_key] = index
        if entry.targets:
            if record.ledger is None:
                record.ledger = {}
            record.ledger[index] = tuple(entry.targets)
        return stored

    def _amend(self, amend: Amend, at: datetime) -> None:
        event = self._events[amend.event_id]
        before = event.amendment or Amendment()
        if amend.content is None:
            amendment = before.replace(deleted_at=at, amended_by=amend.amended_by)
            after = event.replace(amendment=amendment)
        else:
            amendment = before.replace(
                edited_at=at,
                amended_by=amend.amended_by,
                former_contents=(*before.former_contents, event.content),
            )
            after = event.replace(content=amend.content, amendment=amendment)
        self._events[event.id] = after
        self._rooms[event.room_id].events[event.index] = after

    # -- rooms --------------------------------------------------------------------------------

    @override
    async def create_room(self, room: Room) -> Room:
        if room.id in self._rooms:
            raise RoomAlreadyExistsError(f"room {room.id!r} exists already: use get_room, or another id")
        room = room.replace(event_count=0, latest_index=-1, version=0).kept()
        room.timers.forget_given()
        self._created += 1
        self._rooms[room.id] = _Record(room, self._created)
        return room

    @override
    async def get_room(self, room_id: str) -> Room | None:
        record = self._rooms.get(room_id)
        return record.room if record is not None else None

    @override
    async def update_room(self, room: Room) -> Room:
        record = self._record(room.id)
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
        return record.change(metadata=_frozen(kept), updated_at=utcnow())

    @override
    async def delete_room(self, room_id: str) -> bool:
        record = self._rooms.pop(room_id, None)
        if record is None:
            return False
        for event in record.events:
            del self._events[event.id]
            if event.idempotency_key is not None:
                self._keys.pop((room_id, event.idempotency_key), None)
        for delivery_id in [d.id for d in self._ledger_of(record)]:
            self._forget_delivery(delivery_id)
        bindings, participants = list(record.bindings.values()), list(record.participants.values())
        record.bindings.clear()
        record.participants.clear()
        for binding in bindings:
            self._unindex_binding(record, binding)
        for participant in participants:
            self._unindex_participant(record, participant)
        for task_id in record.tasks or ():
            self._tasks.pop(task_id, None)
        return True

    @override
    async def find_rooms(
        self,
        organization_id: str | None = None,
        status: RoomStatus | str | None = None,
        metadata_filter: Mapping[str, Any] | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
        after: str | None = None,
    ) -> list[Room]:
        found = (
            record.room
            for record in self._after(after)
            if (status is None or record.status == status)
            and _matches(record.room, organization_id, metadata_filter)
        )
        return list(islice(found, offset, offset + limit))

    def _after(self, room_id: str | None) -> Iterator[_Record]:
        records = iter(self._rooms.values())
        if room_id is not None:
            for record in records:
                if record.room_id == room_id:
                    return records
            raise StoreError(f"no room {room_id!r} to go on after: begin again with after=None")
        return records

    @override
    async def rooms_due(self, now: datetime, *, limit: int = 100) -> list[Room]:
        due = [record for record in self._rooms.values() if _is_due(record, now)]
        due.sort(key=lambda record: record.last_activity or record.room.created_at)
        return [record.room for record in due[:limit]]

    @override
    async def find_latest_room(
        self,
        participant_id: str,
        channel_type: ChannelType | None = None,
        status: RoomStatus | str | None = None,
    ) -> Room | None:
        found = [
            record.room
            for record in self._records(self._by_participant.get(participant_id), status)
            if channel_type is None
            or any(binding.channel_type == channel_type for binding in record.bindings.values())
        ]
        return max(found, key=lambda room: room.created_at, default=None)

    @override
    async def find_sender_room_ids(self, channel_id: str, sender_id: str, *, limit: int = 2) -> list[str]:
        known = self._records(self._by_sender.get((channel_id, sender_id)), None)
        records = [record for record in known if channel_id in record.bindings]
        if len(records) > 1:
            records.sort(key=lambda record: record.last_activity or record.room.created_at, reverse=True)
        return [record.room_id for record in records[:limit]]

    @override
    async def find_room_ids_by_channel(
        self, channel_id: str, status: RoomStatus | str | None = None, *, limit: int = 2
    ) -> list[str]:
        records = self._records(self._by_channel.get(channel_id), status)
        return [record.room_id for record in islice(records, limit)]

    def _records(self, records: Iterable[_Record], status: RoomStatus | str | None) -> Iterator[_Record]:
        for record in records:
            if record.status.is_open if status is None else record.status == status:
                yield record

    # -- events -------------------------------------------------------------------------------

    @override
    async def get_event(self, event_id: str) -> RoomEvent | None:
        return self._events.get(event_id)

    @override
    async def list_events(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
        *,
        after_index: int | None = None,
        before_index: int | None = None,
        types: Collection[EventType] | None = None,
        reader: ChannelBinding | None = None,
        newest_first: bool = False,
    ) -> list[RoomEvent]:
        record = self._rooms.get(room_id)
        if record is None:
            return []
        start = 0 if after_index is None else max(after_index + 1, 0)
        stop = len(record.events) if before_index is None else min(before_index, len(record.events))
        places: Iterable[int] = range(start, max(stop, start))
        if newest_first:
            places = reversed(range(start, max(stop, start)))
        events = (record.events[place] for place in places)
        if types is not None or visibility_filter is not None or reader is not None:
            events = (
                event
                for event in events
                if (types is None or event.type in types)
                and (visibility_filter is None or event.visibility == visibility_filter)
                and (reader is None or sees(reader, event))
            )
        return list(islice(events, offset, offset + limit))

    @override
    async def find_event_by_key(self, room_id: str, idempotency_key: str) -> RoomEvent | None:
        index = self._keys.get((room_id, idempotency_key))
        return None if index is None else self._rooms[room_id].events[index]

    @override
    async def get_event_count(self, room_id: str) -> int:
        record = self._rooms.get(room_id)
        return len(record.events) if record is not None else 0

    # -- bindings -----------------------------------------------------------------------------

    @override
    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        self._put_binding(self._record(binding.room_id), binding)
        return binding

    @override
    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        record = self._rooms.get(room_id)
        return record.bindings.get(channel_id) if record is not None else None

    @override
    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        record = self._record(binding.room_id)
        self._binding(record, binding.channel_id)
        self._put_binding(record, binding)
        return binding

    @override
    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        return self._drop_binding(self._record(room_id), channel_id)

    @override
    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        record = self._rooms.get(room_id)
        return list(record.bindings.values()) if record is not None else []

    def _binding(self, record: _Record, channel_id: str) -> ChannelBinding:
        try:
            return record.bindings[channel_id]
        except KeyError:
            raise ChannelNotFoundError(
                f"channel {channel_id!r} is not attached to room {record.room_id!r}: attach_channel first"
            ) from None

    def _put_binding(self, record: _Record, binding: ChannelBinding) -> None:
        before = record.bindings.get(binding.channel_id)
        record.bindings[binding.channel_id] = binding.kept()
        self._by_channel.add(binding.channel_id, binding.room_id, record)
        who = binding.participant_id
        if who is not None:
            self._by_participant.add(who, binding.room_id, record)
            self._by_sender.add((binding.channel_id, who), binding.room_id, record)
        if before is not None and before.participant_id != who:
            self._unindex_person(record, before.channel_id, before.participant_id)
        record.version += 1

    def _drop_binding(self, record: _Record, channel_id: str) -> bool:
        binding = record.bindings.pop(channel_id, None)
        if binding is None:
            return False
        self._unindex_binding(record, binding)
        record.version += 1
        return True

    def _unindex_binding(self, record: _Record, binding: ChannelBinding) -> None:
        self._by_channel.discard(binding.channel_id, binding.room_id)
        self._unindex_person(record, binding.channel_id, binding.participant_id)

    def _unindex_person(self, record: _Record, channel_id: str, who: str | None) -> None:
        """Forget that somebody is in a room and came by a channel, unless there is another sign of it."""
        if who is None:
            return
        room_id = record.room_id
        bindings, participants = record.bindings, record.participants
        if who not in participants and all(each.participant_id != who for each in bindings.values()):
            self._by_participant.discard(who, room_id)
        bound = bindings.get(channel_id)
        if bound is not None and bound.participant_id == who:
            return
        if not any((channel_id, who) in _senders(participant) for participant in participants.values()):
            self._by_sender.discard((channel_id, who), room_id)

    # -- participants -------------------------------------------------------------------------

    @override
    async def add_participant(self, participant: Participant) -> Participant:
        self._put_participant(self._record(participant.room_id), participant)
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
                f"nobody with the id {participant.id!r} in room {participant.room_id!r}: "
                "ensure_participant adds them"
            )
        self._put_participant(record, participant)
        return participant

    @override
    async def list_participants(self, room_id: str) -> list[Participant]:
        record = self._rooms.get(room_id)
        return list(record.participants.values()) if record is not None else []

    def _put_participant(self, record: _Record, participant: Participant) -> None:
        before = record.participants.get(participant.id)
        record.participants[participant.id] = participant.kept()
        self._by_participant.add(participant.id, participant.room_id, record)
        for sender in _senders(participant):
            self._by_sender.add(sender, participant.room_id, record)
        if before is not None and _senders(before) != _senders(participant):
            self._unindex_participant(record, before)
        record.version += 1

    def _unindex_participant(self, record: _Record, participant: Participant) -> None:
        for channel_id, who in _senders(participant):
            self._unindex_person(record, channel_id, who)
        self._unindex_person(record, participant.channel_id, participant.id)

    # -- identities ---------------------------------------------------------------------------

    @override
    async def create_identity(self, identity: Identity) -> Identity:
        before = self._identities.get(identity.id)
        if before is not None:
            for address in _addresses_of(before):
                if self._addresses.get(address) == identity.id:
                    del self._addresses[address]
        self._identities[identity.id] = identity
        for address in _addresses_of(identity):
            self._addresses[address] = identity.id
        return identity

    @override
    async def get_identity(self, identity_id: str) -> Identity | None:
        return self._identities.get(identity_id)

    @override
    async def resolve_identity(
        self, channel_type: str, address: str, *, organization_id: str | None = None
    ) -> Identity | None:
        found = self._addresses.get((organization_id or "", channel_type, address))
        return self._identities[found] if found is not None else None

    @override
    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        identity = self._identities.get(identity_id)
        if identity is None:
            raise IdentityNotFoundError(f"no identity {identity_id!r}: create_identity first")
        known = identity.channel_addresses.get(channel_type, ())
        if address not in known:
            addresses = {**identity.channel_addresses, str(channel_type): (*known, address)}
            await self.create_identity(identity.replace(channel_addresses=addresses))

    # -- tasks and observations ---------------------------------------------------------------

    @override
    async def add_task(self, task: Task) -> Task:
        self._put_task(self._record(task.room_id), task)
        return task

    @override
    async def get_task(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    @override
    async def update_task(self, task: Task) -> Task:
        if task.id not in self._tasks:
            raise StoreError(f"no task {task.id!r}: add_task first")
        self._tasks[task.id] = task
        return task

    @override
    async def list_tasks(self, room_id: str, status: TaskStatus | None = None) -> list[Task]:
        record = self._rooms.get(room_id)
        tasks = [self._tasks[task_id] for task_id in (record.tasks or ())] if record is not None else []
        return tasks if status is None else [task for task in tasks if task.status == status]

    def _put_task(self, record: _Record, task: Task) -> None:
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

    def _put_observation(self, record: _Record, observation: Observation) -> None:
        if record.observations is None:
            record.observations = {}
        record.observations[observation.id] = observation

    # -- read marks ---------------------------------------------------------------------------

    @override
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> int:
        record = self._record(room_id)
        event = self._events.get(event_id)
        if event is None or event.room_id != room_id:
            raise EventNotFoundError(f"room {room_id!r} has no event {event_id!r} to mark as read")
        return self._mark(record, channel_id, event.index)

    @override
    async def mark_all_read(self, room_id: str, channel_id: str) -> int:
        record = self._record(room_id)
        return self._mark(record, channel_id, len(record.events) - 1)

    def _mark(self, record: _Record, channel_id: str, index: int) -> int:
        self._binding(record, channel_id)
        if record.marks is None:
            record.marks = {}
        record.marks[channel_id] = mark = max(index, record.marks.get(channel_id, -1))
        return mark

    @override
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        record = self._record(room_id)
        reader = self._binding(record, channel_id)
        mark = (record.marks or {}).get(channel_id, -1)
        return sum(
            event.type is EventType.MESSAGE
            and event.status is not EventStatus.BLOCKED
            and event.source.channel_id != channel_id
            and sees(reader, event)
            for event in islice(record.events, mark + 1, None)
        )

    @override
    async def list_read_marks(self, room_id: str) -> dict[str, int]:
        record = self._rooms.get(room_id)
        return dict(record.marks or {}) if record is not None else {}

    # -- the ledger ---------------------------------------------------------------------------

    @override
    async def record_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            before = self._deliveries.get(delivery.id)
            if before is not None:
                if before.state is not DeliveryState.PENDING:
                    continue
                receipt = delivery.receipt
                if before.receipt is not None and not (receipt and _advances(before.receipt, receipt)):
                    delivery = delivery.replace(receipt=before.receipt)
            self._deliveries[delivery.id] = delivery
            if delivery.provider_message_id is not None and delivery.provider is not None:
                for message_id in (delivery.provider_message_id, *delivery.parts):
                    self._by_message_id[delivery.provider, message_id] = delivery.id

    @override
    async def get_delivery(self, delivery_id: str) -> Delivery | None:
        event_id, _, channel_id = delivery_id.partition(":")
        event = self._events.get(event_id)
        if event is None:
            return None
        targets = (self._rooms[event.room_id].ledger or {}).get(event.index, ())
        return self._row(event, channel_id) if channel_id in targets else None

    @override
    async def list_deliveries(
        self,
        room_id: str | None = None,
        *,
        event_id: str | None = None,
        channel_id: str | None = None,
        state: DeliveryState | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[Delivery]:
        if room_id is None:
            records: Iterable[_Record] = self._rooms.values()
        else:
            records = filter(None, (self._rooms.get(room_id),))
        rows = (row for record in records for row in self._ledger_of(record))
        if after is not None and not any(row.id == after for row in rows):
            raise StoreError(f"no delivery {after!r} to go on after: begin again with after=None")
        found = (
            row
            for row in rows
            if (event_id is None or row.event_id == event_id)
            and (channel_id is None or row.channel_id == channel_id)
            and (state is None or row.state is state)
        )
        return list(islice(found, limit))

    def _ledger_of(self, record: _Record) -> Iterator[Delivery]:
        for index, targets in (record.ledger or {}).items():
            for channel_id in targets:
                yield self._row(record.events[index], channel_id)

    def _row(self, event: RoomEvent, channel_id: str) -> Delivery:
        row = self._deliveries.get(f"{event.id}:{channel_id}")
        return row if row is not None else pending_delivery(event, channel_id)

    @override
    async def record_receipt(self, provider: str, message_id: str, receipt: ReceiptState) -> Delivery | None:
        delivery_id = self._by_message_id.get((provider, message_id))
        if delivery_id is None:
            return None
        row = self._deliveries[delivery_id]
        if _advances(row.receipt, receipt):
            row = self._deliveries[delivery_id] = row.replace(receipt=receipt)
        return row

    def _forget_delivery(self, delivery_id: str) -> None:
        row = self._deliveries.pop(delivery_id, None)
        if row is not None and row.provider is not None and row.provider_message_id is not None:
            for message_id in (row.provider_message_id, *row.parts):
                self._by_message_id.pop((row.provider, message_id), None)

    def _record(self, room_id: str) -> _Record:
        try:
            return self._rooms[room_id]
        except KeyError:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first") from None


def pending_delivery(event: RoomEvent, channel_id: str) -> Delivery:
    """Return the ledger row a commit creates for one target of an event."""
    return Delivery(
        id=f"{event.id}:{channel_id}",
        room_id=event.room_id,
        event_id=event.id,
        event_index=event.index,
        channel_id=channel_id,
        created_at=event.created_at,
    )


def _check_distinct(commit: Commit) -> None:
    ids = {entry.event.id for entry in commit.entries}
    keys = [key for entry in commit.entries if (key := entry.event.idempotency_key) is not None]
    if len(ids) < len(commit.entries) or len(set(keys)) < len(keys):
        raise StoreError(
            f"a commit to room {commit.room_id!r} has one event id or idempotency key twice: send it once"
        )


def _frozen(metadata: Mapping[str, Any]) -> Any:
    return Room(metadata=metadata).metadata


def _matches(room: Room, organization_id: str | None, metadata: Mapping[str, Any] | None) -> bool:
    if organization_id is not None and room.organization_id != organization_id:
        return False
    missing = object()
    return all(room.metadata.get(key, missing) == value for key, value in (metadata or {}).items())


def _is_due(record: _Record, now: datetime) -> bool:
    timers = record._room.timers
    if timers.closed_after_seconds is None and timers.inactive_after_seconds is None:
        return False
    return record.room.due(now) is not None


def _senders(participant: Participant) -> set[tuple[str, str]]:
    """Return the participant as a sender: each channel they came by, and their address there."""
    who = participant.external_id or participant.id
    return {(channel_id, who) for channel_id in participant.connected_via or (participant.channel_id,)}


def _addresses_of(identity: Identity) -> Iterator[tuple[str, str, str]]:
    for channel_type, addresses in identity.channel_addresses.items():
        for address in addresses:
            yield (identity.organization_id or "", str(channel_type), address)


def _advances(before: ReceiptState | None, after: ReceiptState) -> bool:
    if before is ReceiptState.FAILED or before is after:
        return False
    if before is None or after is ReceiptState.FAILED:
        return before is not ReceiptState.READ or after is not ReceiptState.FAILED
    return _RECEIPT_ORDER.index(after) > _RECEIPT_ORDER.index(before)
