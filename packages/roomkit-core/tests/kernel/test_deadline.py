"""Deadline: one timer for all that a task waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from roomkit.kernel.runtime.deadline import Deadline, Expiry
from roomkit_plugins.testing import run_virtual

pytestmark = pytest.mark.virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


def timers() -> int:
    """How many timers the loop holds that were not cancelled."""
    return sum(not timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


async def outcome(work: Coroutine[Any, Any, Any], deadline: Deadline) -> str:
    """Say how `work` ended under `deadline`; a cancellation that is not the deadline's is raised."""
    try:
        await work
    except asyncio.CancelledError:
        if not deadline.caught():
            raise
        return "late"
    return "done"


async def test_what_is_in_time_is_left_alone() -> None:
    """And the timer goes with the deadline."""
    with Deadline(5) as deadline:
        assert await outcome(asyncio.sleep(4), deadline) == "done"
        assert not deadline.passed
    assert timers() == 0
    await asyncio.sleep(10)


async def test_what_is_late_is_cancelled_and_known_by_it() -> None:
    """At the moment the deadline names; the task itself goes on."""
    with Deadline(5) as deadline:
        assert await outcome(asyncio.sleep(9), deadline) == "late"
        assert now() == 5
        assert deadline.passed
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(10)


async def test_a_step_has_less_time_than_the_whole() -> None:
    """Being late in it does not use up the rest."""
    with Deadline(10) as deadline:
        outer = deadline.enter(2)
        assert await outcome(asyncio.sleep(9), deadline) == "late"
        deadline.leave(outer)
        assert now() == 2
        assert not deadline.passed
        assert await outcome(asyncio.sleep(7), deadline) == "done"
        assert await outcome(asyncio.sleep(7), deadline) == "late"
        assert now() == 10


async def test_a_step_cannot_have_more_time_than_the_whole() -> None:
    """However generous it is meant to be."""
    with Deadline(3) as deadline:
        outer = deadline.enter(60)
        assert await outcome(asyncio.sleep(9), deadline) == "late"
        assert deadline.passed
        deadline.leave(outer)


async def test_steps_nest() -> None:
    """The innermost limit counts, then the next one out, each at its own moment."""
    with Deadline(9) as deadline:
        first = deadline.enter(6)
        second = deadline.enter(2)
        assert await outcome(asyncio.sleep(20), deadline) == "late"
        deadline.leave(second)
        assert now() == 2
        assert await outcome(asyncio.sleep(20), deadline) == "late"
        deadline.leave(first)
        assert now() == 6
        assert await outcome(asyncio.sleep(20), deadline) == "late"
        assert now() == 9


async def test_a_thousand_steps_need_one_timer() -> None:
    """A gate costs no timer of its own."""
    with Deadline(5) as deadline:
        for _ in range(1000):
            outer = deadline.enter(30)
            await asyncio.sleep(0)
            deadline.leave(outer)
        assert timers() == 1


async def test_a_step_without_a_limit_is_bounded_by_the_whole() -> None:
    """None means no limit of its own."""
    with Deadline(4) as deadline:
        outer = deadline.enter(None)
        assert await outcome(asyncio.sleep(9), deadline) == "late"
        deadline.leave(outer)
        assert now() == 4


async def test_without_a_limit_only_steps_are_bounded() -> None:
    with Deadline(None) as deadline:
        assert await outcome(asyncio.sleep(100), deadline) == "done"
        outer = deadline.enter(1)
        assert await outcome(asyncio.sleep(100), deadline) == "late"
        deadline.leave(outer)
        assert await outcome(asyncio.sleep(100), deadline) == "done"
        assert not deadline.passed
        assert now() == 201


async def test_a_lazy_deadline_has_no_timer_until_somebody_waits() -> None:
    async def quick() -> None:
        with Deadline(None, lazy=True) as deadline:
            outer = deadline.enter(5)
            assert timers() == 0
            deadline.leave(outer)
        assert timers() == 0

    async def slow(ready: asyncio.Future[Deadline]) -> str:
        with Deadline(None, lazy=True) as deadline:
            ready.set_result(deadline)
            outer = deadline.enter(5)
            try:
                return await outcome(asyncio.sleep(100), deadline)
            finally:
                deadline.leave(outer)

    await quick()
    ready: asyncio.Future[Deadline] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(slow(ready))
    (await ready).waiting()
    assert await task == "late"
    assert now() == 5


