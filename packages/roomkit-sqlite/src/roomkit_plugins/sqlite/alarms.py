"""What waits for its time, as it is set, taken and answered."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from roomkit.models.alarm import Alarm
from roomkit_plugins.sqlite.leases import Clock, still_alive
from roomkit_plugins.sqlite.rows import dump, micros, readable_alarms
from roomkit_plugins.sqlite.sql import clamp, marks

__all__ = ["PreparedAlarm", "claim_alarms", "list_alarms", "prepare_alarm", "put_alarm", "remove_alarms"]

_PUT = """
INSERT INTO alarms (id, room, due_at, holder, claims, data) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET room = excluded.room, due_at = excluded.due_at, holder = excluded.holder,
    claims = excluded.claims, data = excluded.data
"""


class PreparedAlarm(NamedTuple):
    """An alarm with everything encoded."""

    id: str
    room_id: str
    due_at: int
    claims: int
    data: str


def prepare_alarm(alarm: Alarm) -> PreparedAlarm:
    """Return an alarm as it is to be kept. Raises ValueError for what JSON cannot carry."""
    return PreparedAlarm(alarm.id, alarm.room_id, micros(alarm.due_at), alarm.claims, dump(alarm))


def put_alarm(connection: sqlite3.Connection, room: int, alarm: PreparedAlarm, holder: str | None) -> None:
    """Set an alarm of a room, in place of the one of its id."""
    connection.execute(_PUT, (alarm.id, room, alarm.due_at, holder, alarm.claims, alarm.data))


def remove_alarms(connection: sqlite3.Connection, ids: Sequence[str], worker: str | None) -> None:
    """Remove alarms that were answered; those that another worker holds by now stay its own."""
    connection.executemany(
        "DELETE FROM alarms WHERE id = ? AND (? IS NULL OR holder = ?)",
        [(each, worker, worker) for each in ids],
    )


def claim_alarms(
    connection: sqlite3.Connection, worker: str, due: int, limit: int, now: Clock
) -> list[Alarm]:
    """Take alarms that are due and that nobody alive holds."""
    alive = still_alive(connection, now)
    if worker not in alive:
        return []
    rows = connection.execute(
        "SELECT seq, holder, data, claims, id FROM alarms WHERE due_at <= ? "
        f"AND (holder IS NULL OR holder NOT IN ({marks(alive)})) ORDER BY due_at, seq LIMIT ?",
        (due, *alive, clamp(limit)),
    ).fetchall()
    taken = [(worker, claims + (holder is not None), seq) for seq, holder, _, claims, _ in rows]
    connection.executemany("UPDATE alarms SET holder = ?, claims = ? WHERE seq = ?", taken)
    return readable_alarms(
        (own_id, data, claims) for (_, _, data, _, own_id), (_, claims, _) in zip(rows, taken, strict=True)
    )


def list_alarms(connection: sqlite3.Connection, room_id: str) -> list[Alarm]:
    """Return the alarms of a room, by the time they are due."""
    rows = connection.execute(
        "SELECT id, data, claims FROM alarms WHERE room = (SELECT seq FROM rooms WHERE id = ?) "
        "ORDER BY due_at, seq",
        (room_id,),
    ).fetchall()
    return readable_alarms(rows)
