"""The leases of the workers that share an in-memory store, and the alarms they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime

from roomkit.models.alarm import Alarm
from roomkit.models.base import new_id

__all__ = ["Alarms", "Leases"]

_JUMP = 1.0
"""By how many seconds the clock may go back before leases given later than now are over."""


class Leases:
    """Who is at work, by the running loop's time. A lease that has run out is never in force again."""

    def __init__(self) -> None:
        self._leases: dict[str, tuple[float, float]] = {}  # bound: those in force when one was opened
        self._channels: dict[str, frozenset[str] | None] = {}  # bound: `_leases`

    def open(self, seconds: float, channels: Collection[str] | None) -> str:
        """Begin a lease; return the worker's id."""
        for worker_id in [each for each in self._leases if not self.in_force(each)]:
            self.close(worker_id)
        worker_id = new_id()
        self._leases[worker_id] = (_now(), seconds)
        self._channels[worker_id] = None if channels is None else frozenset(channels)
        return worker_id

    def renew(self, worker_id: str, seconds: float, channels: Collection[str] | None) -> bool:
        """Begin a lease anew that has not run out yet."""
        if not self.in_force(worker_id):
            return False
        self._leases[worker_id] = (_now(), seconds)
        if channels is not None:
            self._channels[worker_id] = frozenset(channels)
        return True

    def close(self, worker_id: str) -> None:
        """End a lease."""
        self._leases.pop(worker_id, None)
        self._channels.pop(worker_id, None)

    def announcer(self, channel_id: str, *, besides: str | None = None) -> str | None:
        """Return a worker in force that announces the channel, another than `besides`."""
        announcing = (
            worker_id
            for worker_id, channels in self._channels.items()
            if worker_id != besides
            and (channels is None or channel_id in channels)
            and self.in_force(worker_id)
        )
        return min(announcing, default=None)

    def in_force(self, worker_id: str | None) -> bool:
        """Whether that is a worker whose lease has not run out."""
        if worker_id is None:
            return False
        lease = self._leases.get(worker_id)
        if lease is None:
            return False
        renewed_at, seconds = lease
        now = _now()
        return renewed_at <= now + _JUMP and now < renewed_at + seconds


class Alarms:
    """What waits for its time, and which worker is at it."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._alarms: dict[str, Alarm] = {}  # bound: those set and not answered, gone with their rooms
        self._of_room: dict[str, dict[str, None]] = {}  # bound: the rooms that have alarms
        self._held: dict[str, str] = {}  # bound: the alarms
        self._earliest: datetime | None = None
        """No alarm that nobody holds is due before."""

    def set(self, alarm: Alarm, holder: str | None = None) -> None:
        """Put an alarm in place of the one of its id."""
        self.remove([alarm.id])
        self._alarms[alarm.id] = alarm
        self._of_room.setdefault(alarm.room_id, {})[alarm.id] = None
        if holder is not None:
            self._held[alarm.id] = holder
        else:
            self._free(alarm)

    def remove(self, alarm_ids: Iterable[str]) -> None:
        """Forget alarms, those that are there."""
        for alarm_id in alarm_ids:
            alarm = self._alarms.pop(alarm_id, None)
            if alarm is not None:
                self._held.pop(alarm_id, None)
                of_room = self._of_room[alarm.room_id]
                del of_room[alarm_id]
                if not of_room:
                    del self._of_room[alarm.room_id]

    def answer(self, alarm_ids: Iterable[str], worker_id: str | None) -> None:
        """Forget alarms that the worker holds, or whoever does when it is None."""
        held = self._held
        self.remove(each for each in alarm_ids if worker_id is None or held.get(each) == worker_id)

    def of(self, room_id: str) -> list[Alarm]:
        """Return the alarms of a room, by the time they are due."""
        alarms = [self._alarms[alarm_id] for alarm_id in self._of_room.get(room_id, ())]
        return sorted(alarms, key=_due_at)

    def claim(self, worker_id: str, now: datetime, limit: int) -> list[Alarm]:
        """Give a worker those that are due and that nobody in force holds."""
        in_force = self._leases.in_force
        if not in_force(worker_id):
            return []
        holders = {holder: in_force(holder) for holder in self._held.values()}
        if (self._earliest is None or now < self._earliest) and all(holders.values()):
            return []  # as nearly always: nothing is due, and nobody was lost
        free = [each for each in self._alarms.values() if not holders.get(self._held.get(each.id, ""))]
        due = sorted((alarm for alarm in free if alarm.due_at <= now), key=_due_at)[:limit]
        taken = [self._take(alarm, worker_id) for alarm in due]
        self._earliest = min(
            (alarm.due_at for alarm in self._alarms.values() if alarm.id not in self._held), default=None
        )
        return taken

    def release(self, worker_id: str) -> None:
        """Have nobody hold what a worker held."""
        for alarm_id in [each for each, holder in self._held.items() if holder == worker_id]:
            del self._held[alarm_id]
            self._free(self._alarms[alarm_id])

    def _take(self, alarm: Alarm, worker_id: str) -> Alarm:
        if alarm.id in self._held:
            alarm = self._alarms[alarm.id] = alarm.replace(claims=alarm.claims + 1)
        self._held[alarm.id] = worker_id
        return alarm

    def _free(self, alarm: Alarm) -> None:
        if self._earliest is None or alarm.due_at < self._earliest:
            self._earliest = alarm.due_at


def _due_at(alarm: Alarm) -> datetime:
    return alarm.due_at


def _now() -> float:
    return asyncio.get_running_loop().time()
