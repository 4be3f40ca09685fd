"""The store under the contract of every store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing.contracts import ConversationStoreContract


class TestSQLiteStore(ConversationStoreContract):
    @pytest.fixture
    async def factory(self, tmp_path: Path) -> AsyncIterator[Callable[[], SQLiteStore]]:
        made: list[SQLiteStore] = []

        def make() -> SQLiteStore:
            made.append(SQLiteStore(SQLiteConfig(path=tmp_path / f"{len(made)}.db", synchronous="normal")))
            return made[-1]

        yield make
        for store in made:
            await store.close()
