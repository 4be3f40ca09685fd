"""Teams' simulator, settings of its bot, and both providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit_plugins.teams import AgentsTeamsProvider, BotFrameworkTeamsProvider, TeamsConfig
from roomkit_plugins.testing.simulators import TeamsSimulator


@pytest.fixture
async def teams() -> AsyncIterator[TeamsSimulator]:
    """Return the vendor, running."""
    async with TeamsSimulator() as simulator:
        yield simulator


@pytest.fixture
def configure(teams: TeamsSimulator) -> Callable[..., TeamsConfig]:
    """Return a function that makes the settings of the simulator's bot."""

    def make(**fields: Any) -> TeamsConfig:
        if (base := fields.pop("base_url", None)) is not None:
            fields["service_urls"] = (base, teams.origin)
        given = {
            "app_id": teams.app_id,
            "app_password": teams.app_password,
            "service_urls": (teams.origin,),
            "login_url": teams.origin,
            "openid_url": teams.openid_url,
        }
        return TeamsConfig(**{**given, **fields})

    return make


@pytest.fixture(params=[AgentsTeamsProvider, BotFrameworkTeamsProvider])
def kind(request: pytest.FixtureRequest) -> Any:
    """Return each of the providers' classes."""
    return request.param


@pytest.fixture(scope="session")
def certificate() -> tuple[str, str]:
    """Return a private key and its public one, as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()
