"""The other side, simulated, and providers that post to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit_plugins.http import HTTPProviderConfig
from roomkit_plugins.testing.simulators import WebhookSimulator

SECRET = "canary-of-the-secret"


@pytest.fixture
async def system() -> AsyncIterator[WebhookSimulator]:
    """Return the other side, running."""
    async with WebhookSimulator(secret=SECRET) as simulator:
        yield simulator


@pytest.fixture
def configure(system: WebhookSimulator) -> Callable[..., HTTPProviderConfig]:
    """Return a function that makes the settings for the simulated system."""

    def make(**fields: Any) -> HTTPProviderConfig:
        given = {"webhook_url": system.url, "secret": SECRET, "allow_private_hosts": True}
        return HTTPProviderConfig(**{**given, **fields})

    return make
