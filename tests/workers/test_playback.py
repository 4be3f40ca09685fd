"""A worker that is killed while it speaks: how far it was heard is known to its room, as an estimate."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.channel import Channel
from roomkit.abc.text_stream import TextStream
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.event import Heard, RoomEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence
from tests.workers.program import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

LEASE = 1.0
ANSWER = "x" * 100_000


class Phone(RecordingChannel):
    """Speaks a thousand characters a second, and writes how many were heard, a line each."""

    async def deliver_stream(
        self, text_stream: TextStream, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        async for _ in text_stream:
            pass
        for heard in range(50, len(ANSWER), 50):
            await asyncio.sleep(0.05)  # other processes
            text_stream.heard(heard)
            sys.stdout.write(f"{heard}\n")
            sys.stdout.flush()
        return ChannelOutput.empty()


@asynccontextmanager
async def working(store: Mapping[str, Any], *channels: Channel) -> AsyncIterator[RoomKit]:
    """Open a kit with these channels."""
    plugins = PluginManager(entry_points=())
    plugins.scan()
    shared, parts = build(store)
    async with RoomKit(store=shared, plugins=plugins, lease_seconds=LEASE, **parts) as kit:
        for channel in channels:
            kit.register_channel(channel)
        yield kit


async def _speak(store: Mapping[str, Any]) -> None:
    """Answer a question by phone, for as long as the process lives."""
    agent = ScriptedIntelligence("bot", [ANSWER], streaming=True)
    async with working(store, RecordingChannel("sms"), Phone("phone", streaming=True), agent) as kit:
        await kit.create_room("r")
        for name in ("sms", "phone", "bot"):
            await kit.attach_channel("r", name)
        body = TextContent(body="Tell me.")
        await kit.process_inbound(
            InboundMessage(channel_id="sms", sender_id="ann", content=body), room_id="r"
        )


async def test_what_a_killed_worker_said_is_known(store: Mapping[str, Any]) -> None:
    """Another worker, which has no phone, stores it."""
    async with working(store, RecordingChannel("sms")) as kit:
        work = (
            "import asyncio; from tests.workers import test_playback as playback; "
            f"asyncio.run(playback._speak({dict(store)!r}))"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", work, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = 0
        try:
            async with asyncio.timeout(30):
                while said < 1_500:
                    said = int(await process.stdout.readline())
        finally:
            process.kill()
        said = max([said, *map(int, (await process.stdout.read()).split())])
        await process.wait()
        async with asyncio.timeout(30):
            heard = await _heard(kit)
            while heard is None:
                await asyncio.sleep(0.1)  # other processes
                heard = await _heard(kit)
    assert heard.estimated
    assert 0 < heard.chars <= said < len(ANSWER)


async def _heard(kit: RoomKit) -> Heard | None:
    events = await kit.get_timeline("r")
    generations = [event.generation for event in events if event.generation is not None]
    found = [each for one in generations for each in one.heard if each.channel_id == "phone"]
    return found[0] if found else None
