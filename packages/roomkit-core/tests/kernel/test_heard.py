"""What people heard of an answer is a fact of its own, beside the text."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import InvalidInputError, ProviderError
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import DeliveryState, EventType
from roomkit.models.event import Heard
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence

pytestmark = pytest.mark.virtual_time

ANSWER = "Your order left us this morning. It arrives tomorrow."
SECONDS_A_PIECE = 2.0


class Voice(RecordingChannel):
    """Plays each piece of an answer, and says what its person has heard by then."""

    def __init__(self, channel_id, *, hangs_up_after=None, **options):
        super().__init__(channel_id, streaming=True, **options)
        self.hangs_up_after = hangs_up_after
        self.ended_at = None
        self.pieces = []
        self.turned = None

    async def deliver_stream(self, text_stream, event, binding, context):
        played = 0
        async for piece in text_stream:
            self.pieces.append((asyncio.get_running_loop().time(), piece))
            await asyncio.sleep(SECONDS_A_PIECE)
            played += len(piece)
            text_stream.heard(played)
            if self.hangs_up_after is not None and played >= self.hangs_up_after:
                return ChannelOutput.empty()
        self.ended_at = asyncio.get_running_loop().time()
        self.turned = await text_stream.turn()
        return ChannelOutput.empty()


async def heard_of(room, event_id):
    event = await room.kit.store.get_event(event_id)
    assert event.generation is not None
    return {each.channel_id: each.chars for each in event.generation.heard}


async def answered(room):
    """Return the answer of the agent, once all of it is settled."""
    await room.say("Where is my order?")
    await room.idle()
    return (await room.timeline())[-1]


@pytest.fixture
async def room(stage):
    await stage.socket("alice", visibility="all")
    return stage


async def agent(room, text=ANSWER, **options):
    options = {"word_delay": 1.0, **options}
    return await room.join(ScriptedIntelligence("bot", [text] * 3, streaming=True, **options))


async def test_the_last_words_are_there_before_the_commit(room):
    """Iteration ends with the generation: a voice need not wait for the commit to speak the last sentence."""
    phone = await room.join(Voice("phone"))
    await agent(room)
    held = asyncio.Event()

    @room.kit.hook("before_broadcast")
    async def slow_gate(event, context):
        if event.source.channel_id == "bot" and event.generation.segment is None:
            await held.wait()
        return HookResult.allow()

    talking = room.saying()
    await asyncio.sleep(SECONDS_A_PIECE * 12)
    assert "".join(piece for _, piece in phone.pieces) == ANSWER
    assert phone.ended_at is not None
    assert phone.turned is None
    held.set()
    await talking
    await room.idle()
    assert phone.turned == (await room.timeline())[-1].replace(generation=phone.turned.generation)


async def test_what_was_heard_is_kept_beside_the_text(room):
    """No entry, no edit, nothing to others; the text stays."""
    await room.join(Voice("phone", hangs_up_after=1))
    await agent(room)
    answer = await answered(room)
    first_piece = answer.heard_by("phone")
    assert ANSWER.startswith(first_piece)
    assert 0 < len(first_piece) < len(ANSWER)
    assert answer.content == TextContent(body=ANSWER)
    assert [event.type for event in await room.timeline()] == [EventType.MESSAGE] * 2
    assert not answer.edited


async def test_who_read_all_of_it_perceived_all_of_it(room):
    """Once one channel heard less, the channels that carried it whole say so, sooner or later."""
    await room.join(Voice("phone", hangs_up_after=1))
    sms = await room.socket("sms")
    await agent(room)
    answer = await answered(room)
    heard = await heard_of(room, answer.id)
    assert heard["sms"] == heard["alice"] == len(ANSWER)
    assert heard["phone"] < len(ANSWER)
    assert sms.texts()[-1] == ANSWER


async def test_nothing_is_written_where_no_channel_says_less(room):
    await room.socket("carol", streaming=True)
    await agent(room)
    answer = await answered(room)
    assert answer.generation.heard == ()
    assert answer.heard_by("carol") == ANSWER


async def test_a_whole_answer_may_be_heard_in_part(room):
    """`deliver` says it in its output."""
    phone = await room.join(
        RecordingChannel("phone", script=[ChannelOutput.empty(), ChannelOutput(heard=10)])
    )
    await agent(room)
    answer = await answered(room)
    assert phone.texts()[-1] == ANSWER
    assert answer.heard_by("phone") == ANSWER[:10]


async def test_more_than_was_said_is_all_of_it(room):
    await room.join(RecordingChannel("phone", script=[ChannelOutput.empty(), ChannelOutput(heard=10_000)]))
    await agent(room)
    answer = await answered(room)
    assert answer.generation.heard == (Heard(channel_id="phone", chars=len(ANSWER)),)


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", True])
async def test_a_wrong_number_fails_its_own_delivery(room, wrong):
    """In the output: named in the row. As an argument: refused where it is said."""
    await room.join(RecordingChannel("phone", script=[ChannelOutput.empty(), ChannelOutput(heard=wrong)]))
    await agent(room)
    answer = await answered(room)
    rows = await room.kit.list_deliveries("r1", event_id=answer.id)
    failed = {row.channel_id: row.error for row in rows if row.state is DeliveryState.FAILED}
    assert set(failed) == {"phone"}
    assert "heard" in failed["phone"].message


async def test_a_wrong_number_is_refused_where_it_is_said(room):
    raised = []

    class Guesses(Voice):
        async def deliver_stream(self, text_stream, event, binding, context):
            for wrong in (-1, 0.5, None):
                try:
                    text_stream.heard(wrong)
                except InvalidInputError as error:
                    raised.append(str(error))
            return await super().deliver_stream(text_stream, event, binding, context)

    await room.join(Guesses("phone"))
    await agent(room)
    await answered(room)
    assert len(raised) == 3
    assert all("heard()" in each for each in raised)


async def test_a_call_that_breaks_off_keeps_what_was_heard(room):
    """Also when its delivery fails: the person heard it all the same."""

    class Breaks(Voice):
        async def deliver_stream(self, text_stream, event, binding, context):
            text_stream.heard(12)
            text_stream.heard(7)
            raise ProviderError("the line is dead")

    await room.join(Breaks("phone"))
    await agent(room)
    answer = await answered(room)
    assert answer.heard_by("phone") == ANSWER[:12]


async def test_a_generation_that_failed_gives_its_committed_part(room):
    """The iteration raises the error, then `turn` has the entry."""
    turns = []

    class Patient(Voice):
        async def deliver_stream(self, text_stream, event, binding, context):
            try:
                return await super().deliver_stream(text_stream, event, binding, context)
            except ProviderError:
                turns.append(await text_stream.turn())
                raise

    class Fails(ScriptedIntelligence):
        async def on_event(self, event, binding, context):
            return ChannelOutput(response_stream=self.stream())

        async def stream(self):
            yield "half of "
            raise ProviderError("the model is gone")

    await room.join(Patient("phone"))
    await room.join(Fails("bot"))
    await room.say("hello")
    await room.idle()
    assert [turn.content for turn in turns] == [TextContent(body="half of ")]


async def test_all_text_is_released_at_its_end(room):
    """`complete` ends with the generation, for a recipient that has not read on."""
    ended = []

    class Waits(Voice):
        async def deliver_stream(self, text_stream, event, binding, context):
            await text_stream.complete()
            ended.append([piece async for piece in text_stream])
            return ChannelOutput.empty()

    await room.join(Waits("phone"))
    await agent(room)
    await answered(room)
    assert ended == [[ANSWER]]
