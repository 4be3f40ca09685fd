"""The mocks of text providers, under the contracts of their roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from roomkit.abc.errors import ProviderError, code_for_status
from roomkit.models.enums import EventType
from roomkit_plugins.testing import (
    MockEmailProvider,
    MockHTTPProvider,
    MockMessengerProvider,
    MockRCSProvider,
    MockSMSProvider,
    MockTeamsProvider,
    MockTelegramProvider,
    MockWhatsAppProvider,
)
from roomkit_plugins.testing.contracts import (
    EmailProviderContract,
    HTTPProviderContract,
    MessengerProviderContract,
    ProviderContract,
    RCSProviderContract,
    SMSProviderContract,
    TeamsProviderContract,
    TelegramProviderContract,
    WhatsAppProviderContract,
)


class MockSuite(ProviderContract):
    """What the suite has to be told of every mock."""

    honours_idempotency = False

    async def sent_texts(self, provider: Any) -> Sequence[str]:
        texts: Sequence[str] = provider.texts
        return texts

    async def shown_signals(self, provider: Any) -> Sequence[tuple[str, str]]:
        return [
            ("typing", each["to"]) if "is_typing" in each else ("read", each["message_ids"][-1])
            for each in provider.signals
        ]

    amends = frozenset({EventType.EDIT, EventType.DELETE, EventType.REACTION})

    async def shown(self, provider: Any, message_id: str) -> str | None:
        text: str | None = provider.shown.get(message_id)
        return text

    async def reactions_to(self, provider: Any, message_id: str) -> Sequence[str]:
        reacted: Sequence[str] = provider.reacted[message_id]
        return reacted


class TestMockSMSProvider(MockSuite, SMSProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockSMSProvider]:
        return MockSMSProvider

    @pytest.fixture
    def failing(self) -> Callable[[int], MockSMSProvider]:
        def make(status: int) -> MockSMSProvider:
            error = ProviderError(
                f"the vendor answered {status}",
                error_code=code_for_status(status),
                provider="MockSMSProvider",
                status_code=status,
            )
            return MockSMSProvider(fail_with=error)

        return make


class TestIdempotentMockSMSProvider(MockSuite, SMSProviderContract):
    """The same of a vendor that takes keys."""

    honours_idempotency = True

    @pytest.fixture
    def factory(self) -> Callable[[], MockSMSProvider]:
        return lambda: MockSMSProvider(idempotent=True)


class TestMockRCSProvider(MockSuite, RCSProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockRCSProvider]:
        return MockRCSProvider


class TestMockRCSProviderWithoutRCS(MockSuite, RCSProviderContract):
    """Every phone has to fall back."""

    @pytest.fixture
    def factory(self) -> Callable[[], MockRCSProvider]:
        return lambda: MockRCSProvider(simulate_fallback=True)


class TestMockEmailProvider(MockSuite, EmailProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockEmailProvider]:
        return MockEmailProvider


class TestMockMessengerProvider(MockSuite, MessengerProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockMessengerProvider]:
        return MockMessengerProvider


class TestMockTeamsProvider(MockSuite, TeamsProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockTeamsProvider]:
        return MockTeamsProvider


class TestMockTelegramProvider(MockSuite, TelegramProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockTelegramProvider]:
        return MockTelegramProvider


class TestMockWhatsAppProvider(MockSuite, WhatsAppProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockWhatsAppProvider]:
        return MockWhatsAppProvider


class TestMockHTTPProvider(MockSuite, HTTPProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockHTTPProvider]:
        return MockHTTPProvider
