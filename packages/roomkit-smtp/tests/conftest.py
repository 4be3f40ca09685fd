"""A mail server, and settings of an account on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit_plugins.smtp import SMTPConfig
from roomkit_plugins.testing.simulators import MailServerSimulator

PASSWORD = "canary-of-the-password"


def settings_of(server: MailServerSimulator, **fields: Any) -> SMTPConfig:
    """Return the settings of an account on a server."""
    given = {
        "host": server.host,
        "port": server.port,
        "security": server.security,
        "from_email": "desk@shop.example",
        "from_name": "Shop",
        "ca_file": server.ca_file if server.security != "none" else None,
        "username": next(iter(server.users), None),
        "password": next(iter(server.users.values()), None),
        "local_hostname": "chat.shop.example",
    }
    return SMTPConfig(**{**given, **fields})


@pytest.fixture
def configure_for() -> Callable[..., SMTPConfig]:
    """Return a function that makes the settings of an account on any server."""
    return settings_of


@pytest.fixture
async def server() -> AsyncIterator[MailServerSimulator]:
    """Return a mail server, running."""
    async with MailServerSimulator(users={"desk": PASSWORD}) as simulator:
        yield simulator


@pytest.fixture
def configure(server: MailServerSimulator) -> Callable[..., SMTPConfig]:
    """Return a function that makes the settings of an account on the server."""
    return lambda **fields: settings_of(server, **fields)
