"""The channel keeps the contract of channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit_plugins.sms import SMSChannel
from roomkit_plugins.testing import MockSMSProvider
from roomkit_plugins.testing.contracts import ChannelContract


class TestSMSChannel(ChannelContract):
    recipient: Mapping[str, Any] = {"phone_number": "+15551230002"}

    @pytest.fixture
    def factory(self) -> Callable[[], SMSChannel]:
        return lambda: SMSChannel("sms", provider=MockSMSProvider())

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        texts: Sequence[str] = channel.provider.texts
        return texts


class TestSMSChannelWithAPool(TestSMSChannel):
    """With numbers to choose from, and a bound on segments."""

    @pytest.fixture
    def factory(self) -> Callable[[], SMSChannel]:
        numbers = [f"+1437555{number:04d}" for number in range(20)]
        return lambda: SMSChannel("sms", provider=MockSMSProvider(), from_numbers=numbers, max_segments=20)
