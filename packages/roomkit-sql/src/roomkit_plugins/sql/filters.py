"""The filters of queries, as every SQL database takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from roomkit.models.enums import RoomStatus
from roomkit.models.room import Room
from roomkit.models.value import encoded_key

__all__ = [
    "FIRST_TIMER_KINDS",
    "LARGEST",
    "bounded",
    "clamp",
    "halves",
    "has_metadata",
    "key_range",
    "statuses",
]

FIRST_TIMER_KINDS = frozenset({"room_timers", "retention", "after_broadcast"})
"""The kinds that every worker handles. Workers of earlier versions claim any timer, and drop other kinds."""

LARGEST = 2**62
"""Above every limit, offset and index, and within the 64 bits of a database's integer."""

_OPEN = [status.value for status in RoomStatus if status.is_open]


def clamp(number: int) -> int:
    """Return a number as a limit or an offset: neither negative nor too large."""
    return max(0, min(number, LARGEST))


def bounded(index: int | None) -> int | None:
    """Return the bound of a range of indexes, within what a database compares."""
    return None if index is None else max(-1, min(index, LARGEST))


def statuses(status: RoomStatus | str | None) -> list[str]:
    """Return the statuses that a question about rooms asks for: the open ones when it names none."""
    return _OPEN if status is None else [str(status)]


def has_metadata(room: Room, metadata: Mapping[str, Any]) -> bool:
    """Whether the room has each key with an equal value; SQL narrows the rooms, and this decides."""
    missing = object()
    return all(room.metadata.get(key, missing) == value for key, value in metadata.items())


def halves(delivery_id: str) -> Iterator[tuple[str, str]]:
    """Yield each event's and channel's id that the id of a delivery may consist of; both may have colons."""
    for colon in re.finditer(":", delivery_id):
        yield delivery_id[: colon.start()], delivery_id[colon.end() :]


def key_range(prefix: Sequence[str]) -> tuple[str, str, str]:
    """Return where the keys that begin with some parts are among encoded keys.

    They are the first, and those from the second up to, without, the third.
    """
    encoded = encoded_key(prefix)
    if not prefix:
        return encoded, "[", "]"
    return encoded, f"{encoded[:-1]},", f"{encoded[:-1]}-"
