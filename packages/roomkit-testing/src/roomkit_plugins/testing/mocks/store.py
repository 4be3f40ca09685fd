"""A store and signals for tests of several workers in one process."""

from __future__ import annotations

from typing import override

from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore

__all__ = ["SharedRealtime", "SharedStore"]


class SharedStore(InMemoryStore):
    """A store in memory that says that others see it: kits on it are workers, with leases and reclaim.

    Give the kits one lock manager, one `SharedRealtime`, and `single_process=True`.
    """

    @property
    @override
    def is_process_local(self) -> bool:
        """False, so that kits open leases."""
        return False


class SharedRealtime(InMemoryRealtime):
    """Signals in memory that say that other workers receive them, as kits on a `SharedStore` need.

    Without that, a worker publishes nothing about bindings, rights and interruptions to the others.
    """

    @property
    @override
    def is_process_local(self) -> bool:
        """False, so that kits signal to each other."""
        return False
