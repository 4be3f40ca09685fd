"""The contract of sources, kept over real connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomkit.abc.source import SourceProvider
from roomkit_plugins.sources import SSESource, WebSocketSource
from roomkit_plugins.testing.contracts import SourceProviderContract

from .servers import EventServer, SocketServer, said

SECRET = "canary-of-the-url"


class TestWebSocketSource(SourceProviderContract):
    redelivers = False
    secrets = (SECRET,)

    @pytest.fixture(autouse=True)
    async def server(self) -> AsyncIterator[None]:
        async with SocketServer() as self.running:
            yield

    @pytest.fixture
    def factory(self) -> Callable[[], WebSocketSource]:
        url = self.running.url.replace("://", f"://ann:{SECRET}@") + f"?key={SECRET}"
        return lambda: WebSocketSource(url, "chat", headers={"X-Team": "blue"})

    async def bring(self, source: SourceProvider, number: int) -> None:
        self.running.say(*map(said, range(number)))


class TestSSESource(SourceProviderContract):
    redelivers = True
    secrets = (SECRET,)

    @pytest.fixture(autouse=True)
    async def server(self) -> AsyncIterator[None]:
        async with EventServer() as self.running:
            yield

    @pytest.fixture
    def factory(self) -> Callable[[], SSESource]:
        url = self.running.url.replace("://", f"://ann:{SECRET}@")
        return lambda: SSESource(url, "chat", params={"key": SECRET})

    async def bring(self, source: SourceProvider, number: int) -> None:
        first = len(self.running.history)
        await self.running.say(*(said(first + each) for each in range(number)))

    async def unacknowledged(self, source: SourceProvider) -> int:
        assert isinstance(source, SSESource)
        return len(self.running.history) - int(source.last_event_id or 0)
