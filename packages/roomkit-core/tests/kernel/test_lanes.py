"""Lanes: each recipient sees order, and waits for no other recipient's provider."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelCapabilities, ChannelOutput, RateLimit, RetryPolicy
from roomkit.models.content import RichContent, TextContent, text_of
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType, DeliveryState, EventType, HookTrigger, LengthPolicy
from roomkit_plugins.testing import Hang, RecordingChannel, assert_history
from roomkit_plugins.testing import Recipient as Witness

pytestmark = pytest.mark.virtual_time

QUICK = RetryPolicy(max_retries=2, base_delay_seconds=1, jitter=0)
ONCE = RetryPolicy(max_retries=0)


def now():
    return asyncio.get_running_loop().time()


def failing(code, **details):
    return ProviderError(f"the vendor says {code}", error_code=code, **details)


class TestOrder:
    async def test_a_recipient_sees_commit_order_however_slow_it_is(self, stage):
        """Messages that come faster than they go out queue up in order."""
        await stage.socket("alice")
        bob = await stage.socket("bob", delay=1)
        await asyncio.gather(*(stage.say(str(number)) for number in range(10)))
        assert bob.texts() == await stage.texts()
        assert now() == 10

    async def test_order_holds_through_failures_and_retries(self, stage):
        """The next event waits until the one before was sent or given up."""
        await stage.socket("alice")
        script = [failing(ErrorCode.CONNECTION), None, failing(ErrorCode.AUTH), None]
        bob = await stage.socket("bob", script=script, retry_policy=QUICK)
        await asyncio.gather(*(stage.say(text) for text in ("a", "b", "c")))
        tried = [text_of(one.event.content) for one in bob.attempts]
        assert tried == ["a", "a", "b", "c"]
        assert bob.texts() == ["a", "c"]

    async def test_deliveries_to_one_binding_never_overlap(self, stage):
        """Even when the channel itself makes the next event while it delivers."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        inside = []

        async def deliver(event, binding, context, base=bob.deliver):
            inside.append(f"+{text_of(event.content)}")
            if text_of(event.content) == "hello":
                await stage.kit.send_event("r1", "alice", TextContent(body="echo"))
            await asyncio.sleep(0)
            inside.append(f"-{text_of(event.content)}")
            return await base(event, binding, context)

        bob.deliver = deliver
        await stage.say()
        await stage.idle()
        assert inside == ["+hello", "-hello", "+echo", "-echo"]

    async def test_an_agents_turns_never_overlap(self, stage):
        """Nor does an agent begin its next turn inside the one it is in."""
        await stage.socket("alice")
        bot = await stage.agent("bot")
        inside = []

        async def on_event(event, binding, context):
            inside.append(f"+{text_of(event.content)}")
            if text_of(event.content) == "hello":
                await stage.kit.send_event("r1", "alice", TextContent(body="echo"))
            inside.append(f"-{text_of(event.content)}")
            return ChannelOutput.empty()

        bot.on_event = on_event
        await stage.say()
        await stage.idle()
        assert inside == ["+hello", "-hello", "+echo", "-echo"]

    async def test_a_delivery_sees_the_history_its_recipient_may_see(self, stage):
        """The context of a delivery is the recipient's view, not the operator's."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        await stage.say("psst", visibility="none")
        await stage.say("hello")
        context = bob.attempts[-1].context
        assert [text_of(one.content) for one in context.recent_events] == ["hello"]


class TestIsolation:
    async def test_a_hanging_provider_delays_nobody_else(self, stage):
        """Not its neighbours in the room, not the next message, not another room."""
        await stage.kit.create_room("r2")
        alice = await stage.join(RecordingChannel("alice"), "r1", "r2")
        hang = Hang()
        await stage.join(RecordingChannel("dead", script=[hang]), "r1")
        carol = await stage.join(RecordingChannel("carol"), "r1", "r2")
        waiting = stage.saying("one")
        await hang.reached.wait()
        other = await stage.say("two", room="r2")
        assert other.delivery_results["carol"].success
        await stage.say("three", wait="committed")
        await asyncio.sleep(0)
        assert carol.texts() == ["one", "two", "three"]
        assert now() == 0
        hang.release()
        assert (await waiting).delivery_results["dead"].success
        assert alice.delivered == []

    async def test_a_channel_that_hangs_in_one_room_works_in_the_others(self, stage):
        """A lane is one room's: the same channel object goes on elsewhere."""
        await stage.kit.create_room("r2")
        await stage.join(RecordingChannel("alice"), "r1", "r2")
        hang = Hang()
        bob = await stage.join(RecordingChannel("bob", script=[hang]), "r1", "r2")
        stuck = stage.saying("one")
        await hang.reached.wait()
        await stage.say("two", room="r2")
        assert bob.texts() == ["two"]
        hang.release()
        await stuck

    async def test_a_delivery_that_never_ends_is_ended(self, staging):
        """Each attempt has its time; then it is a typed failure, and the next event goes on."""
        async with staging(delivery_timeout=5, retry_policy=ONCE) as stage:
            await stage.socket("alice")
            hang = Hang()
            bob = await stage.socket("bob", script=[hang])
            result = await stage.say("lost")
            assert now() == 5
            error = result.delivery_results["bob"].error
            assert (error.code, error.retryable) == (ErrorCode.TIMEOUT, True)
            assert hang.cancelled == 1
            await stage.say("next")
            assert bob.texts() == ["next"]

    async def test_a_slow_agent_delays_no_person(self, stage):
        """People see each other's words while it thinks for minutes."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        await stage.agent("bot", ["at last"], delay=300)
        thinking = stage.saying("one")
        await asyncio.sleep(1)
        await stage.say("two", addressed_to=())
        assert bob.texts() == ["one", "two"]
        assert now() == 1
        await thinking
        assert bob.texts() == ["one", "two", "at last"]

    async def test_a_dead_lane_of_cancellations_is_not_possible(self, stage):
        """A provider that raises CancelledError by itself has failed; the lane goes on."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        answers = iter([asyncio.CancelledError("the vendor's own"), None])

        async def deliver(event, binding, context, base=bob.deliver):
            if (error := next(answers)) is not None:
                raise error
            return await base(event, binding, context)

        bob.deliver = deliver
        result = await stage.say("one")
        assert result.delivery_results["bob"].error.message.startswith("CancelledError")
        await stage.say("two")
        assert bob.texts() == ["two"]


