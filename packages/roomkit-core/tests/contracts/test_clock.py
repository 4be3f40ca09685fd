"""The core's clock, under the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.abc.clock import SystemClock
from roomkit_plugins.testing.contracts.clock import ClockContract


class TestSystemClock(ClockContract):
    @pytest.fixture
    def factory(self) -> Callable[[], SystemClock]:
        return SystemClock
