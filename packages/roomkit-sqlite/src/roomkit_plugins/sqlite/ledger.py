"""The ledger of deliveries: whose they are, how they ended, what vendors said of them later."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any, NamedTuple

from roomkit.abc.store import Claimed, Completed, DeliveryQuery
from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit_plugins.sql.damaged import damaged_record, is_receipt_for, readable_fields, stored_receipt
from roomkit_plugins.sql.filters import clamp, halves
from roomkit_plugins.sql.refusals import no_cursor, no_delivery, not_failed
from roomkit_plugins.sqlite.homes import holder as home_holder
from roomkit_plugins.sqlite.leases import Clock, alive, announced, announcer, still_alive
from roomkit_plugins.sqlite.rows import DELIVERY, EVENT, delivery_of, dump, event_of
from roomkit_plugins.sqlite.sql import Conditions, Row, column, marks, one
from roomkit_plugins.sqlite.timers import remove_timers

__all__ = [
    "Finished",
    "LedgerPlace",
    "add_fallback",
    "claim",
    "complete",
    "count_unclaimed",
    "delete_early",
    "drop_delivery",
    "find_claimable",
    "finished",
    "get_delivery",
    "place_of",
    "place_of_absent",
    "query_deliveries",
    "read_lane",
    "record_receipt",
    "reopen_delivery",
]

_LEDGER = "FROM deliveries d JOIN events e ON e.seq = d.event JOIN rooms r ON r.seq = d.room"
# Of the rows of a lane one is enough: who holds it holds them all, and one handed over comes first.
# Where the lane is empty, only homes are found: of the channel, or for an agent of the room.
_LANE = (
    "SELECT holder, handed, NULL FROM (SELECT holder, handed FROM deliveries WHERE room = ? "
    "AND channel_id = ? AND state = 'pending' ORDER BY handed DESC LIMIT 1) UNION ALL "
    "SELECT worker, NULL, name FROM homes WHERE room = ? AND (name = ? OR ?) AND worker IS NOT NULL"
)
# SQLite, which does not know how many rows are pending, needs a hint to look for them by their holder.
_HELD = "deliveries INDEXED BY deliveries_held"
_PENDING = f"SELECT room, seq FROM {_HELD} WHERE state = 'pending'"
# From each holder to the next one in the index, whatever number of rows they hold.
_HOLDERS = f"""
WITH RECURSIVE holders (holder) AS (
    SELECT (SELECT min(holder) FROM {_HELD} WHERE state = 'pending' AND holder > '')
    UNION ALL
    SELECT (SELECT min(holder) FROM {_HELD} WHERE state = 'pending' AND holder > holders.holder)
    FROM holders WHERE holders.holder IS NOT NULL
)
SELECT holder FROM holders WHERE holder IS NOT NULL
"""
_OF_MESSAGE = (
    f"SELECT d.seq, {DELIVERY} FROM delivery_messages m JOIN deliveries d ON d.seq = m.delivery "
    "JOIN events e ON e.seq = d.event JOIN rooms r ON r.seq = d.room "
    "WHERE m.provider = ? AND m.message_id = ?"
)
_MOST_EARLY = 8
_EARLY_KEPT = timedelta(days=1) // timedelta(microseconds=1)
_EARLY_SPARED = 1000


# -- questions ----------------------------------------------------------------------------------


def get_delivery(
    connection: sqlite3.Connection, delivery_id: str, organization_id: str | None = None
) -> Delivery | None:
    """Return a row."""
    row = _found(connection, f"{DELIVERY}, r.organization_id", delivery_id)
    if row is None or organization_id not in (None, row[-1]):
        return None
    return delivery_of(row[:-1])


def find_delivery(
    connection: sqlite3.Connection, provider: str, message_id: str, organization_id: str | None
) -> Delivery | None:
    """Return the row of a provider's message."""
    row = one(
        connection,
        f"{_OF_MESSAGE} AND (? IS NULL OR r.organization_id = ?)",
        (provider, message_id, organization_id, organization_id),
    )
    return None if row is None else delivery_of(row[1:])


