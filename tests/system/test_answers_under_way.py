"""What happens to an answer while it is made: more messages, a person who takes over, a vendor that fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit import Agent, AIContext, AIResponse, AITool, ProviderError
from roomkit.abc.errors import ErrorCode
from roomkit.models.enums import DoubleText
from tests.system.hotel import Hotel, calls, model

pytestmark = pytest.mark.virtual_time

LOOK = AITool(name="look_up", description="Look it up.", parameters={"type": "object"})
BURST = ("I ordered a lamp.", "It is number 7.", "Or was it 8?", "It is 8.", "Where is it?")
OUTCOMES = {
    DoubleText.QUEUE: ["sent"] * 5,
    DoubleText.INTERRUPT: ["interrupted"] * 4 + ["sent"],
    DoubleText.FOLD: ["folded_into"] * 4 + ["sent"],
    DoubleText.STEER: ["sent"] + ["steered"] * 4,
}


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("policy", OUTCOMES)
async def test_a_burst_of_messages_is_answered_as_the_binding_says(
    policy: DoubleText, streaming: bool
) -> None:
    """Five, a second apart, while a tool takes three: nothing is lost, and each turn has its reason."""
    looked: list[str] = []

    async def look_up(name: str, arguments: dict[str, Any]) -> str:
        await asyncio.sleep(3)
        looked.append(name)
        return "order 8 is on its way"

    def answer(context: AIContext) -> AIResponse:
        has_looked = any(each.role == "tool" for each in context.messages)
        if not has_looked or (policy is DoubleText.STEER and len(said_by_ann(context)) < len(BURST)):
            return calls("look_up")
        return AIResponse(content=f"I read {len(said_by_ann(context))} messages.")

    bot = Agent("bot", model(answer, streaming=streaming), tools=[(LOOK, look_up)])
    hotel = Hotel(dict)
    async with hotel.open(bot) as kit:
        await hotel.room("r1")
        await kit.attach_channel("r1", "bot", double_text=policy, fold_seconds=2)
        await hotel.sits("ann")
        await hotel.burst("ann", *BURST)
        rows = await hotel.rows("bot")
        assert [str(row.reason or row.state).partition(":")[0] for row in rows] == OUTCOMES[policy]
        assert [line for line in await hotel.timeline() if line.startswith("ann")] == [
            f"ann: {each}" for each in BURST
        ]
        assert hotel.seen["ann"][-1] == "bot: I read 5 messages."
        assert len(hotel.seen["ann"]) == OUTCOMES[policy].count("sent")
        assert looked


def said_by_ann(context: AIContext) -> set[str]:
    """Return which messages of the burst a model reads."""
    everything = str(context.messages)
    return {each for each in BURST if each in everything}


STORY = "The first lamp was lit. The second one was not. The third one is yours. The fourth is lost."


async def test_a_person_takes_over_in_the_middle_of_an_answer_and_gives_back() -> None:
    """Everyone has the words that were shown, and no more; the agent knows them, and what Olga said."""
    bot = Agent("bot", model(STORY, "As Olga said.", streaming=True, chunk_size=8, delay=1, chunk_delay=0.5))
    hotel = Hotel(dict)
    async with hotel.open(bot) as kit:
        await hotel.room("r1", "bot", phone="+14165550101")
        for name in ("ann", "olga"):
            await hotel.sits(name)
        async with asyncio.TaskGroup() as both:
            both.create_task(hotel.says("ann", "Where is my lamp?"))
            await asyncio.sleep(3.2)
            await kit.take_over("r1", "olga")
        shown = "".join(hotel.streams["ann"])
        assert STORY.startswith(shown)
        assert 0 < len(shown) < len(STORY)
        assert hotel.seen["ann"] == [f"bot: {shown}"]
        assert hotel.phone("+14165550101")[-1] == f"bot: {shown}"
        await hotel.says("ann", "Hello? A person, please.")
        await hotel.says("olga", "I am Olga. It arrives on Monday.")
        assert len(bot.provider.calls) == 1  # type: ignore[attr-defined]  # it is a scripted one
        await kit.give_back("r1", "olga")
        await hotel.says("ann", "When, again?")
        assert hotel.seen["ann"][1:] == ["olga: I am Olga. It arrives on Monday.", "bot: As Olga said."]
        everything = str(bot.provider.calls[-1].messages)  # type: ignore[attr-defined]
        assert shown.strip() in everything
        assert STORY[len(shown) :] not in everything
        assert "It arrives on Monday." in everything
        (row, *_) = await hotel.rows("bot")
        assert (row.state, row.reason) == ("skipped", "taken_over")


CUT = 40
"""How much of the story the first vendor streams before it breaks."""
CONTINUATIONS = {
    "from there": STORY[CUT:],
    "with its last words": STORY[CUT - 16 :],
    "from the start": STORY,
}


@pytest.mark.parametrize("way", CONTINUATIONS)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_a_fallback_goes_on_where_a_vendors_stream_broke(way: str, streaming: bool) -> None:
    """People see each word once, whatever the second model repeats; it reads the words so far."""
    overloaded = ProviderError("overloaded", error_code=ErrorCode.OVERLOADED)
    first = model(STORY, streaming=True, chunk_size=8, fail_after_chunks=CUT // 8, stream_error=overloaded)
    second = model(CONTINUATIONS[way], streaming=streaming, chunk_size=8, model_name="second")
    bot = Agent("bot", first, fallback_provider=second)
    hotel = Hotel(dict)
    async with hotel.open(bot) as kit:
        await hotel.room("r1", "bot", phone="+14165550101")
        await hotel.sits("ann")
        result = await hotel.says("ann", "Where is my lamp?")
        assert result.error is None
        assert "".join(hotel.streams["ann"]) == STORY
        assert hotel.seen["ann"] == [f"bot: {STORY}"]
        assert hotel.phone("+14165550101") == ["ann: Where is my lamp?", f"bot: {STORY}"]
        last = (await kit.get_timeline("r1"))[-1]
        assert last.generation is not None
        assert last.generation.model == "second"
        assert STORY[:CUT] in str(second.calls[0].messages)


async def test_without_a_fallback_a_broken_stream_keeps_what_was_shown() -> None:
    """And the caller has the failure; the next message is answered."""
    overloaded = ProviderError("overloaded", error_code=ErrorCode.OVERLOADED)
    broken = model(STORY, streaming=True, chunk_size=8, fail_after_chunks=CUT // 8, stream_error=overloaded)
    hotel = Hotel(dict)
    async with hotel.open(Agent("bot", broken)):
        await hotel.room("r1", "bot")
        await hotel.sits("ann")
        result = await hotel.says("ann", "Where is my lamp?")
        assert result.error is overloaded
        shown = "".join(hotel.streams["ann"])
        assert shown == STORY[:CUT]
        assert await hotel.timeline() == ["ann: Where is my lamp?", f"bot: {shown}"]
