"""The lock contract, on managers that exclude each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.memory.locks import InMemoryLockManager
from roomkit_plugins.testing.contracts import RoomLockManagerContract


class SharedLockManager(InMemoryLockManager):
    """A manager whose locks are those of another one, as if both asked one server."""

    def __init__(self, server: InMemoryLockManager) -> None:
        super().__init__()
        self._known = server._known

    @property
    def is_process_local(self) -> bool:
        return False


class TestSharedLockManager(RoomLockManagerContract):
    @pytest.fixture
    def factory(self) -> Callable[[], SharedLockManager]:
        server = InMemoryLockManager()
        return lambda: SharedLockManager(server)
