"""A message that comes while a worker gives an agent up is answered by the worker that has it, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType, DeliveryState
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()
WATCHED = ("load", "commit", "list_deliveries", "get_delivery", "complete", "reopen_delivery")
STEPS = 8
"""More store calls than a worker makes to give an agent up with two turns that wait."""


class SharedStore(InMemoryStore):
    """A store in memory that says that others may see it."""

    @property
    def is_process_local(self) -> bool:
        return False


def in_memory(_: Any, __: Any) -> Callable[[], RoomKit]:
    parts: Any = {"lock_manager": InMemoryLockManager(), "realtime": InMemoryRealtime()}
    store = SharedStore()
    return lambda: RoomKit(store, single_process=True, plugins=PLUGINS, **parts)


def on_sqlite(folder: Path, _: Any) -> Callable[[], RoomKit]:
    locks = InMemoryLockManager()
    path = folder / "rooms.db"
    return lambda: RoomKit(SQLiteStore(path), lock_manager=locks, single_process=True, plugins=PLUGINS)


def on_postgres(_: Any, dsn: Callable[[], str]) -> Callable[[], RoomKit]:
    url = dsn()
    return lambda: RoomKit(PostgresStore(url), plugins=PLUGINS)


class Waiting(ScriptedIntelligence):
    """An agent that has begun its first turn, and does not end it."""

    def __init__(self) -> None:
        super().__init__("bot")
        self.begun = asyncio.Event()

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        self.begun.set()
        return await asyncio.Event().wait() or ChannelOutput.empty()


class Answering(ScriptedIntelligence):
    """An agent that notes what it is asked."""

    def __init__(self, number: int) -> None:
        super().__init__("bot")
        self.number = number
        self.asked: list[str] = []
        self.done = asyncio.Event()

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        self.asked.append(text_of(event.content))
        if len(self.asked) == self.number:
            self.done.set()
        return ChannelOutput.empty()


@pytest.fixture(params=[in_memory, on_sqlite, on_postgres])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[RoomKit, RoomKit]]:
    """Two started workers on one store; the room has an agent and a person."""
    make = request.param(tmp_path, lambda: request.getfixturevalue("postgres_dsn"))
    first, second = make(), make()
    for kit in (first, second):
        kit.register_channel(RecordingChannel("web", channel_type=ChannelType.WEBSOCKET))
        await kit.start()
    yield first, second
    for kit in (first, second):
        await kit.close()


async def say(kit: RoomKit, room_id: str, text: str) -> None:
    message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
    await kit.process_inbound(message, room_id=room_id, wait="committed")


class Interruption:
    """Sends a message at one store call of the task that gives the agent up."""

    def __init__(self, kit: RoomKit, room_id: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kit, self.room_id, self.step = kit, room_id, step
        self.calls = 0
        self.giving_up = asyncio.current_task()
        self.sent: asyncio.Task[None] | None = None
        for name in WATCHED:
            monkeypatch.setattr(kit.store, name, self.watched(getattr(kit.store, name)))

    def watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **fields: Any) -> Any:
            if asyncio.current_task() is self.giving_up:
                self.calls += 1
                if self.calls == self.step:
                    await self.send()
            return await method(*arguments, **fields)

        return call

    async def send(self) -> None:
        """Send it; it is committed now, or waits for the lock of the room."""
        self.sent = asyncio.create_task(say(self.kit, self.room_id, "late"))
        await asyncio.wait((self.sent,), timeout=0.2)


async def test_a_message_in_the_midst_of_it(
    workers: tuple[RoomKit, RoomKit], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of the store calls that giving an agent up makes; no turn waits for a lease, nor fails."""
    first, second = workers
    for step in range(1, STEPS + 1):
        room_id = f"r{step}"
        waiting, answering = Waiting(), Answering(3)
        first.register_channel(waiting)
        second.register_channel(answering)
        await second._kernel.reclaim._keeper.announce()
        await first.create_room(room_id)
        for channel_id in ("web", "bot"):
            await first.attach_channel(room_id, channel_id)
        for text in ("under way", "two", "three"):
            await say(first, room_id, text)
        await waiting.begun.wait()
        with monkeypatch.context() as patched:
            interruption = Interruption(first, room_id, step, patched)
            await first.unregister_channel("bot")
            if interruption.sent is None:
                await interruption.send()
            assert interruption.sent is not None
            await interruption.sent
        second.register_channel(RecordingChannel("look at once"))
        await asyncio.wait_for(answering.done.wait(), 4)
        assert answering.asked == ["two", "three", "late"]
        for kit in workers:
            await kit._kernel.ledger.flush()
        rows = await first.list_deliveries(room_id, channel_id="bot")
        assert {row.state for row in rows} == {DeliveryState.SKIPPED, DeliveryState.SENT}
        for name in ("bot", "look at once"):
            await second.unregister_channel(name)
    assert interruption.calls < STEPS
