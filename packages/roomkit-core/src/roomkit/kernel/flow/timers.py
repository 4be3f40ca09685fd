"""The durable timers of a room: their kinds, and the rows that a room or an event asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from roomkit.abc.errors import InvalidInputError
from roomkit.models.timer import Timer

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.room import Room

__all__ = [
    "AFTER_BROADCAST",
    "DUE_AT_ONCE",
    "FALLBACK",
    "GIVEN",
    "MOVING",
    "PLAYBACK",
    "REST_OF_MOVE",
    "RETENTION",
    "ROOM_TIMERS",
    "TimerHandler",
    "TimerOutcome",
    "after_broadcast_id",
    "after_broadcast_timer",
    "fallback_timer",
    "left_to_any_worker",
    "moving_timer_id",
    "room_of",
    "room_timer",
    "room_timer_id",
    "timers_of",
]

ROOM_TIMERS = "room_timers"
RETENTION = "retention"
AFTER_BROADCAST = "after_broadcast"
FALLBACK = "fallback"
PLAYBACK = "playback"
MOVING = "room_moving"
REST_OF_MOVE = "rest_of_move"
GIVEN = "given"
"""Where an owner's data is in a stored timer: what the kernel keeps is beside it."""

DUE_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""Due whatever a worker's clock shows: the clock of the worker that set the timer may be fast."""

_SOON = timedelta(milliseconds=1)


def left_to_any_worker(timer: Timer, at: datetime) -> Timer:
    """Return a timer of a commit at `at` so that the next look finds it, though it is due by then.

    A store leases timers that are due at the commit to the worker that commits, and no query finds leased
    ones: that is for the work this worker does itself at once, `DUE_AT_ONCE`.
    """
    if timer.due_at > at or timer.due_at == DUE_AT_ONCE:
        return timer
    return timer.replace(due_at=at + _SOON)


class TimerOutcome(NamedTuple):
    """The outcome of a fired timer: when it is due again (None: done), and whether anything changed.

    One that is due again at once is set at the end of the sweep, for the next sweep of any worker.
    """

    again: datetime | None
    changed: bool = False


type TimerHandler = Callable[[Timer], Awaitable[TimerOutcome]]
"""Handles fired timers of one kind."""


def timers_of(room: Room) -> list[Timer]:
    """Return the timers that a room needs now: for its `RoomTimers`, and for its retention."""
    timers: list[Timer] = []  # bound: two
    due = room_timer(room, room.next_due)
    if due is not None:
        timers.append(due)
    if room.retention_seconds is not None:
        due_at = room.created_at + timedelta(seconds=room.retention_seconds)
        timers.append(Timer(id=f"retention:{room.id}", room_id=room.id, kind=RETENTION, due_at=due_at))
    return timers


def after_broadcast_id(event_id: str) -> str:
    """Return the id of an event's `after_broadcast_timer`."""
    return f"after:{event_id}"


def after_broadcast_timer(event: RoomEvent) -> Timer:
    """Return the timer that runs an event's observers if its worker is killed before they ran.

    Its worker holds it from the commit on; for others it is due as soon as that worker's lease has ended.
    """
    return Timer(
        id=after_broadcast_id(event.id),
        room_id=event.room_id,
        kind=AFTER_BROADCAST,
        due_at=DUE_AT_ONCE,
        data={"event_id": event.id},
    )


def room_of(timer: Timer) -> str:
    """Return the room of a timer of the kernel's own kinds: each has one. Raises InvalidInputError."""
    if timer.room_id is None:
        raise InvalidInputError(f"timer {timer.id!r} of kind {timer.kind!r} names no room: set it with one")
    return timer.room_id


def fallback_timer(delivery_id: str, room_id: str, due_at: datetime) -> Timer:
    """Return the timer that looks whether a delivery has to go to another channel."""
    return Timer(
        id=f"{FALLBACK}:{delivery_id}",
        room_id=room_id,
        kind=FALLBACK,
        due_at=due_at,
        data={"delivery_id": delivery_id},
    )


def moving_timer_id(room_id: str) -> str:
    """Return the id of the timer that takes away the mark of a room that is being moved."""
    return f"{MOVING}:{room_id}"


def room_timer_id(room_id: str) -> str:
    """Return the id of a room's `room_timer`."""
    return f"timers:{room_id}"


def room_timer(room: Room, due_at: datetime | None) -> Timer | None:
    """Return the timer of a room's `RoomTimers`, None when nothing is due."""
    if due_at is None:
        return None
    return Timer(id=room_timer_id(room.id), room_id=room.id, kind=ROOM_TIMERS, due_at=due_at)
