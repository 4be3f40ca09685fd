"""Tools: which are offered and run, the results that the model gets, and how the loop ends."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import pytest

from roomkit.abc.errors import InvalidInputError, UnknownToolError
from roomkit.models.ai import AIThinkingPart, AITool, AIToolCall
from roomkit_plugins.ai import (
    EndTurn,
    RunnableTool,
    ToolLoopError,
    compose_tool_handlers,
    current_tool_call,
)
from roomkit_plugins.ai.schema import check_arguments

ORDER = {"order_id": {"type": "integer", "minimum": 1}}


@pytest.fixture
def looked_up():
    """Return a handler that keeps what it was called with."""
    calls = []

    async def handler(name, arguments):
        calls.append((name, arguments))
        return f"{name} says {len(calls)}"

    handler.calls = calls
    return handler


async def test_a_tool_is_run_and_its_result_given_back(stage, script, looked_up):
    """Call, result, answer: two requests, one tool round."""
    call = script.call("lookup", "c1", order_id=7)
    provider = stage.provider(script.calls(call, text="Let me see."), script.says("It is shipped."))
    agent = stage.agent(provider, tools=[(script.tool("lookup", **ORDER), looked_up)])
    heard = await stage.ask(agent, "Where is order 7?")
    assert looked_up.calls == [("lookup", {"order_id": 7})]
    assert heard.text == "Let me see.\n\nIt is shipped."
    assert heard.tool_rounds == 1
    assert heard.usage == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    (result,) = script.results(provider.calls[1])
    assert (result.tool_call_id, result.result, result.is_error) == ("c1", "lookup says 1", False)
    assert [message.role for message in provider.calls[1].messages] == ["user", "assistant", "tool"]


async def test_the_requests_of_a_turn_stay_as_they_were(stage, script, looked_up):
    """A later round does not change what a recorder of requests has kept."""
    provider = stage.provider(script.calls("a"), script.calls("a"), script.says("Done."))
    agent = stage.agent(provider, tools=[(script.tool("a"), looked_up)])
    await stage.ask(agent, "Go")
    assert [len(one.messages) for one in provider.calls] == [1, 3, 5]


@pytest.mark.parametrize("kind", ["pair", "object", "runnable", "tool_handler", "extra"])
async def test_a_tool_comes_in_several_forms(stage, script, looked_up, kind):
    """A definition with a handler beside it, on it, or on the channel."""

    @dataclass
    class Owned:
        definition: AITool
        handler: object

    tool = script.tool("look")
    forms = {
        "pair": {"tools": [(tool, looked_up)]},
        "object": {"tools": [Owned(tool, looked_up)]},
        "runnable": {"tools": [RunnableTool(tool, looked_up)]},
        "tool_handler": {"tools": [tool], "tool_handler": looked_up},
        "extra": {"tool_handler": looked_up},
    }
    provider = stage.provider(script.calls("look"), script.says("Done."))
    agent = stage.agent(provider, **forms[kind])
    if kind == "extra":
        agent.extra_tools.append(tool)
    await stage.ask(agent, "Look")
    assert [one.name for one in provider.calls[0].tools] == ["look"]
    assert looked_up.calls == [("look", {})]


async def test_the_tool_handler_can_be_set_later(stage, script, looked_up):
    provider = stage.provider(script.calls("look"), script.says("Done."))
    agent = stage.agent(provider, tools=[script.tool("look")])
    assert agent.tool_handler is None
    agent.tool_handler = looked_up
    await stage.ask(agent, "Look")
    assert looked_up.calls


@pytest.mark.virtual_time
async def test_calls_of_one_round_run_at_once_and_answer_in_order(stage, script):
    """Each waits for the other; the results are in the order of the calls."""
    both = asyncio.Barrier(2)

    async def handler(name, arguments):
        await both.wait()
        if name == "first":
            await asyncio.sleep(1)
        return name

    provider = stage.provider(script.calls("first", "second"), script.says("Done."))
    agent = stage.agent(provider, tools=[script.tool("first"), script.tool("second")], tool_handler=handler)
    await stage.ask(agent, "Go")
    assert [one.result for one in script.results(provider.calls[1])] == ["first", "second"]


async def test_only_offered_tools_run(stage, script, looked_up):
    """A name the model made up is refused, though the handler would take it."""
    provider = stage.provider(script.calls("drop_tables"), script.says("Sorry."))
    agent = stage.agent(provider, tools=[script.tool("look")], tool_handler=looked_up)
    await stage.ask(agent, "Go")
    assert looked_up.calls == []
    (result,) = script.results(provider.calls[1])
    assert result.is_error
    assert json.loads(result.result)["error"] == "unknown tool 'drop_tables'; the tools you may call: look"


async def test_without_tools_nothing_runs(stage, script, looked_up):
    """An empty catalogue allows nothing."""
    provider = stage.provider(script.calls("look"), script.says("Sorry."))
    await stage.ask(stage.agent(provider, tool_handler=looked_up), "Go")
    assert looked_up.calls == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "'order_id' is a required property"),
        ({"order_id": "7"}, "order_id: '7' is not of type 'integer'"),
        ({"order_id": 0}, "order_id: 0 is less than the minimum of 1"),
    ],
)
async def test_arguments_that_do_not_fit_are_not_run(stage, script, looked_up, arguments, complaint):
    tool = script.tool("lookup", ["order_id"], **ORDER)
    provider = stage.provider(script.calls(script.call("lookup", **arguments)), script.says("Hm."))
    await stage.ask(stage.agent(provider, tools=[(tool, looked_up)]), "Go")
    assert looked_up.calls == []
    (result,) = script.results(provider.calls[1])
    assert result.is_error
    assert complaint in json.loads(result.result)["error"]


async def test_arguments_that_are_no_json_are_not_run(stage, script, looked_up):
    broken = AIToolCall(id="c1", name="look", arguments={"raw": "{oops"}, invalid="no closing brace")
    provider = stage.provider(script.calls(broken), script.says("Hm."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("look"), looked_up)]), "Go")
    assert looked_up.calls == []
    assert "no closing brace" in script.results(provider.calls[1])[0].result


async def test_a_tool_with_a_remote_schema_is_never_fetched(stage, script, looked_up):
    """A `$ref` to the network is an error of that tool."""
    tool = AITool(name="look", parameters={"type": "object", "$ref": "http://127.0.0.1:9/schema.json"})
    provider = stage.provider(script.calls("look"), script.says("Hm."))
    await stage.ask(stage.agent(provider, tools=[(tool, looked_up)]), "Go")
    assert looked_up.calls == []
    assert "cannot be applied" in script.results(provider.calls[1])[0].result


LOOK_BACK = r"^(?:(?=(a+))\1|a|aa)+$"
"""A pattern that no engine matches in linear time, since it refers to what it matched."""


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|aa)+$", r"(.*a){20}$", LOOK_BACK, r"^(?!x)(a|a)*\1$"])
@pytest.mark.parametrize("place", ["value", "name", "other name", "items"])
async def test_a_costly_pattern_freezes_nothing(stage, script, looked_up, pattern, place):
    text = "a" * 60 + "!"
    parameters = {
        "value": {"properties": {"x": {"type": "string", "pattern": pattern}}},
        "name": {"patternProperties": {pattern: {"type": "integer"}}, "additionalProperties": False},
        "other name": {"propertyNames": {"pattern": pattern}},
        "items": {"properties": {"x": {"type": "array", "items": {"pattern": pattern}}}},
    }[place]
    given = {"value": {"x": text}, "items": {"x": [text] * 50}}.get(place, {text: 1})
    tool = AITool(name="look", parameters={"type": "object", **parameters})
    agent = stage.agent(
        stage.provider(script.calls(script.call("look", **given)), script.says("Hm.")),
        tools=[(tool, looked_up)],
    )
    began = time.process_time()
    await stage.ask(agent, "Go")
    assert time.process_time() - began < 1
    (result,) = script.results(agent.provider.calls[1])
    assert result.is_error
    assert looked_up.calls == []


def test_a_pattern_that_cannot_be_checked_says_so():
    """In words that a model can act on."""
    tool = AITool(name="look", parameters={"type": "object", "properties": {"x": {"pattern": LOOK_BACK}}})
    assert check_arguments(tool, {"x": "aaa"}) == []
    (problem,) = check_arguments(tool, {"x": "a" * 60 + "!"})
    assert problem == "x: it takes too long to match the pattern; use a simpler value"


def test_a_tool_with_a_broken_schema_is_refused_at_construction(new_stage, script):
    """A vendor would refuse the whole request."""
    stage = new_stage()
    tool = AITool(name="look", parameters={"type": "object", "properties": {"a": {"type": "strnig"}}})
    with pytest.raises(InvalidInputError, match="'look' cannot be offered: its parameters are not a JSON"):
        stage.agent(stage.provider(), tools=[tool])
    with pytest.raises(InvalidInputError, match="they must be an object"):
        stage.agent(stage.provider(), tools=[AITool(name="look", parameters={"type": "array"})])


async def test_a_room_tool_with_a_broken_schema_costs_only_itself(stage, caplog):
    """The others are offered; the log says which is not, and why."""
    good = {"name": "good", "parameters": {"type": "object"}}
    stage.bind(tools=[{"name": "bad", "parameters": {"type": "nonsense"}}, good])
    provider = stage.provider()
    await stage.ask(stage.agent(provider), "Hi")
    assert [tool.name for tool in provider.calls[0].tools] == ["good"]
    assert "the tool 'bad' is not offered" in caplog.text


async def test_of_two_tools_of_one_name_the_first_is_kept(stage, script):
    provider = stage.provider()
    agent = stage.agent(provider, tools=[script.tool("look")])
    agent.extra_tools.append(AITool(name="look", description="another"))
    await stage.ask(agent, "Hi")
    assert [tool.description for tool in provider.calls[0].tools] == ["The tool look."]


async def test_a_failing_tool_is_told_to_the_model(stage, script, caplog):
    """The turn goes on; the operator reads it in the log."""

    async def broken(name, arguments):
        raise ValueError("no such order")

    provider = stage.provider(script.calls("look"), script.says("I could not look."))
    heard = await stage.ask(stage.agent(provider, tools=[(script.tool("look"), broken)]), "Go")
    (result,) = script.results(provider.calls[1])
    assert result.result == "Error executing tool 'look': no such order"
    assert result.is_error
    assert heard.text == "I could not look."
    assert "the tool 'look' failed: ValueError" in caplog.text


async def test_a_tool_that_is_cancelled_from_within_only_fails(stage, script):
    """A library's own cancellation is not ours."""

    async def cancelled(name, arguments):
        raise asyncio.CancelledError

    provider = stage.provider(script.calls("look"), script.says("Hm."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("look"), cancelled)]), "Go")
    assert "it was cancelled" in script.results(provider.calls[1])[0].result


