"""The core's default lock manager, under the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.memory.locks import InMemoryLockManager
from roomkit_plugins.testing.contracts.locks import RoomLockManagerContract


class TestInMemoryLockManager(RoomLockManagerContract):
    @pytest.fixture
    def factory(self) -> Callable[[], InMemoryLockManager]:
        return InMemoryLockManager


class TestTinyInMemoryLockManager(RoomLockManagerContract):
    """The same with room for one lock: forgetting locks changes nothing."""

    @pytest.fixture
    def factory(self) -> Callable[[], InMemoryLockManager]:
        return lambda: InMemoryLockManager(max_locks=1)
