"""The contract of the one durable thing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import Delivery
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

__all__ = ["Amend", "Commit", "ConversationStore", "Entry", "RoomRecord"]


@dataclass(slots=True)
class Entry:
    """One event to commit, and the channel ids it is to be delivered to: a ledger row each."""

    event: RoomEvent
    targets: Sequence[str] = ()


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
    `room_changes` are fields of the room to set, `metadata` a shallow merge into its metadata.
    """

    room_id: str
    entries: Sequence[Entry]
    at: datetime
    expected_version: int | None = None
    participants: Sequence[Participant] = ()
    bindings: Sequence[ChannelBinding] = ()
    unbind: Sequence[str] = ()
    room_changes: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    amend: Amend | None = None
    tasks: Sequence[Task] = ()
    observations: Sequence[Observation] = ()
    activity: bool = True
    """Whether this counts as activity for the room's timers."""


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
        """Return the newest messages, oldest first, without blocked and deleted ones."""


class ConversationStore(ABC):
    """Rooms, timelines, bindings, participants, identities, tasks, observations and the ledger.

    Records are frozen and may be shared: what is handed out and what is taken in is never changed.
    An id that is not there gives None or False from `get_*` and `delete_*`, and the matching
    not-found error from everything that changes it. Methods may be called concurrently. Lists are
    ordered: rooms by creation, events by index, the rest by insertion. A failing call has changed
    nothing; failures of the storage itself raise StoreError.
    """

    @property
    def is_process_local(self) -> bool:
        """Whether other processes cannot see what is stored here."""
        return False

    # -- the one write path -------------------------------------------------------------------

    @abstractmethod
    async def load(self, room_id: str, *, recent: int = 0) -> RoomRecord | None:
        """Return the room as it is now, able to answer `recent(n)` for n up to `recent`."""

    @abstractmethod
    async def commit(self, commit: Commit) -> Sequence[RoomEvent]:
        """Write everything in `commit` or nothing; return its events as stored.

        Each event gets the room's next index and `commit.at` as `created_at`, and DELIVERED in
        place of PENDING. The indexes of a room strictly rise for ever: a deleted event's is not
        used again. The room's counters and activity move with it, and its version when anything but
        events was written. For each target a
        ledger row `<event id>:<channel id>` is created, PENDING. Cancellation does not undo it.

        Raises RoomNotFoundError; StaleRoomError when the room's version is not the expected one;
        DuplicateEventError, with the first event, when the room has an event of that idempotency key
        or an event of that id exists; EventNotFoundError when the event to amend is not there.
        """

    # -- rooms --------------------------------------------------------------------------------

    @abstractmethod
    async def create_room(self, room: Room) -> Room:
        """Add a room. Raises RoomAlreadyExistsError."""

    @abstractmethod
    async def get_room(self, room_id: str) -> Room | None:
        """Return a room."""

    @abstractmethod
    async def update_room(self, room: Room) -> Room:
        """Replace a room, but for the fields the store owns (see `Room`); return it as stored."""

    @abstractmethod
    async def patch_room_metadata(
        self, room_id: str, patch: Mapping[str, Any], unset: Collection[str] = ()
    ) -> Room:
        """Merge `patch` into the room's metadata and drop `unset`, atomically; return the room."""

    @abstractmethod
    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it; False when there is none."""

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

    async def list_rooms(self, offset: int = 0, limit: int = 50) -> list[Room]:
        """Return a page of all rooms."""
        return await self.find_rooms(limit=limit, offset=offset)

    @abstractmethod
    async def rooms_due(self, now: datetime, *, limit: int = 100) -> list[Room]:
        """Return open rooms for which `Room.due(now)` has an answer, those idle longest first."""

    @abstractmethod
    async def find_latest_room(
        self,
        participant_id: str,
        channel_type: ChannelType | None = None,
        status: RoomStatus | str | None = None,
    ) -> Room | None:
        """Return the newest room where the id is a participant, or a binding's participant.

        `channel_type` wants a binding of that type in the room; `status` defaults to the open ones.
        """

    @abstractmethod
    async def find_sender_room_ids(self, channel_id: str, sender_id: str, *, limit: int = 2) -> list[str]:
        """Return open rooms where `sender_id` came by `channel_id`, the last active first.

        Not those the channel is no longer attached to.
        """

    @abstractmethod
    async def find_room_ids_by_channel(
        self, channel_id: str, status: RoomStatus | str | None = None, *, limit: int = 2
    ) -> list[str]:
        """Return rooms the channel is attached to; `status` defaults to the open ones."""

    async def find_room_id_by_channel(
        self, channel_id: str, status: RoomStatus | str | None = None
    ) -> str | None:
        """Return the room the channel is attached to, None when there is none or more than one."""
        found = await self.find_room_ids_by_channel(channel_id, status, limit=2)
        return found[0] if len(found) == 1 else None

    # -- events -------------------------------------------------------------------------------

    @abstractmethod
    async def get_event(self, event_id: str) -> RoomEvent | None:
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

    async def check_idempotency(self, room_id: str, idempotency_key: str) -> bool:
        """Return whether the room has an event with that idempotency key."""
        return await self.find_event_by_key(room_id, idempotency_key) is not None

    @abstractmethod
    async def get_event_count(self, room_id: str) -> int:
        """Return how many events of any status the room has."""

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

    # -- identities ---------------------------------------------------------------------------

    @abstractmethod
    async def create_identity(self, identity: Identity) -> Identity:
        """Add an identity and every address it lists, within its organization."""

    @abstractmethod
    async def get_identity(self, identity_id: str) -> Identity | None:
        """Return an identity."""

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
        """Add, or replace the task of that id."""

    @abstractmethod
    async def get_task(self, task_id: str) -> Task | None:
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

    # -- the ledger ---------------------------------------------------------------------------

    @abstractmethod
    async def record_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Write how deliveries ended (or stand). A row that has ended is not changed again."""

    @abstractmethod
    async def get_delivery(self, delivery_id: str) -> Delivery | None:
        """Return a row."""

    @abstractmethod
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
        """Return rows in order of commit; each given filter must hold.

        `after` is the id of the last row of the page before. Raises StoreError when it is gone.
        """

    @abstractmethod
    async def record_receipt(self, provider: str, message_id: str, receipt: ReceiptState) -> Delivery | None:
        """Move the receipt of the delivery with that vendor id forward; return the row, None if unknown.

        A receipt never moves backwards, FAILED is final, and what was read did not fail.
        """

    async def close(self) -> None:
        """Release what the store holds. Idempotent."""