class TestRetry:
    @pytest.mark.parametrize("code", [each for each in ErrorCode if each is not ErrorCode.OPTED_OUT])
    async def test_only_what_may_pass_later_is_tried_again(self, stage, code):
        """By the error's class: a permanent failure makes one attempt; an opt-out is not a failure."""
        await stage.socket("alice")
        bob = await stage.socket("bob", script=[failing(code)] * 3, retry_policy=QUICK)
        result = await stage.say()
        attempts = 3 if code.retryable else 1
        assert len(bob.attempts) == attempts
        end = result.delivery_results["bob"]
        assert (end.state, end.error.code, end.error.retryable) == (
            DeliveryState.FAILED,
            code,
            code.retryable,
        )
        row = (await stage.ledger(result.event))["bob"]
        assert (row.state, row.attempts, row.error.code) == (DeliveryState.FAILED, attempts, code)

    async def test_a_retry_reuses_the_idempotency_key(self, stage):
        await stage.socket("alice")
        bob = await stage.socket("bob", script=[failing(ErrorCode.SERVER)], retry_policy=QUICK)
        await stage.say()
        keys = {one.context.delivery.id for one in bob.attempts}
        assert len(bob.attempts) == 2
        assert keys == {f"{bob.delivered[0].event.id}:bob"}

    async def test_pauses_grow_as_the_policy_says(self, stage):
        await stage.socket("alice")
        policy = RetryPolicy(
            max_retries=4, base_delay_seconds=1, exponential_base=3, max_delay_seconds=10, jitter=0
        )
        bob = await stage.socket("bob", script=[failing(ErrorCode.SERVER)] * 4, retry_policy=policy)
        await stage.say()
        assert [one.at for one in bob.attempts] == [0, 1, 4, 13, 23]

    async def test_a_vendors_retry_after_is_waited_for(self, stage):
        """When it is longer than the policy's own pause."""
        await stage.socket("alice")
        script = [
            failing(ErrorCode.RATE_LIMIT, retry_after=30),
            failing(ErrorCode.RATE_LIMIT, retry_after=0.1),
        ]
        bob = await stage.socket("bob", script=script, retry_policy=QUICK)
        await stage.say()
        assert [one.at for one in bob.attempts] == [0, 30, 32]

    async def test_a_refusal_in_a_normal_answer_is_a_failure(self, stage):
        """`success=False` is classified as an exception is, with the vendor's own code."""
        await stage.socket("alice")
        refused = ProviderResult(success=False, error="30003", retryable=False)
        busy = ProviderResult(success=False, error="busy", retryable=True, retry_after=7)
        sent = ProviderResult(success=True, provider_message_id="SM1", parts=("SM1", "SM2"))
        script = [ChannelOutput(provider_result=one) for one in (refused, busy, sent)]
        await stage.socket("bob", script=script, retry_policy=QUICK)
        first = (await stage.say("a")).delivery_results["bob"]
        assert (first.error.code, first.error.vendor_code) == (ErrorCode.INVALID_REQUEST, "30003")
        second = await stage.say("b")
        row = (await stage.ledger(second.event))["bob"]
        assert (row.attempts, row.provider_message_id, row.parts) == (2, "SM1", ("SM2",))
        assert now() == 7

    async def test_an_error_nobody_classified_is_permanent(self, stage):
        """One attempt, and the ledger says what it was."""
        await stage.socket("alice")
        bob = await stage.socket("bob", script=[KeyError("oops")], retry_policy=QUICK)
        end = (await stage.say()).delivery_results["bob"]
        assert len(bob.attempts) == 1
        assert (end.error.code, end.error.message) == (ErrorCode.UNKNOWN, "KeyError: 'oops'")

    async def test_nowhere_to_go_is_a_skip_with_a_reason(self, stage):
        await stage.socket("alice")
        await stage.socket("bob", script=[ChannelOutput.skipped("offline")])
        result = await stage.say()
        end = result.delivery_results["bob"]
        assert (end.state, end.reason) == (DeliveryState.SKIPPED, "offline")
        assert (await stage.ledger(result.event))["bob"].reason == "offline"
        assert [fact["reason"] for fact in stage.facts("delivery_skipped")] == ["offline"]

    async def test_a_binding_whose_channel_is_gone_fails_and_says_what_to_do(self, stage):
        """Attached, but not registered in this process."""
        await stage.socket("alice")
        await stage.socket("bob")
        await stage.agent("bot")
        await stage.kit.unregister_channel("bob")
        await stage.kit.unregister_channel("bot")
        result = await stage.say()
        for channel_id in ("bob", "bot"):
            error = result.delivery_results[channel_id].error
            assert error.code == "channel_not_registered"
            assert "register_channel it at start-up" in error.message

    async def test_some_failed_deliveries_are_told_together(self, stage):
        """How many of how many, and which."""
        await stage.socket("alice")
        await stage.socket("bob", script=[failing(ErrorCode.AUTH)])
        await stage.socket("carol")
        await stage.say()
        (fact,) = stage.facts("broadcast_partial_failure")
        assert dict(fact) == {"failed": 1, "total": 2, "errors": {"bob": ErrorCode.AUTH}}
        assert [one.channel_id for one in stage.told if one.type == "delivery_succeeded"] == ["carol"]
        assert [one.channel_id for one in stage.told if one.type == "delivery_failed"] == ["bob"]


