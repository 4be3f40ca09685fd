"""Gates: in order, failing closed, and what may be done from inside one."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import HookRegistrationError, InvalidInputError
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import (
    Access,
    ChannelDirection,
    ChannelType,
    EventStatus,
    EventType,
    HookExecution,
    HookTrigger,
)
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing import Hang, RecordingChannel

pytestmark = pytest.mark.virtual_time

BEFORE = HookTrigger.BEFORE_BROADCAST


def is_message(event):
    return event.type is EventType.MESSAGE


@pytest.fixture
async def pair(stage):
    """Return the stage with Alice and Bob on it."""
    await stage.socket("alice")
    stage.bob = await stage.socket("bob")
    return stage


class TestOrder:
    async def test_lower_priorities_run_first_and_equal_ones_as_registered(self, pair):
        """Global hooks come before the room's own at equal priority."""
        ran = []

        def gate(name):
            async def hook(event, context):
                ran.append(name)
                return HookResult.allow()

            return hook

        pair.kit.hook(BEFORE, priority=5)(gate("last"))
        pair.kit.add_room_hook("r1", BEFORE, HookExecution.SYNC, gate("room"))
        pair.kit.hook(BEFORE)(gate("first"))
        pair.kit.hook(BEFORE)(gate("second"))
        pair.kit.hook(BEFORE, priority=-1)(gate("urgent"))
        await pair.say()
        assert ran == ["urgent", "first", "second", "room", "last"]

    async def test_each_gate_sees_what_those_before_made_of_it(self, pair):
        def appending(letter):
            async def hook(event, context):
                body = text_of(event.content) + letter
                return HookResult.modify(event.model_copy(update={"content": TextContent(body=body)}))

            return hook

        for letter in "abc":
            pair.kit.hook(BEFORE, name=letter)(appending(letter))
        await pair.say("-")
        assert pair.bob.texts() == ["-abc"]
        assert await pair.texts() == ["-abc"]

    async def test_gates_after_a_block_are_not_asked(self, pair):
        """The first refusal is the last word."""
        asked = []

        @pair.kit.hook(BEFORE)
        async def no(event, context):
            return HookResult.block("no")

        @pair.kit.hook(BEFORE, priority=1)
        async def later(event, context):
            asked.append(event)
            return HookResult.allow()

        await pair.say()
        assert asked == []

    async def test_filters_are_on_the_source(self, pair):
        """Type, id and direction are ANDed; a gate that does not match is not asked."""
        asked = []

        def gate(name):
            async def hook(event, context):
                asked.append(name)
                return HookResult.allow()

            return hook

        pair.kit.hook(BEFORE, channel_ids={"alice"})(gate("alice"))
        pair.kit.hook(BEFORE, channel_ids={"bob"})(gate("bob"))
        pair.kit.hook(BEFORE, channel_types={ChannelType.SMS})(gate("sms"))
        pair.kit.hook(BEFORE, channel_ids={"alice"}, directions={ChannelDirection.OUTBOUND})(gate("out"))
        await pair.say()
        await pair.say(channel="bob")
        assert asked == ["alice", "bob"]

    async def test_a_gate_sees_the_newest_messages(self, pair):
        """The context ends with the message before this one."""
        seen = []

        @pair.kit.hook(BEFORE)
        async def look(event, context):
            seen.append([text_of(one.content) for one in context.recent_events])
            return HookResult.allow()

        for number in range(60):
            await pair.say(str(number))
        assert seen[-1] == [str(number) for number in range(9, 59)]

    async def test_hooks_may_come_and_go(self, pair):
        """A removed gate is not asked any more, for every room or for one."""

        @pair.kit.hook(BEFORE)
        async def everywhere(event, context):
            return HookResult.block("everywhere")

        async def here(event, context):
            return HookResult.block("here")

        pair.kit.add_room_hook("r1", BEFORE, HookExecution.SYNC, here)
        assert (await pair.say()).reason == "everywhere"
        assert pair.kit.remove_hook("everywhere")
        assert (await pair.say()).reason == "here"
        assert pair.kit.remove_room_hook("r1", "here")
        assert not (await pair.say()).blocked


