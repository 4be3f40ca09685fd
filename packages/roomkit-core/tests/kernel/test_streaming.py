"""Answers shown while they are generated: gated by the segment, committed once, in order."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.kernel.flow.live_answer import segments_of
from roomkit.models.ai import StreamDone, StreamTextDelta, StreamThinkingDelta
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import DeliveryState, EventStatus, HookTrigger
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.models.task import Task
from roomkit_plugins.testing import Hang, RecordingChannel, ScriptedIntelligence

pytestmark = pytest.mark.virtual_time

BEFORE = HookTrigger.BEFORE_BROADCAST


def now():
    return asyncio.get_running_loop().time()


class Speaker(ScriptedIntelligence):
    """An agent whose stream is what the test says: texts, stream events, pauses, errors."""

    def __init__(self, channel_id, *items, **output):
        super().__init__(channel_id)
        self.items = items
        self.closed_streams = 0
        self.output = output

    async def on_event(self, event, binding, context):
        if text_of(event.content).startswith("quiet"):
            return ChannelOutput.empty()
        return ChannelOutput(response_stream=self.stream(), **self.output)

    async def stream(self):
        try:
            for item in self.items:
                if isinstance(item, int | float):
                    await asyncio.sleep(item)
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
        finally:
            self.closed_streams += 1


class Reader(RecordingChannel):
    """A streaming socket that is slow to take each piece, or breaks on the n-th."""

    def __init__(self, channel_id, *, slow=0.0, breaks_at=None, **options):
        super().__init__(channel_id, streaming=True, **options)
        self.slow = slow
        self.breaks_at = breaks_at
        self.error = None
        self.placeholders = []

    async def deliver_stream(self, text_stream, event, binding, context):
        self.placeholders.append((text_stream.id, event))
        pieces = []
        self.streams.append(pieces)
        try:
            await self.read(text_stream, pieces)
        except ProviderError as error:
            self.error = error
            raise
        event = await text_stream.turn()
        if event is None:
            return ChannelOutput.skipped("nothing_committed")
        return await self.deliver(event, binding, context)

    async def read(self, text_stream, pieces):
        async for piece in text_stream:
            self.take(pieces, piece)
            await asyncio.sleep(self.slow)

    def take(self, pieces, piece):
        pieces.append(piece)
        if self.breaks_at == len(pieces):
            raise ConnectionResetError("the socket is gone")


class PromptReader(Reader):
    """One that never waits, and so is called with each piece."""

    async def read(self, text_stream, pieces):
        await text_stream.each(partial(self.take, pieces))


@pytest.fixture(params=[Reader, PromptReader], ids=["reads", "is called"])
async def room(stage, request):
    """Return the stage with Alice, a streaming Bob and a Carol who does not stream."""
    await stage.socket("alice", visibility="all")
    stage.bob = await stage.join(request.param("bob"))
    stage.carol = await stage.socket("carol")
    return stage


class TestShowing:
    async def test_pieces_arrive_while_the_answer_is_made(self, room):
        """Each one at once, not at the end."""
        bot = await room.join(Speaker("bot", "one ", 1, "two ", 1, "three"))
        talking = room.saying()
        await asyncio.sleep(0.5)
        assert room.bob.streams == [["one "]]
        await asyncio.sleep(1)
        assert room.bob.streams == [["one ", "two "]]
        await talking
        assert "".join(room.bob.streams[0]) == "one two three"
        assert bot.closed_streams == 1

    async def test_the_final_event_has_the_identity_that_was_streamed(self, room):
        """One id from the first frame to the timeline, for those who streamed and those who did not."""
        await room.join(Speaker("bot", "an answer"))
        await room.say()
        stream_id, placeholder = room.bob.placeholders[0]
        stored = (await room.timeline())[-1]
        assert stream_id == placeholder.id == stored.id
        assert placeholder.source == stored.source
        assert room.bob.events()[-1] == room.carol.events()[-1] == stored
        assert stored.generation.stream_id == stored.id
        assert stored.generation.segment is None

    async def test_who_does_not_stream_gets_the_whole_answer_at_the_end(self, room):
        await room.join(Speaker("bot", "one ", 2, "two"))
        talking = room.saying()
        await asyncio.sleep(1)
        assert room.carol.texts() == ["hello"]
        await talking
        assert room.carol.texts() == ["hello", "one two"]
        assert room.carol.streams == []

    async def test_every_streaming_recipient_sees_it_grow(self, room):
        dave = await room.join(Reader("dave", slow=10))
        await room.join(Speaker("bot", "a", 1, "b", 1, "c", 1, "d"))
        talking = room.saying()
        await asyncio.sleep(3.5)
        assert room.bob.streams[0] == ["a", "b", "c", "d"]
        assert room.carol.texts()[-1] == "abcd"
        await talking
        assert dave.streams[0] == ["a", "bcd"]
        assert dave.texts()[-1] == "abcd"
        assert now() == 20

    async def test_the_end_of_a_stream_waits_for_its_turn(self, room):
        """A message committed before the answer is seen before the answer's end."""
        order = []

        async def note(kind, event):
            order.append((kind, text_of(event.content)))

        async def deliver(event, binding, context, base=room.bob.deliver):
            await note("delivered", event)
            await asyncio.sleep(3)
            return await base(event, binding, context)

        room.bob.deliver = deliver
        await room.join(Speaker("bot", "one ", 1, "two"))
        first = room.saying()
        await asyncio.sleep(0.5)
        second = room.saying("quiet, please")
        await asyncio.gather(first, second)
        timeline = await room.texts()
        assert timeline == ["hello", "quiet, please", "one two"]
        assert [text for _, text in order] == timeline
        assert room.bob.texts() == timeline

    async def test_stream_events_are_understood(self, room):
        """Text deltas are said, thinking is not, and the end tells how it ended."""
        await room.join(
            Speaker(
                "bot",
                StreamThinkingDelta("hmm"),
                StreamTextDelta("an "),
                StreamTextDelta("answer"),
                StreamDone("length", {"input_tokens": 3}, {"model": "m1", "tool_rounds": 2}),
            )
        )
        await room.say()
        made = room.bob.events()[-1].generation
        assert room.bob.texts()[-1] == "an answer"
        assert (made.finish_reason, made.model, made.tool_rounds) == ("length", "m1", 2)
        assert dict(made.usage) == {"input_tokens": 3}

    async def test_silence_is_not_committed(self, room):
        """A stream without words leaves no entry, and its recipients know."""
        await room.join(Speaker("bot", " ", "\n"))
        result = await room.say()
        assert result.error is None
        assert await room.texts() == ["hello"]
        assert room.bob.texts() == ["hello"]

    @pytest.mark.parametrize("items", [(), ("  ",), (ValueError("a bug"),)], ids=["none", "blank", "broken"])
    async def test_a_stream_without_words_keeps_what_else_the_agent_did(self, room, items):
        task = Task(id="t", room_id="r1", title="call")
        created = room.observe(HookTrigger.ON_TASK_CREATED)
        await room.join(Speaker("bot", *items, tasks=[task]))
        await room.say()
        assert [one.id for one in await room.kit.list_tasks("r1")] == ["t"]
        assert len(created) == 1

    async def test_the_words_of_a_stream_go_with_what_else_the_agent_did(self, room):
        """Tasks and metadata are stored with the answer."""
        task = Task(id="t", room_id="r1", title="call")
        await room.join(Speaker("bot", "an answer", tasks=[task], metadata_updates={"mood": 1}))
        await room.say()
        assert [one.id for one in await room.kit.list_tasks("r1")] == ["t"]
        assert (await room.kit.get_room("r1")).metadata["mood"] == 1

    async def test_a_streamed_answer_is_in_the_ledger_and_observed_once(self, room):
        """As any answer: one row for each recipient, one AFTER_BROADCAST."""
        seen = room.observe(HookTrigger.AFTER_BROADCAST)
        await room.join(Speaker("bot", "an answer"))
        await room.say()
        stored = (await room.timeline())[-1]
        rows = await room.ledger(stored)
        assert {name: row.state for name, row in rows.items()} == dict.fromkeys(
            ("alice", "bob", "carol"), DeliveryState.SENT
        )
        assert [text_of(one.content) for one in seen].count("an answer") == 1

    async def test_a_streamed_answer_is_answered_by_other_agents(self, room):
        """To the chain's depth, as a whole one is."""
        await room.join(Speaker("bot", "an answer"))
        other = await room.join(ScriptedIntelligence("other"))
        await room.say()
        assert [text_of(one.event.content) for one in other.seen] == ["hello", "an answer"]

    async def test_a_stream_nobody_can_see_is_committed_all_the_same(self, stage):
        """Without streaming recipients it is an answer like any other."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        await stage.join(Speaker("bot", "one ", 1, "two"))
        await stage.say()
        assert bob.texts() == ["hello", "one two"]

    async def test_only_who_may_see_the_answer_sees_it_grow(self, room):
        """The binding's visibility caps the stream as it caps the event."""
        await room.join(Speaker("bot", "for carol"), visibility="carol")
        await room.say()
        assert room.bob.streams == []
        assert room.carol.texts() == ["hello", "for carol"]
        assert room.bob.texts() == ["hello"]


