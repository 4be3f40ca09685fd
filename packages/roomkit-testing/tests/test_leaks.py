"""The leak detector, on clean cycles and on planted leaks."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator

import pytest

from roomkit_plugins.testing.leaks import Holdings, assert_nothing_leaks


async def test_a_clean_cycle_passes() -> None:
    """Tasks, threads and sockets that are given back are no leak."""

    async def cycle() -> None:
        thread = threading.Thread(target=lambda: None)
        with socket.socket():
            thread.start()
            await asyncio.create_task(asyncio.sleep(0))
        thread.join()

    await assert_nothing_leaks(cycle, cycles=20)


async def test_a_leaked_task_is_named() -> None:
    tasks = set()

    async def cycle() -> None:
        tasks.add(asyncio.create_task(asyncio.Event().wait(), name="forgotten"))

    with pytest.raises(AssertionError, match=r"after 5 cycles there are \d+ tasks, \d+ before: forgotten"):
        await assert_nothing_leaks(cycle, cycles=5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Collect sockets, and close them after the test."""
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()


async def test_a_leaked_socket_is_found(sockets: list[socket.socket]) -> None:
    """A descriptor that stays open is found, with what it leads to."""

    async def cycle() -> None:
        sockets.append(socket.socket())

    with pytest.raises(AssertionError, match=r"descriptors, \d+ before: socket:"):
        await assert_nothing_leaks(cycle, cycles=3)


async def test_a_leaked_thread_is_found() -> None:
    """A thread that does not end is found."""
    end = threading.Event()
    threads: list[threading.Thread] = []

    async def cycle() -> None:
        threads.append(threading.Thread(target=end.wait, name="lingering"))
        threads[-1].start()

    with pytest.raises(AssertionError, match=r"threads, \d+ before: lingering"):
        await assert_nothing_leaks(cycle, cycles=3)
    end.set()
    for thread in threads:
        thread.join()


async def test_holding_less_than_before_is_no_leak() -> None:
    before = Holdings(("a", "b"), ("main",), ("pipe", "pipe"))
    assert not Holdings(("a",), ("main",), ("pipe",)).beyond(before)
    assert Holdings(("a", "b", "b"), ("main",), ()).beyond(before) == "3 tasks, 2 before: b"


async def test_the_loops_own_pool_of_threads_is_none() -> None:
    """It takes another thread if one is not idle again when the next call comes, and is bounded."""
    widths = iter(range(1, 9))

    async def cycle() -> None:
        width = next(widths)
        together = threading.Barrier(width)  # passed only once so many threads are there
        await asyncio.gather(*(asyncio.to_thread(together.wait) for _ in range(width)))

    await assert_nothing_leaks(cycle, cycles=3, warm_up=1)


def test_a_collection_of_garbage_passes_by_what_the_tests_are_made_of() -> None:
    """Modules and items are frozen once collected; otherwise each test for leaks pays for all tests."""
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000
