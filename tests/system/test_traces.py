"""Declared telemetry is emitted: each kind of span and each attribute is seen in one conversation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roomkit import AIChannel, HookResult, HookTrigger, InboundMessage, ProviderResult, RoomKit, TextContent
from roomkit.memory import InMemoryTurnExecutor, TurnTable
from roomkit.models import AIResponse, AITool, AIToolCall, Attr, ChannelOutput, RetryPolicy, Span, SpanKind
from roomkit.testing import MockAIProvider, MockTelemetryProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time

NOT_BUILT = {
    kind
    for kind in SpanKind
    if kind.value.partition(".")[0] in ("stt", "tts", "pipeline", "voice", "realtime", "backend")
}
"""Kinds of the voice packages."""
THE_CALLERS = {SpanKind.CUSTOM}
UNSEEN_PREFIXES = ("stt.", "tts.", "pipeline.", "realtime.", "backend.")
PERSONAL = {Attr.DELIVERY_RECIPIENT}
"""Declared for providers that know it; the kernel records no addresses."""
OF_VOICE = {Attr.SESSION_ID}
ARGUMENTS = {Attr.ROOM_ID, Attr.CHANNEL_ID}
"""Which are fields of the span, but for a room that is known only later."""
SAID = "canary"


async def conversation(
    provider: MockTelemetryProvider, *, streaming: bool, is_executed: bool = False
) -> None:
    """A gate and an observer, a delivery that goes well and one that fails, an agent that uses a tool.

    With `is_executed` the model is asked by an executor process, as far as one loop can have it.
    """
    usage = {
        "input_tokens": 3,
        "output_tokens": 2,
        "cache_read_input_tokens": 1,
        "cache_creation_input_tokens": 1,
        "reasoning_tokens": 1,
    }
    answers = [
        AIResponse(content="", tool_calls=[AIToolCall(id="c1", name="look", arguments={})]),
        AIResponse(content=SAID, usage=usage),
    ]
    tool = AITool(name="look", description="Look.", parameters={"type": "object", "properties": {}})

    async def look(name: str, arguments: dict[str, Any]) -> str:
        await kit.send_event("side", "system", TextContent(body=SAID))
        return SAID

    async def gate(event: Any, context: Any) -> HookResult:
        return HookResult.allow()

    async def observer(event: Any, context: Any) -> None: ...

    kit = RoomKit(telemetry=provider)
    kit.hook(HookTrigger.BEFORE_BROADCAST)(gate)
    kit.hook(HookTrigger.AFTER_BROADCAST)(observer)
    went_well = ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id="v1"))
    kit.register_channel(RecordingChannel("web", streaming=streaming))
    kit.register_channel(RecordingChannel("sms", script=[went_well] * 5))
    kit.register_channel(RecordingChannel("fax", script=[ValueError(SAID)] * 5))
    model, table = MockAIProvider(ai_responses=answers, streaming=streaming), TurnTable()
    executor = InMemoryTurnExecutor(table=table) if is_executed else None
    kit.register_channel(AIChannel("agent", model, tools=[(tool, look)], executor=executor))
    async with kit, serving(model if is_executed else None, table, provider):
        await kit.create_room("side")
        await kit.create_room("r1")
        for channel_id in ("web", "sms", "fax", "agent"):
            await kit.attach_channel("r1", channel_id, retry_policy=RetryPolicy(max_retries=0))
        provider.reset()
        for number in range(2):
            words = TextContent(body=SAID)
            await kit.process_inbound(InboundMessage(channel_id="web", sender_id=str(number), content=words))


@asynccontextmanager
async def serving(
    model: MockAIProvider | None, table: TurnTable, telemetry: MockTelemetryProvider
) -> AsyncIterator[None]:
    """Serve the agent while the block runs, if there is a model."""
    if model is None:
        yield
        return
    server = InMemoryTurnExecutor(table=table)
    served = asyncio.ensure_future(server.serve({"agent": model}, telemetry=telemetry))
    yield
    await server.close()
    await served


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_every_declared_kind_and_attribute_is_seen(streaming: bool) -> None:
    provider = MockTelemetryProvider()
    await conversation(provider, streaming=streaming, is_executed=True)
    declared = {value for name, value in vars(Attr).items() if not name.startswith("_")}
    expected = {
        each for each in declared - PERSONAL - OF_VOICE - ARGUMENTS if not each.startswith(UNSEEN_PREFIXES)
    }
    seen = {name for span in provider.spans for name in span.attributes}
    assert {span.kind for span in provider.spans} == set(SpanKind) - NOT_BUILT - THE_CALLERS
    assert expected - seen == set()
    assert seen <= declared


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("is_executed", [False, True], ids=["here", "executed"])
async def test_a_turn_is_one_tree_from_the_message_to_what_a_tool_writes(
    streaming: bool, is_executed: bool
) -> None:
    """The spans of the process that asks the model are in it, each below the request that it answers."""
    provider = MockTelemetryProvider()
    await conversation(provider, streaming=streaming, is_executed=is_executed)
    spans = {span.id: span for span in provider.spans}
    assert provider.get_active_spans() == []

    def path(span: Span) -> list[str]:
        above = [] if span.parent_id is None else path(spans[span.parent_id])
        return [*above, span.name]

    paths = [path(span) for span in provider.spans]
    turn = ["framework.inbound", "framework.broadcast", "framework.delivery"]
    assert [name for name, *below in paths if not below] == ["framework.inbound"] * 2
    assert [*turn, "llm.generate", "tool.look"] in paths
    assert [*turn, "framework.broadcast", "framework.delivery"] in paths
    asked = paths.count([*turn, "llm.generate"])
    for name in ("turn.wait", "turn.serve"):
        assert paths.count([*turn, "llm.generate", name]) == (asked if is_executed else 0)
    side = [path(span) for span in provider.spans if span.room_id == "side"]
    assert side
    assert all(each[:3] == turn for each in side)
    assert SAID not in repr(provider.spans)
