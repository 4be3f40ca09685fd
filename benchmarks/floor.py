"""What the same work costs by hand: the least honest asyncio code, without a single promise of RoomKit's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.world import ROOM, SENDER, inbound
from roomkit.models.content import EventContent, TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent

__all__ = ["HandWritten"]


class HandWritten:
    """A room by hand: a lock, a list, and the functions that write to its sockets.

    It makes the same validated message and event and has the same JSON made once. It knows no
    permissions, participants, ledger, retries, limits, deadlines or isolation of slow sockets.
    """

    def __init__(self, sends: Sequence[Callable[[str, RoomEvent], Awaitable[None]]]) -> None:
        self._sends = sends
        self._lock = asyncio.Lock()
        self.events: list[RoomEvent] = []  # bound: the life of a benchmark

    async def messages(self, items: int) -> None:
        """Take `items` messages through the room."""
        for _ in range(items):
            message = inbound()
            await self.add(message.content, message.channel_id, message.sender_id)

    async def add(self, content: EventContent, channel_id: str, sender_id: str | None) -> None:
        """Append one event and send it out."""
        source = EventSource(
            channel_id=channel_id, channel_type=ChannelType.WEBSOCKET, participant_id=sender_id
        )
        async with self._lock:
            event = RoomEvent(room_id=ROOM, source=source, content=content, index=len(self.events))
            self.events.append(event)
        for send in self._sends:
            await send("socket", event)

    async def replies(self, items: int, answer: Callable[[], Awaitable[str]]) -> None:
        """Take `items` messages through the room, and have each answered."""
        for _ in range(items):
            message = inbound()
            await self.add(message.content, message.channel_id, SENDER)
            await self.add(TextContent(body=await answer()), "agent", None)
