"""Turns on several workers that wait, settled, for messages behind each other: no wait closes a circle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence
from tests.system.workers import in_memory, on_postgres, on_sqlite


class Ring:
    """Agents, one in each room; told `go`, each waits for the others, and then tells the next room."""

    def __init__(self, count: int) -> None:
        self.rooms = [f"r{number}" for number in range(count)]
        self.arrived = asyncio.Barrier(count)
        self.told: list[str] = []
        self.heard: list[str] = []
        self.all_heard = asyncio.Event()

    def after(self, room_id: str) -> str:
        return self.rooms[(self.rooms.index(room_id) + 1) % len(self.rooms)]

    def note_heard(self, room_id: str) -> None:
        self.heard.append(room_id)
        if len(self.heard) == len(self.rooms):
            self.all_heard.set()


class Teller(ScriptedIntelligence):
    """The agent of all rooms, on one worker."""

    def __init__(self, ring: Ring, kit: RoomKit, way: str) -> None:
        super().__init__("bot")
        self.ring, self.kit, self.way = ring, kit, way

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        words = text_of(event.content)
        if words == "go":
            await self.ring.arrived.wait()
            await self.tell(self.ring.after(event.room_id))
            self.ring.told.append(event.room_id)
        elif words == "hear":
            self.ring.note_heard(event.room_id)
        return ChannelOutput.empty()

    async def tell(self, room_id: str) -> None:
        body = TextContent(body="hear")
        if self.way == "send":
            await self.kit.send_event(room_id, "system", body, wait="settled")
        else:
            await self.kit.process_inbound(message("hear"), room_id=room_id, wait="settled")


def message(text: str) -> InboundMessage:
    return InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))


@asynccontextmanager
async def workers_of(make: Callable[[], RoomKit], ring: Ring, way: str) -> AsyncIterator[list[RoomKit]]:
    """Open two workers with the same channels, and the rooms of a ring."""
    async with AsyncExitStack() as opened:
        kits = []
        for _ in range(2):
            kit = make()
            kit.register_channel(RecordingChannel("web"))
            kit.register_channel(Teller(ring, kit, way))
            kits.append(await opened.enter_async_context(kit))
        for room_id in ring.rooms:
            await kits[0].create_room(room_id)
            for channel_id in ("web", "bot"):
                await kits[0].attach_channel(room_id, channel_id)
        yield kits


@pytest.mark.parametrize("workers", [in_memory, on_sqlite, on_postgres], ids=["memory", "sqlite", "postgres"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("way", ["send", "receive"])
async def test_a_ring_of_turns_over_two_workers_ends(
    workers: Callable[..., Callable[[], RoomKit]],
    count: int,
    way: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Each turn returns, and each message is answered afterwards: only its own worker waits for a turn."""
    make = workers(tmp_path, lambda: request.getfixturevalue("postgres_store_dsn"))
    ring = Ring(count)
    async with workers_of(make, ring, way) as kits:
        async with asyncio.timeout(60):  # far below `agent_timeout` of a circle that is not cut
            results = await asyncio.gather(
                *(
                    kits[number % 2].process_inbound(message("go"), room_id=room_id)
                    for number, room_id in enumerate(ring.rooms)
                )
            )
            await ring.all_heard.wait()
        assert [result.error for result in results] == [None] * count
        assert sorted(ring.told) == sorted(ring.heard) == ring.rooms
    async with make() as kit:
        rows = [row for room_id in ring.rooms for row in await kit.list_deliveries(room_id)]
    assert {row.state for row in rows} == {DeliveryState.SENT}
