"""What others learn of a turn: ephemeral events, observers, spans; and what they must not."""

from __future__ import annotations

import asyncio
import logging

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIThinkingPart, AITool
from roomkit.models.enums import ChannelCategory, EphemeralEventType, HookTrigger
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.visibility import admits

pytestmark = pytest.mark.virtual_time

CANARY = "c4n4ry-s3cr3t"


async def handler(name, arguments):
    return "the result " * 100


@pytest.fixture
def working(stage, script):
    """Return an agent that thinks, calls a tool and answers."""
    thought = AIThinkingPart(thinking="Let me think. " * 100, signature="s")
    call = script.call("look", "c1", order=7)
    provider = stage.provider(script.calls(call, thinking_parts=[thought]), script.says("Done."))
    return stage.agent(provider, tools=[(AITool(name="look"), handler)])


async def signals_of(stage, agent):
    await stage.services.listen()
    await stage.ask(agent, "Go")
    await asyncio.sleep(0.01)
    return stage.services.signals


async def test_a_turn_is_told_while_it_happens(stage, working):
    """Thinking and tools, begun and ended, in their order."""
    signals = await signals_of(stage, working)
    assert [signal.type for signal in signals] == [
        EphemeralEventType.THINKING_START,
        EphemeralEventType.THINKING_END,
        EphemeralEventType.TOOL_CALL_START,
        EphemeralEventType.TOOL_CALL_END,
    ]
    _, thought, started, ended = (signal.data for signal in signals)
    assert (len(thought["thinking"]), thought["thinking_length"]) == (1000, 1400)
    assert started["tool_calls"] == [{"id": "c1", "name": "look", "arguments": {"order": 7}}]
    (result,) = ended["tool_calls"]
    assert (result["id"], len(result["result"]), result["is_error"]) == ("c1", 500, False)
    assert result["duration_ms"] >= 0
    assert ended["duration_ms"] == result["duration_ms"]
    assert (started["round"], started["channel_id"]) == (0, "agent")
    assert len({signal.data["loop_id"] for signal in signals}) == 1


async def test_nobody_in_the_room_is_shown_arguments_results_or_reasoning(stage, working):
    """A subscriber that names its channel gets none of it."""
    for signal in await signals_of(stage, working):
        for category in ChannelCategory:
            assert not admits(signal.visibility, "ws", category)


async def test_observers_of_thinking_get_each_whole_block(stage, working):
    await stage.ask(working, "Go")
    (thought,) = stage.services.calls(HookTrigger.ON_AI_THINKING)
    assert thought == AIThinkingPart(thinking="Let me think. " * 100, signature="s")


async def test_redacted_thinking_has_nothing_to_observe(stage, script):
    hidden = AIThinkingPart(thinking="", redacted_data="opaque")
    agent = stage.agent(stage.provider(script.says("Done.", thinking_parts=[hidden])))
    signals = await signals_of(stage, agent)
    assert len(signals) == 2
    assert stage.services.calls(HookTrigger.ON_AI_THINKING) == []


async def test_a_refused_call_ends_without_a_start(stage, script):
    """What did not run did not begin."""
    agent = stage.agent(stage.provider(script.calls("other"), script.says("Hm.")))
    (signal,) = await signals_of(stage, agent)
    assert signal.type is EphemeralEventType.TOOL_CALL_END
    assert signal.data["tool_calls"][0]["is_error"]


async def test_a_realtime_backend_that_is_down_costs_no_answer(stage, working, caplog):
    async def down(room_id, event):
        raise ConnectionError(CANARY)

    await stage.services.listen()
    stage.services.realtime.publish_to_room = down
    assert (await stage.ask(working, "Go")).text == "Done."
    assert "tool_call_start was not published: ConnectionError" in caplog.text
    assert CANARY not in caplog.text


async def test_events_that_have_no_subscriber_are_not_made(stage, working):
    published = []

    async def publish(room_id, event):
        published.append(event)

    stage.services.realtime.publish_to_room = publish
    await stage.services.listen("another room")
    await stage.ask(working, "Go")
    assert published == []
    assert len(stage.services.calls()) == 1  # observers are no subscribers
    await stage.services.listen()
    await stage.ask(working, "Go")
    assert published


async def test_a_backend_that_cannot_say_who_subscribes_costs_no_answer(stage, working):
    def broken(room_id):
        raise ConnectionError(CANARY)

    stage.services.realtime.has_subscribers_in_room = broken
    await stage.services.listen()
    assert (await stage.ask(working, "Go")).text == "Done."
    await asyncio.sleep(0)
    assert EphemeralEventType.TOOL_CALL_START in {signal.type for signal in stage.services.signals}


async def test_each_request_and_call_has_a_span(stage, working):
    await stage.ask(working, "Go")
    telemetry = stage.services.telemetry
    first, second = telemetry.get_spans(SpanKind.LLM_GENERATE)
    assert (first.name, first.status, first.room_id, first.channel_id) == (
        "llm.generate",
        "ok",
        "r1",
        "agent",
    )
    assert second.attributes[Attr.LLM_INPUT_TOKENS] == 10
    assert second.attributes[Attr.LLM_OUTPUT_TOKENS] == 5
    assert second.attributes[Attr.LLM_TOOL_COUNT] == 1
    assert second.attributes[Attr.LLM_STREAMING] == stage.streaming
    assert second.attributes[Attr.MODEL] == "mock"
    (tool,) = telemetry.get_spans(SpanKind.LLM_TOOL_CALL)
    assert (tool.name, tool.status, tool.parent_id) == ("tool.look", "ok", first.id)
    assert tool.attributes.pop(Attr.DURATION_MS) >= 0
    assert tool.attributes == {Attr.LLM_TOOL_NAME: "look", Attr.LLM_TOOL_CALL_ID: "c1"}
    assert {metric.name for metric in telemetry.metrics} == {"roomkit.llm.ttfb_ms"}
    assert telemetry.get_active_spans() == []


async def test_failures_close_their_spans(stage, script):
    """With the kind of error, and never its text."""

    async def broken(name, arguments):
        raise ValueError(CANARY)

    error = ProviderError(CANARY, error_code=ErrorCode.SERVER)
    agent = stage.agent(stage.provider(script.calls("look"), error), tools=[(script.tool("look"), broken)])
    await stage.ask(agent, "Go", catch=True)
    spans = stage.services.telemetry.completed_spans
    assert [(span.name, span.status, span.error_message) for span in spans] == [
        ("llm.generate", "ok", None),
        ("tool.look", "error", "ValueError"),
        ("llm.generate", "error", "ProviderError"),
    ]


async def test_without_telemetry_no_span_is_opened(stage, working):
    stage.services.telemetry.enabled = False
    await stage.ask(working, "Go")
    assert stage.services.telemetry.spans == []


async def test_spans_and_logs_hold_no_words(stage, script, caplog):
    """Neither what people say, nor arguments, results, prompts or reasoning."""
    caplog.set_level(logging.DEBUG)

    async def telling(name, arguments):
        return CANARY

    answers = [
        script.calls(script.call("look", a=CANARY), text=CANARY, thinking=CANARY),
        ProviderError("down", error_code=ErrorCode.AUTH),
    ]
    agent = stage.agent(
        stage.provider(*answers),
        system_prompt=CANARY,
        fallback_provider=stage.provider(script.says(CANARY)),
        tools=[(AITool(name="look"), telling)],
    )
    await stage.ask(agent, CANARY)
    assert CANARY not in caplog.text
    assert CANARY not in str(stage.services.telemetry.spans)
    assert CANARY not in str(stage.services.telemetry.metrics)
