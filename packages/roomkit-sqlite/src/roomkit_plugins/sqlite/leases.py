"""Which workers are alive, by this machine's clock.

Several processes on one machine read the same clock, but it may be changed. A lease that was
found to have run out is deleted in the transaction that acts on it: no clock brings it back. One whose
process has ended is deleted when the next worker starts, or renews its own; see `presence`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Set

from roomkit_plugins.sqlite.presence import Presence
from roomkit_plugins.sqlite.sql import column

__all__ = [
    "Clock",
    "alive",
    "announced",
    "announcer",
    "close_lease",
    "end_dead",
    "lasting",
    "listed",
    "open_lease",
    "renew_lease",
    "still_alive",
]

_SECOND = 1_000_000
_LONGEST = 2**60
_IN_FORCE = f"renewed_at <= ? + {_SECOND} AND ? < renewed_at + length"  # now, twice

type Clock = Callable[[], int]
"""Returns the present time in microseconds since 1970. It may jump, in either direction."""


def lasting(seconds: float) -> int:
    """Return seconds as the length of a lease."""
    return int(max(0.0, min(seconds * _SECOND, _LONGEST)))


def listed(channels: Collection[str] | None) -> str | None:
    """Return channel ids as the table has them, None for every channel."""
    return None if channels is None else json.dumps(sorted(channels))


def open_lease(
    connection: sqlite3.Connection,
    worker: str,
    length: int,
    channels: str | None,
    now: Clock,
    presence: Presence,
) -> None:
    """Begin a lease, and end those of processes that died."""
    presence.announce(worker)
    end_dead(connection, presence)
    connection.execute(
        "INSERT INTO leases (worker, renewed_at, length, channels) VALUES (?, ?, ?, ?)",
        (worker, now(), length, channels),
    )


def end_dead(connection: sqlite3.Connection, presence: Presence) -> None:
    """End the leases of processes that have certainly ended, so that their work can be reclaimed now."""
    for worker in column(connection, "SELECT worker FROM leases", ()):
        if presence.is_dead(worker):
            connection.execute("DELETE FROM leases WHERE worker = ?", (worker,))


def renew_lease(
    connection: sqlite3.Connection,
    worker: str,
    length: int,
    channels: str | None,
    now: Clock,
    presence: Presence,
) -> bool:
    """Let a lease that is in force run on; False when it is not, and never will be again."""
    presence.announce(worker)  # it lives here now, also if another process opened it
    end_dead(connection, presence)
    if worker not in still_alive(connection, now):
        presence.withdraw(worker)
        return False
    connection.execute(
        "UPDATE leases SET renewed_at = ?, length = ?, channels = coalesce(?, channels) WHERE worker = ?",
        (now(), length, channels, worker),
    )
    return True


def announced(connection: sqlite3.Connection, living: Set[str]) -> dict[str, Set[str] | None]:
    """Return the channels that each of these workers announces, None for every channel."""
    rows = connection.execute("SELECT worker, channels FROM leases ORDER BY worker").fetchall()
    return {
        worker: None if channels is None else _channels_in(channels)
        for worker, channels in rows
        if worker in living
    }


def _channels_in(text: str) -> Set[str] | None:
    """Return the channel ids that `listed` wrote; for text that cannot be read, None.

    A worker whose channels are not known counts as one for every channel, so that no delivery is dropped.
    """
    try:
        channels = json.loads(text)
    except ValueError:
        return None
    return {each for each in channels if isinstance(each, str)} if isinstance(channels, list) else None


def announcer(connection: sqlite3.Connection, channel_id: str, living: Set[str]) -> str | None:
    """Return one of these workers that announces the channel."""
    for worker, channels in announced(connection, living).items():
        if channels is None or channel_id in channels:
            return worker
    return None


def close_lease(connection: sqlite3.Connection, worker: str) -> None:
    """End a lease, in force or not, and release everything that the worker holds."""
    connection.execute("DELETE FROM leases WHERE worker = ?", (worker,))
    connection.execute(
        "UPDATE deliveries INDEXED BY deliveries_held SET holder = NULL, handed = 0 "
        "WHERE state = 'pending' AND holder = ?",
        (worker,),
    )
    connection.execute("UPDATE alarms SET holder = NULL WHERE holder = ?", (worker,))


def alive(connection: sqlite3.Connection, now: Clock) -> Set[str]:
    """Return the workers whose leases are in force."""
    at = now()
    return set(column(connection, f"SELECT worker FROM leases WHERE {_IN_FORCE}", (at, at)))


def still_alive(connection: sqlite3.Connection, now: Clock) -> Set[str]:
    """Return the workers whose leases are in force, and delete the others: something is decided on it."""
    at = now()
    rows = connection.execute(f"SELECT worker, {_IN_FORCE} FROM leases", (at, at)).fetchall()
    dead = [(worker,) for worker, in_force in rows if not in_force]
    if dead:
        connection.executemany("DELETE FROM leases WHERE worker = ?", dead)
    return {worker for worker, in_force in rows if in_force}
