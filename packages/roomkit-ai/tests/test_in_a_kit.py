"""An agent in a real kit: gates, errors, steering and records meet it as they are."""

from __future__ import annotations

import asyncio

import pytest

from roomkit import (
    AIChannel,
    AITool,
    ChannelCategory,
    ErrorCode,
    HookExecution,
    HookResult,
    HookTrigger,
    InboundMessage,
    ProviderError,
    RoleOverride,
    RoomKit,
    TextContent,
    ToolPolicy,
)
from roomkit.models.enums import DeliveryState, DoubleText, ParticipantRole
from roomkit_plugins.testing import Hang, MockAIProvider, RecordingChannel


@pytest.fixture
async def kit():
    """Return a kit with a room, in which a person sits at a socket."""
    async with asyncio.timeout(30):
        kit = RoomKit()
        kit.register_channel(RecordingChannel("ws"))
        await kit.create_room(room_id="r1")
        await kit.attach_channel("r1", "ws")
        yield kit
        await kit.close()


@pytest.fixture
def join(kit, streaming):
    """Return a function that lets an agent with these answers join the room."""

    async def join(*answers, **options):
        provider = MockAIProvider(list(answers) or None, streaming=streaming, chunk_size=4)
        agent = AIChannel("agent", provider, **options)
        kit.register_channel(agent)
        await kit.attach_channel("r1", "agent", category=ChannelCategory.INTELLIGENCE)
        return agent

    return join


def message(text):
    return InboundMessage(channel_id="ws", sender_id="alice", content=TextContent(body=text))


async def said(kit):
    """Return what agents said."""
    events = await kit.get_timeline("r1")
    return [event for event in events if event.source.channel_id == "agent"]


async def work(name, arguments):
    return f"{name} did {arguments['amount']}"


