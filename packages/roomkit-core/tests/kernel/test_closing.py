"""Closing a kit: once, in its time, finishing what can be finished and reporting all that could not."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import CloseError, KitClosedError
from roomkit.models.content import TextContent
from roomkit.models.enums import DeliveryState, DoubleText, HookTrigger
from roomkit_plugins.testing import Hang, RecordingChannel, ScriptedIntelligence, assert_nothing_leaks

pytestmark = pytest.mark.virtual_time


def now():
    return asyncio.get_running_loop().time()


@pytest.fixture
def closing(bare_stage):
    """Return what makes a stage that the test closes itself."""

    async def make(**options):
        stage = await bare_stage(**options).open()
        await stage.socket("alice")
        return stage

    return make


def rows_of(stage):
    return {row.channel_id: row for row in stage.kit._kernel.ground.store._ledger._rows.values()}


def others():
    """Return the tasks that are not the test's own."""
    return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]


class TestOrderly:
    async def test_an_idle_kit_closes_at_once(self, closing):
        stage = await closing()
        bob = await stage.socket("bob")
        await stage.kit.close()
        assert now() == 0
        assert bob.closed

    async def test_closing_twice_is_closing_once(self, closing):
        """Later calls wait for the first and raise nothing."""
        stage = await closing()

        class Fragile(RecordingChannel):
            closes = 0

            async def close(self):
                self.closes += 1
                await asyncio.sleep(2)
                raise OSError("the socket")

        fragile = await stage.join(Fragile("fragile"))
        first = asyncio.create_task(stage.kit.close())
        await asyncio.sleep(1)
        second = asyncio.create_task(stage.kit.close())
        await asyncio.wait([first, second])
        await stage.kit.close()
        assert isinstance(first.exception(), CloseError)
        assert second.exception() is None
        assert now() == 2
        assert fragile.closes == 1

    async def test_a_caller_who_gives_up_does_not_stop_it(self, closing):
        """The closing goes on; the next caller waits for its end."""
        stage = await closing()
        bob = await stage.socket("bob", delay=3)
        await stage.say(wait="committed")
        first = asyncio.create_task(stage.kit.close())
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.wait([first])
        await stage.kit.close()
        assert bob.texts() == ["hello"]
        assert bob.closed

    async def test_what_is_under_way_is_finished(self, closing):
        """Deliveries, answers and observers end before channels are closed."""
        stage = await closing()
        order = []
        bob = await stage.socket("bob", delay=1)

        async def close():
            order.append("closed")

        bob.close = close
        await stage.agent("bot", ["an answer"], delay=2)

        @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
        async def observer(event, context):
            await asyncio.sleep(1)
            order.append(event.content.body)

        await stage.say(wait="committed")
        await stage.kit.close()
        assert bob.texts() == ["hello", "an answer"]
        assert order[-3:] == ["hello", "an answer", "closed"]

    async def test_new_work_is_refused_while_it_closes(self, closing):
        stage = await closing()
        await stage.socket("bob", delay=3)
        await stage.say(wait="committed")
        task = asyncio.create_task(stage.kit.close())
        await asyncio.sleep(1)
        for call in (
            stage.say(),
            stage.kit.create_room("late"),
            stage.kit.send_event("r1", "alice", TextContent(body="late")),
            stage.kit.attach_channel("r1", "bob"),
            stage.kit.close_room("r1"),
        ):
            with pytest.raises(KitClosedError, match="takes no new work"):
                await call
        with pytest.raises(KitClosedError):
            stage.kit.register_channel(RecordingChannel("late"))
        await task


