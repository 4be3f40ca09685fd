"""The errors of a store's contract, each with the same words for every store."""

from __future__ import annotations

from roomkit.abc.errors import (
    ChannelNotFoundError,
    DeliveryNotFoundError,
    DuplicateEventError,
    EventNotFoundError,
    IdentityNotFoundError,
    LockLostError,
    ParticipantNotFoundError,
    RoomAlreadyExistsError,
    RoomNotFoundError,
    StaleCursorError,
    StaleRoomError,
    StoreError,
)
from roomkit.models.event import RoomEvent

__all__ = [
    "duplicate_event",
    "event_twice",
    "foreign_task",
    "lock_lost",
    "no_binding",
    "no_cursor",
    "no_delivery",
    "no_event",
    "no_identity",
    "no_participant",
    "no_room",
    "not_failed",
    "room_exists",
    "stale_room",
]


def no_room(room_id: str) -> RoomNotFoundError:
    """Make the error for a room that does not exist."""
    return RoomNotFoundError(f"no room {room_id!r}: create_room first")


def room_exists(room_id: str) -> RoomAlreadyExistsError:
    """Make the error for a room that is created twice."""
    return RoomAlreadyExistsError(f"room {room_id!r} exists already: use get_room, or another id")


def stale_room(room_id: str, found: int, expected: int | None, then: str = "plan again") -> StaleRoomError:
    """Make the error for a room that has changed since its version `expected`."""
    return StaleRoomError(f"room {room_id!r} is at version {found}, not {expected}: {then}")


def lock_lost(room_id: str, found: int, fence: int | None) -> LockLostError:
    """Make the error for a commit under a lock that ran out before lock `found` was taken."""
    return LockLostError(
        f"room {room_id!r} was written to under lock {found}, after lock {fence} had run out: plan again"
    )


def no_event(room_id: str, event_id: str, verb: str) -> EventNotFoundError:
    """Make the error for an event that the room does not have; `verb` names the refused operation."""
    return EventNotFoundError(f"room {room_id!r} has no event {event_id!r} to {verb}")


def duplicate_event(first: RoomEvent, key: str | None) -> DuplicateEventError:
    """Make the error for an event that exists: by its idempotency key, or by its id when `key` is None."""
    if key is None:
        return DuplicateEventError(f"event {first.id!r} exists already", first)
    return DuplicateEventError(f"room {first.room_id!r} has the idempotency key {key!r} already", first)


def event_twice(room_id: str) -> StoreError:
    """Make the error for a commit whose own events clash."""
    return StoreError(f"a commit to room {room_id!r} has one event id or idempotency key twice: send it once")


def no_binding(room_id: str, channel_id: str | None) -> ChannelNotFoundError:
    """Make the error for a channel that is not attached to the room."""
    return ChannelNotFoundError(
        f"channel {channel_id!r} is not attached to room {room_id!r}: attach_channel first"
    )


def no_participant(room_id: str, participant_id: str | None) -> ParticipantNotFoundError:
    """Make the error for a participant that the room does not have."""
    return ParticipantNotFoundError(
        f"participant {participant_id!r} not found in room {room_id!r}: ensure_participant adds them"
    )


def no_identity(identity_id: str) -> IdentityNotFoundError:
    """Make the error for an identity that does not exist."""
    return IdentityNotFoundError(f"no identity {identity_id!r}: create_identity first")


def foreign_task(room_id: str, task_id: str) -> StoreError:
    """Make the error for a task whose id a task of another room has."""
    return StoreError(f"task {task_id!r} is another room's, not {room_id!r}'s: use another id")


def no_cursor(kind: str, own_id: str) -> StaleCursorError:
    """Make the error for a page that continues from a `kind` (room, delivery, task ...) that was deleted."""
    return StaleCursorError(
        f"cursor {kind} {own_id!r} no longer exists: restart from the first page with after=None"
    )


def no_delivery(delivery_id: str) -> DeliveryNotFoundError:
    """Make the error for a delivery that does not exist."""
    return DeliveryNotFoundError(f"no delivery {delivery_id!r}: list_deliveries shows those there are")


def not_failed(delivery_id: str, state: str) -> StoreError:
    """Make the error for a delivery that is to be reopened or dropped, and has not failed."""
    return StoreError(f"delivery {delivery_id!r} has not failed, it is {state}: leave it as it is")
