"""What a connection is sent: events, and the four frames of an answer that is still being generated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from pydantic_core import to_json

from roomkit.models.event import EventSource, RoomEvent

__all__ = [
    "CloseFn",
    "Frame",
    "SendFn",
    "StreamChunk",
    "StreamEnd",
    "StreamError",
    "StreamErrorCode",
    "StreamMessage",
    "StreamSendFn",
    "StreamStart",
    "WritesAtOnce",
]

type StreamErrorCode = Literal["answer_failed", "answer_cancelled", "answer_withheld"]
"""Why a stream ended without an event: the model failed, it was cut short, or nothing was let through."""


@dataclass(slots=True, frozen=True)
class _StreamFrame:
    """A frame that is encoded once, as a client may see it, however many connections it is written to."""

    room_id: str
    stream_id: str
    _json: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def json_bytes(self) -> bytes:
        """The frame as a client may see it, in UTF-8 JSON, encoded at first use."""
        encoded = self._json
        if encoded is None:
            encoded = to_json(self._fields())
            object.__setattr__(self, "_json", encoded)
        return encoded

    def _fields(self) -> dict[str, object]:
        raise NotImplementedError


@dataclass(slots=True, frozen=True)
class StreamStart(_StreamFrame):
    """An answer begins; `event_id` (and `stream_id`, which is the same) is the id its event will have."""

    source: EventSource
    event_id: str
    type: Literal["stream_start"] = "stream_start"

    def _fields(self) -> dict[str, object]:
        return {
            "type": self.type,
            "room_id": self.room_id,
            "stream_id": self.stream_id,
            "source": self.source.client_view(),
            "event_id": self.event_id,
        }


@dataclass(slots=True, frozen=True)
class StreamChunk(_StreamFrame):
    """More text of an answer: the added part, never earlier text."""

    delta: str
    type: Literal["stream_chunk"] = "stream_chunk"

    def _fields(self) -> dict[str, object]:
        return {
            "type": self.type,
            "room_id": self.room_id,
            "stream_id": self.stream_id,
            "delta": self.delta,
        }


@dataclass(slots=True, frozen=True)
class StreamEnd(_StreamFrame):
    """An answer is complete: `event` is the committed entry, whose content is what counts.

    An answer that broke off after some of it was said ends so too; `event.generation.finish_reason`
    is then `error`, `cancelled` or `content_filter`.
    """

    event: RoomEvent
    type: Literal["stream_end"] = "stream_end"

    def _fields(self) -> dict[str, object]:
        return {
            "type": self.type,
            "room_id": self.room_id,
            "stream_id": self.stream_id,
            "event": self.event.client_view(),
        }


@dataclass(slots=True, frozen=True)
class StreamError(_StreamFrame):
    """An answer ended and nothing of it is in the timeline.

    `error` is a stable code, never a vendor's words.
    """

    error: StreamErrorCode
    type: Literal["stream_error"] = "stream_error"

    def _fields(self) -> dict[str, object]:
        return {
            "type": self.type,
            "room_id": self.room_id,
            "stream_id": self.stream_id,
            "error": self.error,
        }


type StreamMessage = StreamStart | StreamChunk | StreamEnd | StreamError
"""What a connection's `stream_send_fn` is called with."""

type Frame = RoomEvent | StreamMessage

type SendFn = Callable[[str, RoomEvent], Awaitable[None]]
"""`async (connection_id, event)`: writes one event to the connection. Raising means that it could not."""

type CloseFn = Callable[[str, str], Awaitable[None]]
"""`async (connection_id, reason)`: closes the connection, which the channel has dropped. Called once."""

type StreamSendFn = Callable[[str, StreamMessage], Awaitable[None]]
"""`async (connection_id, frame)`: writes one stream frame to the connection."""


@runtime_checkable
class WritesAtOnce(Protocol):
    """A `send_fn` that is asked first to write without waiting, which costs a function call and no coroutine.

    Give the same object as `stream_send_fn`, or none.
    """

    def write(self, connection_id: str, frame: Frame) -> bool:
        """Write a whole frame now; False if that would have to wait: then the `send_fn` is called with it.

        Called in order, and never while the `send_fn` is under way. Raising means that it could not.
        """
