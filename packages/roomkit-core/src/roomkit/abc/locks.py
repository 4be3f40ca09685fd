"""The contract of room locks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Self

__all__ = ["RoomLockManager"]


class RoomLockManager(ABC):
    """Mutual exclusion per room.

    Not reentrant: the kernel knows when it is inside. The lock only keeps workers from getting in
    each other's way; the store's commit is what guards the timeline.

    A lock that others hold over a network can be lost while it is held: the connection breaks, or the
    holder is paused for too long. Its holder is not notified in the middle of its work. What tells the
    two apart is the fencing token: the store refuses a commit whose token is lower than one it has
    seen for that room.

    A manager may keep a lock after its holder has left it, so that the next holder of the same manager
    costs no request. It releases a kept lock as soon as another manager asks for it, between two holders
    also while its own tasks use the room all the time, and when it closes. One that ends without closing,
    or that stands still, keeps others out of its kept rooms no longer than out of those that it holds: for
    as long as the service keeps the locks of a client that does not answer, which a manager documents.
    `roomkit.memory.KeptLocks` decides what to keep.
    """

    @property
    def is_process_local(self) -> bool:
        """Whether the lock excludes only this process."""
        return False

    async def open(self) -> Self:
        """Connect, and check that the locks can work. A kit calls it when it starts; idempotent.

        Raises a RoomKitError within a few seconds if not, which names the service, what failed and what
        to do. The default does nothing.
        """
        return self

    @abstractmethod
    def locked(self, room_id: str) -> AbstractAsyncContextManager[int | None]:
        """Return a context manager that holds the room's lock, and gives its fencing token.

        The token of a room never falls, not even when the lock service loses its data, and rises whenever
        the lock passes from one manager to another, or was lost; holders of one manager may have the same.
        None from a manager whose locks cannot be lost. Waiters of one process are served in order of
        arrival. Cancelling the wait leaves the lock as it was. If LockLostError is raised inside, which is
        how the store refuses a token, the manager does not keep the lock.
        Raises LockLostError when the lock service cannot be reached, before anything is held. Leaving
        raises nothing: a lock that was lost before is counted and logged.
        """

    def turn(self, room_id: str) -> AbstractAsyncContextManager[int | None]:
        """Return a context manager that holds the room's turn among the tasks of this manager.

        Its holders exclude each other and those of `locked`, all served in order of arrival; what other
        managers hold is not waited for, and no service is asked. The kernel needs no more for a message
        that no gate judges, which the store's commit orders by itself. The default holds the lock.
        """
        return self.locked(room_id)

    async def close(self) -> None:
        """Release what the manager holds. Idempotent."""