async def test_a_tool_without_a_handler_is_answered_with_an_error(stage, script, caplog):
    """The model learns it, and so does the operator."""
    provider = stage.provider(script.calls("look"), script.says("Hm."))
    await stage.ask(stage.agent(provider, tools=[script.tool("look")]), "Go")
    assert "no handler answers the tool 'look'" in script.results(provider.calls[1])[0].result
    assert "set tool_handler" in caplog.text


@pytest.mark.parametrize(
    ("answer", "result"), [({"a": 1}, '{"a": 1}'), (None, ""), (7, "7"), ("\ud800", "?")]
)
async def test_what_a_careless_handler_returns_becomes_text(stage, script, answer, result):
    async def careless(name, arguments):
        return answer

    provider = stage.provider(script.calls("look"), script.says("Hm."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("look"), careless)]), "Go")
    assert script.results(provider.calls[1])[0].result == result


async def test_a_handler_may_change_its_arguments(stage, script):
    async def greedy(name, arguments):
        arguments["items"].append(3)
        return str(arguments.pop("items"))

    call = script.call("look", items=[1, 2])
    provider = stage.provider(script.calls(call), script.says("Hm."))
    await stage.ask(stage.agent(provider, tools=[(AITool(name="look"), greedy)]), "Go")
    assert script.results(provider.calls[1])[0].result == "[1, 2, 3]"
    assert call.arguments == {"items": [1, 2]}


