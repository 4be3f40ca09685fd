"""Timers: set, claimed and completed."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

from roomkit.models.timer import Timer
from roomkit_plugins.sql.filters import FIRST_TIMER_KINDS, clamp
from roomkit_plugins.sqlite.leases import Clock, still_alive
from roomkit_plugins.sqlite.rows import dump, micros, readable_timers
from roomkit_plugins.sqlite.sql import marks

__all__ = [
    "PreparedTimer",
    "claim_timers",
    "delete_timer",
    "delete_timers_of",
    "find_timers",
    "list_timers",
    "prepare_timer",
    "put_timer",
    "remove_timers",
]

_PUT = """
INSERT INTO alarms (id, room, due_at, due, holder, claims, data, kind, subject)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET room = excluded.room, due_at = excluded.due_at, due = excluded.due,
    holder = excluded.holder, claims = excluded.claims, data = excluded.data, kind = excluded.kind,
    subject = excluded.subject
"""
_DUE = "coalesce(due, due_at)"
_KIND = f"coalesce(kind, '{min(FIRST_TIMER_KINDS)}')"
_NEVER = 253_402_300_799_999_999  # the last instant of the year 9999


class PreparedTimer(NamedTuple):
    """A timer with everything encoded."""

    id: str
    room_id: str | None
    due_at: int
    claims: int
    data: str
    kind: str
    subject: str | None


def prepare_timer(timer: Timer) -> PreparedTimer:
    """Return a timer as it is to be kept. Raises ValueError for what JSON cannot carry."""
    due_at, data = micros(timer.due_at), dump(timer)
    return PreparedTimer(timer.id, timer.room_id, due_at, timer.claims, data, timer.kind, timer.subject)


def put_timer(
    connection: sqlite3.Connection, room: int | None, timer: PreparedTimer, holder: str | None
) -> None:
    """Set a timer of a room, or of none, in place of the one of its id."""
    times = (timer.due_at, None) if timer.kind in FIRST_TIMER_KINDS else (_NEVER, timer.due_at)
    row = (timer.id, room, *times, holder, timer.claims, timer.data, timer.kind, timer.subject)
    connection.execute(_PUT, row)


def delete_timer(connection: sqlite3.Connection, timer_id: str) -> bool:
    """Remove a timer; False when there is none."""
    return connection.execute("DELETE FROM alarms WHERE id = ?", (timer_id,)).rowcount > 0


def delete_timers_of(connection: sqlite3.Connection, subject: str, organization_id: str | None) -> int:
    """Remove the timers about a person; return how many there were."""
    return connection.execute(
        "DELETE FROM alarms WHERE subject = ? AND (? IS NULL OR room IN "
        "(SELECT seq FROM rooms WHERE organization_id = ?))",
        (subject, organization_id, organization_id),
    ).rowcount


def remove_timers(connection: sqlite3.Connection, ids: Sequence[str], worker: str | None) -> None:
    """Remove completed timers, except those that another worker holds by now."""
    connection.executemany(
        "DELETE FROM alarms WHERE id = ? AND (? IS NULL OR holder = ?)",
        [(each, worker, worker) for each in ids],
    )


def claim_timers(
    connection: sqlite3.Connection,
    worker: str,
    due: int,
    kinds: Collection[str] | None,
    limit: int,
    now: Clock,
) -> list[Timer]:
    """Claim timers of some kinds that are due and that no living worker holds."""
    alive = still_alive(connection, now)
    if worker not in alive:
        return []
    wanted = "" if kinds is None else f"AND {_KIND} IN ({marks(kinds)}) "
    rows = connection.execute(
        f"SELECT seq, holder, data, claims, id FROM alarms WHERE {_DUE} <= ? {wanted}"
        f"AND (holder IS NULL OR holder NOT IN ({marks(alive)})) ORDER BY {_DUE}, seq LIMIT ?",
        (due, *(kinds or ()), *alive, clamp(limit)),
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
        f"ORDER BY {_DUE}, seq",
        (room_id,),
    ).fetchall()
    return readable_timers(rows)


def find_timers(
    connection: sqlite3.Connection, kind: str | None, due_before: int | None, after: str | None, limit: int
) -> list[Timer]:
    """Return a page of the timers of a kind that are due by then, in order of their ids."""
    rows = connection.execute(
        f"SELECT id, data, claims FROM alarms WHERE (? IS NULL OR {_KIND} = ?) "
        f"AND (? IS NULL OR {_DUE} <= ?) AND (? IS NULL OR id > ?) ORDER BY id LIMIT ?",
        (kind, kind, due_before, due_before, after, after, clamp(limit)),
    ).fetchall()
    return readable_timers(rows)
