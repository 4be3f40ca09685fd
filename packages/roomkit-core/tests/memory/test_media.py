"""Files in memory satisfy the contract of every media store."""

from __future__ import annotations

from collections.abc import Callable
from typing import override

import pytest

from roomkit.memory.media import InMemoryMediaStore
from roomkit_plugins.testing.contracts.media import MediaStoreContract


class TestInMemoryMediaStore(MediaStoreContract):
    """They are gone with the store."""

    @property
    @override
    def reopens(self) -> bool:
        return False

    @pytest.fixture
    def factory(self) -> Callable[[], InMemoryMediaStore]:
        return InMemoryMediaStore