class TestGates:
    async def test_each_segment_is_gated_before_it_leaves(self, room):
        """With what its readers saw before; the segments are numbered, and the whole comes last."""
        judged = []

        @room.kit.hook(BEFORE)
        async def gate(event, context):
            if event.generation is not None:
                judged.append((event.generation.segment, text_of(event.content), list(room.bob.streams[0])))
            return HookResult.allow()

        await room.join(Speaker("bot", "One. ", 1, "Two", ". Th", 1, "ree"))
        await room.say()
        assert judged == [
            (0, "One. ", []),
            (1, "One. Two. ", ["One. "]),
            (2, "One. Two. Three", ["One. ", "Two. "]),
            (None, "One. Two. Three", ["One. ", "Two. "]),
        ]
        assert room.carol.texts()[-1] == "One. Two. Three"

    async def test_a_withheld_segment_ends_the_answer(self, room):
        @room.kit.hook(BEFORE)
        async def gate(event, context):
            return HookResult.block("secret") if "code" in text_of(event.content) else HookResult.allow()

        bot = await room.join(Speaker("bot", "Sure. ", "The code is 1. ", "More. ", 100, "Never"))
        result = await room.say()
        assert now() == 0
        assert bot.closed_streams == 1
        assert room.bob.streams == [["Sure. "]]
        assert room.bob.texts() == ["hello", "Sure. "]
        assert room.carol.texts() == ["hello", "Sure. "]
        assert await room.refused() == [("gate", "secret")]
        blocked = next(one for one in await room.timeline() if one.status is EventStatus.BLOCKED)
        assert text_of(blocked.content) == "The code is 1. "
        assert blocked.id != room.bob.events()[-1].id
        assert not result.blocked

    async def test_an_answer_withheld_from_the_start_is_one_blocked_entry(self, room):
        """With the id that was announced, and nothing shown."""

        @room.kit.hook(BEFORE)
        async def gate(event, context):
            return HookResult.block("no") if event.generation is not None else HookResult.allow()

        await room.join(Speaker("bot", "One. ", "Two. "))
        await room.say()
        assert room.bob.streams == [[]]
        assert room.bob.texts() == ["hello"]
        assert await room.refused() == [("gate", "no")]
        blocked = (await room.timeline())[-1]
        assert blocked.id == room.bob.placeholders[0][0]

    @pytest.mark.parametrize("how", ["raises", "late", "nonsense"])
    async def test_a_gate_that_fails_withholds(self, room, how):
        @room.kit.hook(BEFORE, timeout=1)
        async def gate(event, context):
            if event.generation is None or event.generation.segment == 0:
                return HookResult.allow()
            if how == "raises":
                raise ValueError("a bug")
            if how == "late":
                await Hang().wait()

        await room.join(Speaker("bot", "One. ", "Two. "))
        await room.say()
        assert room.bob.streams == [["One. "]]
        assert await room.refused() == [("gate", "hook_timeout" if how == "late" else "hook_failed")]

    async def test_a_gate_rewrites_a_segment(self, room):
        @room.kit.hook(BEFORE)
        async def redact(event, context):
            body = text_of(event.content).replace("secret", "******")
            return HookResult.modify(event.replace(content=TextContent(body=body)))

        await room.join(Speaker("bot", "A secret. ", "No secret."))
        await room.say()
        assert "".join(room.bob.streams[0]) == room.carol.texts()[-1] == "A ******. No ******."

    async def test_what_a_gate_adds_to_a_refused_segment_is_kept(self, room):
        @room.kit.hook(BEFORE)
        async def gate(event, context):
            if event.generation is None:
                return HookResult.allow()
            segment = event.generation.segment
            return HookResult(
                action="block" if segment == 1 else "allow",
                reason="no" if segment == 1 else None,
                tasks=[Task(id=f"t{segment}", room_id="r1", title="look")],
                injected_events=[InjectedEvent(room.event(f"note {segment}"), ["bob"])],
            )

        await room.join(Speaker("bot", "One. ", "Two. "))
        await room.say()
        assert [one.id for one in await room.kit.list_tasks("r1")] == ["t1", "tNone"]
        assert room.bob.texts() == ["hello", "One. ", "note 1", "note None"]

    async def test_without_streaming_recipients_the_whole_is_gated_once(self, stage):
        """A gate sees the answer as it would be stored."""
        await stage.socket("alice")
        judged = []

        @stage.kit.hook(BEFORE)
        async def gate(event, context):
            judged.append(text_of(event.content))
            return HookResult.allow()

        await stage.join(Speaker("bot", "One. ", "Two. "))
        await stage.say()
        assert judged == ["hello", "One. Two. "]


