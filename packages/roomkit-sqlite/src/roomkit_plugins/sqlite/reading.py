"""The questions about rooms and people, as they run in a reading connection's thread.

`organization_id` narrows a query to the rooms of one organization; None does not.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import count, islice
from typing import Any

from roomkit.abc.store import RECENT_SCAN, EventQuery, RoomQuery
from roomkit.models.base import Record as Model
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import ChannelType, EventStatus, EventType, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.visibility import sees
from roomkit_plugins.sql.cached import Counters, Known, Reading, UnreadEvent
from roomkit_plugins.sql.filters import bounded, clamp, has_metadata, statuses
from roomkit_plugins.sql.pages import EVERYTHING, RecordPage
from roomkit_plugins.sql.refusals import no_binding, no_cursor, no_room
from roomkit_plugins.sqlite.rows import (
    COUNTERS,
    EVENT,
    ROOM,
    counters_of,
    event_of,
    readable_room,
    record_of,
    room_of,
)
from roomkit_plugins.sqlite.sql import Conditions, column, marks, one, snapshot

__all__ = [
    "bound_room_ids",
    "count_events",
    "count_unread",
    "find_event",
    "find_event_by_key",
    "find_keyed_event",
    "find_latest_room",
    "find_participants",
    "first_unknown",
    "get_event",
    "get_identity",
    "get_room",
    "get_task",
    "list_marks",
    "messages",
    "query_events",
    "query_rooms",
    "read_room",
    "record_of_room",
    "records_of_room",
    "resolve_identity",
    "room_ids_by_address",
    "room_ids_by_channel",
    "room_ids_by_sender",
]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_ .-]+")
_GLANCE = (
    f"SELECT {COUNTERS}, {EVENT} FROM rooms "
    "LEFT JOIN events e ON e.room = rooms.seq AND e.idempotency_key = ? WHERE rooms.id = ?"
)


# -- one room -----------------------------------------------------------------------------------


def read_room(
    connection: sqlite3.Connection, room_id: str, known: Known, recent: int, key: str | None = None
) -> Reading | None:
    """Read the parts of a room that are not cached: mostly one row of numbers, and the event of the key.

    When its numbers moved, the messages that were added are read; when its version did, everything is.
    """
    reading = _glance(connection, room_id, key)
    if reading is None or _is_current(reading, known, recent):
        return reading
    with snapshot(connection):
        reading = _glance(connection, room_id, key)
        if reading is None:
            return None
        counters = reading.counters
        if (counters.seq, counters.version) != (known.seq, known.version):
            reading.room = get_room(connection, room_id)
            reading.bindings = {
                each.channel_id: each for each in records_of_room(connection, ChannelBinding, room_id)
            }
            reading.participants = {
                each.id: each for each in records_of_room(connection, Participant, room_id)
            }
        reading.tail_size = max(recent, known.tail)
        since = 0
        if reading.room is None and recent <= known.tail:
            since = first_unknown(known, counters.edition, counters.next_index)
            reading.is_growth = since > 0
        reading.tail = messages(connection, room_id, counters, reading.tail_size, since, counters.next_index)
        return reading


def _glance(connection: sqlite3.Connection, room_id: str, key: str | None) -> Reading | None:
    row = one(connection, _GLANCE, (key, room_id))
    if row is None:
        return None
    keyed = event_of(room_id, row[6:]) if row[6] is not None else None
    if keyed is not None and keyed.idempotency_key is None:  # damaged: the index still has its key
        keyed = keyed.replace(idempotency_key=key)
    return Reading(counters_of(row[:6]), keyed=keyed)


def _is_current(reading: Reading, known: Known, recent: int) -> bool:
    now = reading.counters
    return (now.seq, now.edition) == (known.seq, known.edition) and recent <= known.tail


def first_unknown(known: Known, edition: int, next_index: int) -> int:
    """Return the index from which a room's messages have to be read, if its version stands.

    Those before are as they were `known` if each write since then added an event: one of an older version
    of this package may have changed some, and left the version as it was.
    """
    return known.next_index if edition - known.edition <= next_index - known.next_index else 0


def messages(
    connection: sqlite3.Connection, room_id: str, counters: Counters, size: int, since: int, until: int
) -> list[UnreadEvent]:
    """Return the newest messages from one index to before another, the oldest first."""
    rows = connection.execute(
        f"SELECT {EVENT} FROM events e WHERE room = ? AND idx >= ? AND idx < ? AND type = ? AND status <> ? "
        "AND NOT deleted ORDER BY idx DESC LIMIT ?",
        (
            counters.seq,
            max(since, until - size * RECENT_SCAN),
            until,
            EventType.MESSAGE.value,
            EventStatus.BLOCKED.value,
            size,
        ),
    ).fetchall()
    return [UnreadEvent(row[2], partial(event_of, room_id, row)) for row in reversed(rows)]


def get_room(connection: sqlite3.Connection, room_id: str, organization_id: str | None = None) -> Room | None:
    """Return a room."""
    conditions = Conditions()
    conditions.all("r.id = ?", room_id)
    conditions.given("r.organization_id = ?", organization_id)
    row = one(connection, f"SELECT {ROOM} FROM rooms r {conditions}", conditions.values)
    return None if row is None else room_of(row)


# -- many rooms ---------------------------------------------------------------------------------


def query_rooms(connection: sqlite3.Connection, query: RoomQuery) -> list[Room]:
    """Return a page of rooms. Of metadata SQL narrows what it can, and equality decides."""
    conditions = Conditions()
    conditions.given("r.organization_id = ?", query.organization_id)
    conditions.given("r.status = ?", None if query.status is None else str(query.status))
    if query.after is not None:
        place = one(connection, "SELECT seq, organization_id FROM rooms WHERE id = ?", (query.after,))
        if place is None or query.organization_id not in (None, place[1]):
            raise no_cursor("room", query.after)
        conditions.all("r.seq > ?", place[0])
    for key, value in query.metadata.items():
        _narrow(conditions, key, value)
    sql = f"SELECT {ROOM} FROM rooms r {conditions} ORDER BY r.seq"
    with closing(connection.execute(sql, conditions.values)) as found:
        readable = (room for row in found if (room := readable_room(row)) is not None)
        rooms = (room for room in readable if has_metadata(room, query.metadata))
        return list(islice(rooms, clamp(query.offset), clamp(query.offset) + clamp(query.limit)))


def _narrow(conditions: Conditions, key: str, value: object) -> None:
    if not _PLAIN_KEY.fullmatch(key):
        return
    path = f'$.metadata."{key}"'
    data = "CASE WHEN json_valid(r.data) THEN r.data END"  # one damaged row would fail the whole query
    if value is None:
        conditions.all(f"json_type({data}, '{path}') = 'null'")
    elif isinstance(value, str) and value.isascii() and value.isprintable():
        conditions.all(f"json_extract({data}, '{path}') = ?", value)
    elif isinstance(value, int) and abs(value) < 2**53:
        conditions.all(f"json_extract({data}, '{path}') = ?", int(value))
    else:
        conditions.all(f"json_type({data}, '{path}') IS NOT NULL")


def find_latest_room(
    connection: sqlite3.Connection,
    participant_id: str,
    channel_type: ChannelType | None,
    status: RoomStatus | str | None,
    organization_id: str | None,
) -> Room | None:
    """Return the newest room of a person."""
    conditions = Conditions()
    conditions.given("r.organization_id = ?", organization_id)
    conditions.all(
        "r.seq IN (SELECT room FROM participants WHERE id = ? "
        "UNION SELECT room FROM bindings WHERE participant_id = ?)",
        participant_id,
        participant_id,
    )
    _with_status(conditions, status)
    conditions.given(
        "EXISTS (SELECT 1 FROM bindings b WHERE b.room = r.seq AND b.channel_type = ?)",
        None if channel_type is None else str(channel_type),
    )
    sql = f"SELECT {ROOM} FROM rooms r {conditions} ORDER BY r.created_at DESC, r.seq LIMIT 1 OFFSET ?"
    for offset in count():
        row = one(connection, sql, (*conditions.values, offset))
        if row is None or (room := readable_room(row)) is not None:
            return None if row is None else room
    raise AssertionError("unreachable")


def room_ids_by_sender(
    connection: sqlite3.Connection, channel_id: str, sender_id: str, limit: int, organization_id: str | None
) -> list[str]:
    """Return the open rooms a sender came to by a channel that is still there, the last active first."""
    conditions = Conditions()
    conditions.all(
        "r.seq IN (SELECT s.room FROM senders s WHERE s.channel_id = ? AND s.sender_id = ? AND EXISTS "
        "(SELECT 1 FROM bindings b WHERE b.room = s.room AND b.channel_id = s.channel_id) "
        "UNION SELECT room FROM bindings WHERE channel_id = ? AND participant_id = ?)",
        channel_id,
        sender_id,
        channel_id,
        sender_id,
    )
    return _last_active(connection, conditions, limit, organization_id)


def room_ids_by_address(
    connection: sqlite3.Connection,
    channel_id: str,
    address: str,
    limit: int,
    organization_id: str | None,
    closed: bool,
) -> list[str]:
    """Return the rooms, open or any, where a channel's binding has an address, the last active first."""
    conditions = Conditions()
    conditions.all(
        "r.seq IN (SELECT room FROM bindings WHERE address = ? AND channel_id = ?)",
        address,
        channel_id,
    )
    return _last_active(connection, conditions, limit, organization_id, closed)


