"""The contract of e-mail providers, over real sockets to aiosmtpd."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from roomkit_plugins.smtp import SMTPConfig, SMTPProvider
from roomkit_plugins.testing.contracts import EmailProviderContract
from roomkit_plugins.testing.simulators import MailServerSimulator


class TestSMTPProvider(EmailProviderContract):
    honours_idempotency = False
    server: MailServerSimulator

    @property
    def secrets(self) -> Sequence[str]:
        return tuple(self.server.users.values())

    @pytest.fixture(autouse=True)
    def keep_server(self, server: MailServerSimulator) -> None:
        """Keep the server at hand."""
        self.server = server

    @pytest.fixture
    def factory(self, configure: Callable[..., SMTPConfig]) -> Callable[[], SMTPProvider]:
        return lambda: SMTPProvider(configure())

    @pytest.fixture
    def unreachable(self, configure: Callable[..., SMTPConfig]) -> Callable[[], SMTPProvider]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return lambda: SMTPProvider(configure(port=port))

    @pytest.fixture
    def breaking_off(
        self, server: MailServerSimulator, configure: Callable[..., SMTPConfig]
    ) -> Callable[[], SMTPProvider]:
        def make() -> SMTPProvider:
            server.refuse("data", None)
            return SMTPProvider(configure())

        return make

    async def sent_texts(self, provider: Any) -> list[str]:
        return [mail.text for mail in self.server.mails]
