"""Records that cannot be read any more: shown as far as they can, and named once in the log.

A flipped bit, or a row that another program wrote, must not take the rest of its room with it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from roomkit.abc.log import get_logger
from roomkit.models.base import Record
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import ReceiptState
from roomkit.models.event import SYSTEM_CHANNEL_ID, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit.models.value import Value

__all__ = [
    "damaged_event",
    "damaged_record",
    "readable_fields",
    "report_room",
    "report_timer",
    "stored_receipt",
    "stored_value",
]

_log = get_logger("roomkit.store")
_MOST_REPORTED = 1_000
_LONGEST_NUMBER = 4_300
_reported: set[tuple[str, ...]] = set()  # bound: _MOST_REPORTED
_UNREADABLE = "(unreadable)"
_NAMES = ("id", "namespace", "revision", "channel_id", "room_id", "provider", "message_id")
"""The fields that name a record in the log. The key of a value may be a person's address."""
_RESTRICTED = "stands with the least rights: restore it from a backup, or write it again"
_SHOWN: Mapping[type[Record], str] = dict.fromkeys(
    (Delivery, DeliveryStatus, Identity, Value),
    "is shown as far as it can be read: restore it from a backup, or write it again",
)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_STAND_INS: Mapping[type[Record], Mapping[str, Any]] = {
    ChannelBinding: {"channel_type": "system", "attached_at": _LONG_AGO},
    Participant: {
        "channel_id": SYSTEM_CHANNEL_ID,
        "role": "observer",
        "status": "banned",
        "joined_at": _LONG_AGO,
    },
    Task: {"title": _UNREADABLE, "created_at": _LONG_AGO},
    Observation: {"channel_id": SYSTEM_CHANNEL_ID, "content": _UNREADABLE, "created_at": _LONG_AGO},
    Delivery: {"state": "failed", "created_at": _LONG_AGO},
    DeliveryStatus: {"status": "unknown"},
    Identity: {},
    Value: {},
}
"""An unknown permission counts as refused: a ban must not be lifted by a damaged row.

A delivery counts as failed, which is final until an operator retries it.
"""
_CLOSED: Mapping[str, Any] = {"access": "none", "muted": True, "visibility": "none"}
"""A binding that cannot be read carries nothing, because what it permitted is not known."""


def readable_fields(text: str) -> Mapping[str, Any]:
    """Return the readable part of a JSON object; a number that is too long becomes text."""
    try:
        fields = json.loads(text, parse_int=_number)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def is_receipt_for(text: str, recipients: Collection[str], not_of: Collection[str]) -> bool:
    """Return whether a stored receipt names one of the recipients, and none of the channels `not_of`."""
    fields = readable_fields(text)
    recipient, channel_id = fields.get("recipient"), fields.get("channel_id")
    if not isinstance(recipient, str):
        return False
    return recipient in recipients and not (isinstance(channel_id, str) and channel_id in not_of)


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


def damaged_record[R: Record](model: type[R], fields: Mapping[str, Any], known: Mapping[str, Any]) -> R:
    """Return a record that cannot be read, as far as its `fields` can; the log says it once.

    `known` are the fields that follow from where it is stored: its own id, its `room_id`. A binding neither
    reads nor writes; a participant whose status cannot be read counts as banned, one whose role cannot as an
    observer; a delivery whose state cannot be read counts as failed. Nothing is written.
    """
    named = {field: known[field] for field in _NAMES if field in known}
    _report(model, named, _SHOWN.get(model, _RESTRICTED))
    closed = _CLOSED if model is ChannelBinding else {}
    return model.salvaged(fields, stand_ins=_STAND_INS[model], known={**known, **closed})


def report_room(room_id: str) -> None:
    """Say in the log, once, that a room cannot be read and is missing from lists of rooms."""
    _report(Room, {"id": room_id}, "is missing from lists of rooms: restore it from a backup, or delete it")


def stored_value(
    data: str,
    revision: int,
    organization_id: str,
    namespace: str,
    key: str,
    subject: str | None,
    room_id: str | None,
    expires_at: datetime | None,
) -> Value:
    """Return the value kept as `data`; one that cannot be read has what its columns say, and no data."""
    try:
        return Value.from_stored(data).replace(revision=revision, room_id=room_id)
    except ValidationError:
        known = {
            "namespace": namespace,
            "revision": revision,
            "organization_id": organization_id or None,
            "key": _parts_of(key),
            "subject": subject,
            "room_id": room_id,
            "expires_at": expires_at,
        }
        return damaged_record(Value, readable_fields(data), known)


def _parts_of(key: str) -> list[str]:
    parts = readable_fields(f'{{"key":{key}}}').get("key")
    return [each for each in parts if isinstance(each, str)] if isinstance(parts, list) else [key]


def stored_receipt(word: str) -> ReceiptState:
    """Return the state that a store wrote; UNKNOWN for a value that is not one."""
    try:
        return ReceiptState.from_stored(word)
    except ValueError:
        return ReceiptState.UNKNOWN


def report_timer(known: Mapping[str, Any]) -> None:
    """Say in the log, once, that a timer cannot be read and will not fire."""
    named = {field: known[field] for field in ("id", "room_id", "kind") if field in known}
    _report(Timer, named, "will not fire: restore it from a backup, or set it again")


def _report(model: type[Record], known: Mapping[str, Any], consequence: str) -> None:
    name = (model.__name__, *map(str, known.values()))
    if name in _reported or len(_reported) >= _MOST_REPORTED:
        return
    _reported.add(name)
    shown = ", ".join(f"{field} {value!r}" for field, value in known.items())
    _log.error("a stored %s (%s) cannot be read and %s", model.__name__, shown, consequence)


def _number(digits: str) -> int | str:
    return digits if len(digits) > _LONGEST_NUMBER else int(digits)
