"""Deadlines that interrupt, and cancellation that leaves nothing behind."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import pytest

from roomkit import RoomKit
from roomkit.abc.memory import MemoryProvider
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.steering import Cancel
from roomkit.plugins import PluginManager
from roomkit_plugins.ai import AIChannel, RunnableTool, TurnTimeoutError
from roomkit_plugins.ai.stop import Stop, Stopped
from roomkit_plugins.ai.underway import ABANDON_AFTER
from roomkit_plugins.testing import (
    Hang,
    MockAIProvider,
    RecordingChannel,
    VirtualClock,
    assert_nothing_leaks,
    cancel_at_every_await,
)


def now():
    return asyncio.get_running_loop().time()


@pytest.mark.virtual_time
async def test_a_tool_that_hangs_is_interrupted(stage, script):
    hang = Hang()

    async def handler(name, arguments):
        await hang.wait()
        return "never"

    provider = stage.provider(script.calls("slow", "quick"), script.says("Done."))
    tools = [RunnableTool(script.tool("slow"), handler, timeout=5), (script.tool("quick"), _quick)]
    heard = await stage.ask(stage.agent(provider, tools=tools), "Go")
    assert heard.text == "Done."
    assert (now(), hang.cancelled) == (5, 1)
    slow, quick = script.results(provider.calls[1])
    assert slow.result == "Error executing tool 'slow': no answer in 5 s"
    assert (slow.is_error, quick.result) == (True, "quick")


async def _stubborn(until):
    """Hang until then, also when it is cancelled."""
    while not until.is_set():
        with suppress(BaseException):
            await until.wait()
    return "too late"


@pytest.mark.virtual_time
async def test_a_tool_that_ignores_its_cancellation_is_abandoned(stage, script, caplog):
    """The turn goes on soon after the deadline; it is reported, and what the tool returns is ignored."""
    until = asyncio.Event()

    async def handler(name, arguments):
        return await _stubborn(until)

    provider = stage.provider(script.calls("slow", "quick"), script.says("Done."))
    tools = [RunnableTool(script.tool("slow"), handler, timeout=5), (script.tool("quick"), _quick)]
    agent = stage.agent(provider, tools=tools)
    heard = await stage.ask(agent, "Go")
    assert heard.text == "Done."
    assert now() == 5 + ABANDON_AFTER
    slow, quick = script.results(provider.calls[1])
    assert (slow.result, slow.is_error) == ("Error executing tool 'slow': no answer in 5 s", True)
    assert quick.result == "quick"
    assert agent.abandoned_tool_calls == 1
    assert "the tool 'slow' of agent was abandoned" in caplog.text
    assert [kind for kind, _ in stage.services.reported] == ["work_abandoned"]
    until.set()
    await asyncio.sleep(1)
    assert [use.name for use in stage.services.calls()] == ["quick", "slow"]


@pytest.mark.virtual_time
async def test_a_late_result_does_not_count(stage, script):
    """A handler that catches its cancellation and answers all the same was too late."""

    async def handler(name, arguments):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "paid twice"

    provider = stage.provider(script.calls("slow"), script.says("Done."))
    agent = stage.agent(provider, tools=[RunnableTool(script.tool("slow"), handler, timeout=5)])
    assert (await stage.ask(agent, "Go")).text == "Done."
    (result,) = script.results(provider.calls[1])
    assert (result.result, result.is_error) == ("Error executing tool 'slow': no answer in 5 s", True)
    assert agent.abandoned_tool_calls == 0


@pytest.mark.virtual_time
@pytest.mark.parametrize("end", ["deadline", "cancel"])
async def test_a_turn_ends_though_its_tool_does_not(stage, script, end):
    until = asyncio.Event()

    async def handler(name, arguments):
        if end == "cancel":
            asyncio.get_running_loop().call_later(30, asyncio.ensure_future, agent.steer(Cancel()))
        return await _stubborn(until)

    provider = stage.provider(script.calls("slow"))
    agent = stage.agent(
        provider,
        tools=[(script.tool("slow"), handler)],
        tool_timeout_seconds=None,
        tool_loop_timeout_seconds=30 if end == "deadline" else None,
    )
    heard = await stage.ask(agent, "Hi", catch=True)
    assert now() == 30 + ABANDON_AFTER
    assert isinstance(heard.error, TurnTimeoutError) is (end == "deadline")
    assert agent.abandoned_tool_calls == 1
    until.set()
    await asyncio.sleep(0)


@pytest.mark.virtual_time
@pytest.mark.parametrize("seconds", [60.0, 7.0])
async def test_tools_have_a_common_deadline(stage, script, seconds):
    options = {} if seconds == 60.0 else {"tool_timeout_seconds": seconds}
    provider = stage.provider(script.calls("slow"), script.says("Done."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("slow"), _forever)], **options), "Go")
    assert now() == seconds


@pytest.mark.virtual_time
async def test_a_tools_own_timeout_error_is_its_error(stage, script):
    async def handler(name, arguments):
        raise TimeoutError("the warehouse is closed")

    provider = stage.provider(script.calls("slow"), script.says("Done."))
    await stage.ask(stage.agent(provider, tools=[(script.tool("slow"), handler)]), "Go")
    assert "the warehouse is closed" in script.results(provider.calls[1])[0].result


@pytest.mark.virtual_time
async def test_a_turn_ends_at_its_deadline_while_a_model_thinks(stage):
    """The request is interrupted and the failure raised."""
    hang = Hang()
    heard = await stage.ask(stage.agent(stage.provider(hang), tool_loop_timeout_seconds=30), "Hi", catch=True)
    assert isinstance(heard.error, TurnTimeoutError)
    assert str(heard.error) == "agent gave no whole answer in 30 s"
    assert (now(), hang.cancelled) == (30, 1)


@pytest.mark.virtual_time
async def test_a_turn_ends_at_its_deadline_while_a_tool_runs(stage, script):
    """Even a tool without a deadline of its own."""
    provider = stage.provider(script.calls("slow"))
    agent = stage.agent(
        provider,
        tools=[(script.tool("slow"), _forever)],
        tool_timeout_seconds=None,
        tool_loop_timeout_seconds=30,
    )
    heard = await stage.ask(agent, "Hi", catch=True)
    assert isinstance(heard.error, TurnTimeoutError)
    assert now() == 30


@pytest.mark.virtual_time
async def test_a_slow_stream_ends_at_the_deadline_with_what_it_said(new_stage):
    """And with the apology, when there is one."""
    stage = new_stage(streaming=True)
    provider = stage.provider("abcdef", chunk_size=1, chunk_delay=10)
    agent = stage.agent(provider, tool_loop_timeout_seconds=25, error_reply="Sorry.")
    heard = await stage.ask(agent, "Hi", catch=True)
    assert heard.text == "abc\n\nSorry."
    assert isinstance(heard.error, TurnTimeoutError)


@pytest.mark.virtual_time
@pytest.mark.parametrize("none", [None, 0])
async def test_without_a_deadline_a_turn_takes_its_time(stage, none):
    provider = stage.provider("Hello.", delay=10_000)
    heard = await stage.ask(stage.agent(provider, tool_loop_timeout_seconds=none), "Hi")
    assert heard.text == "Hello."


@pytest.mark.virtual_time
async def test_a_memory_that_hangs_ends_the_turn(stage):
    """It is foreign code like any other."""

    class Stuck(MemoryProvider):
        async def retrieve(self, room_id, current_event, context, *, channel_id=None):
            await asyncio.Event().wait()

    agent = stage.agent(stage.provider(), memory=Stuck(), tool_loop_timeout_seconds=30)
    heard = await stage.ask(agent, "Hi", catch=True)
    assert isinstance(heard.error, TurnTimeoutError)
    assert "the memory of agent" in str(heard.error)


@pytest.mark.virtual_time
async def test_a_finished_turn_leaves_no_timer(stage):
    await stage.ask(stage.agent(stage.provider()), "Hi")
    assert now() == 0
    await asyncio.sleep(1)
    assert not [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]


class Watched(MockAIProvider):
    """Counts the streams that are open."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.open = 0

    async def generate(self, context):
        await asyncio.sleep(0)
        return await super().generate(context)

    async def generate_structured_stream(self, context):
        self.open += 1
        try:
            async for item in super().generate_structured_stream(context):
                await asyncio.sleep(0)
                yield item
        finally:
            self.open -= 1


