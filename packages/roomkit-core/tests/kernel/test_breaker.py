"""The circuit breaker: a provider that keeps failing is left alone for a while."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.kernel.delivery.breaker import CircuitBreaker

pytestmark = pytest.mark.virtual_time


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(failure_threshold=2, recovery_timeout=60)
    breaker.record_failure()
    assert breaker.record_failure()
    return breaker


async def test_it_opens_after_failures_in_a_row() -> None:
    breaker = CircuitBreaker(failure_threshold=3)
    for _ in range(5):
        assert not breaker.record_failure()
        assert not breaker.record_failure()
        assert not breaker.record_success()
    breaker.record_failure()
    breaker.record_failure()
    assert breaker.is_closed
    assert breaker.record_failure()
    assert breaker.is_open
    assert not breaker.allow_request()


async def test_it_says_how_long_it_stays_open() -> None:
    """Which is what a retry waits for."""
    breaker = opened()
    await asyncio.sleep(20)

    assert breaker.retry_after == 40
    assert CircuitBreaker().retry_after == 0


async def test_then_one_probe_goes_out() -> None:
    """Everybody else waits for what becomes of it."""
    breaker = opened()
    await asyncio.sleep(60)

    assert breaker.is_half_open
    assert not breaker.is_open
    assert [breaker.allow_request() for _ in range(3)] == [True, False, False]


async def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened()
    await asyncio.sleep(60)
    breaker.allow_request()

    assert breaker.record_success()
    assert not breaker.record_success()
    assert breaker.is_closed
    assert breaker.allow_request()


async def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    breaker = opened()
    await asyncio.sleep(60)
    breaker.allow_request()

    assert not breaker.record_failure()
    assert breaker.retry_after == 60
    await asyncio.sleep(60)
    assert breaker.allow_request()


async def test_a_probe_that_was_cancelled_makes_room_for_the_next() -> None:
    """Otherwise no request would ever go out again."""
    breaker = opened()
    await asyncio.sleep(60)
    assert breaker.allow_request()
    breaker.record_abandoned()

    assert breaker.allow_request()


async def test_it_can_be_reset() -> None:
    """By an operator who knows better."""
    breaker = opened()
    breaker.reset()

    assert breaker.is_closed
    assert breaker.allow_request()