class TestVerdicts:
    async def test_a_block_is_stored_once_with_its_reason(self, pair):
        @pair.kit.hook(BEFORE)
        async def moderator(event, context):
            return HookResult.block("profanity")

        result = await pair.say("damn")
        assert (result.blocked, result.reason) == (True, "profanity")
        assert result.event.status is EventStatus.BLOCKED
        assert await pair.refused() == [("moderator", "profanity")]
        assert pair.bob.attempts == []
        assert pair.facts("event_blocked") == [{"reason": "profanity", "blocked_by": "moderator"}]

    async def test_what_was_blocked_is_neither_broadcast_nor_processed(self, pair):
        seen = pair.observe(HookTrigger.AFTER_BROADCAST)

        @pair.kit.hook(BEFORE)
        async def moderator(event, context):
            return HookResult.block("profanity") if "damn" in text_of(event.content) else HookResult.allow()

        await pair.say("damn")
        assert [one for one in seen if is_message(one)] == []
        await pair.say("sorry")
        assert [text_of(one.content) for one in seen if is_message(one)] == ["sorry"]

    async def test_a_gate_rewrites_the_words_and_nothing_else(self, pair):
        """Who said it, where, when and how deep in a chain is not a gate's to change."""

        @pair.kit.hook(BEFORE)
        async def forger(event, context):
            return HookResult.modify(
                event.replace(
                    id="forged",
                    room_id="elsewhere",
                    source=event.source.replace(channel_id="bob", participant_id="eve"),
                    index=99,
                    status=EventStatus.READ,
                    chain_depth=4,
                    idempotency_key="other",
                    content=TextContent(body="rewritten"),
                )
            )

        result = await pair.say(idempotency_key="k")
        event = result.event
        assert text_of(event.content) == "rewritten"
        assert event.id != "forged"
        assert (event.room_id, event.source.channel_id, event.source.participant_id) == (
            "r1",
            "alice",
            "alice",
        )
        assert (event.index, event.status, event.chain_depth) == (2, EventStatus.DELIVERED, 0)
        assert event.idempotency_key == "in:alice:k"
        assert pair.bob.texts() == ["rewritten"]

    async def test_a_gate_may_narrow_who_sees_it(self, pair):
        """A changed visibility is followed by the broadcast."""

        @pair.kit.hook(BEFORE)
        async def whisper(event, context):
            return HookResult.modify(event.replace(visibility="none"))

        await pair.say()
        assert pair.bob.attempts == []

    async def test_an_empty_text_is_a_text(self, pair):
        """A gate that takes everything away has modified, not failed."""

        @pair.kit.hook(BEFORE)
        async def redact(event, context):
            return HookResult.modify(event.replace(content=TextContent(body="")))

        await pair.say()
        assert pair.bob.texts() == [""]

    @pytest.mark.parametrize("verdict", ["allow", "block"])
    async def test_side_effects_are_kept_whatever_the_verdict(self, pair, verdict):
        """Tasks and observations are stored in the same transaction, and their observers see them."""
        tasks = pair.observe(HookTrigger.ON_TASK_CREATED)
        observations = pair.observe(HookTrigger.ON_OBSERVATION)

        @pair.kit.hook(BEFORE)
        async def gate(event, context):
            return HookResult(
                action=verdict,
                reason="because" if verdict == "block" else None,
                tasks=[Task(id="t", room_id="r1", title="call back")],
                observations=[Observation(id="o", room_id="r1", channel_id="alice", content="angry")],
            )

        await pair.say()
        assert [task.id for task in await pair.kit.list_tasks("r1")] == ["t"]
        assert [one.id for one in await pair.kit.list_observations("r1")] == ["o"]
        assert [one.content.data["task_id"] for one in tasks] == ["t"]
        assert [one.content.data["observation_id"] for one in observations] == ["o"]

    async def test_the_frameworks_own_notes_are_not_put_to_gates(self, pair):
        asked = []

        @pair.kit.hook(BEFORE)
        async def no(event, context):
            asked.append(event.type)
            return HookResult.block("no")

        await pair.kit.mute("r1", "bob")
        await pair.kit.close_room("r1")
        assert asked == []
        assert (await pair.kit.get_room("r1")).status == "closed"


