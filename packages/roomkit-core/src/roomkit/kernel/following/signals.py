"""What workers signal to the followers of a room on other workers. No I/O.

A signal is an `EphemeralEvent` of type `custom` on a topic of the channel and the room; its `user_id` is the
worker that it comes from. Nothing in it says who may see what: the worker that receives it decides that.
Topics and fields are those of the rolling base, whose workers may run beside today's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from roomkit.models.enums import EphemeralEventType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.realtime import EphemeralEvent

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["LONGEST_EVENT", "Signal", "committed", "packed", "topic_of", "unpacked"]

LONGEST_EVENT = 4000
"""Bytes of JSON up to which an event is sent whole: one NOTIFY of PostgreSQL carries less than 8000."""


class Signal(BaseModel):
    """An event was committed, an answer has grown, or ended without an event, or rights have changed.

    A committed event has its `index`, and is read from the store if `event` is omitted. An answer has text,
    `offset` characters after its beginning; with `source`, a worker that missed that can show it.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    kind: Literal["committed", "growing", "broken", "rebound"]
    index: int = Field(default=-1, ge=0)
    event: str | None = None
    stream_id: str = ""
    offset: int = Field(default=0, ge=0)
    text: str = ""
    source: str | None = None
    visibility: str = "all"
    error: Literal["answer_failed", "answer_cancelled", "answer_withheld"] = "answer_failed"

    def read_event(self, room_id: str) -> RoomEvent | None:
        """Return the event, if it was sent. Raises ValueError for one of another index or room."""
        if self.event is None:
            return None
        event = RoomEvent.from_stored(self.event)
        if event.room_id != room_id or event.index != self.index:
            raise ValueError(f"event {event.index} of room {event.room_id!r} came as event {self.index}")
        return event

    def read_source(self) -> EventSource | None:
        """Return who answers, if that was sent. Raises ValueError for anything else."""
        return None if self.source is None else EventSource.from_stored(self.source)


def topic_of(room_id: str, channel_id: str) -> str:
    """Return the topic of a channel's followers in a room."""
    return f"websocket:{len(channel_id)}:{channel_id}:{room_id}"


def committed(event: RoomEvent) -> Signal:
    """Return the signal of an event: it carries the event unless that is large."""
    body = event.model_dump_json()
    if len(body.encode()) > LONGEST_EVENT:
        return Signal(kind="committed", index=event.index)
    return Signal(kind="committed", index=event.index, event=body)


def packed(room_id: str, channel_id: str, signal: Signal, *, by: str, at: datetime) -> EphemeralEvent:
    """Return a signal as it is published by one worker."""
    return EphemeralEvent(
        room_id=room_id,
        type=EphemeralEventType.CUSTOM,
        user_id=by,
        channel_id=channel_id,
        visibility="internal",
        data=signal.model_dump(exclude_unset=True),
        timestamp=at,
    )


def unpacked(room_id: str, channel_id: str, received: EphemeralEvent) -> Signal:
    """Return what another worker signals. Raises ValueError for anything else."""
    if received.room_id != room_id or received.channel_id != channel_id:
        raise ValueError(f"it is about channel {received.channel_id!r} in room {received.room_id!r}")
    return Signal.model_validate(dict(received.data))
