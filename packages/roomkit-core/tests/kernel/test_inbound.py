"""A message from outside: admitted, routed, parsed, and committed once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from roomkit.abc.errors import (
    ChannelNotRegisteredError,
    ForeignCodeError,
    InvalidInputError,
    KitClosedError,
    RoomClosedError,
    StoreError,
)
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import RateLimit
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import (
    Access,
    ChannelType,
    DeliveryState,
    EventStatus,
    EventType,
    HookTrigger,
    RoomStatus,
)
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import Hang, RecordingChannel

pytestmark = pytest.mark.virtual_time


class TestAdmission:
    async def test_a_channel_nobody_registered_is_named(self, stage):
        """The error says which ids there are."""
        await stage.socket("alice")
        with pytest.raises(ChannelNotRegisteredError, match=r"no channel 'unknown' is registered .*alice"):
            await stage.say(channel="unknown")

    async def test_the_inbound_limit_refuses_what_is_too_much(self, staging):
        """Beyond the limit nothing is stored, and a while later there is room again."""
        async with staging(inbound_rate_limit=RateLimit(max_per_minute=2, burst=2)) as stage:
            await stage.socket("alice")
            reasons = [(await stage.say(str(number))).reason for number in range(3)]
            assert reasons == [None, None, "rate_limited"]
            await asyncio.sleep(30)
            assert (await stage.say("later")).reason is None
            assert await stage.texts() == ["0", "1", "later"]

    async def test_the_inbound_limit_is_each_channels_own(self, staging):
        """One channel's flood does not cost another one a message."""
        async with staging(inbound_rate_limit=RateLimit(max_per_hour=1)) as stage:
            await stage.socket("alice")
            await stage.socket("bob")
            await stage.say()
            assert (await stage.say()).blocked
            assert not (await stage.say(channel="bob")).blocked

    async def test_what_only_the_framework_may_say_is_stripped(self, stage):
        """Metadata keys that begin with an underscore never come from outside."""
        await stage.socket("alice")
        result = await stage.say(metadata={"_role": "owner", "topic": "tea"})
        assert dict(result.event.metadata) == {"topic": "tea"}

    async def test_a_room_id_that_can_be_none_is_refused(self, stage):
        """An id is checked before anything is looked up."""
        await stage.socket("alice")
        with pytest.raises(InvalidInputError, match="cannot be a room id"):
            await stage.say(room=" ")

    async def test_a_closed_kit_takes_nothing(self, bare_stage):
        """After `close()` a message is an error, not a silence."""
        stage = await bare_stage().open()
        await stage.socket("alice")
        await stage.kit.close()
        with pytest.raises(KitClosedError, match="takes no new work"):
            await stage.say()


