"""The contract of AI providers: tools and reasoning."""

from __future__ import annotations

import pytest

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    AIMessage,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit_plugins.testing.contracts.ai.asking import (
    WEATHER,
    answered,
    ask,
    ask_streamed,
    ask_whole,
    assistant_said,
    listen,
    offered_name,
    response_of,
    tool_said,
)
from roomkit_plugins.testing.contracts.ai.suite import AISuite
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Reply,
    ScriptedThinking,
    ScriptedToolCall,
)

__all__ = ["AIToolsContract"]


class AIToolsContract(AISuite):
    """Calls, results and reasoning go to the vendor and back."""

    async def test_tools_go_round(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Calls come back under the tool's own name, and their results are taken."""
        cities = [{"city": "Bern"}, {"city": "Oslo"}]
        simulator.reply_with(
            lambda request: Reply(
                "One moment.",
                [ScriptedToolCall(offered_name(request), city) for city in cities],
            )
        )
        simulator.reply("Rain in both.")
        context = ask("How is the weather in Bern and Oslo?", tools=[WEATHER])
        first = await provider.generate(context)
        assert [call.name for call in first.tool_calls] == [WEATHER.name] * 2
        assert [call.arguments for call in first.tool_calls] == cities
        assert len({call.id for call in first.tool_calls}) == 2
        context.messages += answered(first, "rain")
        assert (await provider.generate(context)).content == "Rain in both."

    @pytest.mark.parametrize("name", ["functions.weather:{}", "x" * 85 + "{}", "wörld ☕|{}"])
    async def test_another_vendors_call_ids_are_taken(
        self, provider: AIProvider, simulator: AISimulator, name: str
    ) -> None:
        simulator.reply("Sunny.")
        context = ask("Weather?", tools=[WEATHER])
        ids = [name.format(number) for number in range(3)]
        results = [AIToolResultPart(tool_call_id=one, name=WEATHER.name, result=f"r{one}") for one in ids]
        context.messages += [
            assistant_said(*(AIToolCallPart(id=one, name=WEATHER.name) for one in ids)),
            AIMessage(role="tool", content=tuple(reversed(results))),
        ]
        assert (await provider.generate(context)).content == "Sunny."

    async def test_a_failed_tool_is_reported(self, provider: AIProvider, simulator: AISimulator) -> None:
        simulator.reply("Yes.")
        simulator.reply("Yes.")
        for is_error in (False, True):
            context = ask("Weather?", tools=[WEATHER])
            context.messages += [
                assistant_said(AIToolCallPart(id="call_1", name=WEATHER.name, arguments={"city": "Bern"})),
                tool_said("call_1", "no such city", is_error=is_error),
            ]
            await provider.generate(context)
        assert simulator.requests[0].body != simulator.requests[1].body

    async def test_a_blank_message_breaks_nothing(self, provider: AIProvider, simulator: AISimulator) -> None:
        """What says nothing, or belongs to the system, may stand between a call and its result."""
        simulator.reply("Noon.")
        context = ask("What time is it?", tools=[WEATHER])
        context.messages += [
            assistant_said(AIToolCallPart(id="call_1", name=WEATHER.name)),
            AIMessage(role="user", content=" "),
            AIMessage(role="system", content="Be short."),
            tool_said("call_1", "12:00"),
        ]
        assert (await provider.generate(context)).content == "Noon."

    async def test_arguments_that_are_no_json(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A call that cannot be run is marked, keeps what the model wrote, and harms nothing else."""
        for _ in range(2):
            calls = [ScriptedToolCall("now", '{"city": "Be'), ScriptedToolCall("now", {"city": "Oslo"})]
            simulator.reply(tool_calls=calls)
        whole = await provider.generate(ask())
        streamed = response_of(await listen(provider, ask()))
        for bad, good in (whole.tool_calls, streamed.tool_calls):
            assert bad.invalid
            assert bad.arguments["raw"] == '{"city": "Be'
            assert (good.invalid, good.arguments) == (None, {"city": "Oslo"})

    async def test_a_tool_without_parameters(self, provider: AIProvider, simulator: AISimulator) -> None:
        """It is offered, and called with nothing."""
        for _ in range(2):
            simulator.reply(tool_calls=[ScriptedToolCall("now")])
        context = ask("What time is it?", tools=[AITool(name="now")])
        whole = await provider.generate(context)
        streamed = response_of(await listen(provider, context))
        for answer in (whole, streamed):
            assert [(call.name, call.arguments) for call in answer.tool_calls] == [("now", {})]

    @pytest.mark.parametrize("choice", ["auto", "none", "required", WEATHER.name])
    async def test_the_choice_of_tools_is_passed_on(
        self, provider: AIProvider, simulator: AISimulator, choice: str
    ) -> None:
        """Each way to choose is taken by the vendor and differs from leaving it open."""
        simulator.reply("Hi")
        simulator.reply("Hi")
        await provider.generate(ask(tools=[WEATHER]))
        context = ask(tools=[WEATHER])
        context.tool_choice = choice
        await provider.generate(context)
        says_nothing_new = choice == "auto" and self.says_auto
        assert (simulator.requests[0].body == simulator.requests[1].body) is says_nothing_new

    @pytest.mark.parametrize(
        ("tools", "said"),
        [
            ([AITool(name="now"), WEATHER, AITool(name="now")], "two tools have the name 'now'"),
            ([AITool(name="now", parameters={"type": "string"})], "tool 'now' are a JSON Schema of type"),
            ([AITool(name="now", parameters={"type": ["object", "null"]})], "tool 'now' are a JSON Schema"),
        ],
        ids=["of one name", "of a text", "of an object or nothing"],
    )
    async def test_tools_that_no_vendor_takes_are_refused(
        self, provider: AIProvider, simulator: AISimulator, tools: list[AITool], said: str
    ) -> None:
        """Before anything is sent, by name; the same conversation goes on without them."""
        simulator.reply("Hi")
        for generate in (ask_whole, ask_streamed):
            with pytest.raises(ProviderError, match=said) as caught:
                await generate(provider, ask(tools=tools))
            assert caught.value.error_code is ErrorCode.INVALID_REQUEST
        assert (await provider.generate(ask())).content == "Hi"
        assert len(simulator.requests) == 1

    async def test_thinking_goes_round(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Every block of reasoning comes with what the vendor signed, and goes back as it was."""
        if not self.thinks:
            pytest.skip("this API gives no reasoning that it takes again")
        for _ in range(2):
            simulator.reply(
                thinking=[
                    ScriptedThinking("First, the city.", "c2lnbmF0dXJlLTE="),
                    ScriptedThinking("Then the day.", "c2lnbmF0dXJlLTI="),
                ],
                tool_calls=[ScriptedToolCall("now")],
            )
            simulator.reply("Noon.")
        tools = [AITool(name="now")]
        for generate in (ask_whole, ask_streamed):
            context = ask("What time is it?", tools=tools)
            first = await generate(provider, context)
            assert [part.thinking for part in first.thinking_parts] == [
                "First, the city.",
                "Then the day.",
            ]
            context.messages += answered(first, "12:00")
            assert (await generate(provider, context)).content == "Noon."
