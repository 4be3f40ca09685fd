"""The core's telemetry providers, under the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.memory.telemetry import ConsoleTelemetryProvider, NoopTelemetryProvider
from roomkit_plugins.testing.contracts.telemetry import TelemetryProviderContract


class TestNoopTelemetryProvider(TelemetryProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], NoopTelemetryProvider]:
        return NoopTelemetryProvider


class TestConsoleTelemetryProvider(TelemetryProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], ConsoleTelemetryProvider]:
        return ConsoleTelemetryProvider