class TestRouting:
    async def test_two_first_messages_of_a_stranger_make_one_room(self, stage):
        """They are routed one after the other, so the second finds the room of the first."""
        stage.kit.register_channel(RecordingChannel("sms"))
        results = await asyncio.gather(*(stage.say(str(n), channel="sms", by="+1", room=None) for n in "12"))
        assert len({result.event.room_id for result in results}) == 1

    async def test_two_strangers_never_share_a_room(self, stage):
        """A shared channel does not put one person's words before another."""
        stage.kit.register_channel(RecordingChannel("sms"))
        first = await stage.say(channel="sms", by="+1", room=None)
        second = await stage.say(channel="sms", by="+2", room=None)
        again = await stage.say(channel="sms", by="+1", room=None)
        assert first.event.room_id != second.event.room_id
        assert again.event.room_id == first.event.room_id

    async def test_a_room_that_does_not_exist_yet_is_made(self, stage):
        """An explicit id is the new room's id, and the channel is in it."""
        stage.kit.register_channel(RecordingChannel("sms"))
        result = await stage.say(channel="sms", room="fresh")
        assert result.event.room_id == "fresh"
        assert [one.channel_id for one in await stage.kit.list_bindings("fresh")] == ["sms"]
        assert "session_started" in stage.kinds()

    @pytest.mark.parametrize("opens", [True, False])
    @pytest.mark.parametrize("kind", [ChannelType.VOICE, ChannelType.REALTIME_VOICE, ChannelType.SMS])
    async def test_a_channel_that_opens_sessions_reports_their_start_itself(self, stage, kind, opens):
        """Whatever its type: for another, the kit reports the first message, to hooks too."""
        channel = RecordingChannel("line")
        channel.channel_type, channel.opens_sessions = kind, opens
        stage.kit.register_channel(channel)
        started = []

        @stage.kit.hook(HookTrigger.ON_SESSION_STARTED, execution="async")
        async def noticed(payload, _):
            started.append(payload.channel_type)

        await stage.say(channel="line", room="fresh")
        assert ("session_started" in stage.kinds()) is not opens
        assert started == ([] if opens else [kind])

    async def test_rooms_at_once_for_one_explicit_id_are_one_room(self, stage):
        """Two first messages that name the same new room both arrive in it."""
        stage.kit.register_channel(RecordingChannel("sms"))
        await asyncio.gather(*(stage.say(text, channel="sms", room="fresh") for text in ("a", "b", "c")))
        assert sorted(await stage.texts("fresh")) == ["a", "b", "c"]

    async def test_a_channel_that_is_not_attached_yet_is_attached(self, stage):
        """With its defaults, once, and the note of it comes before the message."""
        stage.kit.register_channel(RecordingChannel("sms"))
        await stage.say(channel="sms")
        kinds = [event.type for event in await stage.timeline(messages=False)]
        assert kinds == [EventType.CHANNEL_ATTACHED, EventType.MESSAGE]

    async def test_an_unasked_attachment_never_replaces_the_hosts(self, stage):
        """The host attaches for reading while a message is on its way: the message is not let in."""
        stage.kit.register_channel(channel := RecordingChannel("sms"))
        at_the_gate = Hang()
        parsed = asyncio.Event()

        async def slow(message, context, parse=channel.handle_inbound):
            parsed.set()
            return await parse(message, context)

        channel.handle_inbound = slow
        async with stage.kit.lock_manager.locked("r1"):
            attaching = asyncio.create_task(stage.kit.attach_channel("r1", "sms", access=Access.READ_ONLY))
            await asyncio.sleep(0.1)
            talking = stage.saying(channel="sms")
            await parsed.wait()
            await asyncio.sleep(0.1)
        await attaching
        result = await talking
        assert (await stage.kit.get_binding("r1", "sms")).access is Access.READ_ONLY
        assert result.reason == "source_read_only"
        at_the_gate.release()

    @pytest.mark.parametrize("when", ["before", "during"])
    async def test_a_detached_channel_stays_detached(self, stage, when):
        """Only an explicit attach brings it back; a message does not, however they race."""
        channel = await stage.socket("sms")
        if when == "before":
            await stage.kit.detach_channel("r1", "sms")
            result = await stage.say(channel="sms")
        else:
            async with stage.kit.lock_manager.locked("r1"):
                detaching = asyncio.create_task(stage.kit.detach_channel("r1", "sms"))
                await asyncio.sleep(0.1)
                talking = stage.saying(channel="sms")
                await asyncio.sleep(0.1)
            await detaching
            result = await talking
        assert result.blocked
        assert result.reason in ("channel_detached", "channel_not_attached")
        assert await stage.kit.list_bindings("r1") == []
        await stage.kit.attach_channel("r1", "sms")
        assert not (await stage.say(channel="sms")).blocked
        assert channel.delivered == []

    async def test_an_ambiguous_message_opens_a_room_and_says_so(self, stage):
        stage.kit.register_channel(RecordingChannel("sms"))
        for sender in ("+1", "+2"):
            await stage.say(channel="sms", by=sender, room=None)
        assert stage.facts("routing_ambiguous") == [{"sender_id": "+2"}]


