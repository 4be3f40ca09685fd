"""Rooms that meet: what moves from one room to another, in the writing connection's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from roomkit.abc.moved import busy_room, moved_key
from roomkit.abc.store import Move
from roomkit_plugins.sqlite.leases import Clock
from roomkit_plugins.sqlite.sql import marks, one
from roomkit_plugins.sqlite.writing import CommitRows, commit, seq_of

__all__ = ["MoveRows", "move"]


class MoveRows:
    """A move with everything encoded."""

    def __init__(self, given: Move) -> None:
        self.source = CommitRows(given.source)
        self.into = CommitRows(given.into)
        self.events = tuple(dict.fromkeys(given.events))
        self.authors = dict(given.authors)
        self.channels = tuple(given.channels)
        self.everything = given.everything


class _Row(NamedTuple):
    seq: int
    idx: int
    event_id: str
    key: str | None
    data: str


def move(connection: sqlite3.Connection, prepared: MoveRows, now: Clock) -> int:
    """Write everything or raise; return how many events were moved. See `ConversationStore.move`."""
    source, into = prepared.source, prepared.into
    rooms = seq_of(connection, source.room_id), seq_of(connection, into.room_id)
    rows = _rows(connection, rooms[0], prepared.events)
    _check_settled(connection, prepared, rooms, rows)
    commit(connection, source, now)
    ((first,),) = connection.execute("SELECT next_index FROM rooms WHERE seq = ?", (rooms[1],))
    for place, row in enumerate(rows):
        _move_event(connection, prepared, rooms, row, first + place)
    _count(connection, rooms, len(rows))
    for channel_id in prepared.channels:
        _move_mark(connection, rooms, channel_id, [row.idx for row in rows], first)
    if prepared.everything:
        _move_everything(connection, prepared, rooms)
    commit(connection, into, now)
    return len(rows)


def _rows(connection: sqlite3.Connection, room: int, events: Sequence[str]) -> list[_Row]:
    query = "SELECT seq, idx, id, idempotency_key, data FROM events WHERE id = ? AND room = ?"
    found = (one(connection, query, (event_id, room)) for event_id in events)
    return [_Row(*row) for row in found if row is not None]


def _check_settled(
    connection: sqlite3.Connection, prepared: MoveRows, rooms: tuple[int, int], rows: Sequence[_Row]
) -> None:
    """Raise RoomBusyError for a pending delivery that stands in the way."""
    pending = "SELECT 1 FROM deliveries WHERE state = 'pending' AND "
    if prepared.everything and one(connection, pending + "room = ?", (rooms[0],)) is not None:
        raise busy_room(prepared.source.room_id)
    for row in rows:
        if one(connection, pending + "event = ?", (row.seq,)) is not None:
            raise busy_room(prepared.source.room_id)
    for room, part in zip(rooms, (prepared.source, prepared.into), strict=True):
        touched = [*part.unbind, *(binding.channel_id for binding in part.bindings)]
        condition = f"room = ? AND channel_id IN ({marks(touched)})"
        if touched and one(connection, pending + condition, (room, *touched)) is not None:
            raise busy_room(part.room_id)


def _move_event(
    connection: sqlite3.Connection, prepared: MoveRows, rooms: tuple[int, int], row: _Row, index: int
) -> None:
    room_id, key = prepared.source.room_id, row.key
    taken = "SELECT 1 FROM events WHERE room = ? AND idempotency_key = ?"
    if key is not None and one(connection, taken, (rooms[1], key)) is not None:
        key = moved_key(room_id, key)
    connection.execute(
        "UPDATE events SET room = ?, idx = ?, idempotency_key = ?, data = ? WHERE seq = ?",
        (rooms[1], index, key, _moved(row, room_id, key, prepared.authors), row.seq),
    )
    connection.execute("UPDATE search SET room = ? WHERE rowid = ?", (rooms[1], row.seq))
    connection.execute(
        "UPDATE deliveries SET room = ?, data = CASE WHEN json_valid(data) THEN "
        "json_set(data, '$.room_id', ?, '$.event_index', ?) ELSE data END WHERE event = ?",
        (rooms[1], prepared.into.room_id, index, row.seq),
    )


def _moved(row: _Row, room_id: str, key: str | None, authors: Mapping[str, str]) -> str:
    """Return the record of an event that moves; one that cannot be read stays as it is."""
    try:
        fields: dict[str, Any] = from_json(row.data)
        source = fields["source"]
        for name in ("participant_id", "on_behalf_of"):
            if name in source:
                source[name] = authors.get(source[name], source[name])
    except (ValueError, TypeError, KeyError, AttributeError):  # damaged: shown as far as it can be read
        return row.data
    fields.setdefault("origin", {"room_id": room_id, "index": row.idx})
    if key is not None:
        fields["idempotency_key"] = key
    return to_json(fields).decode()


def _count(connection: sqlite3.Connection, rooms: tuple[int, int], count: int) -> None:
    counted = (
        "UPDATE rooms SET next_index = next_index + ?, event_count = event_count + ?, edition = edition + 1 "
        "WHERE seq = ?"
    )
    connection.executemany(counted, [(0, -count, rooms[0]), (count, count, rooms[1])])


def _move_mark(
    connection: sqlite3.Connection,
    rooms: tuple[int, int],
    channel_id: str,
    indexes: Sequence[int],
    first: int,
) -> None:
    row = one(
        connection, "SELECT idx FROM read_marks WHERE room = ? AND channel_id = ?", (rooms[0], channel_id)
    )
    if row is None:
        return
    connection.execute("DELETE FROM read_marks WHERE room = ? AND channel_id = ?", (rooms[0], channel_id))
    count = sum(index <= row[0] for index in indexes)
    if count:
        connection.execute(
            "INSERT INTO read_marks (room, channel_id, idx) VALUES (?, ?, ?) ON CONFLICT (room, channel_id) "
            "DO UPDATE SET idx = max(idx, excluded.idx)",
            (rooms[1], channel_id, first + count - 1),
        )


def _move_everything(connection: sqlite3.Connection, prepared: MoveRows, rooms: tuple[int, int]) -> None:
    source_id, into_id = prepared.source.room_id, prepared.into.room_id
    named = "CASE WHEN json_valid(data) THEN json_set(data, '$.room_id', ?) ELSE data END"
    taken = (
        "SELECT o.id FROM observations o JOIN observations t ON t.id = o.id AND t.room = ? WHERE o.room = ?"
    )
    for (own_id,) in connection.execute(taken, (rooms[1], rooms[0])).fetchall():
        key = moved_key(source_id, own_id)
        connection.execute(
            "UPDATE observations SET id = ?, data = CASE WHEN json_valid(data) THEN "
            "json_set(data, '$.id', ?) ELSE data END WHERE room = ? AND id = ?",
            (key, key, rooms[0], own_id),
        )
    for table in ("tasks", "observations", "alarms"):
        connection.execute(
            f"UPDATE {table} SET room = ?, data = {named} WHERE room = ?", (rooms[1], into_id, rooms[0])
        )
    connection.execute(
        f"UPDATE kept_values SET room_id = ?, data = {named} WHERE room_id = ?",
        (into_id, into_id, source_id),
    )
    connection.execute("DELETE FROM homes WHERE room = ?", (rooms[0],))