def bound_room_ids(
    connection: sqlite3.Connection, address: str, organization_id: str | None, limit: int, after: str | None
) -> list[str]:
    """Return the rooms where a binding has an address, by their ids."""
    conditions = Conditions()
    conditions.all("r.seq IN (SELECT room FROM bindings WHERE address = ?)", address)
    conditions.given("r.organization_id = ?", organization_id)
    conditions.given("r.id > ?", after)
    sql = f"SELECT r.id FROM rooms r {conditions} ORDER BY r.id LIMIT ?"
    return column(connection, sql, (*conditions.values, clamp(limit)))


def _last_active(
    connection: sqlite3.Connection,
    conditions: Conditions,
    limit: int,
    organization_id: str | None,
    closed: bool = False,
) -> list[str]:
    conditions.given("r.organization_id = ?", organization_id)
    if not closed:
        _with_status(conditions, None)
    sql = (
        f"SELECT r.id FROM rooms r {conditions} "
        "ORDER BY coalesce(r.last_activity, r.created_at) DESC, r.seq LIMIT ?"
    )
    return column(connection, sql, (*conditions.values, clamp(limit)))


def room_ids_by_channel(
    connection: sqlite3.Connection,
    channel_id: str,
    status: RoomStatus | str | None,
    limit: int,
    organization_id: str | None,
) -> list[str]:
    """Return the rooms a channel is attached to, in order of creation."""
    conditions = Conditions()
    conditions.all("b.channel_id = ?", channel_id)
    conditions.given("r.organization_id = ?", organization_id)
    _with_status(conditions, status)
    sql = (
        "SELECT r.id FROM bindings b INDEXED BY bindings_by_channel JOIN rooms r ON r.seq = b.room "
        f"{conditions} ORDER BY b.room LIMIT ?"
    )
    return column(connection, sql, (*conditions.values, clamp(limit)))


