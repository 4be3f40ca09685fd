import asyncio

import pytest

from roomkit.authoring.coroutines import in_time

pytestmark = pytest.mark.virtual_time


class Late(Exception):
    """The deadline is over."""


async def slow(seconds: float = 10.0) -> str:
    await asyncio.sleep(seconds / 2)
    await asyncio.sleep(seconds / 2)
    return "done"


async def prompt() -> str:
    return "done"


def pending_timers() -> int:
    return sum(not timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)


async def test_a_coroutine_that_does_not_wait_has_no_timer() -> None:
    before, during = pending_timers(), []

    async def counts() -> str:
        during.append(pending_timers())
        return "done"

    assert await in_time(counts(), 5.0, Late) == "done"
    assert during == [before]


@pytest.mark.parametrize("seconds", [11.0, None])
async def test_a_coroutine_that_waits_has_its_time(seconds: float | None) -> None:
    assert await in_time(slow(), seconds, Late) == "done"


async def test_a_coroutine_that_is_late_is_cancelled() -> None:
    ended = []

    async def work() -> str:
        try:
            return await slow()
        finally:
            ended.append(asyncio.get_running_loop().time())

    began = asyncio.get_running_loop().time()
    with pytest.raises(Late) as raised:
        await in_time(work(), 7.0, Late)
    assert ended == [began + 7.0]
    assert isinstance(raised.value.__cause__, TimeoutError)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_time_out_of_the_work_itself_is_not_the_deadline(waits: bool) -> None:
    async def work() -> str:
        if waits:
            await asyncio.sleep(1)
        raise TimeoutError("of the work")

    with pytest.raises(TimeoutError, match="of the work"):
        await in_time(work(), 5.0, Late)


async def test_a_deadline_of_the_work_itself_works_within_the_other() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(2):
                return await slow()
        except TimeoutError:
            return "given up"

    began = asyncio.get_running_loop().time()
    assert await in_time(work(), 5.0, Late) == "given up"
    assert asyncio.get_running_loop().time() == began + 2


async def test_a_future_is_waited_for_as_a_coroutine_is() -> None:
    waited: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with pytest.raises(Late):
        await in_time(waited, 5.0, Late)
    assert waited.cancelled()
    assert await in_time(asyncio.ensure_future(prompt()), 5.0, Late) == "done"


async def test_cancellation_reaches_the_work_and_its_caller() -> None:
    seen = []

    async def work() -> str:
        try:
            return await slow()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.ensure_future(in_time(work(), 100.0, Late))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]


async def test_work_that_returns_in_spite_of_its_deadline_has_its_result() -> None:
    async def work() -> str:
        try:
            return await slow()
        except asyncio.CancelledError:
            await asyncio.sleep(3)
            return "cleaned up"

    assert await in_time(work(), 5.0, Late) == "cleaned up"
