"""Which workers are certainly dead: each holds a lock of the operating system for as long as it lives."""

from __future__ import annotations

import os
from pathlib import Path

from roomkit_plugins.sqlite.files import lock_whole

__all__ = ["Presence"]


class Presence:
    """A locked file beside the store for each lease of this process.

    The system drops the lock when the process ends, however it ends, and in no other case: a process that is
    paused keeps it, and so does one in another container, as all that can use the store share its kernel and
    its folder. Neither process ids nor clocks come into it. A worker without a file, of an older version or
    on a system without such locks, is not known to be dead: its lease has to run out.
    """

    def __init__(self, path: Path) -> None:
        self._stem = f"{path.name}-worker-"
        self._folder = path.parent
        self._held: dict[str, int] = {}  # bound: the leases of this process; the locked descriptors

    def announce(self, worker: str) -> None:
        """Hold the worker's lock from now on."""
        if worker in self._held:  # the transaction is made again
            return
        try:
            descriptor = os.open(self._path(worker), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:  # the lease alone decides then, as without such locks
            return
        if lock_whole(descriptor):
            self._held[worker] = descriptor
        else:
            os.close(descriptor)

    def is_dead(self, worker: str) -> bool:
        """Return whether the worker's process has certainly ended; its file is removed then."""
        if worker in self._held:
            return False
        path = self._path(worker)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if not lock_whole(descriptor):
                return False
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def withdraw(self, worker: str) -> None:
        """Drop the worker's lock, and its file."""
        descriptor = self._held.pop(worker, None)
        if descriptor is not None:
            self._path(worker).unlink(missing_ok=True)
            os.close(descriptor)

    def close(self) -> None:
        """Drop all locks; the leases that are left are those of the dead."""
        while self._held:
            _, descriptor = self._held.popitem()
            os.close(descriptor)

    def _path(self, worker: str) -> Path:
        return self._folder / (self._stem + worker)