def query_deliveries(connection: sqlite3.Connection, query: DeliveryQuery) -> list[Delivery]:
    """Return rows in the order of their events in a room, else in the order in which they were written."""
    further, order = ("<", "DESC") if query.newest_first else (">", "ASC")
    conditions = Conditions()
    conditions.given(f"{_room_column(query)} = (SELECT seq FROM rooms WHERE id = ?)", query.room_id)
    conditions.given("d.event = (SELECT seq FROM events WHERE id = ?)", query.event_id)
    conditions.given("d.channel_id = ?", query.channel_id)
    conditions.given("r.organization_id = ?", query.organization_id)
    if query.state is not None:  # written out, so that the indexes of single states serve
        conditions.all(f"d.state = '{DeliveryState(query.state).value}'")
    if query.after is not None:
        idx, seq = _place_after(connection, query.after, query)
        if query.room_id is None:
            conditions.all(f"d.seq {further} ?", seq)
        else:
            conditions.all(f"(e.idx, d.seq) {further} (?, ?)", idx, seq)
    by = f"d.seq {order}" if query.room_id is None else f"e.idx {order}, d.seq {order}"
    sql = f"SELECT {DELIVERY} {_LEDGER} {conditions} ORDER BY {by} LIMIT ?"
    rows = connection.execute(sql, (*conditions.values, clamp(query.limit))).fetchall()
    return [delivery_of(row) for row in rows]


def _room_column(query: DeliveryQuery) -> str:
    """Return the column by which SQLite finds a room's rows: the few of a state, or in their order."""
    if query.event_id is not None:  # an event has few rows: the plus keeps SQLite from its room
        return "+d.room"
    return "d.room" if query.state in (DeliveryState.PENDING, DeliveryState.FAILED) else "e.room"


def _place_after(connection: sqlite3.Connection, delivery_id: str, query: DeliveryQuery) -> tuple[int, int]:
    row = _found(connection, "e.idx, d.seq, r.id, r.organization_id", delivery_id)
    if row is None or query.room_id not in (None, row[2]) or query.organization_id not in (None, row[3]):
        raise no_cursor("delivery", delivery_id)
    return int(row[0]), int(row[1])


def find_claimable(
    connection: sqlite3.Connection, worker: str, channels: str | None, limit: int, now: Clock
) -> list[str]:
    """Return the rooms where there is something to claim, those waiting longest first."""
    living = alive(connection, now)
    if worker not in living:
        return []
    dead = _lost(connection, living)
    free = [f"{unheld} {_registered('channel_id', channels)}" for unheld in _unheld(dead)]
    open_rows = [f"{_PENDING} AND holder = ? AND handed = 1", *free]
    return column(
        connection,
        f"SELECT r.id FROM (SELECT room, min(seq) AS oldest FROM ({' UNION ALL '.join(open_rows)}) "
        "GROUP BY room) JOIN rooms r ON r.seq = room ORDER BY oldest LIMIT ?",
        (worker, *_given(channels), *dead, *(_given(channels) if dead else ()), clamp(limit)),
    )


def count_unclaimed(connection: sqlite3.Connection, now: Clock) -> dict[str, int]:
    """Count the rows that no living worker holds, by channels that none announces."""
    living = alive(connection, now)
    dead = _lost(connection, living)
    free = " UNION ALL ".join(_unheld(dead))
    counts = dict(
        connection.execute(
            f"SELECT d.channel_id, count(*) FROM ({free}) AS f JOIN deliveries d ON d.seq = f.seq "
            "GROUP BY d.channel_id ORDER BY d.channel_id",
            dead,
        ).fetchall()
    )
    if not counts:
        return {}
    announcements = announced(connection, living).values()
    if None in announcements:
        return {}
    known = {channel_id for channels in announcements for channel_id in channels or ()}
    return {channel_id: count for channel_id, count in counts.items() if channel_id not in known}


def _lost(connection: sqlite3.Connection, living: AbstractSet[str]) -> list[str]:
    """Return the holders of pending rows that are not alive."""
    return [each for each in column(connection, _HOLDERS) if each not in living]


def _unheld(dead: Sequence[str]) -> list[str]:
    """Return the queries for pending rows that no living worker holds, whose values are `dead`."""
    unheld = [f"{_PENDING} AND holder IS NULL"]
    if dead:
        unheld.append(f"{_PENDING} AND holder IN ({marks(dead)})")
    return unheld


def _registered(column_name: str, channels: str | None) -> str:
    """Return the condition that a row is of one of these channels, given as JSON."""
    return "" if channels is None else f"AND {column_name} IN (SELECT value FROM json_each(?))"


