"""Calls from worker to worker: deliveries of a room wait for you."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from roomkit.abc.errors import RoomKitError
from roomkit.abc.log import get_logger
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["Wakeups"]

_log = get_logger("roomkit.kernel")


class Wakeups:
    """The rooms this worker is to look into, and the calls it sends to others.

    Calls travel by the realtime backend; one that is lost costs only the time until the other worker's
    next look.
    """

    def __init__(
        self, *, realtime: RealtimeBackend, clock: Clock, supervisor: Supervisor, lease: Lease
    ) -> None:
        self._realtime = realtime
        self._clock = clock
        self._supervisor = supervisor
        self._lease = lease
        self._subscription: str | None = None
        self._rooms: dict[str, None] = {}  # bound: rooms with deliveries that wait for this worker
        self._room_woken = asyncio.Event()
        self.woken = asyncio.Event()
        """Set when anything may wait in any room."""

    async def listen(self, worker_id: str) -> None:
        """Be called under this id, and no longer under the one before."""
        if self._subscription is not None:
            await self._realtime.unsubscribe(self._subscription)
        self._subscription = await self._realtime.subscribe(_topic(worker_id), self._called)
        self.woken.set()

    async def _called(self, _event: EphemeralEvent) -> None:
        self.woken.set()

    async def end(self) -> None:
        """Be called no longer."""
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await self._realtime.unsubscribe(subscription)

    def wake(self, room_id: str, workers: Iterable[str | None]) -> None:
        """Have deliveries of a room claimed by these workers; None is any worker."""
        for worker_id in set(workers):
            if worker_id is None or worker_id == self._lease.worker_id:
                self._rooms[room_id] = None
                self._room_woken.set()
            else:
                work = self._call(room_id, worker_id)
                self._supervisor.start(work, f"call to worker {worker_id}", eager=False)

    async def rooms(self) -> list[str]:
        """Wait for rooms that this worker is to look into, and return them in order."""
        await self._room_woken.wait()
        self._room_woken.clear()
        rooms, self._rooms = list(self._rooms), {}  # bound: as at first
        return rooms

    async def _call(self, room_id: str, worker_id: str) -> None:
        signal = EphemeralEvent(
            room_id=room_id,
            type=EphemeralEventType.CUSTOM,
            user_id=worker_id,
            timestamp=self._clock.now(),
        )
        try:
            await self._realtime.publish(_topic(worker_id), signal)
        except RoomKitError:
            _log.warning("worker %s could not be called; it looks by itself, later", worker_id, exc_info=True)


def _topic(worker_id: str) -> str:
    return f"worker:{worker_id}"