async def test_cancelling_anywhere_leaves_nothing(stage, script):
    """At every await of a turn with tools, gates and observers: no task, no stream, no turn left."""
    running = []

    async def handler(name, arguments):
        running.append(name)
        try:
            await asyncio.sleep(0)
            return name
        finally:
            running.remove(name)

    def provider():
        answers = [
            script.calls("a", "b", text="Looking.", thinking="Hm.", thinking_signature="s"),
            script.says("Done."),
        ]
        return Watched(answers, streaming=stage.streaming, chunk_size=4)

    agent = stage.agent(provider(), tools=[script.tool("a"), script.tool("b")], tool_handler=handler)
    tasks = asyncio.all_tasks()

    async def turn():
        agent.provider = provider()
        await stage.ask(agent, stage.events[0])

    def check(cancellation):
        assert cancellation.cancelled
        assert running == []
        assert agent.provider.open == 0
        assert agent._turns == {}
        assert stage.services.telemetry.get_active_spans() == []
        left = {task for task in asyncio.all_tasks() - tasks if not task.done()}
        assert len(left) <= 1, left  # the one that drives this check

    stage.event("Go")
    assert await cancel_at_every_await(turn, check) >= 5


async def test_leaving_a_stream_in_its_middle_closes_it(new_stage, script):
    stage = new_stage(streaming=True)
    provider = Watched(["Hello, Alice."], streaming=True, chunk_size=2)
    agent = stage.agent(provider)
    output = await agent.on_event(stage.event("Hi"), stage.binding, stage.context())
    async with aclosing(output.response_stream) as stream:
        assert await anext(stream) == "He"
        assert provider.open == 1
    assert provider.open == 0
    assert agent._turns == {}


