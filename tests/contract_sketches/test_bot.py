"""A polling bot in small."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    ChannelType,
    EphemeralEvent,
    HookExecution,
    HookTrigger,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    text_of,
)
from roomkit.testing import ScriptedIntelligence
from tests.contract_sketches.bot import BotChannel, BotFeed, Update
from tests.contract_sketches.stage import Vendor, Workers, die, killed, until_killed, worker_on

pytestmark = pytest.mark.timeout(60)


class Service:
    """The bot's service: it refuses a second connection, as real ones do."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []  # bound: a test
        self.connections = 0
        self.conflicts = 0
        self.offsets: list[int] = []  # bound: a test
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()

    def brings(self, *updates: dict[str, Any]) -> None:
        """Add updates; each gets the next id."""
        for update in updates:
            self.updates.append({"id": len(self.updates), **update})
        self._changed.set()

    async def poll(self, offset: int) -> Sequence[Update]:
        """Return the updates from an offset on; wait for one."""
        self.connections += 1
        self.conflicts += self.connections > 1
        self.offsets.append(offset)
        self._asked.set()
        try:
            while len(self.updates) <= offset:
                self._changed.clear()
                await self._changed.wait()
            return self.updates[offset:]
        finally:
            self.connections -= 1

    async def confirms(self, offset: int) -> None:
        """Wait until an offset is asked for."""
        while not self.offsets or self.offsets[-1] < offset:
            self._asked.clear()
            await self._asked.wait()


async def bot(
    workers: Workers, service: Service, vendor: Vendor, *others: Any, **options: Any
) -> tuple[RoomKit, list[str]]:
    """Start a worker with the bot; return it, and the messages that it commits."""
    kit = await workers.start(BotChannel("bot", vendor.post), *others, **options)
    seen: list[str] = []

    @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, channel_types={ChannelType("pollbot")})
    async def note(event: RoomEvent, context: RoomContext) -> None:
        seen.append(text_of(event.content))

    await kit.attach_source("bot", BotFeed("bot", service.poll), single=True)
    return kit, seen


@pytest.mark.virtual_time
async def test_one_worker_of_two_polls_and_the_other_goes_on_from_its_offset(workers: Workers) -> None:
    service, vendor = Service(), Vendor()
    (one, first), (_, second) = [await bot(workers, service, vendor) for _ in range(2)]
    service.brings({"chat": "ann", "text": "one"}, {"chat": "bob", "text": "two"})
    await service.confirms(2)
    await one.close()
    service.brings({"chat": "ann", "text": "three"})
    await service.confirms(3)
    assert sorted(first) == ["one", "two"]
    assert second == ["three"]
    assert service.conflicts == 0


@pytest.mark.virtual_time
async def test_chats_do_not_wait_for_each_others_answers(workers: Workers) -> None:
    """Five chats and an agent that thinks for a second: all have their answers after one."""
    service, vendor = Service(), Vendor()
    agent = ScriptedIntelligence("agent", ["yes"] * 5, delay=1.0)
    kit, _ = await bot(workers, service, vendor, agent)

    for number in range(5):
        await kit.create_room(f"r{number}")
        await kit.attach_channel(f"r{number}", "agent")
        await kit.attach_channel(
            f"r{number}", "bot", address=f"chat{number}", metadata={"chat": f"chat{number}"}
        )
    began = asyncio.get_running_loop().time()
    service.brings(*({"chat": f"chat{number}", "text": "?"} for number in range(5)))
    await vendor.sends(5)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0, abs=0.1)


@pytest.mark.virtual_time
async def test_receipts_and_signals_come_by_the_same_connection(workers: Workers) -> None:
    service, vendor = Service(), Vendor()
    kit, _ = await bot(workers, service, vendor)
    await kit.create_room("r1")
    await kit.attach_channel("r1", "bot", address="ann", metadata={"chat": "ann"})
    typing: list[str] = []
    both = asyncio.Event()

    async def on_signal(signal: EphemeralEvent) -> None:
        typing.append(signal.user_id)
        both.set()

    await kit.subscribe_room("r1", on_signal)
    await kit.send_event("r1", "system", TextContent(body="hello"))
    service.brings({"seen": vendor.messages[0]["id"]}, {"typing": "r1", "chat": "ann"})
    await both.wait()
    await service.confirms(2)
    (row,) = await kit.list_deliveries("r1")
    assert (row.receipt, typing) == ("read", ["ann"])


async def _confirm_nothing_and_die(folder: Path) -> None:
    """Die when the first update is committed and its offset is not kept."""
    service = Service()
    service.brings({"chat": "ann", "text": "one"})
    async with worker_on(folder, BotChannel("bot", Vendor().post)) as kit:

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, channel_types={ChannelType("pollbot")})
        async def note(event: RoomEvent, context: RoomContext) -> None:
            die()

        await kit.attach_source("bot", BotFeed("bot", service.poll), single=True)
        await until_killed()


async def test_an_update_that_its_worker_died_of_is_polled_again_and_is_one_message(tmp_path: Path) -> None:
    await killed(_confirm_nothing_and_die, tmp_path)
    service = Service()
    service.brings({"chat": "ann", "text": "one"}, {"chat": "ann", "text": "two"})
    async with worker_on(tmp_path, BotChannel("bot", Vendor().post)) as kit:
        rooms: asyncio.Queue[str] = asyncio.Queue()  # bound: two messages

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, channel_types={ChannelType("pollbot")})
        async def note(event: RoomEvent, context: RoomContext) -> None:
            rooms.put_nowait(event.room_id)

        await kit.attach_source("bot", BotFeed("bot", service.poll), single=True)
        await service.confirms(2)
        texts = [text_of(event.content) for event in await kit.get_timeline(await rooms.get())]
        assert [text for text in texts if text in ("one", "two")] == ["one", "two"]