async def test_a_very_long_result_is_cut_in_its_middle(stage, script):
    """Its beginning and its end stay, with a marker between."""

    async def endless(name, arguments):
        return "a" * 200_000 + "END"

    provider = stage.provider(script.calls("look"), script.says("Hm."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("look"), endless)]), "Go")
    result = script.results(provider.calls[1])[0].result
    assert len(result) < 121_000
    assert "80003 characters left out" in result
    assert result.endswith("END")


async def test_tool_ids_are_unique_even_when_the_vendor_repeats_them(stage, script, looked_up):
    """Each call has its own result in every request."""
    provider = stage.provider(script.calls("a"), script.calls("a"), script.says("Done."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("a"), looked_up)]), "Go")
    assert [one.tool_call_id for one in script.results(provider.calls[2])] == ["c0", "c0-2"]


async def test_when_the_rounds_are_used_up_the_model_is_asked_for_an_answer(stage, script, looked_up):
    """Once, without tools, and its answer is the turn's."""
    rounds = [script.calls(script.call("a", f"c{n}", n=n)) for n in range(2)]
    provider = stage.provider(*rounds, script.says("As far as I know: 2."))
    tool = (AITool(name="a"), looked_up)
    heard = await stage.ask(stage.agent(provider, tools=[tool], max_tool_rounds=2), "Go")
    assert heard.text == "As far as I know: 2."
    assert heard.tool_rounds == 2
    last = provider.calls[-1]
    assert last.tool_choice == "none"
    assert last.messages[-1].role == "user"
    assert "Answer now" in last.messages[-1].content


