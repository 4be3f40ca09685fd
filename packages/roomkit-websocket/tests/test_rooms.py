"""Which connection sees which room."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState
from roomkit_plugins.websocket import WebSocketChannel


async def test_a_connection_sees_only_the_rooms_it_is_subscribed_to(stage):
    """An event of another room never reaches it."""
    mine, other = stage.join("c1", "mine"), stage.join("c2", "other")
    await stage.say("for mine", "mine")
    await stage.say("for other", "other")
    assert (mine.texts, other.texts) == (["for mine"], ["for other"])


async def test_a_connection_may_see_several_rooms(stage):
    """Each one it subscribes to, until it unsubscribes."""
    wire = stage.join("c1", "first")
    stage.channel.subscribe("c1", "second")
    await stage.say("one", "first")
    await stage.say("two", "second")
    assert stage.channel.unsubscribe("c1", "first")
    assert not stage.channel.unsubscribe("c1", "first")
    await stage.say("three", "first")
    assert wire.texts == ["one", "two"]


async def test_a_connection_without_a_room_follows_a_channel_with_one(stage):
    """As long as there is exactly one, there is nothing to guess."""
    wire = stage.join("c1", None)
    await stage.say("before", "room")
    await stage.attach("room")
    await stage.say("after", "room")
    assert wire.texts == ["after"]


async def test_a_connection_without_a_room_sees_nothing_of_a_channel_with_several(stage):
    wire = stage.join("c1", None)
    await stage.attach("first")
    await stage.attach("second", "third")
    await stage.say("one", "first")
    await stage.say("two", "second")
    assert wire.texts == []
    (told,) = stage.unrouted.events
    assert told.data["connection_id"] == "c1"
    assert "register the connection with a room_id, or subscribe it" in told.data["reason"]


async def test_a_late_connection_without_a_room_is_told_too(stage):
    """It comes to a channel that serves several rooms already."""
    await stage.attach("first", "second")
    wire = stage.join("c1", None)
    await stage.say("one", "first")
    assert wire.texts == []
    assert len(stage.unrouted.events) == 1


async def test_a_channel_that_is_left_with_one_room_is_followed_again(stage):
    """A detached room no longer counts, and is no longer shown."""
    wire = stage.join("c1", None)
    await stage.attach("first", "second")
    await stage.detach("first")
    await stage.say("one", "first")
    await stage.say("two", "second")
    assert wire.texts == ["two"]


async def test_a_message_that_came_by_a_connection_names_its_room(stage):
    """From then on it sees that room, whatever else the channel serves."""
    await stage.kit.create_room("first")
    await stage.kit.create_room("second")
    await stage.kit.attach_channel("first", "ws")
    await stage.kit.attach_channel("second", "ws")
    wire = stage.join("c1", None)
    message = InboundMessage(
        channel_id="ws", sender_id="alice", content=TextContent(body="hi"), connection_id="c1"
    )
    await stage.kit.process_inbound(message, room_id="second")
    await stage.kit.send_event("first", "system", TextContent(body="one"))
    await stage.kit.send_event("second", "system", TextContent(body="two"))
    assert wire.texts == ["two"]


async def test_a_message_does_not_open_another_room_to_a_connection_that_has_one(stage):
    """Registered with a room, it sees that one until it is subscribed to more."""
    await stage.kit.create_room("first")
    await stage.kit.create_room("second")
    await stage.kit.attach_channel("first", "ws")
    await stage.kit.attach_channel("second", "ws")
    wire = stage.join("c1", "first")
    message = InboundMessage(
        channel_id="ws", sender_id="alice", content=TextContent(body="hi"), connection_id="c1"
    )
    await stage.kit.process_inbound(message, room_id="second")
    await stage.kit.send_event("second", "system", TextContent(body="secret"))
    assert wire.texts == []


@pytest.mark.parametrize(
    ("source", "seen_by"),
    [
        ({"connection_id": "a1", "participant_id": "alice"}, ["a2", "b1", "x"]),
        ({"connection_id": None, "participant_id": "alice"}, ["b1"]),
        ({"connection_id": None, "participant_id": None}, []),
        ({"connection_id": "elsewhere", "participant_id": "carol"}, ["a1", "a2", "b1", "x"]),
    ],
)
async def test_what_came_by_the_channel_never_returns_to_its_sender(stage, source, seen_by):
    wires = [
        stage.join("a1", participant_id="alice"),
        stage.join("a2", participant_id="alice"),
        stage.join("b1", participant_id="bob"),
        stage.join("x"),
    ]
    output = await stage.say("hi", channel_id="ws", **source)
    assert [wire.id for wire in wires if wire.texts] == seen_by
    assert output.skip_reason == (None if seen_by else "no_connections")


async def test_two_people_of_one_channel_talk_through_a_kit(stage):
    """Each sees what the other says, and not what they said themselves."""
    kit = stage.kit
    await kit.create_room("room")
    await kit.attach_channel("room", "ws")
    alice, bob = stage.join("a", participant_id="alice"), stage.join("b", participant_id="bob")
    for who, connection in (("alice", "a"), ("bob", "b")):
        message = InboundMessage(
            channel_id="ws",
            sender_id=who,
            content=TextContent(body=f"I am {who}"),
            connection_id=connection,
        )
        result = await kit.process_inbound(message, room_id="room")
        assert result.delivery_results["ws"].state is DeliveryState.SENT
    assert (alice.texts, bob.texts) == (["I am bob"], ["I am alice"])


async def test_a_connection_says_which_room_its_messages_are_for(stage):
    """For the second person as for the first; one with two rooms has to name it."""
    kit = stage.kit
    for room_id in ("room", "other"):
        await kit.create_room(room_id)
        await kit.attach_channel(room_id, "ws")

    async def say(who):
        message = InboundMessage(
            channel_id="ws", sender_id=who, content=TextContent(body=f"I am {who}"), connection_id=who
        )
        return (await kit.process_inbound(message)).event.room_id

    alice, bob = (stage.join(who, participant_id=who) for who in ("alice", "bob"))
    assert [await say(who) for who in ("alice", "bob")] == ["room", "room"]
    assert (alice.texts, bob.texts) == (["I am bob"], ["I am alice"])
    stage.join("carol", participant_id="carol")
    stage.channel.subscribe("carol", "other")
    assert await say("carol") not in ("room", "other")


async def test_what_cannot_be_used_is_refused(stage):
    with pytest.raises(InvalidInputError, match="register_connection first"):
        stage.channel.subscribe("unknown", "room")
    with pytest.raises(InvalidInputError, match="cannot be empty"):
        stage.join("")
    with pytest.raises(InvalidInputError, match="not a function"):
        stage.channel.register_connection("c1", "send")
    with pytest.raises(InvalidInputError, match="backlog is 0; give it a positive number"):
        WebSocketChannel("ws", backlog=0)
    assert not stage.channel.unregister_connection("unknown")
    assert not stage.channel.unsubscribe("unknown", "room")


ROOMS = ("r0", "r1", "r2")
STEP = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(ROOMS), st.integers(0, 3)),
    st.tuples(st.just("join"), st.sampled_from((*ROOMS, None)), st.integers(0, 3)),
    st.tuples(st.just("subscribe"), st.sampled_from(ROOMS), st.integers(0, 3)),
    st.tuples(st.just("unsubscribe"), st.sampled_from(ROOMS), st.integers(0, 3)),
    st.tuples(st.just("leave"), st.none(), st.integers(0, 3)),
)


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(STEP, max_size=30))
async def test_no_room_is_ever_seen_from_another(steps):
    """Whatever is said, joined and left, and all at once: a connection has events of its rooms only."""
    kit = RoomKit()
    channels = [WebSocketChannel("ws0"), WebSocketChannel("ws1")]
    for channel in channels:
        kit.register_channel(channel)
    for room_id in ROOMS:
        await kit.create_room(room_id)
        for channel in channels:
            await kit.attach_channel(room_id, channel.channel_id)
    allowed: dict[str, set[str | None]] = {}
    named: dict[str, set[str]] = {}
    leaks: list[str] = []

    async def send(connection_id, event):
        room = text_of(event.content).partition(":")[0]
        rooms = allowed[connection_id]
        may = room in rooms or (None in rooms and room in named.get(connection_id, ()))
        if not may or event.room_id != room:
            leaks.append(f"{connection_id} was shown {event.room_id}")

    talk = []
    for number, (step, room_id, who) in enumerate(steps):
        channel, connection = channels[who % 2], f"c{who}"
        if step == "say":
            message = InboundMessage(
                channel_id=channel.channel_id,
                sender_id=f"p{who}",
                content=TextContent(body=f"{room_id}:{number}"),
                connection_id=connection,
            )
            named.setdefault(connection, set()).add(room_id)
            talk.append(asyncio.create_task(kit.process_inbound(message, room_id=room_id)))
        elif step == "join":
            allowed[connection] = {room_id}
            channel.register_connection(connection, send, room_id=room_id, participant_id=f"p{who}")
        elif step == "leave":
            channel.unregister_connection(connection)
        elif connection in channel._connections.by_id:
            if step == "subscribe":
                allowed[connection].add(room_id)
                channel.subscribe(connection, room_id)
            else:
                channel.unsubscribe(connection, room_id)
    await asyncio.gather(*talk)
    await kit.close()
    assert leaks == []


async def test_a_further_room_costs_the_same_however_many_there_are(stage):
    """Neither attaching nor detaching one copies a table of all of them."""
    rooms = [f"room-{number}" for number in range(20_000)]
    for room_id in rooms:
        stage.channel._connections.attach(room_id)
    tracemalloc.start()
    try:
        await stage.detach(rooms[7])
        await stage.attach(rooms[7])
        stage.join("follower", None)
        stage.channel.unregister_connection("follower")
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - now < 50_000