def _with_status(conditions: Conditions, status: RoomStatus | str | None) -> None:
    wanted = statuses(status)
    conditions.all(f"r.status IN ({marks(wanted)})", *wanted)


# -- timelines ----------------------------------------------------------------------------------


# Without its Z, a time without a fraction is before those with one, as it should be.
_TIME = "CASE WHEN json_valid(e.data) THEN rtrim(json_extract(e.data, '$.created_at'), 'Z') END"


def query_events(connection: sqlite3.Connection, query: EventQuery) -> list[RoomEvent]:
    """Return a page of a timeline; what a reader may see is decided by `sees` alone."""
    conditions = Conditions()
    conditions.all("e.room = (SELECT seq FROM rooms WHERE id = ?)", query.room_id)
    conditions.given("e.idx > ?", bounded(query.after_index))
    conditions.given("e.idx < ?", bounded(query.before_index))
    conditions.given("e.visibility = ?", query.visibility)
    if query.types is not None:
        types = sorted(str(each) for each in query.types)
        conditions.all(f"e.type IN ({marks(types)})", *types)
    order = "DESC" if query.newest_first else "ASC"
    time = f"{_TIME} {order}, " if query.by_time else ""
    sql = f"SELECT {EVENT} FROM events e {conditions} ORDER BY {time}e.idx {order}"
    offset, limit = clamp(query.offset), clamp(query.limit)
    reader = query.reader
    if reader is None:
        found = connection.execute(f"{sql} LIMIT ? OFFSET ?", (*conditions.values, limit, offset)).fetchall()
        return [event_of(query.room_id, row) for row in found]
    with closing(connection.execute(sql, conditions.values)) as rows:
        events = (event_of(query.room_id, row) for row in rows)
        return list(islice((event for event in events if sees(reader, event)), offset, offset + limit))


