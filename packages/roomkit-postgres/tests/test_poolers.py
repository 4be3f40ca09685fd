"""Behind a pooler of connections: a pool with sessions works, one without is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit.abc.errors import LockLostError, StoreAccessError, StoreSchemaError
from roomkit.models.room import Room
from roomkit_plugins.postgres import (
    PostgresLockManager,
    PostgresRealtime,
    PostgresStore,
    line,
    session,
)
from roomkit_plugins.postgres.line import Line
from roomkit_plugins.testing.contracts.realtime import Ear, signal
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.services import PgBouncer, PostgresDatabases

from .conftest import PATIENCE, LockMaker, RealtimeMaker, configured
from .pooler import Pooler

PARTS = [PostgresStore, PostgresLockManager, PostgresRealtime]

type Make = Callable[..., Any]


@pytest.fixture(params=["ours", "pgbouncer"])
async def pooled(request: pytest.FixtureRequest, postgres_dsn: str) -> AsyncIterator[Make]:
    """Return what starts a pooler of a mode before the database, and gives its URL."""
    if request.param == "pgbouncer" and not PgBouncer.is_installed():
        pytest.skip("PgBouncer is not installed; the simulated one is tested")
    running: list[Any] = []

    async def start(mode: Any) -> str:
        if request.param == "ours":
            running.append(await Pooler(postgres_dsn, mode).__aenter__())
        else:
            running.append(await asyncio.to_thread(PgBouncer(postgres_dsn, mode).start))
        return str(running[-1].dsn)

    yield start
    for pooler in running:
        await (pooler.__aexit__() if isinstance(pooler, Pooler) else asyncio.to_thread(pooler.stop))


@pytest.mark.parametrize("part", PARTS)
async def test_a_pooler_without_sessions_is_refused_by_its_setting(part: Any, pooled: Make) -> None:
    """At the start, before anything relies on it, and before the schema is made."""
    subject = part(configured(await pooled("transaction")))
    with pytest.raises(StoreAccessError, match="pool_mode = session"):
        await subject.open()
    await subject.close()


async def test_a_pooler_with_sessions_carries_store_locks_and_signals(pooled: Make) -> None:
    """Two workers exclude each other and hear each other."""
    dsn = await pooled("session")
    async with PostgresStore(dsn) as store, PostgresLockManager(dsn) as one, PostgresLockManager(dsn) as two:
        assert await store.create_room(Room(id="room"))
        inside, most = 0, 0

        async def work(manager: PostgresLockManager) -> None:
            nonlocal inside, most
            for _ in range(20):
                async with manager.locked("room"):
                    inside += 1
                    most = max(most, inside)
                    await asyncio.sleep(0)
                    inside -= 1

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(work(one), work(two))
        assert (most, one.lost, two.lost) == (1, 0, 0)
    async with PostgresRealtime(dsn) as near, PostgresRealtime(dsn) as far:
        ear = Ear()
        await far.subscribe("topic", ear)
        await near.publish("topic", event := signal())
        assert await ear.heard_all() == [event]


@pytest.mark.parametrize("mode", ["session", "direct"])
async def test_a_schema_is_the_one_that_was_named(mode: str, pooled: Make, postgres_dsn: str) -> None:
    """Its tables are there and nowhere else; a name that is not there is refused by each part."""
    dsn = await pooled(mode) if mode == "session" else postgres_dsn
    databases = PostgresDatabases(postgres_dsn)
    await asyncio.to_thread(databases.execute, "create schema beta", postgres_dsn)
    async with PostgresStore(configured(dsn, schema_name="beta")) as store:
        await store.create_room(Room(id="room"))
    where = "select distinct schemaname from pg_tables where tablename like 'roomkit%'"
    assert await asyncio.to_thread(databases.execute, where, postgres_dsn) == "beta"
    for part in PARTS:
        subject = part(configured(dsn, schema_name="gamma"))
        with pytest.raises(StoreSchemaError, match="schema_name says, 'gamma'"):
            await subject.open()
        await subject.close()


async def test_two_holders_never_share_a_session(
    pooled: Make, monkeypatch: pytest.MonkeyPatch, postgres_dsn: str
) -> None:
    """Not where the pooler deceives the check at the start either: each round trip is checked."""

    async def believe(*_: object) -> None:
        return

    monkeypatch.setattr(session, "_check_pooler", believe)
    dsn = await pooled("transaction")
    holder, other = (PostgresLockManager(configured(dsn, statement_cache_size=0)) for _ in range(2))
    async with asyncio.timeout(PATIENCE), holder.locked("room"):
        with pytest.raises(LockLostError, match="pool_mode = session"):
            await other.locked("room").__aenter__()
    await holder.close()
    await other.close()


async def spoil(part: Line[Any], statement: str) -> None:
    """Do something to the session behind its owner's back, and let the next proof come at once."""
    connection = part._connection
    assert connection is not None
    await connection.execute(statement)
    part._proof_due = 0.0
    part.wake()


async def test_a_lock_session_that_is_ours_no_more_is_lost_by_count(managers: LockMaker) -> None:
    """As when a pooler is set to another mode while it runs: found though no lock is asked for."""
    manager = managers()
    async with manager.locked("room"):
        await spoil(manager._server._line, "DISCARD ALL")
        await until(lambda: manager.lost == 1)


async def test_a_subscription_that_the_server_dropped_is_made_again(
    backends: RealtimeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection answers, but nothing would ever come over it."""
    monkeypatch.setattr(line, "_SILENCE", 0.5)
    backend, ear = backends(), Ear()
    await backend.subscribe("topic", ear)
    await spoil(backend._server._line, "UNLISTEN *")
    await until(lambda: backend.interruptions)
    await backend.publish("topic", event := signal())
    assert await ear.heard_all() == [event]


async def test_a_server_that_is_too_old_is_refused_by_its_version(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is touched, and by the plan of a migration too."""
    monkeypatch.setattr(session, "_OLDEST", 99)
    opened: list[Callable[[], Awaitable[object]]] = [part(postgres_dsn).open for part in PARTS]
    opened.append(lambda: PostgresStore.plan_migration(postgres_dsn))
    for attempt in opened:
        with pytest.raises(StoreSchemaError, match="needs 99 or newer: nothing was changed"):
            await attempt()
    connection = await asyncpg.connect(postgres_dsn)
    assert not await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
