"""The leases of the workers that share an in-memory store, and the timers they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime

from roomkit.models.base import new_id
from roomkit.models.timer import Timer

__all__ = ["Leases", "TimerTable"]

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
        """Renew a lease that has not run out yet."""
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

    def announces(self, worker_id: str, channel_id: str) -> bool:
        """Whether a worker announces the channel."""
        channels = self._channels.get(worker_id)
        return channels is None or channel_id in channels

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


class TimerTable:
    """The timers of all rooms, and which worker holds each."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._timers: dict[str, Timer] = {}  # bound: those not fired yet; they go with their rooms
        self._of_room: dict[str | None, dict[str, None]] = {}  # bound: the rooms that have timers
        self._held: dict[str, str] = {}  # bound: the timers
        self._earliest: datetime | None = None
        """No free timer is due earlier."""

    def set(self, timer: Timer, holder: str | None = None) -> None:
        """Put a timer in place of the one of its id."""
        self.remove([timer.id])
        self._timers[timer.id] = timer
        self._of_room.setdefault(timer.room_id, {})[timer.id] = None
        if holder is not None:
            self._held[timer.id] = holder
        else:
            self._free(timer)

    def remove(self, timer_ids: Iterable[str]) -> int:
        """Forget timers, those that are there; return how many there were."""
        count = len(self._timers)
        for timer_id in timer_ids:
            timer = self._timers.pop(timer_id, None)
            if timer is not None:
                self._held.pop(timer_id, None)
                of_room = self._of_room[timer.room_id]
                del of_room[timer_id]
                if not of_room:
                    del self._of_room[timer.room_id]
        return count - len(self._timers)

    def complete(self, timer_ids: Iterable[str], worker_id: str | None) -> None:
        """Remove timers that the worker holds, or that any worker holds when it is None."""
        held = self._held
        self.remove(each for each in timer_ids if worker_id is None or held.get(each) == worker_id)

    def move_room(self, room_id: str, into: str) -> None:
        """Give the timers of a room to another one."""
        for timer_id in self._of_room.pop(room_id, ()):
            self._timers[timer_id] = self._timers[timer_id].replace(room_id=into)
            self._of_room.setdefault(into, {})[timer_id] = None

    def of(self, room_id: str) -> list[Timer]:
        """Return the timers of a room, by the time they are due."""
        timers = [self._timers[timer_id] for timer_id in self._of_room.get(room_id, ())]
        return sorted(timers, key=_due_at)

    def page(
        self, kind: str | None, due_before: datetime | None, after: str | None, limit: int
    ) -> list[Timer]:
        """Return the timers of a kind that are due by then, those with the next ids."""
        found = (
            timer
            for timer in self._timers.values()
            if kind in (None, timer.kind)
            and (due_before is None or timer.due_at <= due_before)
            and (after is None or timer.id > after)
        )
        return sorted(found, key=_id_of)[: max(limit, 0)]

    def about(self, subject: str) -> list[Timer]:
        """Return the timers about a person."""
        return [timer for timer in self._timers.values() if timer.subject == subject]

    def claim(self, worker_id: str, now: datetime, kinds: Collection[str] | None, limit: int) -> list[Timer]:
        """Give a worker the timers of some kinds that are due and that no living worker holds."""
        in_force = self._leases.in_force
        if not in_force(worker_id):
            return []
        holders = {holder: in_force(holder) for holder in self._held.values()}
        if (self._earliest is None or now < self._earliest) and all(holders.values()):
            return []  # as nearly always: nothing is due, and no worker was lost
        free = [each for each in self._timers.values() if not holders.get(self._held.get(each.id, ""))]
        wanted = (timer for timer in free if timer.due_at <= now and (kinds is None or timer.kind in kinds))
        due = sorted(wanted, key=_due_at)[: max(limit, 0)]
        taken = [self._take(timer, worker_id) for timer in due]
        self._earliest = min(
            (timer.due_at for timer in self._timers.values() if timer.id not in self._held), default=None
        )
        return taken

    def release(self, worker_id: str) -> None:
        """Release everything that a worker holds."""
        for timer_id in [each for each, holder in self._held.items() if holder == worker_id]:
            del self._held[timer_id]
            self._free(self._timers[timer_id])

    def _take(self, timer: Timer, worker_id: str) -> Timer:
        if timer.id in self._held:
            timer = self._timers[timer.id] = timer.replace(claims=timer.claims + 1)
        self._held[timer.id] = worker_id
        return timer

    def _free(self, timer: Timer) -> None:
        if self._earliest is None or timer.due_at < self._earliest:
            self._earliest = timer.due_at


def _due_at(timer: Timer) -> datetime:
    return timer.due_at


def _now() -> float:
    return asyncio.get_running_loop().time()


def _id_of(timer: Timer) -> str:
    return timer.id
