"""The store under the contract of every store, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import pytest

from roomkit.abc.store import ConversationStore
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.testing.contracts import ConversationStoreContract
from roomkit_plugins.testing.contracts.store.base import Sibling

from .conftest import DsnMaker, ask, configured


class TestPostgresStore(ConversationStoreContract):
    dsn = ""

    @pytest.fixture
    def factory(self, emptied_dsns: DsnMaker) -> Callable[[], PostgresStore]:
        def make() -> PostgresStore:
            self.dsn = emptied_dsns()
            return PostgresStore(configured(self.dsn))

        return make

    @pytest.fixture
    def sibling(self) -> Sibling:
        def make(store: ConversationStore) -> PostgresStore:
            assert isinstance(store, PostgresStore)
            return PostgresStore(store.config)

        return make

    @property
    def secrets(self) -> list[str]:
        return [urlsplit(self.dsn).password or "no password"]

    async def let_leases_run_out(self, store: ConversationStore) -> None:
        """Let them have run out a second ago, by the server's clock."""
        await _ask(
            store,
            "UPDATE roomkit_leases SET renewed_at = clock_timestamp() - interval '1 hour', "
            "ends_at = clock_timestamp() - interval '1 second'",
        )

    async def find_traces(self, store: ConversationStore, text: str) -> Collection[str]:
        """Look into every row of every table."""
        tables = await _ask(
            store, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
        )
        found: list[str] = []
        for (table,) in tables:
            query = f"SELECT count(*) FROM {table} t WHERE strpos(row_to_json(t)::text, $1) > 0"
            if (await _ask(store, query, text))[0][0]:
                found.append(table)
        return found


async def _ask(store: ConversationStore, query: str, *values: object) -> list[tuple[object, ...]]:
    assert isinstance(store, PostgresStore)
    return await ask(store.config.dsn.get_secret_value(), query, *values)
