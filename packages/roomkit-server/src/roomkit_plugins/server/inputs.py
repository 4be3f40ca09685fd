"""What the API takes: the queries and bodies of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    LocationContent,
    MediaContent,
    RichContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.models.enums import Access, DeliveryState, RoomStatus, TaskStatus

__all__ = [
    "AttachBody",
    "BindingChange",
    "ConnectQuery",
    "DeliveriesQuery",
    "DropBody",
    "EditBody",
    "EventBody",
    "EventsQuery",
    "ListQuery",
    "MessageBody",
    "NewRoom",
    "Nothing",
    "ParticipantBody",
    "RemovalQuery",
    "RoomChange",
    "RoomsQuery",
    "TaskBody",
    "TaskChange",
    "TasksQuery",
    "TicketBody",
]

Speakable = Annotated[
    TextContent
    | RichContent
    | MediaContent
    | LocationContent
    | AudioContent
    | VideoContent
    | TemplateContent
    | CompositeContent,
    Field(discriminator="type"),
]
"""What can be said. Edits and deletions have requests of their own."""

type Data = Mapping[str, Any]
"""A JSON object; Any: whatever the client keeps there."""

Id = Annotated[str, Field(min_length=1, max_length=512)]
Name = Annotated[str, Field(min_length=1, max_length=4000)]
Limit = Annotated[int, Field(ge=1, le=500)]
Index = Annotated[int, Field(ge=-1, le=2**63 - 1)]
Seconds = Annotated[float, Field(gt=0, le=1e10, allow_inf_nan=False)]


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Nothing(_Input):
    """No query, or no body."""


class ListQuery(_Input):
    """A page of a list: `after` is the cursor of the page before."""

    limit: Limit = 100
    after: Id | None = None


class RoomsQuery(ListQuery):
    """Which rooms: by status, and by keys of their metadata as a JSON object."""

    status: RoomStatus | None = None
    metadata: str | None = Field(None, max_length=4000)


class EventsQuery(_Input):
    """Which events of a timeline: all of it, or what one channel sees."""

    limit: Limit = 100
    after: Index | None = Field(None, description="Events after this index.")
    before: Index | None = Field(None, description="Events before this index.")
    as_channel: Id | None = None
    newest_first: bool = False


class TasksQuery(ListQuery):
    """Which tasks."""

    status: TaskStatus | None = None


class DeliveriesQuery(ListQuery):
    """Which deliveries; each given filter must hold."""

    room_id: Id | None = None
    event_id: Id | None = None
    channel_id: Id | None = None
    state: DeliveryState | None = None
    newest_first: bool = False


class RemovalQuery(_Input):
    """Whether a removed participant may come back."""

    banned: bool = False


class ConnectQuery(_Input):
    """Which channel's side of a room a socket or stream is, and the index of the last event seen."""

    channel_id: Id | None = None
    participant_id: Id | None = None
    after: Index | None = None
    ticket: Id | None = None


class TimersBody(_Input):
    """When an idle room is paused and closed, in seconds since its last activity."""

    inactive_after_seconds: Seconds | None = None
    closed_after_seconds: Seconds | None = None


class NewRoom(_Input):
    """A room to make. Only a key for all organizations chooses the id, or the organization."""

    room_id: Id | None = None
    organization_id: Id | None = None
    metadata: Data = Field(default_factory=dict)
    timers: TimersBody | None = None
    retention_seconds: Seconds | None = None


class RoomChange(_Input):
    """Keys of metadata to set; a key that is not named stays."""

    metadata: Data


class AttachBody(_Input):
    """How a channel is attached; omitted fields are the channel's defaults."""

    access: Access | None = None
    visibility: Name | None = None
    participant_id: Id | None = None
    metadata: Data | None = Field(None, description="The recipient's address among them, where there is one.")


class BindingChange(_Input):
    """What to change of a channel in a room."""

    muted: bool | None = None
    access: Access | None = None
    visibility: Name | None = None
    metadata: Data | None = None


class EventBody(_Input):
    """Something to say in a room, by one of its channels or the system."""

    content: Speakable
    channel_id: Id = "system"
    participant_id: Id | None = None
    visibility: Name = "all"
    addressed_to: list[Id] | None = Field(None, max_length=100)
    parent_event_id: Id | None = None
    idempotency_key: Id | None = None
    metadata: Data = Field(default_factory=dict)


class EditBody(_Input):
    """The new content of an event."""

    content: Speakable


class MessageBody(_Input):
    """A message of a person whom the caller has verified, as it came by one of the room's channels."""

    channel_id: Id
    sender_id: Id
    content: Speakable
    idempotency_key: Id | None = None
    external_id: Id | None = None
    thread_id: Id | None = None
    parent_event_id: Id | None = None
    metadata: Data = Field(default_factory=dict)


class ParticipantBody(_Input):
    """By which channel a participant takes part, and their name."""

    channel_id: Id
    display_name: Name | None = None


class TaskBody(_Input):
    """A task to add."""

    title: Name
    description: Name | None = None
    assigned_to: Id | None = None
    metadata: Data = Field(default_factory=dict)


class TaskChange(_Input):
    """Changes of a task; omitted fields stay."""

    status: TaskStatus | None = None
    title: Name | None = None
    description: Name | None = None
    assigned_to: Id | None = None


class DropBody(_Input):
    """Why a failed delivery is given up."""

    reason: Name


class TicketBody(_Input):
    """Whose web socket a ticket is for: a participant whom the caller has verified."""

    channel_id: Id
    participant_id: Id
