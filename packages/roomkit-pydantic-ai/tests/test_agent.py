"""A Pydantic AI agent as provider: its own tools stay inside, the room's come out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import date
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIMessage, AITool
from roomkit.models.generation import AIContext
from roomkit_plugins.pydantic_ai import PydanticAIConfig, PydanticAIProvider
from roomkit_plugins.testing.contracts.ai.asking import answered, listen, response_of

QUESTION = AIMessage(role="user", content="Where is my order?", name="Ann")


class Script:
    """A model that plays answers: texts, and names of tools to call."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.seen: list[list[ModelMessage]] = []  # bound: one test
        self.asked: list[AgentInfo] = []  # bound: one test

    async def __call__(
        self, messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | DeltaToolCalls]:
        self.seen.append(list(messages))
        self.asked.append(info)
        answer = self._answers.pop(0)
        if answer.startswith("call "):
            yield {0: DeltaToolCall(name=answer.removeprefix("call "), json_args="{}", tool_call_id="c1")}
        else:
            for word in answer.split(" "):
                yield f"{word} "


def make(script: Script) -> tuple[PydanticAIProvider, list[str]]:
    agent = Agent(FunctionModel(stream_function=script), instructions="You help with orders.")
    ran: list[str] = []

    @agent.tool_plain
    def look_up() -> str:
        ran.append("look_up")
        return "in the warehouse"

    return PydanticAIProvider(agent=agent), ran


async def test_the_agent_runs_its_own_tools() -> None:
    """Its calls do not come out; the text streams, and the usage is that of the whole run."""
    script = Script("call look_up", "It is in the warehouse.")
    provider, ran = make(script)
    events = await listen(provider, AIContext(messages=[QUESTION], system_prompt="Be short."))
    answer = response_of(events)
    assert answer.content.strip() == "It is in the warehouse."
    assert (answer.tool_calls, answer.finish_reason, ran) == ([], "stop", ["look_up"])
    assert answer.usage["output_tokens"] > 0
    assert len(script.seen) == 2
    instructions = str(script.asked[0].instructions)
    assert "You help with orders." in instructions
    assert "Be short." in instructions


async def test_tools_of_the_room_come_out_and_their_results_go_in() -> None:
    """The agent's run ends with the call; the next one continues from the result."""
    script = Script("call hand_over", "A colleague takes it from here.")
    provider, ran = make(script)
    context = AIContext(messages=[QUESTION], tools=[AITool(name="hand_over")])
    first = await provider.generate(context)
    assert [(call.id, call.name, call.arguments) for call in first.tool_calls] == [("c1", "hand_over", {})]
    assert (first.finish_reason, ran) == ("tool_calls", [])
    context.messages += answered(first, "done")
    second = await provider.generate(context)
    assert second.content.strip() == "A colleague takes it from here."
    request = script.seen[1][-1]
    assert isinstance(request, ModelRequest)
    (part,) = [part for part in request.parts if isinstance(part, ToolReturnPart)]
    assert (part.tool_call_id, part.content) == ("c1", "done")


async def test_a_speaker_is_named_in_front_of_the_text() -> None:
    """A Pydantic AI message has no field for it."""
    script = Script("Hello.")
    provider, _ = make(script)
    await provider.generate(AIContext(messages=[QUESTION]))
    (part,) = [part for part in script.seen[0][0].parts if isinstance(part, UserPromptPart)]
    assert part.content == "Ann: Where is my order?"


async def test_a_model_that_fails_is_a_typed_error() -> None:
    """A call of a tool that no toolset has, again and again, ends the run."""
    provider, _ = make(Script(*["call unknown"] * 5))
    with pytest.raises(ProviderError) as caught:
        await provider.generate(AIContext(messages=[QUESTION]))
    assert caught.value.error_code is ErrorCode.BAD_RESPONSE


def test_one_who_answers_is_wanted() -> None:
    """Not none, and not two."""
    agent = Agent(FunctionModel(stream_function=Script()))
    with pytest.raises(ValueError, match="got nothing to ask"):
        PydanticAIProvider()
    with pytest.raises(ValueError, match="pass one"):
        PydanticAIProvider(agent=agent, model=FunctionModel(stream_function=Script()))


@pytest.mark.parametrize("model", ["gpt-5.5", ""])
def test_a_model_without_its_provider_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match="write provider:model"):
        PydanticAIConfig(model=model)


