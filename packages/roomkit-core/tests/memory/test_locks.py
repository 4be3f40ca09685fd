"""Particulars of the in-memory lock manager."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.memory.locks import InMemoryLockManager


async def test_the_least_recently_used_lock_is_forgotten() -> None:
    """No more locks are known than `max_locks` while none is in use."""
    locks = InMemoryLockManager(max_locks=2)
    for room in ("a", "b", "a", "c"):
        async with locks.locked(room):
            pass
    assert locks.size == 2
    assert set(locks._known) == {"a", "c"}


async def test_a_held_lock_is_never_forgotten() -> None:
    """More than `max_locks` are known while they are held, and still exclude."""
    locks = InMemoryLockManager(max_locks=1)
    async with locks.locked("a"), locks.locked("b"), locks.locked("c"):
        assert locks.size == 3
        for room in ("a", "b", "c"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0), locks.locked(room):
                    pass
    assert locks.size == 1


async def test_a_thousand_rooms_in_turn_keep_the_bound() -> None:
    """However many rooms come and go beside one that is held for long."""
    locks = InMemoryLockManager(max_locks=10)
    async with locks.locked("long"):
        for number in range(1000):
            async with locks.locked(str(number)):
                assert locks.size <= 11
    assert locks.size <= 10


async def test_it_is_not_reentrant() -> None:
    """Asking again for what one holds waits, as it does for anybody else."""
    locks = InMemoryLockManager()
    with pytest.raises(TimeoutError):
        async with locks.locked("a"), asyncio.timeout(0), locks.locked("a"):
            pass
    async with locks.locked("a"):
        pass


async def test_a_task_made_inside_the_lock_does_not_hold_it() -> None:
    """Holding is not inherited: a child task waits like everybody."""
    locks = InMemoryLockManager()
    entered = asyncio.Event()

    async def child() -> None:
        async with locks.locked("a"):
            entered.set()

    async with locks.locked("a"):
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
        assert not entered.is_set()
    await task


async def test_a_waiter_whose_coroutine_is_thrown_away_blocks_nobody() -> None:
    """A coroutine that is closed while it waits gives up its place."""
    locks = InMemoryLockManager()

    async def enter() -> None:
        async with locks.locked("a"):
            pass

    async with locks.locked("a"):
        abandoned = enter()
        abandoned.send(None)
        abandoned.close()
    async with asyncio.timeout(1), locks.locked("a"):
        pass


def test_a_bound_below_one_is_refused() -> None:
    """A manager that may know no lock could not lock."""
    with pytest.raises(InvalidInputError, match="max_locks is 0"):
        InMemoryLockManager(max_locks=0)


def test_it_says_that_it_is_local_to_the_process() -> None:
    """So that a shared store with this manager can be refused."""
    assert InMemoryLockManager().is_process_local
