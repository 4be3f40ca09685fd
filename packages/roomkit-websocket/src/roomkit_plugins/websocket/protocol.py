"""The JSON that a client and `WebSocketServer` exchange. Pure functions: no socket, no kit.

A client sends one JSON object per text frame. `client_id` is the client's own name for a message:
sent twice, it counts once, after a reconnect too.

| frame | fields |
|---|---|
| `message` | `text`, or `content` (see below); `client_id`, `reply_to` (an event's id), `metadata` |
| `edit` | `event_id`; `text` or `content`; `client_id` |
| `delete` | `event_id`; `reason`, `client_id` |
| `reaction` | `event_id`, `emoji`; `action` (`add` or `remove`) |
| `typing` | `is_typing` (true unless said otherwise) |
| `read` | `event_id` |
| `more` | `after`: the index to go on after, instead of the one last sent |

`content` is an `EventContent` of type text, rich, media, location, audio, video or composite.

The server sends:

| frame | fields |
|---|---|
| `ready` | `room_id`, `participant_id`, `connection_id`, `index` (of the newest event) |
| `event` | `event` |
| `more` | `after`, `index`: the missed events go on after `after`; see below |
| `stream_start` | `room_id`, `stream_id`, `event_id`, `source` |
| `stream_chunk` | `room_id`, `stream_id`, `delta` |
| `stream_end` | `room_id`, `stream_id`, `event` |
| `stream_error` | `room_id`, `stream_id`, `error` |
| `ack` | `client_id`, `event_id`, `index`, `duplicate`: the message is in the timeline |
| `ephemeral` | `event`: typing, presence, read marks, reactions |
| `error` | `code`, `message`, `next_step`; `client_id` of the refused message; `retry_after`, in seconds |

Resuming. A client that connects with an index gets every event after it that it may see, in order, then
live events, without gaps or duplicates, on any worker. A replay has a bound: beyond it the server sends
`more`, and until the client answers with `more` it gets neither further events nor answers under way, only
signals and acknowledgements. An index ahead of the room's newest event is answered with the error
`index_ahead`, and the client is shown what happens from then on.

Events are written as `RoomEvent.client_view` has them: without vendors' payloads and ids, other clients'
connections and keys, former contents of edited events, usage of models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from roomkit.abc.errors import InvalidInputError
from roomkit.models.content import DeleteContent, EditContent, EventContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent

if TYPE_CHECKING:
    from roomkit.models.realtime import EphemeralEvent
    from roomkit_plugins.websocket.frames import Frame

__all__ = [
    "FrameError",
    "Latest",
    "More",
    "ack_frame",
    "encode",
    "ephemeral_frame",
    "error_frame",
    "more_frame",
    "parse",
    "ready_frame",
]

_SPEAKABLE = frozenset({"text", "rich", "media", "location", "audio", "video", "composite"})
_LONGEST_NAME = 512
_content: TypeAdapter[Any] = TypeAdapter(EventContent, config={"defer_build": True})


class FrameError(InvalidInputError):
    """A frame that cannot be used, in words that may be shown to its sender.

    `frame_code` is stable, `next_step` says what to send instead, `client_id` what the client
    called the message.
    """

    code = "invalid_frame"

    def __init__(
        self, frame_code: str, message: str, *, next_step: str, client_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.frame_code = frame_code
        self.next_step = next_step
        self.client_id = client_id


@dataclass(slots=True, frozen=True)
class More:
    """The client has taken in what it was sent; `after` is where it wants to go on, if it says so."""

    after: int | None


# -- what a client sends ----------------------------------------------------------------------


def parse(
    data: str | bytes,
    *,
    channel_id: str,
    connection_id: str,
    participant_id: str | None,
    room_id: str | None = None,
) -> InboundMessage | More:
    """Return the message of a client's frame, or its wish for more of what it missed.

    Who sent it is what the caller knows of the connection; nothing in the frame can change that.
    The idempotency key is the `client_id` within the participant's, else the connection's, own, and within
    the connection's room if `room_id` names it: a channel's keys count in all of its rooms.
    Raises FrameError, for whatever else comes.
    """
    frame = _object(data)
    kind = frame.get("type")
    if kind == "more":
        return More(_index(frame))
    builder = _BUILDERS.get(kind) if isinstance(kind, str) else None
    if builder is None:
        raise FrameError(
            "unknown_type",
            "this type of frame is not known",
            next_step=f"send one of the types {', '.join(_BUILDERS)}, more",
        )
    client_id = _name(frame, "client_id", required=False)
    sender = participant_id or connection_id
    try:
        return InboundMessage(
            channel_id=channel_id,
            sender_id=sender,
            connection_id=connection_id,
            external_id=client_id,
            idempotency_key=None if client_id is None else _key(client_id, sender, room_id),
            **builder(frame),
        )
    except FrameError as error:
        error.client_id = client_id
        raise
    except (ValidationError, RecursionError) as error:
        raise FrameError(
            "invalid_field",
            _first_problem(error),
            next_step="correct that field and send the frame again",
            client_id=client_id,
        ) from error


def _key(client_id: str, sender: str, room_id: str | None) -> str:
    key = f"{len(sender)}:{sender}:{client_id}"
    # A digest: the ids of a room, a sender and a frame may be too long for one key.
    return key if room_id is None else f"{sha256(room_id.encode()).hexdigest()[:32]}:{key}"


def _object(data: str | bytes) -> Mapping[str, Any]:
    try:
        frame = from_json(data)
    except (ValueError, RecursionError) as error:
        raise FrameError(
            "invalid_json", "the frame is not JSON", next_step="send one JSON object per text frame"
        ) from error
    if not isinstance(frame, dict):
        raise FrameError(
            "invalid_json", "the frame is not a JSON object", next_step="send one JSON object per text frame"
        )
    return frame


def _message(frame: Mapping[str, Any]) -> dict[str, Any]:
    metadata = frame.get("metadata", {})
    if not isinstance(metadata, dict):
        raise _wrong("metadata", "an object")
    return {
        "content": _said(frame),
        "parent_event_id": _name(frame, "reply_to", required=False),
        "metadata": metadata,
    }


def _edit(frame: Mapping[str, Any]) -> dict[str, Any]:
    content = EditContent(target_event_id=_name(frame, "event_id") or "", new_content=_said(frame))
    return {"event_type": EventType.EDIT, "content": content}


def _delete(frame: Mapping[str, Any]) -> dict[str, Any]:
    reason = _name(frame, "reason", required=False)
    content = DeleteContent(target_event_id=_name(frame, "event_id") or "", reason=reason)
    return {"event_type": EventType.DELETE, "content": content}


def _reaction(frame: Mapping[str, Any]) -> dict[str, Any]:
    action = frame.get("action", "add")
    if action not in ("add", "remove"):
        raise _wrong("action", "add or remove")
    event_id, emoji = _name(frame, "event_id"), _name(frame, "emoji")
    return {
        "event_type": EventType.REACTION,
        "content": TextContent(body=emoji or ""),
        "parent_event_id": event_id,
        "metadata": {"target_event_id": event_id, "emoji": emoji, "action": action},
    }


def _typing(frame: Mapping[str, Any]) -> dict[str, Any]:
    is_typing = frame.get("is_typing", True)
    if not isinstance(is_typing, bool):
        raise _wrong("is_typing", "true or false")
    return {
        "event_type": EventType.TYPING,
        "content": TextContent(body=""),
        "metadata": {"is_typing": is_typing},
    }


def _read(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event_type": EventType.READ_RECEIPT,
        "content": TextContent(body=""),
        "metadata": {"event_id": _name(frame, "event_id")},
    }


_BUILDERS = {
    "message": _message,
    "edit": _edit,
    "delete": _delete,
    "reaction": _reaction,
    "typing": _typing,
    "read": _read,
}


def _said(frame: Mapping[str, Any]) -> Any:
    if "content" not in frame:
        text = frame.get("text")
        if not isinstance(text, str) or not text.strip():
            raise _wrong("text", "a text that is not empty")
        return TextContent(body=text)
    content = _content.validate_python(frame["content"])
    if not _speakable(content):
        raise _wrong("content", f"of type {', '.join(sorted(_SPEAKABLE))}")
    return content


def _speakable(content: Any) -> bool:
    return content.type in _SPEAKABLE and all(map(_speakable, getattr(content, "parts", ())))


def _name(frame: Mapping[str, Any], field: str, *, required: bool = True) -> str | None:
    value = frame.get(field)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME or "\0" in value:
        raise _wrong(field, f"a text of 1 to {_LONGEST_NAME} characters")
    return value


def _index(frame: Mapping[str, Any]) -> int | None:
    after = frame.get("after")
    if after is None:
        return None
    if not isinstance(after, int) or isinstance(after, bool) or not -1 <= after < 2**63:
        raise _wrong("after", "the index of the last event seen, or -1")
    return after


def _wrong(field: str, expected: str) -> FrameError:
    return FrameError(
        "invalid_field",
        f"{field} must be {expected}",
        next_step="correct that field and send the frame again",
    )


def _first_problem(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "the frame is nested too deeply"
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the frame'}: {problem['msg']}"


# -- what the server sends --------------------------------------------------------------------


def encode(frame: Frame) -> bytes:
    """Return an event or a stream frame as a client may see it, in UTF-8 JSON."""
    if isinstance(frame, RoomEvent):
        return b'{"type":"event","event":' + frame.json_bytes + b"}"
    return frame.json_bytes


class Latest[Given, Made]:
    """A function that keeps its latest result: the many clients of a room are sent the same frame in turn."""

    __slots__ = ("_given", "_made", "_make")

    def __init__(self, make: Callable[[Given], Made]) -> None:
        self._make = make
        self._given: Given | None = None
        self._made: Made | None = None

    def __call__(self, given: Given) -> Made:
        """Return what the function makes of the very object `given`."""
        if self._given is not given or self._made is None:
            self._given, self._made = given, self._make(given)
        return self._made


def ready_frame(*, room_id: str, participant_id: str | None, connection_id: str, index: int) -> bytes:
    """Return the first frame of a connection; `index` is the place of the newest event, -1 of none."""
    return to_json(
        {
            "type": "ready",
            "room_id": room_id,
            "participant_id": participant_id,
            "connection_id": connection_id,
            "index": index,
        }
    )


def more_frame(*, after: int, index: int) -> bytes:
    """Return the frame for a client that has missed more than it is sent at once."""
    return to_json({"type": "more", "after": after, "index": index})


def ack_frame(event: RoomEvent, *, client_id: str | None, duplicate: bool) -> bytes:
    """Return the frame that acknowledges a message in the timeline."""
    return to_json(
        {
            "type": "ack",
            "client_id": client_id,
            "event_id": event.id,
            "index": event.index,
            "duplicate": duplicate,
        }
    )


def ephemeral_frame(event: EphemeralEvent) -> bytes:
    """Return a signal as a client may see it."""
    return b'{"type":"ephemeral","event":' + event.model_dump_json(exclude={"visibility"}).encode() + b"}"


def error_frame(
    code: str,
    message: str,
    *,
    next_step: str,
    client_id: str | None = None,
    retry_after: float | None = None,
) -> bytes:
    """Return the frame that names the refusal and its remedy."""
    frame: dict[str, object] = {"type": "error", "code": code, "message": message, "next_step": next_step}
    if client_id is not None:
        frame["client_id"] = client_id
    if retry_after is not None:
        frame["retry_after"] = round(retry_after, 3)
    return to_json(frame)
