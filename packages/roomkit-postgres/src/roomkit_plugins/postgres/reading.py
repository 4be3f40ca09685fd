"""The questions: each is one statement, but for lists that only Python can filter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime
from itertools import count
from typing import Any

from roomkit.abc.store import EventQuery, HomeRecord, RoomQuery
from roomkit.abc.store.media import MediaUse
from roomkit.models.base import Record
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType, RoomStatus
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit.models.values import findable
from roomkit.models.visibility import sees
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.rows import (
    BINDINGS,
    EVENTS,
    HEAD,
    IDENTITIES,
    PARTICIPANTS,
    ROOMS,
    TIMERS,
    Table,
    facet,
    in_more,
    load_event,
    load_identity,
    load_record,
    load_room,
    load_timers,
    readable_room,
)
from roomkit_plugins.postgres.where import Where
from roomkit_plugins.postgres.writing import Basis, home_of
from roomkit_plugins.sql.filters import bounded, clamp, has_metadata, statuses
from roomkit_plugins.sql.pages import EVERYTHING, RecordPage
from roomkit_plugins.sql.refusals import no_binding, no_cursor, no_room

__all__ = [
    "ALIVE",
    "EVENT",
    "bound_room_ids",
    "count_unread",
    "events_to_move",
    "find_event",
    "find_external_event",
    "find_keyed_event",
    "find_latest_room",
    "find_participants",
    "find_record",
    "find_timers",
    "get_basis",
    "get_identity",
    "get_room",
    "home",
    "query_events",
    "query_rooms",
    "record_of_room",
    "records_of_room",
    "room_ids_by_address",
    "room_ids_by_channel",
    "room_ids_by_sender",
    "timers_by_seq",
    "timers_of_room",
]

_CHUNK = 200
ALIVE = "l.renewed_at <= clock_timestamp() + interval '1 second' AND clock_timestamp() < l.ends_at"
EVENT = f"{EVENTS.select('e')}, e.idx"
_ROOM = f"{ROOMS.select('r')}, {HEAD}"
_ROOMS = "roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq"

type Row = Sequence[Any]


# -- one room -----------------------------------------------------------------------------------


async def get_room(database: Database, room_id: str, organization_id: str | None) -> Room | None:
    """Return a room."""
    where = Where()
    where.all("r.id = {}", room_id)
    where.given("r.organization_id = {}", organization_id)
    row = await database.fetchrow(f"SELECT {_ROOM} FROM {_ROOMS} {where}", *where.values)
    return None if row is None else load_room(row)


async def get_basis(database: Database, room_id: str, event_ids: Sequence[str]) -> Basis:
    """Return a room and some of its events, as of one moment. Raises RoomNotFoundError."""
    row = await database.fetchrow(
        f"SELECT {_ROOM}, ARRAY(SELECT ROW({EVENT}) FROM roomkit_events e WHERE e.room = r.seq "
        f"AND e.id = ANY($2::text[])) FROM {_ROOMS} WHERE r.id = $1",
        room_id,
        event_ids,
    )
    if row is None:
        raise no_room(room_id)
    events = [load_event(room_id, each) for each in row[-1]]
    return Basis(load_room(row), {event.id: event for event in events})


async def events_to_move(database: Database, room_id: str, event_ids: Sequence[str]) -> tuple[int, list[Row]]:
    """Return a room's edition, and of those of the events that it has what a move changes, in this order.

    Raises RoomNotFoundError.
    """
    row = await database.fetchrow(
        "SELECT h.edition, ARRAY(SELECT ROW(e.id, e.idx, e.source::text, e.more::text, e.idempotency_key) "
        "FROM unnest($2::text[]) WITH ORDINALITY AS g (id, place) JOIN roomkit_events e ON e.id = g.id "
        "WHERE e.room = h.room ORDER BY g.place) FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq "
        "WHERE r.id = $1",
        room_id,
        event_ids,
    )
    if row is None:
        raise no_room(room_id)
    return row[0], list(row[1])


# -- many rooms ---------------------------------------------------------------------------------


async def query_rooms(database: Database, query: RoomQuery) -> list[Room]:
    """Return a page of rooms. Of metadata the facets narrow, and equality decides."""
    where = Where()
    where.given("r.organization_id = {}", query.organization_id)
    where.given("r.status = {}", None if query.status is None else str(query.status))
    if query.metadata:
        where.all("r.facets @> {}::text[]", [facet(key, value) for key, value in query.metadata.items()])
    place = -1
    if query.after is not None:
        row = await database.fetchrow(
            "SELECT seq FROM roomkit_rooms WHERE id = $1 AND ($2::text IS NULL OR organization_id = $2)",
            query.after,
            query.organization_id,
        )
        if row is None:
            raise no_cursor("room", query.after)
        place = row[0]
    found: list[Room] = []  # bound: the page
    skip, wanted = clamp(query.offset), clamp(query.limit)
    while len(found) < wanted:
        page = Where(where)
        page.all("r.seq > {}", place)
        # Without metadata most rows are readable, and so on the page. A room that cannot be read
        # does not count for the offset either: else a room would be on two pages.
        chunk = _CHUNK if query.metadata else wanted - len(found) + min(skip, _CHUNK)
        rows = await database.fetch(
            f"SELECT {_ROOM}, r.seq FROM {_ROOMS} {page} ORDER BY r.seq LIMIT {page.value(chunk)}",
            *page.values,
        )
        readable = [room for row in rows if (room := readable_room(row)) is not None]
        rooms = [room for room in readable if has_metadata(room, query.metadata)]
        found += rooms[skip : skip + wanted - len(found)]
        skip = max(0, skip - len(rooms))
        if len(rows) < chunk:
            break
        place = rows[-1][-1]
    return found


async def find_latest_room(
    database: Database,
    participant_id: str,
    channel_type: ChannelType | None,
    status: RoomStatus | str | None,
    organization_id: str | None,
) -> Room | None:
    """Return the newest room of a person."""
    where = Where()
    who = where.value(participant_id)
    theirs = (
        f"SELECT p.room FROM roomkit_participants p WHERE p.id = {who} "
        f"UNION SELECT b.room FROM roomkit_bindings b WHERE b.participant_id = {who}"
    )
    _with_status(where, status)
    where.given("r.organization_id = {}", organization_id)
    where.given(
        "EXISTS (SELECT FROM roomkit_bindings b WHERE b.room = r.seq AND b.channel_type = {})",
        None if channel_type is None else str(channel_type),
    )
    sql = f"SELECT {_ROOM} FROM {_rooms_of(theirs)} {where} ORDER BY r.created_at DESC, r.seq LIMIT 1"
    for offset in count():
        row = await database.fetchrow(f"{sql} OFFSET {offset}", *where.values)
        if row is None or (room := readable_room(row)) is not None:
            return None if row is None else room
    raise AssertionError("unreachable")


async def room_ids_by_sender(
    database: Database, channel_id: str, sender_id: str, limit: int, organization_id: str | None
) -> list[str]:
    """Return the open rooms a sender came to by a channel that is still there, the last active first."""
    where = Where()
    channel, who = where.value(channel_id), where.value(sender_id)
    theirs = (
        f"SELECT s.room FROM roomkit_senders s JOIN roomkit_bindings b ON b.room = s.room "
        f"AND b.channel_id = s.channel_id WHERE s.channel_id = {channel} AND s.sender_id = {who} "
        f"UNION SELECT b.room FROM roomkit_bindings b WHERE b.channel_id = {channel} "
        f"AND b.participant_id = {who}"
    )
    return await _last_active(database, where, theirs, limit, organization_id)


async def room_ids_by_address(
    database: Database, channel_id: str, address: str, limit: int, organization_id: str | None, closed: bool
) -> list[str]:
    """Return the rooms, open or any, where a channel's binding has an address, the last active first."""
    where = Where()
    there = (
        f"SELECT room FROM roomkit_bindings WHERE {in_more('address')} = {where.value(address)} "
        f"AND channel_id = {where.value(channel_id)}"
    )
    return await _last_active(database, where, there, limit, organization_id, closed)


