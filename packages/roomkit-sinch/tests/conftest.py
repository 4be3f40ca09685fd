"""Sinch's simulator, and settings of its account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit_plugins.sinch import SinchConfig
from roomkit_plugins.testing.simulators import SinchSimulator


@pytest.fixture
async def sinch() -> AsyncIterator[SinchSimulator]:
    """Return the vendor, running."""
    async with SinchSimulator() as simulator:
        yield simulator


@pytest.fixture
def configure(sinch: SinchSimulator) -> Callable[..., SinchConfig]:
    """Return a function that makes the settings of the simulator's service plan."""

    def make(**fields: Any) -> SinchConfig:
        given = {
            "service_plan_id": sinch.service_plan_id,
            "api_token": sinch.api_token,
            "webhook_secret": sinch.webhook_secret,
            "from_number": sinch.numbers[0],
            "base_url": sinch.origin,
            "auth_url": sinch.origin,
        }
        return SinchConfig(**{**given, **fields})

    return make