class TestFailure:
    """A gate that gives no verdict blocks, and says so."""

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (None, "answered with NoneType, not HookResult"),
            (True, "answered with bool, not HookResult"),
            (HookResult.modify("text"), "modified the payload into str; it is RoomEvent here"),
            (ValueError("broken"), "ValueError: broken"),
            (TimeoutError("its own"), "TimeoutError: its own"),
            (asyncio.CancelledError("its own"), "CancelledError: its own"),
        ],
        ids=["nothing", "wrong-type", "wrong-payload", "raises", "raises-timeout", "raises-cancelled"],
    )
    @pytest.mark.parametrize("on_error", ["block", "allow"])
    async def test_a_gate_that_fails_blocks_unless_told_otherwise(self, pair, answer, told, on_error):
        """Fail closed; `on_error="allow"` leaves the broken gate out, and reports it all the same."""

        @pair.kit.hook(BEFORE, on_error=on_error)
        async def broken(event, context):
            if isinstance(answer, BaseException):
                raise answer
            return answer

        result = await pair.say()
        if on_error == "block":
            assert (result.blocked, result.reason) == (True, "hook_failed")
            assert await pair.refused() == [("broken", "hook_failed")]
            assert pair.bob.attempts == []
        else:
            assert not result.blocked
            assert pair.bob.texts() == ["hello"]
        (fact,) = pair.facts("hook_error")
        assert (fact["hook"], fact["trigger"]) == ("broken", BEFORE)
        assert told in fact["error"]

    @pytest.mark.parametrize("on_error", ["block", "allow"])
    async def test_a_gate_that_is_late_blocks_unless_told_otherwise(self, pair, on_error):
        """Its own timeout ends it, long before the message's deadline."""

        @pair.kit.hook(BEFORE, timeout=2, on_error=on_error)
        async def late(event, context):
            await Hang().wait()

        result = await pair.say()
        assert asyncio.get_running_loop().time() == 2
        assert result.reason == ("hook_timeout" if on_error == "block" else None)
        (fact,) = pair.facts("hook_timeout")
        assert fact["error"] == "no verdict within 2 s"

    async def test_a_gate_after_a_broken_one_that_is_left_out_still_decides(self, pair):
        """`on_error="allow"` is for one gate, not for all."""

        @pair.kit.hook(BEFORE, on_error="allow")
        async def broken(event, context):
            raise ValueError

        @pair.kit.hook(BEFORE)
        async def no(event, context):
            return HookResult.block("no")

        assert (await pair.say()).reason == "no"

    async def test_the_failure_is_told_once(self, pair):
        outcomes = iter([ValueError("once"), None])

        @pair.kit.hook(BEFORE)
        async def flaky(event, context):
            if (error := next(outcomes)) is not None:
                raise error
            return HookResult.allow()

        assert (await pair.say()).blocked
        assert not (await pair.say()).blocked
        assert len(pair.facts("hook_error")) == 1
        assert len(await pair.refused()) == 1

    async def test_a_callers_cancellation_is_no_failure_of_the_gate(self, pair):
        """Who gives up before the commit leaves nothing behind."""
        hang = Hang()

        @pair.kit.hook(BEFORE)
        async def slow(event, context):
            await hang.wait()

        talking = pair.saying()
        await hang.reached.wait()
        talking.cancel()
        await asyncio.wait([talking])
        assert talking.cancelled()
        assert await pair.timeline() == []
        assert "hook_error" not in pair.kinds()

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"execution": HookExecution.ASYNC}, "is a gate, where an ASYNC hook would never run"),
            ({"timeout": 0}, "has the timeout 0"),
            ({"on_error": "ignore"}, "on_error is 'block' or 'allow'"),
        ],
    )
    async def test_a_gate_that_could_never_work_is_refused_at_once(self, stage, options, told):
        """At registration, with what to do instead."""
        with pytest.raises(HookRegistrationError, match=told):

            @stage.kit.hook(BEFORE, **options)
            async def hook(event, context): ...

    async def test_a_plain_function_is_refused_at_once(self, stage):
        with pytest.raises(HookRegistrationError, match="write `async def`"):
            stage.kit.hook(BEFORE)(lambda event, context: HookResult.allow())