class TestParsing:
    async def test_a_channel_that_makes_no_event_is_reported(self, stage):
        channel = await stage.socket("alice")

        async def nothing(message, context):
            return {"text": "hello"}

        channel.handle_inbound = nothing
        with pytest.raises(InvalidInputError, match="'alice' made dict of a message, not a RoomEvent"):
            await stage.say()

    async def test_a_channel_cannot_speak_for_another_or_elsewhere(self, stage):
        """Source and room are the message's own, whatever the channel wrote into the event."""
        channel = await stage.socket("alice")
        await stage.socket("bob")

        async def forged(message, context, parse=channel.handle_inbound):
            event = await parse(message, context)
            return event.replace(
                room_id="other",
                source=event.source.replace(channel_id="bob"),
                index=7,
                chain_depth=3,
                status=EventStatus.READ,
            )

        channel.handle_inbound = forged
        event = (await stage.say()).event
        assert (event.room_id, event.source.channel_id, event.chain_depth) == ("r1", "alice", 0)
        assert (event.status, event.index) == (EventStatus.DELIVERED, 2)

    async def test_what_the_message_says_reaches_the_event(self, stage):
        """Visibility, address, parent and key are taken from the message."""
        await stage.socket("alice")
        parent = (await stage.say("first")).event
        event = (
            await stage.say(
                visibility="alice",
                response_visibility="none",
                addressed_to=("bot",),
                parent_event_id=parent.id,
                idempotency_key="k",
            )
        ).event
        assert (event.visibility, event.response_visibility) == ("alice", "none")
        assert (event.addressed_to, event.parent_event_id, event.idempotency_key) == (
            ("bot",),
            parent.id,
            "in:alice:k",
        )

    async def test_an_event_id_of_another_room_is_no_duplicate(self, stage):
        """A channel that numbers its events per room gets an error, never another room's event."""
        channel = await stage.socket("alice")
        await stage.kit.create_room("r2")
        await stage.kit.attach_channel("r2", "alice")

        async def numbered(message, context, parse=channel.handle_inbound):
            return (await parse(message, context)).replace(id="event-1")

        channel.handle_inbound = numbered
        assert (await stage.say("secret")).event.id == "event-1"
        with pytest.raises(InvalidInputError, match="event-1"):
            await stage.say("other", room="r2")


class TestIdempotency:
    async def test_a_redelivery_gets_the_first_result(self, stage):
        """Nothing is stored, delivered or answered twice."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        bot = await stage.agent("bot", ["an answer"])
        first = await stage.say(idempotency_key="k")
        again = await stage.say("changed", idempotency_key="k")
        assert again.duplicate
        assert not again.blocked
        assert again.event == first.event
        assert dict(again.delivery_results) == dict(first.delivery_results)
        assert bob.texts() == ["hello", "an answer"]
        assert len(bot.seen) == 1

    async def test_a_redelivery_waits_for_the_first_that_is_in_flight(self, stage):
        """Both callers get the same complete result, at the same moment."""
        await stage.socket("alice")
        bob = await stage.socket("bob", delay=5)
        one, two = await asyncio.gather(*(stage.say(idempotency_key="k") for _ in "12"))
        assert one.event == two.event
        assert {one.duplicate, two.duplicate} == {False, True}
        assert dict(two.delivery_results) == dict(one.delivery_results)
        assert dict(two.delivery_results)["bob"].success
        assert len(bob.attempts) == 1

    @pytest.mark.parametrize("gone", ["committed", "cancelled"])
    async def test_a_redelivery_waits_though_the_first_caller_did_not(self, stage, gone):
        await stage.socket("alice")
        await stage.socket("bob", delay=5)
        if gone == "committed":
            await stage.say(idempotency_key="k", wait="committed")
        else:
            first = stage.saying(idempotency_key="k")
            await asyncio.sleep(1)
            first.cancel()
            await asyncio.wait([first])
        again = await stage.say(idempotency_key="k")
        assert again.delivery_results["bob"].success

    async def test_a_redelivery_of_what_was_blocked_is_blocked_too(self, stage):
        """The first result is what counts, with its reason; the gate is not asked again."""
        await stage.socket("alice")
        asked = []

        @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def refuse(event, context):
            asked.append(event)
            return HookResult.block("spam")

        first = await stage.say(idempotency_key="k")
        again = await stage.say(idempotency_key="k")
        assert (again.blocked, again.reason, again.duplicate) == (True, "spam", True)
        assert again.event == first.event
        assert len([one for one in asked if one.type is EventType.MESSAGE]) == 1
        assert await stage.refused() == [("refuse", "spam")]

    async def test_a_key_holds_for_all_rooms_of_its_channel(self, stage):
        """The same key in another room is the same message."""
        await stage.socket("alice")
        await stage.kit.create_room("r2")
        await stage.kit.attach_channel("r2", "alice")
        first = await stage.say(idempotency_key="k")
        again = await stage.say(room="r2", idempotency_key="k")
        assert (again.event, again.duplicate) == (first.event, True)

    async def test_a_message_that_was_never_committed_may_come_again(self, staging):
        """What ran out of time left no trace, so its redelivery is the first."""
        async with staging(process_timeout=1) as stage:
            await stage.socket("alice")
            late = Hang()

            @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def slow(event, context):
                await late.wait()
                return HookResult.allow()

            assert (await stage.say(idempotency_key="k")).reason == "process_timeout"
            late.release()
            again = await stage.say(idempotency_key="k")
            assert not again.duplicate
            assert await stage.texts() == ["hello"]

    async def test_send_event_with_a_known_key_returns_the_first_event(self, stage):
        """The host may repeat itself as safely as a vendor."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        first = await stage.kit.send_event("r1", "alice", TextContent(body="a"), idempotency_key="k")
        again = await stage.kit.send_event("r1", "alice", TextContent(body="b"), idempotency_key="k")
        assert again == first
        assert bob.texts() == ["a"]


