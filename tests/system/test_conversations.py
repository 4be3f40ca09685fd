"""Conversations of people and agents, from beginning to end: who saw what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from roomkit import AIContext, AIResponse, AITool, SpeakWhenAddressed, Swarm
from tests.system.hotel import Hotel, agent, asked, calls, hands_to

pytestmark = pytest.mark.virtual_time

PHONE = "+14165550101"
FILM = AITool(name="render", description="Render the film.", parameters={"type": "object"})


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("size", [2, 3, 5])
async def test_agents_that_want_to_pass_a_conversation_on_for_ever_do_not(size: int, streaming: bool) -> None:
    """Their models hand over whenever they may; each gets it once for a message, and one has to answer."""
    names = [f"a{number}" for number in range(size)]

    def eager(number: int) -> Callable[[AIContext], AIResponse]:
        def answer(context: AIContext) -> AIResponse:
            if context.messages[-1].role == "tool" or context.tool_choice == "none":
                return AIResponse(content=f"{names[number]} answers")
            return hands_to(names[(number + 1) % size])

        return answer

    agents = [agent(name, eager(number), streaming=streaming) for number, name in enumerate(names)]
    hotel = Hotel(dict)
    async with hotel.open(*agents, install=lambda kit: Swarm(names).install(kit, agents)):
        await hotel.room("r1", *names)
        await hotel.sits("ann")
        for number in range(4):
            await hotel.says("ann", f"message {number}")
        assert len(hotel.seen["ann"]) == 4
        assert all(line.endswith(" answers") for line in hotel.seen["ann"])
        assert sum(len(asked(each)) for each in agents) <= 4 * (size + 1)
        rejected = [payload for trigger, payload in hotel.fired if trigger == "on_handoff_rejected"]
        assert len(rejected) == 4
        assert all("answer the person" in each.result.reason for each in rejected)


async def test_an_agent_that_does_nothing_but_hand_over_ends_its_turn_with_an_error() -> None:
    """Refused, it asks again: the turn is bounded, the failure on record, and the next message works."""
    stubborn = agent("b", lambda context: hands_to("a"))
    agents = [agent("a", hands_to("b"), "a answers"), stubborn]
    hotel = Hotel(dict)
    async with hotel.open(*agents, install=lambda kit: Swarm(["a", "b"]).install(kit, agents)):
        await hotel.room("r1", "a", "b")
        result = await hotel.says("ann", "hello")
        assert type(result.error).__name__ == "ToolLoopError"
        assert len(asked(stubborn)) < 10
        (*_, last) = await hotel.rows("b")
        assert (last.state, last.error.code) == ("failed", "tool_loop_exhausted")
        await hotel.says("ann", "hello?")
        assert (await hotel.timeline())[-1] == "a: a answers"


async def test_ten_people_in_one_room_see_the_same_conversation() -> None:
    """In the same order, however many speak at once; the agent reads who said what, and answers who asked."""
    names = [f"p{number}" for number in range(9)]

    def answer(context: AIContext) -> str:
        (*_, last) = str(context.messages[-1].content).splitlines()
        return f"I heard {last.partition(':')[0]}."

    bot = agent("bot", answer, speak=SpeakWhenAddressed())
    hotel = Hotel(dict)
    async with hotel.open(bot):
        await hotel.room("r1", "bot", phone=PHONE)
        for name in names:
            await hotel.sits(name)
        for turn in range(3):
            async with asyncio.TaskGroup() as everyone:
                for name in names:
                    everyone.create_task(hotel.says(name, f"{'bot, ' if name == 'p4' else ''}turn {turn}"))
                everyone.create_task(hotel.texts(PHONE, f"turn {turn}"))
        timeline = await hotel.timeline()
        assert len(timeline) == 3 * 10 + 3
        assert [line for line in timeline if line.startswith("bot:")] == ["bot: I heard p4."] * 3
        for name in names:
            assert hotel.seen[name] == [line for line in timeline if not line.startswith(f"{name}:")]
        assert hotel.phone(PHONE) == [line for line in timeline if not line.startswith(PHONE)]
        assert len(await hotel.unanswered()) == 27
        assert len(asked(bot)) == 3
        everything = str(asked(bot)[-1].messages)
        assert all(f"{name}: turn 1" in everything for name in (*names[:4], *names[5:]))


async def test_a_tool_that_is_waited_for_an_hour_delays_no_other_room() -> None:
    """And no other agent of its room; its own lane answers in order, once the hour is over."""

    async def render(name: str, arguments: dict[str, Any]) -> str:
        await asyncio.sleep(3600)
        return "film-7"

    slow = agent(
        "studio",
        calls("render"),
        "Ready: film-7.",
        "At nine.",
        tools=[(FILM, render)],
        tool_timeout_seconds=7200,
        tool_loop_timeout_seconds=None,
    )
    hotel = Hotel(dict)
    async with hotel.open(slow, agent("desk", *["Hello."] * 9), agent_timeout=7200.0):
        await hotel.room("r1", "studio")
        await hotel.room("r2", "desk")
        await hotel.sits("ann")
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as both:
            both.create_task(hotel.says("ann", "Render it."))
            await asyncio.sleep(10)
            both.create_task(hotel.says("ann", "When do you open?"))
            began = loop.time()
            await hotel.says("bob", "Hello?", "r2")
            assert loop.time() == began
        assert loop.time() >= 3600
        assert hotel.seen["ann"] == ["studio: Ready: film-7.", "studio: At nine."]
