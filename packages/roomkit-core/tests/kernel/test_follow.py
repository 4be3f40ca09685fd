"""Followers of rooms: lost signals, failures of one follower, and the resources they leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit.abc.errors import FollowEndedError, InvalidInputError
from roomkit.kernel.following.signals import LONGEST_EVENT, topic_of
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import Access, EphemeralEventType, HookTrigger
from roomkit.models.hook import HookResult
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, VirtualClock, assert_nothing_leaks
from roomkit_plugins.testing.contracts.store.follows import LossyRealtime, Screen, SharedChannel

pytestmark = pytest.mark.virtual_time

ROOM, WEB = "r1", "web"
TOPIC = topic_of(ROOM, WEB)


class SharedStore(InMemoryStore):
    """A store of several kits that can be out of reach."""

    is_gone = False
    reads = 0

    @property
    def is_process_local(self) -> bool:
        return False

    async def load(self, *args: Any, **options: Any) -> Any:
        if self.is_gone:
            raise ConnectionError("gone")
        return await super().load(*args, **options)

    async def list_events(self, *args: Any, **options: Any) -> Any:
        self.reads += 1
        return await super().list_events(*args, **options)

    async def close(self) -> None:
        """Stay open for the others."""


class Bus(LossyRealtime):
    """A backend that can be down, deaf to a topic, or refuse large payloads."""

    is_down = False
    loses = False
    refuses_events = False

    def __init__(self) -> None:
        super().__init__()
        self.signals: list[EphemeralEvent] = []

    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        if self.is_down or (self.refuses_events and "event" in event.data):
            raise ConnectionError("down")
        if channel.startswith("websocket:"):
            self.signals.append(event)
            if self.loses:
                return
        await super().publish(channel, event)

    async def subscribe(self, channel: str, callback: Any) -> str:
        if self.is_down and channel.startswith("websocket:"):
            raise ConnectionError("down")
        return await super().subscribe(channel, callback)


class Pair:
    """Two workers on one store; the room has a channel that is shared between them."""

    def __init__(self) -> None:
        self.store, self.bus, self.locks = SharedStore(), Bus(), InMemoryLockManager()
        self.here, self.there = [
            RoomKit(
                store=self.store,
                lock_manager=self.locks,
                realtime=self.bus,
                clock=VirtualClock(),
                single_process=True,
            )
            for _ in range(2)
        ]
        for kit in (self.here, self.there):
            kit.register_channel(SharedChannel(WEB))

    async def open(self) -> Pair:
        await self.here.start()
        await self.there.start()
        await self.here.create_room(ROOM)
        await self.here.attach_channel(ROOM, WEB)
        return self

    async def say(self, *texts: str, kit: RoomKit | None = None, **options: Any) -> None:
        """Have something said, by default on the worker that has no follower."""
        for text in texts:
            await (kit or self.there).send_event(ROOM, "system", TextContent(body=text), **options)

    async def watch(self, kit: RoomKit | None = None, **options: Any) -> Screen:
        """Follow the room, by default on this worker."""
        screen = Screen()
        await screen.follow(kit or self.here, ROOM, **options).begun()
        return screen

    async def agent(self, *answers: Any, **options: Any) -> ScriptedIntelligence:
        """Have an agent answer on the other worker."""
        agent = ScriptedIntelligence("agent", answers, streaming=True, **options)
        self.there.register_channel(agent)
        await self.there.attach_channel(ROOM, "agent")
        return agent


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = await Pair().open()
    yield pair
    await pair.there.close()
    await pair.here.close()


# -- lost signals -----------------------------------------------------------------------------------


async def test_events_that_follow_one_another_cost_no_read(pair: Pair) -> None:
    screen = await pair.watch()
    await pair.say("one")
    await screen.sees("one")
    before = pair.store.reads
    await pair.say("two", "three")
    await screen.sees("three")
    await pair.say("four", kit=pair.here)
    await screen.sees("four")
    assert (screen.texts, pair.store.reads) == (["one", "two", "three", "four"], before)


async def test_the_last_event_of_a_quiet_room_is_found_without_its_signal(pair: Pair) -> None:
    screen = await pair.watch()
    pair.bus.loses = True
    await pair.say("lost")
    await asyncio.sleep(1)
    assert screen.texts == []
    await asyncio.sleep(70)
    assert screen.texts == ["lost"]


async def test_an_event_too_large_for_a_signal_is_read_from_the_store(pair: Pair) -> None:
    """Also one that only the backend finds too large."""
    screen = await pair.watch()
    large = "ж" * LONGEST_EVENT
    await pair.say(large, "small")
    await screen.sees("small")
    pair.bus.refuses_events = True
    await pair.say("refused")
    await screen.sees("refused")
    assert screen.texts == [large, "small", "refused"]


async def test_a_backend_that_is_down_holds_up_nothing_here(pair: Pair) -> None:
    """Other workers are shown what they missed once it is back, also those that began while it was down."""
    near, far = await pair.watch(pair.there), await pair.watch()
    pair.bus.is_down = True
    late = await pair.watch()
    await pair.say("one", "two")
    await near.sees("two")
    await asyncio.sleep(10)
    assert far.texts == late.texts == []
    pair.bus.is_down = False
    await asyncio.sleep(20)
    assert near.texts == far.texts == late.texts == ["one", "two"]


async def test_signals_that_cannot_be_published_are_replaced_by_the_newest_index(pair: Pair) -> None:
    """So that a backend that is down for long costs no memory."""
    screen = await pair.watch()
    pair.bus.is_down = True
    texts = [str(number) for number in range(1100)]
    await pair.say(*texts)
    pair.bus.is_down = False
    await asyncio.sleep(20)
    assert screen.texts == texts
    assert len(pair.bus.signals) < 200


async def test_a_store_out_of_reach_is_asked_again(pair: Pair) -> None:
    screen = await pair.watch()
    pair.bus.loses = True
    await pair.say("lost")
    pair.bus.loses = False
    await pair.say("next")
    pair.store.is_gone = True
    await asyncio.sleep(5)
    pair.store.is_gone = False
    await asyncio.sleep(20)
    assert screen.texts == ["lost", "next"]


async def test_a_signal_gives_no_rights(pair: Pair) -> None:
    """What it says is judged by the room; anything but a signal of the channel's is ignored."""
    screen = await pair.watch()
    await pair.say("one")
    await screen.sees("one")
    hidden = screen.events[-1].replace(id="forged", index=screen.events[-1].index + 1, visibility="internal")
    elsewhere = hidden.replace(room_id="other", visibility="all")
    growing = {"kind": "growing", "stream_id": "s", "offset": 0, "text": "x"}
    source = screen.events[-1].source.model_dump_json()
    bodies: list[dict[str, Any]] = [
        {"kind": "committed", "index": hidden.index, "event": hidden.model_dump_json()},
        {"kind": "committed", "index": hidden.index, "event": elsewhere.model_dump_json()},
        {"kind": "committed", "index": 10**9},
        {"kind": "committed", "index": -5},
        {"kind": "committed", "index": "x"},
        {"kind": "committed", "index": hidden.index, "event": "{}"},
        {**growing, "source": "{}"},
        {**growing, "source": source, "visibility": "sms"},
        {**growing, "source": source, "offset": -1},
        {**growing, "source": source, "stream_id": 7},
        growing,
        {"kind": "broken", "stream_id": "s", "error": "x"},
        {"kind": "broken", "stream_id": "s"},
        {"kind": "rebound"},
        {"kind": "unheard of"},
        {},
    ]
    for channel_id in (WEB, "other"):
        for body in bodies:
            signal = EphemeralEvent(
                room_id=ROOM, type=EphemeralEventType.CUSTOM, user_id="?", channel_id=channel_id, data=body
            )
            await pair.bus.publish(TOPIC, signal)
    await pair.say("two")
    await screen.sees("two")
    assert (screen.texts, screen.pieces) == (["one", "two"], [])


