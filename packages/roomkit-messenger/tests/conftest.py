"""Messenger's simulator, and providers that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomkit_plugins.messenger import MessengerConfig
from roomkit_plugins.testing.simulators import MessengerSimulator


@pytest.fixture
async def messenger() -> AsyncIterator[MessengerSimulator]:
    """Return the vendor, running."""
    async with MessengerSimulator() as simulator:
        yield simulator


@pytest.fixture
def configure(messenger: MessengerSimulator) -> Callable[..., MessengerConfig]:
    """Return a function that makes the settings of the simulator's page."""
    return lambda **fields: MessengerConfig(**{**messenger.settings, **fields})