class TestBreaker:
    async def opened(self, stage, script=(), **options):
        """Return a channel whose breaker has just opened."""
        await stage.socket("alice")
        bob = await stage.socket(
            "bob", script=[failing(ErrorCode.SERVER)] * 5 + list(script), retry_policy=ONCE, **options
        )
        for number in range(5):
            await stage.say(str(number))
        assert stage.kinds().count("circuit_breaker_opened") == 1
        return bob

    async def test_a_provider_that_keeps_failing_is_left_alone(self, stage):
        """Deliveries fail at once, with the time of the next try; nothing is sent."""
        bob = await self.opened(stage)
        end = (await stage.say()).delivery_results["bob"]
        assert (end.error.code, end.error.retry_after) == (ErrorCode.CIRCUIT_OPEN, 60)
        assert len(bob.attempts) == 5

    async def test_one_success_closes_it(self, stage):
        """After the pause one probe goes through, and then everything."""
        bob = await self.opened(stage)
        await asyncio.sleep(60)
        assert (await stage.say("probe")).delivery_results["bob"].success
        assert stage.kinds().count("circuit_breaker_closed") == 1
        await stage.say("after")
        assert bob.texts() == ["probe", "after"]

    async def test_a_failed_probe_opens_it_again(self, stage):
        bob = await self.opened(stage, [failing(ErrorCode.SERVER)])
        await asyncio.sleep(60)
        await stage.say("probe")
        await asyncio.sleep(59)
        assert (await stage.say()).delivery_results["bob"].error.code == ErrorCode.CIRCUIT_OPEN
        await asyncio.sleep(1)
        assert (await stage.say("again")).delivery_results["bob"].success
        assert len(bob.attempts) == 7

    async def test_only_one_probe_at_a_time(self, stage):
        """Two rooms share the channel's breaker: the second waits for the first one's verdict."""
        await stage.kit.create_room("r2")
        hang = Hang()
        bob = await self.opened(stage, [hang])
        await stage.kit.attach_channel("r2", "alice")
        await stage.kit.attach_channel("r2", "bob", retry_policy=ONCE)
        await asyncio.sleep(60)
        probing = stage.saying("probe")
        await hang.reached.wait()
        assert (await stage.say(room="r2")).delivery_results["bob"].error.code == ErrorCode.CIRCUIT_OPEN
        hang.release()
        await probing
        assert len(bob.attempts) == 6

    async def test_an_abandoned_probe_does_not_close_the_door_for_ever(self, staging):
        """A probe that was cut off by its time lets the next one be tried."""
        async with staging(delivery_timeout=1) as stage:
            bob = await self.opened(stage, [Hang()])
            await asyncio.sleep(60)
            await stage.say("late probe")
            await asyncio.sleep(60)
            assert (await stage.say("probe")).delivery_results["bob"].success
            assert bob.texts() == ["probe"]

    async def test_a_bad_recipient_does_not_open_it(self, stage):
        await stage.socket("alice")
        script = [failing(ErrorCode.INVALID_RECIPIENT)] * 10
        bob = await stage.socket("bob", script=script, retry_policy=ONCE)
        for _ in range(10):
            await stage.say()
        assert len(bob.attempts) == 10
        assert "circuit_breaker_opened" not in stage.kinds()

    async def test_a_delivery_waits_for_the_probe_when_its_policy_allows(self, stage):
        """An open breaker is a retryable failure with a known end."""
        bob = await self.opened(stage)
        await stage.kit.attach_channel("r1", "bob", retry_policy=QUICK)
        assert (await stage.say("patient")).delivery_results["bob"].success
        assert now() == 60
        assert bob.texts() == ["patient"]