class TestBreakingOff:
    async def test_a_failure_keeps_what_was_shown(self, room):
        error = ProviderError("overloaded", error_code=ErrorCode.OVERLOADED)
        await room.join(Speaker("bot", "one ", "two", error))
        result = await room.say()
        assert result.error is error
        assert await room.texts() == ["hello", "one two"]
        stored = (await room.timeline())[-1]
        assert stored.generation.finish_reason == "error"
        assert room.bob.error is error
        assert room.carol.texts() == ["hello", "one two"]
        rows = await room.ledger(stored)
        assert rows["bob"].state is DeliveryState.SENT
        assert len(room.facts("agent_failed")) == 1
        assert (await room.ledger(result.event))["bot"].error.code == "overloaded"

    async def test_a_failure_before_the_first_word_leaves_no_entry(self, room):
        """Nothing was shown, so nothing was said."""
        await room.join(Speaker("bot", ValueError("a bug")))
        result = await room.say()
        assert "a bug" in str(result.error)
        assert await room.texts() == ["hello"]

    async def test_half_an_answer_that_nobody_saw_is_not_said(self, stage):
        """Without streaming recipients a broken answer is a failure, not a message."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        await stage.join(Speaker("bot", "one ", ValueError("a bug")))
        await stage.say()
        assert bob.texts() == ["hello"]

    async def test_an_agents_time_ends_its_stream(self, staging):
        async with staging(agent_timeout=5) as stage:
            await stage.socket("alice")
            bob = await stage.join(Reader("bob"))
            bot = await stage.join(Speaker("bot", "one", 100, "never"))
            result = await stage.say()
            assert result.error.error_code is ErrorCode.TIMEOUT
            assert now() == 5
            assert bob.texts() == ["hello", "one"]
            assert bot.closed_streams == 1
            assert (await stage.timeline())[-1].generation.finish_reason == "cancelled"

    async def test_a_room_that_closes_mid_stream_ends_the_answer(self, room):
        await room.join(Speaker("bot", "one ", 2, "two"))
        talking = room.saying()
        await asyncio.sleep(1)
        await room.kit.close_room("r1")
        await talking
        assert await room.texts() == room.carol.texts() == room.bob.texts() == ["hello", "one "]
        last = (await room.timeline(messages=False))[-1]
        assert last.content.code == "room_closed"

    async def test_a_socket_that_breaks_fails_alone(self, room):
        """Its delivery is failed; the others see the whole answer."""
        dave = await room.join(Reader("dave", breaks_at=1))
        await room.join(Speaker("bot", "one ", 1, "two"))
        result = await room.say()
        assert room.bob.texts()[-1] == "one two"
        assert dave.streams == [["one "]]
        rows = await room.ledger((await room.timeline())[-1])
        assert (rows["dave"].state, rows["bob"].state) == (DeliveryState.FAILED, DeliveryState.SENT)
        assert "the socket is gone" in rows["dave"].error.message
        assert result.error is None

    @pytest.mark.parametrize(
        "error", [RuntimeError("no"), asyncio.CancelledError()], ids=["error", "cancelled"]
    )
    @pytest.mark.parametrize("code", ["can_stream", "deliver_stream"])
    async def test_a_socket_that_fails_before_it_streams_gets_the_whole(self, room, code, error):
        dave = await room.join(Reader("dave"))

        def failing(*_arguments):
            raise error

        setattr(dave, code, failing)
        await room.join(Speaker("bot", "one ", 1, "two"))
        result = await room.say()
        assert room.bob.streams == [["one ", "two"]]
        assert dave.texts()[-1] == "one two"
        rows = await room.ledger((await room.timeline())[-1])
        assert (rows["dave"].state, rows["bob"].state) == (DeliveryState.SENT, DeliveryState.SENT)
        assert result.error is None

    async def test_a_socket_that_hangs_at_the_end_is_given_up(self, staging):
        """Within the time of a delivery; its lane goes on."""
        async with staging(delivery_timeout=5) as stage:
            await stage.socket("alice")
            hang = Hang()
            bob = await stage.join(Reader("bob", script=[None, hang]))
            await stage.join(Speaker("bot", "an answer"))
            await stage.say()
            assert hang.cancelled == 1
            rows = await stage.ledger((await stage.timeline())[-1])
            assert rows["bob"].error.code == ErrorCode.TIMEOUT
            await stage.say("quiet again")
            assert bob.texts() == ["hello", "quiet again"]

    async def test_a_dead_socket_does_not_hold_the_others(self, room):
        """One that never takes a piece leaves the answer, and its commit, alone."""
        dave = await room.join(Reader("dave", slow=1000))
        await room.join(Speaker("bot", "one ", 1, "two"))
        talking = room.saying()
        await asyncio.sleep(2)
        assert room.carol.texts()[-1] == "one two"
        assert room.bob.texts()[-1] == "one two"
        await talking
        assert dave.streams


class TestSegments:
    def test_segments_end_where_a_reader_would_stop(self):
        """At sentences and lines, and the rest only when it is final."""
        assert segments_of("One. Two! Th", final=False) == (["One. ", "Two! "], "Th")
        assert segments_of("One. Two! Th", final=True) == (["One. ", "Two! ", "Th"], "")
        assert segments_of("a\nb", final=False) == (["a\n"], "b")
        assert segments_of("3.14 is pi", final=False) == ([], "3.14 is pi")

    def test_text_without_an_end_is_cut_at_a_space(self):
        """So that a gate is never asked to hold on for ever."""
        text = "word " * 300
        segments, rest = segments_of(text, final=False)
        assert "".join(segments) + rest == text
        assert all(len(segment) <= 600 for segment in segments)
        assert len(rest) <= 600