def _given(channels: str | None) -> tuple[str, ...]:
    return () if channels is None else (channels,)


def _found(connection: sqlite3.Connection, columns: str, delivery_id: str) -> Row | None:
    """Find a row by its id, either half of which may have colons of its own."""
    for pair in halves(delivery_id):
        row = one(connection, f"SELECT {columns} {_LEDGER} WHERE e.id = ? AND d.channel_id = ?", pair)
        if row is not None:
            return row
    return None


# -- lanes --------------------------------------------------------------------------------------


class LedgerPlace(NamedTuple):
    """Where in its lane a new row stands: who holds it, and whether it must be claimed first."""

    holder: str | None
    handed: bool

    @property
    def is_direct(self) -> bool:
        """Whether the row's committer may execute it at once."""
        return self.holder is not None and not self.handed


def place_of(
    connection: sqlite3.Connection,
    room: int,
    channel_id: str,
    worker: str | None,
    living: AbstractSet[str],
    *,
    is_agent: bool = False,
) -> LedgerPlace:
    """Return the place of a row that `worker` puts into a lane."""
    lane, home = _lane(connection, room, channel_id, living, is_agent=is_agent)
    if lane is None:
        if home is not None:
            return LedgerPlace(home, handed=home != worker)
        return LedgerPlace(worker if worker in living else None, handed=False)
    holder, handed = lane
    if holder not in living:
        return LedgerPlace(None, handed=False)
    return LedgerPlace(holder, handed=bool(handed) or holder != worker)


def place_of_absent(
    connection: sqlite3.Connection,
    room: int,
    channel_id: str,
    worker: str | None,
    living: AbstractSet[str],
    *,
    is_agent: bool = False,
) -> LedgerPlace:
    """Return the place of a row whose channel is not registered with `worker`, which puts it into a lane."""
    others = living - {worker}
    lane, home = _lane(connection, room, channel_id, others, is_agent=is_agent)
    holder = lane[0] if lane is not None else home or announcer(connection, channel_id, others)
    if holder not in living:
        return LedgerPlace(None, handed=False)
    return LedgerPlace(holder, handed=True)


def _lane(
    connection: sqlite3.Connection, room: int, channel_id: str, living: AbstractSet[str], *, is_agent: bool
) -> tuple[tuple[str | None, int] | None, str | None]:
    """Return who holds a lane, and whether a row was handed over; of an empty one, who has its home."""
    rows = connection.execute(_LANE, (room, channel_id, room, channel_id, is_agent)).fetchall()
    if not rows:
        return None, None
    for holder, handed, name in rows:
        if name is None:
            return (holder, handed), None
    homes = [(worker, name) for worker, _, name in rows]
    return None, home_holder(connection, homes, channel_id, living)


def claim(
    connection: sqlite3.Connection, room_id: str, worker: str, channels: str | None, now: Clock
) -> list[Claimed]:
    """Claim rows that were handed over to the worker, and rows that no living worker holds."""
    living = still_alive(connection, now)
    if worker not in living:
        return []
    rows = connection.execute(
        f"SELECT d.seq, d.holder, {DELIVERY}, {EVENT} {_LEDGER} "
        "WHERE d.room = (SELECT seq FROM rooms WHERE id = ?) AND d.state = 'pending' "
        "AND (d.holder = ? AND d.handed OR "
        f"(d.holder IS NULL OR d.holder NOT IN ({marks(living)})) "
        f"{_registered('d.channel_id', channels)}) "
        "ORDER BY e.idx, d.seq",
        (room_id, worker, *living, *_given(channels)),
    ).fetchall()
    claimed: list[Claimed] = []  # bound: the pending rows of the room
    for seq, holder, *columns in rows:
        before = delivery_of(tuple(columns[:-4]))
        claims = before.claims + (holder not in (None, worker))
        connection.execute(
            "UPDATE deliveries SET holder = ?, handed = 0, claims = ? WHERE seq = ?", (worker, claims, seq)
        )
        event = event_of(room_id, tuple(columns[-4:]))
        claimed.append(Claimed(before.replace(holder=worker, claims=claims), event))
    return claimed


