"""What becomes of locks when the server, the network or the holder fails."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys

import pytest
from redis.asyncio import Redis

from roomkit.abc.errors import LockLostError
from roomkit_plugins.redis import RedisLockManager
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.services import CutProxy, RedisServer

from .conftest import PATIENCE, Worker


async def test_a_server_that_is_gone_is_told(proxy: CutProxy, worker: Worker) -> None:
    """Nothing is held, and the error says what to do next."""
    await proxy.refuse()
    locks = worker(proxy.url, acquire_timeout=0.1)
    with pytest.raises(LockLostError, match=r"nothing was done.*cannot be reached: see that it runs"):
        async with locks.locked("room"):
            pytest.fail("there is no server")
    assert locks.held == 0


async def test_a_server_that_comes_later_is_found(proxy: CutProxy, worker: Worker) -> None:
    """Waiting for it is part of acquiring."""
    await proxy.refuse()
    locks = worker(proxy.url)

    async def enter() -> None:
        async with locks.locked("room"):
            pass

    entering = asyncio.create_task(enter())
    await until(lambda: locks._link._trouble)
    await proxy.accept()
    async with asyncio.timeout(PATIENCE):
        await entering


async def test_a_network_that_swallows_everything_is_given_up(proxy: CutProxy, worker: Worker) -> None:
    """At the deadline, not when the connection gives in."""
    locks = worker(proxy.url, acquire_timeout=0.1)
    proxy.hold()
    with pytest.raises(LockLostError, match="cannot be reached"):
        async with asyncio.timeout(PATIENCE), locks.locked("room"):
            pytest.fail("nothing can have been granted")


async def test_a_greeting_that_hangs_is_given_up(proxy: CutProxy, worker: Worker) -> None:
    """And another connection tried: the network is back by then."""
    locks = worker(proxy.url, connect_timeout=0.5)
    proxy.hold()
    entering = asyncio.create_task(locks.locked("room").__aenter__())
    await until(lambda: locks._link._trouble)
    proxy.cut()
    proxy.release()
    async with asyncio.timeout(PATIENCE):
        await entering


async def test_wrong_credentials_are_not_tried_without_pause(
    redis_url: str, proxy: CutProxy, worker: Worker
) -> None:
    locks = worker(proxy.url.replace("redis://", "redis://stranger:wrong@"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 0.5:
        with pytest.raises(LockLostError, match="refuses the credentials"):
            async with locks.locked("room"):
                pytest.fail("there is no such user")
    assert proxy.connections < 10


@pytest.mark.parametrize("answer_is_lost", [False, True])
async def test_a_lost_question_is_asked_again(proxy: CutProxy, worker: Worker, answer_is_lost: bool) -> None:
    """Whether the server had done it or not, one lock is held, and given back."""
    locks, other = worker(proxy.url), worker()
    for _ in range(3):
        async with locks.locked("room"):
            proxy.cut_at_request(1, answer_is_lost=answer_is_lost)
        async with locks.locked("room"):
            pass
        async with asyncio.timeout(PATIENCE), other.locked("room"):
            pass
    assert locks.lost == 0


async def test_a_cut_connection_loses_no_lock(proxy: CutProxy, worker: Worker) -> None:
    """It is made again, and the lease renewed at once."""
    locks, other = worker(proxy.url), worker()
    async with locks.locked("room"):
        (lease,) = locks._leases._held.values()
        deadline, connections = lease.deadline, proxy.connections
        proxy.cut()
        await until(lambda: lease.deadline > deadline)
        assert proxy.connections > connections
        entered = asyncio.create_task(other.locked("room").__aenter__())
        await until(lambda: any(wait.is_known for wait in other._waits.values()))
        assert not entered.done()
    async with asyncio.timeout(PATIENCE):
        await entered
    assert locks.lost == 0


async def test_a_waiter_that_is_cut_off_still_gets_its_turn(proxy: CutProxy, worker: Worker) -> None:
    holder, waiter = worker(), worker(proxy.url)

    async def enter() -> None:
        async with waiter.locked("room"):
            pass

    async with holder.locked("room"):
        waiting = asyncio.create_task(enter())
        await until(lambda: waiter._listener.is_listening(waiter._channel))
        proxy.cut()
    async with asyncio.timeout(PATIENCE):
        await waiting


async def test_a_lock_survives_a_server_that_lost_everything(
    redis_server: RedisServer, worker: Worker
) -> None:
    locks, other = worker(lock_seconds=10), worker()
    async with locks.locked("room") as token:
        await asyncio.to_thread(redis_server.kill)
        await asyncio.to_thread(redis_server.restart)
        client = Redis.from_url(redis_server.url)
        async with asyncio.timeout(PATIENCE):
            while not [key async for key in client.scan_iter("*:lock")]:
                pass
        await client.aclose()
        assert locks.held == 1
    async with asyncio.timeout(PATIENCE), other.locked("room") as later:
        assert later > token
    assert locks.lost == 0


async def test_a_waiter_survives_the_death_of_the_server(redis_server: RedisServer, worker: Worker) -> None:
    """Killed and started again while a lock is waited for: the wait goes on."""
    holder, waiter = worker(), worker()

    async def enter() -> None:
        async with waiter.locked("room"):
            pass

    async with holder.locked("room"):
        waiting = asyncio.create_task(enter())
        await until(lambda: waiter._listener.is_listening(waiter._channel))
        await asyncio.to_thread(redis_server.kill)
        await until(lambda: not waiter._listener.is_listening(waiter._channel))
        await asyncio.to_thread(redis_server.restart)
    async with asyncio.timeout(PATIENCE):
        await waiting


async def test_a_holder_that_is_cut_off_loses_the_lock(
    proxy: CutProxy, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    locks, other = worker(proxy.url, lock_seconds=0.2), worker()
    with caplog.at_level(logging.WARNING):
        async with locks.locked("room") as token:
            await proxy.refuse()
            proxy.cut()
            async with asyncio.timeout(PATIENCE), other.locked("room") as higher:
                assert higher > token
            await until(lambda: locks.lost)
            assert locks.held == 0
            await proxy.accept()
    assert locks.lost == 1
    assert "The lock on room 'room' was lost while it was held" in caplog.text
    async with asyncio.timeout(PATIENCE), locks.locked("room"):
        pass


async def test_a_paused_holder_is_overtaken_and_finds_out(worker: Worker) -> None:
    """What it gives back too late is another's, and stays that."""
    locks, other = worker(lock_seconds=0.2), worker()
    async with locks.locked("room") as token:
        assert locks._leases._task is not None
        locks._leases._task.cancel()  # as if this process had stopped: no lease is renewed
        async with asyncio.timeout(PATIENCE):
            lock = other.locked("room")
            higher = await lock.__aenter__()
    await until(lambda: locks.lost)
    assert higher > token
    entering = asyncio.create_task(locks.locked("room").__aenter__())
    await until(lambda: locks._listener.is_listening(locks._channel))
    assert not entering.done()
    await lock.__aexit__(None, None, None)
    async with asyncio.timeout(PATIENCE):
        await entering


