"""Keeping the lease: renewed in time, or replaced by another one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.abc.errors import StoreError
from roomkit.abc.log import get_logger

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.delivery.homes import HeldHomes
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.delivery.wakeups import Wakeups
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["LeaseKeeper"]

_log = get_logger("roomkit.kernel")
_MARGIN = 0.9
"""How much of the lease is used, so that this worker stops before another one may begin."""


class LeaseKeeper:
    """Renews the lease three times within its length.

    If it could not be renewed in time, or a write left unknown what the worker holds, the work under way
    is released, and the worker goes on under a new id.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        supervisor: Supervisor,
        events: FrameworkEvents,
        lease: Lease,
        channels: Channels,
        lanes: Lanes,
        ledger: OutcomeWriter,
        wakeups: Wakeups,
        homes: HeldHomes,
        seconds: float,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._events = events
        self._lease = lease
        self._channels = channels
        self._lanes = lanes
        self._ledger = ledger
        self._wakeups = wakeups
        self._homes = homes
        self._seconds = seconds
        self._announced: frozenset[str] = frozenset()

    async def begin(self) -> None:
        """Open the lease and keep it, unless the store needs none. Raises StoreError."""
        if self._store.is_process_local:
            return
        await self._open()
        self._supervisor.serve(self._keep(), "lease on the store")

    async def announce(self) -> None:
        """Announce the channels that are registered now, if they have changed. Raises StoreError."""
        worker_id, channels = self._lease.worker_id, frozenset(self._channels.working)
        if worker_id is None or channels == self._announced:
            return
        # If it has expired, the next renewal finds that too.
        if await self._store.renew_lease(worker_id, self._seconds, channels=channels):
            self._announced = channels

    async def end(self) -> None:
        """Release everything held, so that other workers need not wait for the lease to expire."""
        worker_id = self._lease.held_id
        if worker_id is not None:
            self._lease.revoke()
            await self._store.close_lease(worker_id)

    async def _open(self) -> None:
        asked = asyncio.get_running_loop().time()
        channels = frozenset(self._channels.working)
        worker_id = await self._store.open_lease(self._seconds, channels=channels)
        self._announced = channels
        self._lease.granted(worker_id, asked + self._seconds * _MARGIN)
        await self._wakeups.listen(worker_id)

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._seconds / 3):
                    await self._lease.doubted.wait()
            except TimeoutError:
                pass
            try:
                await self._renew()
            except Exception:  # noqa: BLE001  # whatever a store raises, the lease must be kept
                _log.warning("the lease on the store could not be renewed; it is tried again", exc_info=True)
                if self._lease.doubted.is_set():  # the wait above would not wait
                    await asyncio.sleep(self._seconds / 3)

    async def _renew(self) -> None:
        lease, worker_id = self._lease, self._lease.worker_id
        assert worker_id is not None
        asked = asyncio.get_running_loop().time()
        async with asyncio.timeout(self._seconds / 3):
            alive = await self._store.renew_lease(worker_id, self._seconds)
        if alive and lease.in_force and not lease.doubted.is_set():
            lease.renewed(asked + self._seconds * _MARGIN)
            await self._homes.retake()  # those that could not be taken when the lease was new
            return
        lease.lost += 1
        _log.warning("the lease of worker %s expired; its deliveries are reclaimed", worker_id)
        lease.revoke()
        await self._release()
        async with asyncio.timeout(self._seconds / 3):
            await self._store.close_lease(worker_id)
        # Until there is another id, the old one stands: no worker holds commits made under it.
        await self._open()
        await self._homes.retake()

    async def _release(self) -> None:
        """Stop the work that this worker held: another one may have it by now."""
        self._events.emit("lease_lost", lost=self._lease.lost)
        await self._lanes.let_go()
        if self._ledger:
            try:
                await self._ledger.flush()
            except StoreError:
                _log.warning("delivery outcomes could not be written under the lost lease", exc_info=True)
