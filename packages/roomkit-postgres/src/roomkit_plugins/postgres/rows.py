"""Between the core's records and the rows they are kept in.

A field has a column of its own; nested values are JSON as text, so that it keeps its order and may
hold what text in PostgreSQL may not. A field that has no column, because a newer core added it, is kept
in `more`, and so is a value its column cannot hold. A column is NULL where the field has its empty default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from roomkit.abc.errors import InvalidInputError, StoreError
from roomkit.models.base import EMPTY, Record
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery
from roomkit.models.event import ChannelData, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit_plugins.sql.cached import UnreadEvent
from roomkit_plugins.sql.damaged import (
    damaged_event,
    damaged_record,
    readable_fields,
    report_room,
    report_timer,
)

__all__ = [
    "BINDINGS",
    "DELIVERIES",
    "EVENTS",
    "HEAD",
    "IDENTITIES",
    "IN_LANE",
    "IS_HELD",
    "OBSERVATIONS",
    "PARTICIPANTS",
    "ROOMS",
    "TASKS",
    "TIMERS",
    "Column",
    "Row",
    "Table",
    "dump_event",
    "dump_room",
    "encoded",
    "facet",
    "facets",
    "in_more",
    "load_delivery",
    "load_event",
    "load_identity",
    "load_record",
    "load_room",
    "load_timers",
    "readable_room",
    "table_of",
    "unread_event",
]

type Row = Sequence[Any]

_quote = json.encoder.encode_basestring_ascii
_LARGEST = 2**63 - 1
_LONGEST_FACET = 200
_EMPTY_DEFAULTS = (EMPTY, (), ChannelData(), RoomTimers())
_NEVER = object()
_ELSEWHERE: Mapping[type[Record], frozenset[str]] = {
    RoomEvent: frozenset({"room_id", "index"}),
    Room: frozenset({"event_count", "latest_index", "version"}),
    ChannelBinding: frozenset({"room_id"}),
    Participant: frozenset({"room_id"}),
    Task: frozenset({"room_id"}),
    Observation: frozenset({"room_id"}),
    Timer: frozenset({"room_id"}),
    Delivery: frozenset({"id", "room_id", "event_id", "event_index"}),
}
"""Fields that follow from where a row is, or have columns in another table."""


@dataclass(slots=True, frozen=True)
class Column:
    """A column: the field of that name, and its SQL type. `required` is NOT NULL."""

    name: str
    type: str
    required: bool

    @property
    def definition(self) -> str:
        """The column's part of CREATE TABLE. Ids compare as Python's strings do."""
        collation = ' COLLATE "C"' if self.type == "text" else ""
        return f"{self.name} {self.type}{collation}{' NOT NULL' if self.required else ''}"


class Table[R: Record]:
    """A table of records: `columns` in words, each `name type`, with a `!` where it is required."""

    def __init__(self, name: str, model: type[R], columns: str) -> None:
        self.name = name
        self.model = model
        self.columns = tuple(_column(text) for text in f"{columns}, more json".split(","))
        own = {column.name for column in self.columns}
        fields = model.model_fields
        self._encoders = tuple(
            (column.name, _ENCODERS[column.type], _empty(fields[column.name].default))
            for column in self.columns
            if column.name in fields
        )
        self._decoders = tuple((f'"{column.name}":', _DECODERS[column.type]) for column in self.columns[:-1])
        self._rest = tuple(
            (each, fields[each].get_default(call_default_factory=True))
            for each in fields
            if each not in own | _ELSEWHERE.get(model, frozenset()) and not fields[each].exclude
        )

    @property
    def width(self) -> int:
        """How many columns `select` names."""
        return len(self.columns)

    @property
    def definitions(self) -> str:
        """The columns, for CREATE TABLE."""
        return ",\n    ".join(column.definition for column in self.columns)

    def select(self, alias: str) -> str:
        """The columns, for SELECT from an alias of the table."""
        return ", ".join(f"{alias}.{column.name}" for column in self.columns)

    def dump(self, record: R) -> dict[str, Any]:
        """Return the columns of a record, without those that are NULL.

        Raises ValueError for what JSON cannot carry, InvalidInputError for a time out of all calendars.
        """
        row: dict[str, Any] = {}
        more: dict[str, Any] = {}
        state = record.__dict__
        for name, encode, empty in self._encoders:
            value = state[name]
            if value is None or value is empty or value == empty:
                continue
            row[name] = value if encode is None else encode(name, value, more)
        for name, default in self._rest:
            if (value := getattr(record, name)) != default:
                more[name] = value
        if (unknown := record.__pydantic_extra__) is not None:
            more |= unknown
        if more:
            row["more"] = _text(more)
        return row

    def readable(self, row: Row, start: int = 0) -> dict[str, Any]:
        """Return those fields of a row of `select` that are JSON by themselves."""
        columns = zip(self._decoders, row[start : start + len(self._decoders)], strict=True)
        texts = [
            name + (value if decode is None else decode(value))
            for (name, decode), value in columns
            if value is not None
        ]
        found: dict[str, Any] = {}
        for text in texts:
            found |= readable_fields(f"{{{text}}}")
        return found

    def load(self, row: Row, start: int = 0, **known: str) -> R:
        """Return the record of a row of `select`, from column `start` on; `known` fields are JSON."""
        width = len(self.columns)
        parts = [f'"{name}":{value}' for name, value in known.items()]
        parts += [
            name + (value if decode is None else decode(value))
            for (name, decode), value in zip(self._decoders, row[start : start + width], strict=False)
            if value is not None
        ]
        if (more := row[start + width - 1]) is not None:
            parts.append(more[1:-1])  # last, because the last one counts
        try:
            return self.model.from_stored(f"{{{','.join(parts)}}}")
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in error.errors()[:3]]
            raise StoreError(  # without the cause, which would quote what people wrote
                f"a stored {self.model.__name__} ({self.columns[0].name} {row[start]!r}) cannot be read "
                f"({', '.join(wrong)}); if a newer roomkit-core wrote it, upgrade "
                "roomkit-core; nothing was changed"
            ) from None


def encoded(value: Any) -> str:
    """Return JSON for the database.

    Raises InvalidInputError, naming the field, for text that PostgreSQL cannot hold; ValueError for what
    JSON cannot carry.
    """
    text = _text(value, exclude_none=False)
    if "\\u0000" in text and (field := _with_nul(value, "text")) is not None:
        raise InvalidInputError(
            f"{field} has a NUL character, which PostgreSQL cannot hold in a text: leave it out; "
            "nothing was stored"
        )
    return text


def _text(value: Any, *, exclude_none: bool = True) -> str:
    try:
        return to_json(value, exclude_none=exclude_none).decode()
    except ValueError as error:
        raise InvalidInputError(f"a value cannot be stored: {error}; nothing was stored") from error


def _with_nul(value: Any, name: str) -> str | None:
    if isinstance(value, str):
        return name if "\x00" in value else None
    if isinstance(value, Mapping):
        found: Iterable[str | None] = (_with_nul(item, str(key)) for key, item in value.items())
    elif isinstance(value, list | tuple):
        found = (_with_nul(item, name) for item in value)
    else:
        return None
    return next((each for each in found if each is not None), None)


# -- columns ------------------------------------------------------------------------------------

type _Encoder = Callable[[str, Any, dict[str, Any]], Any]


def _encode_json(name: str, value: Any, more: dict[str, Any]) -> str:
    return _text(value)


def _encode_time(name: str, value: datetime, more: dict[str, Any]) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        more[name] = value  # which the column would read as one of UTC
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError(f"{name} is {value}, which no calendar has in UTC") from None


def _encode_int(name: str, value: int, more: dict[str, Any]) -> int:
    if -_LARGEST <= value <= _LARGEST:
        return value
    more[name] = value
    return max(-_LARGEST, min(value, _LARGEST))


def _empty(default: Any) -> Any:
    return default if default in _EMPTY_DEFAULTS else _NEVER


_ENCODERS: Mapping[str, _Encoder | None] = {
    "text": None,
    "boolean": None,
    "float8": None,
    "bigint": _encode_int,
    "timestamptz": _encode_time,
    "json": _encode_json,
}
_DECODERS: Mapping[str, Callable[[Any], str] | None] = {
    "text": _quote,
    "boolean": lambda value: "true" if value else "false",
    "float8": repr,
    "bigint": str,
    "timestamptz": lambda value: f'"{value.isoformat()}"',
    "json": None,
}


def _column(text: str) -> Column:
    name, kind = text.split()
    return Column(name, kind.rstrip("!"), kind.endswith("!"))


# -- tables -------------------------------------------------------------------------------------

ROOMS = Table(
    "roomkit_rooms",
    Room,
    "id text!, organization_id text, status text!, created_at timestamptz!, updated_at timestamptz!, "
    "closed_at timestamptz, timers json, metadata json, ai_config json, agent_response_policy text, "
    "detached_channels json, retention_seconds float8, state json",
)
EVENTS = Table(
    "roomkit_events",
    RoomEvent,
    "id text!, type text!, source json!, content json!, status text!, blocked_by text, block_reason text, "
    "visibility text!, response_visibility text, addressed_to json, chain_depth bigint!, "
    "parent_event_id text, correlation_id text, idempotency_key text, created_at timestamptz!, "
    "metadata json, channel_data json, generation json, amendment json",
)
BINDINGS = Table(
    "roomkit_bindings",
    ChannelBinding,
    "channel_id text!, channel_type text!, category text!, direction text!, access text!, muted boolean!, "
    "visibility text!, participant_id text, last_read_index bigint, attached_at timestamptz!, "
    "capabilities json!, rate_limit json, retry_policy json, length_policy text!, double_text text!, "
    "fold_seconds float8!, metadata json",
)
PARTICIPANTS = Table(
    "roomkit_participants",
    Participant,
    "id text!, channel_id text!, display_name text, role text!, status text!, identification text!, "
    "identity_id text, candidates json, connected_via json, external_id text, resolved_at timestamptz, "
    "resolved_by text, joined_at timestamptz!, metadata json",
)
IDENTITIES = Table(
    "roomkit_identities",
    Identity,
    "id text!, organization_id text, display_name text, email text, phone text, channel_addresses json, "
    "external_id text, external_ids json, metadata json",
)
TASKS = Table(
    "roomkit_tasks",
    Task,
    "id text!, title text!, description text, assigned_to text, status text!, created_at timestamptz!, "
    "metadata json",
)
OBSERVATIONS = Table(
    "roomkit_observations",
    Observation,
    "id text!, channel_id text!, content text!, category text, confidence float8!, "
    "created_at timestamptz!, metadata json",
)
DELIVERIES = Table(
    "roomkit_deliveries",
    Delivery,
    "channel_id text!, state text!, attempts bigint!, provider text, provider_message_id text, parts json, "
    "error json, reason text, receipt text, holder text, claims bigint!, created_at timestamptz!, "
    "finished_at timestamptz, duration_ms float8",
)
IN_LANE = "d.state = 'pending' AND d.room >= 0"
"""What says of a row d of the ledger that it is pending, when it is looked for by its lane."""
IS_HELD = "d.state = 'pending' AND d.claims >= 0"
"""The same, when it is looked for by who holds it."""
TIMERS = Table(
    "roomkit_alarms", Timer, "id text!, kind text!, due_at timestamptz!, data json, claims bigint!"
)

_OF_ROOMS: Mapping[type[Record], Table[Any]] = {
    each.model: each for each in (BINDINGS, PARTICIPANTS, TASKS, OBSERVATIONS)
}


def in_more(field: str) -> str:
    """Return the SQL of a text that is kept in `more`; U+FFFD is in place of NUL anywhere in it."""
    return f"(replace(more::text, '\\u0000', '\\ufffd')::json->>'{field}')"


def table_of[R: Record](model: type[R]) -> Table[R]:
    """Return the table of records of a kind that belong to rooms; its first column is their id."""
    return _OF_ROOMS[model]


def load_record[R: Record](table: Table[R], row: Row, room_id: str) -> R:
    """Return the record of a room of a row of `select`; one that cannot be read has the least rights."""
    try:
        return table.load(row, room_id=_quote(room_id))
    except StoreError:
        known = {table.columns[0].name: row[0], "room_id": room_id}
        return damaged_record(table.model, table.readable(row), known)


def load_timers(rows: Iterable[Row]) -> list[Timer]:
    """Return the timers of rows of `TIMERS.select` and a room id, without those that cannot be read."""
    timers: list[Timer] = []  # bound: the rows
    for row in rows:
        try:
            timers.append(TIMERS.load(row, room_id="null" if row[-1] is None else _quote(row[-1])))
        except StoreError:
            report_timer({"id": row[0], "room_id": row[-1], "kind": row[1]})
    return timers


# -- rooms --------------------------------------------------------------------------------------

HEAD = "h.event_count, h.next_index, h.version, h.last_activity"
"""The columns of `roomkit_heads h` that `load_room` takes after those of `ROOMS`."""


def dump_room(room: Room) -> dict[str, Any]:
    """Return the columns of a room; what moves with each commit is in another table."""
    plain = room.replace(timers=room.timers.replace(last_activity_at=None))
    return {**ROOMS.dump(plain), "facets": facets(room.metadata)}


def load_room(row: Row, start: int = 0) -> Room:
    """Return the room of a row of `ROOMS.select` and `HEAD`."""
    event_count, next_index, version, last_activity = row[start + ROOMS.width : start + ROOMS.width + 4]
    room = ROOMS.load(row, start)
    return room.replace(
        event_count=event_count,
        latest_index=next_index - 1,
        version=version,
        timers=room.timers.replace(last_activity_at=last_activity),
    )


def readable_room(row: Row) -> Room | None:
    """Return the room of a row for `load_room`, for a list of rooms; None when it cannot be read."""
    try:
        return load_room(row)
    except StoreError:
        report_room(row[0])
        return None


def load_identity(row: Row) -> Identity:
    """Return the identity of a row of `IDENTITIES.select`; of a damaged one, the readable part."""
    try:
        return IDENTITIES.load(row)
    except StoreError:
        known = {"id": row[0], "organization_id": row[1]}
        return damaged_record(Identity, IDENTITIES.readable(row), known)


def facets(metadata: Mapping[str, Any]) -> list[str]:
    """Return what rooms are looked for by: for each key one text, the same for equal values.

    Values that are long or nested have no more than their key there.
    """
    return [facet(key, value) for key, value in metadata.items()]


def facet(key: str, value: Any) -> str:
    """Return the text that every room whose metadata has a value equal to this one has as a facet."""
    if isinstance(value, bool | int | float) and value == int(value):
        value = int(value)  # 1, 1.0 and True are equal
    plain = value is None or isinstance(value, str | int | float)
    text = f"{key}={json.dumps(value)}" if plain else f"{key}?"
    if len(text) > _LONGEST_FACET:
        text = f"#{sha256(text.encode()).hexdigest()}"
    return text.replace("\x00", "\ufffd")


# -- events -------------------------------------------------------------------------------------


def dump_event(event: RoomEvent) -> dict[str, Any]:
    """Return the columns of an event, with those that only serve to find it."""
    row = EVENTS.dump(event)
    row["source_channel_id"] = event.source.channel_id
    row["is_history"] = event.is_history
    row["external_id"] = event.source.external_id
    return row


def load_event(room_id: str, row: Row, start: int = 0) -> RoomEvent:
    """Return the event of a row of `EVENTS.select` and its index; an unreadable one is shown as such."""
    index = row[start + EVENTS.width]
    try:
        return EVENTS.load(row, start, room_id=_quote(room_id), index=str(index)).forget_given()
    except StoreError:
        fields = EVENTS.readable(row, start)
        return damaged_event(fields, event_id=row[start], room_id=room_id, index=index)


def unread_event(room_id: str, row: Row) -> UnreadEvent:
    """Return the event of such a row, decoded when it is asked for."""
    return UnreadEvent(row[EVENTS.width], partial(load_event, room_id, row))


# -- the ledger ---------------------------------------------------------------------------------


def load_delivery(row: Row) -> Delivery:
    """Return the row of the ledger of one of `DELIVERIES.select`, room id, event id and event index."""
    room_id, event_id, index = row[DELIVERIES.width : DELIVERIES.width + 3]
    delivery_id = f"{event_id}:{row[0]}"
    try:
        return DELIVERIES.load(
            row,
            id=_quote(delivery_id),
            room_id=_quote(room_id),
            event_id=_quote(event_id),
            event_index=str(index),
        )
    except StoreError:
        known = {
            "id": delivery_id,
            "room_id": room_id,
            "event_id": event_id,
            "event_index": index,
            "channel_id": row[0],
        }
        return damaged_record(Delivery, DELIVERIES.readable(row), known)
