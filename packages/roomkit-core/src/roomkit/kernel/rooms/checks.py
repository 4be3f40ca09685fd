"""What cannot be a room, channel or id, and what a closed room refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from roomkit.abc.channel import Channel
from roomkit.abc.errors import ChannelNotFoundError, InvalidInputError, RoomClosedError
from roomkit.kernel.flow.contract import check_channel
from roomkit.models.duration import LONGEST
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit.models.room import Room, RoomTimers
from roomkit.models.values import LONGEST_KEY, is_key

if TYPE_CHECKING:
    pass


__all__ = ["check_channel_id", "check_id", "check_open", "check_registered", "check_timers", "not_attached"]

_KEYWORDS = frozenset({"all", "none", "transport", "intelligence", "internal", SYSTEM_CHANNEL_ID})
_LONGEST_ID = 512


def check_id(value: object, what: str) -> str:
    """Return `value` when it can be an id. Raises InvalidInputError."""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_ID or "\0" in value:
        shown = repr(value) if isinstance(value, str) else type(value).__name__
        raise InvalidInputError(f"{shown} cannot be a {what} id: use 1 to {_LONGEST_ID} characters of text")
    if not value.isascii() and not is_key(value):
        raise InvalidInputError(
            f"{value!r} cannot be a {what} id: use valid Unicode, of at most {LONGEST_KEY} bytes in UTF-8"
        )
    return value


def check_channel_id(value: object) -> str:
    """Return `value` when it can be a channel id. Raises InvalidInputError."""
    channel_id = check_id(value, "channel")
    if (
        channel_id in _KEYWORDS
        or any(mark in channel_id for mark in ",&")
        or channel_id != channel_id.strip()
    ):
        raise InvalidInputError(
            f"{channel_id!r} cannot be a channel id: it has a meaning in `visibility` "
            f"(not {', '.join(sorted(_KEYWORDS))}; no comma, no ampersand, no spaces around)"
        )
    return channel_id


def check_open(room: Room, what: str) -> None:
    """Refuse a change of a room that is closed or archived. Raises RoomClosedError."""
    if not room.status.is_open:
        raise RoomClosedError(f"{what}: room {room.id!r} is {room.status}")


def check_registered(channel: Channel, channel_id: str) -> None:
    """Check what a channel says of itself before it is registered.

    Raises ForeignCodeError for a property that raises or has another type, and InvalidInputError for a
    provider's name, which every event and delivery of the channel holds, that no store can hold, and for
    `typing_seconds` that are no time.
    """
    said = check_channel(channel, channel_id)
    name, typing_seconds = said["provider_name"], said["typing_seconds"]
    if typing_seconds is not None and not typing_seconds > 0:
        raise InvalidInputError(
            f"channel {channel_id!r} cannot be registered: its typing_seconds are {typing_seconds!r}; give "
            "for how many seconds the vendor shows typing, or None if it does not"
        )
    if name is not None and not is_key(name):
        raise InvalidInputError(
            f"channel {channel_id!r} cannot be registered: its provider_name {name[:50]!r} cannot be "
            f"stored; use valid Unicode without NUL, of at most {LONGEST_KEY} bytes in UTF-8"
        )


def check_timers(timers: RoomTimers) -> None:
    """Refuse lengths beyond the calendar, and a last activity without a zone. Raises InvalidInputError."""
    for name in ("inactive_after_seconds", "closed_after_seconds"):
        length = getattr(timers, name)
        if length is not None and not (isinstance(length, int | float) and 0 <= length <= LONGEST):
            raise InvalidInputError(f"timers.{name} cannot be {length!r}: give seconds, at most 1000 years")
    moved = timers.last_activity_at
    if moved is not None and moved.tzinfo is None:
        raise InvalidInputError(
            f"timers.last_activity_at {moved.isoformat()} has no time zone: use datetime.now(UTC)"
        )
    if moved is not None and not _is_in_calendar(moved):
        raise InvalidInputError(
            f"timers.last_activity_at {moved} is a time that no calendar has in UTC: use datetime.now(UTC)"
        )


def _is_in_calendar(at: datetime) -> bool:
    try:
        at.astimezone(UTC)
    except OverflowError:
        return False
    return True


def not_attached(room_id: str, channel_id: str) -> ChannelNotFoundError:
    """Return the error for a channel without a binding in a room."""
    return ChannelNotFoundError(
        f"channel {channel_id!r} is not attached to room {room_id!r}: attach_channel first"
    )
