"""The store under the contract of every store, each other worker in a store of its own on the same file."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import override

import pytest

from roomkit.abc.store import ConversationStore
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing.contracts import ConversationStoreContract

from .conftest import let_leases_run_out


class TestSQLiteStore(ConversationStoreContract):
    @pytest.fixture
    async def factory(self, tmp_path: Path, prepared: Path) -> AsyncIterator[Callable[[], SQLiteStore]]:
        made: list[SQLiteStore] = []

        def make() -> SQLiteStore:
            path = shutil.copy(prepared, tmp_path / f"{len(made)}.db")
            made.append(SQLiteStore(SQLiteConfig(path=path, synchronous="normal")))
            return made[-1]

        yield make
        for store in made:
            await store.close()

    @pytest.fixture
    def sibling(self) -> Callable[[ConversationStore], ConversationStore]:
        def again(store: ConversationStore) -> ConversationStore:
            assert isinstance(store, SQLiteStore)
            return SQLiteStore(store.config)

        return again

    @override
    async def let_leases_run_out(self, store: ConversationStore) -> None:
        assert isinstance(store, SQLiteStore)
        await let_leases_run_out(store)

    @override
    async def find_traces(self, store: ConversationStore, text: str) -> Collection[str]:
        assert isinstance(store, SQLiteStore)
        await store.compact()
        path = store.config.path
        files = path.parent.glob(f"{path.name}*")
        return [file.name for file in files if text.encode() in file.read_bytes()]
