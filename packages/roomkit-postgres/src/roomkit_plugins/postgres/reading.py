"""The questions: each is one statement, but for lists that only Python can filter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime
from itertools import count
from typing import Any

from roomkit.abc.store import Claimed, DeliveryQuery, EventQuery, HomeRecord, RoomQuery
from roomkit.abc.store.media import MediaUse
from roomkit.models.base import Record
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery
from roomkit.models.enums import ChannelType, DeliveryState, EventType, RoomStatus
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit.models.value import Value, encoded_key
from roomkit.models.values import findable
from roomkit.models.visibility import sees
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.rows import (
    BINDINGS,
    DELIVERIES,
    EVENTS,
    HEAD,
    IDENTITIES,
    IN_LANE,
    IS_HELD,
    PARTICIPANTS,
    ROOMS,
    TIMERS,
    Table,
    facet,
    in_more,
    load_delivery,
    load_event,
    load_identity,
    load_record,
    load_room,
    load_timers,
    readable_room,
)
from roomkit_plugins.postgres.writing import Basis, home_of
from roomkit_plugins.sql.damaged import stored_value
from roomkit_plugins.sql.filters import (
    LARGEST,
    bounded,
    clamp,
    halves,
    has_metadata,
    key_range,
    statuses,
)
from roomkit_plugins.sql.refusals import no_binding, no_cursor, no_room

__all__ = [
    "CLAIMABLE",
    "bound_room_ids",
    "claimable_rooms",
    "claimed",
    "count_unread",
    "deliveries_by_seq",
    "events_to_move",
    "find_delivery",
    "find_event",
    "find_external_event",
    "find_keyed_event",
    "find_latest_room",
    "find_participants",
    "find_record",
    "find_timers",
    "get_basis",
    "get_delivery",
    "get_identity",
    "get_room",
    "get_value",
    "home",
    "list_room_values",
    "list_values",
    "list_values_of",
    "query_deliveries",
    "query_events",
    "query_rooms",
    "records_of_room",
    "room_ids_by_address",
    "room_ids_by_channel",
    "room_ids_by_sender",
    "timers_by_seq",
    "timers_of_room",
    "unclaimed",
    "waiting_receipts",
    "walk_back",
]

_VALUE = "v.data, v.revision, v.organization_id, v.namespace, v.key, v.subject, v.room_id, v.expires_at"
_CHUNK = 200
_ALIVE = "l.renewed_at <= clock_timestamp() + interval '1 second' AND clock_timestamp() < l.ends_at"
_EVENT = f"{EVENTS.select('e')}, e.idx"
_ROOM = f"{ROOMS.select('r')}, {HEAD}"
_ROOMS = "roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq"
_DELIVERY = f"{DELIVERIES.select('d')}, r.id, e.id, e.idx"
# OFFSET 0 keeps the planner from another way to an event than by its place.
_LEDGER = (
    "roomkit_deliveries d CROSS JOIN LATERAL (SELECT * FROM roomkit_events WHERE room = d.room "
    "AND idx = d.idx OFFSET 0) AS e JOIN roomkit_rooms r ON r.seq = d.room"
)

type Row = Sequence[Any]


# -- one room -----------------------------------------------------------------------------------


async def get_room(database: Database, room_id: str, organization_id: str | None) -> Room | None:
    """Return a room."""
    where = _Where()
    where.all("r.id = {}", room_id)
    where.given("r.organization_id = {}", organization_id)
    row = await database.fetchrow(f"SELECT {_ROOM} FROM {_ROOMS} {where}", *where.values)
    return None if row is None else load_room(row)


async def get_basis(database: Database, room_id: str, event_ids: Sequence[str]) -> Basis:
    """Return a room and some of its events, as of one moment. Raises RoomNotFoundError."""
    row = await database.fetchrow(
        f"SELECT {_ROOM}, ARRAY(SELECT ROW({_EVENT}) FROM roomkit_events e WHERE e.room = r.seq "
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
    where = _Where()
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
        page = _Where(where)
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
    where = _Where()
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
    where = _Where()
    channel, who = where.value(channel_id), where.value(sender_id)
    theirs = (
        f"SELECT s.room FROM roomkit_senders s JOIN roomkit_bindings b ON b.room = s.room "
        f"AND b.channel_id = s.channel_id WHERE s.channel_id = {channel} AND s.sender_id = {who} "
        f"UNION SELECT b.room FROM roomkit_bindings b WHERE b.channel_id = {channel} "
        f"AND b.participant_id = {who}"
    )
    return await _last_active(database, where, theirs, limit, organization_id)


async def room_ids_by_address(
    database: Database, channel_id: str, address: str, limit: int, organization_id: str | None
) -> list[str]:
    """Return the open rooms where a channel's binding has an address, the last active first."""
    where = _Where()
    there = (
        f"SELECT room FROM roomkit_bindings WHERE {in_more('address')} = {where.value(address)} "
        f"AND channel_id = {where.value(channel_id)}"
    )
    return await _last_active(database, where, there, limit, organization_id)