class TestWaiting:
    async def test_settled_waits_for_deliveries_answers_and_observers(self, stage):
        """The result comes when nothing that the message set going is under way any more."""
        await stage.socket("alice")
        bob = await stage.socket("bob", delay=2)
        await stage.agent("bot", ["an answer"], delay=3)
        done = []

        @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
        async def observer(event, context):
            await asyncio.sleep(1)
            done.append(text_of(event.content))

        result = await stage.say()
        assert bob.texts() == ["hello", "an answer"]
        assert [text for text in done if text in ("hello", "an answer")] == ["hello", "an answer"]
        assert {name: one.state for name, one in result.delivery_results.items()} == {
            "bob": DeliveryState.SENT,
            "bot": DeliveryState.SENT,
        }
        assert asyncio.get_running_loop().time() >= 6

    async def test_committed_returns_at_the_commit(self, stage):
        """A webhook is answered before anything is delivered; the rest still happens."""
        await stage.socket("alice")
        bob = await stage.socket("bob", delay=10)
        await stage.agent("bot", ["an answer"], delay=10)
        result = await stage.say(wait="committed")
        assert asyncio.get_running_loop().time() == 0
        assert result.event.status is EventStatus.DELIVERED
        assert dict(result.delivery_results) == {}
        await stage.idle()
        assert bob.texts() == ["hello", "an answer"]

    async def test_a_caller_who_goes_away_stops_nothing(self, stage):
        """After the commit a cancellation ends the waiting alone."""
        await stage.socket("alice")
        bob = await stage.socket("bob", delay=5)
        task = stage.saying()
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await stage.idle()
        assert bob.texts() == ["hello"]

    @pytest.mark.parametrize("where", ["gate", "observer", "delivery", "agent"])
    async def test_a_call_from_inside_the_rooms_own_work_returns_at_the_commit(self, stage, where):
        alice = await stage.socket("alice")
        bob = await stage.socket("bob")
        said = []

        async def answer_back(event: RoomEvent) -> None:
            if text_of(event.content) == "hello" and not said:
                said.append(await stage.kit.send_event("r1", "bob", TextContent(body="echo")))

        if where == "gate":

            @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event, context):
                await answer_back(event)
                return HookResult.allow()

        elif where == "observer":

            @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
            async def observer(event, context):
                await answer_back(event)

        elif where == "delivery":

            async def deliver(event, binding, context, base=bob.deliver):
                await answer_back(event)
                return await base(event, binding, context)

            bob.deliver = deliver
        else:
            bot = await stage.agent("bot")

            async def on_event(event, binding, context, base=bot.on_event):
                await answer_back(event)
                return await base(event, binding, context)

            bot.on_event = on_event
        result = await asyncio.wait_for(stage.say(), 1)
        assert not result.blocked
        assert said[0].status is EventStatus.DELIVERED
        await stage.idle()
        assert alice.texts() == ["echo"]