# -- answers while they are generated ---------------------------------------------------------------


async def test_who_begins_during_an_answer_gets_its_text_so_far(pair: Pair) -> None:
    """On every worker; elsewhere within seconds."""
    answer = "word " * 100
    await pair.agent(answer, word_delay=0.1)
    early = await pair.watch()
    asking = asyncio.create_task(pair.say("?"))
    await early.until(lambda: early.pieces)
    late = [await pair.watch(), await pair.watch(pair.there)]
    await asyncio.sleep(6)
    assert all("".join(piece.text for piece in one.pieces).startswith("word ") for one in late)
    await asking
    for one in (early, *late):
        await one.sees(answer)
        assert "".join(piece.text for piece in one.pieces) == answer


async def test_an_answer_that_fails_ends_everywhere(pair: Pair) -> None:
    """With an error where nothing of it was committed."""
    screens = [await pair.watch(), await pair.watch(pair.there)]
    await pair.agent("word " * 100, word_delay=0.1)

    async def withhold(event: Any, context: Any) -> HookResult:
        return HookResult.block("no") if event.source.channel_id == "agent" else HookResult.allow()

    pair.there.hook(HookTrigger.BEFORE_BROADCAST, streams="segments")(withhold)
    await pair.say("?")
    await asyncio.sleep(5)
    assert [[piece.error for piece in one.pieces if piece.error] for one in screens] == [
        ["answer_withheld"]
    ] * 2


