"""The channel keeps the contract of channels."""

from __future__ import annotations

import pytest

from roomkit.models.event import RoomEvent
from roomkit_plugins.testing.contracts.channel import ChannelContract
from roomkit_plugins.websocket import WebSocketChannel


class TestWebSocketChannel(ChannelContract):
    """Without connections: every delivery is skipped."""

    @pytest.fixture
    def factory(self):
        return lambda: WebSocketChannel("ws")


class TestWebSocketChannelWithAConnection(ChannelContract):
    """With a connection to each room there is, which takes everything at once."""

    @pytest.fixture
    def factory(self):
        async def send(connection_id: str, event: RoomEvent) -> None:
            assert event.json_bytes

        class Everywhere(WebSocketChannel):
            async def deliver(self, event, binding, context):
                self.register_connection(binding.room_id, send, room_id=binding.room_id)
                return await super().deliver(event, binding, context)

        return lambda: Everywhere("ws")