class TestDeadline:
    @pytest.mark.parametrize("step", ["routing", "parsing", "lock", "gate", "load"])
    async def test_everything_before_the_commit_is_under_one_deadline(self, staging, step):
        """Whatever is slow, the message is refused in time and leaves nothing behind."""
        hang = Hang()
        async with staging(process_timeout=2) as stage:
            alice = await stage.socket("alice")
            room = "r1"
            if step == "routing":
                room = None

                async def route(*args, **kwargs):
                    await hang.wait()

                stage.kit._kernel.entry.inbound.finder.router.route = route
            elif step == "parsing":

                async def parse(message, context, base=alice.handle_inbound):
                    await hang.wait()
                    return await base(message, context)

                alice.handle_inbound = parse
            elif step == "gate":

                @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
                async def gate(event, context):
                    await hang.wait()
                    return HookResult.allow()

            elif step == "load":
                store = stage.kit.store

                async def load(room_id, *, base=store.load, **asked):
                    await hang.wait()
                    return await base(room_id, **asked)

                store.load = load
            started = asyncio.get_running_loop().time()
            if step == "lock":
                async with stage.kit.lock_manager.locked("r1"):
                    result = await stage.say()
            else:
                result = await stage.say(room=room)
            assert asyncio.get_running_loop().time() == started + 2
            assert (result.blocked, result.reason, result.event) == (True, "process_timeout", None)
            hang.release()
            assert await stage.timeline() == []
            assert stage.facts("process_timeout") == [{"timeout": 2}]

    async def test_steps_share_the_deadline(self, staging):
        """Half the time in parsing leaves half of it for the gate."""
        async with staging(process_timeout=2) as stage:
            alice = await stage.socket("alice")

            async def parse(message, context, base=alice.handle_inbound):
                await asyncio.sleep(1.5)
                return await base(message, context)

            alice.handle_inbound = parse

            @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event, context):
                await asyncio.sleep(1)
                return HookResult.allow()

            assert (await stage.say()).reason == "process_timeout"
            assert asyncio.get_running_loop().time() == 2

    async def test_nothing_after_the_commit_is_under_the_deadline(self, staging):
        """A delivery that takes longer than `process_timeout` is neither cut nor reported late."""
        async with staging(process_timeout=1) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob", delay=20)
            result = await stage.say()
            assert not result.blocked
            assert result.delivery_results["bob"].success
            assert bob.texts() == ["hello"]

    async def test_a_commit_under_way_is_never_cut(self, staging):
        """A store that takes longer than the deadline has committed, and the caller hears so."""

        class SlowStore(InMemoryStore):
            async def commit(self, commit):
                await asyncio.sleep(5)
                return await super().commit(commit)

        async with staging(process_timeout=1, store=SlowStore()) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob")
            result = await stage.say()
            assert not result.blocked
            assert bob.texts() == ["hello"]

    @pytest.mark.parametrize("late", [0.9, 0.999999, 1.0, 1.000001, 1.1])
    async def test_blocked_and_committed_exclude_each_other(self, staging, late):
        async with staging(process_timeout=1) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob")

            @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event, context):
                await asyncio.sleep(late)
                return HookResult.allow()

            result = await stage.say()
            stored = await stage.texts()
            assert result.blocked == (stored == [])
            assert bob.texts() == stored

    async def test_code_that_swallows_the_deadline_leaves_the_caller_uncancelled(self, staging):
        """A parser that eats its cancellation does not leave one behind in the caller's task."""
        async with staging(process_timeout=1) as stage:
            alice = await stage.socket("alice")

            async def stubborn(message, context, base=alice.handle_inbound):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(5)
                return await base(message, context)

            alice.handle_inbound = stubborn
            await stage.say()
            assert asyncio.current_task().cancelling() == 0

    async def test_a_timeout_of_somebody_else_is_not_ours(self, stage):
        """A TimeoutError raised by a channel's parser is the parser's failure."""
        alice = await stage.socket("alice")

        async def broken(message, context):
            raise TimeoutError("the vendor's clock")

        alice.handle_inbound = broken
        with pytest.raises(ForeignCodeError, match="alice raised TimeoutError") as caught:
            await stage.say()
        assert str(caught.value.__cause__) == "the vendor's clock"


