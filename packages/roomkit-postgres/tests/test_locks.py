"""The room locks, where the server, the network and other workers come in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit.abc.errors import LockLostError, StoreAccessError, StoreUnavailableError
from roomkit.memory import kept_locks
from roomkit_plugins.postgres import line
from roomkit_plugins.postgres import locks as module
from roomkit_plugins.postgres.locks import PostgresLockManager
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.services import CutProxy, PostgresDatabases, PostgresServer

from .conftest import PATIENCE, LockMaker, end_sessions, once_back


@pytest.fixture
async def proxy(postgres_dsn: str) -> AsyncIterator[CutProxy]:
    async with CutProxy(postgres_dsn) as proxy:
        yield proxy


@pytest.fixture
def only_calls_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no waiter look again by itself."""
    monkeypatch.setattr(module, "_LOOK_AGAIN", 3600.0)


async def sql(dsn: str, statement: str) -> str:
    return await asyncio.to_thread(PostgresDatabases(dsn).execute, statement, dsn)


def waiting(manager: PostgresLockManager, rooms: int = 1) -> bool:
    """Whether so many rooms are waited for, and the server knows."""
    waiters = [waiter for each in manager._server._waiters.values() for waiter in each]
    return len(waiters) == rooms and all(waiter.announced is not None for waiter in waiters)


async def take(manager: PostgresLockManager, room: str) -> int | None:
    async with asyncio.timeout(PATIENCE), manager.locked(room) as token:
        return token


async def test_two_hundred_rooms_are_one_session(postgres_dsn: str, managers: LockMaker) -> None:
    """Held by one worker, waited for by another; no session of the server waits for a lock."""
    holder, other = managers(), managers()
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(PATIENCE):
            for number in range(200):
                await stack.enter_async_context(holder.locked(str(number)))
        assert holder.held == 200
        tasks = [asyncio.create_task(take(other, str(number))) for number in range(200)]
        await until(lambda: waiting(other, 200))
        sessions = await sql(
            postgres_dsn,
            "select count(*), count(*) filter (where wait_event_type = 'Lock') from pg_stat_activity "
            "where datname = current_database() and application_name = 'roomkit'",
        )
        assert sessions == "2|0"
    assert len(set(await asyncio.gather(*tasks))) == 200
    await until(lambda: other.held == 0)
    advisory = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from"
    advisory += " pg_database where datname = current_database())"
    while await sql(postgres_dsn, advisory) != "0":
        pass


async def test_rooms_that_are_asked_for_at_once_are_one_round_trip(
    proxy: CutProxy, managers: LockMaker
) -> None:
    """And so are those that are given back."""
    manager = await managers(proxy.url).open()
    before = proxy.requests
    enough = asyncio.Barrier(100)

    async def enter(number: int) -> None:
        async with manager.locked(str(number)):
            await enough.wait()

    await asyncio.gather(*(enter(number) for number in range(100)))
    await manager.open()
    assert proxy.requests - before <= 4


async def test_no_call_is_lost(managers: LockMaker, only_calls_wake: None) -> None:
    """A lock that goes back and forth between workers always wakes the next."""
    workers = [managers(), managers(), managers()]
    inside = 0

    async def work(manager: PostgresLockManager) -> None:
        nonlocal inside
        for _ in range(60):
            async with manager.locked("room"):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(work(manager) for manager in workers for _ in range(2)))


