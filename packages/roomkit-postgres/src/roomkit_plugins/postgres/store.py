"""`PostgresStore`: every method asks the database, and keeps the cache coherent."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Self, override

from roomkit.abc.errors import StoreError, StoreLockedError
from roomkit.abc.locks import RoomLockManager
from roomkit.abc.realtime import RealtimeBackend
from roomkit.abc.store import (
    Claimed,
    Commit,
    Committed,
    Completed,
    DeliveryQuery,
    EventQuery,
    HomeRecord,
    Move,
    RoomQuery,
)
from roomkit.abc.store.media import MediaUse
from roomkit.models.base import Record, new_id, utcnow
from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
from roomkit.models.enums import ChannelType, ReceiptState, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit.models.timer import Timer
from roomkit.models.value import Value
from roomkit.models.values import findable
from roomkit_plugins.postgres import identities, ledger, moving, reading, values
from roomkit_plugins.postgres.batches import Batches
from roomkit_plugins.postgres.config import PostgresConfig
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.errors import FAILURES, translated
from roomkit_plugins.postgres.loads import Loads
from roomkit_plugins.postgres.locks import PostgresLockManager
from roomkit_plugins.postgres.realtime import PostgresRealtime
from roomkit_plugins.postgres.rows import (
    TASKS,
    dump_room,
    encoded,
    table_of,
)
from roomkit_plugins.postgres.schema import plan
from roomkit_plugins.postgres.session import connect
from roomkit_plugins.postgres.writing import (
    Basis,
    CommitParameters,
    PreparedEnds,
    counters_of,
    home_of,
    timer_rows,
)
from roomkit_plugins.sql.cached import CachedRooms, Change, Known, Reading
from roomkit_plugins.sql.commits import prepare, prepare_move
from roomkit_plugins.sql.migrations import MigrationPlan
from roomkit_plugins.sql.pages import EVERYTHING, RecordPage
from roomkit_plugins.sql.refusals import (
    duplicate_event,
    no_binding,
    no_event,
    no_room,
    room_exists,
)
from roomkit_plugins.sql.store import SQLStore

__all__ = ["PostgresStore"]

_OWNED = frozenset({"event_count", "latest_index", "version", "id"})
_CACHED_ROOMS = 4096
_TRIES = 20
_WRITE_VISIBLY = """
SELECT roomkit_write($1::json)::text FROM set_config('synchronous_commit', 'off', true)
"""
"""A write that does not wait for the disk. It has no number: a crash that undoes it would undo that, too."""
_LONG = 600.0
"""Seconds that removing much at once may take."""


class PostgresStore(SQLStore):
    """Keeps everything in PostgreSQL, for many workers at once; see `ConversationStore`.

    Give it a DSN, or a `PostgresConfig`. It opens at the first call, or at `open()`, making or migrating
    its tables. A message costs one round trip, its commit, while its room is in memory. A connection that
    breaks is replaced; a write that was under way is found out about, and neither lost nor made twice.
    """

    write_delay = 0.02

    def __init__(self, config: PostgresConfig | str) -> None:
        self.config = PostgresConfig.of(config)
        self._database = Database(self.config)
        self._loads = Loads(self._database)
        self._batches = Batches(self._database)
        self._rooms = CachedRooms(_CACHED_ROOMS)

    def __repr__(self) -> str:
        return f"PostgresStore({self.config.where!r})"

    @override
    async def open(self) -> Self:
        """Connect now instead of at the first call. Raises StoreError."""
        await self._database.open()
        return self

    @override
    async def close(self) -> None:
        await self._database.close()

    @override
    async def now(self) -> datetime:
        ((now,),) = await self._database.fetch("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now

    @override
    def make_lock_manager(self) -> RoomLockManager:
        return PostgresLockManager(self.config)

    @override
    def make_realtime(self) -> RealtimeBackend:
        return PostgresRealtime(self.config)

    # -- beyond the contract ------------------------------------------------------------------

    async def probe(self) -> str:
        """Return what opening the store would do, as `SupportsProbe` says; nothing is done.

        Raises what opening it would raise.
        """
        return (await self.plan_migration(self.config)).summary

    @staticmethod
    async def plan_migration(config: PostgresConfig | str) -> MigrationPlan:
        """Return what opening the store would do to its database; nothing is done.

        Raises what opening it would raise.
        """
        config = PostgresConfig.of(config)
        try:
            connection = await connect(config, {})
            try:
                return await plan(connection, config.where)
            finally:
                with suppress(*FAILURES):
                    await connection.close(timeout=config.connect_timeout)
        except FAILURES as error:
            raise translated(error, config.where) from error

    # -- the one write path -------------------------------------------------------------------

    @override
    async def _read_room(self, room_id: str, known: Known, recent: int, key: str | None) -> Reading | None:
        return await self._loads.load(room_id, known, recent, key)

    @override
    async def commit(self, commit: Commit) -> Committed:
        prepared = prepare(CommitParameters, commit)
        answer, change = await self._commit(prepared)
        ends = prepared.ends.completed(answer.get("completed"))
        return Committed(change.stored, prepared.elsewhere(answer), ends)

    async def _commit(self, prepared: CommitParameters) -> tuple[Mapping[str, Any], Change]:
        room_id = prepared.room_id
        changes: list[Change] = []  # bound: one

        def done(answer: Mapping[str, Any]) -> None:
            if "error" not in answer:
                changes.append(prepared.change(answer))
                self._rooms.apply(room_id, changes[0])

        for attempt in range(_TRIES):
            if prepared.needs_basis:
                prepared.on(await self._basis(prepared, again=attempt > 0))
            prepared.after(self._rooms.known(room_id))
            answer = await self._batches.write(room_id, prepared.encoded(), done)
            if changes:
                return answer, changes[0]
            if answer["error"] == "duplicate":
                first = await reading.find_event(self._database, event_id=answer["id"])
                if first is not None:
                    raise duplicate_event(first, first.idempotency_key if answer["key"] else None)
            elif answer["error"] != "moved":
                raise prepared.refused(answer)
        raise StoreLockedError(f"others change room {room_id!r} all the time; nothing was stored: try again")

    @override
    async def _commit_given(
        self, commit: Commit, binding: str | None, participant: str | None
    ) -> Mapping[str, Any]:
        prepared = CommitParameters(commit, binding=binding, participant=participant)
        return (await self._commit(prepared))[0]

    @override
    async def _records[R: Record](
        self, kind: type[R], room_id: str, page: RecordPage = EVERYTHING
    ) -> list[R]:
        return await reading.records_of_room(self._database, table_of(kind), room_id, page)

    @override
    async def _record[R: Record](self, kind: type[R], room_id: str, own_id: str) -> R | None:
        return await reading.record_of_room(self._database, table_of(kind), room_id, own_id)

    async def _basis(self, prepared: CommitParameters, *, again: bool) -> Basis:
        record = self._rooms.recall(prepared.room_id, 0)
        if again or prepared.wanted or record is None:
            return await reading.get_basis(self._database, prepared.room_id, prepared.wanted)
        return Basis(record.room)

    @override
    async def move(self, move: Move) -> int:
        prepared = prepare_move(moving.MoveParameters, move)
        try:
            return await moving.move(self._database, prepared)
        finally:
            self._rooms.forget(move.source.room_id)
            self._rooms.forget(move.into.room_id)

    # -- rooms --------------------------------------------------------------------------------

    @override
    async def create_room(self, room: Room, *, timers: Sequence[Timer] = ()) -> Room:
        room = room.replace(event_count=0, latest_index=-1, version=0)
        row = {**dump_room(room), "last_activity": room.timers.last_activity_at}
        answer = await self._database.write(
            "roomkit_create_room($3, $4)", encoded(row), encoded(timer_rows(timers))
        )
        if "error" in answer:
            raise room_exists(room.id)
        return room

    @override
    async def get_room(self, room_id: str, *, organization_id: str | None = None) -> Room | None:
        return await reading.get_room(self._database, room_id, organization_id)

    @override
    async def update_room(self, room: Room) -> Room:
        fields = {name: getattr(room, name) for name in Room.model_fields if name not in _OWNED}
        current = await self.get_room(room.id)
        moved = None if current is None else current.moved_activity(room)
        given: dict[str, Any] = {"room_changes": fields, "expected_version": room.version}
        if moved is not None:
            given |= {"at": moved, "activity": True}
        return await self._change_room(room.id, **given)

    @override
    async def patch_room_metadata(
        self, room_id: str, patch: Mapping[str, Any], unset: Collection[str] = ()
    ) -> Room:
        changes = {"updated_at": utcnow()}
        return await self._change_room(room_id, room_changes=changes, metadata=patch, unset=frozenset(unset))

    async def _change_room(self, room_id: str, *, unset: Collection[str] = (), **given: Any) -> Room:
        commit = Commit(room_id=room_id, entries=(), **{"at": utcnow(), "activity": False, **given})
        _, change = await self._commit(CommitParameters(commit, unset=unset))
        assert change.room is not None
        return change.room

    @override
    async def delete_room(self, room_id: str) -> bool:
        gone = await self._database.write("roomkit_delete_room($3)", findable(room_id), timeout=_LONG)
        self._rooms.forget(room_id)
        return bool(gone)

    @override
    async def query_rooms(self, query: RoomQuery) -> list[Room]:
        return await reading.query_rooms(self._database, query)

    @override
    async def find_latest_room(
        self,
        participant_id: str,
        channel_type: ChannelType | None = None,
        status: RoomStatus | str | None = None,
        *,
        organization_id: str | None = None,
    ) -> Room | None:
        return await reading.find_latest_room(
            self._database, participant_id, channel_type, status, organization_id
        )

    @override
    async def find_sender_room_ids(
        self, channel_id: str, sender_id: str, *, limit: int = 2, organization_id: str | None = None
    ) -> list[str]:
        return await reading.room_ids_by_sender(self._database, channel_id, sender_id, limit, organization_id)

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
        return await reading.room_ids_by_address(
            self._database, channel_id, address, limit, organization_id, closed
        )

    @override
    async def find_bound_room_ids(
        self,
        address: str,
        *,
        organization_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[str]:
        return await reading.bound_room_ids(self._database, address, organization_id, limit, after)

    @override
    async def find_room_ids_by_channel(
        self,
        channel_id: str,
        status: RoomStatus | str | None = None,
        *,
        limit: int = 2,
        organization_id: str | None = None,
    ) -> list[str]:
        return await reading.room_ids_by_channel(self._database, channel_id, status, limit, organization_id)

    # -- events -------------------------------------------------------------------------------

    @override
    async def get_event(self, event_id: str, *, organization_id: str | None = None) -> RoomEvent | None:
        return await reading.find_event(self._database, event_id=event_id, organization_id=organization_id)

    @override
    async def query_events(self, query: EventQuery) -> list[RoomEvent]:
        return await reading.query_events(self._database, query)

    @override
    async def find_event_by_key(self, room_id: str, idempotency_key: str) -> RoomEvent | None:
        return await reading.find_event(self._database, room_id=room_id, key=idempotency_key)

    @override
    async def find_keyed_event(
        self, idempotency_key: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        return await reading.find_keyed_event(self._database, idempotency_key, organization_id)

    @override
    async def find_event(
        self, channel_id: str, external_id: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        return await reading.find_external_event(self._database, channel_id, external_id, organization_id)

    @override
    async def get_event_count(self, room_id: str) -> int:
        room = await reading.get_room(self._database, room_id, None)
        return 0 if room is None else room.event_count

    @override
    async def prune_events(
        self, room_id: str, before: datetime, *, limit: int = 1000, interleaved: bool = False
    ) -> int:
        function = "roomkit_prune_interleaved" if interleaved else "roomkit_prune"
        answer = await self._database.write(
            f"{function}($3, $4, $5)", findable(room_id), before, max(limit, 0), timeout=_LONG
        )
        if "error" in answer:
            raise no_room(room_id)
        if answer["count"]:
            self._rooms.apply(room_id, Change(counters_of(answer["counters"]), pruned=True))
        return int(answer["count"])

    # -- bindings -----------------------------------------------------------------------------

    @override
    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        if await self.get_binding(room_id, channel_id) is None:
            if await self.get_room(room_id) is None:
                raise no_room(room_id)
            return False
        commit = Commit(room_id=room_id, entries=(), at=utcnow(), unbind=[channel_id], activity=False)
        return bool((await self._commit_given(commit, None, None))["unbound"])

    # -- participants -------------------------------------------------------------------------

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
        return await reading.find_participants(
            self._database, participant_id, identity_id, organization_id, limit, after
        )

    # -- identities ---------------------------------------------------------------------------

    @override
    async def create_identity(self, identity: Identity) -> Identity:
        await identities.put_identity(self._database, identity, None)
        return identity

    @override
    async def get_identity(self, identity_id: str, *, organization_id: str | None = None) -> Identity | None:
        return await identities.get_identity(self._database, identity_id, organization_id)

    @override
    async def delete_identity(self, identity_id: str) -> bool:
        return bool(await self._database.write("roomkit_delete_identity($3)", findable(identity_id)))

    @override
    async def resolve_identity(
        self, channel_type: str, address: str, *, organization_id: str | None = None
    ) -> Identity | None:
        return await identities.resolve_identity(
            self._database, organization_id or "", str(channel_type), address
        )

    @override
    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        await identities.link_address(self._database, identity_id, channel_type, address)

    # -- tasks and observations ---------------------------------------------------------------

    @override
    async def get_task(self, task_id: str, *, organization_id: str | None = None) -> Task | None:
        return await reading.find_record(self._database, TASKS, task_id, organization_id)

    @override
    async def update_task(self, task: Task) -> Task:
        row = encoded(TASKS.dump(task))
        if not await self._database.write("roomkit_update_task($3, $4)", task.room_id, row):
            raise StoreError(f"room {task.room_id!r} has no task {task.id!r}: add_task first")
        return task

    # -- read marks ---------------------------------------------------------------------------

    @override
    async def _mark(self, room_id: str, channel_id: str, event_id: str | None) -> int:
        answer = await self._database.write(
            "roomkit_mark_read($3, $4, $5)", findable(room_id), findable(channel_id), findable(event_id)
        )
        match answer.get("error"):
            case None:
                return int(answer["mark"])
            case "no_room":
                raise no_room(room_id)
            case "no_event":
                raise no_event(room_id, event_id or "", "mark as read")
        raise no_binding(room_id, channel_id)

    @override
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        return await reading.count_unread(self._database, room_id, channel_id)

    @override
    async def list_read_marks(self, room_id: str) -> dict[str, int]:
        rows = await self._database.fetch(
            "SELECT m.channel_id, m.idx FROM roomkit_read_marks m "
            "WHERE m.room = (SELECT seq FROM roomkit_rooms WHERE id = $1)",
            room_id,
        )
        return dict(map(tuple, rows))

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
        if not outcomes and not timers_done:
            return Completed()
        ends = PreparedEnds(outcomes)
        operation: dict[str, Any] = {"worker": worker_id}
        if ends.rows:
            operation |= {"completed": ends.rows, "keys": ends.keys}
        if timers_done:
            operation["alarms_done"] = tuple(timers_done)
        if durable:
            answer = await self._batches.write(None, encoded(operation), lambda answer: None)
        else:  # it may be made twice: a row that has ended is not changed again
            ((answers,),) = await self._database.fetch(_WRITE_VISIBLY, f"[{encoded(operation)}]")
            (answer,) = json.loads(answers)
        return ends.completed(answer.get("completed"))

    @override
    async def get_delivery(self, delivery_id: str, *, organization_id: str | None = None) -> Delivery | None:
        found = await ledger.get_delivery(self._database, delivery_id, organization_id)
        return None if found is None else found[0]

    @override
    async def find_delivery(
        self, provider: str, message_id: str, *, organization_id: str | None = None
    ) -> Delivery | None:
        return await ledger.find_delivery(self._database, provider, message_id, organization_id)

    @override
    async def query_deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        return await ledger.query_deliveries(self._database, query)

    @override
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        return await ledger.revive(self._database, delivery_id, "roomkit_reopen($3, $4)")

    @override
    async def drop_delivery(self, delivery_id: str, reason: str) -> Delivery:
        return await ledger.revive(self._database, delivery_id, "roomkit_drop($3, $4, $5)", reason)

    @override
    async def add_fallback(self, delivery_id: str, channel_id: str) -> Delivery | None:
        return await ledger.add_fallback(self._database, delivery_id, channel_id)

    @override
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        return await ledger.record_receipt(self._database, status, receipt)

    @override
    async def delete_waiting_receipts(
        self, recipients: Collection[str], *, not_of: Collection[str] = ()
    ) -> int:
        return await ledger.delete_waiting_receipts(self._database, recipients, not_of)

    # -- values -------------------------------------------------------------------------------

    @override
    async def get_value(
        self, namespace: str, key: Sequence[str], *, organization_id: str | None = None
    ) -> Value | None:
        return await values.get_value(self._database, namespace, key, organization_id)

    @override
    async def put_value(
        self, value: Value, *, if_revision: int | None = None, fence: HomeRecord | None = None
    ) -> Value:
        return await values.put_value(self._database, value, if_revision, fence)

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
        place = namespace, key, organization_id
        return await values.delete_value(self._database, *place, if_revision, fence)

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
        return await values.list_values(
            self._database, namespace, prefix, organization_id, subject, after, limit
        )

    @override
    async def list_values_of(
        self, subject: str, *, organization_id: str | None = None, after: int = 0, limit: int = 100
    ) -> list[Value]:
        return await values.list_values_of(self._database, subject, organization_id, after, limit)

    @override
    async def list_room_values(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[Value]:
        return await values.list_room_values(self._database, room_id, after, limit)

    @override
    async def delete_values_of(self, subject: str, *, organization_id: str | None = None) -> int:
        return int(
            await self._database.write(
                "roomkit_delete_values_of($3, $4)", findable(subject), findable(organization_id)
            )
        )

    @override
    async def purge_values(self, before: datetime, *, limit: int = 1000) -> int:
        return int(await self._database.write("roomkit_purge_values($3, $4)", before, max(limit, 0)))

    # -- files --------------------------------------------------------------------------------

    @override
    async def register_media(self, room_id: str, media_ids: Collection[str], *, unused_at: datetime) -> None:
        await self._database.write("roomkit_register_media($3, $4, $5)", room_id, [*media_ids], unused_at)

    @override
    async def find_media_rooms(self, media_ids: Collection[str]) -> dict[str, frozenset[str]]:
        return await reading.find_media_rooms(self._database, media_ids)

    @override
    async def list_unused_media(self, before: datetime, *, limit: int = 100) -> list[tuple[str, str]]:
        query = "SELECT room_id, id FROM roomkit_media WHERE unused_at <= $1 ORDER BY unused_at, id LIMIT $2"
        return [tuple(row) for row in await self._database.fetch(query, before, max(limit, 0))]

    @override
    async def forget_media(self, media_ids: Collection[str]) -> int:
        return int(await self._database.write("roomkit_forget_media($3)", findable([*media_ids])))

    @override
    async def list_event_media(self, event_ids: Sequence[str]) -> list[MediaUse]:
        return await reading.list_event_media(self._database, event_ids)

    # -- leases and lanes ---------------------------------------------------------------------

    @override
    async def open_lease(self, seconds: float, *, channels: Collection[str] | None = None) -> str:
        worker_id = new_id()
        await self._database.write("roomkit_begin_lease($3, $4, $5)", worker_id, seconds, _listed(channels))
        return worker_id

    @override
    async def renew_lease(
        self, worker_id: str, seconds: float, *, channels: Collection[str] | None = None
    ) -> bool:
        return bool(
            await self._database.write(
                "roomkit_extend_lease($3, $4, $5)", worker_id, seconds, _listed(channels)
            )
        )

    @override
    async def close_lease(self, worker_id: str) -> None:
        await self._database.write("roomkit_close_lease($3)", findable(worker_id))

    @override
    async def find_claimable(
        self, worker_id: str, *, channels: Collection[str] | None = None, limit: int = 100
    ) -> list[str]:
        return await ledger.claimable_rooms(self._database, worker_id, channels, limit)

    @override
    async def claim(
        self, room_id: str, worker_id: str, *, channels: Collection[str] | None = None
    ) -> list[Claimed]:
        numbers = await self._database.write(
            "roomkit_take($3, $4, $5)", findable(room_id), worker_id, _listed(channels)
        )
        return await ledger.claimed(self._database, numbers) if numbers else []

    @override
    async def read_lane(self, room_id: str, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
        return await ledger.lane(self._database, room_id, channel_id, indexes)

    @override
    async def count_unclaimed(self) -> dict[str, int]:
        return await ledger.unclaimed(self._database)

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
        answer = await self._database.write(
            "roomkit_take_home($3, $4, $5, $6, $7)", room_id, name, worker_id, url, token
        )
        if "error" in answer:
            raise no_room(room_id or "")
        return home_of(room_id, name, answer)

    @override
    async def leave_home(self, room_id: str | None, name: str, worker_id: str) -> bool:
        return bool(
            await self._database.write("roomkit_leave_home($3, $4, $5)", room_id, name, findable(worker_id))
        )

    @override
    async def get_home(self, room_id: str | None, name: str) -> HomeRecord | None:
        return await reading.home(self._database, room_id, name)

    @override
    async def yield_lane(
        self, room_id: str, channel_id: str, worker_id: str, *, at: datetime, grace: float
    ) -> HomeRecord | None:
        answer = await self._database.write(
            "roomkit_yield_lane($3, $4, $5, $6, $7)", room_id, channel_id, worker_id, at, grace
        )
        return None if answer is None else home_of(room_id, channel_id, answer)

    # -- timers -------------------------------------------------------------------------------

    @override
    async def set_timer(self, timer: Timer) -> None:
        answer = await self._database.write(
            "roomkit_set_alarm($3, $4)", timer.room_id, encoded(timer_rows([timer]))
        )
        if "error" in answer:
            raise no_room(timer.room_id or "")

    @override
    async def delete_timer(self, timer_id: str) -> bool:
        return bool(await self._database.write("roomkit_delete_timer($3)", findable(timer_id)))

    @override
    async def delete_timers_of(self, subject: str, *, organization_id: str | None = None) -> int:
        return int(
            await self._database.write(
                "roomkit_delete_timers_of($3, $4)", findable(subject), findable(organization_id)
            )
        )

    @override
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        wanted = None if kinds is None else findable(sorted(kinds))
        numbers = await self._database.write(
            "roomkit_claim_timers($3, $4, $5, $6)", worker_id, now, wanted, max(limit, 0)
        )
        return await reading.timers_by_seq(self._database, numbers) if numbers else []

    @override
    async def find_timers(
        self,
        kind: str | None = None,
        *,
        due_before: datetime | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Timer]:
        ids = findable(kind), findable(after)
        return await reading.find_timers(self._database, *ids, due_before, max(limit, 0))

    @override
    async def list_timers(self, room_id: str) -> list[Timer]:
        return await reading.timers_of_room(self._database, room_id)


def _listed(channels: Collection[str] | None) -> list[str] | None:
    return None if channels is None else sorted(channels)
