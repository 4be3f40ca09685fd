"""The channel keeps the contract of channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit_plugins.rcs import RCSChannel
from roomkit_plugins.testing import MockRCSProvider
from roomkit_plugins.testing.contracts import ChannelContract


class TestRCSChannel(ChannelContract):
    recipient: Mapping[str, Any] = {"phone_number": "+15551230002"}

    @pytest.fixture
    def factory(self) -> Callable[[], RCSChannel]:
        return lambda: RCSChannel("rcs", provider=MockRCSProvider())

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        texts: Sequence[str] = channel.provider.texts
        return texts
