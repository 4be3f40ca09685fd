"""One agent in many rooms at once: nothing of one is seen in another."""

from __future__ import annotations

import asyncio
import random

import pytest

from roomkit.models.ai import AIMessage, AITool
from roomkit.models.enums import ParticipantRole
from roomkit_plugins.ai import RoleOverride, ToolPolicy, current_tool_call

ROOMS = 40


@pytest.mark.virtual_time
async def test_many_rooms_share_an_agent_and_nothing_else(new_stage, streaming, script):
    """Prompts, roles, tools, results, answers and signals stay in their room, under any timing."""
    chance = random.Random(7)
    stages = [new_stage(f"room-{number}", streaming=streaming) for number in range(ROOMS)]
    services = stages[0].services

    async def handler(name, arguments):
        await asyncio.sleep(chance.random())
        use = current_tool_call()
        assert arguments["room"] == use.room_id
        return f"secret of {use.room_id}"

    class Mirror(type(stages[0].provider())):
        """Calls a tool about the room it is asked in, then tells what it learnt."""

        async def generate(self, context):
            await asyncio.sleep(chance.random())
            return await super().generate(context)

    def answer(context):
        room = context.system_prompt.removeprefix("You are in ")
        results = script.results(context)
        assert room in str(context.messages[0])
        if not results:
            return script.calls(script.call("look", "c1", room=room), text=f"In {room}.")
        return script.says(results[0].result)

    policy = ToolPolicy(role_overrides={"observer": RoleOverride(deny=["*"])})
    agent = stages[0].agent(
        Mirror([answer], streaming=streaming, chunk_size=5, chunk_delay=0.1),
        tools=[(AITool(name="look"), handler)],
        tool_policy=policy,
    )
    observers = stages[::4]
    for stage in stages:
        stage.configure(system_prompt=f"You are in {stage.room.id}")
        if stage in observers:
            stage.person("alice", ParticipantRole.OBSERVER)

    heard = await asyncio.gather(
        *(stage.ask(agent, f"Hello from {stage.room.id}", catch=True) for stage in stages)
    )

    for stage, one in zip(stages, heard, strict=True):
        room = stage.room.id
        refused = "not permitted"
        assert one.error is None
        assert one.text.startswith(f"In {room}.\n\n")
        assert (refused in one.text) == (stage in observers)
        assert (f"secret of {room}" in one.text) == (stage not in observers)
    for _, room_id, use in services.turns.observed:
        assert use.room_id == room_id
    for context in agent.provider.calls:
        told = context.system_prompt.removeprefix("You are in ")
        others = [f"{stage.room.id} " for stage in stages if stage.room.id != told]
        assert not any(other in f"{context.messages} " for other in others)
    assert agent._turns == {}


async def test_a_room_that_hangs_delays_no_other(new_stage, script):
    first, second = new_stage("r1"), new_stage("r2")
    never = asyncio.Event()

    async def handler(name, arguments):
        await never.wait()
        return "late"

    provider = first.provider(
        lambda context: (
            script.says("quick")
            if "r2" in context.messages[0].content or script.results(context)
            else script.calls("wait")
        )
    )
    agent = first.agent(provider, tools=[(script.tool("wait"), handler)])
    slow = asyncio.create_task(first.ask(agent, "r1"))
    assert (await second.ask(agent, "r2")).text == "quick"
    assert not slow.done()
    never.set()
    assert (await slow).text == "quick"


def test_messages_are_records():
    """What a request holds cannot be changed under another room's hands."""
    message = AIMessage(role="user", content="x")
    with pytest.raises(ValueError, match="frozen"):
        message.content = "y"