def read_lane(
    connection: sqlite3.Connection, room_id: str, channel_id: str, indexes: Sequence[int]
) -> list[Claimed]:
    """Return the rows of a channel of the events at these indexes, with the events."""
    rows = connection.execute(
        f"SELECT {DELIVERY}, {EVENT} {_LEDGER} "
        "WHERE e.room = (SELECT seq FROM rooms WHERE id = ?) AND e.idx IN (SELECT value FROM json_each(?)) "
        "AND d.channel_id = ? ORDER BY e.idx",
        (room_id, json.dumps(indexes), channel_id),
    ).fetchall()
    return [Claimed(delivery_of(tuple(row[:-4])), event_of(room_id, tuple(row[-4:]))) for row in rows]


# -- how deliveries end -------------------------------------------------------------------------


class Finished(NamedTuple):
    """A delivery as it ended or stands, encoded."""

    delivery: Delivery
    data: str


def finished(outcome: DeliveryOutcome) -> Finished:
    """Return a delivery as it is to be written. Raises InvalidInputError for what JSON cannot carry."""
    delivery = outcome.delivery()
    return Finished(delivery, dump(delivery))


def complete(
    connection: sqlite3.Connection, rows: Sequence[Finished], worker: str | None, timers_done: Sequence[str]
) -> Completed:
    """Write how deliveries ended, or stand; see `ConversationStore.complete`."""
    refused: list[str] = []  # bound: the rows
    receipts: list[tuple[Delivery, DeliveryStatus]] = []  # bound: the rows and what waited for them
    for row in rows:
        matched = _finish(connection, row, worker)
        if matched is None:
            refused.append(row.delivery.id)
        else:
            receipts += matched
    if timers_done:
        remove_timers(connection, timers_done, worker)
    return Completed(refused, receipts)


def _finish(
    connection: sqlite3.Connection, row: Finished, worker: str | None
) -> Sequence[tuple[Delivery, DeliveryStatus]] | None:
    """Write one row; return the receipts that waited for it, None when it is not to be written."""
    delivery = row.delivery
    found = one(
        connection,
        "SELECT d.seq, d.holder, d.claims, d.data FROM deliveries d JOIN events e ON e.seq = d.event "
        "WHERE e.id = ? AND d.channel_id = ? AND d.state = 'pending'",
        (delivery.event_id, delivery.channel_id),
    )
    if found is None or worker not in (None, found[1]):
        return None
    seq, holder, claims, before = found
    ended = delivery.state is not DeliveryState.PENDING
    after = delivery.replace(holder=None if ended else holder, claims=claims)
    if before is not None:
        after = _with_receipt(after, _receipt_in(before))
    matched: list[tuple[Delivery, DeliveryStatus]] = []  # bound: _MOST_EARLY for each message id
    if delivery.provider is not None and delivery.message_ids:
        _register(connection, seq, delivery.provider, delivery.message_ids)
        if before is not None and len(delivery.message_ids) > 1:
            after = _in_parts(connection, seq, after, readable_fields(before))
        for status, receipt in _take_early(connection, delivery.provider, delivery.message_ids):
            after = _moved(connection, seq, after, status, receipt)
            matched.append((after, status))
    data = row.data if after.receipt is delivery.receipt else dump(after)
    connection.execute(
        "UPDATE deliveries SET state = ?, data = ?, holder = ?, handed = handed AND ? WHERE seq = ?",
        (delivery.state.value, data, after.holder, not ended, seq),
    )
    return matched


def redact_deliveries(connection: sqlite3.Connection, event: int) -> None:
    """Forget what the rows of a redacted event say of their failures."""
    rows = connection.execute(
        f"SELECT d.seq, {DELIVERY} FROM deliveries d JOIN events e ON e.seq = d.event "
        "JOIN rooms r ON r.seq = d.room WHERE d.event = ? AND d.data IS NOT NULL",
        (event,),
    ).fetchall()
    for seq, *row in rows:
        data = dump(delivery_of(tuple(row)).redacted())
        connection.execute("UPDATE deliveries SET data = ? WHERE seq = ?", (data, seq))


def _receipt_in(data: str) -> ReceiptState | None:
    word = readable_fields(data).get("receipt")
    return stored_receipt(word) if isinstance(word, str) else None


def _with_receipt(delivery: Delivery, receipt: ReceiptState | None) -> Delivery:
    """Return the delivery with a receipt, if that is news."""
    if receipt is None or not receipt.follows(delivery.receipt):
        return delivery
    return delivery.replace(receipt=receipt)


