"""`SQLiteStore`: every method hands its work to the file's connections and keeps the cache true."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, override

from roomkit.abc.errors import InvalidInputError, StoreUnavailableError
from roomkit.abc.store import (
    Claimed,
    Commit,
    Committed,
    Completed,
    DeliveryQuery,
    EventQuery,
    EventSearch,
    HomeRecord,
    Move,
    RoomQuery,
)
from roomkit.abc.store.media import MediaUse
from roomkit.models.base import Record, freeze, new_id, utcnow
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
from roomkit_plugins.sql.cached import CachedRooms, Change, Known, Reading
from roomkit_plugins.sql.commits import prepare, prepare_move
from roomkit_plugins.sql.migrations import MigrationPlan, planned
from roomkit_plugins.sql.pages import EVERYTHING, RecordPage
from roomkit_plugins.sql.store import SQLStore
from roomkit_plugins.sqlite import (
    backup,
    homes,
    leases,
    ledger,
    media,
    moving,
    people,
    reading,
    searching,
    values,
    writing,
)
from roomkit_plugins.sqlite.compact import compact
from roomkit_plugins.sqlite.config import SQLiteConfig
from roomkit_plugins.sqlite.damage import check_structure
from roomkit_plugins.sqlite.database import DatabaseFile
from roomkit_plugins.sqlite.errors import translated
from roomkit_plugins.sqlite.presence import Presence
from roomkit_plugins.sqlite.rows import dump, micros
from roomkit_plugins.sqlite.schema import STEPS, plan
from roomkit_plugins.sqlite.timers import (
    claim_timers,
    delete_timer,
    delete_timers_of,
    find_timers,
    list_timers,
    prepare_timer,
)

__all__ = ["SQLiteStore"]


class SQLiteStore(SQLStore):
    """Keeps everything in one SQLite file; see `ConversationStore`.

    Give it a path, or a `SQLiteConfig`. It opens at the first call, or at `open()`, making or
    migrating the file. Several processes of one machine may have one file open; each sees what the
    others wrote. Leases run by this machine's clock, which they share.

    Writes are durable when they return, as `synchronous` says. A cancelled write was made whole or
    not at all.
    """

    write_delay = 0.01
    """A wait for the disk is what a write costs. The end of a delivery rides along with the next
    commit of the moment, so that a message waits once and not twice."""

    def __init__(self, config: SQLiteConfig | str | os.PathLike[str] = SQLiteConfig()) -> None:  # noqa: B008
        self.config = config if isinstance(config, SQLiteConfig) else SQLiteConfig(path=Path(config))
        self._database = DatabaseFile(self.config)
        self._rooms = CachedRooms(self.config.cached_rooms)
        self._presence = Presence(self.config.path)
        self._clock = time.time

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.config.path)!r})"

    @property
    def refused_writes(self) -> int:
        """How many writes were refused because `max_waiting_writes` others waited."""
        return self._database.refused

    @override
    async def open(self) -> Self:
        """Open the file now instead of at the first call. Raises StoreError."""
        await self._database.open()
        return self

    @override
    async def close(self) -> None:
        await self._database.close()
        self._presence.close()

    # -- beyond the contract ------------------------------------------------------------------

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of everything, as of now, to a new file, while the store stays in use.

        The file appears under its name when it is complete. Raises StoreError when it is there
        already.
        """
        await self._database.open()
        target = Path(path)
        await asyncio.to_thread(backup.write, self.config.path, target, self.config.busy_timeout)

    async def check(self) -> None:
        """Read the whole file, and raise StoreCorruptError with the faults of its structure.

        Opening checks little, so that it is fast: a truncated file, and a log that lost commits. This takes
        about a second for each 500 MB; reads and writes go on. SQLite keeps no checksums of texts: a bit
        that changed inside a word is not found.
        """
        await self._read(check_structure, self.config.path)

    async def compact(self) -> None:
        """Rewrite the file, so that nothing of removed or redacted data is left in or beside it.

        Redaction itself takes the words out of every record; the search index and the log of the file may
        hold single ones until they are written over. Writes wait for it, and the disk needs room for the
        file once more. Raises StoreLockedError when another process reads old contents for longer than
        `busy_timeout`.
        """
        await self._database.maintain(partial(compact, path=self.config.path))

    async def probe(self) -> str:
        """Return what opening the store would do, as `SupportsProbe` says; nothing is done.

        Raises what opening it would raise.
        """
        return (await self.plan_migration(self.config)).summary

    @staticmethod
    async def plan_migration(config: SQLiteConfig | str | os.PathLike[str]) -> MigrationPlan:
        """Return what opening the file would do to it; nothing is done, and no file is made.

        Raises what opening it would raise.
        """
        path = config.path if isinstance(config, SQLiteConfig) else Path(config)
        return await asyncio.to_thread(_plan, path)

    # -- the one write path -------------------------------------------------------------------

    @override
    async def _read_room(self, room_id: str, known: Known, recent: int, key: str | None) -> Reading | None:
        return await self._read(reading.read_room, room_id, known, recent, key)

    @override
    async def commit(self, commit: Commit) -> Committed:
        return await self._commit(prepare(writing.CommitRows, commit))

    async def _commit(self, prepared: writing.CommitRows) -> Committed:
        def done(written: writing.WrittenCommit) -> None:
            self._rooms.apply(prepared.room_id, written.change)

        prepared.known = self._rooms.known(prepared.room_id)
        work = partial(writing.commit, prepared=prepared, now=self._now)
        return (await self._database.write(work, done)).committed

    @override
    async def _commit_given(self, commit: Commit, binding: str | None, participant: str | None) -> Committed:
        return await self._commit(writing.CommitRows(commit, binding=binding, participant=participant))

    @override
    async def _records[R: Record](
        self, kind: type[R], room_id: str, page: RecordPage = EVERYTHING
    ) -> list[R]:
        return await self._read(reading.records_of_room, kind, room_id, page)

    @override
    async def _record[R: Record](self, kind: type[R], room_id: str, own_id: str) -> R | None:
        return await self._read(reading.record_of_room, kind, room_id, own_id)

    async def _change[C: Change | None](self, room_id: str, work: Callable[[sqlite3.Connection], C]) -> C:
        def done(change: C) -> None:
            if change is not None:
                self._rooms.apply(room_id, change)

        return await self._database.write(work, done)

    async def _write[T](self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._database.write(lambda connection: function(connection, *arguments))

    async def _read[T](self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await self._database.read(lambda connection: function(connection, *arguments))
        except InvalidInputError:  # an id that is no Unicode, so that nothing has it
            mended = [findable(each) for each in arguments]
            if mended == list(arguments):
                raise
            return await self._database.read(lambda connection: function(connection, *mended))

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    @override
    async def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    @override
    async def move(self, move: Move) -> int:
        def done(_: int) -> None:
            self._rooms.forget(move.source.room_id)
            self._rooms.forget(move.into.room_id)

        prepared = prepare_move(moving.MoveRows, move)
        return await self._database.write(partial(moving.move, prepared=prepared, now=self._now), done)

    # -- rooms --------------------------------------------------------------------------------

    @override
    async def create_room(self, room: Room, *, timers: Sequence[Timer] = ()) -> Room:
        room = room.replace(event_count=0, latest_index=-1, version=0)
        await self._write(writing.create_room, room, dump(room), [prepare_timer(each) for each in timers])
        return room

    @override
    async def get_room(self, room_id: str, *, organization_id: str | None = None) -> Room | None:
        return await self._read(reading.get_room, room_id, organization_id)

    @override
    async def update_room(self, room: Room) -> Room:
        return await self._change_room(room.id, partial(writing.update_room, room=room))

    @override
    async def patch_room_metadata(
        self, room_id: str, patch: Mapping[str, Any], unset: Collection[str] = ()
    ) -> Room:
        room_id = findable(room_id)
        patching = partial(
            writing.patch_room, room_id=room_id, patch=freeze(patch), unset=frozenset(unset), at=utcnow()
        )
        return await self._change_room(room_id, patching)

    async def _change_room(self, room_id: str, work: Callable[[sqlite3.Connection], Change]) -> Room:
        change = await self._change(room_id, work)
        assert change.room is not None
        return change.room

    @override
    async def delete_room(self, room_id: str) -> bool:
        return await self._database.write(
            partial(writing.delete_room, room_id=findable(room_id)), lambda _: self._rooms.forget(room_id)
        )

    @override
    async def query_rooms(self, query: RoomQuery) -> list[Room]:
        return await self._read(reading.query_rooms, query)

    @override
    async def find_latest_room(
        self,
        participant_id: str,
        channel_type: ChannelType | None = None,
        status: RoomStatus | str | None = None,
        *,
        organization_id: str | None = None,
    ) -> Room | None:
        return await self._read(
            reading.find_latest_room, participant_id, channel_type, status, organization_id
        )

    @override
    async def find_sender_room_ids(
        self, channel_id: str, sender_id: str, *, limit: int = 2, organization_id: str | None = None
    ) -> list[str]:
        return await self._read(reading.room_ids_by_sender, channel_id, sender_id, limit, organization_id)

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
        return await self._read(
            reading.room_ids_by_address, channel_id, address, limit, organization_id, closed
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
        return await self._read(reading.bound_room_ids, findable(address), organization_id, limit, after)

    @override
    async def find_room_ids_by_channel(
        self,
        channel_id: str,
        status: RoomStatus | str | None = None,
        *,
        limit: int = 2,
        organization_id: str | None = None,
    ) -> list[str]:
        return await self._read(reading.room_ids_by_channel, channel_id, status, limit, organization_id)

    # -- events -------------------------------------------------------------------------------

    @override
    async def get_event(self, event_id: str, *, organization_id: str | None = None) -> RoomEvent | None:
        return await self._read(reading.get_event, event_id, organization_id)

    @override
    async def query_events(self, query: EventQuery) -> list[RoomEvent]:
        return await self._read(reading.query_events, query)

    @override
    async def find_words(self, search: EventSearch) -> list[RoomEvent]:
        return await self._read(searching.find_words, search)

    @override
    async def find_event_by_key(self, room_id: str, idempotency_key: str) -> RoomEvent | None:
        return await self._read(reading.find_event_by_key, room_id, idempotency_key)

    @override
    async def find_keyed_event(
        self, idempotency_key: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        return await self._read(reading.find_keyed_event, idempotency_key, organization_id)

    @override
    async def find_event(
        self, channel_id: str, external_id: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        return await self._read(reading.find_event, channel_id, external_id, organization_id)

    @override
    async def get_event_count(self, room_id: str) -> int:
        return await self._read(reading.count_events, room_id)

    @override
    async def prune_events(
        self, room_id: str, before: datetime, *, limit: int = 1000, interleaved: bool = False
    ) -> int:
        def done(pruned: writing.Pruned) -> None:
            if pruned.change is not None:
                self._rooms.apply(room_id, pruned.change)

        work = partial(
            writing.prune_events,
            room_id=findable(room_id),
            before=before,
            limit=limit,
            interleaved=interleaved,
        )
        return (await self._database.write(work, done)).count

    # -- bindings -----------------------------------------------------------------------------

    @override
    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        work = partial(writing.remove_binding, room_id=findable(room_id), channel_id=findable(channel_id))
        return await self._change(room_id, work) is not None

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
        return await self._read(
            reading.find_participants, participant_id, identity_id, organization_id, limit, after
        )

    # -- identities ---------------------------------------------------------------------------

    @override
    async def create_identity(self, identity: Identity) -> Identity:
        await self._write(people.create_identity, identity)
        return identity

    @override
    async def get_identity(self, identity_id: str, *, organization_id: str | None = None) -> Identity | None:
        return await self._read(reading.get_identity, identity_id, organization_id)

    @override
    async def delete_identity(self, identity_id: str) -> bool:
        return await self._write(people.delete_identity, findable(identity_id))

    @override
    async def resolve_identity(
        self, channel_type: str, address: str, *, organization_id: str | None = None
    ) -> Identity | None:
        return await self._read(reading.resolve_identity, organization_id or "", str(channel_type), address)

    @override
    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        await self._write(people.link_address, findable(identity_id), str(channel_type), address)

    # -- tasks and observations ---------------------------------------------------------------

    @override
    async def get_task(self, task_id: str, *, organization_id: str | None = None) -> Task | None:
        return await self._read(reading.get_task, task_id, organization_id)

    @override
    async def update_task(self, task: Task) -> Task:
        await self._write(writing.update_task, task, dump(task))
        return task

    # -- read marks ---------------------------------------------------------------------------

    @override
    async def _mark(self, room_id: str, channel_id: str, event_id: str | None) -> int:
        return await self._write(
            writing.mark_read, findable(room_id), findable(channel_id), findable(event_id)
        )

    @override
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        return await self._read(reading.count_unread, room_id, channel_id)

    @override
    async def list_read_marks(self, room_id: str) -> dict[str, int]:
        return await self._read(reading.list_marks, room_id)

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
        # Durable in any case: commits that did not wait for the disk look like damage after a power cut.
        rows = [ledger.finished(each) for each in outcomes]
        return await self._write(ledger.complete, rows, worker_id, tuple(timers_done))

    @override
    async def get_delivery(self, delivery_id: str, *, organization_id: str | None = None) -> Delivery | None:
        return await self._read(ledger.get_delivery, delivery_id, organization_id)

    @override
    async def find_delivery(
        self, provider: str, message_id: str, *, organization_id: str | None = None
    ) -> Delivery | None:
        return await self._read(ledger.find_delivery, provider, message_id, organization_id)

    @override
    async def query_deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        return await self._read(ledger.query_deliveries, query)

    @override
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        return await self._write(ledger.reopen_delivery, findable(delivery_id), self._now)

    @override
    async def add_fallback(self, delivery_id: str, channel_id: str) -> Delivery | None:
        return await self._write(ledger.add_fallback, findable(delivery_id), findable(channel_id), self._now)

    @override
    async def drop_delivery(self, delivery_id: str, reason: str) -> Delivery:
        return await self._write(ledger.drop_delivery, findable(delivery_id), reason)

    @override
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        return await self._write(ledger.record_receipt, status, receipt, dump(status), self._now)

    @override
    async def delete_waiting_receipts(
        self, recipients: Collection[str], *, not_of: Collection[str] = ()
    ) -> int:
        return await self._write(ledger.delete_early, frozenset(recipients), frozenset(not_of))

    # -- values -------------------------------------------------------------------------------

    @override
    async def get_value(
        self, namespace: str, key: Sequence[str], *, organization_id: str | None = None
    ) -> Value | None:
        return await self._read(values.get_value, namespace, key, organization_id)

    @override
    async def put_value(
        self, value: Value, *, if_revision: int | None = None, fence: HomeRecord | None = None
    ) -> Value:
        return await self._write(values.put_value, values.prepare_value(value), if_revision, fence)

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
        return await self._write(
            values.delete_value, findable(namespace), key, findable(organization_id), if_revision, fence
        )

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
        return await self._read(
            values.list_values, namespace, tuple(prefix), organization_id, subject, after, limit
        )

    @override
    async def list_values_of(
        self, subject: str, *, organization_id: str | None = None, after: int = 0, limit: int = 100
    ) -> list[Value]:
        return await self._read(values.list_values_of, subject, organization_id, after, limit)

    @override
    async def list_room_values(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[Value]:
        return await self._read(values.list_room_values, room_id, after, limit)

    @override
    async def delete_values_of(self, subject: str, *, organization_id: str | None = None) -> int:
        return await self._write(values.delete_values_of, findable(subject), findable(organization_id))

    @override
    async def purge_values(self, before: datetime, *, limit: int = 1000) -> int:
        return await self._write(values.purge_values, micros(before), limit)

    # -- files --------------------------------------------------------------------------------

    @override
    async def register_media(self, room_id: str, media_ids: Collection[str], *, unused_at: datetime) -> None:
        await self._write(media.register_media, room_id, tuple(media_ids), micros(unused_at))

    @override
    async def find_media_rooms(self, media_ids: Collection[str]) -> dict[str, frozenset[str]]:
        return await self._read(media.media_rooms, tuple(findable([*media_ids])))

    @override
    async def list_unused_media(self, before: datetime, *, limit: int = 100) -> list[tuple[str, str]]:
        return await self._read(media.unused_media, micros(before), limit)

    @override
    async def forget_media(self, media_ids: Collection[str]) -> int:
        return await self._write(media.forget_media, tuple(findable([*media_ids])))

    @override
    async def list_event_media(self, event_ids: Sequence[str]) -> list[MediaUse]:
        return await self._read(media.event_media, tuple(findable([*event_ids])))

    # -- leases and lanes ---------------------------------------------------------------------

    @override
    async def open_lease(self, seconds: float, *, channels: Collection[str] | None = None) -> str:
        worker_id = new_id()
        length, listed = leases.lasting(seconds), leases.listed(channels)
        await self._write(leases.open_lease, worker_id, length, listed, self._now, self._presence)
        return worker_id

    @override
    async def renew_lease(
        self, worker_id: str, seconds: float, *, channels: Collection[str] | None = None
    ) -> bool:
        length, listed = leases.lasting(seconds), leases.listed(channels)
        return await self._write(leases.renew_lease, worker_id, length, listed, self._now, self._presence)

    @override
    async def close_lease(self, worker_id: str) -> None:
        await self._write(leases.close_lease, findable(worker_id))
        self._presence.withdraw(worker_id)

    @override
    async def find_claimable(
        self, worker_id: str, *, channels: Collection[str] | None = None, limit: int = 100
    ) -> list[str]:
        return await self._read(ledger.find_claimable, worker_id, leases.listed(channels), limit, self._now)

    @override
    async def claim(
        self, room_id: str, worker_id: str, *, channels: Collection[str] | None = None
    ) -> list[Claimed]:
        return await self._write(
            ledger.claim, findable(room_id), worker_id, leases.listed(channels), self._now
        )

    @override
    async def read_lane(self, room_id: str, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
        return await self._read(ledger.read_lane, findable(room_id), findable(channel_id), tuple(indexes))

    @override
    async def count_unclaimed(self) -> dict[str, int]:
        return await self._read(ledger.count_unclaimed, self._now)

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
        wanted = HomeRecord(room_id, name, worker_id, url=url)
        return await self._write(homes.take_home, wanted, token, self._now)

    @override
    async def leave_home(self, room_id: str | None, name: str, worker_id: str) -> bool:
        return await self._write(homes.leave_home, room_id, name, worker_id)

    @override
    async def get_home(self, room_id: str | None, name: str) -> HomeRecord | None:
        return await self._read(homes.get_home, room_id, name, self._now)

    @override
    async def yield_lane(
        self, room_id: str, channel_id: str, worker_id: str, *, at: datetime, grace: float
    ) -> HomeRecord | None:
        lane = homes.Yielding(room_id, channel_id, worker_id, at, grace)
        return await self._write(homes.yield_lane, lane, self._now)

    # -- timers -------------------------------------------------------------------------------

    @override
    async def set_timer(self, timer: Timer) -> None:
        await self._write(writing.set_timer, prepare_timer(timer))

    @override
    async def delete_timer(self, timer_id: str) -> bool:
        return await self._write(delete_timer, findable(timer_id))

    @override
    async def delete_timers_of(self, subject: str, *, organization_id: str | None = None) -> int:
        return await self._write(delete_timers_of, findable(subject), findable(organization_id))

    @override
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        wanted = None if kinds is None else tuple(map(findable, kinds))
        return await self._write(claim_timers, worker_id, micros(now), wanted, limit, self._now)

    @override
    async def find_timers(
        self,
        kind: str | None = None,
        *,
        due_before: datetime | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Timer]:
        before = None if due_before is None else micros(due_before)
        return await self._read(find_timers, findable(kind), before, findable(after), limit)

    @override
    async def list_timers(self, room_id: str) -> list[Timer]:
        return await self._read(list_timers, room_id)


def _plan(path: Path) -> MigrationPlan:
    if not path.exists():
        if not path.parent.is_dir():
            raise StoreUnavailableError(f"the folder {str(path.parent)!r} does not exist: make it first")
        return planned(str(path), 0, STEPS, {})
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA query_only = ON")
            return plan(connection, path)
    except sqlite3.Error as error:
        raise translated(error, path) from error