async def test_an_answer_whose_worker_died_is_given_up(pair: Pair) -> None:
    screen = await pair.watch()
    await pair.agent("word " * 2000, word_delay=0.1)
    asking = asyncio.create_task(pair.say("?"))
    await asyncio.sleep(60)
    assert screen.pieces[-1].error is None
    pair.bus.loses = True
    await asyncio.sleep(40)
    assert screen.pieces[-1].error == "answer_failed"
    assert not pair.here._kernel.sending.follows.feeds[ROOM][WEB].growths
    asking.cancel()


async def test_an_answer_that_is_not_for_the_channel_does_not_grow_there(pair: Pair) -> None:
    screens = [await pair.watch(), await pair.watch(pair.there)]
    await pair.agent("secret " * 50, word_delay=0.1)
    await pair.there.set_visibility(ROOM, "agent", "none")
    await pair.say("?")
    await asyncio.sleep(20)
    assert [screen.pieces for screen in screens] == [[], []]


async def test_an_answer_ends_where_the_channel_loses_the_right_to_read(pair: Pair) -> None:
    screens = [await pair.watch(), await pair.watch(pair.there)]
    await pair.agent("word " * 100, word_delay=0.1)
    asking = asyncio.create_task(pair.say("?"))
    for screen in screens:
        await screen.until(lambda screen=screen: screen.pieces)
    await pair.here.set_access(ROOM, WEB, Access.WRITE_ONLY)
    await asyncio.sleep(1)
    assert [screen.pieces[-1].error for screen in screens] == ["answer_withheld"] * 2
    await asking
    assert all(text_of(screen.events[-1].content) == "?" for screen in screens)


# -- failures of a follower -------------------------------------------------------------------------


async def test_a_follower_that_fails_ends_alone_and_says_where(pair: Pair) -> None:
    other = await pair.watch()

    async def fail(event: Any) -> None:
        raise OSError("the pipe is broken")

    follow = pair.here.services.homes.follow(ROOM, WEB, fail)
    await follow.begun()
    await pair.say("one", "two")
    with pytest.raises(
        FollowEndedError, match=r"raised OSError: the pipe is broken; follow again with after="
    ):
        await follow.wait()
    await other.sees("two")
    assert other.texts == ["one", "two"]


async def test_a_follower_that_takes_too_long_is_dropped_with_the_index_to_go_on_from(pair: Pair) -> None:
    screen, other = Screen(), await pair.watch()
    follow = screen.follow(pair.here, ROOM)
    await follow.begun()
    await pair.say("one")
    await screen.sees("one")
    screen.is_open.clear()
    await pair.say("two", "three")
    await other.sees("three")
    with pytest.raises(FollowEndedError, match="it took longer than 30 s") as ended:
        await follow.wait()
    assert (ended.value.reason, ended.value.index) == ("too_slow", screen.events[-1].index)
    resumed = await pair.watch(after=ended.value.index)
    await resumed.sees("three")
    assert resumed.texts == ["two", "three"]


async def test_a_room_made_again_under_its_id_is_another_one(pair: Pair) -> None:
    screen = Screen()
    follow = screen.follow(pair.here, ROOM)
    await follow.begun()
    await asyncio.sleep(1)
    await pair.there.delete_room(ROOM)
    await pair.there.create_room(ROOM)
    await pair.there.attach_channel(ROOM, WEB)
    await pair.say("new")
    with pytest.raises(FollowEndedError, match="the room was deleted"):
        await follow.wait()
    again = await pair.watch()
    await pair.say("newer")
    await again.sees("newer")
    assert (screen.texts, again.texts) == ([], ["newer"])