class TestRoomStatus:
    @pytest.mark.parametrize("status", ["closed", "archived"])
    async def test_a_room_that_is_over_takes_nothing(self, stage, status):
        """Nothing is stored, delivered or answered; the reason is the room's status."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        if status == "archived":
            await stage.kit.archive_room("r1")
        else:
            await stage.kit.close_room("r1")
        before = await stage.timeline(messages=False)
        result = await stage.say()
        assert (result.blocked, result.reason, result.event) == (True, f"room_{status}", None)
        with pytest.raises(RoomClosedError, match=f"room 'r1' is {status}"):
            await stage.kit.send_event("r1", "alice", TextContent(body="a"))
        with pytest.raises(RoomClosedError):
            await stage.kit.attach_channel("r1", "alice")
        stage.kit.register_channel(RecordingChannel("sms"))
        assert (await stage.say(channel="sms")).reason == f"room_{status}"
        assert await stage.timeline(messages=False) == before
        assert bob.delivered == []

    async def test_a_message_that_waits_while_the_room_closes_is_refused(self, stage):
        """The status is looked at under the lock, not before it."""
        await stage.socket("alice")
        async with stage.kit.lock_manager.locked("r1"):
            closing = asyncio.create_task(stage.kit.close_room("r1"))
            await asyncio.sleep(0.1)
            talking = stage.saying()
            await asyncio.sleep(0.1)
        await closing
        assert (await talking).reason == "room_closed"

    async def test_an_unattached_channels_message_that_meets_a_closing_room_is_refused(self, stage):
        """Not an error: the same refusal as for any other message."""
        stage.kit.register_channel(RecordingChannel("sms"))
        async with stage.kit.lock_manager.locked("r1"):
            closing = asyncio.create_task(stage.kit.close_room("r1"))
            await asyncio.sleep(0.1)
            talking = stage.saying(channel="sms")
            await asyncio.sleep(0.1)
        await closing
        assert (await talking).reason == "room_closed"

    async def test_a_paused_room_resumes_with_the_message(self, stage):
        """In the very transaction that stores it."""
        await stage.socket("alice")
        room = await stage.kit.get_room("r1")
        await stage.kit.store.update_room(room.replace(status=RoomStatus.PAUSED))
        result = await stage.say()
        assert not result.blocked
        assert (await stage.kit.get_room("r1")).status is RoomStatus.ACTIVE
        assert stage.kinds().count("room_resumed") == 1

    async def test_a_refused_message_does_not_wake_a_paused_room(self, stage):
        await stage.socket("alice")
        room = await stage.kit.get_room("r1")
        await stage.kit.store.update_room(room.replace(status=RoomStatus.PAUSED))

        @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def refuse(event, context):
            return HookResult.block("spam")

        await stage.say()
        assert (await stage.kit.get_room("r1")).status is RoomStatus.PAUSED

    async def test_an_agents_late_answer_does_not_reopen_a_closed_room(self, stage):
        """Closed while it thought: its words are not added, and the ledger says why."""
        await stage.socket("alice")
        await stage.agent("bot", ["too late"], delay=5)
        talking = stage.saying()
        await asyncio.sleep(1)
        await stage.kit.close_room("r1")
        await talking
        assert await stage.texts() == ["hello"]


class TestFailingStore:
    async def test_a_store_that_cannot_commit_is_the_callers_to_know(self, staging):
        """The error comes out, nothing goes out, and the next message is served."""

        class Failing(InMemoryStore):
            fail = False

            async def commit(self, commit):
                if self.fail:
                    raise StoreError("the disk is full")
                return await super().commit(commit)

        async with staging(store=Failing()) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob")
            stage.kit.store.fail = True
            with pytest.raises(StoreError, match="the disk is full"):
                await stage.say("lost")
            stage.kit.store.fail = False
            await stage.say("kept")
            assert bob.texts() == ["kept"]

    async def test_a_room_that_changed_meanwhile_is_planned_again(self, staging):
        """Another worker muted the source between the plan and the commit: the mute holds."""

        class Contended(InMemoryStore):
            meddle = None

            async def commit(self, commit):
                if self.meddle is not None and commit.expected_version is not None:
                    meddle, self.meddle = self.meddle, None
                    await meddle()
                return await super().commit(commit)

        async with staging(store=Contended()) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob")
            binding = await stage.kit.get_binding("r1", "alice")

            async def mute():
                await stage.kit.store.update_binding(binding.replace(muted=True))

            stage.kit.store.meddle = mute
            result = await stage.say()
            assert result.reason == "source_muted"
            assert bob.delivered == []


class TestEphemeral:
    @pytest.mark.parametrize(
        "kind", [EventType.TYPING, EventType.PRESENCE, EventType.READ_RECEIPT, EventType.DELIVERY_RECEIPT]
    )
    async def test_a_signal_is_shown_and_not_stored(self, stage, kind):
        """It reaches the room's subscribers and leaves no entry."""
        await stage.socket("alice")
        heard = []

        async def hear(event):
            heard.append(event)

        await stage.kit.subscribe_room("r1", hear)
        result = await stage.say(event_type=kind)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not result.blocked
        assert await stage.timeline(messages=False) == await stage.kit.get_timeline("r1", limit=1)
        assert len(heard) == 1

    @pytest.mark.parametrize("kind", [EventType.TYPING, EventType.PRESENCE])
    async def test_the_host_cannot_store_a_signal_either(self, stage, kind):
        await stage.socket("alice")
        with pytest.raises(InvalidInputError, match="publish_"):
            await stage.kit.send_event("r1", "alice", TextContent(body=""), kind)


