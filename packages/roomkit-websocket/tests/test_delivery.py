"""How events are sent: to all at once, in order to each, and without waiting for anyone."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.enums import DeliveryState
from roomkit.models.room import Room
from roomkit_plugins.testing import assert_nothing_leaks
from roomkit_plugins.websocket import WebSocketChannel

from .conftest import Stage, Wire, WritingWire

pytestmark = pytest.mark.virtual_time


@pytest.fixture(params=[Wire, WritingWire], ids=["awaited", "written at once"])
async def stage(request):
    """A kit on the test's own clock, and connections of either kind."""
    kit = RoomKit()
    yield Stage(kit, request.param)
    await kit.close()


async def test_connections_of_all_kinds_in_one_room_have_each_event_once_and_in_order():
    """Whichever of them come first, and are slow in between."""
    async with RoomKit() as kit:
        stage, heard = Stage(kit), []

        async def prompt(connection_id, event):
            heard.append(event.content.body)

        wires = [
            kind(f"{kind.__name__} {number}").join(stage.channel, "room")
            for number in range(4)
            for kind in (WritingWire, Wire)
        ]
        stage.channel.register_connection("prompt", prompt, room_id="room")
        wires += [WritingWire(f"late {number}").join(stage.channel, "room") for number in range(2)]
        for number in range(40):
            wires[number % 10].open.clear()
            await stage.say(str(number))
            wires[(number + 3) % 10].open.set()
            await stage.turns()
        for wire in wires:
            wire.open.set()
        await stage.turns(80)
    assert [wire.texts for wire in wires] == [[str(number) for number in range(40)]] * 10
    assert heard == [str(number) for number in range(40)]


async def test_a_connection_that_writes_at_once_costs_no_task(stage, monkeypatch):
    """Nor does one that was slow, once it has what waited."""
    wires = [WritingWire(f"c{number}").join(stage.channel, "room") for number in range(3)]
    wires[1].open.clear()
    await stage.say("slow")
    wires[1].open.set()
    await stage.turns()
    monkeypatch.setattr(asyncio, "Task", None)
    await stage.say("quick")
    assert [wire.texts for wire in wires] == [["slow", "quick"]] * 3


async def test_nobody_there_is_told(stage):
    """A delivery without connections is skipped, with its reason."""
    output = await stage.say("hello")
    assert (output.state, output.skip_reason) == (DeliveryState.SKIPPED, "no_connections")


async def test_a_quick_connection_has_the_event_when_deliver_returns(stage):
    """No task is left behind and no turn of the loop is needed."""
    wire = stage.join("c1")
    tasks = asyncio.all_tasks()
    await stage.say("hello")
    assert wire.texts == ["hello"]
    assert asyncio.all_tasks() == tasks


async def test_a_slow_connection_delays_nobody(stage):
    """Not the delivery, not the other connections, whatever their order."""
    before, slow, after = stage.join("c1"), stage.join("c2"), stage.join("c3")
    slow.open.clear()
    output = await stage.say("one")
    await stage.say("two")
    assert output.state is DeliveryState.SENT
    assert (before.texts, slow.texts, after.texts) == (["one", "two"], [], ["one", "two"])
    slow.open.set()
    await stage.turns()
    assert slow.texts == ["one", "two"]


async def test_each_connection_sees_events_in_order(stage):
    """However often it is slow, and for however long."""
    wires = [stage.join(f"c{number}") for number in range(5)]
    for number in range(40):
        wires[number % 5].open.clear()
        await stage.say(str(number))
        wires[(number + 3) % 5].open.set()
        await stage.turns()
    for wire in wires:
        wire.open.set()
    await stage.turns(50)
    assert [wire.texts for wire in wires] == [[str(number) for number in range(40)]] * 5


async def test_a_dead_connection_is_evicted_after_its_time(stage):
    """Its send is cancelled, the rest goes on, and the framework event says why."""
    dead, alive = stage.join("dead"), stage.join("alive")
    dead.open.clear()
    await stage.say("one")
    await asyncio.sleep(4.9)
    assert stage.channel.connection_count == 2
    await asyncio.sleep(0.2)
    await stage.say("two")
    assert stage.evicted.reasons == [("dead", "timeout")]
    assert stage.channel.info == {"connection_count": 1, "evicted": 1}
    assert dead.cancelled == 1
    assert alive.texts == ["one", "two"]


async def test_the_time_is_for_each_send(stage):
    """A connection that is slow every time but gets there is kept."""
    heard = []

    async def send(connection_id, event):
        await asyncio.sleep(3)
        heard.append(event.content.body)

    stage.channel.register_connection("c1", send, room_id="room")
    for text in "abcd":
        await stage.say(text)
    await asyncio.sleep(13)
    assert heard == ["a", "b", "c", "d"]
    assert stage.evicted.reasons == []


async def test_a_backlog_has_a_bound(stage):
    """The frame that does not fit ends the connection."""
    slow, quick = stage.join("c1"), stage.join("c2")
    slow.open.clear()
    for number in range(11):
        await stage.say(str(number))
    assert stage.evicted.reasons == []
    await stage.say("too much")
    assert stage.evicted.reasons == [("c1", "overflow")]
    await stage.turns()
    assert (slow.cancelled, len(quick.texts)) == (1, 12)


