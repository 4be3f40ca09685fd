"""Telnyx's simulator, and providers that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit_plugins.telnyx import TelnyxConfig, TelnyxRCSConfig
from roomkit_plugins.testing.simulators import TelnyxSimulator


@pytest.fixture
async def telnyx() -> AsyncIterator[TelnyxSimulator]:
    """Return the vendor, running."""
    async with TelnyxSimulator() as simulator:
        yield simulator


@pytest.fixture
def configure(telnyx: TelnyxSimulator) -> Callable[..., TelnyxConfig]:
    """Return a function that makes the settings of the simulator's account."""

    def make(**fields: Any) -> TelnyxConfig:
        return TelnyxConfig(**{**_account(telnyx), "from_number": telnyx.numbers[0], **fields})

    return make


@pytest.fixture
def configure_rcs(telnyx: TelnyxSimulator) -> Callable[..., TelnyxRCSConfig]:
    """Return a function that makes the settings of the simulator's agent."""

    def make(**fields: Any) -> TelnyxRCSConfig:
        given = {"agent_id": telnyx.agents[0], "messaging_profile_id": telnyx.profiles[0]}
        return TelnyxRCSConfig(**{**_account(telnyx), **given, **fields})

    return make


def _account(telnyx: TelnyxSimulator) -> dict[str, Any]:
    return {"api_key": telnyx.api_key, "public_key": telnyx.public_key, "base_url": telnyx.origin}
