"""Homes: which worker has a live thing, under its lease."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from roomkit.abc.errors import HomeLostError
from roomkit.abc.store import HomeRecord
from roomkit_plugins.sql.refusals import no_room
from roomkit_plugins.sqlite.leases import Clock, alive, announced, still_alive
from roomkit_plugins.sqlite.rows import micros, moment
from roomkit_plugins.sqlite.sql import one

__all__ = ["Yielding", "check_fence", "get_home", "holder", "leave_home", "take_home", "yield_lane"]

_HOME = "SELECT h.seq, h.worker, h.token, h.url, h.lost_at FROM homes h "
_WHERE = "WHERE h.room = (SELECT seq FROM rooms WHERE id = ?) AND h.name = ?"
_ELECTED = "WHERE h.room IS NULL AND ? IS NULL AND h.name = ?"


def get_home(connection: sqlite3.Connection, room_id: str | None, name: str, now: Clock) -> HomeRecord | None:
    """Return a home, None if it was never taken."""
    return _found(connection, room_id, name, alive(connection, now))[1]


def _found(
    connection: sqlite3.Connection, room_id: str | None, name: str, living: AbstractSet[str]
) -> tuple[int | None, HomeRecord | None]:
    row = one(connection, _HOME + (_ELECTED if room_id is None else _WHERE), (room_id, name))
    if row is None:
        return None, None
    seq, worker, token, url, lost_at = row
    return seq, HomeRecord(room_id, name, worker, token, worker in living, url, moment(lost_at))


def check_fence(connection: sqlite3.Connection, fence: HomeRecord | None) -> None:
    """Raise HomeLostError if a home has a newer token than its fence."""
    if fence is None:
        return
    home = _found(connection, fence.room_id, fence.name, frozenset())[1]
    if home is None or home.token != fence.token:
        raise HomeLostError.at(fence.name, fence.token)


def take_home(
    connection: sqlite3.Connection, wanted: HomeRecord, token: int | None, now: Clock
) -> HomeRecord:
    """Give a home to the worker of `wanted`, unless another one in force has it; return it as it is."""
    room, room_id, worker = None, wanted.room_id, wanted.worker_id
    if room_id is not None:
        found = one(connection, "SELECT seq FROM rooms WHERE id = ?", (room_id,))
        if found is None:
            raise no_room(room_id)
        (room,) = found
    living = still_alive(connection, now)
    seq, home = _found(connection, room_id, wanted.name, living)
    home = home or HomeRecord(room_id, wanted.name)
    if (
        worker not in living
        or (home.is_alive and home.worker_id != worker)
        or token not in (None, home.token)
    ):
        return home
    token = home.token + (home.worker_id != worker)
    if seq is None:
        connection.execute(
            "INSERT INTO homes (room, name, worker, token, url) VALUES (?, ?, ?, ?, ?)",
            (room, wanted.name, worker, token, wanted.url),
        )
    else:
        connection.execute(
            "UPDATE homes SET worker = ?, token = ?, url = ?, lost_at = NULL WHERE seq = ?",
            (worker, token, wanted.url, seq),
        )
    return HomeRecord(room_id, wanted.name, worker, token, is_alive=True, url=wanted.url)


def leave_home(connection: sqlite3.Connection, room_id: str | None, name: str, worker: str) -> bool:
    """Free a home that the worker has."""
    seq, home = _found(connection, room_id, name, frozenset())
    if home is None or home.worker_id != worker:
        return False
    connection.execute("UPDATE homes SET worker = NULL, url = NULL, lost_at = NULL WHERE seq = ?", (seq,))
    return True


def holder(
    connection: sqlite3.Connection,
    homes: Sequence[tuple[str, str]],
    channel_id: str,
    living: AbstractSet[str],
) -> str | None:
    """Return the worker to which a free lane goes, of those with homes of its room: worker and name.

    That with the home of the channel; else, for an agent, the first that announces it.
    """
    for worker, name in sorted(homes, key=lambda each: (each[1] != channel_id, each[1])):
        if worker in living:
            channels = None if name == channel_id else announced(connection, living)[worker]
            if channels is None or channel_id in channels:
                return worker
    return None


class Yielding(NamedTuple):
    """A lane that its worker passes on, at a time and with so many seconds of grace."""

    room_id: str
    channel_id: str
    worker: str
    at: datetime
    grace: float


def yield_lane(connection: sqlite3.Connection, lane: Yielding, now: Clock) -> HomeRecord | None:
    """Hand the rows that the worker holds over to the home's holder, or release them while one is awaited."""
    seq, home = _found(connection, lane.room_id, lane.channel_id, still_alive(connection, now))
    if home is None:
        return None
    if home.is_lost and home.lost_at is None:
        connection.execute("UPDATE homes SET lost_at = ? WHERE seq = ?", (micros(lane.at), seq))
        home = replace(home, lost_at=lane.at)
    if home.is_alive or home.is_awaited(lane.at, lane.grace):
        to = home.worker_id if home.is_alive and home.worker_id != lane.worker else None
        connection.execute(
            "UPDATE deliveries SET holder = ?, handed = ? WHERE room = (SELECT seq FROM rooms WHERE id = ?) "
            "AND channel_id = ? AND state = 'pending' AND holder = ?",
            (to, to is not None, lane.room_id, lane.channel_id, lane.worker),
        )
    return home