async def bound_room_ids(
    database: Database, address: str, organization_id: str | None, limit: int, after: str | None
) -> list[str]:
    """Return the rooms where a binding has an address, by their ids."""
    where = _Where()
    where.all(f"r.seq IN (SELECT room FROM roomkit_bindings WHERE {in_more('address')} = {{}})", address)
    where.given("r.organization_id = {}", organization_id)
    where.given("r.id > {}", after)
    rows = await database.fetch(
        f"SELECT r.id FROM roomkit_rooms r {where} ORDER BY r.id LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [row[0] for row in rows]


async def _last_active(
    database: Database, where: _Where, numbers: str, limit: int, organization_id: str | None
) -> list[str]:
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
    where = _Where()
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


def _with_status(where: _Where, status: RoomStatus | str | None) -> None:
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


def walk_back(database: Database, room_id: str, types: Collection[EventType]) -> AsyncIterator[RoomEvent]:
    """Yield the events of a room that are of some types, the newest first, read as they are asked for."""
    return _events(database, EventQuery(room_id=room_id, types=types, newest_first=True))


async def _page(
    database: Database, query: EventQuery, place: int | None, offset: int, limit: int
) -> list[RoomEvent]:
    where = _Where()
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
        f"SELECT {_EVENT} FROM roomkit_events e {where} ORDER BY {time}e.idx {order} "
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
    where = _Where()
    where.given("e.id = {}", event_id)
    where.given("r.id = {}", room_id)
    where.given("e.idempotency_key = {}", key)
    where.given("r.organization_id = {}", organization_id)
    row = await database.fetchrow(
        f"SELECT {_EVENT}, r.id FROM roomkit_events e JOIN roomkit_rooms r ON r.seq = e.room {where}",
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


async def records_of_room[R: Record](
    database: Database,
    table: Table[R],
    room_id: str,
    *,
    own_id: str | None = None,
    status: str | None = None,
) -> list[R]:
    """Return the records of a table that belong to a room, in order of insertion.

    With `own_id` only the one of that id, which is in the table's first column.
    """
    where = _Where()
    where.all("t.room = (SELECT seq FROM roomkit_rooms WHERE id = {})", room_id)
    where.given(f"t.{table.columns[0].name} = {{}}", own_id)
    where.given("t.status = {}", status)
    rows = await database.fetch(
        f"SELECT {table.select('t')} FROM {table.name} t {where} ORDER BY seq", *where.values
    )
    return [load_record(table, row, room_id) for row in rows]


async def find_record[R: Record](
    database: Database, table: Table[R], record_id: str, organization_id: str | None
) -> R | None:
    """Return the record of an id that is unique over all rooms."""
    where = _Where()
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
    where = _Where()
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


# -- the ledger ---------------------------------------------------------------------------------


async def get_delivery(
    database: Database, delivery_id: str, organization_id: str | None
) -> tuple[Delivery, int] | None:
    """Return a row of the ledger and its number; either half of its id may have colons of its own."""
    where = _Where()
    where.given("r.organization_id = {}", organization_id)
    events = where.value([event_id for event_id, _ in halves(delivery_id)])
    channels = where.value([channel_id for _, channel_id in halves(delivery_id)])
    row = await database.fetchrow(
        f"SELECT {_DELIVERY}, d.seq FROM unnest({events}::text[], {channels}::text[]) AS u (event, channel) "
        "CROSS JOIN LATERAL (SELECT * FROM roomkit_events WHERE id = u.event OFFSET 0) AS e "
        "CROSS JOIN LATERAL (SELECT * FROM roomkit_deliveries WHERE room = e.room AND idx = e.idx "
        "AND channel_id = u.channel OFFSET 0) AS d "
        f"JOIN roomkit_rooms r ON r.seq = d.room {where}",
        *where.values,
    )
    return None if row is None else (load_delivery(row), row[-1])


async def find_delivery(
    database: Database, provider: str, message_id: str, organization_id: str | None
) -> Delivery | None:
    """Return the row of a provider's message."""
    where = _Where()
    vendor, message = where.value(provider), where.value(message_id)
    where.all(
        f"d.seq = coalesce((SELECT max(o.seq) FROM roomkit_deliveries o WHERE o.provider = {vendor} "
        f"AND o.provider_message_id = {message}), (SELECT m.delivery FROM roomkit_messages m "
        f"WHERE m.provider = {vendor} AND m.message_id = {message}))"
    )
    where.given("r.organization_id = {}", organization_id)
    row = await database.fetchrow(f"SELECT {_DELIVERY} FROM {_LEDGER} {where}", *where.values)
    return None if row is None else load_delivery(row)


async def query_deliveries(database: Database, query: DeliveryQuery) -> list[Delivery]:
    """Return rows of the ledger in order of commit, or in the reverse of it."""
    further, direction = ("<", "DESC") if query.newest_first else (">", "ASC")
    where = _Where()
    where.given("d.room = (SELECT seq FROM roomkit_rooms WHERE id = {})", query.room_id)
    where.given("e.id = {}", query.event_id)
    where.given("d.channel_id = {}", query.channel_id)
    where.given("r.organization_id = {}", query.organization_id)
    if query.state is DeliveryState.PENDING:
        where.all(IS_HELD if query.room_id is None else IN_LANE)
    elif query.state is not None:  # written out, so that the index of failed rows serves
        where.all(f"d.state = '{DeliveryState(query.state).value}'")
    if query.after is not None:
        found = await get_delivery(database, query.after, query.organization_id)
        if found is None or query.room_id not in (None, found[0].room_id):
            raise no_cursor("delivery", query.after)
        delivery, seq = found
        if query.room_id is None:
            where.all(f"d.seq {further} {{}}", seq)
        else:  # in a room the numbers rise with the indexes, by which there is an index
            where.all(f"(d.idx, d.seq) {further} ({where.value(delivery.event_index)}, {where.value(seq)})")
            where.all(f"d.idx {further}= {{}}", delivery.event_index)
    order = f"d.seq {direction}" if query.room_id is None else f"d.idx {direction}, d.seq {direction}"
    limit = where.value(clamp(query.limit))
    rows = await database.fetch(
        f"SELECT {_DELIVERY} FROM {_LEDGER} {where} ORDER BY {order} LIMIT {limit}", *where.values
    )
    return [load_delivery(row) for row in rows]


async def deliveries_by_seq(database: Database, seq: int) -> Delivery | None:
    """Return the row of the ledger of a number."""
    row = await database.fetchrow(f"SELECT {_DELIVERY} FROM {_LEDGER} WHERE d.seq = $1", seq)
    return None if row is None else load_delivery(row)


async def claimed(database: Database, numbers: Sequence[int]) -> list[Claimed]:
    """Return rows of the ledger with their events, in order of the timeline."""
    rows = await database.fetch(
        f"SELECT {_DELIVERY}, {_EVENT} FROM {_LEDGER} WHERE d.seq = ANY($1::bigint[]) ORDER BY d.idx, d.seq",
        numbers,
    )
    return [
        Claimed(load_delivery(row), load_event(row[DELIVERIES.width], row, DELIVERIES.width + 3))
        for row in rows
    ]


_REGISTERED = "($4::text[] IS NULL OR d.channel_id = ANY($4))"
_HOLDERS = f"""
holders (id) AS (
    SELECT (SELECT min(d.holder) FROM roomkit_deliveries d WHERE {IS_HELD})
    UNION ALL
    SELECT (SELECT min(d.holder) FROM roomkit_deliveries d WHERE {IS_HELD} AND d.holder > holders.id)
    FROM holders WHERE holders.id IS NOT NULL
)"""


async def get_value(
    database: Database, namespace: str, key: Sequence[str], organization_id: str | None
) -> Value | None:
    """Return a value."""
    row = await database.fetchrow(
        f"SELECT {_VALUE} FROM roomkit_values v "
        "WHERE v.organization_id = $1 AND v.namespace = $2 AND v.key = $3",
        organization_id or "",
        namespace,
        encoded_key(key),
    )
    return None if row is None else stored_value(*row)


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


async def list_values(
    database: Database,
    namespace: str,
    prefix: Sequence[str],
    organization_id: str | None,
    subject: str | None,
    after: Sequence[str] | None,
    limit: int,
) -> list[Value]:
    """Return a page of the values whose keys begin with some parts, in order of their keys."""
    whole, first, end = key_range(prefix)
    where = _Where()
    where.all("v.organization_id = {} AND v.namespace = {}", organization_id or "", namespace)
    where.all("v.key > {}", max("" if after is None else encoded_key(after), whole[:-1]))
    where.all("(v.key = {} OR (v.key >= {} AND v.key < {}))", whole, first, end)
    where.given("v.subject = {}", subject)
    rows = await database.fetch(
        f"SELECT {_VALUE} FROM roomkit_values v {where} ORDER BY v.key LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [stored_value(*row) for row in rows]


async def list_values_of(
    database: Database, subject: str, organization_id: str | None, after: int, limit: int
) -> list[Value]:
    """Return a page of the values about a person, in order of revision."""
    where = _Where()
    where.all("v.subject = {}", subject)
    where.given("v.organization_id = {}", organization_id)
    return await _page_of_values(database, where, after, limit)


async def list_room_values(database: Database, room_id: str, after: int, limit: int) -> list[Value]:
    """Return a page of the values that go with a room, in order of revision."""
    where = _Where()
    where.all("v.room_id = {}", room_id)
    return await _page_of_values(database, where, after, limit)


async def _page_of_values(database: Database, where: _Where, after: int, limit: int) -> list[Value]:
    where.all("v.revision > {}", clamp(after))
    rows = await database.fetch(
        f"SELECT {_VALUE} FROM roomkit_values v {where} "
        f"ORDER BY v.revision LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [stored_value(*row) for row in rows]


async def waiting_receipts(database: Database) -> AsyncIterator[tuple[int, str]]:
    """Yield the receipts that wait for their delivery, by row, as they are stored."""
    after = 0
    while rows := await database.fetch(
        "SELECT seq, status FROM roomkit_receipts WHERE seq > $1 ORDER BY seq LIMIT 1000", after
    ):
        for seq, status in rows:
            yield seq, status
        after = rows[-1][0]


async def find_keyed_event(database: Database, key: str, organization_id: str | None) -> RoomEvent | None:
    """Return the newest event of any room that has an idempotency key."""
    where = _Where()
    where.all("e.idempotency_key = {}", key)
    return await _newest_event(database, where, organization_id)


async def find_external_event(
    database: Database, channel_id: str, external_id: str, organization_id: str | None
) -> RoomEvent | None:
    """Return the newest event of any room that a channel brought in under a vendor's id."""
    where = _Where()
    where.all("e.external_id = {} AND e.source_channel_id = {}", external_id, channel_id)
    return await _newest_event(database, where, organization_id)


async def _newest_event(database: Database, where: _Where, organization_id: str | None) -> RoomEvent | None:
    where.given("r.organization_id = {}", organization_id)
    row = await database.fetchrow(
        f"SELECT {_EVENT}, r.id FROM roomkit_events e JOIN roomkit_rooms r ON r.seq = e.room {where} "
        "ORDER BY e.created_at DESC, e.room DESC, e.idx DESC LIMIT 1",
        *where.values,
    )
    return None if row is None else load_event(row[-1], row)


# The holders are few, and each has its rows in order; so what lives and works is not looked through.
CLAIMABLE = f"""
WITH RECURSIVE {_HOLDERS}, waiting (room, seq) AS (
    (SELECT d.room, d.seq FROM roomkit_deliveries d
        WHERE {IS_HELD} AND d.holder IS NULL AND NOT d.handed AND {_REGISTERED}
        ORDER BY d.seq LIMIT $3)
    UNION ALL
    (SELECT d.room, d.seq FROM roomkit_deliveries d
        WHERE {IS_HELD} AND d.holder = $1 AND d.handed ORDER BY d.seq LIMIT $3)
    UNION ALL
    SELECT waits.room, waits.seq FROM holders, (VALUES (false), (true)) AS h (handed), LATERAL (
        SELECT d.room, d.seq FROM roomkit_deliveries d
        WHERE {IS_HELD} AND d.holder = holders.id AND d.handed = h.handed AND {_REGISTERED}
        ORDER BY d.seq LIMIT $3
    ) AS waits
    WHERE holders.id IS NOT NULL AND NOT roomkit_seems_alive(holders.id)
), first (room, seq) AS (
    SELECT room, min(seq) FROM waiting GROUP BY room ORDER BY min(seq) LIMIT $2
)
SELECT r.id FROM first JOIN roomkit_rooms r ON r.seq = first.room
WHERE roomkit_seems_alive($1) ORDER BY first.seq
"""


async def claimable_rooms(
    database: Database, worker_id: str, channels: Collection[str] | None, limit: int
) -> list[str]:
    """Return rooms with rows to claim, the one with the oldest first."""
    limit = clamp(limit)
    few = min(4 * limit, LARGEST)
    registered = None if channels is None else list(channels)
    rows = await database.fetch(CLAIMABLE, worker_id, limit, few, registered)
    if 0 < len(rows) < limit:  # the first rows may all be of these rooms
        rows = await database.fetch(CLAIMABLE, worker_id, limit, LARGEST, registered)
    return [row[0] for row in rows]


UNCLAIMED = f"""
WITH RECURSIVE {_HOLDERS}, waiting (channel_id) AS (
    SELECT d.channel_id FROM roomkit_deliveries d WHERE {IS_HELD} AND d.holder IS NULL
    UNION ALL
    SELECT waits.channel_id FROM holders, LATERAL (
        SELECT d.channel_id FROM roomkit_deliveries d WHERE {IS_HELD} AND d.holder = holders.id
    ) AS waits
    WHERE holders.id IS NOT NULL AND NOT roomkit_seems_alive(holders.id)
), counts (channel_id, deliveries) AS (
    SELECT channel_id, count(*) FROM waiting GROUP BY channel_id
)
SELECT c.channel_id, c.deliveries FROM counts c WHERE NOT EXISTS (
    SELECT FROM roomkit_leases l
    WHERE {_ALIVE} AND (l.channels IS NULL OR c.channel_id = ANY(l.channels))
) ORDER BY c.channel_id
"""


async def unclaimed(database: Database) -> dict[str, int]:
    """Count the rows that no living worker holds, by channels that none announces."""
    return dict(map(tuple, await database.fetch(UNCLAIMED)))


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


# -- SQL ----------------------------------------------------------------------------------------


class _Where:
    """The conditions of a query, all of which must hold, and the values of the whole query."""

    def __init__(self, base: _Where | None = None) -> None:
        self._parts: list[str] = list(base._parts) if base else []  # bound: one query
        self.values: list[Any] = list(base.values) if base else []  # bound: one query

    def value(self, value: object) -> str:
        """Add a value; return its place."""
        self.values.append(value)
        return f"${len(self.values)}"

    def all(self, part: str, *values: object) -> None:
        """Add a condition; each `{}` in it is a value."""
        self._parts.append(part.format(*(self.value(each) for each in values)) if values else part)

    def given(self, part: str, value: object) -> None:
        """Add a condition on a value, if there is one."""
        if value is not None:
            self.all(part, value)

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._parts)}" if self._parts else ""
