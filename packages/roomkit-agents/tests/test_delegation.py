"""Tasks that agents, and programs, give to other agents."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from stage import Stage, agent, calls, worker_maker

from roomkit import (
    AIResponse,
    AIToolCall,
    ChannelNotRegisteredError,
    ContextOnlyDelivery,
    DelegatedTaskResult,
    DelegateHandler,
    HookTrigger,
    InvalidInputError,
    RoleOverride,
    RoomContext,
    RoomStatus,
    Supervision,
    TaskStatus,
    TextContent,
    ToolPolicy,
    setup_delegation,
)

pytestmark = pytest.mark.virtual_time

ASKS = calls("delegate_task", "One moment.", agent="clerk", task="look out", context={"city": "Ulm"})


def watched(stage: Stage) -> Stage:
    for trigger in (HookTrigger.ON_TASK_DELEGATED, HookTrigger.ON_TASK_COMPLETED):
        stage.observe(trigger)
    return stage


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_a_worker_does_a_task_in_a_room_of_its_own_and_the_supervisor_says_the_result(
    streaming: bool,
) -> None:
    """People see what the supervisor says, and nothing of the task."""
    lead = agent("lead", ASKS, "I asked.", "It rains.", streaming=streaming)
    clerk = agent("clerk", "Rain.", streaming=streaming)
    stage = watched(Stage(lead, clerk, streaming=streaming))
    Supervision("lead", {"clerk": "Looks out."}).install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("the weather?")
        await asyncio.sleep(60)
        assert "It rains." in " ".join(stage.web.texts())
        assert "Rain." not in stage.web.texts()
        request = str(stage.asked("clerk")[0].messages)
        assert ("look out" in request, "Ulm" in request) == (True, True)
        assert "has this result: Rain." in str(stage.asked("lead")[-1].messages[-1].content)
        (task,) = await stage.kit.list_tasks("r1")
        assert task.status is TaskStatus.COMPLETED
        assert (await stage.kit.get_room(task.id)).status is RoomStatus.CLOSED
    assert [trigger for trigger in stage.triggers if "task" in trigger] == [
        "on_task_delegated",
        "on_task_completed",
    ]


@pytest.mark.parametrize(("answer", "posted"), [('{"rain": true}', "has this result"), ("Rain.", "failed")])
async def test_a_worker_gets_the_conversation_and_the_shape_that_its_supervisor_was_set_to(
    answer: str, posted: str
) -> None:
    """What the supervisor may not see is no part of it."""
    schema = {"type": "object", "properties": {"rain": {"type": "boolean"}}, "required": ["rain"]}
    stage = Stage(agent("lead", "Hello.", ASKS, "I asked.", "So."), agent("clerk", answer))
    strategy = Supervision("lead", {"clerk": None}, inherit=3, schemas={"clerk": schema})
    strategy.install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("I live in Ulm")
        await stage.kit.send_event("r1", "web", TextContent(body="hush"), visibility="web")
        await stage.says("the weather?")
        await asyncio.sleep(60)
        request = str(stage.asked("clerk")[0].messages)
        assert all(part in request for part in ("I live in Ulm", "Hello.", "the weather?", "boolean"))
        assert "hush" not in request
        assert posted in str(stage.asked("lead")[-1].messages[-1].content)


async def test_a_supervisor_may_give_its_workers_less_time() -> None:
    stage = Stage(agent("lead", ASKS, "I asked.", "Sorry."), agent("clerk", "late", delay=600))
    strategy = Supervision("lead", {"clerk": None}, within=timedelta(minutes=1))
    strategy.install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("the weather?")
        await asyncio.sleep(120)
        assert stage.web.texts()[-1] == "Sorry."
        assert "no result in time" in str(stage.asked("lead")[-1].messages[-1].content)


async def test_a_program_waits_for_a_structured_result() -> None:
    stage = Stage(agent("clerk", '```json\n{"rain": true}\n```'))
    seen: list[DelegatedTaskResult] = []

    async def done(result: DelegatedTaskResult) -> None:
        seen.append(result)

    schema = {"type": "object", "properties": {"rain": {"type": "boolean"}}, "required": ["rain"]}
    async with stage.kit:
        await stage.kit.create_room("r1")
        task = await stage.kit.delegate("r1", "clerk", "look out", schema=schema, on_complete=done)
        result = await task.wait(30)
    assert (result.status, result.data, result.error) == (TaskStatus.COMPLETED, {"rain": True}, None)
    assert seen == [result]


@pytest.mark.parametrize("answer", ["Rain.", '{"rain": "much"}', "[1]"])
async def test_an_answer_of_another_form_fails_the_task(answer: str) -> None:
    stage = Stage(agent("clerk", answer))
    schema = {"type": "object", "properties": {"rain": {"type": "boolean"}}, "required": ["rain"]}
    async with stage.kit:
        await stage.kit.create_room("r1")
        result = await (await stage.kit.delegate("r1", "clerk", "look out", schema=schema)).wait(30)
    assert (result.status, result.output) == (TaskStatus.FAILED, answer)
    assert result.error


async def test_a_task_without_a_result_fails_when_its_time_is_over() -> None:
    """Its agent is stopped, and the one that delegated is asked."""
    stage = Stage(agent("lead", "Hello.", "Sorry."), agent("clerk", "late", delay=600))
    Supervision("lead", {"clerk": None}).install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("hello")
        task = await stage.kit.delegate("r1", "clerk", "look out", within=timedelta(minutes=1))
        result = await task.wait(200)
        assert (result.status, result.error) == (TaskStatus.FAILED, "no result in time")
        await asyncio.sleep(1000)
        assert stage.web.texts() == ["Hello.", "Sorry."]


async def test_a_cancelled_task_stops_its_agent_and_has_no_result() -> None:
    stage = Stage(agent("lead", "Hello.", "never"), agent("clerk", "never", delay=60))
    Supervision("lead", {"clerk": None}).install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("hello")
        task = await stage.kit.delegate("r1", "clerk", "look out")
        await asyncio.sleep(1)
        assert await task.cancel()
        assert not await task.cancel()
        await asyncio.sleep(1000)
        assert (task.status, stage.web.texts()) == (TaskStatus.CANCELLED, ["Hello."])
        events = await stage.kit.get_timeline(task.child_room_id)
        assert "clerk" not in [each.source.channel_id for each in events if each.type == "message"]


async def test_a_result_may_wait_until_the_agent_is_asked() -> None:
    stage = Stage(agent("lead", "Hello.", "It rains, as I know."), agent("clerk", "Rain."))
    Supervision("lead", {"clerk": None}).install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("hello")
        quiet = ContextOnlyDelivery()
        await (await stage.kit.delegate("r1", "clerk", "look out", delivery_strategy=quiet)).wait(30)
        assert stage.web.texts() == ["Hello."]
        await stage.says("and the weather?")
        assert "has this result: Rain." in str(stage.asked("lead")[-1].messages)


async def test_a_task_may_know_the_conversation_as_far_as_the_agent_that_delegates_sees_it() -> None:
    stage = Stage(agent("lead", "Hello."), agent("clerk", "Rain."))
    Supervision("lead", {"clerk": None}).install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.kit.send_event("r1", "web", TextContent(body="a secret"), visibility="web")
        await stage.says("I live in Ulm")
        await (await stage.kit.delegate("r1", "clerk", "look out", inherit=10)).wait(30)
    request = str(stage.asked("clerk")[0].messages)
    assert ("I live in Ulm" in request, "a secret" in request) == (True, False)


async def test_a_task_inherits_the_newest_messages_of_a_long_room() -> None:
    """Of those with a text, in their order; more than a task takes is refused, as is what no agent sees."""
    stage = Stage(agent("lead", *["Hm."] * 60), agent("clerk", "Rain."))
    Supervision("lead", {"clerk": None}).install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        for number in range(60):
            await stage.says(f"word {number}.")
        await (await stage.kit.delegate("r1", "clerk", "look out", inherit=3)).wait(30)
        request = str(stage.asked("clerk")[0].messages)
        assert [number for number in range(60) if f"word {number}." in request] == [59]
        assert request.index("Hm.") < request.index("word 59.") < request.rindex("Hm.")
        for inherit in (-1, 51):
            with pytest.raises(InvalidInputError, match="0 to 50 messages"):
                await stage.kit.delegate("r1", "clerk", "look out", inherit=inherit)
        await stage.kit.create_room("r2")
        with pytest.raises(InvalidInputError, match="give notify"):
            await stage.kit.delegate("r2", "clerk", "look out", inherit=3)


async def test_the_result_comes_back_once_whichever_worker_has_the_task() -> None:
    """The worker that delegated is closed; the other one does the task and posts the result."""
    make, stages = worker_maker(), []
    for _ in range(2):
        one = Stage(agent("lead", "Hello.", "It rains."), agent("clerk", "Rain."), kit=make())
        Supervision("lead", {"clerk": None}).install(one.kit, one.agents)
        stages.append(one)
    async with stages[1].kit:
        async with stages[0].kit:
            await stages[0].kit.create_room("r1")
            for name in ("web", "lead"):
                await stages[0].kit.attach_channel("r1", name)
            await stages[0].says("hello")
            task = await stages[0].kit.delegate("r1", "clerk", "look out", key="k")
            again = await stages[1].kit.delegate("r1", "clerk", "look out", key="k")
            assert again.id == task.id
        await again.wait(60)
        await asyncio.sleep(60)
        assert sum(len(each.asked("clerk")) for each in stages) == 1
        assert [text for each in stages for text in each.web.texts()].count("It rains.") == 1


async def test_tasks_of_tasks_are_bounded() -> None:
    """And only a registered agent is given one."""
    stage = Stage(agent("clerk", "late", delay=60))
    async with stage.kit:
        await stage.kit.create_room("r1")
        room_id = "r1"
        for _ in range(3):
            room_id = (await stage.kit.delegate(room_id, "clerk", "dig")).child_room_id
        with pytest.raises(InvalidInputError, match="that is a task 3 deep"):
            await stage.kit.delegate(room_id, "clerk", "dig")
        with pytest.raises(ChannelNotRegisteredError, match="no agent 'web' is registered"):
            await stage.kit.delegate("r1", "web", "dig")


async def test_a_task_is_not_done_for_a_role_that_the_worker_restricts() -> None:
    """In the room of the task no person is there, by whose role a tool could be judged."""
    policy = ToolPolicy(role_overrides={"member": RoleOverride(deny=("*",))})
    stage = Stage(agent("lead", ASKS, "No."), agent("clerk", "never", tool_policy=policy))
    setup_delegation(stage.agents[0], handler := DelegateHandler(stage.kit))
    with pytest.raises(InvalidInputError, match="'lead' has the tool 'delegate_task' already"):
        setup_delegation(stage.agents[0], handler)
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("the weather?")
        answer: Any = stage.asked("lead")[-1].messages[-1].content[0]
        assert "clerk may not work for a person of role" in answer.result
        assert stage.asked("clerk") == []


async def test_a_call_that_is_repeated_in_a_turn_makes_one_task() -> None:
    """Other arguments are another task, and so is the same call in another turn."""
    more = calls("delegate_task", agent="clerk", task="look out", context={"city": "Bonn"})
    lead = agent("lead", ASKS, ASKS, more, "I asked.", ASKS, "Again.")
    stage = Stage(lead, agent("clerk", *["Rain."] * 9))
    setup_delegation(lead, DelegateHandler(stage.kit, delivery_strategy=ContextOnlyDelivery()))
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("the weather?")
        await asyncio.sleep(60)
        first = await stage.kit.list_tasks("r1")
        assert [each.metadata["context"]["city"] for each in first] == ["Ulm", "Bonn"]
        assert len(stage.asked("clerk")) == 2
        await stage.says("and now?")
        await asyncio.sleep(60)
        assert len(await stage.kit.list_tasks("r1")) == 3


async def test_a_turn_that_is_run_again_makes_no_second_task() -> None:
    """As after its worker was killed: the event that it answers is the same, the id of the call is not."""
    call = ASKS.tool_calls[0]
    again = AIResponse(content="", tool_calls=[AIToolCall(id="z", name=call.name, arguments=call.arguments)])
    lead = agent("lead", ASKS, "I asked.", again, "ok")
    stage = Stage(lead, agent("clerk", *["Rain."] * 9))
    setup_delegation(lead, DelegateHandler(stage.kit, delivery_strategy=ContextOnlyDelivery()))
    async with stage.kit:
        await stage.kit.create_room("r1")
        for name in ("web", "lead"):
            await stage.kit.attach_channel("r1", name)
        await stage.says("the weather?")
        await asyncio.sleep(60)
        question = next(
            each for each in await stage.kit.get_timeline("r1") if each.source.channel_id == "web"
        )
        room, binding = await stage.kit.get_room("r1"), await stage.kit.get_binding("r1", "lead")
        await lead.on_event(question, binding, RoomContext(room, [binding], (), [question], reader=binding))
        await asyncio.sleep(60)
        assert len(stage.asked("lead")) == 4
        assert len(await stage.kit.list_tasks("r1")) == 1
        assert len(stage.asked("clerk")) == 1
