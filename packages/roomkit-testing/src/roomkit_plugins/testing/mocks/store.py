"""A store for tests of several workers in one process."""

from __future__ import annotations

from typing import override

from roomkit.memory.store import InMemoryStore

__all__ = ["SharedStore"]


class SharedStore(InMemoryStore):
    """A store in memory that says that others see it: kits on it are workers, with leases and reclaim.

    Give the kits one lock manager and one realtime backend, and `single_process=True`.
    """

    @property
    @override
    def is_process_local(self) -> bool:
        """False, so that kits open leases."""
        return False