def _moved(
    connection: sqlite3.Connection,
    seq: int,
    delivery: Delivery,
    status: DeliveryStatus,
    receipt: ReceiptState,
) -> Delivery:
    """Return the delivery after a receipt for its message, or for one part of it."""
    if len(delivery.message_ids) < 2:
        return _with_receipt(delivery, receipt)
    message = (status.provider, status.message_id)
    found = one(
        connection,
        "SELECT receipt FROM delivery_messages WHERE provider = ? AND message_id = ?",
        message,
    )
    before = None if found is None or found[0] is None else stored_receipt(found[0])
    if receipt.follows(before):
        connection.execute(
            "UPDATE delivery_messages SET receipt = ? WHERE provider = ? AND message_id = ?",
            (receipt.value, *message),
        )
    return _of_parts(connection, seq, delivery)


def _of_parts(connection: sqlite3.Connection, seq: int, delivery: Delivery) -> Delivery:
    """Return the delivery with the receipt of its parts, if any of them has one."""
    states = dict(
        connection.execute("SELECT message_id, receipt FROM delivery_messages WHERE delivery = ?", (seq,))
    )
    known = [states.get(part) for part in delivery.message_ids]
    if not any(known):
        return delivery
    whole = ReceiptState.of_parts(None if state is None else stored_receipt(state) for state in known)
    return delivery.replace(receipt=whole)


def _in_parts(
    connection: sqlite3.Connection, seq: int, delivery: Delivery, before: Mapping[str, Any]
) -> Delivery:
    """Return a row that has got further parts: its receipt is that of all of them."""
    only = before.get("provider_message_id")
    if before.get("receipt") is not None and all(part == only for part in before.get("parts") or ()):
        connection.execute(
            "UPDATE delivery_messages SET receipt = ? WHERE provider = ? AND message_id = ? AND delivery = ?",
            (before["receipt"], before.get("provider"), only, seq),
        )
    return _of_parts(connection, seq, delivery)


def _register(connection: sqlite3.Connection, seq: int, provider: str, message_ids: Sequence[str]) -> None:
    connection.executemany(
        "INSERT INTO delivery_messages (provider, message_id, delivery) VALUES (?, ?, ?) "
        "ON CONFLICT (provider, message_id) DO UPDATE SET delivery = excluded.delivery, "
        "receipt = CASE WHEN delivery = excluded.delivery THEN receipt END",
        [(provider, message_id, seq) for message_id in message_ids],
    )


def reopen_delivery(connection: sqlite3.Connection, delivery_id: str, now: Clock) -> Delivery:
    """Make a failed row pending again, in its lane, as if it had never been lost."""
    seq, room, failed = _failed(connection, delivery_id)
    place = place_of(connection, room, failed.channel_id, None, still_alive(connection, now))
    opened = failed.replace(
        state=DeliveryState.PENDING,
        error=None,
        finished_at=None,
        duration_ms=None,
        holder=place.holder,
        claims=0,
    )
    connection.execute(
        "UPDATE deliveries SET state = 'pending', data = ?, holder = ?, handed = ?, claims = 0 WHERE seq = ?",
        (dump(opened), *place, seq),
    )
    return opened


def add_fallback(
    connection: sqlite3.Connection, delivery_id: str, channel_id: str, now: Clock
) -> Delivery | None:
    """Put the event of a row into another channel's lane; None if it has a row there."""
    row = _found(connection, f"d.room, d.event, {DELIVERY}", delivery_id)
    if row is None:
        raise no_delivery(delivery_id)
    room, event, *columns = row
    known = "SELECT 1 FROM deliveries WHERE event = ? AND channel_id = ?"
    if one(connection, known, (event, channel_id)) is not None:
        return None
    place = place_of(connection, room, channel_id, None, still_alive(connection, now))
    before = delivery_of(tuple(columns))
    made = before.fallback_to(channel_id).replace(holder=place.holder)
    connection.execute(
        "INSERT INTO deliveries (room, event, channel_id, state, created_at, data, holder, handed) "
        "VALUES (?, ?, ?, 'pending', ?, ?, ?, ?)",
        (room, event, channel_id, made.created_at.isoformat(), dump(made), *place),
    )
    return made


