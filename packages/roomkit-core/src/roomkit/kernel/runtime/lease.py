"""The kit's lease on the store: while it is in force, the lanes this worker holds are its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from roomkit.abc.errors import (
    DuplicateEventError,
    LockLostError,
    RoomKitError,
    StaleCursorError,
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

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore

__all__ = ["Lease"]

_CLEAN = (
    DuplicateEventError,
    LockLostError,
    StaleCursorError,
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


def is_outcome_unknown(error: BaseException) -> bool:
    """Return whether a write that failed so may have been made all the same.

    It was not where the store says so, or refused what it was given: every error of RoomKit's that is
    no `StoreError`. What a broken connection, a server that fails or foreign code leaves is unknown.
    """
    if isinstance(error, StoreError):
        return not isinstance(error, _CLEAN)
    return not isinstance(error, RoomKitError)


class Lease:
    """Whether this worker may carry out what it holds, and under which id.

    `worker_id` is None in a store that ends with the process: no other worker could reclaim anything
    there. `in_force` goes by this process's own clock, which a pause does not stop. `LeaseKeeper` renews
    the lease; everything else reads it, and reports what puts it in doubt.
    """

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._until = math.inf
        self._idle_id: str | None = None
        self.doubted = asyncio.Event()
        """Set when the worker must start over under another id."""
        self.worker_id: str | None = None
        self.lost = 0
        """How often it expired before it was renewed."""
        self._limits: set[asyncio.Timeout] = set()  # bound: the elected work of this worker

    @property
    def in_force(self) -> bool:
        """Whether what the worker holds is still its own."""
        until = self._until
        return until == math.inf or asyncio.get_running_loop().time() < until

    async def any_worker(self) -> str:
        """Return an id to claim under, also in a store that needs no lease."""
        if self.worker_id is not None:
            return self.worker_id
        if self._idle_id is None:
            self._idle_id = await self._store.open_lease(math.inf)
        return self._idle_id

    def found_expired(self) -> None:
        """Note that work was released because the lease was not in force: it is to be replaced soon."""
        self.doubted.set()

    def check_write(self, error: BaseException) -> None:
        """Release the lease if a failed write leaves unknown what the worker holds.

        Deliveries that the store may have recorded for it might otherwise never be carried out, or out
        of order.
        """
        if self.worker_id is not None and is_outcome_unknown(error):
            self.revoke()
            self.doubted.set()

    def revoke(self) -> None:
        """Carry nothing out under this lease any longer."""
        self._end_at(-math.inf)

    def _end_at(self, until: float) -> None:
        self._until = until
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(until)

    @asynccontextmanager
    async def in_force_only(self) -> AsyncIterator[asyncio.Timeout]:
        """Run work under the lease as it is: it is cancelled when the lease runs out.

        Another lease does not keep it. Raises TimeoutError then.
        """
        async with asyncio.timeout_at(None if self._until == math.inf else self._until) as limit:
            self._limits.add(limit)
            try:
                yield limit
            finally:
                self._limits.discard(limit)

    def granted(self, worker_id: str, until: float) -> None:
        """Begin under a new id, valid `until` a time of the loop."""
        self._end_at(-math.inf)
        self._limits.clear()
        self.worker_id = worker_id
        self._until = until
        self.doubted.clear()

    def renewed(self, until: float) -> None:
        """Go on under the same id."""
        self._end_at(until)

    @property
    def held_id(self) -> str | None:
        """The id that anything is held under, None if nothing was claimed yet."""
        return self.worker_id or self._idle_id
