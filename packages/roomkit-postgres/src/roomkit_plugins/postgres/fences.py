"""Writes that are refused once another holder has taken a home."""

from __future__ import annotations

__all__ = ["under_token"]


def under_token(function: str, given: int) -> str:
    """Return a call of `function`, with `given` values from $3 on, that needs the newest token of a home.

    Three more values say which home: its room's id, its name, its token. The home's row is locked until the
    write is made, and read as it is when the lock is got: no holder takes it in between. The answer is
    `{"lost": true}` if another one has taken it.
    """
    room, name, token = (f"${place}" for place in range(given + 3, given + 6))
    home = (
        f"SELECT h.token FROM roomkit_homes h WHERE h.name = {name}::text AND CASE "
        f"WHEN {room}::text IS NULL THEN h.room IS NULL "
        f"ELSE h.room = (SELECT r.seq FROM roomkit_rooms r WHERE r.id = {room}::text) END FOR SHARE OF h"
    )
    return f"CASE WHEN {token}::bigint = ({home}) THEN {function} ELSE '{{\"lost\": true}}'::json END"
