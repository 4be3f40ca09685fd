"""The supervisor: every task has a name, an owner and an end."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.kernel.runtime.supervisor import Interrupted, Supervisor

pytestmark = pytest.mark.virtual_time


class Failures(list[tuple[str, str]]):
    def background_error(self, name: str, error: BaseException) -> None:
        self.append((name, str(error)))

    def work_abandoned(self, name: str, seconds: float) -> None:
        self.append((name, f"abandoned after {seconds} s"))


async def say_nothing() -> str:
    return "done"


async def fail(after: float = 0.0) -> None:
    if after:
        await asyncio.sleep(after)
    raise ValueError("broken")


async def test_work_that_never_waits_is_done_at_once() -> None:
    """It costs no turn of the loop, and is not kept."""
    supervisor = Supervisor()
    task = supervisor.start(say_nothing(), "quick")

    assert task.done()
    assert task.result() == "done"
    assert len(supervisor) == 0


async def test_work_that_waits_is_kept_by_its_name_until_it_ends() -> None:
    """So that a hang can be read off the task list."""
    supervisor = Supervisor()
    task = supervisor.start(asyncio.sleep(5), "slow")

    assert (len(supervisor), task.get_name()) == (1, "slow")
    await task
    assert len(supervisor) == 0


@pytest.mark.parametrize("after", [0.0, 3.0])
async def test_a_failure_is_handed_over_with_the_name(after: float) -> None:
    """Whether it comes at once or later."""
    failures = Failures()
    supervisor = Supervisor()
    supervisor.report_to(failures)
    supervisor.start(fail(after), "doomed")
    await supervisor.drain(10)

    assert failures == [("doomed", "broken")]


async def test_without_an_owner_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Supervisor().start(fail(), "doomed")

    assert "background work doomed failed" in caplog.text


async def test_a_cancelled_task_is_no_failure() -> None:
    failures = Failures()
    supervisor = Supervisor()
    supervisor.report_to(failures)
    task = supervisor.start(asyncio.sleep(9), "slow")
    task.cancel()
    await asyncio.wait([task])

    assert failures == []
    assert len(supervisor) == 0


@pytest.mark.parametrize("after", [0.0, 3.0])
async def test_a_begun_task_keeps_its_failure_for_its_owner(after: float) -> None:
    """And an owner who gave up is not warned about."""
    failures = Failures()
    supervisor = Supervisor()
    supervisor.report_to(failures)
    task = supervisor.begin(fail(after), "owned")
    with pytest.raises(ValueError, match="broken"):
        await task
    supervisor.begin(fail(after), "abandoned")
    await asyncio.sleep(10)

    assert failures == []
    assert len(supervisor) == 0


async def test_what_must_be_completed_outlives_its_caller() -> None:
    """The cancellation comes afterwards, and carries what the work came to."""
    supervisor = Supervisor()
    done: list[float] = []

    async def work() -> str:
        await asyncio.sleep(5)
        done.append(asyncio.get_running_loop().time())
        return "stored"

    async def caller() -> None:
        with pytest.raises(Interrupted) as raised:
            await supervisor.complete(work(), "commit")
        assert raised.value.result == "stored"
        raise raised.value

    task = asyncio.create_task(caller())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(1)
    task.cancel()  # however often
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [5]


async def test_completing_gives_the_result_or_the_failure() -> None:
    supervisor = Supervisor()
    assert await supervisor.complete(say_nothing(), "quick") == "done"
    assert await supervisor.complete(asyncio.sleep(1, "slept"), "slow") == "slept"
    with pytest.raises(ValueError, match="broken"):
        await supervisor.complete(fail(), "doomed")

    task = asyncio.create_task(supervisor.complete(fail(5), "doomed"))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(ValueError, match="broken"):
        await task


async def test_draining_waits_for_what_is_under_way_and_what_it_starts() -> None:
    """Until all of it has ended, or the time is up."""
    supervisor = Supervisor()

    async def parent() -> None:
        await asyncio.sleep(2)
        supervisor.start(asyncio.sleep(2), "child")

    supervisor.start(parent(), "parent")
    assert not await supervisor.drain(3)
    assert await supervisor.drain(3)
    assert asyncio.get_running_loop().time() == 4
    assert await supervisor.drain(0)


async def test_draining_from_inside_does_not_wait_for_itself() -> None:
    """A task that closes the kit is not in its own way."""
    supervisor = Supervisor()

    async def closer() -> bool:
        await asyncio.sleep(1)
        return await supervisor.drain(5)

    assert await supervisor.start(closer(), "closer")
    assert asyncio.get_running_loop().time() == 1


async def test_cancelling_names_what_would_not_end() -> None:
    supervisor = Supervisor()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(50)

    supervisor.start(stubborn(), "stubborn")
    supervisor.start(asyncio.sleep(100), "willing")

    assert await supervisor.cancel(5) == ["stubborn"]
    assert asyncio.get_running_loop().time() == 5
    assert await supervisor.drain(100)
