"""The contract suite of clocks."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from roomkit.abc.clock import Clock
from roomkit_plugins.testing.contracts.base import ContractSuite

__all__ = ["ClockContract"]


class ClockContract(ContractSuite):
    """One time for the whole kit: aware, in UTC, and in step with the loop."""

    @pytest.fixture
    def clock(self, subject: Clock) -> Clock:
        """Return the clock under test."""
        return subject

    async def test_now_is_aware_and_in_utc(self, clock: Clock) -> None:
        assert clock.now().utcoffset() == timedelta(0)

    async def test_monotonic_is_the_loops_time(self, clock: Clock) -> None:
        """Deadlines computed from it are deadlines of the loop."""
        loop = asyncio.get_running_loop()
        assert abs(clock.monotonic() - loop.time()) < 1

    async def test_monotonic_never_goes_back(self, clock: Clock) -> None:
        """Each reading is at least the one before."""
        readings = [clock.monotonic() for _ in range(1000)]
        assert readings == sorted(readings)

    async def test_both_move_while_the_loop_waits(self, clock: Clock) -> None:
        """A wait on the loop is seen by `now()` and by `monotonic()` alike."""
        now, monotonic = clock.now(), clock.monotonic()
        await asyncio.sleep(0.001)
        assert clock.monotonic() > monotonic
        assert clock.now() > now
