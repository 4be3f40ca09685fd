"""The contract of AI providers: answers, whole and streamed."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.ai import AIProvider
from roomkit.models.ai import (
    FINISH_REASONS,
    USAGE_KEYS,
    AIMessage,
    AITextPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
)
from roomkit_plugins.testing.contracts.ai.asking import (
    ask,
    ask_streamed,
    ask_whole,
    assistant_said,
    calls_of,
    listen,
    patient,
    response_of,
)
from roomkit_plugins.testing.contracts.ai.suite import AISuite
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Deviate,
    Duplicate,
    Reply,
    ScriptedThinking,
    ScriptedToolCall,
    ScriptedUsage,
)

__all__ = ["AIAnswersContract"]


class AIAnswersContract(AISuite):
    """An answer arrives as the vendor gave it, in both ways of generating."""

    async def test_it_has_names(self, provider: AIProvider) -> None:
        """Its own name is a component's name, and it says which model it asks."""
        assert provider.name == provider.name.lower()
        assert " " not in provider.name
        assert provider.model_name

    async def test_a_text_comes_back(self, provider: AIProvider, simulator: AISimulator) -> None:
        """The text arrives whole, with why the model stopped and what it cost."""
        simulator.reply("Good morning, José! ☕", usage=ScriptedUsage(input=11, output=5))
        response = await provider.generate(ask("Good morning"))
        assert response.content == "Good morning, José! ☕"
        assert (response.finish_reason, response.tool_calls) == ("stop", [])
        assert response.usage["input_tokens"] == 11
        assert response.usage["output_tokens"] == 5

    async def test_streaming_says_the_same(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Whole and streamed, an answer is the same."""
        for _ in range(2):
            simulator.reply(
                "Let me look.",
                thinking=[ScriptedThinking("The city is known.", signature="c2lnbmVk")],
                tool_calls=[ScriptedToolCall("now", {"city": "Genève"}, id="call_1")],
                usage=ScriptedUsage(input=8, output=9, cache_read=3, cache_write=2, reasoning=4),
            )
        whole = await provider.generate(ask("Weather?"))
        events = await listen(provider, ask("Weather?"))
        streamed = response_of(events)
        assert streamed.content == whole.content
        assert streamed.thinking == whole.thinking
        assert len(streamed.thinking_parts) == len(whole.thinking_parts)
        assert calls_of(streamed) == calls_of(whole)
        assert streamed.finish_reason == whole.finish_reason == "tool_calls"
        assert streamed.usage == whole.usage

    async def test_done_comes_once_and_last(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A stream ends with exactly one `StreamDone`, even if the vendor says its end twice."""
        simulator.reply("Hello", fault=Duplicate())
        events = await listen(provider, ask())
        assert [type(event) for event in events].count(StreamDone) == 1
        assert isinstance(events[-1], StreamDone)

    async def test_a_stream_streams(self, provider: AIProvider, simulator: AISimulator) -> None:
        """What the model has said is there before it has said everything."""
        rest = asyncio.Event()
        simulator.reply(["Hel", rest, "lo"])
        async with patient():
            texts = provider.generate_stream(ask())
            assert await anext(texts) == "Hel"
            rest.set()
            assert [text async for text in texts] == ["lo"]

    async def test_an_empty_answer_is_an_answer(self, provider: AIProvider, simulator: AISimulator) -> None:
        simulator.reply("")
        simulator.reply("")
        assert (await provider.generate(ask())).content == ""
        assert response_of(await listen(provider, ask())).content == ""

    @pytest.mark.parametrize("finish", ["stop", "length", "content_filter", "refusal"])
    async def test_why_it_stopped(self, provider: AIProvider, simulator: AISimulator, finish: str) -> None:
        """Every vendor's word for it becomes ours, and stays to be read in the metadata."""
        if finish not in self.finishes:
            pytest.skip(f"this API has no word for {finish}")
        for _ in range(2):
            simulator.reply("So", finish=finish)  # type: ignore[arg-type]  # a parametrized Finish
        answers = [await provider.generate(ask()), response_of(await listen(provider, ask()))]
        for answer in answers:
            assert answer.finish_reason == finish
            assert answer.finish_reason in FINISH_REASONS
            assert answer.metadata["finish_reason"]

    async def test_usage_is_conserved(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Fresh, read and written tokens are counted apart and add up, in our words."""
        written = 30 if self.counts_cache_writes else 0
        simulator.reply("Hi", usage=ScriptedUsage(input=10, output=6, cache_read=90, cache_write=written))
        usage = (await provider.generate(ask())).usage
        assert usage.keys() <= USAGE_KEYS
        assert usage["input_tokens"] == 10
        assert usage["cache_read_input_tokens"] == 90
        assert usage.get("cache_creation_input_tokens", 0) == written
        assert usage["total_tokens"] == 10 + 90 + written + 6

    async def test_what_is_left_out_or_null_changes_nothing(
        self, provider: AIProvider, simulator: AISimulator
    ) -> None:
        """Servers deviate in what means the same; each way gives the answer that the vendor gives.

        Null is absent, what only informs is not required, fragments of a call belong together by
        id or index, and an answer that ended is whole even if it does not say why.
        """
        if not self.reads_the_wire:
            pytest.skip("a library reads the vendor's answers")
        simulator.reply("Hello")
        await provider.generate(ask())
        ways = simulator.deviations(simulator.requests[-1])
        calls = [ScriptedToolCall("now", {"city": city}, id=f"call_{city}") for city in ("Oslo", "Rome")]
        for answer in (Reply("Good morning"), Reply("One moment.", calls)):
            for way in ways:
                for generate in (ask_whole, ask_streamed):
                    simulator.reply(answer.text, tool_calls=answer.tool_calls, fault=Deviate(way))
                    heard = await generate(provider, ask())
                    assert heard.content == answer.text, way
                    called = [(call.name, call.arguments, call.invalid) for call in heard.tool_calls]
                    assert called == [(call.name, call.arguments, None) for call in answer.tool_calls], way
                    assert heard.finish_reason == answer.reason, way

    async def test_an_empty_reason_cuts_nothing(self, provider: AIProvider, simulator: AISimulator) -> None:
        """What a stream says after a chunk with an empty field is part of the answer."""
        if not self.reads_the_wire:
            pytest.skip("a library reads the vendor's answers")
        simulator.reply("Hello")
        await listen(provider, ask())
        for way in simulator.deviations(simulator.requests[-1]):
            simulator.reply(["Hel", "lo", " there"], fault=Deviate(way))
            assert response_of(await listen(provider, ask())).content == "Hello there", way

    async def test_halves_of_a_character_join(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A character cut in two is one, in text and in arguments; a half alone becomes U+FFFD."""
        for _ in range(2):
            simulator.reply(
                ["Hi \ud83d", "\ude00!", " \ude00", "x \ud83d"],
                tool_calls=[ScriptedToolCall("now", {"city": "\ud83d\ude00 \ud83d"})],
            )
        for generate in (ask_whole, ask_streamed):
            answer = await generate(provider, ask())
            assert answer.content == "Hi \U0001f600! \ufffdx \ufffd"
            assert answer.tool_calls[0].arguments == {"city": "\U0001f600 \ufffd"}

    async def test_half_a_character_can_be_asked(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Wherever it stands in a context, the vendor gets valid Unicode: it fails no turn."""
        half = "a\ud83d"
        context = ask(half, tools=[AITool(name="now", description=half)])
        context.system_prompt = half
        context.messages += [
            assistant_said(AITextPart(text=half), AIToolCallPart(id=half, name=half)),
            AIMessage(role="tool", content=(AIToolResultPart(tool_call_id=half, name=half, result=half),)),
            AIMessage(role="user", content=half, name=half),
        ]
        for generate in (ask_whole, ask_streamed):
            simulator.reply("Fine.")
            assert (await generate(provider, context)).content == "Fine."
        assert "a\ufffd" in repr(simulator.requests[0].json())