TOOL = AITool(
    name="refund",
    parameters={"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]},
)


async def test_the_answer_is_in_the_timeline_with_how_it_was_made(kit, join, script):
    """Provider, model, tokens of all rounds, number of tool rounds."""
    call = script.call("refund", amount=5)
    await join(script.calls(call, text="One moment."), script.says("Refunded."), tools=[(TOOL, work)])
    result = await kit.process_inbound(message("Refund me"), room_id="r1")
    assert result.error is None
    (event,) = await said(kit)
    assert event.content.body == "One moment.\n\nRefunded."
    assert event.chain_depth == 1
    made = event.generation
    assert (made.provider, made.model, made.tool_rounds) == ("mock", "mock", 1)
    assert (made.finish_reason, made.usage) == (
        "stop",
        {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30},
    )


async def test_hooks_gate_and_observe_tool_calls(kit, join, script):
    observed = []

    @kit.hook(HookTrigger.BEFORE_TOOL_USE)
    async def cap(use, context):
        return HookResult.modify(use.model_copy(update={"arguments": {"amount": 10}}))

    @kit.hook(HookTrigger.ON_TOOL_CALL, HookExecution.ASYNC)
    async def note(use, context):
        observed.append((use.room_id, use.name, use.result))

    answers = [script.calls(script.call("refund", amount=1000)), script.says("Done.")]
    await join(*answers, tools=[(TOOL, work)])
    await kit.process_inbound(message("Refund me"), room_id="r1")
    assert observed == [("r1", "refund", "refund did 10")]


async def test_a_hook_that_fails_keeps_the_tool_from_running(kit, join, script):
    ran = []

    @kit.hook(HookTrigger.BEFORE_TOOL_USE)
    async def broken(use, context):
        raise RuntimeError("policy server down")

    async def handler(name, arguments):
        ran.append(name)
        return "ok"

    answers = [script.calls(script.call("refund", amount=5)), script.says("I could not.")]
    await join(*answers, tools=[(TOOL, handler)])
    await kit.process_inbound(message("Refund me"), room_id="r1")
    assert ran == []
    assert [event.content.body for event in await said(kit)] == ["I could not."]


async def test_a_failure_reaches_who_waits_and_who_watches(kit, join):
    watched = []

    @kit.hook(HookTrigger.ON_ERROR, HookExecution.ASYNC)
    async def watch(event, context):
        watched.append(event.content.data["error_category"])

    failure = ProviderError("the vendor's words", error_code=ErrorCode.QUOTA)
    await join(failure)
    result = await kit.process_inbound(message("Hi"), room_id="r1")
    assert result.error is failure
    assert result.delivery_results["agent"].state is DeliveryState.FAILED
    assert watched == ["quota"]
    assert await said(kit) == []


async def test_a_second_message_steers_the_first_turn(kit, join):
    """With double_text=STEER it is handed to the running turn and answered there."""
    hang, steered = Hang(), asyncio.Event()
    agent = await join(hang, "And two.")
    steer = agent.steer

    async def noted(*args, **options):
        assert await steer(*args, **options)
        steered.set()
        return True

    agent.steer = noted
    await kit.detach_channel("r1", "agent")
    await kit.attach_channel(
        "r1", "agent", category=ChannelCategory.INTELLIGENCE, double_text=DoubleText.STEER
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(kit.process_inbound(message("One pizza"), room_id="r1"))
        await hang.reached.wait()
        group.create_task(kit.process_inbound(message("Make it two"), room_id="r1", wait="committed"))
        await steered.wait()
        hang.release()
    (event,) = await said(kit)
    assert event.content.body == "Hello from AI\n\nAnd two."
    assert agent.provider.calls[1].messages[-1].content == "Make it two"


async def test_somebody_elses_words_are_not_steered_into_a_turn(kit, join):
    """Tools of the turn run with the first person's rights: the other is answered in turn."""
    hang = Hang()
    agent = await join(hang, "One is on its way.", "I cannot change that order.")
    await kit.detach_channel("r1", "agent")
    await kit.attach_channel(
        "r1", "agent", category=ChannelCategory.INTELLIGENCE, double_text=DoubleText.STEER
    )
    other = InboundMessage(channel_id="ws", sender_id="mallory", content=TextContent(body="Make it ten"))
    async with asyncio.TaskGroup() as group:
        group.create_task(kit.process_inbound(message("One pizza"), room_id="r1"))
        await hang.reached.wait()
        group.create_task(kit.process_inbound(other, room_id="r1"))
        await asyncio.sleep(0)
        hang.release()
    assert len(await said(kit)) == 2
    first = agent.provider.calls[0].messages
    assert not any("ten" in str(part.content) for part in first)


async def test_an_apology_reaches_the_room_and_the_failure_the_caller(kit, join):
    failure = ProviderError("the vendor's words", error_code=ErrorCode.QUOTA)
    await join(failure, error_reply="I cannot answer just now.")
    result = await kit.process_inbound(message("Hi"), room_id="r1")
    assert result.error is failure
    (event,) = await said(kit)
    assert event.content.body == "I cannot answer just now."
    assert event.generation.finish_reason == "error"


async def test_an_agent_asked_by_another_has_the_rights_of_the_person_behind_it(kit, join, script):
    """What an observer may not do, an agent does not do for the other agent either."""
    ran = []

    async def handler(name, arguments):
        ran.append(name)
        return "ok"

    policy = ToolPolicy(role_overrides={"observer": RoleOverride(deny=["refund"])})
    await join("Please refund 5.")
    answers = [script.calls(script.call("refund", amount=5)), script.says("I may not.")]
    second = AIChannel("second", MockAIProvider(answers), tools=[(TOOL, handler)], tool_policy=policy)
    kit.register_channel(second)
    await kit.attach_channel("r1", "second")
    person = await kit.ensure_participant("r1", "ws", "alice")
    await kit.store.update_participant(person.model_copy(update={"role": ParticipantRole.OBSERVER}))
    asked = InboundMessage(
        channel_id="ws", sender_id="alice", content=TextContent(body="Refund me"), addressed_to=("agent",)
    )
    await kit.process_inbound(asked, room_id="r1")
    assert second.provider.calls, "the second agent was not asked"
    assert ran == []
