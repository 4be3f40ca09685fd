"""The contract of room locks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

__all__ = ["RoomLockManager"]


class RoomLockManager(ABC):
    """Mutual exclusion per room.

    Not reentrant: the kernel knows when it is inside. The lock only keeps workers from getting in
    each other's way; the store's commit is what guards the timeline.
    """

    @property
    def is_process_local(self) -> bool:
        """Whether the lock excludes only this process."""
        return False

    @abstractmethod
    def locked(self, room_id: str) -> AbstractAsyncContextManager[None]:
        """Return a context manager that holds the room's lock.

        Waiters are served in order of arrival. Cancelling the wait leaves the lock as it was.
        Leaving raises LockLostError when the lock was lost meanwhile.
        """

    async def close(self) -> None:
        """Release what the manager holds. Idempotent."""
