"""WhatsApp's simulator, and providers that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomkit_plugins.testing.simulators import WhatsAppSimulator
from roomkit_plugins.whatsapp import WhatsAppCloudConfig


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppSimulator]:
    """Return the vendor, running."""
    async with WhatsAppSimulator() as simulator:
        yield simulator


@pytest.fixture
def configure(whatsapp: WhatsAppSimulator) -> Callable[..., WhatsAppCloudConfig]:
    """Return a function that makes the settings of the simulator's account."""
    return lambda **fields: WhatsAppCloudConfig(**{**whatsapp.settings, **fields})


@pytest.fixture
def anyone_may_be_written_to(whatsapp: WhatsAppSimulator) -> None:
    """Take free messages of any time."""
    whatsapp.has_window = False
