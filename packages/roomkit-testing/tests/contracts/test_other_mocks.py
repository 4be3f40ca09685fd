"""The other mocks, under the contracts of their roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.abc.source import SourceProvider
from roomkit.authoring.transport import TransportChannel
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelMediaType, ChannelType
from roomkit.models.identity import Identity
from roomkit_plugins.testing import (
    MockIdentityResolver,
    MockMemoryProvider,
    MockSMSProvider,
    MockTelemetryProvider,
    RecordingChannel,
    ScriptedIntelligence,
    ScriptedSource,
    VirtualClock,
)
from roomkit_plugins.testing.contracts import (
    ChannelContract,
    ClockContract,
    IdentityResolverContract,
    MemoryProviderContract,
    SourceProviderContract,
    TelemetryProviderContract,
)
from roomkit_plugins.testing.contracts.base import message


class TestMockIdentityResolver(IdentityResolverContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockIdentityResolver]:
        return lambda: MockIdentityResolver({"known": Identity(id="known-identity")})


class TestAmbiguousMockIdentityResolver(IdentityResolverContract):
    """The same when strangers may be one of two."""

    stranger = "stranger"

    @property
    def unknown(self) -> InboundMessage:
        return message(sender_id=self.stranger)

    @pytest.fixture
    def factory(self) -> Callable[[], MockIdentityResolver]:
        candidates = [Identity(id="a"), Identity(id="b")]
        return lambda: MockIdentityResolver(
            {"known": Identity(id="known-identity")}, {self.stranger: candidates}
        )


class TestMockMemoryProvider(MemoryProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockMemoryProvider]:
        return MockMemoryProvider


class TestMockTelemetryProvider(TelemetryProviderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], MockTelemetryProvider]:
        return MockTelemetryProvider


@pytest.mark.virtual_time
class TestVirtualClock(ClockContract):
    @pytest.fixture
    def factory(self) -> Callable[[], VirtualClock]:
        return VirtualClock


class TestScriptedSource(SourceProviderContract):
    redelivers = False

    @pytest.fixture
    def factory(self) -> Callable[[], ScriptedSource]:
        return ScriptedSource

    async def bring(self, source: SourceProvider, number: int) -> None:
        assert isinstance(source, ScriptedSource)
        source.say(*(message(str(each)) for each in range(number)))


class TestRecordingChannel(ChannelContract):
    @pytest.fixture
    def factory(self) -> Callable[[], RecordingChannel]:
        everything = ChannelCapabilities(media_types=tuple(ChannelMediaType))
        return lambda: RecordingChannel(new_id(), capabilities=everything)

    async def sent_texts(self, channel: RecordingChannel) -> list[str]:
        return channel.texts()


class TestScriptedIntelligence(ChannelContract):
    @pytest.fixture
    def factory(self) -> Callable[[], ScriptedIntelligence]:
        return lambda: ScriptedIntelligence(new_id(), ["hello"])


class TestTransportChannel(ChannelContract):
    """The channel that is configured, over a mock."""

    @property
    def recipient(self) -> Mapping[str, Any]:
        return {"recipient_id": "+15551230001"}

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        texts: Sequence[str] = channel.provider.texts
        return texts

    @pytest.fixture
    def factory(self) -> Callable[[], TransportChannel]:
        return lambda: TransportChannel(new_id(), ChannelType.SMS, provider=MockSMSProvider())
