"""The kit's lease on the store: under it, lanes are its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from roomkit.abc.errors import (
    DuplicateEventError,
    LockLostError,
    RoomKitError,
    StaleRoomError,
    StaleValueError,
    StoreAccessError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreSchemaError,
)
from roomkit.abc.log import get_logger

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.supervisor import Supervisor

__all__ = ["Lease"]

_log = get_logger("roomkit.kernel")
_CLEAN = (
    DuplicateEventError,
    LockLostError,
    StaleRoomError,
    StaleValueError,
    StoreAccessError,
    StoreBusyError,
    StoreClosedError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreSchemaError,
)
"""Failures of a store that say that nothing was written."""
_MARGIN = 0.9
"""How much of the lease is used, so that this worker stops before another one may begin."""


def is_outcome_unknown(error: BaseException) -> bool:
    """Return whether a write that failed so may have been made all the same.

    It was not where the store says so, or refused what it was given: every error of RoomKit's that is
    no `StoreError`. What a broken connection, a server that fails or foreign code leaves is unknown.
    """
    if isinstance(error, StoreError):
        return not isinstance(error, _CLEAN)
    return not isinstance(error, RoomKitError)


class Lease:
    """What tells the store that this worker lives.

    `worker_id` is None in a store that ends with the process: nobody could take over there. Else the
    lease is renewed three times within its length. By this process's own clock, which a pause does not
    stop, `in_force` says whether it may still carry anything out: when it could not be renewed in
    time, what was begun is let go of, and the worker begins anew under another id.
    """

    def __init__(
        self, store: ConversationStore, supervisor: Supervisor, seconds: float, channels: Collection[str]
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._seconds = seconds
        self._channels = channels
        self._announced: frozenset[str] = frozenset()
        self._until = math.inf
        self._broken = asyncio.Event()
        self._idle_id: str | None = None
        self.worker_id: str | None = None
        self.on_lost: Callable[[], Awaitable[None]] | None = None
        self.on_begun: Callable[[str], Awaitable[None]] | None = None
        self.lost = 0
        """How often it ran out before it was renewed."""

    @property
    def in_force(self) -> bool:
        """Whether what the worker holds is still its own."""
        until = self._until
        return until == math.inf or asyncio.get_running_loop().time() < until

    async def begin(self) -> None:
        """Open the lease and keep it, unless the store needs none. Raises StoreError."""
        if self._store.is_process_local:
            return
        await self._open()
        self._supervisor.serve(self._keep(), "lease on the store")

    async def any_worker(self) -> str:
        """Return an id to claim under, also in a store that needs no lease."""
        if self.worker_id is not None:
            return self.worker_id
        if self._idle_id is None:
            self._idle_id = await self._store.open_lease(math.inf)
        return self._idle_id

    async def announce(self) -> None:
        """Announce the channels that are registered now, if they have changed. Raises StoreError."""
        worker_id, channels = self.worker_id, frozenset(self._channels)
        if worker_id is None or channels == self._announced:
            return
        # Should it have run out, whoever keeps it finds that too.
        if await self._store.renew_lease(worker_id, self._seconds, channels=channels):
            self._announced = channels

    async def end(self) -> None:
        """Give up what is held, so that others need not wait for the lease to run out."""
        worker_id = self.worker_id or self._idle_id
        if worker_id is not None:
            self._until = -math.inf
            await self._store.close_lease(worker_id)

    def found_expired(self) -> None:
        """Note that work was let go of because the lease was not in force: begin anew, soon."""
        self._broken.set()

    def doubt(self, error: BaseException) -> None:
        """Begin anew if it cannot be known any more what the worker holds, because a write failed so.

        What the store has down for it might otherwise never be carried out, or out of its turn.
        """
        if self.worker_id is not None and is_outcome_unknown(error):
            self._until = -math.inf
            self._broken.set()

    async def _open(self) -> None:
        asked = asyncio.get_running_loop().time()
        channels = frozenset(self._channels)
        self.worker_id = await self._store.open_lease(self._seconds, channels=channels)
        self._announced = channels
        self._until = asked + self._seconds * _MARGIN
        self._broken.clear()
        if self.on_begun is not None:
            await self.on_begun(self.worker_id)

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._seconds / 3):
                    await self._broken.wait()
            except TimeoutError:
                pass
            try:
                await self._renew()
            except Exception:  # noqa: BLE001  # whatever a store raises, the lease must be kept
                _log.warning("the lease on the store could not be renewed; it is tried again", exc_info=True)
                if self._broken.is_set():  # the wait above would not wait
                    await asyncio.sleep(self._seconds / 3)

    async def _renew(self) -> None:
        worker_id = self.worker_id
        assert worker_id is not None
        asked = asyncio.get_running_loop().time()
        async with asyncio.timeout(self._seconds / 3):
            alive = await self._store.renew_lease(worker_id, self._seconds)
        if alive and self.in_force and not self._broken.is_set():
            self._until = asked + self._seconds * _MARGIN
            return
        self.lost += 1
        _log.warning("the lease of worker %s ran out; its deliveries are claimed anew", worker_id)
        self._until = -math.inf
        if self.on_lost is not None:
            await self.on_lost()
        async with asyncio.timeout(self._seconds / 3):
            await self._store.close_lease(worker_id)
        # Until there is another id, the old one stands: what is committed under it nobody holds.
        await self._open()
