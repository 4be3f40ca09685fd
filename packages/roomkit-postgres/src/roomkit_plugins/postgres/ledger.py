"""The ledger: rows, those that a worker may claim, and receipts that wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from roomkit.abc.store import Claimed, DeliveryQuery
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.values import findable
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.reading import ALIVE, EVENT
from roomkit_plugins.postgres.rows import (
    DELIVERIES,
    IN_LANE,
    IS_HELD,
    Row,
    encoded,
    load_delivery,
    load_event,
)
from roomkit_plugins.postgres.where import Where
from roomkit_plugins.postgres.writing import message_key
from roomkit_plugins.sql.damaged import is_receipt_for
from roomkit_plugins.sql.filters import LARGEST, clamp, halves
from roomkit_plugins.sql.refusals import no_cursor, no_delivery, not_failed

__all__ = [
    "CLAIMABLE",
    "add_fallback",
    "claimable_rooms",
    "claimed",
    "delete_waiting_receipts",
    "deliveries_by_seq",
    "find_delivery",
    "get_delivery",
    "lane",
    "query_deliveries",
    "record_receipt",
    "revive",
    "unclaimed",
    "waiting_receipts",
]

_DELIVERY = f"{DELIVERIES.select('d')}, r.id, e.id, e.idx"
# OFFSET 0 keeps the planner from another way to an event than by its place.
_LEDGER = (
    "roomkit_deliveries d CROSS JOIN LATERAL (SELECT * FROM roomkit_events WHERE room = d.room "
    "AND idx = d.idx OFFSET 0) AS e JOIN roomkit_rooms r ON r.seq = d.room"
)


async def get_delivery(
    database: Database, delivery_id: str, organization_id: str | None
) -> tuple[Delivery, int] | None:
    """Return a row of the ledger and its number; either half of its id may have colons of its own."""
    where = Where()
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
    where = Where()
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
    """Return rows in the order of their events in a room, else in the order in which they were written."""
    further, direction = ("<", "DESC") if query.newest_first else (">", "ASC")
    where = Where()
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
        f"SELECT {_DELIVERY}, {EVENT} FROM {_LEDGER} WHERE d.seq = ANY($1::bigint[]) ORDER BY d.idx, d.seq",
        numbers,
    )
    return list(map(_claimed, rows))


async def lane(database: Database, room_id: str, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
    """Return the rows of a channel of the events at these indexes, with the events."""
    rows = await database.fetch(
        f"SELECT {_DELIVERY}, {EVENT} FROM {_LEDGER} WHERE d.room = (SELECT seq FROM roomkit_rooms "
        "WHERE id = $1) AND d.idx = ANY($2::bigint[]) AND d.channel_id = $3 ORDER BY d.idx",
        findable(room_id),
        indexes,
        findable(channel_id),
    )
    return list(map(_claimed, rows))


def _claimed(row: Row) -> Claimed:
    return Claimed(load_delivery(row), load_event(row[DELIVERIES.width], row, DELIVERIES.width + 3))


_REGISTERED = "($4::text[] IS NULL OR d.channel_id = ANY($4))"


_HOLDERS = f"""
holders (id) AS (
    SELECT (SELECT min(d.holder) FROM roomkit_deliveries d WHERE {IS_HELD})
    UNION ALL
    SELECT (SELECT min(d.holder) FROM roomkit_deliveries d WHERE {IS_HELD} AND d.holder > holders.id)
    FROM holders WHERE holders.id IS NOT NULL
)"""


async def waiting_receipts(database: Database) -> AsyncIterator[tuple[int, str]]:
    """Yield the receipts that wait for their delivery, by row, as they are stored."""
    after = 0
    while rows := await database.fetch(
        "SELECT seq, status FROM roomkit_receipts WHERE seq > $1 ORDER BY seq LIMIT 1000", after
    ):
        for seq, status in rows:
            yield seq, status
        after = rows[-1][0]


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
    WHERE {ALIVE} AND (l.channels IS NULL OR c.channel_id = ANY(l.channels))
) ORDER BY c.channel_id
"""


async def unclaimed(database: Database) -> dict[str, int]:
    """Count the rows that no living worker holds, by channels that none announces."""
    return dict(map(tuple, await database.fetch(UNCLAIMED)))


async def revive(database: Database, delivery_id: str, function: str, *values: str) -> Delivery:
    """Call the function that reopens or drops a failed row. Raises DeliveryNotFoundError, StoreError."""
    for event_id, channel_id in halves(delivery_id):
        answer = await database.write(function, findable(event_id), findable(channel_id), *values)
        if "delivery" in answer:
            after = await deliveries_by_seq(database, answer["delivery"])
            if after is not None:
                return after
        elif answer["error"] == "state":
            raise not_failed(delivery_id, answer["state"])
    raise no_delivery(delivery_id)


async def add_fallback(database: Database, delivery_id: str, channel_id: str) -> Delivery | None:
    """Add the row of a fallback; None if there is one already. Raises DeliveryNotFoundError."""
    more = encoded({"fallback_of": delivery_id})
    for event_id, of_channel in halves(delivery_id):
        ids = (findable(event_id), findable(of_channel), findable(channel_id))
        answer = await database.write("roomkit_fall_back($3, $4, $5, $6)", *ids, more)
        if "delivery" in answer:
            seq = answer["delivery"]
            return None if seq is None else await deliveries_by_seq(database, seq)
    raise no_delivery(delivery_id)


async def record_receipt(
    database: Database, status: DeliveryStatus, receipt: ReceiptState
) -> Delivery | None:
    """Record a receipt; return the row of its message, None while there is none."""
    seq = await database.write(
        "roomkit_receipt($3, $4, $5, $6, $7)",
        status.provider,
        status.message_id,
        message_key(status.provider, status.message_id),
        receipt.value,
        status.model_dump_json(exclude_none=True),
    )
    return None if seq is None else await deliveries_by_seq(database, seq)


async def delete_waiting_receipts(
    database: Database, recipients: Collection[str], not_of: Collection[str]
) -> int:
    """Delete the receipts for some recipients that wait for their messages; return how many."""
    waiting = waiting_receipts(database)
    found = [seq async for seq, status in waiting if is_receipt_for(status, recipients, not_of)]
    # Not by a function: those of a database of this version were made before there was this one.
    deleted = "DELETE FROM roomkit_receipts WHERE seq = ANY($1::bigint[]) RETURNING seq"
    return len(await database.fetch(deleted, found)) if found else 0
