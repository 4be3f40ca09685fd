"""The core's default store, under the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.memory.store import InMemoryStore
from roomkit_plugins.testing.contracts.store import ConversationStoreContract
from roomkit_plugins.testing.contracts.store.follows import FollowsContract


class TestInMemoryStore(ConversationStoreContract):
    @pytest.fixture
    def factory(self) -> Callable[[], InMemoryStore]:
        return InMemoryStore


class SharedStore(InMemoryStore):
    """A store that several kits have open."""

    @property
    def is_process_local(self) -> bool:
        return False

    async def close(self) -> None:
        """Stay open for the other kit."""


class TestFollowersOfTwoKits(FollowsContract):
    @pytest.fixture
    def factory(self) -> Callable[[], InMemoryStore]:
        return SharedStore