class TestRateLimit:
    @pytest.mark.parametrize(
        ("limit", "times"),
        [
            (RateLimit(max_per_second=2), [0, 0, 0.5, 1.0]),
            (RateLimit(max_per_second=2, burst=1), [0, 0.5, 1.0, 1.5]),
            (RateLimit(max_per_minute=2), [0, 30, 60, 90]),
            (RateLimit(max_per_minute=2, burst=3), [0, 0, 0, 30]),
            (RateLimit(max_per_hour=1), [0, 3600, 7200, 10800]),
            (RateLimit(max_per_second=10, max_per_minute=2), [0, 0, 30, 60]),
            (RateLimit(max_per_second=1, max_per_minute=3, max_per_hour=60), [0, 1, 2, 20]),
        ],
        ids=["second", "second-burst", "minute", "minute-burst", "hour", "second-and-minute", "all"],
    )
    async def test_all_windows_are_kept_to(self, stage, limit, times):
        await stage.socket("alice")
        bob = await stage.socket("bob", rate_limit=limit)
        await asyncio.gather(*(stage.say(str(number)) for number in range(4)))
        assert [one.at for one in bob.attempts] == pytest.approx(times)
        assert bob.texts() == ["0", "1", "2", "3"]

    async def test_a_limit_is_one_bindings(self, stage):
        await stage.socket("alice")
        await stage.socket("bob", rate_limit=RateLimit(max_per_minute=1))
        carol = await stage.socket("carol")
        waiting = [stage.saying(str(number)) for number in range(3)]
        await asyncio.sleep(1)
        assert len(carol.delivered) == 3
        await asyncio.gather(*waiting)
        assert now() == 120

    async def test_retries_count_against_the_limit(self, stage):
        await stage.socket("alice")
        bob = await stage.socket(
            "bob",
            script=[failing(ErrorCode.SERVER)],
            rate_limit=RateLimit(max_per_minute=1),
            retry_policy=QUICK,
        )
        await stage.say()
        assert [one.at for one in bob.attempts] == [0, 60]