async def test_a_model_that_only_calls_tools_ends_in_an_error(stage, script, looked_up):
    """Its room is not left in silence."""
    provider = stage.provider(lambda context: script.calls(script.call("a", n=len(context.messages))))
    agent = stage.agent(provider, tools=[(AITool(name="a"), looked_up)], max_tool_rounds=3)
    heard = await stage.ask(agent, "Go", catch=True)
    assert isinstance(heard.error, ToolLoopError)
    assert str(heard.error) == "agent used 3 tool rounds and gave no answer"
    assert len(looked_up.calls) == 3


async def test_no_rounds_means_no_tools(stage, script):
    provider = stage.provider("Hi.")
    await stage.ask(stage.agent(provider, tools=[script.tool("a")], max_tool_rounds=0), "Go")
    assert provider.calls[0].tools == []


async def test_the_same_call_with_the_same_result_is_not_made_forever(stage, script):
    made = []

    async def handler(name, arguments):
        made.append(name)
        return "pending"

    def answer(context):
        return script.says("Still pending.") if context.tool_choice == "none" else script.calls("poll")

    provider = stage.provider(answer)
    heard = await stage.ask(stage.agent(provider, tools=[(script.tool("poll"), handler)]), "Go")
    assert len(made) == 3
    assert heard.text == "Still pending."
    assert "made 3 times" in script.results(provider.calls[-1])[-1].result


async def test_a_call_whose_result_changes_may_be_repeated(stage, script, looked_up):
    provider = stage.provider(*[script.calls("poll")] * 6, script.says("Done."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("poll"), looked_up)]), "Go")
    assert len(looked_up.calls) == 6


async def test_a_long_loop_is_warned_of_once(stage, script, looked_up, caplog):
    provider = stage.provider(*[script.calls("a")] * 5, script.says("Done."))
    agent = stage.agent(provider, tools=[(script.tool("a"), looked_up)], tool_loop_warn_after=2)
    await stage.ask(agent, "Go")
    assert caplog.text.count("agent is in tool round 2 of one turn") == 1


async def test_reasoning_goes_back_in_its_place(stage, script, looked_up):
    """Signed and redacted blocks precede the call they led to, in both ways of generating."""
    thoughts = [
        AIThinkingPart(thinking="Look first.", signature="sig"),
        AIThinkingPart(thinking="", redacted_data="opaque"),
    ]
    provider = stage.provider(
        script.calls("look", text="Looking.", thinking_parts=thoughts), script.says("Done.")
    )
    await stage.ask(stage.agent(provider, tools=[(script.tool("look"), looked_up)]), "Go")
    parts = provider.calls[1].messages[1].content
    assert parts[:2] == tuple(thoughts)
    assert [part.type for part in parts] == ["thinking", "thinking", "text", "tool_call"]


async def test_reasoning_of_a_simple_provider_goes_back_too(stage, script, looked_up):
    """`thinking` with its signature is one block."""
    answer = script.calls("look", thinking="Hm.", thinking_signature="sig")
    provider = stage.provider(answer, script.says("Done."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("look"), looked_up)]), "Go")
    assert provider.calls[1].messages[1].content[0] == AIThinkingPart(thinking="Hm.", signature="sig")


async def test_white_space_between_parts_is_left_out(stage, script, looked_up):
    """Vendors refuse a text block without text."""
    answer = script.calls("look", text="\n\n", thinking="Hm.", thinking_signature="sig")
    provider = stage.provider(answer, script.says("Done."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("look"), looked_up)]), "Go")
    assert [part.type for part in provider.calls[1].messages[1].content] == ["thinking", "tool_call"]


async def test_opaque_data_of_a_call_goes_back(stage, script, looked_up):
    call = AIToolCall(id="c1", name="look", metadata={"thought_signature": "x"})
    provider = stage.provider(script.calls(call), script.says("Done."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("look"), looked_up)]), "Go")
    assert provider.calls[1].messages[1].content[-1].metadata == {"thought_signature": "x"}


