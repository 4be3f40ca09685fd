"""One room, its connections on several workers."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.kernel.following.signals import LONGEST_EVENT
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import Access, DeliveryState, EphemeralEventType, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing import Recipient, ScriptedIntelligence, assert_history, assert_nothing_leaks
from roomkit_plugins.websocket.frames import StreamChunk, StreamEnd

pytestmark = pytest.mark.virtual_time

TOPIC = "websocket:2:ws:room"


def events_of(wire):
    """The events that came, however they came."""
    return [
        frame.event if isinstance(frame, StreamEnd) else frame
        for frame in wire.frames
        if isinstance(frame, RoomEvent | StreamEnd)
    ]


async def everything(town, wires, number, room_id="room"):
    """Wait until every wire has so many events, and compare each with the timeline."""
    await town.until(lambda: all(len(events_of(wire)) >= number for wire in wires))
    kit = town.workers[0].kit
    binding = await kit.get_binding(room_id, "ws")
    timeline = await kit.get_timeline(room_id, limit=10_000)
    assert_history(timeline, [Recipient(binding, events_of(wire)) for wire in wires])


async def test_an_event_is_seen_on_every_worker(town):
    """Wherever it was said, once each, with all its fields, and without reading the store."""
    first, second, third = await town.populate(3)
    wires = [await worker.join(f"c{place}") for place, worker in enumerate((first, second, third, first))]
    await first.say("to begin with")  # attaching left a note of its own, which is read over
    await town.until(lambda: all(wire.frames for wire in wires))
    before = town.store.reads["list_events"]
    for worker, text in ((first, "one"), (second, "two"), (third, "three")):
        await worker.say(text, metadata={"said": text})
        await town.until(lambda text=text: all(wire.texts[-1:] == [text] for wire in wires))
    assert all(wire.texts == ["to begin with", "one", "two", "three"] for wire in wires)
    assert town.store.reads["list_events"] == before
    assert wires[0].frames == wires[2].frames == await first.kit.get_timeline("room", as_channel="ws")


@pytest.mark.parametrize("seed", [None, *range(8)])
async def test_order_survives_everything(town, seed):
    """Many talk at once on three workers, over a bus that loses, doubles and reorders, or behaves."""
    workers = await town.populate(3)
    if seed is not None:
        town.be_mean(seed)
    wires = [await worker.join(f"c{place}") for place, worker in enumerate(workers * 2)]

    async def talk(worker, name):
        for number in range(20):
            await worker.say(f"{name} {number}")
            await asyncio.sleep(0.01 * (number % 3))

    async with asyncio.TaskGroup() as group:
        for place, worker in enumerate(workers):
            group.create_task(talk(worker, place))
    await everything(town, wires, 60)


async def test_the_last_words_are_not_lost(town):
    """Nothing follows that would show the gap: the room is looked at when it has been quiet."""
    first, second = await town.populate(2)
    wire = await second.join("c")
    await first.say("one")
    await town.until(lambda: wire.texts == ["one"])

    async def lose(channel, event):
        return False

    town.realtime.way = lose
    await first.say("two")
    await town.turns(50)
    assert wire.texts == ["one"]
    await town.until(lambda: wire.texts == ["one", "two"], seconds=100)


async def test_who_joins_is_shown_what_comes_from_then_on(town):
    """Nothing of before; of a second room nothing at all."""
    first, second = await town.populate(2)
    await first.kit.create_room("other")
    await first.kit.attach_channel("other", "ws")
    await first.say("before")
    wire = await second.join("c")
    await first.say("elsewhere", room_id="other")
    await first.say("after")
    await town.until(lambda: wire.texts)
    await town.turns(50)
    assert wire.texts == ["after"]


async def test_large_events_travel_by_reference(town):
    """PostgreSQL's NOTIFY carries less than eight thousand bytes."""
    first, second = await town.populate(2)
    wire = await second.join("c")
    text = "ж" * LONGEST_EVENT
    await first.say("small", text, "small again")
    await town.until(lambda: len(wire.frames) == 3)
    assert wire.texts == ["small", text, "small again"]
    assert max(len(event.model_dump_json()) for _, event in town.realtime.published) < 7000


async def test_a_backend_that_refuses_an_event_gets_the_reference(town):
    first, second = await town.populate(2)
    wire = await second.join("c")

    async def picky(channel, event):
        if "event" in event.data:
            raise ValueError("too large")
        return True

    town.realtime.way = picky
    await first.say("one", "two")
    await town.until(lambda: wire.texts == ["one", "two"], seconds=1)


