"""Room locks between workers while everything is well."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from roomkit.abc.errors import LockLostError
from roomkit_plugins.redis import RedisLockManager
from roomkit_plugins.redis import locks as locks_module
from roomkit_plugins.redis.leases import RoomKeys
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.services import CutProxy, RedisDatabase

from .conftest import PATIENCE, Worker, calls

LEASE = 3.0
"""Seconds of a lease that must be renewed in real time: a busy machine stops a process for one of them."""


async def waits(client: Redis, count: int = 1) -> None:
    """Wait until the server knows of that many waiters, of all rooms."""
    async with asyncio.timeout(PATIENCE):
        while sum([await client.zcard(key) async for key in client.scan_iter("*:order")]) != count:
            pass


async def test_the_token_rises_with_every_holder(worker: Worker) -> None:
    workers = [worker(), worker()]
    tokens = []
    for number in range(20):
        async with workers[number % 2].locked("room") as token:
            tokens.append(token)
    assert tokens == sorted(set(tokens))


async def test_the_token_rises_when_the_server_lost_its_data(worker: Worker, client: Redis) -> None:
    locks = worker()
    async with locks.locked("room") as before:
        pass
    await client.flushall()
    async with locks.locked("room") as after:
        pass
    assert after > before
    seconds, microseconds = await client.time()
    assert 0 <= seconds * 1_000_000 + microseconds - after < PATIENCE * 1_000_000


async def test_the_token_rises_when_the_clock_was_set_back(worker: Worker, client: Redis) -> None:
    """As long as the server keeps the last one."""
    locks = worker()
    async with locks.locked("room"):
        pass
    (fence,) = [key async for key in client.scan_iter("*:fence")]
    seconds, _ = await client.time()
    ahead = (seconds + 3600) * 1_000_000
    await client.set(fence, ahead)
    async with locks.locked("room") as token:
        assert token == ahead + 1
    assert 0 < await client.ttl(fence) <= 7 * 24 * 3600


async def test_workers_wait_for_each_other(worker: Worker) -> None:
    inside = most = 0

    async def work(locks: RedisLockManager) -> None:
        nonlocal inside, most
        async with locks.locked("room"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    workers = [worker() for _ in range(4)]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(work(locks) for locks in workers for _ in range(25)))
    assert (inside, most) == (0, 1)


async def test_workers_are_served_in_order_of_arrival(worker: Worker, client: Redis) -> None:
    """A busy worker does not keep the others out by asking again at once."""
    served: list[str] = []
    busy, others = worker(), [worker() for _ in range(3)]

    async def enter(name: str, locks: RedisLockManager) -> None:
        async with locks.locked("room"):
            served.append(name)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group, busy.locked("room"):
        for number, locks in enumerate(others):
            group.create_task(enter(f"other {number}", locks))
            await waits(client, number + 1)
        for _ in range(3):
            group.create_task(enter("busy", busy))
    assert served[:3] == ["other 0", "other 1", "other 2"]
    assert served[3:] == ["busy"] * 3


async def test_waiting_is_not_polling(worker: Worker, client: Redis) -> None:
    """Many that wait for long ask once each, and once more when they were told; then once a second."""
    holder, waiter = worker(), worker()
    rooms = [f"room {number}" for number in range(20)]
    async with asyncio.TaskGroup() as group:
        async with AsyncExitStack() as stack:
            for room in rooms:
                await stack.enter_async_context(holder.locked(room))
            await client.config_resetstat()

            async def enter(room: str) -> None:
                async with waiter.locked(room):
                    pass

            began = asyncio.get_running_loop().time()
            for room in rooms:
                for _ in range(5):
                    group.create_task(enter(room))
            await waits(client, len(rooms))
        await until(lambda: not holder.held)
    seconds = asyncio.get_running_loop().time() - began
    asked = (await calls(client))["evalsha"]
    # Per room: the holder's release; a question, one more as it had not listened yet, one when told;
    # for the four others behind it a question and a release each, and the first one's release.
    assert asked <= len(rooms) * (1 + 3 + 4 * 2 + 1) + len(rooms) * int(seconds)


async def test_a_waiter_is_notified_and_does_not_wait_until_it_asks_again(
    worker: Worker, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks_module, "_ASK_AGAIN", 3600.0)
    holder, waiter = worker(lock_seconds=3600), worker()
    async with waiter.locked("warm"), asyncio.TaskGroup() as group:
        async with holder.locked("room"):
            entered = asyncio.Event()

            async def enter() -> None:
                async with waiter.locked("room"):
                    entered.set()

            group.create_task(enter())
            await waits(client)
            await until(lambda: waiter._listener.is_listening(waiter._channel))
            await waits(client)
        async with asyncio.timeout(PATIENCE):
            await entered.wait()


async def test_a_waiter_that_is_not_told_asks_again(worker: Worker, client: Redis) -> None:
    holder, waiter = worker(), worker()

    async def enter() -> None:
        async with waiter.locked("room"):
            pass

    async with holder.locked("room"):
        waiting = asyncio.create_task(enter())
        await waits(client)
        (lock,) = [key async for key in client.scan_iter("*:lock")]
        await client.delete(lock)
        async with asyncio.timeout(PATIENCE):
            await waiting


async def test_a_waiter_that_is_gone_keeps_nobody_out(worker: Worker, client: Redis) -> None:
    """The release passes over who does not listen any more."""
    holder, waiter = worker(), worker()
    async with holder.locked("room"):
        (lock,) = [key.decode() async for key in client.scan_iter("*:lock")]
        stem = lock.removesuffix("lock")
        now = (await client.time())[0]
        await client.zadd(stem + "order", {"dead:1": 1})
        await client.zadd(stem + "seen", {"dead:1": (now + 3600) * 1000})
    async with asyncio.timeout(PATIENCE), waiter.locked("room"):
        assert await client.zcard(stem + "order") == 0


async def test_a_long_hold_is_renewed(worker: Worker, client: Redis) -> None:
    """The lease never runs out, though it is shorter than the hold."""
    locks = worker(lock_seconds=LEASE)
    async with locks.locked("room"):
        (lock,) = [key async for key in client.scan_iter("*:lock")]
        owner = await client.get(lock)
        end = asyncio.get_running_loop().time() + LEASE * 1.1
        while asyncio.get_running_loop().time() < end:
            assert await client.get(lock) == owner
            await asyncio.sleep(0.01)  # other processes
    assert locks.lost == 0


async def test_many_rooms_share_two_connections(proxy: CutProxy, worker: Worker) -> None:
    """However many are held, waited for and renewed at once."""
    locks, other = worker(proxy.url), worker()
    async with AsyncExitStack() as stack:
        entering = (stack.enter_async_context(locks.locked(f"room {number}")) for number in range(300))
        await asyncio.gather(*entering)
        assert locks.held == 300
        async with other.locked("elsewhere"):
            waiting = asyncio.create_task(stack.enter_async_context(locks.locked("elsewhere")))
            leases = list(locks._leases._held.values())
            before = max(lease.deadline for lease in leases)
            locks._leases.renew_soon()
            await until(lambda: min(lease.deadline for lease in leases) > before)
        await waiting
    assert proxy.connections == 2
    assert locks.lost == 0


async def test_an_acquisition_cancelled_after_the_grant_is_released(redis_url: str, worker: Worker) -> None:
    locks, other, database = worker(), worker(), RedisDatabase(redis_url)
    async with locks.locked("warm"):
        pass
    entering = asyncio.create_task(locks.locked("room").__aenter__())
    await until(lambda: locks._link._asked and not entering.done())
    while database.size() < 3:  # this waits without the loop, so that the answer cannot be taken
        pass
    entering.cancel()
    await asyncio.wait([entering])
    assert entering.cancelled()
    async with asyncio.timeout(PATIENCE), other.locked("room"):
        pass


async def test_closing_releases_what_is_held(worker: Worker, client: Redis) -> None:
    """And ends the wait of those who wait, with an error that says why."""
    locks, other = worker(), worker()
    async with other.locked("wanted"):
        waiting = asyncio.create_task(locks.locked("wanted").__aenter__())
        await waits(client)
        async with locks.locked("room"):
            await locks.close()
            async with other.locked("room"):
                pass
        with pytest.raises(LockLostError, match="closed, make a new one"):
            await waiting
    with pytest.raises(LockLostError, match="closed, make a new one"):
        async with locks.locked("room"):
            pass
    assert locks.lost == 0


async def test_the_server_sees_no_room_ids(worker: Worker, client: Redis) -> None:
    """Keys are hashed, and those of one room are on one node of a cluster."""
    async with worker(prefix="mine").locked("ann@example.org"):
        keys = [key.decode() async for key in client.scan_iter("*")]
    assert len(keys) == 2
    assert all(key.startswith("mine:{") for key in keys)
    assert len({key.partition("}")[0] for key in keys}) == 1
    assert not any("ann" in key for key in keys)


async def test_a_script_that_the_server_forgot_is_loaded_again(worker: Worker, client: Redis) -> None:
    locks = worker()
    async with locks.locked("room"):
        await client.script_flush()
    async with asyncio.timeout(PATIENCE), locks.locked("room"):
        pass
    assert locks.lost == 0


async def test_a_lock_granted_while_closing_is_given_back(worker: Worker, client: Redis) -> None:
    locks = worker()
    async with locks.locked("warm"):
        pass
    entering = asyncio.create_task(locks.locked("room").__aenter__())
    await until(lambda: locks._link._asked)
    await locks.close()
    with pytest.raises(LockLostError, match="closed, make a new one"):
        await entering
    assert not [key async for key in client.scan_iter("*:lock")]
    assert locks.held == 0


# -- locks that stay with their process ------------------------------------------------------------


async def use(locks: RedisLockManager, *rooms: str, times: int = 4) -> int:
    """Hold the locks of rooms again and again; return the last token."""
    last = 0
    for _ in range(times):
        for room in rooms:
            async with asyncio.timeout(PATIENCE), locks.locked(room) as token:
                last = token
    return last


async def keeper(worker: Worker, *rooms: str, **options: object) -> RedisLockManager:
    """Return a worker that keeps the locks of rooms."""
    locks = worker(**options)
    await use(locks, "first", times=1)
    await until(lambda: locks._listener.is_listening(locks._channel))
    await use(locks, *rooms)
    assert locks.kept == len(rooms)
    return locks


async def test_a_room_in_use_asks_the_server_nothing(worker: Worker, client: Redis) -> None:
    locks = await keeper(worker, "room")
    await until(lambda: not locks._link._asked and not locks._link._waiting)
    await client.config_resetstat()
    first = await use(locks, "room", times=1)
    assert await use(locks, "room", times=100) == first
    assert "evalsha" not in await calls(client)
    assert (locks.kept, locks.held) == (1, 0)


async def test_workers_that_take_turns_keep_no_lock(worker: Worker) -> None:
    """After one hand-over of a kept lock: to ask for it and release it then costs more."""
    one, two = await keeper(worker, "room"), await keeper(worker, "other")
    for _ in range(10):
        await use(two, "room", times=1)
        await use(one, "room", times=1)
        assert (one.kept, two.kept) == (0, 1)


async def test_a_waiter_of_an_earlier_version_is_found_by_the_renewal(worker: Worker, client: Redis) -> None:
    """It waits without asking; then no lock is kept for a minute."""
    locks = await keeper(worker, "room", "other", lock_seconds=0.6)
    await client.zadd(RoomKeys(locks.config.prefix, "room").order, {"0123:1": 1})
    await until(lambda: locks.kept == 0)
    await use(locks, "other")
    assert locks.kept == 0


async def test_kept_locks_are_renewed_and_not_lost(worker: Worker, client: Redis) -> None:
    locks, other = await keeper(worker, "room", lock_seconds=LEASE), worker()
    end = asyncio.get_running_loop().time() + LEASE * 1.1
    await until(lambda: asyncio.get_running_loop().time() > end)
    assert (locks.kept, locks.lost) == (1, 0)
    before = await use(locks, "room", times=1)
    assert await use(other, "room", times=1) > before
    assert locks.lost == 0


async def test_a_kept_lock_that_ran_out_is_taken_again(worker: Worker, client: Redis) -> None:
    """By the clock of this process, which a pause does not stop; nothing counts as lost."""
    locks = await keeper(worker, "room")
    before = await use(locks, "room", times=1)
    (lease,) = [lease for lease in locks._leases._held.values() if lease.is_kept]
    lease.deadline = asyncio.get_running_loop().time() - 1
    assert await use(locks, "room", times=1) > before
    assert locks.lost == 0


async def test_a_lock_whose_token_the_store_refuses_is_not_kept(worker: Worker) -> None:
    """Else the next attempt would come with the same token."""
    locks = await keeper(worker, "room")
    before = await use(locks, "room", times=1)
    with pytest.raises(LockLostError):
        async with locks.locked("room"):
            raise LockLostError("refused")
    assert locks.kept == 0
    assert await use(locks, "room", times=1) > before


async def test_a_holder_that_listens_is_not_taken_for_dead(worker: Worker, client: Redis) -> None:
    """However long it holds the room, and however often others ask."""
    locks, other = await keeper(worker, "room"), worker()
    async with locks.locked("room"):
        waiting = asyncio.create_task(use(other, "room", times=1))
        await waits(client)
        end = asyncio.get_running_loop().time() + 2.5
        await until(lambda: asyncio.get_running_loop().time() > end)
        assert not waiting.done()
    await waiting


async def test_a_turn_asks_no_server_and_waits_for_no_other_process(worker: Worker) -> None:
    holder, other = worker(), worker()
    async with holder.locked("room"), asyncio.timeout(PATIENCE), other.turn("room"):
        assert (holder.held, other.held) == (1, 0)