async def test_a_message_made_by_hand_reads_as_documented():
    """The door's own model is what the tests above send."""
    message = InboundMessage(channel_id="c", sender_id="s", content=TextContent(body="x"))
    assert message.event_type is EventType.MESSAGE


@pytest.mark.parametrize("kind", [EventType.MESSAGE, EventType.TYPING])
async def test_nothing_is_made_for_a_message_that_makes_no_room(stage, kind):
    await stage.socket("alice")
    stage.kit.register_channel(RecordingChannel("bob"))
    await stage.join(RecordingChannel("carol"))
    await stage.kit.detach_channel("r1", "carol")
    attempts = [("alice", "r9"), ("bob", "r1"), ("bob", None), ("carol", "r1"), ("alice", "r1")]
    reasons = []
    for channel_id, room_id in attempts:
        message = InboundMessage(
            channel_id=channel_id, sender_id="x", content=TextContent(body="hi"), event_type=kind
        )
        result = await stage.kit.process_inbound(message, room_id=room_id, make_room=False)
        reasons.append(result.reason)

    assert reasons == [
        "room_not_found",
        "channel_not_attached",
        "room_not_found",
        "channel_detached",
        None,
    ]
    assert [room.id for room in await stage.kit.store.list_rooms()] == ["r1"]
    assert [each.channel_id for each in await stage.kit.list_bindings("r1")] == ["alice"]


class Knowing(RecordingChannel):
    """A channel that knows which room a connection is in."""

    rooms = {"c1": "r1", "c2": "r2", "c9": "r9"}  # noqa: RUF012  # the test's own

    async def route(self, message):
        return self.rooms.get(message.connection_id)


async def test_a_message_goes_to_the_room_its_channel_knows_it_to_be_for(stage):
    """Before any router is asked, for as many people as there are; nothing is made for it."""
    await stage.join(Knowing("web"))
    for who in ("ann", "bob", "carol"):
        result = await stage.say("hi", channel="web", by=who, room=None, connection_id="c1")
        assert result.event.room_id == "r1"
    gone = await stage.say("hi", channel="web", by="ann", room=None, connection_id="c9")
    assert (gone.reason, gone.event) == ("room_not_found", None)
    named = await stage.say("hi", channel="web", by="ann", room="r1", connection_id="c9")
    assert named.event.room_id == "r1"
    unknown = await stage.say("hi", channel="web", by="dave", room=None, connection_id="c3")
    assert unknown.event.room_id != "r1"


async def test_a_room_of_another_organization_is_no_answer_of_a_channel(stage):
    """The message goes where it would have gone without."""
    await stage.kit.create_room("r2", organization_id="acme")
    await stage.join(Knowing("web"), "r1", "r2")
    message = InboundMessage(
        channel_id="web", sender_id="ann", content=TextContent(body="hi"), connection_id="c1"
    )
    result = await stage.kit.for_organization("acme").process_inbound(message)
    assert result.event.room_id == "r2"