async def test_failures_in_a_row_end_a_connection(stage):
    """A success in between starts the count again."""
    wire, other = stage.join("c1"), stage.join("c2")
    for broken in (True, True, False, True, True):
        wire.broken = broken
        await stage.say("x")
    assert stage.evicted.reasons == []
    await stage.say("x")
    assert stage.evicted.reasons == [("c1", "failures")]
    assert len(other.texts) == 6


async def test_an_event_that_no_connection_took_is_a_failure(stage):
    """One that blames no provider, so that the rooms beside are not cut off, and is not tried again."""
    stage.join("c1").broken = True
    with pytest.raises(ProviderError, match="none of the 1 connections") as failure:
        await stage.say("x")
    assert failure.value.error_code is ErrorCode.INVALID_RECIPIENT
    assert not failure.value.retryable
    assert not failure.value.error_code.blames_provider


async def test_a_send_that_is_cancelled_by_others_counts_as_failed(stage):
    async def send(connection_id, event):
        raise asyncio.CancelledError

    stage.channel.register_connection("c1", send, room_id="room")
    wire = stage.join("c2")
    for _ in range(3):
        await stage.say("x")
    assert stage.evicted.reasons == [("c1", "failures")]
    assert wire.texts == ["x"] * 3


async def test_a_send_may_speak_in_the_room_it_is_sent_from(stage):
    """An event caused while another is being sent comes after it."""
    kit, heard = stage.kit, []
    await kit.create_room("room")
    await kit.attach_channel("room", "ws")

    async def send(connection_id, event):
        heard.append(event.content.body)
        if event.content.body == "ping":
            await kit.send_event("room", "system", TextContent(body="pong"))
            heard.append("sent")

    stage.channel.register_connection("c1", send, room_id="room")
    await kit.send_event("room", "system", TextContent(body="ping"))
    assert heard == ["ping", "sent", "pong"]


async def test_a_replaced_connection_does_nothing_to_its_successor(stage):
    """Neither its late failure, nor its timeout, nor its goodbye."""
    old = stage.join("c1", participant_id="ann")
    old.open.clear()
    await stage.say("one")
    new = stage.join("c1", participant_id="ann")
    old.broken = True
    old.open.set()
    await asyncio.sleep(10)
    assert not stage.channel.unregister_connection("c1", old.send)
    await stage.say("two")
    assert new.texts == ["two"]
    assert old.cancelled == 1
    assert stage.channel.unregister_connection("c1", new.send)
    assert (stage.evicted.reasons, old.closed) == ([], ["replaced"])


async def test_an_unregistered_connection_gets_nothing_more(stage):
    wire = stage.join("c1")
    wire.open.clear()
    await stage.say("one")
    await stage.say("two")
    assert stage.channel.unregister_connection("c1")
    wire.open.set()
    await stage.turns()
    assert (wire.texts, wire.cancelled) == ([], 1)


async def test_a_connection_that_leaves_during_a_round_is_passed_over(stage):
    """Its turn has not come yet when another's send takes it out."""
    heard = []

    async def send(connection_id, event):
        heard.append(connection_id)
        stage.channel.unregister_connection("c2")

    for connection_id in ("c1", "c2", "c3"):
        stage.channel.register_connection(connection_id, send, room_id="room")
    await stage.say("x")
    assert heard == ["c1", "c3"]


async def test_a_closed_channel_holds_nothing(stage):
    """Closing twice is closing once; a slow send is cut."""
    wire = stage.join("c1")
    wire.open.clear()
    await stage.say("one")
    await stage.channel.close()
    await stage.channel.close()
    await stage.turns()
    assert (wire.cancelled, stage.channel.connection_count) == (1, 0)


async def test_a_kit_that_closes_does_not_wait_for_a_dead_connection(stage):
    stage.join("c1").open.clear()
    await stage.say("one")
    started = asyncio.get_running_loop().time()
    await stage.kit.close()
    assert asyncio.get_running_loop().time() - started <= 10


async def test_a_channel_without_a_kit_sends_too(stage):
    channel, heard, gate = WebSocketChannel("ws", send_timeout=1.0), [], asyncio.Event()

    async def send(connection_id, event):
        await gate.wait()
        heard.append(connection_id)

    channel.register_connection("c1", send, room_id="room")
    await channel.deliver(stage.said("x"), stage.bound(), RoomContext(Room(id="room")))
    gate.set()
    await asyncio.sleep(0)
    assert heard == ["c1"]
    await channel.close()


async def test_a_hundred_comings_and_goings_leave_nothing(stage):
    """Connections that join, get something, stall and leave: tasks and tables stay flat."""
    channel = stage.channel

    async def cycle() -> None:
        slow = stage.join("slow")
        slow.open.clear()
        wires = [stage.join(f"c{number}", None if number % 2 else "room") for number in range(4)]
        await stage.say("x")
        for wire in (slow, *wires):
            channel.unregister_connection(wire.id)
        await stage.turns(3)

    await assert_nothing_leaks(cycle, cycles=100)
    known = channel._connections
    assert not any((known.by_id, known._members, known._followers, known._audiences))
    assert not any((channel._live, known._background))
