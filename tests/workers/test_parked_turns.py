"""Workers that are killed with a parked turn: at each of its steps, another one finishes it, once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from roomkit import AIChannel, AITool, InboundMessage, Park, RoomKit
from roomkit.abc.store import Commit, Committed, ConversationStore
from roomkit.models.ai import AIToolCall
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import ChannelCategory, DeliveryState
from roomkit.models.event import RoomEvent
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.parking import ParkedTurn
from roomkit.models.value import Value
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import MockAIProvider, RecordingChannel
from tests.workers.killed import exit_code_of
from tests.workers.program import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

LEASE = 3.0
"""Seconds; a process that is started beside others on a busy machine is not taken for dead."""
POINTS = ("parked", "taken", "continued", "answering")
"""After the commit of the round; of a result; of the event that continues it; while the model answers."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dying(store: ConversationStore, point: str) -> ConversationStore:
    """Have the process killed right after a step of the store, in the room named after it.

    Not in another's: a worker may reclaim the turn of one that was killed before.
    """
    whole, put_value = store.commit, store.put_value

    async def dying_commit(commit: Commit) -> Committed:
        done = await whole(commit)
        parks = any(value.namespace == "core.turn" for value in commit.values)
        continues = any(entry.event.source.channel_id == "system" for entry in commit.entries)
        if commit.room_id == point and (
            (point == "parked" and parks) or (point == "continued" and continues)
        ):
            _die()
        return done

    async def dying_put(value: Value, **conditions: Any) -> Value:
        put = await put_value(value, **conditions)
        if value.room_id == point == "taken" and value.namespace == "core.turn":
            _die()
        return put

    store.commit, store.put_value = dying_commit, dying_put  # type: ignore[method-assign]
    return store


@asynccontextmanager
async def working(
    store: Mapping[str, Any],
    asked: list[str],
    dying: Callable[[ConversationStore], ConversationStore] = lambda store: store,
    answering: Callable[[str], None] = lambda room_id: None,
) -> AsyncIterator[RoomKit]:
    """Open a kit with an agent that asks before it answers; `asked` gets the rooms in which it did."""

    def model(context: AIContext) -> AIResponse:
        if context.messages[-1].role == "tool":
            assert context.room is not None
            answering(context.room.room.id)
            return AIResponse(content="approved", finish_reason="stop")
        return AIResponse(
            content="", finish_reason="tool_calls", tool_calls=[AIToolCall(id="c1", name="ask")]
        )

    async def ask(name: str, arguments: dict[str, Any]) -> Park:
        asked.append(name)
        return Park("a manager decides", timedelta(minutes=5))

    plugins = PluginManager(entry_points=())
    plugins.scan()
    shared, parts = build(store)
    agent = AIChannel("agent", MockAIProvider([model]), tools=[(AITool(name="ask"), ask)])
    async with RoomKit(store=dying(shared), plugins=plugins, lease_seconds=LEASE, **parts) as kit:
        kit.register_channel(RecordingChannel("sms"))
        kit.register_channel(agent)
        yield kit


async def _until[R](look: Callable[[], Awaitable[R]], seconds: float = 40.0) -> R:
    """Return what `look` finds, once it finds anything."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110  # the wait is for other processes
            await asyncio.sleep(0.05)  # other processes
        return found


async def _turn(kit: RoomKit, room_id: str) -> ParkedTurn | None:
    return next(iter(await kit.list_parked_turns(room_id)), None)


async def _lose(store: Mapping[str, Any], point: str) -> None:
    """Play the turn of the room named after the point, and be killed there."""
    dying = lambda shared: _dying(shared, point)  # noqa: E731  # it is handed on

    def answering(room_id: str) -> None:
        if room_id == point == "answering":
            _die()

    async with working(store, [], dying, answering) as kit:
        message = InboundMessage(
            channel_id="sms", sender_id="ann", room_id=point, content=TextContent(body="refund please")
        )
        await kit.process_inbound(message)
        turn = await _until(lambda: _turn(kit, point))
        assert turn is not None
        await kit.resume_turn(point, turn.turn_id, {"c1": "yes"})
        await asyncio.sleep(60)  # other processes: it is killed before


async def _answers(kit: RoomKit, room_id: str) -> list[RoomEvent]:
    return [event for event in await kit.get_timeline(room_id) if event.source.channel_id == "agent"]


async def test_a_killed_worker_costs_a_parked_turn_nothing(store: Mapping[str, Any]) -> None:
    """It is answered once, and asked about once, wherever the kill came; nothing of it is left."""
    asked: list[str] = []
    async with working(store, asked) as kit:
        for point in POINTS:
            await kit.create_room(point)
            await kit.attach_channel(point, "sms")
            await kit.attach_channel(point, "agent", category=ChannelCategory.INTELLIGENCE)
        died = await asyncio.gather(
            *(exit_code_of("test_parked_turns", "_lose", dict(store), point) for point in POINTS)
        )
        assert died == [-signal.SIGKILL] * len(POINTS)

        async def reclaimed() -> bool:
            rows = await kit.list_deliveries("parked", channel_id="agent", state=DeliveryState.SENT)
            return [row.reason for row in rows] == ["parked"]

        await _until(reclaimed)
        turn = await _turn(kit, "parked")
        assert turn is not None
        assert await kit.resume_turn("parked", turn.turn_id, {"c1": "yes"})
        for point in POINTS:
            (answer,) = await _until(lambda: _answers(kit, point))  # noqa: B023  # it is awaited in the loop
            assert text_of(answer.content) == "approved"
        assert asked == []  # each was asked about by the worker that was killed

        async def cleared() -> bool:
            left = [await kit.store.list_room_values(point) for point in POINTS]
            return not any(left)

        await _until(cleared)
        assert await kit.list_parked_turns() == []
        assert [len(await _answers(kit, point)) for point in POINTS] == [1] * len(POINTS)
