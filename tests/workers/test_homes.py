"""A call on a worker that is killed: messages to it are neither lost nor recorded as spoken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import NoHomeError
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState
from roomkit.models.event import RoomEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel
from tests.workers.program import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

LEASE = 1.0


class Voice(RecordingChannel):
    """A channel whose call is on this worker or not."""

    home_grace = 10.0
    is_live = False

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id)
        self.said: asyncio.Queue[str] = asyncio.Queue()  # bound: what a test says

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        if not self.is_live:
            raise NoHomeError(f"no call in room {event.room_id}")
        self.said.put_nowait(text_of(event.content))
        return await super().deliver(event, binding, context)

    async def answer(self, room_id: str) -> None:
        """Take the call."""
        assert self.services is not None
        self.is_live = True
        await self.services.homes.take(room_id)


@asynccontextmanager
async def working(store: Mapping[str, Any]) -> AsyncIterator[tuple[RoomKit, Voice]]:
    """Open a kit with a call's channel and one that speaks."""
    plugins = PluginManager(entry_points=())
    plugins.scan()
    voice = Voice("voice")
    shared, parts = build(store)
    async with RoomKit(store=shared, plugins=plugins, lease_seconds=LEASE, **parts) as kit:
        kit.register_channel(voice)
        kit.register_channel(RecordingChannel("sms"))
        yield kit, voice


async def _take_a_call(store: Mapping[str, Any]) -> None:
    """Have a call for as long as the process lives, and write the messages to it, a line each."""
    async with working(store) as (_, voice):
        await voice.answer("r")
        voice.said.put_nowait("taken")
        while True:
            sys.stdout.write(f"{await voice.said.get()}\n")
            sys.stdout.flush()


@asynccontextmanager
async def worker_with_the_call(store: Mapping[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a process that takes the call."""
    begin = "import asyncio; from tests.workers import test_homes as calls; "
    work = f"{begin}asyncio.run(calls._take_a_call({dict(store)!r}))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", work, stdout=asyncio.subprocess.PIPE)
    try:
        assert await _line(process) == "taken"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()


async def test_what_is_said_to_a_call_outlives_its_worker(store: Mapping[str, Any]) -> None:
    """It goes to the worker with the call; if that is killed it waits, and the next one says it, in order."""
    async with working(store) as (kit, voice):
        await kit.create_room("r")
        for name in ("voice", "sms"):
            await kit.attach_channel("r", name)
        async with worker_with_the_call(store) as process:
            for number in range(5):
                await _say(kit, f"{number}")
            assert [await _line(process) for _ in range(5)] == [f"{number}" for number in range(5)]
            process.kill()
        for number in range(5, 8):
            await _say(kit, f"{number}")
        await asyncio.sleep(2 * LEASE)  # other processes
        rows = await kit.list_deliveries("r", channel_id="voice", limit=100)
        assert {row.state for row in rows[5:]} == {DeliveryState.PENDING}
        assert {row.state for row in rows} <= {DeliveryState.PENDING, DeliveryState.SENT}
        await voice.answer("r")
        async with asyncio.timeout(20):
            said = [await voice.said.get()]
            while said[-1] != "7":
                said.append(await voice.said.get())
        assert said[-3:] == ["5", "6", "7"]
        assert said == sorted(said)  # those spoken, but not recorded when the worker was killed, come first
    async with working(store) as (kit, _):
        rows = await kit.list_deliveries("r", channel_id="voice", limit=100)
        assert [row.state for row in rows] == [DeliveryState.SENT] * 8


async def _say(kit: RoomKit, text: str) -> None:
    message = InboundMessage(channel_id="sms", sender_id="ann", content=TextContent(body=text))
    await kit.process_inbound(message, room_id="r", wait="committed")
