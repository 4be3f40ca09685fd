"""A message that comes while a worker gives an agent up is answered by the worker that has it, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType, DeliveryState
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence
from tests.system.workers import in_memory, on_postgres, on_sqlite

WATCHED = ("load", "commit", "list_deliveries", "get_delivery", "complete", "reopen_delivery")
STEPS = 8
"""More store calls than a worker makes to give an agent up with two turns that wait."""


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
    make = request.param(tmp_path, lambda: request.getfixturevalue("postgres_store_dsn"))
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
        await second._kernel.cluster.reclaim._keeper.announce()
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
            await kit._kernel.outcomes.ledger.flush()
        rows = await first.list_deliveries(room_id, channel_id="bot")
        assert {row.state for row in rows} == {DeliveryState.SKIPPED, DeliveryState.SENT}
        for name in ("bot", "look at once"):
            await second.unregister_channel(name)
    assert interruption.calls < STEPS


# -- turns that are found to be left only later ------------------------------------------------------


class Left(set[tuple[str, str]]):
    """The bindings whose turns are to be released; reports each that is added or released."""

    def __init__(self) -> None:
        super().__init__()
        self.added: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.released: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def add(self, key: tuple[str, str]) -> None:
        super().add(key)
        self.added.put_nowait(key)

    def discard(self, key: tuple[str, str]) -> None:
        super().discard(key)
        self.released.put_nowait(key)


async def share_a_room(first: RoomKit, second: RoomKit) -> tuple[Left, Answering]:
    """Let both workers have the agent, which is asked nothing yet."""
    answering = Answering(2)
    first.register_channel(ScriptedIntelligence("bot"))
    second.register_channel(answering)
    await second._kernel.cluster.reclaim._keeper.announce()
    await first.create_room("r")
    for channel_id in ("web", "bot"):
        await first.attach_channel("r", channel_id)
    left = first._kernel.ground.channels.left = Left()
    return left, answering


async def say_while_unregistered(kit: RoomKit, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a message whose turn is planned for an agent that is unregistered before the commit."""
    commit = kit.store.commit
    with monkeypatch.context() as patched:

        async def late(given: Any) -> Any:
            patched.setattr(kit.store, "commit", commit)
            await kit.unregister_channel("bot")
            return await commit(given)

        patched.setattr(kit.store, "commit", late)
        await say(kit, "r", text)


async def all_are_sent(kit: RoomKit, others: RoomKit) -> bool:
    for each in (kit, others):
        await each._kernel.outcomes.ledger.flush()
    rows = await kit.list_deliveries("r", channel_id="bot")
    return {row.state for row in rows} == {DeliveryState.SENT}


async def test_a_turn_that_was_planned_before_the_unregistering(
    workers: tuple[RoomKit, RoomKit], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane is idle, and not found to be left until the turn begins; it is released at the next look."""
    first, second = workers
    left, answering = await share_a_room(first, second)
    await say_while_unregistered(first, "planned", monkeypatch)
    assert await left.added.get() == ("r", "bot")
    first.register_channel(RecordingChannel("look at once"))
    assert await left.released.get() == ("r", "bot")
    await say(second, "r", "after")
    second.register_channel(RecordingChannel("look at once"))
    await answering.done.wait()
    assert answering.asked == ["planned", "after"]
    assert await all_are_sent(first, second)


async def test_a_turn_that_joined_the_lane_after_the_unregistering(
    workers: tuple[RoomKit, RoomKit], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker committed it, to a lane that the worker without the agent still holds and looks into."""
    first, second = workers
    left, answering = await share_a_room(first, second)
    find_claimable = first.store.find_claimable

    async def after_the_release(*arguments: Any, **fields: Any) -> list[str]:
        monkeypatch.setattr(first.store, "find_claimable", find_claimable)
        await say_while_unregistered(first, "planned", monkeypatch)
        assert await left.added.get() == ("r", "bot")
        await say(second, "r", "joined")
        return await find_claimable(*arguments, **fields)

    monkeypatch.setattr(first.store, "find_claimable", after_the_release)
    first.register_channel(RecordingChannel("look at once"))
    assert await left.added.get() == ("r", "bot")
    assert await left.released.get() == ("r", "bot")
    second.register_channel(RecordingChannel("look at once"))
    await answering.done.wait()
    assert answering.asked == ["planned", "joined"]
    assert await all_are_sent(first, second)
