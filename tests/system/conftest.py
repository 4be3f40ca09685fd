"""Twilio's simulator, and providers that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider


@pytest.fixture
async def twilio() -> AsyncIterator[TwilioSimulator]:
    """Return the vendor, running."""
    async with TwilioSimulator() as simulator:
        yield simulator


@pytest.fixture
def configure(twilio: TwilioSimulator) -> Callable[..., TwilioConfig]:
    """Return a function that makes the settings of the simulator's account."""

    def make(**fields: Any) -> TwilioConfig:
        given = {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "from_number": twilio.numbers[0],
            "base_url": twilio.origin,
        }
        return TwilioConfig(**{**given, **fields})

    return make


@pytest.fixture
async def provider(configure: Callable[..., TwilioConfig]) -> AsyncIterator[TwilioSMSProvider]:
    """Return a provider of the simulator's account."""
    made = TwilioSMSProvider(configure())
    yield made
    await made.close()
