"""Exports of a room or a person, and receipts of their erasure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from roomkit.models.base import Record, new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit.models.value import Value

__all__ = [
    "Erased",
    "ErasureReceipt",
    "ExportLine",
    "ExportedMedia",
    "PersonExport",
    "ReadMark",
    "Retained",
    "RoomExport",
]


class ReadMark(Record):
    """How far a channel has read in a room: the index of the last event it read."""

    room_id: str
    channel_id: str
    index: int


class ExportedMedia(Record):
    """A file that an exported event refers to; `is_gone` says that it is not kept any more."""

    id: str
    room_id: str
    event_id: str
    is_gone: bool = False
    sha256: str | None = None
    size_bytes: int | None = None
    mime_type: str | None = None
    filename: str | None = None


type ExportRecord = (
    Room
    | Identity
    | ChannelBinding
    | Participant
    | RoomEvent
    | Delivery
    | Task
    | Observation
    | ReadMark
    | Timer
    | Value
    | ExportedMedia
)

type ExportKind = Literal[
    "room",
    "identity",
    "binding",
    "participant",
    "event",
    "delivery",
    "receipt",
    "task",
    "observation",
    "read_mark",
    "timer",
    "value",
    "media",
]


class ExportLine(Record):
    """One record of an export, as it stands on a line of its own: `{"kind": ..., "record": {...}}`."""

    kind: ExportKind
    record: ExportRecord


class RoomExport(Record):
    """Everything a store keeps of one room.

    `events` are in order of index, `deliveries` of commit, `values` (those of the room) of revision. `media`
    lists the files that events refer to; the files themselves are in an archive (`export_room_archive`).
    """

    exported_at: datetime
    room: Room
    bindings: tuple[ChannelBinding, ...] = ()
    participants: tuple[Participant, ...] = ()
    events: tuple[RoomEvent, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    tasks: tuple[Task, ...] = ()
    observations: tuple[Observation, ...] = ()
    read_marks: tuple[ReadMark, ...] = ()
    timers: tuple[Timer, ...] = ()
    values: tuple[Value, ...] = ()
    media: tuple[ExportedMedia, ...] = ()


class PersonExport(Record):
    """All stored data of one person, room by room.

    `participants` are their participations, `bindings` those that reach them, `events` what they said
    and what they could see of the others' words, without what the others' messages carry beside the words.
    `values` are those whose subject is one of their ids or addresses, and the revoked consents of their
    addresses, which are kept under a hash (namespace `core.consent`).
    """

    exported_at: datetime
    identity: Identity | None = None
    participants: tuple[Participant, ...] = ()
    bindings: tuple[ChannelBinding, ...] = ()
    events: tuple[RoomEvent, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    tasks: tuple[Task, ...] = ()
    observations: tuple[Observation, ...] = ()
    read_marks: tuple[ReadMark, ...] = ()
    values: tuple[Value, ...] = ()
    media: tuple[ExportedMedia, ...] = ()


class Erased(Record):
    """The effect on records of one kind in one room (None: records outside any room).

    `ids` are given where the framework makes them; other ids may be addresses, and are only counted.
    """

    kind: ExportKind
    action: Literal["redacted", "removed", "skipped", "cleared"]
    room_id: str | None = None
    count: int = Field(ge=1)
    ids: tuple[str, ...] = ()


class Retained(Record):
    """Data that was kept: `reason` is a stable code, `why` its words; `count` where it is known."""

    kind: str
    reason: str
    why: str
    room_id: str | None = None
    count: int | None = Field(default=None, ge=1)
    ids: tuple[str, ...] = ()


class ErasureReceipt(Record):
    """What an erasure touched, and what it did not. Holds nothing of the person's, so it may be kept.

    Room ids are as the program chose them. A second erasure of the same finds nothing any more, and
    says so: `erased` is empty.
    """

    id: str = Field(default_factory=new_id)
    of: Literal["room", "person"]
    started_at: datetime
    finished_at: datetime
    erased: tuple[Erased, ...] = ()
    retained: tuple[Retained, ...] = ()

    @property
    def found_nothing(self) -> bool:
        """Whether there was nothing to erase: unknown, or erased before."""
        return not self.erased

    def count(self, kind: ExportKind) -> int:
        """Return how many records of a kind were touched, over all rooms."""
        return sum(each.count for each in self.erased if each.kind == kind)
