"""An agent prepares its answer before the message is committed, and does nothing else until then."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from roomkit import RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models.ai import AITool, AIToolCall
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import EphemeralEventType, EventType, HookTrigger
from roomkit.models.generation import AIResponse
from roomkit.models.hook import HookResult
from roomkit.models.parking import Park
from roomkit.models.steering import InjectMessage
from roomkit.plugins import PluginManager
from roomkit_plugins.ai import AIChannel, SlidingWindowMemory
from roomkit_plugins.testing import MockAIProvider, RecordingChannel, VirtualClock

pytestmark = pytest.mark.virtual_time


class Noting(SlidingWindowMemory):
    """Keeps the ids of the events it was told of."""

    def __init__(self):
        super().__init__()
        self.noted = []

    async def ingest(self, room_id, event, *, channel_id=None):
        self.noted.append(event.id)


def responses():
    call = AIToolCall(id="c", name="find_order", arguments={"number": 7})
    first = AIResponse(
        content="Let me see.", thinking="An order.", tool_calls=[call], usage={"output_tokens": 5}
    )
    return [first, AIResponse(content="It arrives tomorrow.", usage={"output_tokens": 3})]


class Scene:
    """A kit with one room: Alice, and an agent that looks an order up."""

    def __init__(self, answers=None, *, streaming=True, **options):
        self.looked, self.signals = [], []
        self.memory = Noting()

        async def find_order(name, arguments):
            self.looked.append(arguments["number"])
            await self.kit.send_event("room", "phone", TextContent(body="(looking)"), visibility="internal")
            return "tomorrow"

        self.provider = MockAIProvider(ai_responses=answers or responses(), streaming=streaming)
        self.agent = AIChannel(
            "bot",
            self.provider,
            "You are helpful.",
            tools=[AITool(name="find_order", description="Find it.", parameters={"type": "object"})],
            tool_handler=find_order,
            memory=self.memory,
            **options,
        )
        self.kit = RoomKit(
            InMemoryStore(), clock=VirtualClock(), plugins=PluginManager(entry_points=()), agent_timeout=100
        )

    async def open(self):
        kit = self.kit
        kit.register_channel(RecordingChannel("phone", streaming=True))
        await kit.create_room("room")
        await kit.attach_channel("room", "phone")
        await kit.process_inbound(message("Hello."), room_id="room")
        kit.register_channel(self.agent)
        await kit.attach_channel("room", "bot")

        async def keep(signal):
            self.signals.append(signal.type)

        await kit.services.realtime.subscribe_to_room("room", keep)
        return self

    async def speculate(self, text="Where is order 7?"):
        return await self.kit.services.turns.speculate("room", message(text))

    async def said(self):
        return [
            text_of(event.content)
            for event in await self.kit.get_timeline("room")
            if event.type is EventType.MESSAGE and event.source.channel_id == "bot"
        ]


def message(text):
    return InboundMessage(channel_id="phone", sender_id="alice", content=TextContent(body=text))


@pytest.fixture
async def scene():
    made = await Scene().open()
    yield made
    await made.kit.close()


def comparable(request):
    """Return what a vendor would be sent."""
    return replace(request, room=None)


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_request_is_the_one_of_an_ordinary_turn(streaming):
    """With the history, the prompt and all the tools; so is that after the tool call."""
    early, usual = await Scene(streaming=streaming).open(), await Scene(streaming=streaming).open()
    speculation = await early.speculate()
    await speculation.confirm(message("Where is order 7"), wait="settled")
    assert speculation.withdrawn is None
    await usual.kit.process_inbound(message("Where is order 7?"), room_id="room")
    assert [comparable(each) for each in early.provider.calls] == [
        comparable(each) for each in usual.provider.calls
    ]
    assert [tool.name for tool in early.provider.calls[0].tools] == ["find_order"]
    assert await early.said() == await usual.said() == ["Let me see.\n\nIt arrives tomorrow."]
    await asyncio.sleep(1)  # subscribers are shown signals in tasks of their own
    assert early.signals == usual.signals
    assert len(usual.signals) == 4
    await early.kit.close()
    await usual.kit.close()


async def test_the_first_tool_call_waits_and_so_does_what_others_could_notice(scene):
    gated = []

    @scene.kit.hook(HookTrigger.BEFORE_TOOL_USE)
    async def gate(use, context):
        gated.append(use.name)
        return HookResult.allow()

    thought = []

    @scene.kit.hook(HookTrigger.ON_AI_THINKING)
    async def observe(part, context):
        thought.append(part.thinking)

    speculation = await scene.speculate()
    await asyncio.sleep(50)
    assert len(scene.provider.calls) == 1
    assert (scene.looked, gated, thought, scene.signals) == ([], [], [], [])
    assert len(scene.memory.noted) == 0
    result = await speculation.confirm(message("Where is order 7?"), wait="settled")
    assert (scene.looked, gated, thought) == ([7], ["find_order"], ["An order."])
    assert scene.signals[:2] == [EphemeralEventType.THINKING_START, EphemeralEventType.THINKING_END]
    assert scene.memory.noted == [result.event.id]
    answer = (await scene.kit.get_timeline("room"))[-1]
    assert answer.generation.usage == {"output_tokens": 8, "total_tokens": 8}
    assert answer.generation.tool_rounds == 1


async def test_a_withdrawn_turn_leaves_nothing(scene):
    speculation = await scene.speculate()
    await asyncio.sleep(50)
    await speculation.withdraw()
    assert (scene.looked, scene.signals, scene.memory.noted) == ([], [], [])
    assert await scene.said() == []


async def test_an_answer_without_tools_is_noted_when_it_is_committed():
    scene = await Scene([AIResponse(content="Yes.")]).open()
    speculation = await scene.speculate("Are you there?")
    await asyncio.sleep(50)
    assert scene.memory.noted == []
    result = await speculation.confirm(message("Are you there?"), wait="settled")
    assert scene.memory.noted == [result.event.id]
    assert await scene.said() == ["Yes."]
    await scene.kit.close()


async def test_directions_are_for_turns_that_count(scene):
    """A message that is handed to the agent's work is not lost with a turn that is withdrawn."""
    speculation = await scene.speculate()
    assert not await scene.agent.steer(InjectMessage("Hurry."), room_id="room")
    await speculation.withdraw()


