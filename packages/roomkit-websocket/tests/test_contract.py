"""The channel keeps the contract of channels."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.models.content import text_of
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing.contracts import ConnectionsContract
from roomkit_plugins.testing.contracts.channel import ChannelContract
from roomkit_plugins.websocket import WebSocketChannel


class TestWebSocketChannel(ChannelContract):
    """Without connections: every delivery is skipped."""

    @pytest.fixture
    def factory(self):
        return lambda: WebSocketChannel("ws")

    async def sent_texts(self, channel):
        return []


class TestConnectionsOfAWebSocketChannel(ConnectionsContract):
    """Each sees its room, while it may."""

    @pytest.fixture
    def factory(self):
        return lambda: WebSocketChannel("ws")


class TestWebSocketChannelWithAConnection(ChannelContract):
    """With a connection to each room there is, which takes everything at once."""

    async def sent_texts(self, channel):
        await asyncio.sleep(0)  # a connection has a task of its own
        return self.sent

    @pytest.fixture
    def factory(self):
        self.sent = []
        rooms = set()

        async def send(connection_id: str, event: RoomEvent) -> None:
            self.sent.append(text_of(event.content))

        class Everywhere(WebSocketChannel):
            async def deliver(self, event, binding, context):
                if binding.room_id not in rooms:
                    rooms.add(binding.room_id)
                    self.register_connection(binding.room_id, send, room_id=binding.room_id)
                return await super().deliver(event, binding, context)

        return lambda: Everywhere("ws")