class TestLength:
    async def short(self, stage, most, **options):
        await stage.socket("alice")
        capabilities = RecordingChannel("x").capabilities().replace(max_length=most)
        return await stage.socket("sms", capabilities=capabilities, **options)

    async def test_long_text_is_split_and_nothing_is_lost(self, stage):
        """In order, each piece within the limit, with a key of its own and the event's id."""
        sms = await self.short(stage, 20)
        text = "One sentence here. Another one there. And a third."
        result = await stage.say(text)
        pieces = sms.texts()
        assert all(len(piece) <= 20 for piece in pieces)
        assert " ".join(pieces) == text
        keys = [one.context.delivery.id for one in sms.attempts]
        assert keys[0] == f"{result.event.id}:sms"
        assert len(set(keys)) == len(pieces)

    async def test_a_pieces_key_stays_its_own_through_retries(self, stage):
        """A failure in the middle repeats that piece alone."""
        script = [None, failing(ErrorCode.CONNECTION), None]
        sms = await self.short(stage, 3, script=script, retry_policy=QUICK)
        await stage.say("abcdef")
        assert [text_of(one.event.content) for one in sms.attempts] == ["abc", "def", "def"]
        keys = [one.context.delivery.id.partition(":sms")[2] for one in sms.attempts]
        assert keys[1] == keys[2] != keys[0]

    async def test_the_vendors_ids_of_all_pieces_are_kept(self, stage):
        """So that a receipt for any of them finds the delivery."""
        script = [
            ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id=f"SM{number}"))
            for number in range(2)
        ]
        await self.short(stage, 3, script=script)
        result = await stage.say("abcdef")
        row = (await stage.ledger(result.event))["sms"]
        assert (row.provider_message_id, row.parts) == ("SM0", ("SM1",))

    async def test_pieces_after_a_failed_one_are_not_sent(self, stage):
        """Half a message is a failed message."""
        sms = await self.short(stage, 3, script=[None, failing(ErrorCode.AUTH)])
        result = await stage.say("abcdefghi")
        assert len(sms.attempts) == 2
        assert not result.delivery_results["sms"].success

    async def test_truncation_fits_and_shows(self, stage):
        """With an ellipsis for missing messages."""
        sms = await self.short(stage, 5, length_policy=LengthPolicy.TRUNCATE)
        await stage.say("abcdefgh")
        assert sms.texts() == ["abcd…"]

    async def test_too_long_may_be_an_error(self, stage):
        sms = await self.short(stage, 5, length_policy=LengthPolicy.ERROR)
        result = await stage.say("abcdefgh")
        error = result.delivery_results["sms"].error
        assert (error.code, error.retryable) == (ErrorCode.TOO_LONG, False)
        assert "length_policy='split'" in error.message
        assert sms.attempts == []

    async def test_rich_text_is_measured_too(self, stage):
        """A body that is too long for the channel is cut as text."""
        await stage.socket("alice")
        capabilities = (
            RecordingChannel("x")
            .capabilities()
            .replace(media_types=(ChannelMediaType.TEXT, ChannelMediaType.RICH), max_length=10)
        )
        sms = await stage.socket("sms", capabilities=capabilities)
        await stage.say(RichContent(body="**bold words** and others", plain_text="bold words and others"))
        assert all(len(text) <= 10 for text in sms.texts())
        assert " ".join(sms.texts()) == "bold words and others"