async def test_a_round_that_repeats_what_was_said_is_heard_once(stage, script, looked_up):
    """Some models begin again with the words before the tool call."""
    said = "Let me look that up for you."
    provider = stage.provider(script.calls("look", text=said), script.says(f"{said} It is 7."), chunk_size=5)
    heard = await stage.ask(stage.agent(provider, tools=[(script.tool("look"), looked_up)]), "Go")
    assert heard.text == f"{said} It is 7."


async def test_a_round_that_only_begins_alike_is_heard_whole(stage, script, looked_up):
    provider = stage.provider(
        script.calls("look", text="Let me look that up."), script.says("Let me look"), chunk_size=3
    )
    heard = await stage.ask(stage.agent(provider, tools=[(script.tool("look"), looked_up)]), "Go")
    assert heard.text == "Let me look that up.\n\nLet me look"


async def test_a_handler_knows_the_call_it_answers(stage, script):
    """Room, channel, call and on whose behalf."""
    seen = []

    async def handler(name, arguments):
        seen.append(current_tool_call())
        return "ok"

    provider = stage.provider(script.calls(script.call("look", "c9", a=1)), script.says("Done."))
    await stage.ask(stage.agent(provider, tools=[(AITool(name="look"), handler)]), "Go")
    (use,) = seen
    assert (use.room_id, use.channel_id, use.call_id, use.name) == ("r1", "agent", "c9", "look")
    assert (use.participant_id, use.role, use.arguments) == ("alice", "member", {"a": 1})
    with pytest.raises(LookupError, match="call this from a tool handler"):
        current_tool_call()


async def known(name, arguments):
    if name != "known":
        raise UnknownToolError(f"no {name}")
    return "known"


async def old_style(name, arguments):
    return "old" if name == "old" else json.dumps({"error": f"Unknown tool: {name}"})


async def last(name, arguments):
    raise UnknownToolError(f"no {name}")


async def test_composed_handlers_are_asked_in_order():
    """Until one knows the tool, which is said by an error or by the JSON convention."""
    composed = compose_tool_handlers(known, old_style, last)
    assert await composed("known", {}) == "known"
    assert await composed("old", {}) == "old"
    with pytest.raises(UnknownToolError, match="no other"):
        await composed("other", {})


async def test_the_last_handlers_answer_is_final():
    composed = compose_tool_handlers(known, old_style)
    assert json.loads(await composed("x", {})) == {"error": "Unknown tool: x"}


@pytest.mark.parametrize("answer", ["[1]", "{oops", '{"error": 1}', '{"error": "no order"}', "unknown tool"])
async def test_other_answers_are_answers(answer):
    """Only the exact convention passes a call on."""

    async def first(name, arguments):
        return answer

    assert await compose_tool_handlers(first, known)("x", {}) == answer


def test_composing_one_handler_is_an_error():
    with pytest.raises(ValueError, match="pass two or more"):
        compose_tool_handlers(known)


async def test_an_unknown_tool_error_reaches_the_model_as_a_result(stage, script):
    provider = stage.provider(script.calls("look"), script.says("Hm."))
    handler = compose_tool_handlers(known, last)
    agent = stage.agent(provider, tools=[script.tool("look")], tool_handler=handler)
    await stage.ask(agent, "Go")
    assert "no handler answers the tool 'look'" in script.results(provider.calls[1])[0].result


async def test_a_tool_may_end_the_turn(stage, script):
    """Its round is finished, the model is not asked again, and the words before it are the answer."""
    ran = []

    async def leave(name, arguments):
        ran.append(name)
        return EndTurn("left") if name == "leave" else "ok"

    provider = stage.provider(script.calls("leave", "other", text="Bye."), script.says("never"))
    agent = stage.agent(provider, tools=[(script.tool(name), leave) for name in ("leave", "other")])
    heard = await stage.ask(agent, "Go")
    assert (heard.text, sorted(ran), len(provider.calls)) == ("Bye.", ["leave", "other"], 1)
    assert [use.result for use in stage.services.calls()] == ["left", "ok"]


async def test_a_turn_that_ends_without_a_word_is_no_failure(stage, script):
    async def leave(name, arguments):
        return EndTurn("left")

    provider = stage.provider(script.calls("leave"), script.says("never"))
    heard = await stage.ask(stage.agent(provider, tools=[(script.tool("leave"), leave)]), "Go")
    assert (heard.text, len(provider.calls)) == ("", 1)