def drop_delivery(connection: sqlite3.Connection, delivery_id: str, reason: str) -> Delivery:
    """Give a failed row up."""
    seq, _, failed = _failed(connection, delivery_id)
    dropped = failed.replace(state=DeliveryState.SKIPPED, reason=reason)
    connection.execute(
        "UPDATE deliveries SET state = 'skipped', data = ? WHERE seq = ?", (dump(dropped), seq)
    )
    return dropped


def _failed(connection: sqlite3.Connection, delivery_id: str) -> tuple[int, int, Delivery]:
    row = _found(connection, f"d.seq, d.room, d.state, {DELIVERY}", delivery_id)
    if row is None:
        raise no_delivery(delivery_id)
    seq, room, state, *columns = row
    if state != DeliveryState.FAILED.value:
        raise not_failed(delivery_id, state)
    return seq, room, delivery_of(tuple(columns))


# -- receipts -----------------------------------------------------------------------------------


def record_receipt(
    connection: sqlite3.Connection, status: DeliveryStatus, receipt: ReceiptState, data: str, now: Clock
) -> Delivery | None:
    """Move the receipt of a delivery forward, or keep it for the delivery that is yet to be completed."""
    row = one(connection, _OF_MESSAGE, (status.provider, status.message_id))
    if row is None:
        _keep_early(connection, status, receipt, data, now())
        return None
    before = delivery_of(row[1:])
    after = _moved(connection, row[0], before, status, receipt)
    if after is not before:
        connection.execute("UPDATE deliveries SET data = ? WHERE seq = ?", (dump(after), row[0]))
    return after


def _keep_early(
    connection: sqlite3.Connection, status: DeliveryStatus, receipt: ReceiptState, data: str, now: int
) -> None:
    message = (status.provider, status.message_id)
    waiting = connection.execute(
        "SELECT seq, receipt, data FROM early_receipts WHERE provider = ? AND message_id = ? ORDER BY seq",
        message,
    ).fetchall()
    if any(each[1:] == (receipt.value, data) for each in waiting):
        return
    too_many = [each[:1] for each in waiting[: max(0, len(waiting) + 1 - _MOST_EARLY)]]
    connection.executemany("DELETE FROM early_receipts WHERE seq = ?", too_many)
    # The last thousand are spared, so that a clock that jumps a day forward costs none that is awaited.
    connection.execute(
        "DELETE FROM early_receipts WHERE arrived_at < ? "
        "AND seq <= (SELECT max(seq) FROM early_receipts) - ?",
        (now - _EARLY_KEPT, _EARLY_SPARED),
    )
    connection.execute(
        "INSERT INTO early_receipts (provider, message_id, receipt, arrived_at, data) VALUES (?, ?, ?, ?, ?)",
        (*message, receipt.value, now, data),
    )


def _take_early(
    connection: sqlite3.Connection, provider: str, message_ids: Sequence[str]
) -> list[tuple[DeliveryStatus, ReceiptState]]:
    """Remove and return the receipts that wait for any of the message ids, in order of arrival."""
    values: tuple[Any, ...] = (provider, *message_ids)
    rows = connection.execute(
        "SELECT seq, message_id, receipt, data FROM early_receipts "
        f"WHERE provider = ? AND message_id IN ({marks(message_ids)}) ORDER BY seq",
        values,
    ).fetchall()
    if rows:
        connection.executemany("DELETE FROM early_receipts WHERE seq = ?", [row[:1] for row in rows])
    return [
        (_early_status(provider, message_id, receipt, data), stored_receipt(receipt))
        for _, message_id, receipt, data in rows
    ]


def delete_early(connection: sqlite3.Connection, recipients: Collection[str], not_of: Collection[str]) -> int:
    """Remove the receipts for a recipient that wait for their delivery; return how many there were."""
    waiting = connection.execute("SELECT seq, data FROM early_receipts")
    found = [(seq,) for seq, data in waiting if is_receipt_for(data, recipients, not_of)]
    connection.executemany("DELETE FROM early_receipts WHERE seq = ?", found)
    return len(found)


def _early_status(provider: str, message_id: str, receipt: str, data: str) -> DeliveryStatus:
    known = {"provider": provider, "message_id": message_id, "status": receipt}
    try:
        return DeliveryStatus.from_stored(data)
    except ValueError:
        return damaged_record(DeliveryStatus, readable_fields(data), known)
