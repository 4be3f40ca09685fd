"""VoiceMeUp's simulator, and settings of its account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit_plugins.testing.simulators import VoiceMeUpSimulator
from roomkit_plugins.voicemeup import VoiceMeUpConfig


@pytest.fixture
async def vendor() -> AsyncIterator[VoiceMeUpSimulator]:
    """Return the vendor, running."""
    async with VoiceMeUpSimulator() as simulator:
        yield simulator


@pytest.fixture
def configure(vendor: VoiceMeUpSimulator) -> Callable[..., VoiceMeUpConfig]:
    """Return a function that makes the settings of the simulator's account."""

    def make(**fields: Any) -> VoiceMeUpConfig:
        given = {
            "username": vendor.username,
            "auth_token": vendor.auth_token,
            "webhook_token": vendor.webhook_token,
            "from_number": vendor.numbers[0],
            "base_url": vendor.origin,
        }
        return VoiceMeUpConfig(**{**given, **fields})

    return make