async def test_a_lazy_deadline_that_was_left_waiting_bounds_later_steps_too() -> None:
    """From then on there is a timer whenever there is a limit."""

    async def lane(ready: asyncio.Future[Deadline]) -> list[str]:
        with Deadline(None, lazy=True) as deadline:
            ready.set_result(deadline)
            outcomes = []
            for seconds in (1, 9):
                outer = deadline.enter(5)
                outcomes.append(await outcome(asyncio.sleep(seconds), deadline))
                deadline.leave(outer)
            return outcomes

    ready: asyncio.Future[Deadline] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(lane(ready))
    (await ready).waiting()
    assert await task == ["done", "late"]
    assert now() == 6


async def test_a_cancellation_from_outside_wins() -> None:
    async def work() -> str:
        with Deadline(5) as deadline:
            return await outcome(asyncio.sleep(9), deadline)

    for seconds in (3, 5):
        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_later(seconds, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_step_that_ends_as_its_time_is_up_leaves_nothing_behind() -> None:
    """The cancellation that was on its way is taken back: the next step is not hit by it."""

    async def swallows() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            return

    with Deadline(30) as deadline:
        outer = deadline.enter(2)
        assert await outcome(swallows(), deadline) == "done"
        deadline.leave(outer)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert await outcome(asyncio.sleep(9), deadline) == "done"


async def test_what_comes_in_the_turn_of_the_deadline_is_late() -> None:
    """A result that is due at the very moment is not in time, and nothing of the two is left over."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    async def wait() -> str:
        return await answer

    with Deadline(5) as deadline:
        loop.call_at(loop.time() + 5, answer.set_result, "just")
        assert await outcome(wait(), deadline) == "late"
    await asyncio.sleep(1)


async def test_after_it_is_closed_nothing_is_cancelled() -> None:
    with Deadline(5) as deadline:
        await asyncio.sleep(4)
        deadline.close()
        await asyncio.sleep(10)
        outer = deadline.enter(None)
        await asyncio.sleep(10)
        deadline.leave(outer)
    assert now() == 24


async def test_it_can_be_combined_with_asyncio_timeout() -> None:
    """Each takes back its own cancellation and no other."""
    with Deadline(5) as deadline:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(9)
        assert await outcome(asyncio.sleep(9), deadline) == "late"
    assert now() == 5


def test_it_needs_a_task() -> None:
    """There is nothing else to cancel."""

    async def in_a_callback() -> None:
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        def callback() -> None:
            try:
                Deadline(1)
            except RuntimeError as error:
                failed.set_result(error)

        asyncio.get_running_loop().call_soon(callback)
        assert "there is none running" in str(await failed)

    asyncio.run(in_a_callback())


async def bounded(seconds: float, work: float, expiry: Expiry) -> tuple[str, float]:
    """Say how a wait of `work` seconds under a deadline ended, and when."""
    with Deadline(seconds, expiry) as deadline:
        return await outcome(asyncio.sleep(work), deadline), now()


async def test_deadlines_of_one_length_share_a_timer_and_each_has_its_own_time() -> None:
    expiry = Expiry()

    async def begun_at(start: float, work: float) -> tuple[str, float]:
        await asyncio.sleep(start)
        return await bounded(5, work, expiry)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(begun_at(start, work)) for start, work in ((0, 9), (1, 2), (2, 9), (2, 4))]
        await asyncio.sleep(2.5)
        assert timers() == 5  # four sleeping tasks, and the one of all deadlines
    assert [task.result() for task in tasks] == [("late", 5), ("done", 3), ("late", 7), ("done", 6)]
    assert not expiry.pending


async def test_a_shorter_step_of_a_shared_deadline_has_a_timer_of_its_own() -> None:
    """Afterwards the whole is still bounded."""
    with Deadline(10, Expiry()) as deadline:
        outer = deadline.enter(2)
        assert await outcome(asyncio.sleep(5), deadline) == "late"
        assert now() == 2
        deadline.leave(outer)
        assert await outcome(asyncio.sleep(20), deadline) == "late"
        assert now() == 10


async def test_a_step_as_long_as_the_whole_shares_its_timer() -> None:
    with Deadline(10, Expiry()) as deadline:
        deadline.enter(30)
        assert timers() == 1
        assert await outcome(asyncio.sleep(20), deadline) == "late"
        assert now() == 10


def test_a_shared_timer_serves_the_loop_that_it_is_used_in() -> None:
    """A kit is used in one loop after another by scripts that call `asyncio.run` twice."""
    expiry = Expiry()
    assert run_virtual(bounded(5, 1, expiry)) == ("done", 1)
    assert run_virtual(bounded(5, 9, expiry)) == ("late", 5)
