"""A streamed answer is judged like a whole one: whatever the cuts, the gates and what they decide."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from roomkit.abc.errors import HookRegistrationError
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import ChannelType, EventStatus, HookTrigger
from roomkit.models.hook import HookResult
from roomkit.models.task import Task
from roomkit_plugins.testing import ScriptedIntelligence, run_virtual

pytestmark = pytest.mark.virtual_time

BEFORE = HookTrigger.BEFORE_BROADCAST


class Speaker(ScriptedIntelligence):
    """An agent whose answer comes in the given pieces, or whole."""

    def __init__(self, channel_id, pieces, *, streaming):
        super().__init__(channel_id)
        self.pieces = pieces
        self.whole = not streaming

    async def on_event(self, event, binding, context):
        if event.source.channel_type is ChannelType.AI:
            return ChannelOutput.empty()
        if self.whole:
            body = TextContent(body="".join(self.pieces))
            return ChannelOutput(response_events=[event.replace(id=f"{event.id}-answer", content=body)])
        return ChannelOutput(response_stream=self.stream())

    async def stream(self):
        for piece in self.pieces:
            yield piece
            await asyncio.sleep(0.01)


def is_answer(event):
    return event.source.channel_type is ChannelType.AI


def on_answers(act):
    async def gate(event, context):
        return act(event) if is_answer(event) else HookResult.allow()

    return gate


def rewritten(event, body):
    return HookResult.modify(event.replace(content=TextContent(body=body)))


def blocking(phrase):
    """Block what holds a phrase."""

    def act(event):
        found = phrase in " ".join(text_of(event.content).split())
        return HookResult.block("phrase") if found else HookResult.allow()

    return act


def redacting(phrase):
    """Rewrite a phrase."""

    def act(event):
        return rewritten(event, text_of(event.content).replace(phrase, "***"))

    return act


def appending(event):
    """Rewrite everything, and not idempotently."""
    return rewritten(event, text_of(event.content) + "!")


def addressing(event):
    """Say who is asked, and who may see the answer."""
    whole = len(text_of(event.content))
    return HookResult.modify(
        event.replace(
            addressed_to=("other",) if whole % 2 else (),
            response_visibility="transport",
            metadata={"length": whole},
        )
    )


def narrowing(event):
    """Show long answers to one channel alone."""
    words = text_of(event.content).replace("!", "")  # of which another gate adds one to each segment
    return HookResult.modify(event.replace(visibility="bob" if len(words) > 9 else "all"))


GATES = [blocking("Dr. Smith"), blocking("4111 1111"), redacting("Smith"), appending, addressing, narrowing]


async def outcome(staging, pieces, gates, *, streaming):
    """Return what the timeline says of an answer, with what its recipients saw and were delivered."""
    async with staging() as stage:
        for gate in gates:
            stage.kit.hook(BEFORE)(on_answers(gate))
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=streaming)
        other = await stage.agent("other")
        await stage.join(Speaker("bot", pieces, streaming=streaming))
        await stage.say()
        entries = [event for event in await stage.timeline() if is_answer(event)]
        asked = [seen.event.id for seen in other.seen if is_answer(seen.event)]
        return entries, bob.texts()[1:], ["".join(shown) for shown in bob.streams], len(asked)


def decided(event):
    """Return what a gate may decide of an event."""
    return (
        event.status,
        event.block_reason,
        text_of(event.content),
        event.addressed_to,
        event.response_visibility,
        event.visibility,
        dict(event.metadata),
    )


words = st.sampled_from(
    ["Dr. ", "Smith ", "Smith", "4111 ", "1111\n", "a", "It is so. ", "Why? ", "\n", "x y z "]
)
answers = st.lists(words, min_size=1, max_size=9).filter(lambda pieces: "".join(pieces).strip())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=answers, gates=st.lists(st.sampled_from(GATES), max_size=3), cut=st.integers(1, 5))
@example(pieces=["\n", "4111 ", "1111\n"], gates=[GATES[1]], cut=1)
@example(pieces=["4111 ", "1111\n", "Dr. "], gates=[GATES[1]], cut=1)
def test_an_answer_is_decided_on_as_if_it_were_not_streamed(staging, pieces, gates, cut):
    """Blocked, rewritten, addressed and shown alike.

    Only where a gate refuses a segment, nothing more is generated, and what people had read before may
    stand, as far as it passes as a whole answer of its own.
    """
    text = "".join(pieces)
    chunks = [text[at : at + cut] for at in range(0, len(text), cut)]
    whole, told, _, asked = run_virtual(outcome(staging, [text], gates, streaming=False))
    streamed, told_too, shown, asked_too = run_virtual(outcome(staging, chunks, gates, streaming=True))
    refused = [event for event in streamed if event.status is EventStatus.BLOCKED]
    if len(streamed) == 1:
        if refused:
            assert decided(streamed[0])[:2] == decided(whole[0])[:2]
            said = text_of(streamed[0].content)
            assert text.startswith(said) or said == text_of(whole[0].content)
        else:
            assert decided(streamed[0]) == decided(whole[0])
        assert (told_too, asked_too) == (told, asked)
    else:
        stands, withheld = streamed
        assert refused == [withheld]
        (alone,), *_ = run_virtual(outcome(staging, shown, gates, streaming=False))
        assert decided(alone)[:2] == decided(stands)[:2]


class TestDoctorSmith:
    """What no segment shows by itself is not shown."""

    @pytest.mark.parametrize(
        "text", ["Contact Dr. Smith today", "The card is 4111\n1111.", "One. Two! Dr. Smith. Three."]
    )
    async def test_a_phrase_over_the_end_of_a_segment_is_found(self, stage, text):
        """Before its second half is read; the first half stands."""
        stage.kit.hook(BEFORE)(on_answers(blocking("Dr. Smith")))
        stage.kit.hook(BEFORE)(on_answers(blocking("4111 1111")))
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True)
        carol = await stage.socket("carol")
        await stage.join(Speaker("bot", [text], streaming=True))
        await stage.say()
        assert await stage.refused() == [("gate", "phrase")]
        (shown,) = ("".join(pieces) for pieces in bob.streams)
        assert text.startswith(shown)
        assert not {"Smith", "1111."} & set(shown.split())
        assert bob.texts() == carol.texts() == ["hello", shown]
        withheld = (await stage.timeline())[-1]
        assert shown + text_of(withheld.content) == text

    async def test_a_gate_that_looks_back_stops_it_before_it_is_read(self, stage):
        """With the characters that went out before the segment."""

        def looking_back(event):
            before = event.generation.preceding if event.generation is not None else None
            found = "Dr. Smith" in (before or "") + text_of(event.content)
            return HookResult.block("phrase") if found else HookResult.allow()

        stage.kit.hook(BEFORE)(on_answers(looking_back))
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True)
        await stage.join(Speaker("bot", ["Contact Dr. ", "Smith today"], streaming=True))
        await stage.say()
        assert bob.streams == [["Contact Dr. "]]
        assert bob.texts() == ["hello", "Contact Dr. "]
        assert await stage.refused() == [("gate", "phrase")]

    async def test_segments_carry_the_last_200_characters_that_went_out(self, stage):
        seen = []

        def look(event):
            seen.append((event.generation.segment, event.generation.preceding))
            return rewritten(event, text_of(event.content).upper())

        stage.kit.hook(BEFORE)(on_answers(look))
        await stage.socket("alice")
        await stage.socket("bob", streaming=True)
        await stage.join(Speaker("bot", ["a" * 250 + ". ", "b. ", "c"], streaming=True))
        await stage.say()
        assert seen == [(0, ""), (1, "A" * 198 + ". "), (2, "A" * 195 + ". B. "), (None, None)]
        stored = (await stage.timeline())[-1]
        assert stored.generation.preceding is None


phrases = st.text(alphabet="ab. \n!", min_size=2, max_size=201).filter(str.strip)
around = st.text(alphabet="cd. \n", max_size=700)


async def seen_of(staging, pieces, gate):
    """Return what a reader saw of the growing answer, its entries, and the last text delivered."""
    async with staging() as stage:
        stage.kit.hook(BEFORE)(on_answers(gate))
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True)
        await stage.join(Speaker("bot", pieces, streaming=True))
        await stage.say()
        entries = [event for event in await stage.timeline() if is_answer(event)]
        return "".join(*bob.streams), entries, bob.texts()[-1]


class TestAnyPhrase:
    """A phrase no longer than the overlap, wherever it is cut, is not seen."""

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(phrase=phrases, before=around, after=around, cut=st.integers(1, 90))
    def test_refused(self, staging, phrase, before, after, cut):
        """Not even in an answer that is withdrawn later."""
        text = before + phrase + after
        pieces = [text[at : at + cut] for at in range(0, len(text), cut)]

        def gate(event):
            return HookResult.block("no") if phrase in text_of(event.content) else HookResult.allow()

        seen, entries, _ = run_virtual(seen_of(staging, pieces, gate))
        assert phrase not in seen
        assert text.startswith(seen)
        assert entries[-1].status is EventStatus.BLOCKED

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(phrase=phrases, before=around, after=around, cut=st.integers(1, 90))
    def test_rewritten(self, staging, phrase, before, after, cut):
        """The whole is committed as it was rewritten, and delivered so at the end."""
        text = before + phrase + after
        pieces = [text[at : at + cut] for at in range(0, len(text), cut)]

        def gate(event):
            return rewritten(event, text_of(event.content).replace(phrase, "*"))

        seen, (entry,), delivered = run_virtual(seen_of(staging, pieces, gate))
        assert phrase not in seen
        assert text_of(entry.content) == delivered == text.replace(phrase, "*")

    async def test_what_was_seen_is_corrected_at_the_end(self, stage):
        """Readers get nothing more of an answer whose seen part a gate changed, until it is committed."""
        stage.kit.hook(BEFORE)(on_answers(redacting("Dr. Smith")))
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True)
        await stage.join(Speaker("bot", ["Ask Dr. ", "Smith. ", "He knows. "], streaming=True))
        await stage.say()
        assert bob.streams == [["Ask Dr. "]]
        assert bob.texts() == ["hello", "Ask ***. He knows. "]

    async def test_what_was_held_back_is_not_committed_as_seen(self, stage):
        stage.kit.hook(BEFORE)(on_answers(redacting("Dr. Smith")))
        await stage.socket("alice")
        await stage.socket("bob", streaming=True)
        pieces = ["Ask Dr. ", "Smith. ", "He knows. ", "Where? "]
        await stage.join(Speaker("bot", pieces, streaming=True))
        talking = stage.saying()
        await asyncio.sleep(0.025)
        await stage.kit.mute("r1", "bot")
        await talking
        assert await stage.texts() == ["hello", "Ask Dr. "]


class TestTheWhole:
    async def test_a_gate_that_wants_the_whole_sees_it_before_anyone(self, stage):
        judged = []
        bob = await stage.socket("bob", streaming=True)

        def judge(event):
            judged.append((event.generation.segment, text_of(event.content), len(bob.streams)))
            return HookResult.allow()

        stage.kit.hook(BEFORE, streams="whole")(on_answers(judge))
        await stage.socket("alice")
        await stage.join(Speaker("bot", ["One. ", "Two. "], streaming=True))
        await stage.say()
        assert judged == [(None, "One. Two. ", 0)]
        assert bob.texts() == ["hello", "One. Two. "]
        assert bob.streams == []

    async def test_a_binding_may_want_judged_answers_alone(self, stage):
        """The others see them grow; with no gate there is nothing to judge."""
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True, judge_streams=True)
        carol = await stage.socket("carol", streaming=True)
        await stage.join(Speaker("bot", ["One. ", "Two. "], streaming=True))
        await stage.say()
        assert (len(bob.streams), len(carol.streams)) == (1, 1)
        stage.kit.hook(BEFORE)(on_answers(blocking("x")))
        await stage.say()
        assert (len(bob.streams), len(carol.streams)) == (1, 2)
        assert bob.texts() == carol.texts() == ["hello", "One. Two. "] * 2

    async def test_an_agents_answers_may_be_held_until_they_are_judged(self, stage):
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True)
        stage.kit.hook(BEFORE)(on_answers(blocking("Dr. Smith")))
        await stage.join(Speaker("bot", ["Dr. ", "Smith"], streaming=True), judge_streams=True)
        await stage.say()
        assert bob.streams == []
        assert bob.texts() == ["hello"]
        assert await stage.refused() == [("gate", "phrase")]

    async def test_the_whole_is_a_choice_of_broadcast_gates_alone(self, stage):
        with pytest.raises(HookRegistrationError, match="streams='whole' is for BEFORE_BROADCAST"):
            stage.kit.hook(HookTrigger.BEFORE_TOOL_USE, streams="whole")(on_answers(blocking("x")))


class TestVerdicts:
    async def test_who_is_excluded_gets_no_more(self, stage):
        """A gate that narrows the visibility mid-stream takes the rest, and the entry, from the others."""

        def judge(event):
            secret = "secret" in text_of(event.content)
            return HookResult.modify(event.replace(visibility="carol")) if secret else HookResult.allow()

        stage.kit.hook(BEFORE)(on_answers(judge))
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True)
        carol = await stage.socket("carol", streaming=True)
        await stage.join(Speaker("bot", ["Hello. ", "A secret. ", "More. "], streaming=True))
        await stage.say()
        assert "".join(bob.streams[0]) == "Hello. "
        assert "".join(carol.streams[0]) == "Hello. A secret. More. "
        assert bob.texts() == ["hello"]
        assert carol.texts() == ["hello", "Hello. A secret. More. "]
        assert (await stage.timeline())[-1].visibility == "carol"

    async def test_a_verdict_on_the_whole_does_not_widen_what_a_segment_narrowed(self, stage):
        def judge(event):
            whole = event.generation.segment is None
            return HookResult.modify(event.replace(visibility="all" if whole else "carol"))

        stage.kit.hook(BEFORE)(on_answers(judge))
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True)
        await stage.socket("carol", streaming=True)
        await stage.join(Speaker("bot", ["Hello. "], streaming=True))
        await stage.say()
        assert (await stage.timeline())[-1].visibility == "carol"
        assert bob.texts() == ["hello"]

    async def test_what_gates_leave_behind_is_kept_once(self, stage):
        """As of an answer that is not streamed: by the verdict on the whole."""

        def judge(event):
            segment, body = event.generation.segment, text_of(event.content)
            tasks = [Task(id=f"t{segment}", room_id="r1", title="look")] if "Two" in body else []
            return HookResult(tasks=tasks)

        stage.kit.hook(BEFORE)(on_answers(judge))
        await stage.socket("alice")
        await stage.socket("bob", streaming=True)
        await stage.join(Speaker("bot", ["One. ", "Two. ", "Three. "], streaming=True))
        await stage.say()
        assert [task.id for task in await stage.kit.list_tasks("r1")] == ["tNone"]

    async def test_the_whole_is_refused_with_what_its_gate_left_behind(self, stage):
        """A blocker's task is as good as any."""

        def judge(event):
            if event.generation.segment is None:
                return HookResult.block("no", tasks=[Task(id="t", room_id="r1", title="look")])
            return HookResult.allow()

        stage.kit.hook(BEFORE)(on_answers(judge))
        await stage.socket("alice")
        await stage.socket("bob", streaming=True)
        await stage.join(Speaker("bot", ["One. "], streaming=True))
        await stage.say()
        assert [task.id for task in await stage.kit.list_tasks("r1")] == ["t"]