class TestInjection:
    async def test_an_injected_event_follows_what_it_was_injected_beside(self, pair):
        carol = await pair.socket("carol")
        bot = await pair.agent("bot")

        @pair.kit.hook(BEFORE)
        async def welcome(event, context):
            return HookResult.allow([InjectedEvent(pair.event("welcome"), ["bob", "bot", "stranger"])])

        await pair.say()
        assert await pair.texts() == ["hello", "welcome"]
        assert pair.bob.texts() == ["hello", "welcome"]
        assert carol.texts() == ["hello"]
        assert [text_of(one.event.content) for one in bot.seen] == ["hello"]

    async def test_an_injected_event_without_targets_is_only_stored(self, pair):
        """As a note that the timeline keeps."""

        @pair.kit.hook(BEFORE)
        async def note(event, context):
            return HookResult.allow([InjectedEvent(pair.event("noted"))])

        await pair.say()
        assert await pair.texts() == ["hello", "noted"]
        assert pair.bob.texts() == ["hello"]

    async def test_a_blocked_message_still_gets_its_injected_answer(self, pair):
        alice = pair.kit.get_channel("alice")

        @pair.kit.hook(BEFORE)
        async def moderator(event, context):
            return HookResult.block("profanity", [InjectedEvent(pair.event("mind your words"), ["alice"])])

        result = await pair.say("damn")
        assert result.blocked
        assert alice.texts() == ["mind your words"]
        assert pair.bob.attempts == []

    async def test_an_event_for_another_room_cannot_be_injected(self, pair):
        """The error says what to use; the message is not committed."""

        @pair.kit.hook(BEFORE)
        async def astray(event, context):
            return HookResult.allow([InjectedEvent(pair.event(room_id="r2"))])

        with pytest.raises(InvalidInputError, match="injected an event for room 'r2'"):
            await pair.say()
        assert await pair.texts() == []

    async def test_the_same_event_cannot_be_injected_twice(self, pair):
        again = pair.event("again")

        @pair.kit.hook(BEFORE)
        async def lazy(event, context):
            return HookResult.allow([InjectedEvent(again)])

        await pair.say()
        with pytest.raises(InvalidInputError, match="make a new RoomEvent for each injection"):
            await pair.say()