async def bound_room_ids(
    database: Database, address: str, organization_id: str | None, limit: int, after: str | None
) -> list[str]:
    """Return the rooms where a binding has an address, by their ids."""
    where = Where()
    where.all(f"r.seq IN (SELECT room FROM roomkit_bindings WHERE {in_more('address')} = {{}})", address)
    where.given("r.organization_id = {}", organization_id)
    where.given("r.id > {}", after)
    rows = await database.fetch(
        f"SELECT r.id FROM roomkit_rooms r {where} ORDER BY r.id LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [row[0] for row in rows]


async def _last_active(
    database: Database,
    where: Where,
    numbers: str,
    limit: int,
    organization_id: str | None,
    closed: bool = False,
) -> list[str]:
    if not closed:
        _with_status(where, None)
    where.given("r.organization_id = {}", organization_id)
    rows = await database.fetch(
        f"SELECT r.id FROM {_rooms_of(numbers)} {where} "
        f"ORDER BY coalesce(h.last_activity, r.created_at) DESC, r.seq "
        f"LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [row[0] for row in rows]


async def room_ids_by_channel(
    database: Database,
    channel_id: str,
    status: RoomStatus | str | None,
    limit: int,
    organization_id: str | None,
) -> list[str]:
    """Return the rooms a channel is attached to, in order of creation."""
    where = Where()
    where.all("b.channel_id = {}", channel_id)
    _with_status(where, status)
    where.given("r.organization_id = {}", organization_id)
    rows = await database.fetch(
        f"SELECT r.id FROM roomkit_bindings b JOIN roomkit_rooms r ON r.seq = b.room {where} "
        f"ORDER BY b.room LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [row[0] for row in rows]


def _rooms_of(numbers: str) -> str:
    return f"({numbers}) AS of JOIN roomkit_rooms r ON r.seq = of.room JOIN roomkit_heads h ON h.room = r.seq"


def _with_status(where: Where, status: RoomStatus | str | None) -> None:
    where.all("r.status = ANY({}::text[])", statuses(status))


# -- timelines ----------------------------------------------------------------------------------


async def query_events(database: Database, query: EventQuery) -> list[RoomEvent]:
    """Return a page of a timeline; what a reader may see is decided by `sees` alone."""
    skip, wanted = clamp(query.offset), clamp(query.limit)
    if query.reader is None:
        return await _page(database, query, None, skip, wanted)
    found: list[RoomEvent] = []  # bound: the page
    async for event in _events(database, query):
        if len(found) == wanted:
            break
        if not sees(query.reader, event):
            continue
        if skip:
            skip -= 1
        else:
            found.append(event)
    return found


async def _events(database: Database, query: EventQuery) -> AsyncIterator[RoomEvent]:
    place: int | None = None
    passed = 0
    while True:
        page = await _page(database, query, place, passed, _CHUNK)
        for event in page:
            yield event
        if len(page) < _CHUNK:
            return
        if query.by_time:
            passed += _CHUNK
        else:
            place = page[-1].index


async def _page(
    database: Database, query: EventQuery, place: int | None, offset: int, limit: int
) -> list[RoomEvent]:
    where = Where()
    where.all("e.room = (SELECT seq FROM roomkit_rooms WHERE id = {})", query.room_id)
    where.given("e.idx > {}", bounded(query.after_index))
    where.given("e.idx < {}", bounded(query.before_index))
    where.given("e.idx < {}" if query.newest_first else "e.idx > {}", place)
    where.given("e.visibility = {}", query.visibility)
    if query.types is not None:
        where.all("e.type = ANY({}::text[])", sorted(str(each) for each in query.types))
    order = "DESC" if query.newest_first else "ASC"
    time = f"e.created_at {order}, " if query.by_time else ""
    rows = await database.fetch(
        f"SELECT {EVENT} FROM roomkit_events e {where} ORDER BY {time}e.idx {order} "
        f"OFFSET {where.value(offset)} LIMIT {where.value(limit)}",
        *where.values,
    )
    return [load_event(query.room_id, row) for row in rows]


async def find_event(
    database: Database,
    *,
    event_id: str | None = None,
    room_id: str | None = None,
    key: str | None = None,
    organization_id: str | None = None,
) -> RoomEvent | None:
    """Return the event of an id, or of a room's idempotency key."""
    where = Where()
    where.given("e.id = {}", event_id)
    where.given("r.id = {}", room_id)
    where.given("e.idempotency_key = {}", key)
    where.given("r.organization_id = {}", organization_id)
    row = await database.fetchrow(
        f"SELECT {EVENT}, r.id FROM roomkit_events e JOIN roomkit_rooms r ON r.seq = e.room {where}",
        *where.values,
    )
    return None if row is None else load_event(row[-1], row)


_UNREAD = f"""
SELECT ARRAY(SELECT ROW({BINDINGS.select("b")}) FROM roomkit_bindings b
        WHERE b.room = r.seq AND b.channel_id = $2),
    ARRAY(SELECT ROW(e.visibility, count(*)) FROM roomkit_events e
        WHERE e.room = r.seq AND e.is_history AND e.source_channel_id <> $2
        AND e.idx > coalesce((
            SELECT m.idx FROM roomkit_read_marks m WHERE m.room = r.seq AND m.channel_id = $2
        ), -1)
        GROUP BY e.visibility)
FROM roomkit_rooms r WHERE r.id = $1
"""


async def count_unread(database: Database, room_id: str, channel_id: str) -> int:
    """Return how many messages a channel has yet to read.

    Messages of others differ for a reader only by their visibility, so one stands for all that share it.
    """
    row = await database.fetchrow(_UNREAD, room_id, channel_id)
    if row is None:
        raise no_room(room_id)
    bindings, groups = row
    if not bindings:
        raise no_binding(room_id, channel_id)
    reader = load_record(BINDINGS, bindings[0], room_id)
    source = EventSource(channel_id=f"not {channel_id}", channel_type=ChannelType.SYSTEM)
    sample = RoomEvent(room_id=room_id, source=source, content=TextContent(body=""))
    return sum(count for visibility, count in groups if sees(reader, sample.replace(visibility=visibility)))


# -- everything that belongs to a room ----------------------------------------------------------


_OF_ROOM = "t.room = (SELECT seq FROM roomkit_rooms WHERE id = {})"


async def records_of_room[R: Record](
    database: Database,
    table: Table[R],
    room_id: str,
    page: RecordPage = EVERYTHING,
) -> list[R]:
    """Return a page of the records of a table that belong to a room, in order of insertion."""
    where = Where()
    where.all(_OF_ROOM, room_id)
    where.given("t.status = {}", None if page.status is None else str(page.status))
    if page.after is not None:
        own_id = table.columns[0].name
        sql = f"SELECT seq FROM {table.name} t WHERE {_OF_ROOM.format('$1')} AND t.{own_id} = $2"
        found = await database.fetch(sql, room_id, page.after)
        if not found:
            raise no_cursor(table.model.__name__.lower(), page.after)
        where.all("t.seq > {}", found[0]["seq"])
    limit = "" if page.limit is None else f"LIMIT {where.value(clamp(page.limit))}"
    rows = await database.fetch(
        f"SELECT {table.select('t')} FROM {table.name} t {where} ORDER BY seq {limit}", *where.values
    )
    return [load_record(table, row, room_id) for row in rows]


async def record_of_room[R: Record](
    database: Database, table: Table[R], room_id: str, own_id: str
) -> R | None:
    """Return the record of a room with that id, which is in the table's first column."""
    where = Where()
    where.all(_OF_ROOM, room_id)
    where.all(f"t.{table.columns[0].name} = {{}}", own_id)
    rows = await database.fetch(f"SELECT {table.select('t')} FROM {table.name} t {where}", *where.values)
    return load_record(table, rows[0], room_id) if rows else None


async def find_record[R: Record](
    database: Database, table: Table[R], record_id: str, organization_id: str | None
) -> R | None:
    """Return the record of an id that is unique over all rooms."""
    where = Where()
    where.all("t.id = {}", record_id)
    where.given("r.organization_id = {}", organization_id)
    row = await database.fetchrow(
        f"SELECT {table.select('t')}, r.id FROM {table.name} t "
        f"JOIN roomkit_rooms r ON r.seq = t.room {where}",
        *where.values,
    )
    return None if row is None else load_record(table, row, row[-1])


async def find_participants(
    database: Database,
    participant_id: str | None,
    identity_id: str | None,
    organization_id: str | None,
    limit: int,
    after: tuple[str, str] | None,
) -> list[Participant]:
    """Return a person's participations, by room id and participant id."""
    where = Where()
    where.given("p.id = {}", participant_id)
    where.given("p.identity_id = {}", identity_id)
    where.given("r.organization_id = {}", organization_id)
    if after is not None:
        where.all(f"(r.id, p.id) > ({where.value(after[0])}, {where.value(after[1])})")
    rows = await database.fetch(
        f"SELECT {PARTICIPANTS.select('p')}, r.id FROM roomkit_participants p "
        f"JOIN roomkit_rooms r ON r.seq = p.room {where} "
        f"ORDER BY r.id, p.id LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [load_record(PARTICIPANTS, row, row[-1]) for row in rows]


async def get_identity(
    database: Database, condition: str, *values: Any, load: Callable[[Row], Identity] = load_identity
) -> tuple[Identity, int] | None:
    """Return the identity for which a condition holds, and its revision."""
    row = await database.fetchrow(
        f"SELECT {IDENTITIES.select('i')}, i.revision FROM roomkit_identities i WHERE {condition}", *values
    )
    return None if row is None else (load(row), row[-1])


# -- people, media, homes, timers -----------------------------------------------------------------


async def find_media_rooms(database: Database, media_ids: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the rooms of registered files: of the events that refer to them, else their own."""
    rows = await database.fetch(
        "SELECT m.id, array_agg(DISTINCT coalesce(r.id, m.room_id)) FROM roomkit_media m "
        "LEFT JOIN roomkit_media_uses u ON u.media = m.id LEFT JOIN roomkit_events e ON e.id = u.event "
        "LEFT JOIN roomkit_rooms r ON r.seq = e.room WHERE m.id = ANY($1) GROUP BY m.id",
        findable([*media_ids]),
    )
    return {media_id: frozenset(rooms) for media_id, rooms in rows}


async def list_event_media(database: Database, event_ids: Sequence[str]) -> list[MediaUse]:
    """Return what events refer to, in order of event and file."""
    rows = await database.fetch(
        "SELECT u.media, u.event FROM unnest($1::text[]) WITH ORDINALITY AS g (id, place) "
        "JOIN roomkit_media_uses u ON u.event = g.id ORDER BY g.place, u.media",
        findable([*event_ids]),
    )
    return [MediaUse(*row) for row in rows]


async def find_keyed_event(database: Database, key: str, organization_id: str | None) -> RoomEvent | None:
    """Return the newest event of any room that has an idempotency key."""
    where = Where()
    where.all("e.idempotency_key = {}", key)
    return await _newest_event(database, where, organization_id)


async def find_external_event(
    database: Database, channel_id: str, external_id: str, organization_id: str | None
) -> RoomEvent | None:
    """Return the newest event of any room that a channel brought in under a vendor's id."""
    where = Where()
    where.all("e.external_id = {} AND e.source_channel_id = {}", external_id, channel_id)
    return await _newest_event(database, where, organization_id)


async def _newest_event(database: Database, where: Where, organization_id: str | None) -> RoomEvent | None:
    where.given("r.organization_id = {}", organization_id)
    row = await database.fetchrow(
        f"SELECT {EVENT}, r.id FROM roomkit_events e JOIN roomkit_rooms r ON r.seq = e.room {where} "
        "ORDER BY e.created_at DESC, e.room DESC, e.idx DESC LIMIT 1",
        *where.values,
    )
    return None if row is None else load_event(row[-1], row)


HOME = """
SELECT roomkit_home_of(r.seq, $2)::text
FROM (SELECT NULL WHERE $1::text IS NULL UNION ALL SELECT r.id FROM roomkit_rooms r WHERE r.id = $1) AS w (id)
LEFT JOIN roomkit_rooms r ON r.id = w.id
"""


async def home(database: Database, room_id: str | None, name: str) -> HomeRecord | None:
    """Return the home of a live thing, None if it was never taken."""
    rows = await database.fetch(HOME, room_id, name)
    return home_of(room_id, name, json.loads(rows[0][0])) if rows and rows[0][0] is not None else None


async def timers_by_seq(database: Database, numbers: Sequence[int]) -> list[Timer]:
    """Return timers of some numbers, those due longest first."""
    rows = await database.fetch(
        f"SELECT {TIMERS.select('a')}, r.id FROM roomkit_alarms a "
        "LEFT JOIN roomkit_rooms r ON r.seq = a.room WHERE a.seq = ANY($1::bigint[]) "
        "ORDER BY a.due_at, a.seq",
        numbers,
    )
    return load_timers(rows)


async def find_timers(
    database: Database, kind: str | None, after: str | None, due_before: datetime | None, limit: int
) -> list[Timer]:
    """Return a page of the timers of a kind that are due by then, in order of their ids."""
    rows = await database.fetch(
        f"SELECT {TIMERS.select('a')}, r.id FROM roomkit_alarms a "
        "LEFT JOIN roomkit_rooms r ON r.seq = a.room "
        "WHERE ($1::text IS NULL OR a.kind = $1) AND ($2::timestamptz IS NULL OR a.due_at <= $2) "
        'AND ($3::text IS NULL OR a.id COLLATE "C" > $3) ORDER BY a.id COLLATE "C" LIMIT $4',
        kind,
        due_before,
        after,
        limit,
    )
    return load_timers(rows)


async def timers_of_room(database: Database, room_id: str) -> list[Timer]:
    """Return the timers of a room, those due longest first."""
    rows = await database.fetch(
        f"SELECT {TIMERS.select('a')}, r.id FROM roomkit_alarms a JOIN roomkit_rooms r ON r.seq = a.room "
        "WHERE r.id = $1 ORDER BY a.due_at, a.seq",
        room_id,
    )
    return load_timers(rows)