async def test_a_tool_of_a_confirmed_turn_writes_as_part_of_it(scene):
    speculation = await scene.speculate()
    await asyncio.sleep(50)
    result = await speculation.confirm(message("Where is order 7?"), wait="settled")
    noted = [event for event in await scene.kit.get_timeline("room") if event.visibility == "internal"]
    (looking,) = [event for event in noted if event.type is EventType.MESSAGE]
    assert looking.correlation_id == result.event.id
    assert looking.chain_depth == 1


async def test_a_turn_that_waits_too_long_is_run_again():
    """Its own deadline passed before the message was certain, which is not a failure of an answer."""
    answers = [responses()[0], *responses()]
    scene = await Scene(answers, tool_loop_timeout_seconds=20).open()
    speculation = await scene.speculate()
    await asyncio.sleep(50)
    result = await speculation.confirm(message("Where is order 7?"), wait="settled")
    assert result.error is None
    assert await scene.said() == ["Let me see.\n\nIt arrives tomorrow."]
    assert len(scene.provider.calls) == 3
    await scene.kit.close()


async def test_a_tool_of_a_confirmed_turn_may_park_it():
    """Its round is stored with the message that was confirmed, and continues as any other."""
    scene = await Scene().open()

    async def ask_a_person(name, arguments):
        return Park(reason="approval", deadline=timedelta(days=1))

    scene.agent.tool_handler = ask_a_person
    speculation = await scene.speculate()
    await asyncio.sleep(50)
    assert await scene.kit.list_parked_turns("room") == []
    await speculation.confirm(message("Where is order 7?"), wait="settled")
    assert speculation.withdrawn is None
    (parked,) = await scene.kit.list_parked_turns("room")
    (call,) = parked.calls
    assert await scene.kit.resume_turn("room", parked.turn_id, {call.call_id: "tomorrow"})
    await scene.kit._kernel.ground.supervisor.drain(60)
    assert (await scene.said())[-1] == "It arrives tomorrow."
    await scene.kit.close()