async def test_a_worker_that_is_killed_is_overtaken(redis_url: str, worker: Worker) -> None:
    """When its lease has run out; its token is below the next one."""
    code = (
        "import asyncio, sys\n"
        "from roomkit_plugins.redis import RedisConfig, RedisLockManager\n"
        "async def main():\n"
        "    config = RedisConfig.model_validate({'url': sys.argv[1], 'lock_seconds': 0.5})\n"
        "    async with RedisLockManager(config).locked('room') as token:\n"
        "        print(token, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, redis_url, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        token = int(await process.stdout.readline())
        entering = asyncio.create_task(worker().locked("room").__aenter__())
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert await entering > token


async def test_wrong_credentials_are_told_at_once_and_do_not_show(
    redis_url: str, worker: Worker, client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the error, nor in its causes, nor in logs."""
    await client.execute_command("ACL", "SETUSER", "limited", "on", ">right-password", "~*", "&*", "+@all")
    url = redis_url.replace("redis://", "redis://limited:wrong-password@")
    locks = worker(url)
    with pytest.raises(LockLostError, match="refuses the credentials: correct user and password") as caught:
        async with asyncio.timeout(PATIENCE), locks.locked("room"):
            pytest.fail("the password is wrong")
    await client.execute_command("ACL", "DELUSER", "limited")
    error: BaseException | None = caught.value
    while error is not None:
        assert "wrong-password" not in f"{error!r}{error}"
        error = error.__cause__ or error.__context__
    assert "wrong-password" not in caplog.text + repr(locks) + repr(locks.config)


async def test_a_user_that_may_too_little_is_told(redis_url: str, worker: Worker, client: Redis) -> None:
    await client.execute_command("ACL", "SETUSER", "limited", "on", ">word", "~*", "&*", "+@all", "-evalsha")
    locks = worker(redis_url.replace("redis://", "redis://limited:word@"))
    with pytest.raises(LockLostError, match=r"grants this user too little.*evalsha"):
        async with locks.locked("room"):
            pytest.fail("it may not")
    await client.execute_command("ACL", "DELUSER", "limited")


async def test_a_worker_that_may_not_listen_asks(
    redis_url: str, proxy: CutProxy, worker: Worker, client: Redis
) -> None:
    """Once a second; and it does not knock at the server without pause."""
    await client.execute_command(
        "ACL", "SETUSER", "limited", "on", ">word", "~*", "&*", "+@all", "-subscribe"
    )
    holder, waiter = worker(), worker(proxy.url.replace("redis://", "redis://limited:word@"))
    async with holder.locked("room"):
        waiting = asyncio.create_task(waiter.locked("room").__aenter__())
        end = asyncio.get_running_loop().time() + 0.5
        await until(lambda: asyncio.get_running_loop().time() > end)
        assert proxy.connections < 10
    async with asyncio.timeout(PATIENCE):
        await waiting
    await client.execute_command("ACL", "DELUSER", "limited")


async def test_closing_without_a_server_ends(
    proxy: CutProxy, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bounded time, with a lock held."""
    monkeypatch.setattr("roomkit_plugins.redis.locks._CLOSING", 0.05)
    locks = worker(proxy.url)

    async def hold(locks: RedisLockManager, entered: asyncio.Event) -> None:
        async with locks.locked("room"):
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    holding = asyncio.create_task(hold(locks, entered))
    await entered.wait()
    await proxy.refuse()
    proxy.cut()
    async with asyncio.timeout(PATIENCE):
        await locks.close()
    holding.cancel()
    await asyncio.wait([holding])
