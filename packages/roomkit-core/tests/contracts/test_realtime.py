"""The core's default realtime backend, under the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.memory.realtime import InMemoryRealtime
from roomkit_plugins.testing.contracts.realtime import RealtimeBackendContract


class TestInMemoryRealtime(RealtimeBackendContract):
    @pytest.fixture
    def factory(self) -> Callable[[], InMemoryRealtime]:
        return InMemoryRealtime
