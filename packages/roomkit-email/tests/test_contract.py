"""The channel keeps the contract of channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit_plugins.email import EmailChannel
from roomkit_plugins.testing import MockEmailProvider
from roomkit_plugins.testing.contracts import ChannelContract


class TestEmailChannel(ChannelContract):
    recipient: Mapping[str, Any] = {"email_address": "ann@example.com"}

    @pytest.fixture
    def factory(self) -> Callable[[], EmailChannel]:
        return lambda: EmailChannel("email", provider=MockEmailProvider())

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        texts: Sequence[str] = channel.provider.texts
        return texts


class TestEmailChannelWithTokens(TestEmailChannel):
    """With an address for each room, and links that unsubscribe."""

    @pytest.fixture
    def factory(self) -> Callable[[], EmailChannel]:
        return lambda: EmailChannel(
            "email",
            provider=MockEmailProvider(),
            from_address="desk@shop.example",
            reply_address="reply@in.shop.example",
            unsubscribe_url="https://shop.example/webhooks/email/unsubscribe",
            secret="s",
        )
