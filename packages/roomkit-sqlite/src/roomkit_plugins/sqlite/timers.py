"""Timers: set, claimed and completed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from roomkit.models.timer import Timer
from roomkit_plugins.sql.filters import clamp
from roomkit_plugins.sqlite.leases import Clock, still_alive
from roomkit_plugins.sqlite.rows import dump, micros, readable_timers
from roomkit_plugins.sqlite.sql import marks

__all__ = ["PreparedTimer", "claim_timers", "list_timers", "prepare_timer", "put_timer", "remove_timers"]

_PUT = """
INSERT INTO alarms (id, room, due_at, holder, claims, data) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET room = excluded.room, due_at = excluded.due_at, holder = excluded.holder,
    claims = excluded.claims, data = excluded.data
"""


class PreparedTimer(NamedTuple):
    """A timer with everything encoded."""

    id: str
    room_id: str
    due_at: int
    claims: int
    data: str


def prepare_timer(timer: Timer) -> PreparedTimer:
    """Return a timer as it is to be kept. Raises ValueError for what JSON cannot carry."""
    return PreparedTimer(timer.id, timer.room_id, micros(timer.due_at), timer.claims, dump(timer))


def put_timer(connection: sqlite3.Connection, room: int, timer: PreparedTimer, holder: str | None) -> None:
    """Set a timer of a room, in place of the one of its id."""
    connection.execute(_PUT, (timer.id, room, timer.due_at, holder, timer.claims, timer.data))


def remove_timers(connection: sqlite3.Connection, ids: Sequence[str], worker: str | None) -> None:
    """Remove completed timers, except those that another worker holds by now."""
    connection.executemany(
        "DELETE FROM alarms WHERE id = ? AND (? IS NULL OR holder = ?)",
        [(each, worker, worker) for each in ids],
    )


def claim_timers(
    connection: sqlite3.Connection, worker: str, due: int, limit: int, now: Clock
) -> list[Timer]:
    """Claim timers that are due and that no living worker holds."""
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
    return readable_timers(
        (own_id, data, claims) for (_, _, data, _, own_id), (_, claims, _) in zip(rows, taken, strict=True)
    )


def list_timers(connection: sqlite3.Connection, room_id: str) -> list[Timer]:
    """Return the timers of a room, by the time they are due."""
    rows = connection.execute(
        "SELECT id, data, claims FROM alarms WHERE room = (SELECT seq FROM rooms WHERE id = ?) "
        "ORDER BY due_at, seq",
        (room_id,),
    ).fetchall()
    return readable_timers(rows)
