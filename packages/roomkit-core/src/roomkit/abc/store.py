"""The contract of the one durable thing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import Delivery, DeliveryStatus
    from roomkit.models.enums import (
        ChannelType,
        DeliveryState,
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

__all__ = [
    "Amend",
    "Claimed",
    "Commit",
    "Committed",
    "Completed",
    "ConversationStore",
    "Entry",
    "RoomRecord",
]

RECENT_SCAN = 10
"""`RoomRecord.recent(n)` looks at no more than this many times n entries: flat in the room's length."""


@dataclass(slots=True)
class Entry:
    """One event to commit, and the channel ids it is to be delivered to: a ledger row each.

    With `key_spans_rooms` the event's idempotency key is taken in every room of the room's organization
    (without one: in every room without one) for other such keys, not in its own room alone.
    """

    event: RoomEvent
    targets: Sequence[str] = ()
    key_spans_rooms: bool = False


@dataclass(slots=True, frozen=True)
class Amend:
    """A change to an event committed earlier: new content, or its deletion when `content` is None."""

    event_id: str
    content: EventContent | None
    amended_by: str | None


@dataclass(slots=True, kw_only=True)
class Commit:
    """Everything one step writes, in one transaction.

    `expected_version` is the version of the room the step was planned on; None does not check it.
    `fence` is the token of the room's lock, `worker_id` the lease under which the deliveries of the
    entries are to be carried out; both may be None. `room_changes` are fields of the room to set
    (`updated_at` is `at` unless it is one of them), `metadata` a shallow merge into its metadata.
    `redact` names events to be replaced by what `RoomEvent.redacted` leaves of them, and the rows of the
    ledger that they have had written by `complete` by what `Delivery.redacted` leaves,
    `remove_participants` participants to be removed for good. `timers` are set, each in place of
    the one of its id. `completed` and `timers_done` are what `complete` takes, of any room: they
    ride along. `absent` are those channels of the targets that are not registered with the worker.
    `values` are put whatever there is under their keys.
    """

    room_id: str
    entries: Sequence[Entry]
    at: datetime
    expected_version: int | None = None
    fence: int | None = None
    worker_id: str | None = None
    participants: Sequence[Participant] = ()
    remove_participants: Sequence[str] = ()
    bindings: Sequence[ChannelBinding] = ()
    unbind: Sequence[str] = ()
    room_changes: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    amend: Amend | None = None
    redact: Sequence[str] = ()
    tasks: Sequence[Task] = ()
    observations: Sequence[Observation] = ()
    timers: Sequence[Timer] = ()
    completed: Sequence[Delivery] = ()
    timers_done: Sequence[str] = ()
    absent: Collection[str] = ()
    values: Sequence[Value] = ()
    activity: bool = True
    """Whether this counts as activity for the room's timers."""


@dataclass(slots=True, frozen=True)
class Completed:
    """What became of a `complete`.

    `refused` are ids of rows that were not written: they had ended, are held by another worker, or
    their room is gone. `receipts` are the vendors' receipts that were waiting for these deliveries,
    each with its row after it.
    """

    refused: Sequence[str] = ()
    receipts: Sequence[tuple[Delivery, DeliveryStatus]] = ()


NOTHING_COMPLETED = Completed()


@dataclass(slots=True)
class Committed:
    """What became of a commit: its events as stored, in their order.

    `elsewhere` names, by delivery id, the planned deliveries that the committing worker is not to carry
    out right away: the lane is another worker's, whose id it gives; or it has deliveries that have to be
    claimed first, by any worker (None) or by the committing worker itself (its own id).
    """

    events: Sequence[RoomEvent]
    elsewhere: Mapping[str, str | None] = field(default_factory=dict)
    completed: Completed = NOTHING_COMPLETED


@dataclass(slots=True, frozen=True)
class Claimed:
    """A reclaimed pending delivery, with its event as it is now."""

    delivery: Delivery
    event: RoomEvent


