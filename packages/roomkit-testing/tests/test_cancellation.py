"""The cancellation injector, on code that is right and on planted faults."""

from __future__ import annotations

import asyncio

import pytest

from roomkit_plugins.testing.cancellation import (
    Cancellation,
    CancelledAt,
    cancel_at_every_await,
    cancellations,
)


@pytest.mark.virtual_time
async def test_every_await_is_cancelled_while_waiting_and_while_resuming() -> None:
    """Three awaits of futures are six runs, in order, each naming its place."""

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(1)

    runs = [cancellation async for cancellation in cancellations(work)]
    assert [(run.point, run.at) for run in runs] == [(point, at) for point in (1, 2, 3) for at in CancelledAt]
    assert all(run.cancelled and "sleep" in run.where for run in runs)


async def test_a_bare_yield_can_only_be_cancelled_while_waiting() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert [run.at async for run in cancellations(work)] == [CancelledAt.WAITING] * 2


async def test_work_that_never_suspends_is_run_once() -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1

    assert await cancel_at_every_await(work, lambda cancellation: None) == 0
    assert runs == 1


async def test_the_uninterrupted_run_raises_what_it_raises() -> None:
    """A factory that fails by itself is a mistake of the test, and shown."""

    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken anyway")

    with pytest.raises(ValueError, match="broken anyway"):
        await cancel_at_every_await(work, lambda cancellation: None)


async def test_a_lock_taken_without_finally_is_found() -> None:
    """The planted fault: a cancellation between acquire and release leaves the lock held."""
    lock = asyncio.Lock()

    async def work() -> None:
        await lock.acquire()
        await asyncio.sleep(0)
        lock.release()

    def check(cancellation: Cancellation) -> None:
        assert not lock.locked()

    with pytest.raises(AssertionError) as caught:
        await cancel_at_every_await(work, check)
    assert "cancelled while waiting at await 1" in caught.value.__notes__[0]


async def test_a_result_lost_between_its_coming_and_its_taking_is_found() -> None:
    """The planted fault that only the `resuming` run sees: an item taken from nowhere to nowhere."""
    taken: list[str] = []

    async def work() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        queue = ["item"]

        def bring() -> None:
            if not future.done():
                future.set_result(queue.pop())

        asyncio.get_running_loop().call_soon(bring)
        try:
            taken.append(await future)
        except asyncio.CancelledError:
            taken.extend(queue)
            raise

    lost = []
    async for cancellation in cancellations(work):
        if not taken:
            lost.append(cancellation.at)
        taken.clear()
    assert lost == [CancelledAt.RESUMING]


async def test_a_run_past_its_point_of_no_return_reports_its_result() -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "committed all the same"
        return "committed"

    (run,) = [run async for run in cancellations(work)]
    assert not run.cancelled
    assert run.result == "committed all the same"


async def test_a_check_may_be_a_coroutine_function() -> None:
    """Checks that look at a store have to wait."""
    checked: list[int] = []

    async def check(cancellation: Cancellation) -> None:
        await asyncio.sleep(0)
        checked.append(cancellation.point)

    async def work() -> None:
        await asyncio.sleep(0)

    assert await cancel_at_every_await(work, check) == 1
    assert checked == [1]