class TestTranscoding:
    async def test_what_a_channel_cannot_carry_is_a_typed_failure(self, stage):
        await stage.socket("alice")
        capabilities = RecordingChannel("x").capabilities().replace(media_types=(ChannelMediaType.AUDIO,))
        await stage.socket("speaker", capabilities=capabilities)
        error = (await stage.say()).delivery_results["speaker"].error
        assert (error.code, error.retryable) == (ErrorCode.UNSUPPORTED_CONTENT, False)

    async def test_each_recipient_gets_what_it_can_show(self, stage):
        await stage.socket("alice")
        plain = await stage.socket("plain")
        capabilities = (
            RecordingChannel("x")
            .capabilities()
            .replace(media_types=(ChannelMediaType.TEXT, ChannelMediaType.RICH))
        )
        rich = await stage.socket("rich", capabilities=capabilities)
        content = RichContent(body="**hello**", plain_text="hello")
        result = await stage.say(content)
        assert plain.delivered[0].event.content == TextContent(body="hello")
        assert rich.delivered[0].event.content == content
        assert result.event.content == content

    async def test_a_transcoder_that_fails_is_a_failed_delivery(self, staging):
        """For the recipient that needed it, and for no other."""

        class Broken:
            async def transcode(self, content, source, target):
                raise RuntimeError("no table")

        async with staging(transcoder=Broken()) as stage:
            await stage.socket("alice")
            await stage.socket("bob")
            result = await stage.say(RichContent(body="x"))
            assert "no table" in result.delivery_results["bob"].error.message


class TestBacklog:
    async def test_a_full_lane_refuses_what_is_more(self, staging):
        async with staging(max_lane_backlog=2) as stage:
            await stage.socket("alice")
            hang = Hang()
            bob = await stage.socket("bob", script=[hang])
            first = stage.saying("0")
            await hang.reached.wait()
            results = [stage.saying(str(number)) for number in range(1, 5)]
            await asyncio.sleep(1)
            hang.release()
            await first
            ends = [(await one).delivery_results["bob"] for one in results]
            assert [end.success for end in ends] == [True, True, False, False]
            assert ends[-1].error.code == ErrorCode.OVERLOADED
            assert bob.texts() == ["0", "1", "2"]


