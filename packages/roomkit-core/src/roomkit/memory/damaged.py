"""What a store shows of an event that it can no longer read.

For stores whose storage is elsewhere: a flipped bit, or a row that another program wrote, must not take
the rest of its room with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roomkit.abc.log import get_logger
from roomkit.models.event import RoomEvent

__all__ = ["damaged_event"]

_log = get_logger("roomkit.store")
_MOST_REPORTED = 1_000
_LONGEST_NUMBER = 4_300
_reported: set[tuple[str, str]] = set()  # bound: _MOST_REPORTED


def readable_fields(text: str) -> Mapping[str, Any]:
    """Return what can be read of a JSON object; a number that is too long becomes text."""
    try:
        fields = json.loads(text, parse_int=_number)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def damaged_event(fields: Mapping[str, Any], *, event_id: str, room_id: str, index: int) -> RoomEvent:
    """Return the event of a row that cannot be read, as far as its `fields` can; the log says it once.

    Nothing is written: the row stays as it is until the event is edited, deleted or erased.
    """
    if (room_id, event_id) not in _reported and len(_reported) < _MOST_REPORTED:
        _reported.add((room_id, event_id))
        _log.error(
            "event %s of room %s, index %s, cannot be read and is shown as unreadable: restore it from a "
            "backup, or erase it",
            event_id,
            room_id,
            index,
        )
    return RoomEvent.from_damaged(fields, event_id=event_id, room_id=room_id, index=index)


def _number(digits: str) -> int | str:
    return digits if len(digits) > _LONGEST_NUMBER else int(digits)