async def test_a_stream_that_is_never_read_holds_nothing(new_stage):
    stage = new_stage(streaming=True)
    agent = stage.agent(Watched(["Hello."], streaming=True))
    output = await agent.on_event(stage.event("Hi"), stage.binding, stage.context())
    await output.response_stream.aclose()
    assert agent._turns == {}
    assert agent.provider.calls == []


async def test_many_turns_leak_nothing(stage, script):
    """Answered, failed and cancelled ones."""
    provider = stage.provider(script.calls("a"), script.says("Done."), ValueError("x"))
    agent = stage.agent(provider, tools=[(script.tool("a"), _quick)])
    event = stage.event("Go")

    async def cycle():
        await stage.ask(agent, event, catch=True)
        task = asyncio.create_task(stage.ask(agent, event, catch=True))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    await assert_nothing_leaks(cycle)


# -- Stop ---------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_stop_that_was_asked_for_ends_the_next_wait():
    stop = Stop()
    stop.request()
    with pytest.raises(Stopped), stop:
        raise AssertionError("entered")


@pytest.mark.virtual_time
async def test_a_cancellation_from_outside_is_not_taken_for_a_stop():
    stop = Stop()

    async def work():
        with stop:
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    stop.request(ValueError("deadline"))
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.virtual_time
async def test_a_stop_leaves_the_task_able_to_wait():
    """The interruption is taken back: cancelling() is as before."""
    stop = Stop()
    stop.at_deadline(1, ValueError("deadline"))
    with pytest.raises(Stopped) as stopped, stop:
        await asyncio.sleep(10)
    assert isinstance(stopped.value.cause, ValueError)
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(1)
    assert now() == 2


@pytest.mark.virtual_time
async def test_only_the_first_request_counts():
    """A deadline after a cancel changes nothing."""
    stop = Stop()
    stop.request()
    stop.request(ValueError("deadline"))
    with pytest.raises(Stopped) as stopped, stop:
        pass
    assert stopped.value.cause is None


async def _quick(name, arguments):
    return name


async def _forever(name, arguments):
    await asyncio.Event().wait()


@pytest.mark.virtual_time
@pytest.mark.parametrize("is_stubborn", [False, True], ids=["obedient", "stubborn"])
@pytest.mark.parametrize(
    "end", ["close_room", "delete_room", "take_over", "archive_room", "unregister_channel"]
)
async def test_a_room_that_ends_cancels_the_tools_of_its_agents(script, end, is_stubborn):
    """Within the bound of what ignores it; its turn is skipped, and no further answer is asked for."""
    begun, until = asyncio.Event(), asyncio.Event()

    async def handler(name, arguments):
        begun.set()
        return await (_stubborn(until) if is_stubborn else Hang().wait())

    provider = MockAIProvider(ai_responses=[script.calls("slow"), script.says("Done.")])
    agent = AIChannel("agent", provider, tools=[(script.tool("slow"), handler)])
    kit = RoomKit(clock=VirtualClock(), plugins=PluginManager(entry_points=()))
    for channel in (RecordingChannel("alice"), agent):
        kit.register_channel(channel)
    await kit.create_room("r1")
    for channel_id in ("alice", "agent"):
        await kit.attach_channel("r1", channel_id)
    message = InboundMessage(channel_id="alice", sender_id="ann", content=TextContent(body="Go"))
    asking = asyncio.create_task(kit.process_inbound(message, room_id="r1"))
    await begun.wait()
    await getattr(kit, end)("agent" if end == "unregister_channel" else "r1")
    turn = (await asking).delivery_results["agent"]
    assert (turn.state, len(provider.calls)) == ("skipped", 1)
    assert now() == (ABANDON_AFTER if is_stubborn else 0)
    assert agent.abandoned_tool_calls == is_stubborn
    until.set()
    await kit.close()
