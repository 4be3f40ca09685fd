"""An answer without end and a loop of tool calls: each has a bound and an error of its own."""

from __future__ import annotations

import asyncio

import pytest

from roomkit import DeliveryState, RoomKit
from roomkit.abc.errors import InvalidInputError
from roomkit.models.ai import AIToolCall, StreamTextDelta, StreamThinkingDelta
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.generation import AIResponse
from roomkit_plugins.ai import (
    AIChannel,
    AnswerTooLongError,
    StalledAnswerError,
    ToolLoopError,
    TurnTimeoutError,
)
from roomkit_plugins.testing import MockAIProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time


class EndlessProvider(MockAIProvider):
    """A model that repeats one piece for ever, or until it falls silent after so many."""

    def __init__(self, piece, *, pause=0.0, silent_after=None):
        super().__init__(streaming=True)
        self.piece = piece
        self.pause = pause
        self.silent_after = silent_after
        self.closed = False

    async def generate_structured_stream(self, context):
        self.calls.append(context)
        said = 0
        try:
            while True:
                await asyncio.sleep(self.pause)
                if said == self.silent_after:
                    await asyncio.Event().wait()
                yield self.piece
                said += 1
        finally:
            self.closed = True


@pytest.mark.parametrize(
    "piece",
    [StreamTextDelta("word "), StreamThinkingDelta("Hm. "), StreamTextDelta(""), StreamThinkingDelta("")],
    ids=["text", "reasoning", "empty text", "empty reasoning"],
)
async def test_an_answer_without_end_is_ended(new_stage, piece):
    stage, provider = new_stage(streaming=True), EndlessProvider(piece)
    heard = await stage.ask(stage.agent(provider, max_answer_chars=1000), "Go", catch=True)
    assert isinstance(heard.error, AnswerTooLongError)
    assert "raise max_answer_chars" in str(heard.error)
    assert len(heard.text) <= 1000
    assert provider.closed


async def test_a_whole_answer_that_is_too_long_fails_too(stage):
    heard = await stage.ask(stage.agent(stage.provider("a" * 1001), max_answer_chars=1000), "Go", catch=True)
    assert isinstance(heard.error, AnswerTooLongError)
    assert len(heard.text) <= 1000
    fits = await stage.ask(stage.agent(stage.provider("a" * 1000), max_answer_chars=1000), "Go")
    assert len(fits.text) == 1000


@pytest.mark.parametrize("said", [1, 5])
async def test_an_answer_that_stalls_is_ended(new_stage, said):
    stage = new_stage(streaming=True)
    provider = EndlessProvider(StreamTextDelta("a"), pause=10, silent_after=said)
    heard = await stage.ask(stage.agent(provider, answer_idle_seconds=30), "Go", catch=True)
    assert isinstance(heard.error, StalledAnswerError)
    assert heard.text == "a" * said
    assert asyncio.get_running_loop().time() == 10 * said + 30
    assert provider.closed


@pytest.mark.parametrize("none", [None, 0])
async def test_a_long_thought_before_the_answer_is_no_stall(new_stage, none):
    """Nor is any pause without a bound on it."""
    stage = new_stage(streaming=True)
    provider = stage.provider("Hello.", delay=250)
    assert (await stage.ask(stage.agent(provider), "Go")).text == "Hello."
    slow = stage.provider("ab", chunk_size=1, chunk_delay=140)
    assert (await stage.ask(stage.agent(slow, answer_idle_seconds=none), "Go")).text == "ab"


async def test_tool_calls_have_a_bound_beside_their_rounds(stage, script):
    ran = []

    async def look(name, arguments):
        ran.append(arguments["n"])
        return str(arguments["n"])

    def calls(first):
        return script.calls(*(script.call("look", f"c{n}", n=n) for n in range(first, first + 4)))

    provider = stage.provider(calls(0), calls(4), script.says("Done."))
    tool = script.tool("look", n={"type": "integer"})
    agent = stage.agent(provider, tools=[(tool, look)], max_tool_calls=6)
    assert (await stage.ask(agent, "Go")).text == "Done."
    assert sorted(ran) == [0, 1, 2, 3, 4, 5]
    results = script.results(provider.calls[2])
    assert [result.is_error for result in results] == [False] * 6 + [True] * 2
    assert "all the tool calls of this turn are made" in results[-1].result
    assert provider.calls[2].tool_choice == "none"


@pytest.mark.parametrize(
    "settings", [{"max_tool_calls": 0}, {"max_answer_chars": 0}, {"answer_idle_seconds": -1}]
)
def test_a_bound_that_lets_nothing_happen_is_refused(settings):
    (name,) = settings
    with pytest.raises(InvalidInputError, match=name):
        AIChannel("agent", MockAIProvider(), **settings)


class Looping(MockAIProvider):
    """A model that calls a tool in every round, whatever the result says."""

    async def generate(self, context):
        self.calls.append(context)
        return AIResponse(content="", tool_calls=[AIToolCall(id="c", name="look")])


@pytest.mark.parametrize(
    ("provider", "settings", "error", "code"),
    [
        (
            EndlessProvider(StreamTextDelta("a")),
            {"max_answer_chars": 100},
            AnswerTooLongError,
            "answer_too_long",
        ),
        (
            EndlessProvider(StreamTextDelta("a"), silent_after=1),
            {"answer_idle_seconds": 5},
            StalledAnswerError,
            "answer_stalled",
        ),
        (EndlessProvider(StreamTextDelta("a"), silent_after=0), {}, TurnTimeoutError, "turn_timeout"),
        (Looping(), {"max_tool_rounds": 3}, ToolLoopError, "tool_loop_exhausted"),
        (Looping(), {"max_tool_calls": 3}, ToolLoopError, "tool_loop_exhausted"),
    ],
    ids=["too long", "stalled", "too late", "rounds", "calls"],
)
async def test_the_ledger_says_which_bound_it_was(script, provider, settings, error, code):
    async def look(name, arguments):
        return "nothing"

    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(AIChannel("agent", provider, tools=[(script.tool("look"), look)], **settings))
        await kit.create_room("r")
        await kit.attach_channel("r", "web")
        await kit.attach_channel("r", "agent")
        message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Go"))
        result = await kit.process_inbound(message, room_id="r")
        assert isinstance(result.error, error)
        (row,) = [row for row in await kit.list_deliveries("r") if row.channel_id == "agent"]
        assert (row.state, row.error.code) == (DeliveryState.FAILED, code)
