"""An agent whose model is asked by an executor answers like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.authoring.turns.queue import TurnOptions
from roomkit.kernel.kit import RoomKit
from roomkit.memory.executor import InMemoryTurnExecutor, TurnTable
from roomkit.models.ai import AITool, AIToolCall
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookTrigger
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.hook import HookResult
from roomkit_plugins.ai import AIChannel, RemoteModel
from roomkit_plugins.testing import MockAIProvider, MockTelemetryProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time

CALL = AIResponse(
    content="",
    tool_calls=[AIToolCall(id="1", name="weather", arguments={"city": "Oslo"})],
    finish_reason="tool_calls",
)
WEATHER = AITool(name="weather", description="Tell the weather.", parameters={"type": "object"})


class Farm:
    """Executor processes, as far as one loop can have them."""

    def __init__(self) -> None:
        self.table = TurnTable()
        self.tasks: list[asyncio.Task[None]] = []

    def executor(self, **options: Any) -> InMemoryTurnExecutor:
        return InMemoryTurnExecutor(TurnOptions(**options), table=self.table)

    def serve(self, provider: MockAIProvider) -> InMemoryTurnExecutor:
        server = self.executor()
        self.tasks.append(asyncio.ensure_future(server.serve({"bot": provider})))
        return server


@pytest.fixture
async def farm() -> AsyncIterator[Farm]:
    made = Farm()
    yield made
    for task in made.tasks:
        task.cancel()
    if made.tasks:
        await asyncio.wait(made.tasks)


async def said(agent: AIChannel, *texts: str, kit: RoomKit | None = None) -> tuple[list[str], Any]:
    """Put texts to an agent in a room; return what the room then says, and the last result."""
    async with kit or RoomKit() as room:
        room.register_channel(RecordingChannel("web", streaming=True))
        room.register_channel(agent)
        await room.create_room("r1")
        await room.attach_channel("r1", "web")
        await room.attach_channel("r1", "bot")
        result: Any = None
        for text in texts:
            message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
            result = await room.process_inbound(message, room_id="r1")
        timeline = await room.get_timeline("r1")
    return [text_of(event.content) or "" for event in timeline if event.source.channel_id == "bot"], result


@pytest.mark.parametrize("streaming", [False, True])
async def test_the_answer_comes_from_where_the_agent_is_served(farm: Farm, streaming: bool) -> None:
    provider = MockAIProvider(["Hello there!"], streaming=streaming, chunk_size=3)
    farm.serve(provider)
    agent = AIChannel("bot", RemoteModel("big", streaming=streaming), "Be kind.", executor=farm.executor())
    answers, result = await said(agent, "Hi")
    assert (answers, result.error) == (["Hello there!"], None)
    (context,) = provider.calls
    assert (context.system_prompt or "").startswith("Be kind.")
    assert context.room is None


@pytest.mark.parametrize("streaming", [False, True])
async def test_tools_run_with_the_room_behind_their_gates(farm: Farm, streaming: bool) -> None:
    """The executor process has only the model."""
    ran: list[dict[str, Any]] = []
    gated: list[str] = []

    async def weather(name: str, arguments: dict[str, Any]) -> str:
        ran.append(arguments)
        return "rain"

    kit = RoomKit()

    @kit.hook(HookTrigger.BEFORE_TOOL_USE)
    async def gate(call: Any, context: Any) -> HookResult:
        gated.append(call.name)
        return HookResult.allow()

    def last(context: AIContext) -> str:
        (part,) = context.messages[-1].content
        return f"It is {part.result}"  # type: ignore[union-attr]  # the result of the call

    farm.serve(MockAIProvider([CALL, last], streaming=streaming))
    agent = AIChannel(
        "bot",
        RemoteModel("big", streaming=streaming),
        tool_handler=weather,
        tools=[WEATHER],
        executor=farm.executor(),
    )
    answers, result = await said(agent, "Weather?", kit=kit)
    assert (answers, result.error) == (["It is rain"], None)
    assert (ran, gated) == ([{"city": "Oslo"}], ["weather"])


async def test_a_gate_that_blocks_keeps_the_tool_from_running(farm: Farm) -> None:
    kit = RoomKit()

    @kit.hook(HookTrigger.BEFORE_TOOL_USE)
    async def gate(call: Any, context: Any) -> HookResult:
        return HookResult.block("not today")

    async def weather(name: str, arguments: dict[str, Any]) -> str:
        raise AssertionError("it was blocked")

    farm.serve(MockAIProvider([CALL, "I may not."], streaming=True))
    agent = AIChannel(
        "bot", RemoteModel("big"), tool_handler=weather, tools=[WEATHER], executor=farm.executor()
    )
    answers, _ = await said(agent, "Weather?", kit=kit)
    assert answers == ["I may not."]


async def test_the_fallback_answers_here_when_no_process_serves(farm: Farm) -> None:
    agent = AIChannel(
        "bot",
        RemoteModel("big"),
        fallback_provider=MockAIProvider(["From here."]),
        executor=farm.executor(claim_seconds=5.0),
    )
    answers, result = await said(agent, "Hi")
    assert (answers, result.error) == (["From here."], None)


async def test_a_failed_turn_is_the_rooms_error(farm: Farm) -> None:
    farm.serve(
        MockAIProvider([ProviderError("no", error_code=ErrorCode.AUTH, provider="acme")], streaming=True)
    )
    agent = AIChannel("bot", RemoteModel("big"), executor=farm.executor())
    answers, result = await said(agent, "Hi")
    assert answers == []
    assert (result.error.error_code, str(result.error)) == (ErrorCode.AUTH, "no")


async def test_an_interrupted_turn_ends_where_it_runs(farm: Farm) -> None:
    server = farm.serve(MockAIProvider(["a" * 100], streaming=True, chunk_size=1, chunk_delay=1.0))
    agent = AIChannel("bot", RemoteModel("big"), executor=farm.executor())
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("web", streaming=True))
        kit.register_channel(agent)
        await kit.create_room("r1")
        await kit.attach_channel("r1", "web")
        await kit.attach_channel("r1", "bot")
        message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Hi"))
        await kit.process_inbound(message, room_id="r1", wait="committed")
        await asyncio.sleep(10)
        await kit.services.turns.interrupt("r1")
        await asyncio.sleep(1)
        assert server.counters["cancelled"] == 1
        (answer,) = [event for event in await kit.get_timeline("r1") if event.source.channel_id == "bot"]
        assert 0 < len(text_of(answer.content) or "") < 15


async def test_what_was_lost_in_mid_answer_is_reported_and_not_said_again(farm: Farm) -> None:
    """The text that was released stays, and the fallback goes on after it."""
    provider = MockAIProvider(["abcdef"], streaming=True, chunk_size=3, chunk_delay=1000.0)
    farm.serve(provider)
    fallback = MockAIProvider(["From here."])
    kit, kinds = RoomKit(), list[str]()

    @kit.on("*")
    async def note(event: Any) -> None:
        kinds.append(event.type)

    agent = AIChannel("bot", RemoteModel("big"), fallback_provider=fallback, executor=farm.executor())
    asking = asyncio.ensure_future(said(agent, "Hi", kit=kit))
    await asyncio.sleep(5)
    for turn in farm.table.turns.values():
        turn.token += 1  # as if its process had been paused: the lease is another's, and is not renewed
    answers, result = await asking
    assert answers == ["abcFrom here."]
    assert result.error is None
    assert [message.content for message in fallback.calls[0].messages][:2] == ["Hi", "abc"]
    assert "turn_executor_lost" in kinds


async def test_a_request_that_ends_its_processes_is_quarantined_and_reported(farm: Farm) -> None:
    kit, found = RoomKit(), list[Any]()

    @kit.on("turn_quarantined")
    async def note(event: Any) -> None:
        found.append(event)

    executor = farm.executor(lease_seconds=1.0, max_attempts=1)
    asking = asyncio.ensure_future(
        said(AIChannel("bot", RemoteModel("big"), executor=executor), "Hi", kit=kit)
    )
    await asyncio.sleep(0.5)
    for turn in farm.table.turns.values():
        turn.attempts = 1  # claimed by a process that died
    _, result = await asking
    assert (result.error.error_code, result.error.retryable) == (ErrorCode.SERVER, False)
    (turn,) = await farm.executor().quarantined()
    assert (turn.agent, found[0].data["turn_id"]) == ("bot", turn.turn_id)


async def test_the_wait_for_a_process_is_measured(farm: Farm) -> None:
    telemetry = MockTelemetryProvider()
    farm.serve(MockAIProvider(["Hello!"], streaming=True))
    agent = AIChannel("bot", RemoteModel("big"), executor=farm.executor())
    await said(agent, "Hi", kit=RoomKit(telemetry=telemetry))
    assert [metric.name for metric in telemetry.metrics].count("roomkit.turn.wait_ms") == 1


async def test_an_executor_closes_with_the_last_agent_that_uses_it(farm: Farm) -> None:
    executor = farm.executor()
    agents = [AIChannel(name, RemoteModel("big"), executor=executor) for name in ("a", "b")]
    for agent in agents:
        await agent.start()
    await agents[0].close()
    assert executor.queue in farm.table.queues
    await agents[1].close()
    assert executor.queue not in farm.table.queues


async def test_a_described_model_cannot_be_asked_here() -> None:
    answers, result = await said(AIChannel("bot", RemoteModel("big", streaming=False)), "Hi")
    assert answers == []
    assert isinstance(result.error, InvalidInputError)
    assert "give its agent an executor" in str(result.error)


def test_what_is_no_executor_is_refused() -> None:
    wrong: Any = "redis"
    with pytest.raises(InvalidInputError, match="the executor of AI channel 'bot' is a str"):
        AIChannel("bot", RemoteModel("big"), executor=wrong)


class Ticket(BaseModel):
    """What the desk wants to know."""

    topic: str


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_of_a_shape_comes_from_elsewhere(farm: Farm, streaming: bool) -> None:
    """Asked with the agent's model class; the served provider sees its JSON Schema."""
    provider = MockAIProvider(['{"topic": "invoice"}'], streaming=streaming)
    server = farm.serve(provider)
    model = RemoteModel("mock", streaming=streaming, response_schema=True)
    agent = AIChannel("bot", model, executor=farm.executor(), response_schema=Ticket)
    texts, _ = await said(agent, "My invoice is wrong")
    assert texts == ['{"topic": "invoice"}']
    assert provider.calls[0].response_schema == Ticket.model_json_schema()
    await server.close()


async def test_a_described_model_without_shapes_is_refused_at_once(farm: Farm) -> None:
    """By the agent that would need one."""
    with pytest.raises(InvalidInputError, match="does not support one"):
        AIChannel("bot", RemoteModel("mock"), executor=farm.executor(), response_schema=Ticket)


async def test_a_kit_that_closes_leaves_the_executor_to_another_kit(farm: Farm) -> None:
    """Each has an agent of the same name on it."""
    farm.serve(MockAIProvider(["Hello there!"]))
    executor = farm.executor()
    agent, other = (AIChannel("bot", RemoteModel("big"), executor=executor) for _ in range(2))
    async with RoomKit() as staying:
        staying.register_channel(other)
        await staying.create_room("first")
        assert (await said(agent, "Hi"))[0] == ["Hello there!"]
        answers, result = await said(AIChannel("bot", RemoteModel("big"), executor=executor), "Hi")
        assert (answers, result.error) == (["Hello there!"], None)
