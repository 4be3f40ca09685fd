"""What the API answers: records as its clients see them, without vendors' payloads and workers' marks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from roomkit.models.enums import (
    Access,
    ChannelCategory,
    ChannelDirection,
    DeliveryState,
    EventStatus,
    IdentificationStatus,
    ParticipantRole,
    ParticipantStatus,
    ReceiptState,
    RoomStatus,
    TaskStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roomkit.abc.channel import Channel
    from roomkit.models.event import RoomEvent

__all__ = [
    "BindingView",
    "ChannelView",
    "DeliveryView",
    "EventView",
    "Page",
    "ParticipantView",
    "RoomView",
    "TaskView",
    "channel_view",
    "event_view",
    "page_of",
]

type Data = Annotated[Mapping[str, Any], WithJsonSchema({"type": "object"})]
"""A JSON object; Any: what programs and vendors put there."""

type Word = Annotated[str, BeforeValidator(str)]
"""A word of a vocabulary that plugins add to."""

type Content = Annotated[
    Mapping[str, Any],  # Any: a stored content may be of a newer version
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"type": {"type": "string"}},
            "required": ["type"],
            "description": "The content, by its `type`: `text` has a `body`.",
        }
    ),
]


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Page[T](BaseModel):
    """A page of records. `after` is the cursor of the next page; null: there is none."""

    items: list[T]
    after: str | None = None


class TimersView(_View):
    """When an idle room is paused and closed, in seconds since its last activity."""

    inactive_after_seconds: float | None
    closed_after_seconds: float | None
    last_activity_at: datetime | None


class RoomView(_View):
    """A room."""

    id: str
    organization_id: str | None
    status: RoomStatus
    created_at: datetime
    metadata: Data
    timers: TimersView
    event_count: int
    latest_index: int
    retention_seconds: float | None
    merged_into: str | None


class ChannelView(BaseModel):
    """A channel that rooms can be attached to."""

    channel_id: str
    channel_type: Word
    category: ChannelCategory
    provider: str | None
    webhooks: list[str] = Field(description="Providers whose webhooks it takes.")


class BindingView(_View):
    """A channel in a room."""

    channel_id: str
    room_id: str
    channel_type: Word
    category: ChannelCategory
    direction: ChannelDirection
    access: Access
    muted: bool
    visibility: str
    participant_id: str | None
    last_read_index: int | None
    attached_at: datetime
    address: str | None
    metadata: Data


class SourceView(_View):
    """Who an event came from."""

    channel_id: str
    channel_type: Word
    direction: ChannelDirection
    participant_id: str | None
    provider: str | None


class GenerationView(_View):
    """How a model made an event."""

    provider: str | None
    model: str | None
    finish_reason: str | None
    error_code: str | None
    usage: Data


class EventView(BaseModel):
    """An entry of a timeline."""

    id: str
    room_id: str
    type: Word
    index: int
    status: EventStatus
    source: SourceView
    content: Content
    created_at: datetime
    visibility: str
    addressed_to: list[str] | None
    parent_event_id: str | None
    correlation_id: str | None
    chain_depth: int
    metadata: Data
    blocked_by: str | None
    block_reason: str | None
    is_edited: bool
    is_deleted: bool
    generation: GenerationView | None


class ParticipantView(_View):
    """A person in a room."""

    id: str
    room_id: str
    channel_id: str
    display_name: str | None
    role: ParticipantRole
    status: ParticipantStatus
    identification: IdentificationStatus
    identity_id: str | None
    external_id: str | None
    connected_via: list[str]
    joined_at: datetime
    metadata: Data


class TaskView(_View):
    """Something to be done about a room."""

    id: str
    room_id: str
    title: str
    description: str | None
    assigned_to: str | None
    status: TaskStatus
    created_at: datetime
    metadata: Data


class ObservationView(_View):
    """Something noticed about a room."""

    id: str
    room_id: str
    channel_id: str
    content: str
    category: str | None
    confidence: float
    created_at: datetime
    metadata: Data


class DeliveryErrorView(_View):
    """Why a delivery failed."""

    code: str
    message: str
    retryable: bool
    vendor_code: str | None


class DeliveryView(_View):
    """What became of an event on its way to a channel."""

    id: str
    room_id: str
    event_id: str
    event_index: int
    channel_id: str
    state: DeliveryState
    attempts: int
    provider: str | None
    provider_message_id: str | None
    receipt: ReceiptState | None
    error: DeliveryErrorView | None
    reason: str | None
    fallback_of: str | None
    created_at: datetime
    finished_at: datetime | None
    duration_ms: float | None


class MessageView(BaseModel):
    """What became of a message: `event` is its entry, blocked if a gate refused it."""

    event: EventView
    is_blocked: bool
    is_duplicate: bool
    reason: str | None


class TicketView(BaseModel):
    """A ticket for one web socket; it can be used once."""

    ticket: str
    expires_at: datetime


def channel_view(channel: Channel) -> ChannelView:
    """Return a registered channel as the API shows it."""
    return ChannelView(
        channel_id=channel.channel_id,
        channel_type=str(channel.channel_type),
        category=channel.category,
        provider=channel.provider_name,
        webhooks=sorted(channel.webhooks()),
    )


def event_view(event: RoomEvent) -> EventView:
    """Return an event as the API shows it: what it says now, not what it said before edits."""
    generation = event.generation
    return EventView(
        id=event.id,
        room_id=event.room_id,
        type=str(event.type),
        index=event.index,
        status=event.status,
        source=SourceView.model_validate(event.source),
        content=event.content.model_dump(mode="json"),
        created_at=event.created_at,
        visibility=event.visibility,
        addressed_to=None if event.addressed_to is None else list(event.addressed_to),
        parent_event_id=event.parent_event_id,
        correlation_id=event.correlation_id,
        chain_depth=event.chain_depth,
        metadata=event.metadata,
        blocked_by=event.blocked_by,
        block_reason=event.block_reason,
        is_edited=event.edited,
        is_deleted=event.deleted,
        generation=None if generation is None else GenerationView.model_validate(generation),
    )


def page_of[R, V](
    records: Sequence[R], limit: int, view: Callable[[R], V], cursor: Callable[[R], str]
) -> Page[V]:
    """Return a page of the first `limit` records, of which one more was asked for."""
    shown = records[:limit]
    after = cursor(shown[-1]) if shown and len(records) > limit else None
    return Page(items=[view(each) for each in shown], after=after)