async def test_a_room_can_be_followed_before_the_channel_is_attached(pair: Pair) -> None:
    screen = Screen()
    follow = screen.follow(pair.here, "later")
    await follow.begun()
    await pair.there.create_room("later")
    await pair.there.attach_channel("later", WEB)
    await pair.there.send_event("later", "system", TextContent(body="hello"))
    await screen.sees("hello")
    assert follow.binding is not None


async def test_what_is_committed_while_a_follower_begins_is_shown(pair: Pair) -> None:
    screen = Screen()
    follow = screen.follow(pair.here, ROOM)
    await pair.say("one", kit=pair.here)
    await follow.begun()
    await screen.sees("one")


async def test_a_channel_that_does_not_follow_rooms_can_be_followed_too(pair: Pair) -> None:
    """It is delivered to as ever; the look at quiet rooms finds what other workers commit."""
    for kit in (pair.here, pair.there):
        kit.register_channel(RecordingChannel("sms"))
    await pair.here.attach_channel(ROOM, "sms")
    screen = Screen()
    await screen.follow(pair.here, ROOM, "sms").begun()
    await pair.say("near", kit=pair.here)
    await asyncio.sleep(0.01)
    assert screen.texts == ["near"]
    await pair.say("far")
    await asyncio.sleep(70)
    assert screen.texts == ["near", "far"]
    assert [text_of(one.event.content) for one in pair.here.get_channel("sms").delivered] == ["near"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"show": None}, "show of follow"),
        ({"pieces": 7}, "pieces of follow"),
        ({"changed": "x"}, "changed of follow"),
        ({"after": -2}, "give it the index of an event"),
        ({"after": "7"}, r"str cannot be a after: follow\(\) takes int | None"),
        ({"after": True}, "give it the index of an event"),
    ],
)
async def test_what_cannot_be_followed_with_is_refused(
    pair: Pair, arguments: dict[str, Any], said: str
) -> None:
    show = arguments.pop("show", Screen().show)
    with pytest.raises(InvalidInputError, match=said):
        pair.here.services.homes.follow(ROOM, WEB, show, **arguments)


# -- costs, and resources left behind ---------------------------------------------------------------


async def test_a_single_process_publishes_nothing(stage: Any) -> None:
    """A kit whose data no other process has; its followers see everything."""
    stage.kit.register_channel(SharedChannel(WEB))
    await stage.kit.attach_channel(ROOM, WEB)
    screen = Screen()
    follow = screen.follow(stage.kit, ROOM)
    await follow.begun()
    await stage.kit.send_event(ROOM, "system", TextContent(body="hi"))
    await screen.sees("hi")
    assert stage.kit.realtime.subscription_count == 0
    follow.stop()
    assert stage.kit._kernel.sending.follows.feeds == {}


async def test_followers_that_come_and_go_leave_nothing(pair: Pair) -> None:
    await pair.watch()
    topics = set(pair.bus._topics)

    async def cycle() -> None:
        screen = Screen()
        follow = screen.follow(pair.there, ROOM)
        await follow.begun()
        await pair.say("x", kit=pair.here)
        await screen.sees("x")
        follow.stop()
        await asyncio.sleep(1)

    await assert_nothing_leaks(cycle, cycles=50)
    assert set(pair.bus._topics) == topics
    assert pair.there._kernel.sending.follows.feeds == {}


async def test_a_kit_closes_while_its_followers_cannot_go_on(pair: Pair) -> None:
    """The store is out of reach, the backend down: it waits for neither."""
    screen = Screen()
    follow = screen.follow(pair.here, ROOM)
    await follow.begun()
    pair.bus.loses = True
    await pair.say("lost")
    pair.bus.loses = False
    await pair.say("next")
    pair.store.is_gone = pair.bus.is_down = True
    await asyncio.sleep(20)
    before = asyncio.get_running_loop().time()
    await pair.here.close()
    assert asyncio.get_running_loop().time() - before < 5
    with pytest.raises(FollowEndedError) as ended:
        await follow.wait()
    assert ended.value.reason == "kit_closed"
    pair.store.is_gone = False
