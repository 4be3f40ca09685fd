"""Messages between workers about a room's sockets, as signals on a topic of its own. No I/O.

Each message is one `EphemeralEvent` of type `custom`; its `user_id` is the worker it comes from,
which does not listen to itself. Nothing in a message says who may see what: the worker that hears it
decides that for its own connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from roomkit.models.enums import EphemeralEventType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.websocket.frames import StreamStart

if TYPE_CHECKING:
    from roomkit_plugins.websocket.frames import StreamErrorCode

__all__ = [
    "LONGEST_EVENT",
    "Broken",
    "Bus",
    "BusMessage",
    "CommittedSignal",
    "Growing",
    "NotOurs",
    "Rebound",
]

LONGEST_EVENT = 4000
"""Bytes of JSON up to which an event travels whole: PostgreSQL's NOTIFY carries less than 8000."""

_ERRORS = ("answer_failed", "answer_cancelled", "answer_withheld")


class NotOurs(ValueError):
    """A signal on the topic that is none of ours, or of a later version."""


@dataclass(slots=True, frozen=True)
class CommittedSignal:
    """The room has an event of this index; without `event` it is to be read from the store."""

    index: int
    event: RoomEvent | None = None


@dataclass(slots=True, frozen=True)
class Growing:
    """An answer under way: `text` stands `offset` characters after its beginning.

    With `start` it can be shown by a worker that hears of it for the first time.
    """

    stream_id: str
    offset: int
    text: str
    start: StreamStart | None = None
    visibility: str = "all"


@dataclass(slots=True, frozen=True)
class Broken:
    """An answer ended and nothing of it is in the timeline."""

    stream_id: str
    error: StreamErrorCode


@dataclass(slots=True, frozen=True)
class Rebound:
    """The channel's binding in the room changed: it is to be read again."""


type BusMessage = CommittedSignal | Growing | Broken | Rebound


class Bus:
    """Translates for one worker of one channel."""

    def __init__(self, channel_id: str, worker_id: str) -> None:
        self._channel_id = channel_id
        self._worker_id = worker_id

    def topic(self, room_id: str) -> str:
        """Return the topic of a room."""
        return f"websocket:{len(self._channel_id)}:{self._channel_id}:{room_id}"

    def pack(self, room_id: str, message: BusMessage, at: datetime) -> EphemeralEvent:
        """Return the signal that carries `message`."""
        return EphemeralEvent(
            room_id=room_id,
            type=EphemeralEventType.CUSTOM,
            user_id=self._worker_id,
            channel_id=self._channel_id,
            visibility="internal",
            data=_fields(message),
            timestamp=at,
        )

    def unpack(self, room_id: str, signal: EphemeralEvent) -> BusMessage | None:
        """Return what another worker said; None for our own words. Raises NotOurs."""
        if signal.user_id == self._worker_id:
            return None
        if signal.room_id != room_id or signal.channel_id != self._channel_id:
            raise NotOurs(f"a signal about {signal.channel_id!r} in room {signal.room_id!r}")
        try:
            return _message(room_id, signal.data)
        except (KeyError, TypeError, ValidationError) as error:
            raise NotOurs(f"a signal that cannot be read: {type(error).__name__}") from error


def _fields(message: BusMessage) -> dict[str, Any]:
    match message:
        case CommittedSignal(index, event):
            body = None if event is None else event.model_dump_json()
            if body is None or len(body.encode()) > LONGEST_EVENT:
                return {"kind": "committed", "index": index}
            return {"kind": "committed", "index": index, "event": body}
        case Growing(stream_id, offset, text, start, visibility):
            fields = {"kind": "growing", "stream_id": stream_id, "offset": offset, "text": text}
            if start is not None:
                fields |= {"source": start.source.model_dump_json(exclude={"raw_payload"})}
                fields |= {"visibility": visibility}
            return fields
        case Broken(stream_id, error):
            return {"kind": "broken", "stream_id": stream_id, "error": error}
        case Rebound():
            return {"kind": "rebound"}


def _message(room_id: str, data: Any) -> BusMessage:
    match data["kind"]:
        case "committed":
            return _committed(room_id, data)
        case "growing":
            return _growing(room_id, data)
        case "broken":
            error = data["error"]
            return Broken(_text(data["stream_id"]), error if error in _ERRORS else "answer_failed")
        case "rebound":
            return Rebound()
        case kind:
            raise NotOurs(f"a signal of kind {kind!r}")


def _committed(room_id: str, data: Any) -> CommittedSignal:
    index = data["index"]
    if not isinstance(index, int) or index < 0:
        raise NotOurs(f"an event of index {index!r}")
    if (body := data.get("event")) is None:
        return CommittedSignal(index)
    event = RoomEvent.from_stored(body)
    if event.room_id != room_id or event.index != index:
        raise NotOurs(f"event {event.index} of room {event.room_id!r} as event {index} of room {room_id!r}")
    return CommittedSignal(index, event)


def _growing(room_id: str, data: Any) -> Growing:
    stream_id, offset = _text(data["stream_id"]), data["offset"]
    if not isinstance(offset, int) or offset < 0:
        raise NotOurs(f"text at {offset!r}")
    start = None
    if (source := data.get("source")) is not None:
        start = StreamStart(room_id, stream_id, EventSource.from_stored(source), stream_id)
    return Growing(stream_id, offset, _text(data["text"]), start, _text(data.get("visibility", "all")))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise NotOurs(f"{value!r} where a text belongs")
    return value
