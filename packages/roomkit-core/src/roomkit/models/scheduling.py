"""Scheduled sends, and when they go out."""

from __future__ import annotations

from datetime import date, datetime
from datetime import time as clock_time
from typing import Literal

from roomkit._dataclasses import dataclass
from roomkit.models.base import Record
from roomkit.models.event import RoomEvent
from roomkit.models.values import Label

__all__ = ["LocalTime", "ScheduledSend", "SendAt", "ZoneFrom"]

type ZoneFrom = Literal["participant", "identity", "number", "kit"]
"""Where a time zone was found: with the participant, their identity, the country of their number, the kit."""


@dataclass(slots=True, frozen=True)
class LocalTime:
    """A time of day where a participant is: the next one, or that of the day `on`.

    `time` is a `datetime.time` without a zone, or text such as "09:00"; None is as soon as the `window` is
    open, now or then, or as it opens on the day `on`. `of` is the participant whose zone
    counts: their `timezone`, their identity's, that of their phone number's country if it has one zone, else
    the kit's. Without `of` it is the kit's. A time that the clocks skip is as much later as they skip; of one
    that comes twice it is the first.

    `window` is from when to when, in that zone, something may be sent; outside it is sent when the window
    opens next, also when a worker is late. It may reach over midnight. Raises ValueError for other texts, and
    for neither a time nor a window.
    """

    time: clock_time | str | None = None
    of: str | None = None
    window: tuple[clock_time, clock_time] | None = None
    on: date | None = None

    def __post_init__(self) -> None:
        times: tuple[object, ...] = (self.at, *(self.window or (clock_time(0), clock_time(1))))
        known = [each for each in times if isinstance(each, clock_time)]
        if len(known) < len(times) or len(times) != 3:
            raise ValueError(f"{self!r} has a time or a window of another type: give datetime.time values")
        if self.time is None and self.window is None:
            raise ValueError("a LocalTime without a time needs a window: give one of them")
        _, opens, closes = known
        if any(each.tzinfo is not None for each in known):
            raise ValueError(f"{self!r} has a time with a zone: the zone is the participant's")
        if opens == closes:
            raise ValueError(f"the window of {self!r} is empty: give two different times")

    @property
    def at(self) -> clock_time:
        """The time of day; midnight for None."""
        if self.time is None:
            return clock_time(0)
        if not isinstance(self.time, str):
            return self.time
        try:
            return clock_time.fromisoformat(self.time)
        except ValueError:
            raise ValueError(f"{self.time!r} is not a time of day: write it like '09:00'") from None


type SendAt = datetime | LocalTime
"""When a message is sent: at an instant, or at a recipient's time of day."""


class ScheduledSend(Record):
    """An event that is sent later; `event` has its final id, and is `pending`.

    `timezone` is the zone that was used, and `timezone_from` where it was found; both are None for an
    instant. `window` is that of its `LocalTime`.
    """

    event: RoomEvent
    due_at: datetime
    timezone: Label | None = None
    timezone_from: ZoneFrom | None = None
    window: tuple[clock_time, clock_time] | None = None
    is_being_sent: bool = False
    """Whether a worker has begun to send it: it is no longer changed or cancelled."""
