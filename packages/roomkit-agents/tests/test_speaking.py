"""Which messages an agent answers, and the record of those that it does not."""

from __future__ import annotations

from typing import Any

import pytest
from stage import Stage, agent, calls

from roomkit import (
    ConversationRouter,
    ModelDecides,
    RoomContext,
    RoomEvent,
    SpeakAlways,
    SpeakIf,
    SpeakWhenAddressed,
    text_of,
)

pytestmark = pytest.mark.virtual_time


async def is_question(event: RoomEvent, context: RoomContext) -> bool | str:
    return text_of(event.content).endswith("?") or "no question"


@pytest.mark.parametrize(
    ("policy", "text", "reason"),
    [
        (None, "hello", None),
        (SpeakAlways(), "hello", None),
        (SpeakWhenAddressed(), "hello", "bot is not addressed"),
        (SpeakWhenAddressed(), "robots, hello", "bot is not addressed"),
        (SpeakWhenAddressed(), "Bot, hello", None),
        (SpeakWhenAddressed("Max"), "hello @max!", None),
        (SpeakIf(is_question), "hello", "no question"),
        (SpeakIf(is_question), "hello?", None),
        (ModelDecides(), "hello", None),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_policy_decides_and_silence_is_recorded(policy: Any, text: str, reason: str | None) -> None:
    """The model is not asked for what the agent does not answer."""
    stage = Stage(agent("bot", "Hi.", speak=policy))
    async with stage.kit:
        await stage.open()
        await stage.says(text)
        assert stage.web.texts() == ([] if reason else ["Hi."])
        assert await stage.unanswered() == [*filter(None, [reason])]
        assert len(stage.asked("bot")) == (0 if reason else 1)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_a_model_that_stays_silent_says_why_and_nothing_else(streaming: bool) -> None:
    silent = calls("stay_silent", reason="Bob was asked.")
    stage = Stage(agent("bot", silent, "Hi.", speak=ModelDecides(), streaming=streaming), streaming=streaming)
    async with stage.kit:
        await stage.open()
        await stage.says("Bob, are you there?")
        assert (stage.web.texts(), await stage.unanswered()) == ([], ["Bob was asked."])
        assert len(stage.asked("bot")) == 1
        await stage.says("and you, bot?")
        assert stage.web.texts() == ["Hi."]
        assert await stage.unanswered() == ["Bob was asked."]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_a_model_offers_an_answer_and_gives_it_when_it_is_wanted(streaming: bool) -> None:
    """People see nothing of the offer; without `offers` the model has no such tool."""
    offer = calls("offer_answer", offer="I know the price.")
    bot = agent("bot", offer, "It is 40 EUR.", speak=ModelDecides(offers=True), streaming=streaming)
    stage = Stage(bot, streaming=streaming)
    async with stage.kit:
        await stage.open()
        await stage.says("Bob, what is the price?")
        offered = [
            (each.category, each.content, each.channel_id) for each in await stage.kit.list_observations("r1")
        ]
        assert (stage.web.texts(), offered) == ([], [("offered", "I know the price.", "bot")])
        assert [each.name for each in stage.asked("bot")[0].tools] == ["stay_silent", "offer_answer"]
        await stage.says("yes, please", addressed_to=("bot",))
        assert stage.web.texts() == ["It is 40 EUR."]


async def test_the_agent_that_a_router_chooses_is_addressed() -> None:
    stage = Stage(agent("bot", "Hi.", speak=SpeakWhenAddressed()), agent("other"))
    ConversationRouter(default_agent_id="bot").install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.open()
        await stage.says("hello")
        assert stage.web.texts() == ["Hi."]


async def test_a_supervisor_may_watch_in_silence() -> None:
    """It is asked about everything, and says why it does not speak."""
    silent = calls("stay_silent", reason="All is well.")
    stage = Stage(agent("bot", "Hi."), agent("boss", silent, silent, speak=ModelDecides()))
    ConversationRouter(default_agent_id="bot", supervisor_id="boss").install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.open()
        await stage.says("hello")
        assert (stage.web.texts(), await stage.unanswered()) == (["Hi."], ["All is well.", "All is well."])


async def test_a_policy_that_fails_fails_the_turn() -> None:
    async def broken(event: RoomEvent, context: RoomContext) -> bool:
        raise RuntimeError("no classifier")

    stage = Stage(agent("bot", "never", speak=SpeakIf(broken)))
    async with stage.kit:
        await stage.open()
        await stage.says("hello")
        assert stage.asked("bot") == []
        failed = [each for each in await stage.kit.list_deliveries("r1") if each.channel_id == "bot"]
        assert [each.state for each in failed] == ["failed"]
