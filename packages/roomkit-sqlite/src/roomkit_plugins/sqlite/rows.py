"""Pure functions between the core's records and the columns they are kept in.

A record is kept whole as JSON, so that a field added to a model is kept too; what is asked for has a
column besides. Of an event, what has a column is left out of the JSON, and a field that is None is
left out everywhere, which halves it: None is what these fields are without a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from roomkit.abc.errors import StoreError
from roomkit.abc.store import Amend
from roomkit.models.base import Record
from roomkit.models.content import text_of
from roomkit.models.delivery import Delivery
from roomkit.models.enums import EventStatus, EventType, ReceiptState, RoomStatus
from roomkit.models.event import Amendment, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room

__all__ = [
    "EVENT",
    "ROOM",
    "addresses_of",
    "advances",
    "amended",
    "due_after",
    "dump",
    "event_of",
    "is_recent",
    "load",
    "micros",
    "moment",
    "pending_row",
    "room_of",
    "searchable",
    "senders_of",
]

ROOM = "r.seq, r.data, r.event_count, r.next_index, r.version, r.last_activity, r.edition"
"""The columns of `rooms r` that `room_of` takes."""
EVENT = "e.data, e.id, e.idx, e.room"
"""The columns of `events e` that `event_of` takes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FOREVER = 2**60
_IN_COLUMNS: dict[type[Record], Any] = {
    RoomEvent: {"id", "room_id", "index"},
    Room: {"event_count": True, "latest_index": True, "version": True, "timers": {"last_activity_at"}},
}
_RECEIPTS = (ReceiptState.QUEUED, ReceiptState.SENT, ReceiptState.DELIVERED, ReceiptState.READ)
_NOT_SEARCHED = frozenset({EventType.EDIT, EventType.DELETE})


def dump(record: Record) -> str:
    """Return the JSON a record is kept as. Raises ValueError for what JSON cannot carry."""
    excluded = _IN_COLUMNS.get(type(record))
    return to_json(record, exclude=excluded, exclude_none=True).decode()


def load[R: Record](model: type[R], data: str) -> R:
    """Return the record kept as `data`."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in error.errors()[:3]]
        raise StoreError(  # without the cause, which would quote what people wrote
            f"a stored {model.__name__} cannot be read ({', '.join(wrong)}); if a newer roomkit-core wrote "
            "it, upgrade with `pip install --upgrade roomkit-core`; nothing was changed"
        ) from None


# -- time ---------------------------------------------------------------------------------------


def micros(at: datetime) -> int:
    """Return a time as microseconds since 1970; one without a zone is taken as UTC."""
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // _MICROSECOND


def moment(at: int | None) -> datetime | None:
    """Return the time of `micros`."""
    return None if at is None else _EPOCH + timedelta(microseconds=at)


# -- rooms --------------------------------------------------------------------------------------


def room_of(row: tuple[Any, ...]) -> Room:
    """Return the room of a row of `ROOM`."""
    _, data, event_count, next_index, version, last_activity, _ = row
    room = load(Room, data)
    return room.replace(
        event_count=event_count,
        latest_index=next_index - 1,
        version=version,
        timers=room.timers.replace(last_activity_at=moment(last_activity)),
    )


def due_after(room: Room) -> int | None:
    """Return the microseconds of idleness after which the room's timers may ask for something."""
    if not room.status.is_open:
        return None
    timers = room.timers
    pausing = timers.inactive_after_seconds if room.status is RoomStatus.ACTIVE else None
    waits = [seconds for seconds in (timers.closed_after_seconds, pausing) if seconds is not None]
    return min(int(min(waits) * 1_000_000), _FOREVER) if waits else None


# -- events -------------------------------------------------------------------------------------


def event_of(room_id: str, row: tuple[Any, ...]) -> RoomEvent:
    """Return the event of a row of `EVENT`."""
    data, event_id, index, _ = row
    return load(
        RoomEvent,
        f'{data[:-1]},"id":{json.dumps(event_id)},"room_id":{json.dumps(room_id)},"index":{index}}}',
    ).forget_given()


def amended(event: RoomEvent, amend: Amend, at: datetime) -> RoomEvent:
    """Return the event after an edit, or after its deletion."""
    before = event.amendment or Amendment()
    if amend.content is None:
        return event.replace(amendment=before.replace(deleted_at=at, amended_by=amend.amended_by))
    amendment = before.replace(
        edited_at=at,
        amended_by=amend.amended_by,
        former_contents=(*before.former_contents, event.content),
    )
    return event.replace(content=amend.content, amendment=amendment)


def is_recent(event: RoomEvent) -> bool:
    """Return whether an event is one of those that `recent` shows."""
    return event.type is EventType.MESSAGE and event.status is not EventStatus.BLOCKED and not event.deleted


def searchable(event: RoomEvent) -> str:
    """Return the words an event is found by; "" when it is not to be found."""
    if event.deleted or event.type in _NOT_SEARCHED:
        return ""
    return text_of(event.content)


# -- people -------------------------------------------------------------------------------------


def senders_of(participant: Participant) -> list[tuple[str, str]]:
    """Return the participant as a sender: each channel they came by, and their address there."""
    who = participant.external_id or participant.id
    channels = participant.connected_via or (participant.channel_id,)
    return [(channel_id, who) for channel_id in dict.fromkeys(channels)]


def addresses_of(identity: Identity) -> Iterator[tuple[str, str, str]]:
    """Yield organization ("" for none), channel type and address of everything an identity lists."""
    for channel_type, addresses in identity.channel_addresses.items():
        for address in addresses:
            yield identity.organization_id or "", str(channel_type), address


# -- the ledger ---------------------------------------------------------------------------------


def pending_row(room_id: str, event_id: str, index: int, channel_id: str, created_at: str) -> Delivery:
    """Return the row of a delivery that nothing has become of yet."""
    return Delivery(
        id=f"{event_id}:{channel_id}",
        room_id=room_id,
        event_id=event_id,
        event_index=index,
        channel_id=channel_id,
        created_at=datetime.fromisoformat(created_at),
    )


def advances(before: ReceiptState | None, after: ReceiptState) -> bool:
    """Return whether a receipt moves on: never backwards, and FAILED is final, as READ is."""
    if before is None:
        return True
    if before in (ReceiptState.FAILED, ReceiptState.READ) or before is after:
        return False
    return after is ReceiptState.FAILED or _RECEIPTS.index(after) > _RECEIPTS.index(before)
