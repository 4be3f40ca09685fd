"""Locks of a lock service that a process keeps between two holders."""

from __future__ import annotations

import math
from asyncio import get_running_loop
from collections.abc import Callable

__all__ = ["KeptLocks"]

_IDLE = 30.0
"""Seconds after its last use at which a kept lock is released."""
_SHARED = 10.0
"""Seconds after a request of another process in which a lock is not kept."""
_REST = 60.0
"""Seconds without any kept lock, after another process waited for one and had not asked for it."""
_REMEMBERED = 4096


class KeptLocks[Grant]:
    """Which locks stay with this process after they were left, so that their next holder asks no service.

    A kept lock is released when another process asks for it (`asked`), 30 s after its last use
    (`expire`), and as the least recently used when more than `most` are kept. It is only kept where that
    saves requests: from the second use within 30 s on, and not within 10 s of a request by another
    process, because a hand-over costs more requests than a release and an acquisition.

    `release` gives one lock back to the service; it must not wait. Nothing here waits either.
    """

    def __init__(self, release: Callable[[Grant], None], most: int) -> None:
        self._release = release
        self.most = most
        self._kept: dict[str, tuple[Grant, float]] = {}  # bound: most; the least recently used first
        self._used: dict[str, float] = {}  # bound: _REMEMBERED; the last uses by this process
        self._asked: dict[str, float] = {}  # bound: _REMEMBERED; the last requests of others
        self._rests_until = -math.inf

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, room_id: str) -> bool:
        return room_id in self._kept

    def take(self, room_id: str) -> Grant | None:
        """Return the room's lock for its next holder, None if it is not kept."""
        kept = self._kept.pop(room_id, None)
        return None if kept is None else kept[0]

    def keep(self, room_id: str, grant: Grant) -> bool:
        """Keep a lock that its holder leaves; return False if it is to be released instead."""
        now = get_running_loop().time()
        last = self._used.get(room_id, -math.inf)
        _note(self._used, room_id, now)
        if now - last > _IDLE or now < self._rests_until or now - self._asked_at(room_id) < _SHARED:
            return False
        self._kept[room_id] = grant, now
        if len(self._kept) > self.most:
            self._drop(next(iter(self._kept)))
        return True

    def asked(self, room_id: str) -> None:
        """Note that another process wants the room: its lock is released now, or when it is left."""
        _note(self._asked, room_id, get_running_loop().time())
        if room_id in self._kept:
            self._drop(room_id)

    def rest(self) -> None:
        """Keep nothing for a minute: there are processes that wait without asking."""
        self._rests_until = get_running_loop().time() + _REST
        self.drop()

    def expire(self) -> None:
        """Release the locks that no task has used for 30 s."""
        now = get_running_loop().time()
        while self._kept and now - next(iter(self._kept.values()))[1] > _IDLE:
            self._drop(next(iter(self._kept)))

    def drop(self) -> None:
        """Release all kept locks."""
        while self._kept:
            self._drop(next(iter(self._kept)))

    def lose(self) -> None:
        """Forget all kept locks: the service has them no more."""
        self._kept.clear()

    def _asked_at(self, room_id: str) -> float:
        return self._asked.get(room_id, -math.inf)

    def _drop(self, room_id: str) -> None:
        grant, _ = self._kept.pop(room_id)
        self._release(grant)


def _note(times: dict[str, float], room_id: str, now: float) -> None:
    times.pop(room_id, None)
    if len(times) >= _REMEMBERED:
        del times[next(iter(times))]
    times[room_id] = now
