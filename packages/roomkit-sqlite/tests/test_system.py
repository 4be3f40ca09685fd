"""A whole kit over the store: what people said is there after a restart, and it goes on from there."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roomkit import (
    ChannelCategory,
    InboundMessage,
    InvalidInputError,
    RoomKit,
    SQLiteStore,
    TextContent,
)
from roomkit.models.content import text_of
from roomkit.models.delivery import Delivery
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence

from .conftest import let_leases_run_out


class Day:
    """A kit with two sockets and an agent over one file, from opening to closing."""

    def __init__(self, path: Path, *answers: str) -> None:
        self.store = SQLiteStore(path)
        self.kit = RoomKit(self.store, single_process=True)
        self.ann, self.ben = RecordingChannel("ann"), RecordingChannel("ben")
        self.agent = ScriptedIntelligence("agent", answers)
        for channel in (self.ann, self.ben, self.agent):
            self.kit.register_channel(channel)

    @classmethod
    @asynccontextmanager
    async def at(cls, path: Path, *answers: str) -> AsyncIterator[Day]:
        day = cls(path, *answers)
        async with day.kit:
            yield day

    async def furnish(self) -> None:
        await self.kit.create_room("room", metadata={"topic": "pizza"})
        for channel in (self.ann, self.ben):
            await self.kit.attach_channel("room", channel.channel_id)
        await self.kit.attach_channel("room", "agent", category=ChannelCategory.INTELLIGENCE)

    async def say(self, channel_id: str, text: str, key: str | None = None) -> None:
        await self.kit.process_inbound(
            InboundMessage(
                channel_id=channel_id,
                sender_id=channel_id,
                content=TextContent(body=text),
                idempotency_key=key,
            ),
            room_id="room",
        )

    async def said(self) -> list[str]:
        return [
            text_of(event.content) for event in await self.kit.get_timeline("room") if event.type == "message"
        ]


async def test_a_conversation_goes_on_after_a_restart(path: Path) -> None:
    async with Day.at(path, "Which size?") as first:
        await first.furnish()
        await first.say("ann", "A pizza, please", key="k1")
        assert await first.said() == ["A pizza, please", "Which size?"]
        assert first.ben.texts() == ["A pizza, please", "Which size?"]
        timeline = await first.kit.get_timeline("room")
        ledger = await first.kit.list_deliveries("room")
        bindings = await first.kit.list_bindings("room")
    assert {row.state for row in ledger} == {DeliveryState.SENT}

    async with Day.at(path, "Large it is") as second:
        assert await second.kit.get_timeline("room") == timeline
        assert await second.kit.list_deliveries("room") == ledger
        assert await second.kit.list_bindings("room") == bindings
        await second.say("ann", "A pizza, please", key="k1")
        assert await second.said() == ["A pizza, please", "Which size?"]
        await second.say("ann", "Large")
        assert await second.said() == ["A pizza, please", "Which size?", "Large", "Large it is"]
        (seen,) = second.agent.seen
        assert [text_of(each.content) for each in seen.context.recent_events][-3:] == [
            "A pizza, please",
            "Which size?",
            "Large",
        ]
        found = await second.store.search_events("room", "large")
        assert [text_of(each.content) for each in found] == ["Large it is", "Large"]


async def test_many_rooms_talk_at_once(path: Path) -> None:
    """Every room keeps its own order, and every delivery ends in the ledger."""
    rooms = [f"room {number}" for number in range(10)]
    async with Day.at(path) as day:
        for room_id in rooms:
            await day.kit.create_room(room_id)
            for channel in (day.ann, day.ben):
                await day.kit.attach_channel(room_id, channel.channel_id)

        async def talk(room_id: str) -> None:
            for number in range(10):
                content = TextContent(body=str(number))
                sender = ("ann", "ben")[number % 2]
                await day.kit.process_inbound(
                    InboundMessage(channel_id=sender, sender_id=sender, content=content), room_id=room_id
                )

        await asyncio.gather(*map(talk, rooms))
        for room_id in rooms:
            messages = [each for each in await day.kit.get_timeline(room_id) if each.type == "message"]
            assert [text_of(each.content) for each in messages] == [str(number) for number in range(10)]
            rows = await day.kit.list_deliveries(room_id)
            assert [row.state for row in rows] == [DeliveryState.SENT] * 10


KILLED = """
import asyncio, os, signal, sys
from roomkit import InboundMessage, RoomKit, SQLiteStore, TextContent
from roomkit_plugins.testing import RecordingChannel

class Stuck(RecordingChannel):
    async def deliver(self, *args, **options):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with RoomKit(SQLiteStore(sys.argv[1]), single_process=True) as kit:
        for channel in (RecordingChannel("ann"), Stuck("ben")):
            kit.register_channel(channel)
        await kit.create_room("room")
        for name in ("ann", "ben"):
            await kit.attach_channel("room", name)
        content = TextContent(body="are you there?")
        message = InboundMessage(channel_id="ann", sender_id="ann", content=content)
        await kit.process_inbound(message, room_id="room")

asyncio.run(main())
"""


async def test_what_a_killed_program_had_begun_is_delivered_by_the_next(path: Path) -> None:
    died = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(path))
    assert await died.wait() == -signal.SIGKILL
    async with SQLiteStore(path) as store:
        await let_leases_run_out(store)
        (before,) = await store.list_deliveries()
    assert before.holder is not None
    async with Day.at(path) as day, asyncio.timeout(30):
        rows: list[Delivery] = []
        while not rows:
            rows = await day.kit.list_deliveries("room", state=DeliveryState.SENT)
        assert day.ben.texts() == ["are you there?"]
    assert [(row.id, row.claims, row.holder) for row in rows] == [(before.id, 1, None)]


def test_a_shared_file_wants_shared_locks(path: Path) -> None:
    with pytest.raises(InvalidInputError, match="single_process=True"):
        RoomKit(SQLiteStore(path))


def test_a_program_that_forgets_to_close_ends(path: Path) -> None:
    """It is warned, not held up, and what it wrote is there."""
    code = (
        "import asyncio, sys\n"
        "from roomkit.models.room import Room\n"
        "from roomkit_plugins.sqlite import SQLiteStore\n"
        "store = SQLiteStore(sys.argv[1])\n"
        "asyncio.run(store.create_room(Room(id='forgotten')))\n"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=200)

    async def there() -> bool:
        async with SQLiteStore(path) as store:
            return await store.get_room("forgotten") is not None

    assert asyncio.run(there())