def get_event(connection: sqlite3.Connection, event_id: str, organization_id: str | None) -> RoomEvent | None:
    """Return an event."""
    conditions = Conditions()
    conditions.all("e.id = ?", event_id)
    conditions.given("r.organization_id = ?", organization_id)
    sql = f"SELECT {EVENT}, r.id FROM events e JOIN rooms r ON r.seq = e.room {conditions}"
    row = one(connection, sql, conditions.values)
    return None if row is None else event_of(row[4], row[:4])


def find_event_by_key(connection: sqlite3.Connection, room_id: str, key: str) -> RoomEvent | None:
    """Return the event of a room that has an idempotency key."""
    sql = (
        f"SELECT {EVENT} FROM events e WHERE e.room = (SELECT seq FROM rooms WHERE id = ?) "
        "AND e.idempotency_key = ?"
    )
    row = one(connection, sql, (room_id, key))
    return None if row is None else event_of(room_id, row)


def find_keyed_event(
    connection: sqlite3.Connection, key: str, organization_id: str | None
) -> RoomEvent | None:
    """Return the newest event of any room that has an idempotency key."""
    row = one(
        connection,
        f"SELECT r.id, {EVENT} FROM events e INDEXED BY events_by_any_key JOIN rooms r ON r.seq = e.room "
        "WHERE e.idempotency_key = ? AND (? IS NULL OR r.organization_id = ?) ORDER BY e.seq DESC LIMIT 1",
        (key, organization_id, organization_id),
    )
    return None if row is None else event_of(row[0], row[1:])


def find_event(
    connection: sqlite3.Connection, channel_id: str, external_id: str, organization_id: str | None
) -> RoomEvent | None:
    """Return the newest event of any room that a channel brought in under a vendor's id."""
    row = one(
        connection,
        f"SELECT r.id, {EVENT} FROM events e JOIN rooms r ON r.seq = e.room WHERE e.external_id = ? "
        "AND e.channel_id = ? AND (? IS NULL OR r.organization_id = ?) ORDER BY e.seq DESC LIMIT 1",
        (external_id, channel_id, organization_id, organization_id),
    )
    return None if row is None else event_of(row[0], row[1:])


def count_events(connection: sqlite3.Connection, room_id: str) -> int:
    """Return how many events a room has."""
    row = one(connection, "SELECT event_count FROM rooms WHERE id = ?", (room_id,))
    return 0 if row is None else int(row[0])


def count_unread(connection: sqlite3.Connection, room_id: str, channel_id: str) -> int:
    """Return how many messages a channel has yet to read.

    What decides visibility besides the channel is the same within a group, so one of it is shown to
    `sees` on behalf of all.
    """
    with snapshot(connection):
        if one(connection, "SELECT 1 FROM rooms WHERE id = ?", (room_id,)) is None:
            raise no_room(room_id)
        reader = record_of_room(connection, ChannelBinding, room_id, channel_id)
        if reader is None:
            raise no_binding(room_id, channel_id)
        groups = connection.execute(
            f"SELECT {EVENT}, count(*) FROM events e JOIN rooms r ON r.seq = e.room WHERE r.id = ? "
            "AND e.idx > coalesce((SELECT idx FROM read_marks WHERE room = r.seq AND channel_id = ?), -1) "
            "AND e.channel_id <> ? AND e.type = ? AND e.status <> ? AND NOT e.deleted "
            "GROUP BY e.visibility, e.status",
            (room_id, channel_id, channel_id, EventType.MESSAGE.value, EventStatus.BLOCKED.value),
        ).fetchall()
        return sum(row[4] for row in groups if sees(reader, event_of(room_id, row[:4])))


# -- everything that belongs to a room ----------------------------------------------------------

_TABLES: Mapping[type[Model], str] = {
    ChannelBinding: "bindings",
    Participant: "participants",
    Task: "tasks",
    Observation: "observations",
}