class RoomRecord(Protocol):
    """A room as the store holds it, for reading; it may move on while you hold it."""

    @property
    def room_id(self) -> str:
        """`room.id`, cheaply."""

    @property
    def room(self) -> Room:
        """The room with its counters."""

    @property
    def version(self) -> int:
        """`room.version`, cheaply."""

    @property
    def status(self) -> RoomStatus:
        """`room.status`, cheaply."""

    @property
    def bindings(self) -> Mapping[str, ChannelBinding]:
        """The bindings by channel id, in order of attachment."""

    @property
    def participants(self) -> Mapping[str, Participant]:
        """The participants by id, in order of joining."""

    def recent(self, limit: int) -> Sequence[RoomEvent]:
        """Return up to `limit` of the newest messages, oldest first, without blocked and deleted ones.

        They are looked for in the newest `limit * RECENT_SCAN` entries.
        """

    def keyed(self, idempotency_key: str) -> RoomEvent | None:
        """Return the room's event with the idempotency key that `load` was given."""


class ConversationStore(ABC):
    """Rooms, timelines, bindings, participants, identities, tasks, observations and the ledger.

    Records are frozen and may be shared: neither stores nor callers change one.
    An id that is not there gives None or False from `get_*` and `delete_*`, and the matching
    not-found error from everything that changes it. Methods may be called concurrently. Lists are
    ordered: rooms by creation, events by index, the rest by insertion. A failing call has changed
    nothing; failures of the storage itself raise StoreError, or one of its kinds that says more.

    What looks beyond one room takes an `organization_id`: given, only that organization's rooms and
    their contents exist; everything else is treated as missing.

    The ledger has a *lane* for each (room, channel). A worker, that is a kit, has a *lease* on the store
    and holds lanes under it; a lane is one worker's for as long as it has pending deliveries.
    When a lease runs out, by the store's clock, any worker may claim its lanes: the worker that
    overslept finds its writes to the ledger refused. With its lease a worker announces the channels that
    are registered with it: deliveries of other channels are left to the workers that announce them.
    """

    write_delay: float = 0.0
    """For how many seconds the end of a delivery may wait to be written with the next commit.

    0 where a write costs nothing. Outcomes not yet written when the process is killed are delivered
    again, under the same idempotency key.
    """

    @property
    def is_process_local(self) -> bool:
        """Whether the data ends with this process and no other process sees it."""
        return False

    async def now(self) -> datetime | None:
        """Return the present time by the clock that all workers of the store share, aware; None without one.

        A kit whose own clock differs by more than a second goes by this one, so that timers are due at the
        same instant for every worker. Raises StoreError.
        """
        return None

    def make_lock_manager(self) -> RoomLockManager | None:
        """Return new room locks that go with this store, for a kit that was given none.

        None: the store has none to offer. Nothing is connected yet; the kit closes them.
        """
        return None

    def make_realtime(self) -> RealtimeBackend | None:
        """Return a new realtime backend that goes with this store, for a kit that was given none.

        None: the store has none to offer. Nothing is connected yet; the kit closes it.
        """
        return None

    # -- the one write path -------------------------------------------------------------------

    @abstractmethod
    async def load(self, room_id: str, *, recent: int = 0, key: str | None = None) -> RoomRecord | None:
        """Return the room as it is now, able to answer `recent(n)` for n up to `recent`, and `keyed(key)`.

        The record follows what this store object commits to the room later; what others commit it
        need not.
        """

    @abstractmethod
    async def commit(self, commit: Commit) -> Committed:
        """Write everything in `commit` or nothing.

        Each event gets the room's next index and `commit.at` as `created_at`, and DELIVERED in
        place of PENDING. The indexes of a room strictly rise for ever: a deleted event's is not
        used again. The room's counters and activity move with it, and its version when anything but
        events was written. Cancellation does not undo it.

        For each target a ledger row `<event id>:<channel id>` is created, PENDING. Its holder is
        `commit.worker_id`, if that lease is in force and the lane is free, or held by it with nothing
        handed over and not yet claimed. Else the row joins its lane: it is handed over to the worker
        that holds the lane, or by no worker when none does, and is in `Committed.elsewhere`. A
        commit without a worker leaves its rows in the same way, and reports nothing. A row of a channel
        in `commit.absent` whose lane is free is handed over to a worker in force that announces the
        channel, and by no worker when none does. A timer that is due at `commit.at` is held by the
        committing worker.

        Raises RoomNotFoundError; StaleRoomError when the room's version is not the expected one;
        LockLostError when the room has seen a higher fence; DuplicateEventError, with the first
        event, when the room has an event of that idempotency key or an event of that id exists, or when
        both that event and the new one have a key that spans rooms (see `Entry`);
        EventNotFoundError when an event to amend or redact is not there.
        """

    # -- rooms --------------------------------------------------------------------------------

    @abstractmethod
    async def create_room(self, room: Room, *, timers: Sequence[Timer] = ()) -> Room:
        """Add a room, with its first timers. Raises RoomAlreadyExistsError."""

    @abstractmethod
    async def get_room(self, room_id: str, *, organization_id: str | None = None) -> Room | None:
        """Return a room."""

    @abstractmethod
    async def update_room(self, room: Room) -> Room:
        """Replace a room, but for the fields the store owns (see `Room`); return it as stored.

        `timers.last_activity_at` is set too, unless it is None. An update of a room that was read before
        its newest event (by `room.latest_index`) moves it forward only. The timer that watches the
        room's timers is not rescheduled: `RoomKit.set_room_timers` does that. Raises StaleRoomError when
        the room has changed since `room` was read, by `room.version`.
        """

    @abstractmethod
    async def patch_room_metadata(
        self, room_id: str, patch: Mapping[str, Any], unset: Collection[str] = ()
    ) -> Room:
        """Merge `patch` into the room's metadata and drop `unset`, atomically; return the room."""

    @abstractmethod
    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it; False when there is none.

        The idempotency keys of its events are removed with them, those that span rooms too, because a
        vendor's id may name a person.
        """

    @abstractmethod
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
        """Return a page of rooms; each given filter must hold, metadata keys by equality.

        `after` is the id of the last room of the page before; it is exact while rooms come and go,
        which `offset` is not. Raises StoreError when that room is gone: begin again.
        """

    async def list_rooms(
        self, offset: int = 0, limit: int = 50, *, organization_id: str | None = None
    ) -> list[Room]:
        """Return a page of all rooms."""
        return await self.find_rooms(organization_id, limit=limit, offset=offset)

    @abstractmethod
    async def find_latest_room(
        self,
        participant_id: str,
        channel_type: ChannelType | None = None,
        status: RoomStatus | str | None = None,
        *,
        organization_id: str | None = None,
    ) -> Room | None:
        """Return the newest room where the id is a participant, or a binding's participant.

        `channel_type` wants a binding of that type in the room; `status` defaults to the open ones.
        """

    @abstractmethod
    async def find_sender_room_ids(
        self, channel_id: str, sender_id: str, *, limit: int = 2, organization_id: str | None = None
    ) -> list[str]:
        """Return open rooms where `sender_id` came by `channel_id`, the last active first.

        Not those the channel is no longer attached to.
        """

    @abstractmethod
    async def find_room_ids_by_channel(
        self,
        channel_id: str,
        status: RoomStatus | str | None = None,
        *,
        limit: int = 2,
        organization_id: str | None = None,
    ) -> list[str]:
        """Return rooms the channel is attached to; `status` defaults to the open ones."""

    async def find_room_id_by_channel(
        self,
        channel_id: str,
        status: RoomStatus | str | None = None,
        *,
        organization_id: str | None = None,
    ) -> str | None:
        """Return the room the channel is attached to, None when there is none or more than one."""
        found = await self.find_room_ids_by_channel(
            channel_id, status, limit=2, organization_id=organization_id
        )
        return found[0] if len(found) == 1 else None

    # -- events -------------------------------------------------------------------------------

    @abstractmethod
    async def get_event(self, event_id: str, *, organization_id: str | None = None) -> RoomEvent | None:
        """Return an event, as amended."""

    @abstractmethod
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
        """Return a page of the timeline by index; bounds are exclusive.

        `visibility_filter` is an exact match; `reader` keeps what that binding may see.
        """

    @abstractmethod
    async def find_event_by_key(self, room_id: str, idempotency_key: str) -> RoomEvent | None:
        """Return the room's event with that idempotency key."""

    @abstractmethod
    async def find_keyed_event(
        self, idempotency_key: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        """Return the newest event of any room with that idempotency key."""

    async def check_idempotency(self, room_id: str, idempotency_key: str) -> bool:
        """Return whether the room has an event with that idempotency key."""
        return await self.find_event_by_key(room_id, idempotency_key) is not None

    @abstractmethod
    async def get_event_count(self, room_id: str) -> int:
        """Return how many events of any status the room has."""

    @abstractmethod
    async def prune_events(self, room_id: str, before: datetime, *, limit: int = 1000) -> int:
        """Remove the oldest events, with all that hangs on them; return how many were removed.

        Those created before `before`, at most `limit`, and none from the first on that still has a
        pending delivery. The room's `event_count` falls, its `latest_index` stays. Raises RoomNotFoundError.
        """

    # -- bindings -----------------------------------------------------------------------------

    @abstractmethod
    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Attach, or replace the binding of that channel."""

    @abstractmethod
    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Return a binding."""

    @abstractmethod
    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Replace an existing binding. Raises ChannelNotFoundError."""

    @abstractmethod
    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        """Detach; False when it was not attached."""

    @abstractmethod
    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return the bindings of a room."""

    # -- participants -------------------------------------------------------------------------

    @abstractmethod
    async def add_participant(self, participant: Participant) -> Participant:
        """Add, or replace the participant of that id."""

    @abstractmethod
    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        """Return a participant."""

    @abstractmethod
    async def update_participant(self, participant: Participant) -> Participant:
        """Replace an existing participant. Raises ParticipantNotFoundError."""

    @abstractmethod
    async def list_participants(self, room_id: str) -> list[Participant]:
        """Return the participants of a room."""

    @abstractmethod
    async def find_participants(
        self,
        *,
        participant_id: str | None = None,
        identity_id: str | None = None,
        organization_id: str | None = None,
        limit: int = 100,
        after: tuple[str, str] | None = None,
    ) -> list[Participant]:
        """Return a person's participations over all rooms; each given id must be theirs.

        Ordered by (room id, participant id); `after` is that pair of the last one of the page before.
        """

    # -- identities ---------------------------------------------------------------------------

    @abstractmethod
    async def create_identity(self, identity: Identity) -> Identity:
        """Add an identity and every address it lists, within its organization."""

    @abstractmethod
    async def get_identity(self, identity_id: str, *, organization_id: str | None = None) -> Identity | None:
        """Return an identity."""

    @abstractmethod
    async def delete_identity(self, identity_id: str) -> bool:
        """Remove an identity and its addresses; False when there is none."""

    @abstractmethod
    async def resolve_identity(
        self, channel_type: str, address: str, *, organization_id: str | None = None
    ) -> Identity | None:
        """Return who has that address in that organization (None: those without one)."""

    @abstractmethod
    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Add an address to an identity. Raises IdentityNotFoundError."""

    # -- tasks and observations ---------------------------------------------------------------

    @abstractmethod
    async def add_task(self, task: Task) -> Task:
        """Add, or replace the task of that id. Raises StoreError when it is another room's."""

    @abstractmethod
    async def get_task(self, task_id: str, *, organization_id: str | None = None) -> Task | None:
        """Return a task."""

    @abstractmethod
    async def update_task(self, task: Task) -> Task:
        """Replace an existing task. Raises StoreError when there is none."""

    @abstractmethod
    async def list_tasks(self, room_id: str, status: TaskStatus | None = None) -> list[Task]:
        """Return the tasks of a room."""

    @abstractmethod
    async def add_observation(self, observation: Observation) -> Observation:
        """Add, or replace the observation of that id."""

    @abstractmethod
    async def list_observations(self, room_id: str) -> list[Observation]:
        """Return the observations of a room."""

    # -- read marks ---------------------------------------------------------------------------

    @abstractmethod
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> int:
        """Move the channel's read mark to the event, never backwards; return the mark's index.

        Raises ChannelNotFoundError, EventNotFoundError.
        """

    @abstractmethod
    async def mark_all_read(self, room_id: str, channel_id: str) -> int:
        """Move the channel's read mark to the newest event; return its index (-1: none)."""

    @abstractmethod
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Return how many messages after the mark the channel may see and did not send itself."""

    @abstractmethod
    async def list_read_marks(self, room_id: str) -> dict[str, int]:
        """Return the read marks of a room by channel id."""

    # -- values -------------------------------------------------------------------------------

    @abstractmethod
    async def get_value(
        self, namespace: str, key: Sequence[str], *, organization_id: str | None = None
    ) -> Value | None:
        """Return a value of the organization, or of none; also one that has expired and is still there."""

    @abstractmethod
    async def put_value(self, value: Value, *, if_revision: int | None = None) -> Value:
        """Put a value in place of the one under its key; return it with its new revision.

        With `if_revision` only in place of that one, 0 only where there is none. Puts, deletes and reads
        of a key take effect in one order on all workers: a read sees every put that had returned before it
        began. Raises StaleValueError.
        """

    @abstractmethod
    async def delete_value(
        self,
        namespace: str,
        key: Sequence[str],
        *,
        organization_id: str | None = None,
        if_revision: int | None = None,
    ) -> bool:
        """Remove a value; False when there is none. Raises StaleValueError if it is of another revision."""

    @abstractmethod
    async def list_values_of(
        self, subject: str, *, organization_id: str | None = None, after: int = 0, limit: int = 100
    ) -> list[Value]:
        """Return a page of the values about a person, of one organization or of all, in order of revision.

        `after` is the revision of the last value of the page before. Expired ones that are still there are
        among them.
        """

    @abstractmethod
    async def list_room_values(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[Value]:
        """Return a page of the values that go with a room, as `list_values_of` does those about a person."""

    @abstractmethod
    async def delete_values_of(self, subject: str, *, organization_id: str | None = None) -> int:
        """Remove the values about a person, of one organization or of all; return how many there were."""

    @abstractmethod
    async def purge_values(self, before: datetime, *, limit: int = 1000) -> int:
        """Remove values that expired by `before`, at most `limit`; return how many were removed."""

    # -- the ledger ---------------------------------------------------------------------------

    @abstractmethod
    async def complete(
        self,
        deliveries: Sequence[Delivery],
        *,
        worker_id: str | None = None,
        timers_done: Sequence[str] = (),
    ) -> Completed:
        """Write how deliveries ended, or stand, and remove the timers that were handled.

        A row that has ended is not changed again. With a `worker_id`, nor is one that this worker does
        not hold, nor is such a timer removed; without one, the holder is not asked for. `holder` and
        `claims` of a row are the store's own; a row that has ended has no holder.

        The vendor's message ids written here are what receipts are matched by, also those that came
        before: see `record_receipt`.
        """

    @abstractmethod
    async def get_delivery(self, delivery_id: str, *, organization_id: str | None = None) -> Delivery | None:
        """Return a row."""

    @abstractmethod
    async def list_deliveries(
        self,
        room_id: str | None = None,
        *,
        event_id: str | None = None,
        channel_id: str | None = None,
        state: DeliveryState | None = None,
        organization_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
        newest_first: bool = False,
    ) -> list[Delivery]:
        """Return rows in order of commit, or in the reverse of it; each given filter must hold.

        `after` is the id of the last row of the page before, in the same order. Raises StoreError when it
        is gone.
        """

    @abstractmethod
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        """Make a FAILED row PENDING again, in its lane, without its error, its end and its claims; return it.

        Raises DeliveryNotFoundError; StoreError when it has not failed.
        """

    @abstractmethod
    async def drop_delivery(self, delivery_id: str, reason: str) -> Delivery:
        """Give a FAILED row up: make it SKIPPED, for `reason`, keeping its error; return it.

        Raises DeliveryNotFoundError; StoreError when it has not failed.
        """

    @abstractmethod
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        """Move the receipt of the delivery with that provider and message id forward; return the row.

        None if there is none yet: the receipt is then kept for a day at least, and matched when the
        delivery is completed, by any worker. `ReceiptState.follows` says which state follows which.
        If the delivery has several message ids, the receipt moves the part with that id, and the row's
        receipt is `ReceiptState.of_parts` of them all; while that is None, it stays as it is.
        """

    # -- leases and lanes ---------------------------------------------------------------------

    @abstractmethod
    async def open_lease(self, seconds: float, *, channels: Collection[str] | None = None) -> str:
        """Begin a lease that runs out after `seconds` unless it is renewed; return the worker's new id.

        `channels` are the ids of the channels that the worker announces; None announces every channel.
        """

    @abstractmethod
    async def renew_lease(
        self, worker_id: str, seconds: float, *, channels: Collection[str] | None = None
    ) -> bool:
        """Let a lease run for another `seconds` from now; False when it has run out already, for good.

        `channels` replace those that the worker announces; None leaves them as they are.
        """

    @abstractmethod
    async def close_lease(self, worker_id: str) -> None:
        """End a lease, which releases everything the worker held. Not an error when it has run out."""

    @abstractmethod
    async def find_claimable(
        self, worker_id: str, *, channels: Collection[str] | None = None, limit: int = 100
    ) -> list[str]:
        """Return ids of rooms with deliveries for `claim` to take, those waiting longest first."""

    @abstractmethod
    async def claim(
        self, room_id: str, worker_id: str, *, channels: Collection[str] | None = None
    ) -> list[Claimed]:
        """Take the room's pending deliveries that were handed over to this worker, or that no worker holds.

        Nor is a lease that has run out a hold. Of free deliveries, only those of `channels` are
        taken; None takes those of every channel. In order of the events' indexes. A row taken from a
        worker whose lease ran out counts one more in `claims`. Nothing for a worker whose own lease
        has run out.
        """

    @abstractmethod
    async def count_unclaimed(self) -> dict[str, int]:
        """Return, by channel, how many pending deliveries wait for a worker to announce their channel.

        Only channels that no lease in force announces, and deliveries that no lease in force holds.
        """

    # -- timers -------------------------------------------------------------------------------

    @abstractmethod
    async def set_timer(self, timer: Timer) -> None:
        """Set a timer that no worker holds, in place of the one of its id. Raises RoomNotFoundError."""

    @abstractmethod
    async def claim_timers(self, worker_id: str, now: datetime, *, limit: int = 100) -> list[Timer]:
        """Take timers that are due at `now` and that no lease in force holds, those due longest first.

        One taken from a worker whose lease ran out counts one more in `claims`. Nothing for a worker
        whose own lease has run out.
        """

    @abstractmethod
    async def list_timers(self, room_id: str) -> list[Timer]:
        """Return the timers of a room, by the time they are due."""

    async def close(self) -> None:
        """Release what the store holds. Idempotent."""
