"""The durable timers of a room: their kinds, and the rows that a room or an event asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from roomkit.models.alarm import Alarm

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.room import Room

__all__ = [
    "AFTER_BROADCAST",
    "DUE_AT_ONCE",
    "RETENTION",
    "ROOM_TIMERS",
    "Answer",
    "AnswerAlarm",
    "after_broadcast_alarm",
    "after_broadcast_id",
    "room_alarms",
    "timers_alarm",
    "timers_id",
]

ROOM_TIMERS = "room_timers"
RETENTION = "retention"
AFTER_BROADCAST = "after_broadcast"

DUE_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""Due whatever a worker's clock shows: the clock of the worker that set the timer may be fast."""


class Answer(NamedTuple):
    """What became of an alarm: when it is due again (None: done with), and whether anything changed.

    One that is due again at once is set at the end of the sweep, for the next one of any worker.
    """

    again: datetime | None
    changed: bool = False


type AnswerAlarm = Callable[[Alarm], Awaitable[Answer]]
"""Does what an alarm is for."""


def room_alarms(room: Room) -> list[Alarm]:
    """Return the alarms a room needs as it is: for its timers, and for what it keeps only for a time."""
    alarms: list[Alarm] = []  # bound: two
    timers = timers_alarm(room, room.next_due)
    if timers is not None:
        alarms.append(timers)
    if room.retention_seconds is not None:
        due_at = room.created_at + timedelta(seconds=room.retention_seconds)
        alarms.append(Alarm(id=f"retention:{room.id}", room_id=room.id, kind=RETENTION, due_at=due_at))
    return alarms


def after_broadcast_id(event_id: str) -> str:
    """Return the id of an event's `after_broadcast_alarm`."""
    return f"after:{event_id}"


def after_broadcast_alarm(event: RoomEvent) -> Alarm:
    """Return the alarm that has an event's observers run even if its worker is killed before.

    Its worker holds it from the commit on; for others it is due as soon as that worker's lease has ended.
    """
    return Alarm(
        id=after_broadcast_id(event.id),
        room_id=event.room_id,
        kind=AFTER_BROADCAST,
        due_at=DUE_AT_ONCE,
        data={"event_id": event.id},
    )


def timers_id(room_id: str) -> str:
    """Return the id of a room's `timers_alarm`."""
    return f"timers:{room_id}"


def timers_alarm(room: Room, due_at: datetime | None) -> Alarm | None:
    """Return the alarm for a room's timers, None when they ask for nothing."""
    if due_at is None:
        return None
    return Alarm(id=timers_id(room.id), room_id=room.id, kind=ROOM_TIMERS, due_at=due_at)
