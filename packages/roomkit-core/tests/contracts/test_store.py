"""The core's default store, under the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.memory.store import InMemoryStore
from roomkit_plugins.testing.contracts.store import ConversationStoreContract


class TestInMemoryStore(ConversationStoreContract):
    @pytest.fixture
    def factory(self) -> Callable[[], InMemoryStore]:
        return InMemoryStore