class TestNested:
    """What a gate does with the kit while it holds the room."""

    async def test_a_gate_may_write_to_its_own_room(self, pair):
        """What it writes comes before what it judges, through the same gates."""

        @pair.kit.hook(BEFORE)
        async def announce(event, context):
            if text_of(event.content) == "hello":
                await pair.kit.send_event("r1", "alice", TextContent(body="incoming"))
            return HookResult.allow()

        await pair.say()
        assert await pair.texts() == ["incoming", "hello"]
        assert pair.bob.texts() == ["incoming", "hello"]

    async def test_gathered_children_of_a_gate_take_turns(self, pair):
        """Each writes in the gate's tenure, one at a time, and none deadlocks."""
        during = []

        @pair.kit.hook(BEFORE)
        async def announce(event, context):
            if text_of(event.content) != "hello":
                during.append("in")
                await asyncio.sleep(1)
                during.append("out")
                return HookResult.allow()
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(pair.kit.send_event("r1", "alice", TextContent(body=str(number))))
            return HookResult.allow()

        await pair.say()
        assert sorted((await pair.texts())[:3]) == ["0", "1", "2"]
        assert (await pair.texts())[3] == "hello"
        assert during == ["in", "out"] * 3
        assert pair.bob.texts() == await pair.texts()

    async def test_a_gate_may_read_mute_and_attach(self, pair):
        """Every kit method about the room works from inside."""
        seen = []

        @pair.kit.hook(BEFORE)
        async def strict(event, context):
            if text_of(event.content) != "hello":
                return HookResult.allow()
            seen.append(await pair.kit.get_timeline("r1"))
            await pair.kit.mute("r1", "bob")
            await pair.kit.ensure_participant("r1", "alice", "alice", "Alice")
            await pair.kit.detach_channel("r1", "bob")
            return HookResult.allow()

        result = await asyncio.wait_for(pair.say(), 5)
        assert not result.blocked
        assert pair.bob.attempts == []

    async def test_a_gate_may_close_its_room_around_the_message(self, pair):
        """Then the message that was being judged is refused."""

        @pair.kit.hook(BEFORE)
        async def enough(event, context):
            await pair.kit.close_room("r1")
            return HookResult.allow()

        result = await pair.say()
        assert result.reason == "room_closed"
        assert await pair.texts() == []

    async def test_a_gate_may_take_the_senders_right_away(self, pair):
        """The permission that counts is the one at the commit."""

        @pair.kit.hook(BEFORE)
        async def strict(event, context):
            await pair.kit.set_access("r1", "alice", Access.READ_ONLY)
            return HookResult.allow()

        assert (await pair.say()).reason == "source_read_only"

    async def test_a_task_left_behind_by_a_gate_has_no_right_to_the_lock(self, pair):
        go = asyncio.Event()
        left = []

        async def later():
            await go.wait()
            left.append(await pair.kit.send_event("r1", "alice", TextContent(body="late")))

        @pair.kit.hook(BEFORE)
        async def careless(event, context):
            if text_of(event.content) == "hello":
                pair.task = asyncio.create_task(later())
            return HookResult.allow()

        await pair.say()
        async with pair.kit.lock_manager.locked("r1"):
            go.set()
            await asyncio.sleep(1)
            assert left == []
        await pair.task
        assert pair.bob.texts() == ["hello", "late"]

    @pytest.mark.parametrize("how", ["cancelled", "late"])
    async def test_a_child_that_outlives_its_gate_still_delivers_what_it_commits(self, staging, how):
        """The gate's message is given up while the child writes: what the child wrote goes out."""
        async with staging(process_timeout=5) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob")
            children = []

            @stage.kit.hook(BEFORE)
            async def careless(event, context):
                if text_of(event.content) == "hello":
                    await asyncio.sleep(2)
                    children.append(asyncio.create_task(say_more()))
                    await asyncio.sleep(0)
                else:
                    await asyncio.sleep(4)
                return HookResult.allow()

            async def say_more():
                return await stage.kit.send_event("r1", "alice", TextContent(body="child"))

            talking = stage.saying()
            if how == "cancelled":
                await asyncio.sleep(3)
                talking.cancel()
            await asyncio.wait([talking])
            if how == "late":
                assert talking.result().reason == "process_timeout"
            event = await children[0]
            assert event.status is EventStatus.DELIVERED
            await stage.idle()
            assert bob.texts() == ["child"]
            assert not (await stage.say("next")).blocked

    async def test_gates_that_answer_each_event_with_another_are_stopped(self, pair):
        """A loop of nested writes ends with an error, which blocks; it does not end the stack."""

        @pair.kit.hook(BEFORE)
        async def endless(event, context):
            await pair.kit.send_event("r1", "alice", TextContent(body="again"))
            return HookResult.allow()

        await pair.say()
        (fact,) = pair.facts("hook_error")
        assert "must not answer every event with another" in fact["error"]
        assert await pair.refused() == [("endless", "hook_failed")]
        assert len(await pair.texts()) == 8

    async def test_a_gate_may_write_to_another_room(self, pair):
        """The other room's lock is its own."""
        await pair.kit.create_room("r2")
        await pair.kit.attach_channel("r2", "bob")

        @pair.kit.hook(BEFORE)
        async def copy(event, context):
            if event.room_id == "r1":
                await pair.kit.send_event("r2", "system", event.content)
            return HookResult.allow()

        await pair.say()
        assert pair.bob.texts("r2") == ["hello"]

    async def test_what_a_gate_sets_going_starts_when_the_room_is_free(self, pair):
        """Deliveries of a nested write wait for the end of the gate."""
        seen = []

        @pair.kit.hook(BEFORE)
        async def announce(event, context):
            if text_of(event.content) == "hello":
                await pair.kit.send_event("r1", "alice", TextContent(body="incoming"))
                await asyncio.sleep(1)
                seen.append(list(pair.bob.texts()))
            return HookResult.allow()

        await pair.say()
        assert seen == [[]]
        assert pair.bob.texts() == ["incoming", "hello"]


