"""The questions that have many filters, each as one record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from roomkit._dataclasses import dataclass

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.enums import DeliveryState, EventType, RoomStatus

__all__ = ["DeliveryQuery", "EventQuery", "RoomQuery"]


@dataclass(slots=True, frozen=True, kw_only=True)
class RoomQuery:
    """A page of rooms, in order of creation; each given filter must hold, metadata keys by equality.

    `after` is the id of the last room of the page before; it is exact while rooms come and go,
    which `offset` is not.
    """

    organization_id: str | None = None
    status: RoomStatus | str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 100
    offset: int = 0
    after: str | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class EventQuery:
    """A page of a room's timeline, by index; bounds are exclusive.

    `visibility` is an exact match; `reader` keeps what that binding may see. `by_time` orders the page by
    `created_at`, then by index: it is another order where events were moved here from another room.
    """

    room_id: str
    offset: int = 0
    limit: int = 50
    visibility: str | None = None
    after_index: int | None = None
    before_index: int | None = None
    types: Collection[EventType] | None = None
    reader: ChannelBinding | None = None
    newest_first: bool = False
    by_time: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class DeliveryQuery:
    """A page of the ledger's rows; each given filter must hold.

    With a `room_id` they are in order of the events' indexes, those of one event in the order in which they
    were written; without one, all are in the order in which they were written. The row of a fallback is
    written when it is made, so that without a room it follows rows of later events. `newest_first` reverses
    the order. `after` is the id of the last row of the page before, in the same order.
    """

    room_id: str | None = None
    event_id: str | None = None
    channel_id: str | None = None
    state: DeliveryState | None = None
    organization_id: str | None = None
    limit: int = 100
    after: str | None = None
    newest_first: bool = False
