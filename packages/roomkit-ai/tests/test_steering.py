"""Directions to an agent at work."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.models.ai import StreamDone
from roomkit.models.steering import Cancel, InjectMessage, UpdateSystemPrompt
from roomkit_plugins.ai import current_tool_call
from roomkit_plugins.ai.turn import MAX_INBOX
from roomkit_plugins.testing import Hang


@pytest.fixture
def at_work(stage, script):
    """Return an agent whose tool steers it, and its provider."""

    def make(*directives, answers=()):
        async def handler(name, arguments):
            for directive in directives:
                assert await agent.steer(directive, room_id="r1")
            return "ok"

        provider = stage.provider(script.calls("work"), *answers, script.says("Done."))
        agent = stage.agent(provider, tools=[(script.tool("work"), handler)])
        return agent, provider

    return make


async def test_an_injected_message_is_read_in_the_next_round(stage, at_work):
    """Behind the results of the running one."""
    agent, provider = at_work(InjectMessage("Make it two."))
    await stage.ask(agent, "One pizza")
    assert [message.role for message in provider.calls[1].messages] == ["user", "assistant", "tool", "user"]
    assert provider.calls[1].messages[-1].content == "Make it two."


async def test_several_injected_messages_are_one_turn_of_the_user(stage, at_work):
    agent, provider = at_work(InjectMessage("Two."), InjectMessage("No, three."))
    await stage.ask(agent, "One pizza")
    assert provider.calls[1].messages[-1].content == "Two.\nNo, three."


async def test_instructions_go_to_the_prompt(stage, at_work):
    """Those of the system and those that say so."""
    agent, provider = at_work(UpdateSystemPrompt("Be brief."), InjectMessage("Be kind.", role="system"))
    await stage.ask(agent, "Hi")
    assert provider.calls[0].system_prompt is None
    assert provider.calls[1].system_prompt == "Be brief.\n\nBe kind."
    assert provider.calls[1].messages[-1].role == "tool"


async def test_a_message_injected_into_the_last_round_is_answered_too(stage):
    hang = Hang()
    provider = stage.provider(hang, "And two.")
    agent = stage.agent(provider)
    asking = asyncio.create_task(stage.ask(agent, "One pizza"))
    await hang.reached.wait()
    assert await agent.steer(InjectMessage("Make it two."), room_id="r1")
    hang.release()
    heard = await asking
    assert heard.text == "Hello from AI\n\nAnd two."
    assert [message.content for message in provider.calls[1].messages][1:] == [
        "Hello from AI",
        "Make it two.",
    ]


async def test_a_prompt_that_comes_too_late_makes_no_round(stage):
    hang = Hang()
    provider = stage.provider(hang)
    agent = stage.agent(provider)
    asking = asyncio.create_task(stage.ask(agent, "Hi"))
    await hang.reached.wait()
    await agent.steer(UpdateSystemPrompt("Be brief."))
    hang.release()
    assert (await asking).text == "Hello from AI"
    assert len(provider.calls) == 1


async def test_cancel_interrupts_a_generation(stage):
    """The turn ends as if done: no error, no words."""
    hang = Hang()
    agent = stage.agent(stage.provider(hang))
    asking = asyncio.create_task(stage.ask(agent, "Hi"))
    await hang.reached.wait()
    assert await agent.steer(Cancel(), room_id="r1")
    heard = await asking
    assert (heard.text, heard.error) == ("", None)
    assert hang.cancelled == 1


async def test_cancel_interrupts_a_tool(stage, script):
    """The words before it stand, with the reason of its end."""
    hang = Hang()

    async def handler(name, arguments):
        await hang.wait()
        return "never"

    provider = stage.provider(script.calls("work", text="Working."), script.says("Done."))
    agent = stage.agent(provider, tools=[(script.tool("work"), handler)])
    asking = asyncio.create_task(stage.ask(agent, "Go"))
    await hang.reached.wait()
    assert await agent.steer(Cancel(), room_id="r1")
    heard = await asking
    assert (heard.text, heard.finish_reason) == ("Working.", "cancelled")
    assert hang.cancelled == 1
    assert len(provider.calls) == 1


async def test_a_tool_may_cancel_its_own_turn(stage, script, at_work):
    """It is interrupted at its next wait, or the loop is after it."""
    agent, provider = at_work(Cancel())
    heard = await stage.ask(agent, "Go")
    assert heard.finish_reason in ("cancelled", None)
    assert heard.error is None
    assert len(provider.calls) == 1


async def test_cancel_between_two_pieces_ends_the_stream(new_stage):
    stage = new_stage(streaming=True)
    agent = stage.agent(stage.provider("Hello, Alice.", chunk_size=5))
    output = await agent.on_event(stage.event("Hi"), stage.binding, stage.context())
    stream = output.response_stream
    assert await anext(stream) == "Hello"
    await agent.steer(Cancel())
    (done,) = [item async for item in stream]
    assert done.finish_reason == "cancelled"


async def test_without_work_there_is_nothing_to_steer(stage):
    hang = Hang()
    agent = stage.agent(stage.provider(hang))
    assert not await agent.steer(InjectMessage("x"), room_id="r1")
    asking = asyncio.create_task(stage.ask(agent, "Hi"))
    await hang.reached.wait()
    assert not await agent.steer(InjectMessage("x"), room_id="r2")
    assert not await agent.steer(Cancel(), loop_id="unknown")
    hang.release()
    assert (await asking).text == "Hello from AI"
    assert not await agent.steer(InjectMessage("x"), room_id="r1")
    assert not await agent.steer(InjectMessage("x"))


async def test_a_direction_after_the_last_word_is_refused(new_stage):
    stage = new_stage(streaming=True)
    agent = stage.agent(stage.provider("Hello."))
    output = await agent.on_event(stage.event("Hi"), stage.binding, stage.context())
    async for item in output.response_stream:
        taken = await agent.steer(InjectMessage("x"), room_id="r1")
        assert taken == (not isinstance(item, StreamDone))
        if taken:
            agent._turns[next(iter(agent._turns))].inbox.clear()


async def test_a_direction_reaches_one_room_only(new_stage):
    """Two rooms at work: the room, or the loop, must be named."""
    first, second = new_stage("r1"), new_stage("r2")
    hangs = [Hang(), Hang()]
    provider = first.provider(*hangs)
    agent = first.agent(provider)
    asking = [asyncio.create_task(one.ask(agent, "Hi")) for one in (first, second)]
    for hang in hangs:
        await hang.reached.wait()
    with pytest.raises(InvalidInputError, match="at work in 2 rooms: name one with room_id="):
        await agent.steer(Cancel())
    assert await agent.steer(Cancel(), room_id="r2")
    hangs[0].release()
    one, other = await asyncio.gather(*asking)
    assert (one.text, other.text) == ("Hello from AI", "")


@pytest.mark.virtual_time
async def test_a_loop_is_steered_by_its_published_id(stage, script):
    """Ephemeral events and the end of the stream carry it."""
    await stage.services.listen()
    ids = []

    async def handler(name, arguments):
        assert current_tool_call().room_id == "r1"
        await asyncio.sleep(0.01)
        ids.append(stage.services.signals[0].data["loop_id"])
        assert await agent.steer(InjectMessage("x"), loop_id=ids[0])
        return "ok"

    provider = stage.provider(script.calls("work"), script.says("Done."))
    agent = stage.agent(provider, tools=[(script.tool("work"), handler)])
    await stage.ask(agent, "Go")
    assert provider.calls[1].messages[-1].content == "x"


async def test_directions_beyond_the_bound_are_refused(stage):
    """The caller learns that it was not taken."""
    hang = Hang()
    agent = stage.agent(stage.provider(hang, "ok"))
    asking = asyncio.create_task(stage.ask(agent, "Hi"))
    await hang.reached.wait()
    taken = [await agent.steer(InjectMessage("x")) for _ in range(MAX_INBOX + 1)]
    assert taken == [True] * MAX_INBOX + [False]
    hang.release()
    await asking
