"""The mocks of text providers, under the contracts of their roles."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.abc.errors import ProviderError, code_for_status
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
    RCSProviderContract,
    SMSProviderContract,
    TeamsProviderContract,
    TelegramProviderContract,
    WhatsAppProviderContract,
)


class TestMockSMSProvider(SMSProviderContract):
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


class TestMockRCSProvider(RCSProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockRCSProvider]:
        return MockRCSProvider


class TestMockRCSProviderWithoutRCS(RCSProviderContract):
    """Every phone has to fall back."""

    @pytest.fixture
    def factory(self) -> Callable[[], MockRCSProvider]:
        return lambda: MockRCSProvider(simulate_fallback=True)


class TestMockEmailProvider(EmailProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockEmailProvider]:
        return MockEmailProvider


class TestMockMessengerProvider(MessengerProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockMessengerProvider]:
        return MockMessengerProvider


class TestMockTeamsProvider(TeamsProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockTeamsProvider]:
        return MockTeamsProvider


class TestMockTelegramProvider(TelegramProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockTelegramProvider]:
        return MockTelegramProvider


class TestMockWhatsAppProvider(WhatsAppProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockWhatsAppProvider]:
        return MockWhatsAppProvider


class TestMockHTTPProvider(HTTPProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockHTTPProvider]:
        return MockHTTPProvider
