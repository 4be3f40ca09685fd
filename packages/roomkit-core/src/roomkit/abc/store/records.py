"""Records that go into a store and come out of it, beside the models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from roomkit._dataclasses import dataclass

if TYPE_CHECKING:
    from roomkit.abc.store.media import MediaUse
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
    from roomkit.models.enums import RoomStatus
    from roomkit.models.event import Heard, RoomEvent
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
    "Entry",
    "Hearing",
    "HomeRecord",
    "Move",
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


@dataclass(slots=True, frozen=True)
class Hearing:
    """How far a person perceived an event committed earlier; see `RoomEvent.as_heard`."""

    event_id: str
    heard: Heard


@dataclass(slots=True, kw_only=True)
class Commit:
    """Everything one step writes, in one transaction.

    `expected_version` is the version of the room the step was planned on; None does not check it.
    `fence` is the token of the room's lock, `worker_id` the lease under which the deliveries of the
    entries are to be carried out; both may be None. `room_changes` are fields of the room to set
    (`updated_at` is `at` unless it is one of them), `metadata` a shallow merge into its metadata.
    `redact` names events to be replaced by what `RoomEvent.redacted` leaves of them, and the rows of the
    ledger that they have had written by `complete` by what `Delivery.redacted` leaves; with any, the
    room's `derived` values are removed.
    `remove_participants` are participants to be removed for good. `timers` are set, each in place of
    the one of its id. `completed` and `timers_done` are what `complete` takes, of any room: they
    ride along. `absent` are those channels of the targets that are not registered with the worker, `agents`
    those that are intelligences. `values` are put whatever there is under their keys, after the removals.
    `heard` is kept beside the events that it is of. `media` are files that events of the room refer to from
    now on, new events or earlier ones; files that are not registered are passed over.
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
    heard: Sequence[Hearing] = ()
    tasks: Sequence[Task] = ()
    observations: Sequence[Observation] = ()
    timers: Sequence[Timer] = ()
    completed: Sequence[DeliveryOutcome] = ()
    timers_done: Sequence[str] = ()
    absent: Collection[str] = ()
    agents: Collection[str] = ()
    values: Sequence[Value] = ()
    media: Sequence[MediaUse] = ()
    activity: bool = True
    """Whether this counts as activity for the room's timers."""


@dataclass(slots=True, kw_only=True)
class Move:
    """What one step of a merge or split writes to two rooms, in one transaction.

    `source` and `into` are commits without deliveries. In between, `events` of the source, by their ids, are
    appended to the other room in this order, each with its id, time and ledger rows; those that are not in
    the source (any more) are passed over. `authors` are the ids of the source's participants that are known
    by another one there. With `everything` the source's tasks, observations, timers and values go along, too,
    and the homes that it had end. The read marks of `channels` go along: to the last moved event that was
    read.

    An idempotency key that the other room has gets the source's id and a slash in front, and so does the id
    of an observation.
    """

    source: Commit
    into: Commit
    events: Sequence[str] = ()
    authors: Mapping[str, str] = field(default_factory=dict)
    channels: Sequence[str] = ()
    everything: bool = False


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


@dataclass(slots=True, frozen=True)
class HomeRecord:
    """Which worker has a live thing: that of the channel `name` in a room, or one elected by name.

    `worker_id` is None once the holder has left. If its lease has run out, the home is lost: `is_alive` is
    False, and `lost_at` when that was first noticed by `yield_lane`.
    """

    room_id: str | None
    name: str
    worker_id: str | None = None
    token: int = 0
    is_alive: bool = False
    url: str | None = None
    lost_at: datetime | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the holder did not leave it, and its lease has run out."""
        return self.worker_id is not None and not self.is_alive

    def is_awaited(self, at: datetime, grace: float) -> bool:
        """Whether it was lost less than `grace` seconds before `at`."""
        return self.is_lost and (self.lost_at is None or (at - self.lost_at).total_seconds() < grace)


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
    def is_interleaved(self) -> bool:
        """`room.is_interleaved`, cheaply."""

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