async def test_who_waits_asks_nothing_meanwhile(
    proxy: CutProxy, managers: LockMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks again by itself after a second or more, and never tighter."""
    patiences: list[float] = []
    really = module._called

    async def called(waiter: module._Waiter, patience: float) -> None:
        patiences.append(patience)
        await really(waiter, 3600)

    monkeypatch.setattr(module, "_called", called)
    holder, waiter = managers(), managers(proxy.url)
    async with holder.locked("room"):
        task = asyncio.create_task(take(waiter, "room"))
        await until(lambda: patiences)
        before = proxy.requests
        for number in range(100):
            await take(holder, str(number))
        assert proxy.requests == before
    await task
    assert patiences == [pytest.approx(1.125, abs=0.125)]


async def test_the_locks_of_a_dead_worker_are_found_free(
    postgres_dsn: str, managers: LockMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_AGAIN", 0.01)
    holder, waiter = managers(), managers()
    async with holder.locked("room") as token:
        task = asyncio.create_task(take(waiter, "room"))
        await until(lambda: waiting(waiter))
        pid = holder._server._session.pid
        await sql(postgres_dsn, f"select pg_terminate_backend({pid})")
        assert (await task or 0) > (token or 0)
        await until(lambda: holder.lost == 1)


async def test_a_worker_with_many_tasks_leaves_room_for_others(managers: LockMaker) -> None:
    """However often its own tasks want the room."""
    busy, other = managers(), managers()
    is_over = False

    async def hammer() -> None:
        while not is_over:
            async with busy.locked("room"):
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(hammer()) for _ in range(10)]
    await until(lambda: busy.held)
    for _ in range(5):
        await take(other, "room")
    is_over = True
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks)


async def test_a_cut_connection_loses_what_is_held(
    proxy: CutProxy, managers: LockMaker, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and logged once; the holders go on, and the next token is higher."""
    manager = managers(proxy.url)
    with caplog.at_level(logging.WARNING, "roomkit.postgres"):
        async with manager.locked("one") as first, manager.locked("two"):
            proxy.cut()
            await until(lambda: manager.lost == 2)
            assert manager.held == 0
        assert (await take(manager, "one") or 0) > (first or 0)
    assert len(caplog.records) == 1
    assert "locks of 2 rooms" in caplog.text
    assert manager.lost == 2


async def test_who_waits_goes_on_over_a_cut(
    proxy: CutProxy, managers: LockMaker, only_calls_wake: None
) -> None:
    holder, waiter = managers(), managers(proxy.url)
    async with holder.locked("room"):
        task = asyncio.create_task(take(waiter, "room"))
        await until(lambda: waiting(waiter))
        before = proxy.connections
        proxy.cut()
        await until(lambda: proxy.connections > before)
        await until(lambda: waiting(waiter) and not any(_stale(waiter)))
        assert not task.done()
    await task
    assert waiter.lost == 0


def _stale(manager: PostgresLockManager) -> list[bool]:
    waiters = [waiter for each in manager._server._waiters.values() for waiter in each]
    return [waiter.announced is None or waiter.announced.is_gone for waiter in waiters]


@pytest.mark.parametrize("answer_is_lost", [False, True])
async def test_a_cut_while_acquiring_acquires_on_the_next_connection(
    proxy: CutProxy, managers: LockMaker, answer_is_lost: bool
) -> None:
    """Also when the server had given the lock to the session that is gone."""
    manager, other = await managers(proxy.url).open(), managers()
    proxy.cut_at_request(answer_is_lost=answer_is_lost)
    assert await take(manager, "room")
    assert manager.lost == 0
    await take(other, "room")


async def test_a_swallowed_session_does_not_keep_its_rooms(proxy: CutProxy, managers: LockMaker) -> None:
    """The server does not know yet that it is gone; the next session ends it."""
    manager, other = managers(proxy.url, acquire_timeout=1.5), managers()
    async with manager.locked("room"):
        proxy.hold()
        with pytest.raises(LockLostError):
            await manager.locked("another").__aenter__()
        assert manager.lost == 1
        task = asyncio.create_task(take(other, "room"))
        await until(lambda: waiting(other))
        proxy.release()
        await once_back(lambda: take(manager, "another"))
        await task


async def test_a_paused_process_does_not_keep_its_rooms(
    managers: LockMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SILENCE", 0.3)
    monkeypatch.setattr(line, "_PROOF_INTERVAL", 3600.0)
    paused = managers()
    async with paused.locked("room") as token:
        monkeypatch.setattr(line, "_PROOF_INTERVAL", 0.05)
        other = managers()
        assert (await take(other, "room") or 0) > (token or 0)
        assert paused.lost == 1
        async with other.locked("another"):
            began = asyncio.get_running_loop().time()
            await until(lambda: asyncio.get_running_loop().time() > began + 0.6)
        assert other.lost == 0, "it was heard of in time"


async def test_a_restart_is_waited_for(postgres_server: PostgresServer, managers: LockMaker) -> None:
    """Who waits gets in on the server that came back, with a higher token."""
    dsn = postgres_server.ensure_running().create_database()
    holder, waiter = managers(dsn, acquire_timeout=5.0), managers(dsn, acquire_timeout=5.0)
    async with holder.locked("room") as token:
        task = asyncio.create_task(take(waiter, "room"))
        await until(lambda: waiting(waiter))
        await asyncio.to_thread(postgres_server.kill)
        await until(lambda: holder.lost == 1)
        await asyncio.to_thread(postgres_server.restart)
        assert (await task or 0) > (token or 0)
    await holder.close()
    await waiter.close()


async def test_without_a_server_it_says_so_in_time(proxy: CutProxy, managers: LockMaker) -> None:
    """Before anything is held; and it works again when the server does."""
    manager = managers(proxy.url, acquire_timeout=1.5)
    await proxy.refuse()
    with pytest.raises(LockLostError, match=r"'the room'.*check that it runs and can be reached") as caught:
        await manager.locked("the room").__aenter__()
    assert isinstance(caught.value.__cause__, StoreUnavailableError)
    with pytest.raises(StoreUnavailableError):
        await manager.open()
    await proxy.accept()
    assert await once_back(lambda: take(manager, "the room"))


async def test_a_waiter_gives_up_when_the_server_stays_away(proxy: CutProxy, managers: LockMaker) -> None:
    """It waits for ever for another holder, but not for a server."""
    holder, waiter = managers(), managers(proxy.url, acquire_timeout=1.5)
    async with holder.locked("room"):
        task = asyncio.create_task(take(waiter, "room"))
        await until(lambda: waiting(waiter))
        await proxy.refuse()
        proxy.cut()
        with pytest.raises(LockLostError):
            await task
    await proxy.accept()
    assert await once_back(lambda: take(waiter, "room"))


async def test_a_wrong_password_is_told_at_once(postgres_dsn: str, managers: LockMaker) -> None:
    """With what to check, and without the password."""
    databases = PostgresDatabases(postgres_dsn)
    name = postgres_dsn.rpartition("/")[2]
    manager = managers(databases.dsn(name, user="postgres", password="s3cret"), acquire_timeout=3600.0)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(LockLostError, match="check user and password") as caught:
            await manager.locked("room").__aenter__()
    assert isinstance(caught.value.__cause__, StoreAccessError)
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__} {manager!r} {manager.config!r}"


async def test_a_user_without_rights_is_told(postgres_server: PostgresServer, managers: LockMaker) -> None:
    """The sequence must be there, or the user may make it."""
    dsn = postgres_server.ensure_running().create_database()
    name = dsn.rpartition("/")[2]
    postgres_server.create_user(f"poor_{name}", "poor")
    poor = postgres_server.databases.dsn(name, user=f"poor_{name}", password="poor")
    with pytest.raises(StoreAccessError, match="too few rights"):
        await managers(poor).open()
    rich = managers(dsn)
    await take(rich, "room")
    await sql(dsn, f'grant all on sequence roomkit_fence to "poor_{name}"')
    manager = managers(poor)
    assert await take(manager, "room")
    await manager.close()
    await rich.close()


async def test_namespaces_and_databases_are_apart(postgres_dsn: str, managers: LockMaker) -> None:
    with PostgresDatabases(postgres_dsn).database() as elsewhere:
        here, there = managers(), managers(elsewhere)
        async with here.locked("room"):
            await take(there, "room")
            await take(managers(namespace="another"), "room")
            await take(managers(namespace=""), "room")
            task = asyncio.create_task(take(managers(namespace="roomkit"), "room"))
            await until(lambda: here._server._waiters == {} and not task.done())
        assert await task
        await there.close()


async def test_rooms_with_one_key_exclude_each_other_and_nobody_twice(
    managers: LockMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task may hold both; leaving one does not free the other."""
    monkeypatch.setattr(module, "_number", lambda identity, key, purpose: len(purpose) + purpose[0])
    manager, other = managers(), managers()
    async with asyncio.timeout(PATIENCE):
        async with manager.locked("one") as first:
            async with manager.locked("two") as second:
                assert (second or 0) > (first or 0)
            task = asyncio.create_task(take(other, "three"))
            await until(lambda: waiting(other))
            assert not task.done()
        await task


async def test_tokens_rise_when_the_server_lost_its_data(postgres_dsn: str, managers: LockMaker) -> None:
    """A restored backup counts from the past, and a new session lifts it to the present."""
    before = managers()
    token = await take(before, "room") or 0
    await before.close()
    await sql(postgres_dsn, "select setval('roomkit_fence', 17)")
    assert (await take(managers(), "room") or 0) > token


async def test_tokens_rise_when_the_clock_falls(postgres_dsn: str, managers: LockMaker) -> None:
    before = managers()
    token = await take(before, "room") or 0
    await sql(postgres_dsn, f"select setval('roomkit_fence', {token + 3_600_000_000})")
    assert (await take(managers(), "room") or 0) > token + 3_600_000_000


async def test_tokens_rise_when_a_crash_took_the_last_moments(postgres_dsn: str, managers: LockMaker) -> None:
    """Also when the server is back so soon that the clock has hardly moved."""
    before = managers()
    tokens = [await take(before, "room") or 0 for _ in range(50)]
    ahead = tokens[0] + 3_600_000_000  # so that it is not the clock that helps
    await sql(postgres_dsn, f"select setval('roomkit_fence', {ahead})")
    tokens = [await take(before, "room") or 0 for _ in range(50)]
    await sql(postgres_dsn, f"select setval('roomkit_fence', {ahead})")
    assert (await take(managers(), "room") or 0) > tokens[-1]


async def test_a_cancelled_waiter_leaves_nothing_on_the_server(
    postgres_dsn: str, managers: LockMaker
) -> None:
    """Neither a lock nor its place among those who wait, wherever it was cancelled."""
    manager, other = managers(), managers()

    async def hold_while_another_does() -> None:
        async with other.locked("room"):
            pass
        async with other.locked("room"):
            task = asyncio.create_task(take(manager, "room"))
            try:
                await until(lambda: waiting(manager))
            except BaseException:
                task.cancel()
                await asyncio.wait([task])
                raise
        await task

    async def check(cancellation: Cancellation) -> None:
        await manager.open()
        await other.open()
        assert (manager.held, other.held) == (0, 0)
        held = "select count(*) from pg_locks where locktype = 'advisory' and database ="
        assert (
            await sql(
                postgres_dsn, f"{held} (select oid from pg_database where datname = current_database())"
            )
            == "0"
        )

    async with asyncio.timeout(PATIENCE):
        await cancel_at_every_await(hold_while_another_does, check)


async def test_closing_frees_what_is_held_and_ends_who_waits(managers: LockMaker) -> None:
    """The next worker gets in; the closed manager says that it is closed."""
    closing, other = managers(), managers()
    async with closing.locked("held"), other.locked("wanted"):
        task = asyncio.create_task(take(closing, "wanted"))
        await until(lambda: waiting(closing))
        await closing.close()
        with pytest.raises(LockLostError, match="is closed: make a new one"):
            await task
        await take(other, "held")
    with pytest.raises(LockLostError, match="is closed"):
        await closing.locked("held").__aenter__()
    assert closing.lost == 0


async def test_a_lock_that_something_else_released_is_counted(
    postgres_dsn: str, managers: LockMaker, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock that is not there when it is given back was lost, and the log says why."""
    manager = managers()
    async with manager.locked("room"):
        connection = manager._server._line._connection
        assert connection is not None
        await connection.execute("select pg_advisory_unlock_all()")
    await manager.open()
    assert manager.lost == 1
    assert "something else released it" in caplog.text


async def test_sessions_that_are_ended_come_again(postgres_dsn: str, managers: LockMaker) -> None:
    manager = managers()
    tokens = []
    for _ in range(5):
        tokens.append(await take(manager, "room") or 0)
        await asyncio.to_thread(end_sessions, postgres_dsn)
        await until(lambda: manager.kept == 0)
    assert tokens == sorted(set(tokens))


# -- locks that stay with their process ------------------------------------------------------------


@pytest.fixture
def no_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no connection prove itself: it would be a request that the test did not make."""
    monkeypatch.setattr(line, "_PROOF_INTERVAL", 3600.0)


async def use(manager: PostgresLockManager, *rooms: str, times: int = 3) -> int:
    """Hold the locks of rooms again and again; return the last token."""
    token = None
    for _ in range(times):
        for room in rooms:
            token = await take(manager, room)
    return token or 0


async def test_a_room_in_use_asks_the_server_nothing(
    proxy: CutProxy, managers: LockMaker, no_proofs: None
) -> None:
    """Two requests to acquire and one to release, then none, however many messages come."""
    manager = await managers(proxy.url).open()
    before = proxy.requests
    first = await use(manager, "room", times=2)
    asked = proxy.requests - before
    assert await use(manager, "room", times=100) == first
    assert (proxy.requests - before, manager.kept, manager.held) == (asked, 1, 0)
    assert asked <= 3


async def test_two_workers_that_take_turns_have_the_lock_released_at_once(
    managers: LockMaker, only_calls_wake: None
) -> None:
    """One hand-over of a kept lock, then no lock is kept: a request and its answer would cost more."""
    one, two = managers(), managers()
    await use(one, "room")
    assert one.kept == 1
    for _ in range(10):
        await use(two, "room", times=1)
        await use(one, "room", times=1)
        assert (one.kept, two.kept) == (0, 0)


async def test_kept_locks_are_bounded_and_the_oldest_is_released(managers: LockMaker) -> None:
    manager, other = await managers().open(), managers()
    assert manager._server.kept.most >= 100, "an eighth of the lock table of a server as installed"
    manager._server.kept.most = 10
    await use(manager, *map(str, range(50)))
    assert manager.kept <= 10
    await use(manager, *map(str, range(10)), times=5)
    assert manager.kept == 10
    await use(manager, "eleventh")
    assert manager.kept == 10
    assert "0" not in manager._server.kept
    await use(other, *map(str, range(50)), times=1)
    assert manager.kept == 1


async def test_an_idle_room_is_released(managers: LockMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the seconds between two proofs of the connection."""
    monkeypatch.setattr(line, "_PROOF_INTERVAL", 0.05)
    manager = managers()
    await use(manager, "room")
    assert manager.kept == 1
    monkeypatch.setattr(kept_locks, "_IDLE", 0.0)
    await until(lambda: manager.kept == 0)


async def test_a_paused_process_loses_the_rooms_it_kept(
    managers: LockMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the session that it hears nothing of; no lock counts as lost, as none was held."""
    monkeypatch.setattr(module, "_SILENCE", 0.3)
    monkeypatch.setattr(line, "_PROOF_INTERVAL", 3600.0)
    paused = managers()
    token = await use(paused, "room")
    monkeypatch.setattr(paused._server, "_asked", lambda *_: None)
    monkeypatch.setattr(line, "_PROOF_INTERVAL", 0.05)
    other = managers()
    assert (await take(other, "room") or 0) > token
    await until(lambda: paused.kept == 0)
    assert paused.lost == 0


async def test_a_cut_connection_forgets_what_was_kept(
    proxy: CutProxy, managers: LockMaker, caplog: pytest.LogCaptureFixture
) -> None:
    """No task held it, so nothing is lost; the next session ends the earlier one, which has it still."""
    manager, other = managers(proxy.url), managers()
    with caplog.at_level(logging.WARNING, "roomkit.postgres"):
        token = await use(manager, "room")
        proxy.cut()
        await until(lambda: manager.kept == 0)
        assert (await take(other, "room") or 0) > token
    assert (manager.lost, caplog.records) == (0, [])


async def test_a_lock_whose_token_the_store_refuses_is_not_kept(managers: LockMaker) -> None:
    """Else the next attempt would come with the same token."""
    manager = managers()
    token = await use(manager, "room")
    with pytest.raises(LockLostError):
        async with manager.locked("room"):
            raise LockLostError("refused")
    assert manager.kept == 0
    assert (await take(manager, "room") or 0) > token


async def test_a_worker_of_an_earlier_version_waits_no_longer_than_a_proof_takes(
    postgres_dsn: str, managers: LockMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits without asking; it is seen at the door, and then no lock is kept for a minute."""
    monkeypatch.setattr(line, "_PROOF_INTERVAL", 0.05)
    manager = managers()
    await use(manager, "room", "other")
    (place,) = [grant.place for grant in manager._server._grants.values() if grant.room_id == "room"]
    connection = await asyncpg.connect(postgres_dsn)
    try:
        assert await connection.fetchval("select pg_try_advisory_lock_shared($1)", place.door)
        await until(lambda: manager.kept == 0)
        await use(manager, "other")
        assert manager.kept == 0
        while not await connection.fetchval("select pg_try_advisory_lock($1)", place.room):
            pass
    finally:
        await connection.close()


@pytest.mark.virtual_time(io_patience=0.3)
async def test_a_link_that_goes_silent_is_noticed_within_fifteen_seconds(postgres_dsn: str) -> None:
    async with CutProxy(postgres_dsn) as proxy, PostgresLockManager(proxy.url) as manager:
        async with manager.locked("room") as token:
            proxy.hold()
            await asyncio.sleep(15)
            assert manager.lost == 1
            proxy.cut()
            proxy.release()
        assert (await take(manager, "room") or 0) > (token or 0)


async def test_a_turn_asks_no_server_and_waits_for_no_other_process() -> None:
    """Not even where there is none."""
    locks = PostgresLockManager("postgresql://stranger@127.0.0.1:1/none")
    async with locks.turn("room"):
        assert locks.held == 0
    await locks.close()
