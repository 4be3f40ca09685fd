"""The store that lives in this process: the reference for every other one, and the tests' default."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice, takewhile
from typing import Any, override

from roomkit.abc.errors import (
    ParticipantNotFoundError,
    RoomAlreadyExistsError,
    StaleCursorError,
    StaleRoomError,
)
from roomkit.abc.store import (
    Claimed,
    Commit,
    Committed,
    Completed,
    ConversationStore,
    DeliveryQuery,
    EventQuery,
    HomeRecord,
    Move,
    RoomQuery,
)
from roomkit.abc.store.media import MediaUse
from roomkit.memory.directory import Directory, Identities, chosen, last_active
from roomkit.memory.homes import HomeTable
from roomkit.memory.leases import Leases, TimerTable
from roomkit.memory.ledger import Ledger
from roomkit.memory.moving import Mover
from roomkit.memory.pages import page_after
from roomkit.memory.register import MediaTable
from roomkit.memory.rooms import StoredRoom, unknown_room
from roomkit.memory.tasks import TaskTable
from roomkit.memory.timelines import Timelines
from roomkit.memory.transactions import Transactions
from roomkit.memory.values import ValueTable
from roomkit.models.base import freeze, utcnow
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
from roomkit.models.enums import (
    ChannelType,
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

__all__ = ["InMemoryStore"]


class InMemoryStore(ConversationStore):
    """Keeps everything in dicts, bounded by nothing but memory; see `ConversationStore`.

    What a kit that ended has left pending is there for the next one in the process. Time, for leases, is
    that of the running loop.
    """

    def __init__(self) -> None:
        self._rooms: dict[str, StoredRoom] = {}  # bound: the rooms themselves, until deleted
        self._created = 0
        self._timelines = Timelines()
        self._events, self._keys = self._timelines.events, self._timelines.keys
        self._tasks = TaskTable()
        self._directory = Directory()
        self._identities = Identities()
        self._leases = Leases()
        self._timers = TimerTable(self._leases)
        self._homes = HomeTable(self._leases)
        self._ledger = Ledger(self._rooms, self._events, self._leases, self._homes)
        self._values = ValueTable()
        self._media = MediaTable()
        self._transactions = Transactions(
            self._rooms,
            self._timelines,
            self._directory,
            self._tasks,
            self._leases,
            self._timers,
            self._ledger,
            self._values,
            self._media,
        )
        self._mover = Mover(
            self._timelines, self._ledger, self._tasks, self._values, self._timers, self._homes
        )

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
        self._transactions.check(record, commit)
        return self._transactions.commit(record, commit)

    @override
    async def move(self, move: Move) -> int:
        source, into = self._record(move.source.room_id), self._record(move.into.room_id)
        events = self._timelines.some(source, move.events)
        self._transactions.check(source, move.source)
        self._transactions.check(into, move.into)
        self._mover.check_settled(move, source, into, events)
        self._transactions.commit(source, move.source)
        self._mover.move(move, source, into, events)
        self._transactions.commit(into, move.into)
        return len(events)

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
        return record.room if record is not None and record.is_of(organization_id) else None

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
        self._tasks.forget(record)
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
        records = (record for record in self._rooms.values() if record.is_of(organization_id))
        if room_id is not None:
            for record in records:
                if record.room_id == room_id:
                    return records
            raise StaleCursorError(
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
            for record in chosen(self._directory.with_person(participant_id), status, organization_id)
            if channel_type is None
            or any(binding.channel_type == channel_type for binding in record.bindings.values())
        ]
        return max(found, key=lambda room: room.created_at, default=None)

    @override
    async def find_sender_room_ids(
        self, channel_id: str, sender_id: str, *, limit: int = 2, organization_id: str | None = None
    ) -> list[str]:
        known = chosen(self._directory.with_sender(channel_id, sender_id), None, organization_id)
        return last_active([record for record in known if channel_id in record.bindings], limit)

    @override
    async def find_address_room_ids(
        self,
        channel_id: str,
        address: str,
        *,
        limit: int = 2,
        organization_id: str | None = None,
        closed: bool = False,
    ) -> list[str]:
        there = self._directory.with_address(channel_id, address)
        known = (each for each in there if each.is_of(organization_id) and (closed or each.status.is_open))
        return last_active(list(known), limit)

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
        ids = sorted(record.room_id for record in known if record.is_of(organization_id))
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
        records = chosen(self._directory.with_channel(channel_id), status, organization_id)
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
        return _page(record.select(query), query.offset, query.limit)

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
            if (room_id, idempotency_key) in self._keys and record.is_of(organization_id)
        )
        return max(found, key=lambda event: event.created_at, default=None)

    @override
    async def find_event(
        self, channel_id: str, external_id: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        found = self._timelines.with_external_id(channel_id, external_id)
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

    def _forget_event(self, record: StoredRoom, event: RoomEvent) -> None:
        """Remove an event's data outside the timeline itself."""
        if event.id in self._media.by_event:
            self._media.release(event.id)
        self._ledger.forget(event)
        if record.ledger is not None:
            record.ledger.pop(event.index, None)
        self._timelines.forget(record, event)

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
        record.bound(binding.channel_id)
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
    async def list_participants(
        self, room_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Participant]:
        record = self._rooms.get(room_id)
        found = record.participants.values() if record is not None else ()
        return page_after(found, "participant", limit, after)

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
        return self._directory.people(
            self._rooms.values(), participant_id, identity_id, organization_id, limit, after
        )

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
        self._identities.link(identity_id, channel_type, address)

    # -- tasks and observations ---------------------------------------------------------------

    @override
    async def add_task(self, task: Task) -> Task:
        record = self._record(task.room_id)
        self._tasks.put(record, task)
        return task

    @override
    async def get_task(self, task_id: str, *, organization_id: str | None = None) -> Task | None:
        task = self._tasks.get(task_id)
        return task if task is not None and self._owns(organization_id, task.room_id) else None

    @override
    async def update_task(self, task: Task) -> Task:
        self._tasks.replace(task)
        return task

    @override
    async def list_tasks(
        self,
        room_id: str,
        status: TaskStatus | None = None,
        *,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[Task]:
        record = self._rooms.get(room_id)
        return self._tasks.of_room(record, status, limit, after)

    @override
    async def add_observation(self, observation: Observation) -> Observation:
        self._record(observation.room_id).observe(observation)
        return observation

    @override
    async def list_observations(
        self, room_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Observation]:
        record = self._rooms.get(room_id)
        found = (record.observations if record is not None else None) or {}
        return page_after(found.values(), "observation", limit, after)

    # -- read marks ---------------------------------------------------------------------------

    @override
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> int:
        record = self._record(room_id)
        event = self._timelines.of_room(record, event_id, "mark as read")
        return record.mark(channel_id, event.index)

    @override
    async def mark_all_read(self, room_id: str, channel_id: str) -> int:
        record = self._record(room_id)
        return record.mark(channel_id, record.room.latest_index)

    @override
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        record = self._record(room_id)
        return record.unread(record.bound(channel_id))

    @override
    async def list_read_marks(self, room_id: str) -> dict[str, int]:
        record = self._rooms.get(room_id)
        return dict(record.marks or {}) if record is not None else {}

    # -- the ledger ---------------------------------------------------------------------------

    @override
    async def complete(
        self,
        outcomes: Sequence[DeliveryOutcome],
        *,
        worker_id: str | None = None,
        timers_done: Sequence[str] = (),
        durable: bool = True,
    ) -> Completed:
        return self._transactions.complete(outcomes, worker_id, timers_done)

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
        return _page(_asked_for(query, rows), 0, query.limit)

    def _deliveries(self, room_id: str | None, organization_id: str | None) -> Iterator[Delivery]:
        if room_id is None:
            rows = self._ledger.of_all()
            return (row for row in rows if self._owns(organization_id, row.room_id))
        record = self._rooms.get(room_id)
        if record is None or not record.is_of(organization_id):
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
    async def read_lane(self, room_id: str, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
        record = self._rooms.get(room_id)
        return [] if record is None else self._ledger.lane(record, channel_id, indexes)

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
            raise unknown_room(room_id) from None

    def _owns(self, organization_id: str | None, room_id: str) -> bool:
        """Whether an existing room belongs to the organization; always true for None."""
        return organization_id is None or self._rooms[room_id].organization_id == organization_id


def _asked_for(query: DeliveryQuery, rows: Iterator[Delivery]) -> Iterator[Delivery]:
    if query.after is not None and not any(row.id == query.after for row in rows):
        raise StaleCursorError(
            f"cursor delivery {query.after!r} no longer exists: restart from the first page with after=None"
        )
    return (
        row
        for row in rows
        if (query.event_id is None or row.event_id == query.event_id)
        and (query.channel_id is None or row.channel_id == query.channel_id)
        and (query.state is None or row.state is query.state)
    )


def _has(room: Room, metadata: Mapping[str, Any]) -> bool:
    missing = object()
    return all(room.metadata.get(key, missing) == value for key, value in metadata.items())


def _page[R](found: Iterable[R], offset: int, limit: int) -> list[R]:
    """Return a page; a negative offset or limit is 0."""
    start = max(0, offset)
    return list(islice(found, start, start + max(0, limit)))
