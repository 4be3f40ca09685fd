"""Room locks for one process."""

from __future__ import annotations

from asyncio import Future, get_running_loop
from collections import deque
from types import TracebackType

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.locks import RoomLockManager

__all__ = ["InMemoryLockManager"]


class InMemoryLockManager(RoomLockManager):
    """Excludes the tasks of one event loop from each other, room by room, first come first served.

    `max_locks` bounds how many locks are known: the least recently used is forgotten, but never one
    that is held or waited for, so there are more while more are in use. Not reentrant. Such a lock
    cannot be lost, so entering yields None instead of a fencing token.
    """

    def __init__(self, max_locks: int = 1024) -> None:
        if max_locks < 1:
            raise InvalidInputError(f"max_locks is {max_locks}; at least one lock must be known")
        self._max_locks = max_locks
        self._known: dict[str, _RoomLock] = {}  # the least recently used first

    @property
    def is_process_local(self) -> bool:
        """Whether the lock excludes only this process: it does."""
        return True

    @property
    def size(self) -> int:
        """How many locks are known."""
        return len(self._known)

    def locked(self, room_id: str) -> _Hold:
        """Return a context manager that holds the room's lock; see `RoomLockManager`."""
        return _Hold(self, room_id)

    def _create(self) -> _RoomLock:
        known = self._known
        if len(known) >= self._max_locks:
            oldest = next(iter(known))
            lock = known.pop(oldest)
            if lock.held:
                known[oldest] = lock  # in use, so no longer the least recently used
        return _RoomLock()

    def _release(self, room_id: str, lock: _RoomLock) -> None:
        waiters = lock.waiters
        while waiters:
            turn = waiters.popleft()
            if not turn.done():
                turn.set_result(None)  # the lock changes hands without ever being free
                return
        lock.held = False
        if len(self._known) > self._max_locks:
            del self._known[room_id]


class _RoomLock:
    """Whether a room's lock is held, and who waits for it; a free one has no waiters."""

    __slots__ = ("held", "waiters")

    def __init__(self) -> None:
        self.held = False
        self.waiters: deque[Future[None]] | None = None


class _Hold:
    """One acquisition: a fresh object each time, so that concurrent ones cannot mix."""

    __slots__ = ("_lock", "_manager", "_room_id")

    _lock: _RoomLock

    def __init__(self, manager: InMemoryLockManager, room_id: str) -> None:
        self._manager = manager
        self._room_id = room_id

    async def __aenter__(self) -> None:
        manager, room_id = self._manager, self._room_id
        known = manager._known
        lock = known.pop(room_id, None) or manager._create()
        known[room_id] = self._lock = lock
        if not lock.held:
            lock.held = True
            return
        if lock.waiters is None:
            lock.waiters = deque()  # bound: the tasks that wait now
        turn: Future[None] = get_running_loop().create_future()
        lock.waiters.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                manager._release(room_id, lock)  # the lock was handed to a waiter that is gone
            elif turn in lock.waiters:
                lock.waiters.remove(turn)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        manager, lock = self._manager, self._lock
        if lock.waiters or len(manager._known) > manager._max_locks:
            manager._release(self._room_id, lock)
        else:
            lock.held = False
