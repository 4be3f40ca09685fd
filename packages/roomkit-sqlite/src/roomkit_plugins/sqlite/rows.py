"""Pure functions between the core's records and the columns they are kept in.

A record is kept whole as JSON, so that a field added to a model is kept too; queried fields have a column
besides. Fields that change apart from their record have only the column, and so have large ones; a field
that is None is omitted everywhere, which halves it: None is what these fields are without a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from roomkit.abc.errors import InvalidInputError, StoreError
from roomkit.models.base import Record
from roomkit.models.content import text_of
from roomkit.models.delivery import Delivery
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit_plugins.sql.cached import Counters
from roomkit_plugins.sql.damaged import (
    damaged_event,
    damaged_record,
    readable_fields,
    report_room,
    report_timer,
)

__all__ = [
    "COUNTERS",
    "DELIVERY",
    "EVENT",
    "ROOM",
    "counters_of",
    "delivery_of",
    "dump",
    "event_of",
    "load",
    "micros",
    "moment",
    "readable_room",
    "readable_timers",
    "record_of",
    "room_of",
    "searchable",
]

COUNTERS = "rooms.seq, rooms.edition, rooms.version, rooms.next_index, rooms.event_count, rooms.last_activity"
"""The columns of `rooms` that `counters_of` takes."""
ROOM = "r.seq, r.data, r.event_count, r.next_index, r.version, r.last_activity, r.edition, r.id"
"""The columns of `rooms r` that `room_of` takes."""
EVENT = "e.data, e.id, e.idx, e.room"
"""The columns of `events e` that `event_of` takes."""
DELIVERY = "d.data, d.holder, d.claims, r.id, e.id, e.idx, d.channel_id, d.created_at, d.state"
"""The columns of `deliveries d`, `rooms r` and `events e` that `delivery_of` takes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_IN_COLUMNS: dict[type[Record], Any] = {
    RoomEvent: {"id", "room_id", "index"},
    Room: {"event_count": True, "latest_index": True, "version": True, "timers": {"last_activity_at"}},
    Delivery: {"holder", "claims"},
    Timer: {"claims"},
}
_NOT_SEARCHED = frozenset({EventType.EDIT, EventType.DELETE})


def dump(record: Record) -> str:
    """Return the JSON a record is kept as. Raises InvalidInputError for what JSON cannot carry."""
    excluded = _IN_COLUMNS.get(type(record))
    try:
        return to_json(record, exclude=excluded, exclude_none=True).decode()
    except ValueError as error:
        raise InvalidInputError(
            f"a {type(record).__name__} cannot be stored: {error}; nothing was stored"
        ) from error


def load[R: Record](model: type[R], data: str, own_id: str | None = None) -> R:
    """Return the record kept as `data`. Raises StoreError, which names it, when it cannot be read."""
    try:
        return model.from_stored(data)
    except ValidationError as error:
        named = "" if own_id is None else f" (id {own_id!r})"
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in error.errors()[:3]]
        raise StoreError(  # without the cause, which would quote what people wrote
            f"a stored {model.__name__}{named} cannot be read ({', '.join(wrong)}); if a newer "
            "roomkit-core wrote it, upgrade roomkit-core; nothing was changed"
        ) from None


def record_of[R: Record](model: type[R], data: str, known: Mapping[str, Any]) -> R:
    """Return the record kept as `data`; of an unreadable one the `known` fields, see `damaged_record`."""
    try:
        return model.from_stored(data)
    except ValidationError:
        return damaged_record(model, readable_fields(data), known)


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


def counters_of(row: tuple[Any, ...]) -> Counters:
    """Return the counters of a row of `COUNTERS`."""
    seq, edition, version, next_index, event_count, last_activity = row
    return Counters(seq, edition, version, next_index, event_count, moment(last_activity))


def room_of(row: tuple[Any, ...]) -> Room:
    """Return the room of a row of `ROOM`."""
    _, data, event_count, next_index, version, last_activity, _, room_id = row
    room = load(Room, data, room_id)
    return room.replace(
        id=room_id,  # by which it is found, also where the stored record is damaged
        event_count=event_count,
        latest_index=next_index - 1,
        version=version,
        timers=room.timers.replace(last_activity_at=moment(last_activity)),
    )


def readable_room(row: tuple[Any, ...]) -> Room | None:
    """Return the room of a row of `ROOM`, for a list of rooms; None when it cannot be read."""
    try:
        return room_of(row)
    except StoreError:
        report_room(row[-1])
        return None


# -- events -------------------------------------------------------------------------------------


def event_of(room_id: str, row: tuple[Any, ...]) -> RoomEvent:
    """Return the event of a row of `EVENT`; one that cannot be read is shown as such."""
    data, event_id, index, _ = row
    try:
        return RoomEvent.from_stored(
            f'{data[:-1]},"id":{json.dumps(event_id)},"room_id":{json.dumps(room_id)},"index":{index}}}'
        ).forget_given()
    except ValidationError:
        fields = readable_fields(data)
        return damaged_event(fields, event_id=event_id, room_id=room_id, index=index)


def searchable(event: RoomEvent) -> str:
    """Return the words an event is found by; "" when it is not to be found."""
    if event.deleted or event.type in _NOT_SEARCHED:
        return ""
    return text_of(event.content)


# -- the ledger ---------------------------------------------------------------------------------


def delivery_of(row: tuple[Any, ...]) -> Delivery:
    """Return the delivery of a row of `DELIVERY`; it has no data while nothing has become of it."""
    data, holder, claims, room_id, event_id, index, channel_id, created_at, state = row
    known = {
        "id": f"{event_id}:{channel_id}",
        "room_id": room_id,
        "event_id": event_id,
        "event_index": index,
        "channel_id": channel_id,
    }
    try:
        if data is None:
            return Delivery(
                **known, created_at=datetime.fromisoformat(created_at), holder=holder, claims=claims
            )
        return Delivery.from_stored(data).replace(holder=holder, claims=claims)
    except ValueError:
        fields = {"created_at": created_at, **readable_fields(data or ""), "state": state}
        return damaged_record(Delivery, fields, known).replace(holder=holder, claims=claims)


def readable_timers(rows: Iterable[tuple[str, str, int]]) -> list[Timer]:
    """Return the timers of rows of id, data and claims, without those that cannot be read."""
    timers: list[Timer] = []  # bound: the rows
    for own_id, data, claims in rows:
        try:
            timers.append(Timer.from_stored(data).replace(claims=claims))
        except ValidationError:
            report_timer({**readable_fields(data), "id": own_id})
    return timers
