"""Rate limits: token buckets, fair to those who wait."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.authoring.limits import TokenBucketRateLimiter
from roomkit.models import RateLimit
from roomkit_plugins.testing import run_virtual
from roomkit_plugins.testing.contracts.strategies import examples

pytestmark = pytest.mark.virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


async def passed(limiter: TokenBucketRateLimiter, limit: RateLimit, times: int) -> list[float]:
    """Let so many pass, and return when each did."""

    async def one() -> float:
        await limiter.wait("key", limit)
        return now()

    return list(await asyncio.gather(*(one() for _ in range(times))))


@pytest.mark.parametrize(
    ("limit", "moments"),
    [
        (RateLimit(max_per_second=2), [0, 0, 0.5, 1.0, 1.5]),
        (RateLimit(max_per_second=0.5), [0, 2, 4, 6]),
        (RateLimit(max_per_minute=30), [0, 2, 4, 6]),
        (RateLimit(max_per_hour=60), [0, 60, 120]),
        (RateLimit(max_per_second=1, burst=3), [0, 0, 0, 1, 2]),
        (RateLimit(), [0, 0, 0]),
    ],
)
async def test_what_is_too_much_waits(limit: RateLimit, moments: list[float]) -> None:
    """Also limits of less than one a second; without a limit nothing waits."""
    assert await passed(TokenBucketRateLimiter(), limit, len(moments)) == pytest.approx(moments)


async def test_every_limit_that_is_set_applies() -> None:
    """Two a second, and no more than five a minute; the minute's may be used up at once."""
    limit = RateLimit(max_per_second=2, max_per_minute=5)
    moments = await passed(TokenBucketRateLimiter(), limit, 8)

    assert moments == pytest.approx([0, 0, 0.5, 1, 1.5, 12, 24, 36])


async def test_all_three_windows_at_once() -> None:
    """The coarsest is what counts in the end."""
    limit = RateLimit(max_per_second=1, max_per_minute=3, max_per_hour=4)
    moments = await passed(TokenBucketRateLimiter(), limit, 6)

    assert moments[:3] == pytest.approx([0, 1, 2])
    assert moments[3] == pytest.approx(20)
    assert moments[4:] == pytest.approx([900, 1800])


async def test_those_who_wait_go_in_order_of_arrival() -> None:
    limiter, limit = TokenBucketRateLimiter(), RateLimit(max_per_second=1)
    went: list[int] = []

    async def one(number: int) -> None:
        await asyncio.sleep(number * 0.1)
        await limiter.wait("key", limit)
        went.append(number)

    await asyncio.gather(*(one(number) for number in reversed(range(10))))
    assert went == list(range(10))
    assert now() == pytest.approx(9)


async def test_a_waiter_that_is_cancelled_gives_its_place_back() -> None:
    """The next to come waits as if it had never been there."""
    limiter, limit = TokenBucketRateLimiter(), RateLimit(max_per_second=1)
    await limiter.wait("key", limit)
    waiting = asyncio.create_task(limiter.wait("key", limit))
    await asyncio.sleep(0.5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    await limiter.wait("key", limit)
    assert now() == pytest.approx(1)


async def test_taking_without_waiting() -> None:
    """Only when every bucket has a token, and then one of each."""
    limiter, limit = TokenBucketRateLimiter(), RateLimit(max_per_second=2, max_per_minute=3)
    assert [limiter.acquire("key", limit) for _ in range(3)] == [True, True, False]
    await asyncio.sleep(1)
    assert [limiter.acquire("key", limit) for _ in range(2)] == [True, False]
    await asyncio.sleep(19)
    assert limiter.acquire("key", limit)


async def test_small_steps_add_up_to_whole_tokens() -> None:
    limiter, limit = TokenBucketRateLimiter(), RateLimit(max_per_second=1)
    limiter.acquire("key", limit)
    for _ in range(9):
        await asyncio.sleep(0.1)
        assert not limiter.acquire("key", limit)
    await asyncio.sleep(0.1)
    assert limiter.acquire("key", limit)


async def test_keys_do_not_share() -> None:
    """One binding's pace is not another's."""
    limiter, limit = TokenBucketRateLimiter(), RateLimit(max_per_hour=1)

    assert limiter.acquire(("r", "a"), limit)
    assert limiter.acquire(("r", "b"), limit)
    assert not limiter.acquire(("r", "a"), limit)


async def test_a_limit_that_was_changed_applies_at_once() -> None:
    limiter = TokenBucketRateLimiter()
    assert limiter.acquire("key", RateLimit(max_per_hour=1))
    assert not limiter.acquire("key", RateLimit(max_per_hour=1))
    assert limiter.acquire("key", RateLimit(max_per_second=5))


async def test_only_so_many_keys_are_remembered() -> None:
    """The longest unused is dropped, counted, and starts full again."""
    limiter, limit = TokenBucketRateLimiter(max_keys=2), RateLimit(max_per_hour=1)
    for key in ("a", "b", "a", "c"):
        limiter.acquire(key, limit)

    assert limiter.dropped == 1
    assert not limiter.acquire("a", limit)
    assert limiter.acquire("b", limit)


def test_no_window_ever_holds_more_than_its_rate_and_the_burst() -> None:
    """Whatever the limits, and however long the pauses between arrivals."""
    rates = st.floats(0.05, 5, allow_nan=False)

    @examples(40)
    @given(
        second=st.none() | rates,
        minute=st.none() | rates.map(lambda rate: rate * 20),
        pauses=st.lists(st.sampled_from([0.0, 0.1, 1.0, 30.0]), min_size=1, max_size=25),
    )
    def holds(second: float | None, minute: float | None, pauses: list[float]) -> None:
        limit = RateLimit(max_per_second=second, max_per_minute=minute)
        moments = run_virtual(arrivals(limit, pauses))
        assert moments == sorted(moments)
        if second is not None:
            assert_never_more(moments, 1.0, second + max(1.0, second))
        if minute is not None:
            assert_never_more(moments, 60.0, minute + max(1.0, minute))

    holds()


async def arrivals(limit: RateLimit, pauses: list[float]) -> list[float]:
    limiter = TokenBucketRateLimiter()
    waiting = []
    for pause in pauses:
        await asyncio.sleep(pause)
        waiting.append(asyncio.create_task(moment(limiter, limit)))
    return [await task for task in waiting]


async def moment(limiter: TokenBucketRateLimiter, limit: RateLimit) -> float:
    await limiter.wait("key", limit)
    return now()


def assert_never_more(moments: list[float], seconds: float, most: float) -> None:
    window: deque[float] = deque()
    for at in moments:
        window.append(at)
        while window[0] < at - seconds + 1e-6:
            window.popleft()
        assert len(window) <= most + 1 + 1e-6