def records_of_room[R: Model](
    connection: sqlite3.Connection, model: type[R], room_id: str, page: RecordPage = EVERYTHING
) -> list[R]:
    """Return a page of the bindings, participants, tasks or observations of a room, in order of insertion."""
    conditions = Conditions()
    conditions.all("room = (SELECT seq FROM rooms WHERE id = ?)", room_id)
    conditions.given("status = ?", None if page.status is None else str(page.status))
    key, table = _key_of(model), _TABLES[model]
    if page.after is not None:
        sql = f"SELECT seq FROM {table} WHERE room = (SELECT seq FROM rooms WHERE id = ?) AND {key} = ?"
        found = one(connection, sql, (room_id, page.after))
        if found is None:
            raise no_cursor(model.__name__.lower(), page.after)
        conditions.all("seq > ?", found[0])
    conditions.values.append(-1 if page.limit is None else clamp(page.limit))  # SQLite: -1 is no limit
    sql = f"SELECT data, {key} FROM {table} {conditions} ORDER BY seq LIMIT ?"
    return [
        record_of(model, data, {key: own_id, "room_id": room_id})
        for data, own_id in connection.execute(sql, conditions.values).fetchall()
    ]


def record_of_room[R: Model](
    connection: sqlite3.Connection, model: type[R], room_id: str, own_id: str
) -> R | None:
    """Return one of the bindings or participants of a room."""
    key = _key_of(model)
    sql = f"SELECT data FROM {_TABLES[model]} WHERE room = (SELECT seq FROM rooms WHERE id = ?) AND {key} = ?"
    row = one(connection, sql, (room_id, own_id))
    return None if row is None else record_of(model, row[0], {key: own_id, "room_id": room_id})


def _key_of(model: type[Model]) -> str:
    return "channel_id" if model is ChannelBinding else "id"


def find_participants(
    connection: sqlite3.Connection,
    participant_id: str | None,
    identity_id: str | None,
    organization_id: str | None,
    limit: int,
    after: tuple[str, str] | None,
) -> list[Participant]:
    """Return a person's participations, by room id and participant id."""
    conditions = Conditions()
    conditions.given("p.id = ?", participant_id)
    if identity_id is not None:  # as the index on it says it
        conditions.all("json_extract(p.data, '$.identity_id') = ?", identity_id)
    conditions.given("r.organization_id = ?", organization_id)
    if after is not None:
        conditions.all("(r.id, p.id) > (?, ?)", *after)
    sql = (
        f"SELECT p.data, p.id, r.id FROM participants p JOIN rooms r ON r.seq = p.room {conditions} "
        "ORDER BY r.id, p.id LIMIT ?"
    )
    rows = connection.execute(sql, (*conditions.values, clamp(limit))).fetchall()
    return [record_of(Participant, data, {"id": own_id, "room_id": room}) for data, own_id, room in rows]


def get_task(connection: sqlite3.Connection, task_id: str, organization_id: str | None) -> Task | None:
    """Return a task."""
    conditions = Conditions()
    conditions.all("t.id = ?", task_id)
    conditions.given("r.organization_id = ?", organization_id)
    sql = f"SELECT t.data, r.id FROM tasks t JOIN rooms r ON r.seq = t.room {conditions}"
    row = one(connection, sql, conditions.values)
    return None if row is None else record_of(Task, row[0], {"id": task_id, "room_id": row[1]})


def get_identity(
    connection: sqlite3.Connection, identity_id: str, organization_id: str | None
) -> Identity | None:
    """Return an identity."""
    conditions = Conditions()
    conditions.all("id = ?", identity_id)
    conditions.given("organization_id = ?", organization_id)
    return _identity(connection, str(conditions), conditions.values)


def resolve_identity(
    connection: sqlite3.Connection, organization_id: str, channel_type: str, address: str
) -> Identity | None:
    """Return who has an address in an organization."""
    return _identity(
        connection,
        "WHERE id = (SELECT identity FROM identity_addresses WHERE organization_id = ? AND channel_type = ? "
        "AND address = ?)",
        (organization_id, channel_type, address),
    )


def _identity(connection: sqlite3.Connection, condition: str, values: Sequence[Any]) -> Identity | None:
    row = one(connection, f"SELECT data, id, organization_id FROM identities {condition}", values)
    if row is None:
        return None
    data, own_id, organization_id = row
    return record_of(Identity, data, {"id": own_id, "organization_id": organization_id or None})


def list_marks(connection: sqlite3.Connection, room_id: str) -> dict[str, int]:
    """Return the read marks of a room by channel."""
    return dict(
        connection.execute(
            "SELECT channel_id, idx FROM read_marks WHERE room = (SELECT seq FROM rooms WHERE id = ?)",
            (room_id,),
        ).fetchall()
    )