async def test_an_unknown_model_is_refused_when_it_is_asked() -> None:
    """With the name, and before anything is sent."""
    provider = PydanticAIProvider(PydanticAIConfig(model="acme:acme-1"))
    assert provider.model_name == "acme:acme-1"
    with pytest.raises(ProviderError, match="cannot ask 'acme:acme-1'") as caught:
        await provider.generate(AIContext(messages=[QUESTION]))
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST
    await provider.close()


# -- the gates of the room ----------------------------------------------------------------------


class Gates:
    """A room's `OwnCalls`: refuses, or has the call made with other arguments."""

    def __init__(self, refusal: str | None = None, **changed: Any) -> None:
        self.refusal = refusal
        self.changed = changed
        self.seen: list[tuple[str, str, dict[str, Any]]] = []  # bound: one test

    async def run(
        self,
        call_id: str,
        name: str,
        arguments: Mapping[str, Any],
        work: Callable[[dict[str, Any]], Awaitable[object]],
    ) -> object:
        self.seen.append((call_id, name, dict(arguments)))
        return self.refusal or await work({**arguments, **self.changed})


def refunding(script: Script, **options: Any) -> tuple[PydanticAIProvider, list[object]]:
    agent = Agent(FunctionModel(stream_function=script))
    made: list[object] = []

    @agent.tool_plain
    def refund(day: date = date(2030, 1, 1), amount: int = 40) -> str:
        made.append((day, amount))
        return f"refunded {amount}"

    return PydanticAIProvider(agent=agent, **options), made


def returned(script: Script) -> object:
    """Return what the model read as the tool's result."""
    request = script.seen[-1][-1]
    assert isinstance(request, ModelRequest)
    return request.parts[0].content


async def test_a_call_of_the_agents_own_tool_passes_the_gates_of_the_room() -> None:
    script, gates = Script("call refund", "Done."), Gates()
    provider, made = refunding(script)
    context = AIContext(messages=[QUESTION], own_calls=gates)
    assert (await provider.generate(context)).content.strip() == "Done."
    assert gates.seen == [("c1", "refund", {})]
    assert (made, returned(script)) == ([(date(2030, 1, 1), 40)], "refunded 40")


async def test_a_call_that_is_refused_is_not_made() -> None:
    """The model reads why, and goes on."""
    script = Script("call refund", "I may not.")
    provider, made = refunding(script)
    context = AIContext(messages=[QUESTION], own_calls=Gates("ask your manager"))
    assert (await provider.generate(context)).content.strip() == "I may not."
    assert (made, returned(script)) == ([], "ask your manager")


async def test_arguments_that_a_gate_changed_are_checked_and_run() -> None:
    """The tool gets values of its types."""
    script = Script("call refund", "Done.")
    provider, made = refunding(script)
    gates = Gates(day="2031-02-03", amount="10")
    await provider.generate(AIContext(messages=[QUESTION], own_calls=gates))
    assert made == [(date(2031, 2, 3), 10)]


async def test_arguments_that_a_gate_made_wrong_are_not_run() -> None:
    script = Script("call refund", "I could not.")
    provider, made = refunding(script)
    await provider.generate(AIContext(messages=[QUESTION], own_calls=Gates(amount="much")))
    assert made == []
    assert "refund does not take these" in str(returned(script))


async def test_tools_of_the_room_do_not_pass_twice() -> None:
    """They come out, and pass the gates there."""
    gates = Gates()
    provider, _ = refunding(Script("call hand_over"))
    context = AIContext(messages=[QUESTION], tools=[AITool(name="hand_over")], own_calls=gates)
    assert [call.name for call in (await provider.generate(context)).tool_calls] == ["hand_over"]
    assert gates.seen == []


async def test_an_agent_that_is_not_gated_runs_its_tools_as_it_likes() -> None:
    gates = Gates("no")
    provider, made = refunding(Script("call refund", "Done."), gated=False)
    await provider.generate(AIContext(messages=[QUESTION], own_calls=gates))
    assert (len(made), gates.seen, provider.runs_tools) == (1, [], False)
    assert refunding(Script())[0].runs_tools
    assert not PydanticAIProvider(model=FunctionModel(stream_function=Script())).runs_tools
