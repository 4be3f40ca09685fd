"""A channel that one worker cannot start is another worker's, and deliveries wait for one that can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing import RecordingChannel
from tests.system.workers import in_memory, on_postgres, on_sqlite

TEXTS = [f"text {number}" for number in range(6)]


class Failing(RecordingChannel):
    """A channel whose start fails when the test says so."""

    def __init__(self) -> None:
        super().__init__("out")
        self.may_fail = asyncio.Event()

    async def start(self) -> None:
        await self.may_fail.wait()
        raise ValueError("no such account here")


class Counting(RecordingChannel):
    """A channel that notes what it delivers, until there is as much as the test expects."""

    def __init__(self) -> None:
        super().__init__("out")
        self.texts: list[str] = []
        self.done = asyncio.Event()

    async def deliver(self, event: Any, binding: Any, context: Any) -> Any:
        self.texts.append(text_of(event.content))
        if len(self.texts) == len(TEXTS):
            self.done.set()
        return await super().deliver(event, binding, context)


@pytest.mark.parametrize("workers", [in_memory, on_sqlite, on_postgres], ids=["memory", "sqlite", "postgres"])
async def test_a_channel_that_is_broken_here_delivers_elsewhere(
    workers: Callable[..., Callable[[], RoomKit]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Messages committed here before, while and after its start failed go out there once, in order."""
    make = workers(tmp_path, lambda: request.getfixturevalue("postgres_store_dsn"))
    broken, whole = Failing(), Counting()
    async with make() as here:
        here.register_channel(RecordingChannel("in"))
        here.register_channel(broken)
        await here.create_room("r1")
        await here.attach_channel("r1", "in")
        await here.attach_channel("r1", "out")
        for text in TEXTS[:2]:
            await _say(here, text)
        broken.may_fail.set()
        for text in TEXTS[2:4]:
            await _say(here, text)
        async with make() as there:
            there.register_channel(RecordingChannel("in"))
            there.register_channel(whole)
            for text in TEXTS[4:]:
                await _say(here, text)
            async with asyncio.timeout(30):
                await whole.done.wait()
            assert list(here.broken_channels) == ["out"]
            assert there.broken_channels == {}
        rows = await here.list_deliveries("r1", channel_id="out")
    assert whole.texts == TEXTS
    assert broken.delivered == []
    assert {row.state for row in rows} == {DeliveryState.SENT}


async def _say(kit: RoomKit, text: str) -> None:
    message = InboundMessage(channel_id="in", sender_id="ann", content=TextContent(body=text))
    result = await kit.process_inbound(message, room_id="r1", wait="committed")
    assert not result.blocked