class TestWhoElseIsGated:
    """Everything that writes to a timeline passes the same gates."""

    @pytest.mark.parametrize("way", ["inbound", "send_event", "system", "answer", "stream", "edit"])
    async def test_every_way_into_the_timeline_is_gated(self, pair, way):
        """A blocking gate stops it, and the refusal is stored."""
        target = (await pair.say("target")).event
        if way == "answer":
            await pair.agent("bot", ["bad"])
        elif way == "stream":
            await pair.socket("carol", streaming=True)
            await pair.agent("bot", ["bad"], streaming=True)

        @pair.kit.hook(BEFORE)
        async def moderator(event, context):
            return HookResult.block("bad") if "bad" in text_of(event.content) else HookResult.allow()

        if way == "inbound":
            await pair.say("bad")
        elif way == "send_event":
            await pair.kit.send_event("r1", "alice", TextContent(body="bad"))
        elif way == "system":
            await pair.kit.send_event("r1", "system", TextContent(body="bad"))
        elif way == "edit":
            await pair.kit.edit_event("r1", target.id, TextContent(body="bad"))
        else:
            await pair.say("hello")
        assert await pair.refused() == [("moderator", "bad")]
        assert "bad" not in pair.bob.texts()
        assert "bad" not in await pair.texts()


async def test_a_gate_does_not_wait_for_another_room_to_settle(stage):
    """It holds its own room's lock: what it writes elsewhere returns at the commit."""
    await stage.socket("alice")
    await stage.open("r2")
    await stage.join(RecordingChannel("slow", delay=5), "r2")
    loop, times = asyncio.get_running_loop(), []

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def copy(event, context):
        if context.room_id == "r1":
            began = loop.time()
            await stage.kit.send_event("r2", "system", TextContent(body="copy"))
            times.append(loop.time() - began)
        return HookResult.allow()

    await stage.say("one")
    assert times == [0]
    await stage.idle()
    assert await stage.texts("r2") == ["copy"]


async def test_the_framework_s_notes_are_not_shown_as_broadcasts(stage):
    seen = stage.observe(HookTrigger.AFTER_BROADCAST)
    await stage.socket("alice")
    await stage.kit.mute("r1", "alice")
    await stage.idle()
    assert seen == []


async def test_what_each_gate_did_is_told(stage):
    """Its name, its verdict and how long it took, once per event and in order."""
    await stage.socket("alice")

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST, priority=1, name="slow")
    async def slow(event, context):
        await asyncio.sleep(2)
        return HookResult.modify(event.model_copy(update={"content": TextContent(body="better")}))

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST, priority=2, name="strict")
    async def strict(event, context):
        return HookResult.block("no")

    await stage.say("one")
    (told,) = stage.facts("event_gated")
    assert [(each["hook"], each["verdict"]) for each in told["verdicts"]] == [
        ("slow", "modify"),
        ("strict", "block"),
    ]
    assert [round(each["duration_ms"]) for each in told["verdicts"]] == [2000, 0]


class TestVendorsPayload:
    async def test_a_gate_may_drop_what_repeats_the_content(self, pair):
        """The vendor's payload is as received, unless a gate takes the secret out of it, too."""

        @pair.kit.hook(BEFORE)
        async def redact(event, context):
            source = event.source.replace(raw_payload={}, channel_id="elsewhere", participant_id="eve")
            return HookResult.modify(event.replace(content=TextContent(body="###"), source=source))

        said = await pair.say("my PIN is 4711", raw_payload={"Body": "my PIN is 4711"})
        (stored,) = [each for each in await pair.kit.get_timeline("r1") if is_message(each)]
        assert "4711" not in stored.model_dump_json()
        assert (stored.source.channel_id, stored.source.participant_id) == ("alice", "alice")
        assert said.event.source.raw_payload == {}

    async def test_it_stays_as_a_gate_left_it_when_the_room_changes_meanwhile(self, pair):
        """The commit is planned again on the room as it is then."""
        changed = []

        @pair.kit.hook(BEFORE)
        async def redact(event, context):
            if not changed:
                changed.append(True)
                room = await pair.kit.store.get_room("r1")
                await pair.kit.store.update_room(room.replace(metadata={"changed": True}))
            source = event.source.replace(raw_payload={})
            return HookResult.modify(event.replace(content=TextContent(body="###"), source=source))

        await pair.say("my PIN is 4711", raw_payload={"Body": "my PIN is 4711"})
        (stored,) = [each for each in await pair.kit.get_timeline("r1") if is_message(each)]
        assert "4711" not in stored.model_dump_json()