async def test_a_bus_that_is_down_delays_nobody_here_and_is_made_up_for(town):
    """The local sockets have it at once, the others as soon as the bus is back."""
    first, second = await town.populate(2)
    here, there = await first.join("c1"), await second.join("c2")
    town.realtime.down = True
    await first.say("one", "two", "three")
    await town.until(lambda: here.texts == ["one", "two", "three"], seconds=0.1)
    await asyncio.sleep(5)
    assert there.texts == []
    town.realtime.down = False
    await town.until(lambda: there.texts == ["one", "two", "three"], seconds=16)


async def test_a_bus_that_is_down_when_somebody_joins_is_made_up_for(town):
    first, second = await town.populate(2)
    town.realtime.down = True
    wire = await second.join("c")
    await first.say("one")
    await second.say("two")
    town.realtime.down = False
    await everything(town, [wire], 2)
    assert wire.texts == ["one", "two"]


async def test_what_was_said_before_the_bus_could_be_heard_is_made_up_for(town):
    first, second = await town.populate(2)
    town.realtime.down = True
    wire = await second.join("c")
    await first.say("one")
    await asyncio.sleep(1)

    async def lose(channel, event):
        return False

    town.realtime.way = lose  # nor does the first announce it again
    town.realtime.down = False
    await town.until(lambda: wire.texts == ["one"], seconds=5)


async def test_a_store_that_is_away_is_asked_again(town):
    """What could not be read comes later, in its place."""
    first, second = await town.populate(2)
    wire = await second.join("c")
    await first.say("one")
    await town.until(lambda: wire.texts)
    town.store.broken = True
    await first.say("x" * 5000, "two")
    await asyncio.sleep(3)
    assert wire.texts == ["one"]
    town.store.broken = False
    await town.until(lambda: wire.texts == ["one", "x" * 5000, "two"], seconds=16)


async def test_only_what_the_binding_may_see_is_shown(town):
    first, second = await town.populate(2)
    wire = await second.join("c")
    await first.say("hidden", visibility="internal")
    await first.say("for sms", visibility="sms")
    await first.say("for all")
    await town.until(lambda: wire.texts == ["for all"])
    await first.kit.set_access("room", "ws", Access.WRITE_ONLY)
    await second.say("not for you")
    await first.kit.set_access("room", "ws", Access.READ_WRITE)
    await second.say("welcome back")
    await first.say("and again")
    await town.until(lambda: wire.texts[-1] == "and again")
    assert "for sms" not in wire.texts
    assert "hidden" not in wire.texts


async def test_what_was_refused_is_not_read_from_the_store_either(town):
    """A blocked message of the channel itself lies in the gap, and so does a whisper."""
    first, second = await town.populate(2)
    wire = await second.join("c", participant_id="bob")

    @first.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def censor(event, context):
        refused = getattr(event.content, "body", "") == "rude"
        return HookResult.block("rude") if refused else HookResult.allow()

    for text, visibility in (("rude", "all"), ("whisper", "sms"), ("polite", "all")):
        message = InboundMessage(
            channel_id="ws", sender_id="alice", content=TextContent(body=text), visibility=visibility
        )
        await first.kit.process_inbound(message, room_id="room")
    await town.until(lambda: wire.texts[-1:] == ["polite"])
    assert wire.texts == ["polite"]


async def test_a_message_on_the_bus_gives_no_rights(town):
    first, second = await town.populate(2)
    wire = await second.join("c")
    await first.say("one")
    await town.until(lambda: wire.texts)
    stored = (await first.kit.get_timeline("room", as_channel="ws"))[-1]
    hidden = stored.replace(id="forged", index=stored.index + 1, visibility="internal")
    elsewhere = hidden.replace(room_id="other", visibility="all")
    bodies = [
        {"kind": "committed", "index": hidden.index, "event": hidden.model_dump_json()},
        {"kind": "committed", "index": hidden.index, "event": elsewhere.model_dump_json()},
        {"kind": "committed", "index": 10**9},
        {"kind": "committed", "index": -5},
        {"kind": "committed", "index": "x"},
        {"kind": "committed", "index": hidden.index, "event": "{}"},
        {"kind": "growing", "stream_id": "s", "offset": -1, "text": ""},
        {"kind": "growing", "stream_id": "s", "offset": 0, "text": "x", "source": "{}"},
        {"kind": "growing", "stream_id": 7, "offset": 0, "text": "x"},
        {"kind": "broken", "stream_id": "s", "error": "x"},
        {"kind": "unheard of"},
        {},
    ]
    for body in bodies:
        signal = EphemeralEvent(
            room_id="room", type=EphemeralEventType.CUSTOM, user_id="?", channel_id="ws", data=body
        )
        await town.realtime.pass_on(TOPIC, signal)
    await first.say("two")
    await everything(town, [wire], 2)
    assert wire.texts == ["one", "two"]