class TestLedger:
    async def test_every_delivery_ends_in_the_ledger(self, stage):
        """Sent, failed or skipped, with who, when, how long and how often."""
        await stage.socket("alice")
        await stage.socket("bob", delay=2)
        await stage.socket("carol", script=[failing(ErrorCode.AUTH)])
        await stage.socket("dave", script=[ChannelOutput.skipped("offline")])
        await stage.agent("bot")
        result = await stage.say()
        rows = await stage.ledger(result.event)
        assert {name: row.state.value for name, row in rows.items()} == {
            "bob": "sent",
            "carol": "failed",
            "dave": "skipped",
            "bot": "sent",
        }
        assert all(row.finished_at is not None for row in rows.values())
        assert rows["bob"].duration_ms == 2000
        assert rows["bob"].id == f"{result.event.id}:bob"
        assert rows["bob"].event_index == result.event.index

    async def test_rows_are_pending_from_the_commit_on(self, stage):
        await stage.socket("alice")
        await stage.socket("bob", delay=5)
        result = await stage.say(wait="committed")
        assert (await stage.ledger(result.event))["bob"].state is DeliveryState.PENDING
        await stage.idle()
        assert (await stage.ledger(result.event))["bob"].state is DeliveryState.SENT

    async def test_settled_means_written_down(self, staging):
        """With a ledger that is slow to write, the result waits for every row of it."""

        class SlowLedger(InMemoryStore):
            async def record_deliveries(self, deliveries):
                await asyncio.sleep(5 if deliveries[0].channel_id == "bob" else 1)
                await super().record_deliveries(deliveries)

        async with staging(store=SlowLedger()) as stage:
            await stage.socket("alice")
            await stage.socket("bob", delay=1)
            await stage.socket("carol", delay=2)
            result = await stage.say()
            rows = await stage.ledger(result.event)
            assert {row.state for row in rows.values()} == {DeliveryState.SENT}

    async def test_a_ledger_that_cannot_be_written_keeps_observers_and_callers(self, staging):
        """The failure is reported; the message still settles and its observers run."""

        class BrokenLedger(InMemoryStore):
            async def complete(self, deliveries, **given):
                raise OSError("disk")

        async with staging(store=BrokenLedger()) as stage:
            await stage.socket("alice")
            bob = await stage.socket("bob")
            seen = stage.observe(HookTrigger.AFTER_BROADCAST)
            result = await stage.say()
            assert result.delivery_results["bob"].success
            assert bob.texts() == ["hello"]
            assert "hello" in [text_of(one.content) for one in seen]
            assert any("OSError: disk" in fact["error"] for fact in stage.facts("background_error"))

    async def test_the_history_of_a_busy_room_is_right(self, stage):
        """Order, once each, nothing lost, nothing betrayed, over slow and failing recipients."""
        await stage.socket("alice")
        channels = [
            await stage.socket("quick"),
            await stage.socket("slow", delay=0.7),
            await stage.socket(
                "flaky", script=[failing(ErrorCode.CONNECTION), None] * 20, retry_policy=QUICK
            ),
        ]
        await asyncio.gather(*(stage.say(str(number)) for number in range(20)))
        timeline = await stage.timeline(messages=False)
        bindings = {one.channel_id: one for one in await stage.kit.list_bindings("r1")}
        assert_history(timeline, [Witness(bindings[one.channel_id], one.events()) for one in channels])


async def test_a_reaction_goes_only_where_it_can_be_shown(stage):
    """A thumb sent as a text message is noise; the timeline keeps it for everybody."""
    await stage.socket("alice")
    plain = await stage.socket("plain")
    lively = await stage.socket("lively", capabilities=ChannelCapabilities(supports_reactions=True))
    result = await stage.say("👍", event_type=EventType.REACTION)
    assert list(result.delivery_results) == ["lively"]
    assert (plain.texts(), lively.texts()) == ([], ["👍"])


async def test_the_ledger_is_read_from_either_end(stage):
    """Page by page, by the kit and by the view of an organization alike."""
    kit = stage.kit
    await kit.create_room("r2", organization_id="acme")
    for channel_id in ("in", "out"):
        kit.register_channel(RecordingChannel(channel_id))
        await kit.attach_channel("r2", channel_id)
    for text in ("a", "b", "c"):
        await kit.send_event("r2", "in", TextContent(body=text))
    oldest = [row.id for row in await kit.list_deliveries("r2")]
    assert len(oldest) == 3
    for reader in (kit, kit.for_organization("acme")):
        first = await reader.list_deliveries("r2", newest_first=True, limit=2)
        rest = await reader.list_deliveries("r2", newest_first=True, after=first[-1].id)
        assert [row.id for row in (*first, *rest)] == oldest[::-1]
