"""Whatever happens to a speculation: never two answers, and no trace of one that was withdrawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.ai import StreamDone
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState, EventType
from roomkit.models.event import RoomEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, VirtualClock, run_virtual

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()
EXPECTED, OTHER = "the very words", "other words"
STEPS = (
    "speculate",
    "speculate",
    "confirm",
    "confirm",
    "confirm otherwise",
    "withdraw",
    "cancelled confirm",
    "say",
    "state",
    "interrupt",
    "kill",
    "wait",
    "wait",
)


class Surviving(InMemoryStore):
    """A store that outlives its workers."""

    @property
    def is_process_local(self) -> bool:
        return False


class Bot(ScriptedIntelligence):
    """Answers each message by naming it, and uses a tool of which the test keeps account."""

    speculates = True

    def __init__(self, used: list[str]) -> None:
        super().__init__("bot")
        self.used = used

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        return ChannelOutput(responded=True, response_stream=self._answer(event, context))

    async def _answer(self, event: Any, context: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(0.3)  # virtual time
        yield f"{event.id} "
        await context.confirmed()
        self.used.append(event.id)
        await asyncio.sleep(0.3)  # virtual time
        yield text_of(event.content)
        yield StreamDone("stop", {"output_tokens": 1})


class World:
    """One room, the worker that is up, and speculations that were begun on it."""

    def __init__(self) -> None:
        self.store, self.realtime = Surviving(), InMemoryRealtime()
        self.used: list[str] = []
        self.open: list[Any] = []
        self.confirmed: list[str] = []
        self.numbered = 0

    async def start(self) -> None:
        self.kit = RoomKit(
            self.store,
            lock_manager=InMemoryLockManager(),
            realtime=self.realtime,
            single_process=True,
            clock=VirtualClock(),
            plugins=PLUGINS,
            lease_seconds=3,
        )
        self.phone = RecordingChannel("phone", streaming=True)
        self.kit.register_channel(self.phone)
        self.kit.register_channel(Bot(self.used))
        await self.kit.start()

    async def kill(self) -> None:
        """End the worker without a word, as SIGKILL does: none of its tasks goes on."""
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)  # virtual time
        self.open.clear()
        await self.start()

    def message(self, words: str) -> InboundMessage:
        self.numbered += 1
        body = TextContent(body=words)
        return InboundMessage(
            channel_id="phone", sender_id="alice", content=body, idempotency_key=f"k{self.numbered}"
        )

    async def confirm(self, words: str, *, cancelled_after: float | None = None) -> None:
        if not self.open:
            return
        work = asyncio.ensure_future(self.open.pop().confirm(self.message(words)))
        if cancelled_after is not None:
            await asyncio.sleep(cancelled_after)  # virtual time
            work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    async def step(self, step: str) -> None:
        match step:
            case "speculate":
                turns = self.kit.services.turns
                self.open.append(await turns.speculate("r1", self.message(EXPECTED)))
            case "confirm":
                await self.confirm("The very words!")
            case "confirm otherwise":
                await self.confirm(OTHER)
            case "cancelled confirm":
                await self.confirm(EXPECTED, cancelled_after=0)
            case "withdraw":
                for each in self.open:
                    await each.withdraw()
            case "say":
                await self.kit.process_inbound(self.message("in between"), room_id="r1", wait="committed")
            case "state":
                await self.kit.change_state("r1", "app", lambda state: {"n": (state or {}).get("n", 0) + 1})
            case "interrupt":
                await self.kit.services.turns.interrupt("r1")
            case "kill":
                await self.kill()
            case "wait":
                await asyncio.sleep(0.35)  # virtual time


async def play(steps: list[str]) -> None:
    world = World()
    await world.start()
    await world.kit.create_room("r1")
    await world.kit.attach_channel("r1", "phone")
    await world.kit.attach_channel("r1", "bot")
    await world.kit.process_inbound(world.message("hello"), room_id="r1")
    for step in steps:
        await world.step(step)
    for each in world.open:
        await each.withdraw()
    await asyncio.sleep(60)  # virtual time
    await check(world)
    await world.kit.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left


async def check(world: World) -> None:
    """Each message was answered once at most, by its own words; nothing else was said or used."""
    timeline: list[RoomEvent] = [
        event for event in await world.kit.get_timeline("r1", limit=1000) if event.type is EventType.MESSAGE
    ]
    said = {event.id: event for event in timeline if event.source.channel_id == "phone"}
    answered: list[str] = []
    for answer in timeline:
        if answer.source.channel_id != "bot":
            continue
        question = text_of(answer.content).split(" ", 1)[0]
        assert question == answer.correlation_id
        answered.append(question)
        whole = text_of(answer.content)
        expected = text_of(said[question].content)
        assert whole in (f"{question} ", f"{question} {expected}", f"{question} {EXPECTED}")
        if whole.endswith(EXPECTED):
            assert expected.lower().rstrip("!") == EXPECTED
    assert len(answered) == len(set(answered))
    assert set(world.used) <= set(said)
    rows = await world.kit.list_deliveries("r1", limit=1000)
    assert all(row.state is not DeliveryState.PENDING for row in rows)
    assert {row.event_id for row in rows} <= {event.id for event in timeline}


@given(st.lists(st.sampled_from(STEPS), max_size=14))
def test_never_two_answers_and_no_trace(steps: list[str]) -> None:
    run_virtual(play(steps))


@pytest.mark.parametrize(
    "steps",
    [
        ["speculate", "wait", "confirm", "kill"],
        ["speculate", "wait", "kill", "confirm"],
        ["speculate", "confirm", "wait", "kill", "speculate", "confirm"],
        ["speculate", "wait", "cancelled confirm", "speculate", "confirm"],
        ["speculate", "confirm", "interrupt", "speculate", "wait", "confirm otherwise"],
    ],
)
def test_a_story(steps: list[str]) -> None:
    """Some sequences that are known to be hard."""
    run_virtual(play(steps))