async def test_what_one_said_is_not_shown_to_oneself(town):
    first, second = await town.populate(2)
    mine = await first.join("c1", participant_id="alice")
    others = [await first.join("c2", participant_id="bob"), await second.join("c3", participant_id="alice")]
    message = InboundMessage(
        channel_id="ws", sender_id="alice", connection_id="c1", content=TextContent(body="hi")
    )
    await first.kit.process_inbound(message, room_id="room")
    await town.until(lambda: all(wire.texts == ["hi"] for wire in others))
    assert mine.frames == []


async def test_a_delivery_is_sent_once_it_is_announced(town):
    first, second = await town.populate(2)
    wire = await second.join("c")
    await first.say("one")
    await second.say("two")
    await town.until(lambda: wire.texts == ["one", "two"])
    rows = await first.kit.list_deliveries("room")
    assert [(row.state, row.reason) for row in rows] == [
        (DeliveryState.SENT, None),
        (DeliveryState.SENT, None),
    ]


async def test_a_stuck_connection_delays_nobody(town):
    first, second = await town.populate(2)
    stuck, well = await second.join("c1"), await second.join("c2")
    stuck.open.clear()
    await first.say(*map(str, range(10)))
    await town.until(lambda: len(well.frames) == 10, seconds=1)
    await town.until(lambda: second.channel.connection_count == 1, seconds=10)
    assert stuck.frames == []


# -- answers while they are generated -------------------------------------------------------------


async def an_agent(worker, *answers, word_delay=0.02):
    agent = ScriptedIntelligence("agent", list(answers), streaming=True, word_delay=word_delay)
    worker.kit.register_channel(agent)
    await worker.kit.attach_channel("room", "agent")


async def ask(worker, text="?"):
    message = InboundMessage(channel_id="ws", sender_id="zoe", content=TextContent(body=text))
    return await worker.kit.process_inbound(message, room_id="room")


async def test_an_answer_grows_on_every_worker(town):
    """In larger pieces than here, and ends as the committed event; those that do not stream get that."""
    first, second, third = await town.populate(3)
    answer = "word " * 100
    await an_agent(first, answer)
    here = await first.join("c1", streaming=True, participant_id="ann")
    there = [
        await second.join("c2", streaming=True, participant_id="ann"),
        await third.join("c3", streaming=True, participant_id="ann"),
    ]
    plain = await second.join("c4", participant_id="ann")
    await ask(first)
    await town.until(lambda: all(wire.kinds[-1:] == ["stream_end"] for wire in (here, *there)))
    stored = (await first.kit.get_timeline("room"))[-1]
    for wire in (here, *there):
        assert [kind for kind in wire.kinds if kind != "stream_chunk"] == [
            "message",
            "stream_start",
            "stream_end",
        ]
        assert wire.streamed_text == answer
        assert wire.frames[-1].event == stored
        assert {frame.stream_id for frame in wire.stream} == {stored.id}
        assert wire.stream[0].source == here.stream[0].source
    assert plain.texts == ["?", answer]
    chunks = [len([f for f in wire.frames if isinstance(f, StreamChunk)]) for wire in (here, there[0])]
    assert chunks[0] > 2 * chunks[1] > 20


@pytest.mark.parametrize("seed", range(6))
async def test_an_answer_over_a_mean_bus_is_never_garbled(town, seed):
    first, second = await town.populate(2)
    answer = " ".join(map(str, range(300)))
    await an_agent(first, answer, word_delay=0.05)
    town.be_mean(seed)
    wire = await second.join("c", streaming=True, participant_id="ann")
    await ask(first)
    await town.until(lambda: events_of(wire)[-1:] and events_of(wire)[-1].source.channel_id == "agent")
    assert answer.startswith(wire.streamed_text)
    assert len(wire.streamed_text) > 300
    assert wire.kinds.count("stream_start") == wire.kinds.count("stream_end") == 1
    await asyncio.sleep(60)
    await everything(town, [wire], 2)
    assert wire.kinds[-1] == "stream_end"


async def test_who_joins_late_elsewhere_gets_the_text_so_far(town):
    """A start and the text, within seconds, then the rest."""
    first, second = await town.populate(2)
    answer = "word " * 100
    await an_agent(first, answer, word_delay=0.1)
    asking = asyncio.create_task(ask(first))
    await asyncio.sleep(3)
    late = await second.join("c", streaming=True, participant_id="ann")
    await asking
    await town.until(lambda: late.kinds[-1:] == ["stream_end"])
    assert late.kinds[:2] == ["stream_start", "stream_chunk"]
    assert late.streamed_text == answer


