"""What `roomkit check --live` finds out about a PostgreSQL."""

from __future__ import annotations

import pytest

from roomkit.abc.errors import StoreAccessError, StoreSchemaError, StoreUnavailableError
from roomkit.abc.probe import SupportsProbe
from roomkit_plugins.postgres import (
    PostgresLockManager,
    PostgresMediaStore,
    PostgresRealtime,
    PostgresTurnConfig,
    PostgresTurnExecutor,
)
from roomkit_plugins.testing.services import PostgresDatabases

COMPONENTS = (PostgresLockManager, PostgresRealtime, PostgresMediaStore, PostgresTurnExecutor)
type Component = PostgresLockManager | PostgresRealtime | PostgresMediaStore | PostgresTurnExecutor


@pytest.mark.parametrize("kind", COMPONENTS)
async def test_a_server_that_answers_is_named_and_nothing_is_made(
    kind: type[Component], postgres_dsn: str
) -> None:
    component = kind(postgres_dsn)
    assert isinstance(component, SupportsProbe)
    assert "answers as PostgreSQL " in await component.probe()
    await component.close()
    made = "select count(*) from pg_class where relname like 'roomkit%'"
    assert PostgresDatabases(postgres_dsn).execute(made, postgres_dsn) == "0"


@pytest.mark.parametrize("kind", COMPONENTS)
async def test_a_server_that_is_not_there_is_named_without_the_password(kind: type[Component]) -> None:
    component = kind("postgresql://ann:canary@127.0.0.1:9/rooms")
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9/rooms") as caught:
        await component.probe()
    await component.close()
    assert "canary" not in str(caught.value)


async def test_a_wrong_password_and_a_schema_that_is_not_there_are_told_apart(postgres_dsn: str) -> None:
    wrong = PostgresDatabases(postgres_dsn).dsn("postgres", user="postgres", password="canary")
    with pytest.raises(StoreAccessError) as caught:
        await PostgresLockManager(wrong).probe()
    assert "canary" not in str(caught.value)
    config = PostgresTurnConfig.model_validate({"dsn": postgres_dsn, "schema_name": "nowhere"})
    with pytest.raises(StoreSchemaError, match="nowhere"):
        await PostgresTurnExecutor(config).probe()