class TestBounded:
    async def test_what_does_not_end_is_cut_and_stays_pending(self, closing):
        stage = await closing(close_timeout=10)
        hang = Hang()
        await stage.socket("bob", script=[hang])
        await stage.socket("carol")
        waiting = stage.saying()
        await hang.reached.wait()
        await stage.say("behind it", wait="committed")
        await stage.kit.close()
        assert now() <= 10
        assert hang.cancelled == 1
        assert "bob" not in rows_of(stage)
        rows = await stage.kit.store.list_deliveries("r1", channel_id="bob")
        assert [row.state for row in rows] == [DeliveryState.PENDING] * 2
        assert rows_of(stage)["carol"].state is DeliveryState.SENT
        result = await waiting
        assert "bob" not in result.delivery_results
        assert others() == []

    async def test_an_agent_at_work_is_cut_and_stays_pending(self, closing):
        stage = await closing(close_timeout=4)
        bot = await stage.agent("bot", ["never"], delay=1000)
        waiting = stage.saying()
        await asyncio.sleep(1)
        await stage.kit.close()
        assert bot.cancelled == 1
        (row,) = await stage.kit.store.list_deliveries("r1", channel_id="bot")
        assert row.state is DeliveryState.PENDING
        assert (await waiting).event is not None
        assert others() == []

    @pytest.mark.parametrize("part", ["delivery", "agent", "observer", "handler", "channel close"])
    async def test_what_hangs_holds_it_no_longer_than_its_time(self, closing, part):
        """Whatever it is, and nothing of it runs afterwards."""
        stage = await closing(close_timeout=5)
        hang = Hang()
        if part == "delivery":
            await stage.socket("bob", script=[hang])
        elif part == "agent":
            await stage.agent("bot", [hang])
        elif part == "observer":

            @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
            async def observer(event, context):
                await hang.wait()

        elif part == "handler":

            @stage.kit.on("event_processed")
            async def handler(event):
                await hang.wait()

        else:
            bob = await stage.socket("bob")
            bob.close = hang.wait
        await stage.say(wait="committed")
        if part == "channel close":
            with pytest.raises(CloseError) as caught:
                await stage.kit.close()
            assert "channel bob did not end" in str(caught.value.exceptions[0])
        else:
            await stage.kit.close()
        assert now() <= 5.2
        assert hang.cancelled == 1
        assert others() == []

    async def test_nothing_that_a_cut_sets_going_outlives_the_kit(self, closing):
        """A cut delivery ends its event: the observers of that are not begun by a kit that closes."""
        stage = await closing(close_timeout=4)
        seen = []
        hang = Hang()
        await stage.socket("bob", script=[hang])

        @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
        async def observer(event, context):
            seen.append(event.content.body)
            await asyncio.sleep(1000)

        waiting = stage.saying()
        await hang.reached.wait()
        seen.clear()
        await stage.kit.close()
        assert seen == []
        assert waiting.done()
        assert others() == []

    async def test_a_lane_that_is_interrupted_while_it_closes_ends(self, closing):
        """The kit's end outranks a message's interruption."""
        stage = await closing(close_timeout=4)
        await stage.agent("bot", ["a", "b"], delay=1000, double_text=DoubleText.INTERRUPT)
        waiting = [stage.saying("one")]
        await asyncio.sleep(1)
        waiting.append(stage.saying("two"))
        await asyncio.sleep(0)
        await stage.kit.close()
        await asyncio.wait(waiting)
        assert others() == []

    async def test_closing_from_inside_the_rooms_work_ends(self, closing):
        """An observer that closes the kit is cut like any work, and the kit is closed."""
        stage = await closing(close_timeout=4)
        bob = await stage.socket("bob")

        @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
        async def enough(event, context):
            await stage.kit.close()

        task = stage.saying()
        await asyncio.wait([task])
        await stage.kit.close()
        assert bob.closed
        assert now() <= 5
        assert others() == []


class TestReport:
    async def test_every_failure_is_reported_together(self, closing):
        """One broken part does not keep the others from being closed."""

        class Broken(RecordingChannel):
            async def close(self):
                self.closed = True
                if self.channel_id == "cancelled":
                    raise asyncio.CancelledError
                raise OSError(f"cannot close {self.channel_id}")

        stage = await closing()
        for name in ("one", "cancelled", "two"):
            await stage.join(Broken(name))
        bob = await stage.socket("bob")

        async def broken_store():
            raise OSError("cannot close the store")

        stage.kit.store.close = broken_store
        with pytest.raises(CloseError) as caught:
            await stage.kit.close()
        told = [str(error) for error in caught.value.exceptions]
        assert told[0] == "cannot close one"
        assert "channel cancelled raised a CancelledError without being cancelled" in told[1]
        assert told[2:] == ["cannot close two", "cannot close the store"]
        assert caught.value.exceptions[0].__notes__ == ["while closing: channel one"]
        assert bob.closed