async def test_an_answer_under_way_ends_on_every_worker_where_the_channel_loses_the_right_to_read(town):
    first, second, third = await town.populate(3)
    await an_agent(first, "word " * 100, word_delay=0.1)
    wires = [await worker.join("c", streaming=True, participant_id="ann") for worker in (first, second)]
    asking = asyncio.create_task(ask(first))
    await town.until(lambda: all(wire.streamed_text for wire in wires))
    await third.kit.set_access("room", "ws", Access.WRITE_ONLY)
    await town.until(lambda: all(wire.kinds[-1] == "stream_error" for wire in wires), seconds=1)
    await asking
    await asyncio.sleep(60)
    assert [wire.kinds[-1] for wire in wires] == ["stream_error"] * 2


async def test_words_that_come_after_their_event_are_not_left_hanging(town):
    first, second = await town.populate(2)
    late = []

    async def keep(channel, event):
        late.append((channel, event))
        return False

    town.realtime.way = keep
    await an_agent(first, "Hello there")
    await ask(first)
    await town.until(lambda: [event.data["kind"] for _, event in late].count("committed") == 2)
    town.realtime.way = None
    wire = await second.join("c", streaming=True, participant_id="ann")
    for channel, event in late:
        await town.realtime.pass_on(channel, event)
    await asyncio.sleep(60)
    assert wire.kinds == ["stream_start", "stream_chunk", "stream_end"]
    assert not second.channel._live


# -- costs, and resources left behind ---------------------------------------------------------------


async def test_a_room_is_listened_to_while_it_has_connections(town):
    """From the first to the last, and also when one takes another's place."""
    first, second = await town.populate(2)
    assert town.realtime.topics == {}
    await first.join("c1", participant_id="ann")
    await second.join("c2")
    assert town.realtime.topics == {TOPIC: 2}
    follow = first.channel._followed._follows["room"]
    await first.join("c1", participant_id="ann")
    await town.turns()
    assert town.realtime.topics == {TOPIC: 2}
    assert first.channel._followed._follows["room"] is follow
    first.channel.unregister_connection("c1")
    await town.turns()
    assert town.realtime.topics == {TOPIC: 1}
    second.channel.unregister_connection("c2")
    await town.turns()
    assert town.realtime.topics == {}


async def test_who_follows_the_only_room_hears_it_too(town):
    first, second = await town.populate(2)
    wire = await first.join("c", room_id=None)
    await first.channel.listening("room")
    await second.say("one")
    await town.until(lambda: wire.texts == ["one"])
    await first.kit.create_room("other")
    await first.kit.attach_channel("other", "ws")
    await town.turns()
    assert town.realtime.topics == {}


async def test_a_room_made_again_under_its_id_is_not_the_one_that_was_connected_to(town):
    """Connections to the deleted room are dropped on every worker; new ones see the new room."""
    first, second = await town.populate(2)
    here, there = await first.join("a"), await second.join("b")
    await first.say(*"abcdef")
    await town.until(lambda: len(there.texts) == 6)
    await first.kit.delete_room("room")
    await first.kit.create_room("room")
    await first.kit.attach_channel("room", "ws")
    await first.say("new")
    await town.until(lambda: there.closed and here.closed)
    assert here.closed == there.closed == ["room_not_found"]
    again = await second.join("c")
    await first.say("newer")
    await town.until(lambda: again.texts == ["newer"])
    assert "new" not in (*here.texts, *there.texts)


async def test_comings_and_goings_leave_nothing(town):
    """No task, no subscription, no answer under way."""
    first, second = await town.populate(2)
    await first.join("stays")

    async def cycle():
        wire = await second.join("c", streaming=True, participant_id="ann")
        await first.say("x")
        await town.until(lambda: wire.texts == ["x"])
        second.channel.unregister_connection("c")
        await town.until(lambda: town.realtime.topics == {TOPIC: 1})

    await assert_nothing_leaks(cycle, cycles=100)
    assert not second.channel.info["rooms_followed"]
    assert not second.channel._live


async def test_closing_says_what_is_still_to_be_said(town):
    first, second = await town.populate(2)
    wire = await second.join("c")

    async def slow(channel, event):
        await asyncio.sleep(0.1)
        return True

    town.realtime.way = slow
    await first.say("one", "two")
    await first.kit.close()
    assert [event.data["kind"] for _, event in town.realtime.published].count("committed") == 2
    await town.until(lambda: wire.texts == ["one", "two"], seconds=1)
    assert first.channel.info["rooms_followed"] == 0


async def test_alone_it_tells_nobody(stage):
    """Where no other process can have the room nothing is published, and nothing subscribed to."""
    await stage.kit.create_room("room")
    await stage.kit.attach_channel("room", "ws")
    wire = stage.join("c")
    await stage.channel.listening("room")
    await stage.kit.send_event("room", "system", TextContent(body="hi"))
    assert wire.texts == ["hi"]
    assert stage.kit.realtime.subscription_count == 0
    assert stage.channel.info == {"connection_count": 1, "evicted": 0}
