"""Agents: what they are asked, what becomes of their answers, and of several messages at once."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import (
    Access,
    AgentResponsePolicy,
    ChannelDirection,
    ChannelType,
    DeliveryState,
    DoubleText,
    EventStatus,
    HookTrigger,
)
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing import Hang, RecordingChannel, ScriptedIntelligence

pytestmark = pytest.mark.virtual_time


def now():
    return asyncio.get_running_loop().time()


def remembering(shown, answers=()):
    """Return answers that note in `shown` which texts the agent was shown as its context."""
    texts = iter(answers)

    def answer(event, context):
        shown.append([text_of(one.content) for one in context.recent_events])
        return next(texts, None)

    return [answer] * 9


def heard(agent):
    return [text_of(one.event.content) for one in agent.seen]


class SteeredAgent(ScriptedIntelligence):
    """An agent that takes directions while it works."""

    def __init__(self, *args, takes=True, **options):
        super().__init__(*args, **options)
        self.directions = []
        self.takes = takes

    async def steer(self, directive, *, room_id=None, loop_id=None):
        self.directions.append((room_id, directive.content))
        return self.takes


class TestAnswers:
    async def test_an_answer_is_the_agents_own_whatever_it_says(self, stage):
        """Who said it, where, and how deep in a chain is the room's to say."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        forged = RoomEvent(
            room_id="elsewhere",
            source=EventSource(
                channel_id="alice", channel_type=ChannelType.SMS, direction=ChannelDirection.INBOUND
            ),
            content=TextContent(body="an answer"),
            chain_depth=0,
            index=99,
            status=EventStatus.READ,
        )
        await stage.agent("bot", [forged])
        trigger = (await stage.say()).event
        answer = bob.events()[-1]
        source = answer.source
        assert (source.channel_id, source.channel_type) == ("bot", ChannelType.AI)
        assert source.direction is ChannelDirection.OUTBOUND
        assert (answer.room_id, answer.chain_depth, answer.correlation_id) == ("r1", 1, trigger.id)
        assert answer.index == trigger.index + 1

    async def test_an_agent_is_not_shown_its_own_words(self, stage):
        await stage.socket("alice")
        bot = await stage.agent("bot", ["one", "two"])
        await stage.say()
        assert heard(bot) == ["hello"]

    async def test_an_agents_context_ends_with_what_it_answers(self, stage):
        await stage.socket("alice")
        seen = []
        await stage.agent("bot", remembering(seen), delay=5)
        talking = [stage.saying("one"), stage.saying("two")]
        await asyncio.sleep(1)
        await asyncio.gather(stage.say("three"), *talking)
        assert seen == [["one"], ["one", "two"], ["one", "two", "three"]]

    async def test_agents_answer_each_other_to_the_depth_and_no_further(self, staging):
        """The answer that is too deep is stored as blocked, once, and noted."""
        async with staging(max_chain_depth=3) as stage:
            await stage.socket("alice")
            for name in ("ping", "pong"):
                await stage.agent(name, (f"{name} {number}" for number in range(99)))
            result = await asyncio.wait_for(stage.say(addressed_to=("ping",)), 60)
            assert not result.blocked
            depths = [event.chain_depth for event in await stage.timeline()]
            assert depths == [0, 1, 2, 3]
            assert await stage.refused() == [("event_chain_depth_limit", "event_chain_depth_limit")]
            (observation,) = await stage.kit.list_observations("r1")
            assert observation.category == "event_chain_depth_exceeded"
            (fact,) = stage.facts("chain_depth_exceeded")
            assert dict(fact) == {"chain_depth": 3, "max_chain_depth": 3}

    @pytest.mark.parametrize("whose", ["kit", "room"])
    async def test_agents_may_be_kept_from_answering_each_other(self, staging, whose):
        """With ADDRESSED_ONLY an agent's words reach another agent by address alone; people see all."""
        policy = AgentResponsePolicy.ADDRESSED_ONLY
        of_kit, of_room = (policy, None) if whose == "kit" else (AgentResponsePolicy.AGENT_CHAIN, policy)
        async with staging(agent_response_policy=of_kit) as stage:
            await stage.kit.create_room("r2", agent_response_policy=of_room)
            alice = await stage.join(RecordingChannel("alice"), "r2")
            one = await stage.join(ScriptedIntelligence("one", ["from one"]), "r2")
            two = await stage.join(ScriptedIntelligence("two", ["from two"]), "r2")
            await stage.say(room="r2")
            assert heard(one) == heard(two) == ["hello"]
            assert sorted(alice.texts()) == ["from one", "from two"]

    async def test_an_addressed_message_is_put_to_whom_it_names(self, stage):
        await stage.socket("alice")
        bob = await stage.socket("bob")
        one = await stage.agent("one")
        two = await stage.agent("two")
        await stage.say("for two", addressed_to=("two",))
        await stage.say("for no one", addressed_to=())
        assert heard(one) == []
        assert heard(two) == ["for two"]
        assert bob.texts() == ["for two", "for no one"]

    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize(
        ("visibility", "shown"), [("bob", ["bob"]), ("none", []), (None, ["alice", "bob"])]
    )
    async def test_response_visibility_is_who_sees_the_answers(self, stage, visibility, shown, streaming):
        """However they are made, and the answers to them too."""
        people = [await stage.socket(name, streaming=streaming) for name in ("alice", "bob")]
        await stage.agent("bot", ["an answer"], streaming=streaming)
        await stage.say(response_visibility=visibility)
        saw = [one.channel_id for one in people if "an answer" in one.texts()]
        assert saw == shown
        streamed = [one.channel_id for one in people if one.streams]
        assert streamed == (shown if streaming else [])
        assert "an answer" in await stage.texts()

    async def test_an_answer_keeps_the_thread(self, stage):
        """E-mail and chat threads go on where the question was."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        await stage.agent("bot", ["an answer"])
        first = (await stage.say()).event
        await stage.say(thread_id="t1", parent_event_id=first.id)
        answer = bob.events()[-1]
        assert (answer.channel_data.thread_id, answer.parent_event_id) == ("t1", first.id)

    async def test_what_an_agent_leaves_behind_is_stored_and_shown(self, stage):
        """Tasks, observations and metadata, with an answer or without one."""
        await stage.socket("alice")
        tasks = stage.observe(HookTrigger.ON_TASK_CREATED)
        observations = stage.observe(HookTrigger.ON_OBSERVATION)

        def output(number, **fields):
            return ChannelOutput(
                tasks=[Task(id=f"t{number}", room_id="r1", title="call")],
                observations=[Observation(id=f"o{number}", room_id="r1", channel_id="bot", content="sad")],
                metadata_updates={"mood": number},
                **fields,
            )

        said = stage.event("an answer", channel="bot")
        await stage.agent("bot", [output(1, response_events=[said]), output(2)])
        await stage.say()
        assert (await stage.kit.get_room("r1")).metadata["mood"] == 1
        await stage.say()
        assert (await stage.kit.get_room("r1")).metadata["mood"] == 2
        assert [one.id for one in await stage.kit.list_tasks("r1")] == ["t1", "t2"]
        assert [one.id for one in await stage.kit.list_observations("r1")] == ["o1", "o2"]
        assert (len(tasks), len(observations)) == (2, 2)

    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    async def test_an_agent_without_a_voice_is_not_asked(self, stage, streaming):
        """Streamed or not; its row says why."""
        await stage.socket("alice", streaming=True)
        bob = await stage.socket("bob", streaming=True)
        bot = await stage.agent("bot", ["unheard"], streaming=streaming)
        await stage.kit.set_access("r1", "bot", Access.READ_ONLY)
        await stage.say()
        assert heard(bot) == []
        assert bob.texts() == ["hello"]
        assert bob.streams == []
        assert await stage.texts() == ["hello"]
        assert (await stage.ledger())["bot"].reason == "read_only"

    @pytest.mark.parametrize(("change", "reason"), [("detach", "channel_detached"), ("close", "room_closed")])
    async def test_an_agent_whose_turn_comes_too_late_is_not_asked(self, stage, change, reason):
        """Queued when the room closed, or when it was detached: skipped, with the reason."""
        await stage.socket("alice")
        bot = await stage.agent("bot", delay=5)
        first = stage.saying("one")
        await asyncio.sleep(1)
        second = stage.saying("two")
        await asyncio.sleep(1)
        if change == "detach":
            await stage.kit.detach_channel("r1", "bot")
        else:
            await stage.kit.close_room("r1")
        await first
        end = (await second).delivery_results["bot"]
        assert (end.state, end.reason) == (DeliveryState.SKIPPED, reason)
        assert heard(bot) == ["one"]


class TestFailure:
    """An agent's failure reaches the waiting caller, each observer and the ledger once."""

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (ProviderError("overloaded", error_code=ErrorCode.OVERLOADED), "overloaded"),
            (ValueError("a bug"), "unknown"),
            (asyncio.CancelledError("its own"), "unknown"),
        ],
        ids=["provider", "bug", "cancelled-itself"],
    )
    async def test_it_surfaces_exactly_once_everywhere(self, stage, error, code):
        """Result, ON_ERROR, framework event and ledger; the room goes on."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        errors = stage.observe(HookTrigger.ON_ERROR)
        bot = await stage.agent("bot")
        answers = iter([error, None])

        async def on_event(event, binding, context, base=bot.on_event):
            if (failure := next(answers)) is not None:
                raise failure
            return await base(event, binding, context)

        bot.on_event = on_event
        result = await stage.say()
        told = result.error if isinstance(error, Exception) else result.error.__cause__
        assert told is error
        (payload,) = errors
        assert payload.content.code == "agent_failed"
        assert payload.content.data["event_id"] == result.event.id
        assert payload.content.data["error_category"] == code
        assert payload.source.channel_id == "bot"
        (fact,) = stage.facts("agent_failed")
        assert fact["code"] == code
        row = (await stage.ledger(result.event))["bot"]
        assert (row.state, row.error.code) == (DeliveryState.FAILED, code)
        assert not result.blocked
        assert (await stage.say("next")).error is None
        assert bob.texts() == ["hello", "next"]

    async def test_an_agent_is_given_a_time(self, staging):
        """Then its turn is cancelled, reported as a timeout, and the next one begins."""
        async with staging(agent_timeout=60) as stage:
            await stage.socket("alice")
            hang = Hang()
            bot = await stage.agent("bot", [hang, "an answer"])
            result = await stage.say()
            assert now() == 60
            assert result.error.error_code is ErrorCode.TIMEOUT
            assert bot.cancelled == 1
            await stage.say("again")
            assert "an answer" in await stage.texts()

    @pytest.mark.parametrize("policy", [DoubleText.QUEUE, DoubleText.INTERRUPT])
    async def test_what_waits_behind_a_failed_turn_is_answered(self, staging, policy):
        async with staging(agent_timeout=10) as stage:
            await stage.socket("alice")
            bot = await stage.agent("bot", [ValueError("a bug"), "an answer"], delay=9, double_text=policy)

            @stage.kit.hook(HookTrigger.ON_ERROR)
            async def report(event, context):
                await asyncio.sleep(5)

            first = stage.saying("one")
            await asyncio.sleep(11)
            second = stage.saying("two")
            assert "a bug" in str((await first).error)
            await second
            assert heard(bot) == ["one", "two"]
            assert "an answer" in await stage.texts()
            rows = await stage.kit.list_deliveries("r1", channel_id="bot")
            assert [row.state for row in rows] == [DeliveryState.FAILED, DeliveryState.SENT]

    async def test_a_failed_observer_is_in_the_result_too(self, stage):
        """The first failure of the cascade; the message itself went well."""
        await stage.socket("alice")

        @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
        async def broken(event, context):
            raise ValueError("an observer's bug")

        result = await stage.say()
        assert str(result.error) == "an observer's bug"
        assert not result.blocked


class TestDoubleText:
    """Messages that arrive while an agent is at work."""

    async def messages(self, stage, *texts, every=1.0):
        """Say these one after the other and wait for all of it."""
        tasks = []
        for text in texts:
            tasks.append(stage.saying(text))
            await asyncio.sleep(every)
        return await asyncio.gather(*tasks)

    async def test_queue_answers_each_in_turn(self, stage):
        await stage.socket("alice")
        bot = await stage.agent("bot", ["one", "two", "three"], delay=5)
        results = await self.messages(stage, "a", "b", "c")
        assert heard(bot) == ["a", "b", "c"]
        assert now() == 15
        assert all(one.delivery_results["bot"].success for one in results)

    async def test_interrupt_starts_again_with_both(self, stage):
        """The turn under way is cancelled; the last message is answered with the first in view."""
        await stage.socket("alice")
        shown = []
        answers = remembering(shown, ["two"])
        bot = await stage.agent("bot", answers, delay=5, double_text=DoubleText.INTERRUPT)
        first, second = await self.messages(stage, "a", "b")
        assert heard(bot) == ["a", "b"]
        assert bot.cancelled == 1
        assert shown == [["a", "b"]]
        end = first.delivery_results["bot"]
        assert (end.state, end.reason) == (DeliveryState.SKIPPED, "interrupted")
        assert second.delivery_results["bot"].success
        assert first.error is None
        assert await stage.texts() == ["a", "b", "two"]
        assert now() == 6

    async def test_interrupt_answers_a_burst_once(self, stage):
        """Every message that waits when the turn starts again is in it."""
        await stage.socket("alice")
        answers = ["one", "two", "three", "four"]
        bot = await stage.agent("bot", answers, delay=5, double_text=DoubleText.INTERRUPT)
        results = await self.messages(stage, "a", "b", "c", "d", every=0.5)
        assert heard(bot)[-1] == "d"
        assert (await stage.texts())[:4] == ["a", "b", "c", "d"]
        assert len(await stage.texts()) == 5
        assert results[-1].delivery_results["bot"].success

    async def test_interrupt_keeps_what_was_already_shown(self, stage):
        """A streamed answer that is interrupted is committed as far as people saw it."""
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True)
        await stage.agent(
            "bot",
            ["one two three four", "five"],
            streaming=True,
            word_delay=1,
            double_text=DoubleText.INTERRUPT,
        )
        await self.messages(stage, "a", "b", every=1.5)
        assert await stage.texts() == ["a", "b", "one two", "five"]
        assert "".join(bob.streams[0]) == "one two"
        answer = next(one for one in await stage.timeline() if text_of(one.content) == "one two")
        assert answer.generation.finish_reason == "cancelled"

    async def test_an_agent_that_swallows_the_interruption_harms_nobody(self, stage):
        """Its answer counts, and later messages can interrupt as before."""
        await stage.socket("alice")
        bot = await stage.agent("bot", double_text=DoubleText.INTERRUPT)
        turns = []

        async def stubborn(event, binding, context):
            turns.append(text_of(event.content))
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                if len(turns) > 1:
                    raise
            return ChannelOutput(response_events=[stage.event(f"re {turns[-1]}", channel="bot")])

        bot.on_event = stubborn
        await self.messages(stage, "a", "b", "c")
        assert turns == ["a", "b", "c"]
        assert sorted(await stage.texts()) == ["a", "b", "c", "re a", "re c"]

    async def test_an_agents_own_message_does_not_interrupt_it(self, stage):
        """What its tool says on another channel's behalf is answered after the turn it is part of."""
        await stage.socket("alice")
        bot = await stage.agent("bot", double_text=DoubleText.INTERRUPT)
        turns = []

        async def on_event(event, binding, context):
            turns.append(text_of(event.content))
            await asyncio.sleep(1)
            if turns == ["hello"]:
                await stage.kit.send_event("r1", "alice", TextContent(body="by tool"))
            return ChannelOutput(response_events=[stage.event(f"re {turns[-1]}", channel="bot")])

        bot.on_event = on_event
        result = await stage.say()
        await stage.idle()
        assert result.error is None
        assert turns == ["hello", "by tool"]
        assert await stage.texts() == ["hello", "by tool", "re hello", "re by tool"]

    async def test_fold_waits_for_the_end_of_a_burst(self, stage):
        """And answers its last message once; the others say where they went."""
        await stage.socket("alice")
        shown = []
        bot = await stage.agent("bot", remembering(shown), double_text=DoubleText.FOLD, fold_seconds=2)
        results = await self.messages(stage, "a", "b", "c")
        assert heard(bot) == ["c"]
        assert bot.seen[0].at == 4
        assert shown == [["a", "b", "c"]]
        reasons = [one.delivery_results["bot"].reason for one in results]
        assert reasons == [
            f"folded_into:{results[1].event.id}",
            f"folded_into:{results[2].event.id}",
            None,
        ]

    async def test_fold_does_not_wait_for_ever(self, stage):
        """A burst without end is answered after four windows."""
        await stage.socket("alice")
        bot = await stage.agent("bot", double_text=DoubleText.FOLD, fold_seconds=2)
        await self.messages(stage, *(str(number) for number in range(12)))
        assert bot.seen[0].at == 8

    async def test_steer_hands_it_to_the_running_turn(self, stage):
        """The message is part of the turn under way, and no turn of its own."""
        await stage.socket("alice")
        bot = await stage.join(SteeredAgent("bot", ["one"], delay=5), double_text=DoubleText.STEER)
        results = await self.messages(stage, "a", "b")
        assert heard(bot) == ["a"]
        assert bot.directions == [("r1", "b")]
        end = results[1].delivery_results["bot"]
        assert (end.state, end.reason) == (DeliveryState.SKIPPED, "steered")

    @pytest.mark.parametrize("agent", ["too-late", "unable"])
    async def test_what_cannot_be_steered_is_answered_in_its_turn(self, stage, agent):
        await stage.socket("alice")
        bot = (
            SteeredAgent("bot", ["one", "two"], delay=5, takes=False)
            if agent == "too-late"
            else ScriptedIntelligence("bot", ["one", "two"], delay=5)
        )
        await stage.join(bot, double_text=DoubleText.STEER)
        await self.messages(stage, "a", "b")
        assert heard(bot) == ["a", "b"]

    async def test_one_rooms_messages_do_not_touch_an_agents_turn_in_another(self, stage):
        await stage.kit.create_room("r2")
        await stage.socket("alice")
        await stage.kit.attach_channel("r2", "alice")
        bot = await stage.agent("bot", ["one", "two"], delay=5, double_text=DoubleText.INTERRUPT)
        await stage.kit.attach_channel("r2", "bot", double_text=DoubleText.INTERRUPT)
        await asyncio.gather(stage.say("a"), stage.say("b", room="r2"))
        assert bot.cancelled == 0
        assert sorted(heard(bot)) == ["a", "b"]