class TestPushedCallbacks:
    async def test_they_run_last_first_with_their_arguments_between_channels_and_store(self, closing):
        stage = await closing()
        order = []

        class Noted(RecordingChannel):
            async def close(self):
                order.append("channel")

        await stage.join(Noted("noted"))
        store_close = stage.kit.store.close

        async def close_store():
            order.append("store")
            await store_close()

        async def note(name, *, suffix=""):
            order.append(name + suffix)

        stage.kit.store.close = close_store
        stage.kit.push_async_callback(note, "first")
        stage.kit.push_async_callback(note, "second", suffix="!")
        await stage.kit.close()
        assert order == ["channel", "second!", "first", "store"]

    async def test_every_failure_is_collected_and_stops_no_other(self, closing):
        """A CancelledError of its own counts as one; a note names the callback."""
        stage = await closing()
        ran = []

        async def fail(name, error):
            ran.append(name)
            raise error

        stage.kit.push_async_callback(fail, "first", OSError("socket in use"))
        stage.kit.push_async_callback(fail, "second", asyncio.CancelledError())
        stage.kit.push_async_callback(fail, "third", ValueError("no such file"))
        with pytest.raises(CloseError) as caught:
            await stage.kit.close()
        assert ran == ["third", "second", "first"]
        third, second, first = caught.value.exceptions
        assert (str(third), str(first)) == ("no such file", "socket in use")
        assert "raised a CancelledError without being cancelled" in str(second)
        assert "fail" in third.__notes__[0]

    async def test_one_that_hangs_is_cancelled_within_close_timeout(self, closing):
        """The ones below it are still called."""
        stage = await closing(close_timeout=5)
        hang, ran = Hang(), []

        async def note():
            ran.append("first")

        stage.kit.push_async_callback(note)
        stage.kit.push_async_callback(hang.wait)
        with pytest.raises(CloseError) as caught:
            await stage.kit.close()
        (late,) = caught.value.exceptions
        assert "callback Hang.wait did not end" in str(late)
        assert hang.cancelled == 1
        assert ran == ["first"]
        assert now() <= 5.2
        assert others() == []

    async def test_one_that_was_withdrawn_is_not_called_and_the_same_one_pushed_twice_is_called_twice(
        self, closing
    ):
        stage = await closing()
        ran = []

        async def note(name):
            ran.append(name)

        withdraw = stage.kit.push_async_callback(note, "a")
        stage.kit.push_async_callback(note, "a")
        stage.kit.push_async_callback(note, "b")
        withdraw()
        withdraw()
        await stage.kit.close()
        assert ran == ["b", "a"]

    async def test_one_may_withdraw_itself_or_another_while_the_kit_closes(self, closing):
        stage = await closing()
        ran, withdrawals = [], []

        async def note(name):
            ran.append(name)
            for withdraw in withdrawals:
                withdraw()

        withdrawals.append(stage.kit.push_async_callback(note, "first"))
        stage.kit.push_async_callback(note, "second")
        withdrawals.append(stage.kit.push_async_callback(note, "third"))
        await stage.kit.close()
        assert ran == ["third", "second"]

    async def test_a_closed_kit_and_one_that_closes_refuse_them(self, closing):
        stage = await closing()
        refused = []

        async def note():
            with pytest.raises(KitClosedError):
                stage.kit.push_async_callback(note)
            refused.append("closing")

        stage.kit.push_async_callback(note)
        await stage.kit.close()
        with pytest.raises(KitClosedError):
            stage.kit.push_async_callback(note)
        assert refused == ["closing"]


class TestTraffic:
    async def test_closing_during_traffic_loses_nothing_that_was_acknowledged(self, closing):
        """Each message was refused or is in the timeline, and each of its rows says how it stands."""
        stage = await closing(close_timeout=6)
        await stage.kit.create_room("r2")
        await stage.kit.attach_channel("r2", "alice")
        slow = await stage.join(RecordingChannel("slow", delay=0.4), "r1", "r2")
        await stage.join(ScriptedIntelligence("bot", (str(n) for n in range(99)), delay=0.3), "r1")
        outcomes = []

        async def talk(room):
            for number in range(40):
                try:
                    outcomes.append(await stage.say(str(number), room=room, wait="committed"))
                except KitClosedError as error:
                    outcomes.append(error)
                await asyncio.sleep(0.05)

        talkers = [asyncio.create_task(talk(room)) for room in ("r1", "r2")]
        await asyncio.sleep(1)
        await stage.kit.close()
        await asyncio.wait(talkers)
        store = stage.kit.store
        accepted = [one for one in outcomes if not isinstance(one, KitClosedError)]
        assert 0 < len(accepted) < len(outcomes)
        delivered = {event.id for event in slow.events()}
        for result in accepted:
            assert await store.get_event(result.event.id) == result.event
            row = await store.get_delivery(f"{result.event.id}:slow")
            assert (row.state is DeliveryState.SENT) == (result.event.id in delivered)
        assert others() == []


class TestLeaks:
    async def test_kits_come_and_go_without_a_trace(self, bare_stage):
        """Tasks, threads and descriptors are flat over many of them."""

        async def cycle():
            stage = await bare_stage().open()
            await stage.socket("alice", streaming=True)
            await stage.agent("bot", ["one two"], streaming=True, word_delay=0.1)
            await stage.say()
            await stage.kit.close()

        await assert_nothing_leaks(cycle, cycles=30)

    async def test_messages_come_and_go_without_a_trace(self, staging):
        """Neither sent, failed, blocked, repeated nor timed out ones leave anything in the kit."""
        async with staging(process_timeout=1, delivery_timeout=1) as stage:
            await stage.socket("alice")
            hang = Hang()
            await stage.socket("bob", script=[None, ValueError("a bug"), hang] * 100)
            await stage.agent("bot", [ValueError("a bug"), "an answer"] * 100)

            async def cycle():
                for number in range(3):
                    await stage.say(str(number), idempotency_key=f"k{number}")
                async with stage.kit.lock_manager.locked("r1"):
                    await stage.say("late")
                talking = stage.saying("gone")
                talking.cancel()
                await asyncio.wait([talking])
                await stage.idle()
                assert not any(stage.leftovers().values())

            await assert_nothing_leaks(cycle, cycles=10)
            assert len(stage.kit._kernel.entry.inbound._routing._known) <= 1
