"""A process under load for a long time holds no more than at the beginning.

In the suite that is three minutes; `ROOMKIT_LOAD_MINUTES=60` makes it an hour, as `nox -s soak` does. It is
virtual time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from roomkit import RoomKit
from roomkit.abc.ai import AIProvider
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.ai import AITool, AIToolCall
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.hook import HookResult
from roomkit.plugins import PluginManager
from roomkit_plugins.ai import AIChannel
from roomkit_plugins.testing import VirtualClock
from roomkit_plugins.testing.leaks import Holdings
from roomkit_plugins.websocket import WebSocketChannel

pytestmark = pytest.mark.virtual_time

MINUTES = int(os.environ.get("ROOMKIT_LOAD_MINUTES", "3"))
PHASES = max(5, MINUTES // 6)
PER_PHASE = MINUTES * 60 // PHASES
"""Conversations that begin in a phase, one a second; each lasts up to half a minute."""
WARM_UP = 2
BOUND = 20
LITTLE = 0.5
"""Blocks of memory: an object that is left takes one at least."""
TOOL = AITool(name="look_up", description="Look up a parcel", parameters={"type": "object", "properties": {}})


class Thinking(AIProvider):
    """A model that takes its time, and looks something up for every third question."""

    def __init__(self) -> None:
        self._asked = 0

    @property
    def model_name(self) -> str:
        return "thinking"

    async def generate(self, context: AIContext) -> AIResponse:
        self._asked += 1
        await asyncio.sleep(0.5 + self._asked % 3)
        if self._asked % 4 == 3:
            call = AIToolCall(id=f"c{self._asked}", name="look_up", arguments={})
            return AIResponse(content="", tool_calls=[call])
        return AIResponse(content=f"Answer {self._asked}", finish_reason="stop")


class Load:
    """Conversations that come and go: sockets, a gate, an observer, an agent with a tool, edits, signals."""

    def __init__(self, kit: RoomKit) -> None:
        self.kit = kit
        self.shown = 0
        self._random = random.Random(7)
        self._begun = 0
        kit.register_channel(WebSocketChannel("ws", send_timeout=20.0))
        kit.register_channel(AIChannel("agent", Thinking(), tools=[TOOL], tool_handler=self._look_up))
        kit.hook(HookTrigger.BEFORE_BROADCAST)(self._gate)
        kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)(self._observe)

    async def _look_up(self, name: str, arguments: object) -> str:
        return "on its way"

    async def _gate(self, event: RoomEvent, context: object) -> HookResult:
        return HookResult.allow()

    async def _observe(self, event: RoomEvent, context: object) -> None:
        await asyncio.sleep(0.1)

    async def _show(self, connection_id: str, event: RoomEvent) -> None:
        if connection_id.startswith("slow"):
            await asyncio.sleep(1.0)
        self.shown += 1

    async def phase(self, conversations: int) -> None:
        """Begin so many conversations, one a second, and wait until all of them are over."""
        async with asyncio.TaskGroup() as group:
            for _ in range(conversations):
                self._begun += 1
                group.create_task(self._conversation(f"room-{self._begun}"))
                await asyncio.sleep(1.0)

    async def _conversation(self, room_id: str) -> None:
        kit = self.kit
        await kit.create_room(room_id)
        await kit.attach_channel(room_id, "ws")
        await kit.attach_channel(room_id, "agent")
        for name in ("quick", "slow"):
            await kit.connect_websocket(
                "ws", f"{name} {room_id}", self._show, room_id=room_id, participant_id=f"{name} {room_id}"
            )
        for number in range(3):
            await self._say(room_id, number)
            await asyncio.sleep(self._random.uniform(0.0, 8.0))
        first = (await kit.get_timeline(room_id))[2]
        await kit.edit_event(room_id, first.id, TextContent(body="edited"))
        for name in ("quick", "slow"):
            await kit.disconnect_websocket("ws", f"{name} {room_id}")
        await kit.delete_room(room_id)

    async def _say(self, room_id: str, number: int) -> None:
        result = await self.kit.process_inbound(
            InboundMessage(
                channel_id="ws",
                sender_id=f"quick {room_id}",
                connection_id=f"quick {room_id}",
                idempotency_key=f"{room_id} {number}",
                content=TextContent(body=f"Question {number}"),
            ),
            room_id=room_id,
        )
        assert not result.blocked, result.reason


def held() -> int:
    """Return how many blocks of memory Python has allocated, without garbage."""
    gc.collect()
    return sys.getallocatedblocks()


async def growth(load: Load, phases: int, conversations: int) -> list[float]:
    """Return by how many blocks a conversation of each phase has made the process larger."""
    seen = []
    for _ in range(WARM_UP + phases):
        await load.phase(conversations)
        await asyncio.sleep(60.0)  # postponed work is done
        seen.append(held())
    return [(after - before) / conversations for before, after in pairwise(seen[WARM_UP - 1 :])]


@pytest.fixture
async def load(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Load]:
    """Remains of deleted rooms have bounds; they are lowered, so that they are reached in a phase."""
    monkeypatch.setattr("roomkit_plugins.ai.transcript.MAX_TRANSCRIPTS", BOUND)
    monkeypatch.setattr("roomkit.kernel.flow.recipients._MOST_KNOWN", 1)  # emptied when it is full
    locks = InMemoryLockManager(max_locks=BOUND)
    async with RoomKit(
        clock=VirtualClock(), lock_manager=locks, plugins=PluginManager(entry_points=())
    ) as kit:
        yield Load(kit)


async def test_a_process_under_load_does_not_grow(load: Load) -> None:
    await load.phase(3)
    before = Holdings.now()
    grown = await growth(load, PHASES, PER_PHASE)
    assert load.shown > 3 * PHASES * PER_PHASE
    assert not Holdings.now().beyond(before)
    assert sorted(grown)[len(grown) // 2] < LITTLE, grown


async def test_one_object_left_by_each_conversation_is_found(load: Load) -> None:
    """The measure itself: it notices an entry of a table that is never removed."""
    left: dict[str, list[str]] = {}

    @load.kit.hook(HookTrigger.ON_ROOM_CREATED, HookExecution.ASYNC)
    async def leak(event: RoomEvent, context: object) -> None:
        left[event.room_id] = [event.id]

    grown = await growth(load, 2, BOUND)
    assert len(left) == (WARM_UP + 2) * BOUND
    assert min(grown) > LITTLE, grown
