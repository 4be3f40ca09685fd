"""What a connection may do is what its room, binding and participant allow now, not when it was opened."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit.abc.errors import InvalidInputError, ParticipantBannedError, ParticipantRemovedError
from roomkit.kernel.kit import RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import Access, ParticipantStatus
from roomkit.models.participant import Participant
from roomkit_plugins.websocket import WebSocketChannel
from roomkit_plugins.websocket.frames import StreamError


class Client:
    """A person at a socket."""

    def __init__(self, socket):
        self.socket = socket

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame))

    async def next(self, *kinds):
        async with asyncio.timeout(20):
            while True:
                frame = json.loads(await self.socket.recv())
                if frame["type"] in kinds:
                    return frame

    async def speak(self, text):
        await self.send(type="message", text=text)
        return await self.next("ack")

    async def ending(self):
        """Every frame up to the end of the connection, and how it ended."""
        frames = []
        async with asyncio.timeout(20):
            try:
                while True:
                    frames.append(json.loads(await self.socket.recv()))
            except ConnectionClosed as closed:
                return frames, closed.rcvd.code, closed.rcvd.reason


class House:
    """A kit over one store with a room behind a server."""

    def __init__(self, kit, server, stack):
        self.kit = kit
        self.server = server
        self.stack = stack

    async def client(self, name, after=None):
        url = self.server.url("room", name, after=after)
        client = Client(await self.stack.enter_async_context(connect(url, max_queue=None)))
        await client.next("ready")
        return client

    async def refused(self, name, after=None):
        with pytest.raises(InvalidStatus) as refused:
            await connect(self.server.url("room", name, after=after))
        return refused.value.response.status_code, refused.value.response.body.decode()

    async def texts(self, client, until):
        """The words of the events a client gets, up to some."""
        found = []
        while until not in found:
            found.append((await client.next("event"))["event"]["content"]["body"])
        return found


@asynccontextmanager
async def a_house(store, **options):
    async with RoomKit(store=store, single_process=True) as kit, AsyncExitStack() as stack:
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        await kit.create_room("room", organization_id="acme")
        await kit.attach_channel("room", "ws")
        server = await stack.enter_async_context(channel.serve(kit, **options))
        yield House(kit, server, stack)


@pytest.mark.parametrize("way", ["erase_room", "delete_room"])
async def test_a_socket_does_not_bring_its_room_back(store, way):
    async with a_house(store) as house:
        bob = await house.client("bob")
        await bob.speak("one")
        await getattr(house.kit, way)("room")
        with suppress(ConnectionClosed):  # the server may have been faster
            await bob.send(type="message", text="I am back")
        frames, code, reason = await bob.ending()
        assert next(frame for frame in frames if frame["type"] == "error")["code"] == "room_not_found"
        assert not [frame for frame in frames if frame["type"] == "ack"]
        assert (code, reason) == (1008, "room_not_found: the room is not there any more")
        assert await house.kit.store.get_room("room") is None
        assert (await house.refused("bob"))[0] == 404


@pytest.mark.parametrize("frame", ["message", "typing", "reaction", "read"])
async def test_a_frame_for_a_room_that_is_gone_is_refused_and_ends_the_connection(frame):
    """Also where the channel did not hear of it: the room went behind the kit's back."""
    async with a_house(None) as house:
        bob = await house.client("bob")
        await house.kit.store.delete_room("room")
        await bob.send(type=frame, text="x", event_id="e", emoji="x", client_id="m1")
        frames, code, _ = await bob.ending()
        assert [(frame["code"], frame["client_id"]) for frame in frames] == [("room_not_found", "m1")]
        assert code == 1008
        assert await house.kit.store.get_room("room") is None


async def test_a_banned_participant_is_out_at_once_and_stays_out(store):
    """The socket is closed with a reason; nothing comes by it, by a new one, or by resuming."""
    async with a_house(store) as house:
        alice, bob = await house.client("alice"), await house.client("bob")
        await bob.speak("hi")
        await alice.next("event")
        await house.kit.remove_participant("room", "bob", banned=True)
        await alice.speak("after the ban")
        frames, code, reason = await bob.ending()
        assert [frame.get("code") for frame in frames] == ["participant_banned"]
        assert (code, reason) == (1008, "participant_banned: you are banned from this room")
        for after in (None, -1):
            status, words = await house.refused("bob", after)
            assert status == 403
            assert "participant_banned" in words
        assert await house.texts(await house.client("carol", -1), "after the ban") == ["hi", "after the ban"]


@pytest.mark.parametrize("spoke", [True, False])
async def test_a_removed_participants_socket_ends_and_they_may_come_back(store, spoke):
    """Whether they wrote or only read; connected again they are in the room as before."""
    async with a_house(store) as house:
        alice, bob = await house.client("alice"), await house.client("bob")
        if spoke:
            await bob.speak("hi")
            await alice.next("event")
        await house.kit.remove_participant("room", "bob")
        await alice.speak("without bob")
        frames, code, reason = await bob.ending()
        assert [frame.get("code") for frame in frames] == ["participant_removed"]
        assert (code, reason) == (1008, "participant_removed: you were removed from this room")
        again = await house.client("bob", -1)
        await house.texts(again, "without bob")
        await again.speak("I am back")
        people = {person.id: person for person in await house.kit.list_participants("room")}
        assert (people["bob"].status, people["bob"].connected_via) == ("active", ("ws",))


async def test_who_only_read_can_be_banned(store):
    """A ban needs no earlier message: it ends the connection, a new one, and a resume."""
    async with a_house(store) as house:
        alice, bob = await house.client("alice"), await house.client("bob")
        await house.kit.remove_participant("room", "bob", banned=True)
        await alice.speak("after the ban")
        frames, code, _ = await bob.ending()
        assert ([frame.get("code") for frame in frames], code) == (["participant_banned"], 1008)
        assert [(await house.refused("bob", after))[0] for after in (None, -1)] == [403, 403]


@pytest.mark.parametrize("banned", [True, False])
async def test_a_closed_room_shows_nothing_more_to_who_is_out(store, banned):
    """The socket ends; the timeline takes no note of it."""
    async with a_house(store) as house:
        bob = await house.client("bob")
        await house.kit.close_room("room")
        before = await house.kit.get_timeline("room")
        await house.kit.remove_participant("room", "bob", banned=banned)
        assert (await bob.ending())[1] == 1008
        assert await house.kit.get_timeline("room") == before
        if banned:
            assert (await house.refused("bob"))[0] == 403


@pytest.mark.parametrize("banned", [True, False])
async def test_a_frame_of_who_is_out_is_refused_where_no_notice_came(banned):
    """The store says so, whatever the channel was notified of; a signal is refused as well."""
    async with a_house(None) as house:
        bob = await house.client("bob")
        bobs = Participant(id="bob", room_id="room", channel_id="ws")
        status = ParticipantStatus.BANNED if banned else ParticipantStatus.LEFT
        await house.kit.store.add_participant(bobs.replace(status=status))
        await bob.send(type="typing", client_id="m1")
        frames, code, _ = await bob.ending()
        reason = "participant_banned" if banned else "participant_removed"
        assert ([(frame["code"], frame["client_id"]) for frame in frames], code) == ([(reason, "m1")], 1008)


@pytest.mark.parametrize("banned", [True, False])
async def test_a_client_that_is_to_ask_for_more_gets_no_signals_and_no_more_once_it_is_out(banned):
    """It has no connection then, so that nothing drops it; what it asks for is judged."""
    async with a_house(None, max_replay=1) as house:
        alice = await house.client("alice")
        for text in ("one", "two"):
            await alice.speak(text)
        bob = await house.client("bob", -1)
        await bob.next("more")
        await house.kit.remove_participant("room", "bob", banned=banned)
        await alice.send(type="typing")
        await alice.speak("three")
        await bob.send(type="more")
        frames, code, _ = await bob.ending()
        reason = "participant_banned" if banned else "participant_removed"
        assert ([frame.get("code") for frame in frames], code) == ([reason], 1008)
        people = {person.id: person for person in await house.kit.list_participants("room")}
        assert people["bob"].status == ("banned" if banned else "left")


async def test_a_channel_that_may_not_read_resumes_nothing(store):
    async with a_house(store) as house:
        alice = await house.client("alice")
        await alice.speak("before")
        await house.kit.set_access("room", "ws", Access.WRITE_ONLY)
        await alice.speak("between")
        blind = [await house.client(name, -1) for name in ("alice", "bob")]
        for client in blind:
            await client.send(type="nonsense")  # answered once the client has caught up
            assert (await client.next("event", "error"))["type"] == "error"
        await house.kit.set_access("room", "ws", Access.READ_WRITE)
        await house.kit.send_event("room", "system", TextContent(body="now"))
        for client in blind:
            assert await house.texts(client, "now") == ["now"]
        assert await house.texts(await house.client("bob", -1), "now") == ["before", "between", "now"]


async def test_a_detached_channel_closes_its_sockets(store):
    async with a_house(store) as house:
        bob = await house.client("bob")
        await house.kit.detach_channel("room", "ws")
        frames, code, _ = await bob.ending()
        assert ([frame["code"] for frame in frames], code) == (["room_not_found"], 1008)
        assert (await house.refused("bob"))[0] == 404


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_socket_of_an_unregistered_channel_is_closed_at_its_next_frame(replaced):
    """It is not taken for one of the channel that has the id now, which sends it nothing."""
    async with a_house(None) as house:
        bob = await house.client("bob")
        await house.kit.unregister_channel("ws")
        if replaced:
            house.kit.register_channel(WebSocketChannel("ws"))
        await bob.send(type="message", text="x")
        frames, code, _ = await bob.ending()
        assert ([frame["code"] for frame in frames], code) == (["channel_not_attached"], 1008)
        assert await house.kit.get_timeline("room", as_channel="ws") == []


async def test_a_socket_of_a_closed_room_stays_and_is_refused():
    """It may have to show how the conversation ended."""
    async with a_house(None) as house:
        bob = await house.client("bob")
        await house.kit.close_room("room")
        await bob.send(type="message", text="wait")
        assert (await bob.next("error"))["code"] == "room_closed"
        await bob.send(type="typing")
        assert (await bob.next("error"))["code"] == "room_closed"


# -- connections of other web frameworks ----------------------------------------------------------


async def test_a_banned_participants_connections_are_dropped(stage):
    for room_id in ("room", "other"):
        await stage.kit.create_room(room_id)
        await stage.kit.attach_channel(room_id, "ws")
    await stage.kit.ensure_participant("room", "ws", "bob")
    only, both, follower = (stage.join(name, participant_id="bob") for name in ("only", "both", "again"))
    alice = stage.join("alice", participant_id="alice")
    stage.channel.subscribe("both", "other")
    await stage.kit.remove_participant("room", "bob", banned=True)
    await stage.turns()
    assert (only.closed, both.closed, follower.closed, alice.closed) == (
        ["participant_banned"],
        [],
        ["participant_banned"],
        [],
    )
    await stage.kit.send_event("room", "system", TextContent(body="in the room"))
    await stage.kit.send_event("other", "system", TextContent(body="elsewhere"))
    assert (only.texts, both.texts, alice.texts) == ([], ["elsewhere"], ["in the room"])
    assert sorted(stage.evicted.reasons) == [
        ("again", "participant_banned"),
        ("both", "participant_banned"),
        ("only", "participant_banned"),
    ]
    with pytest.raises(ParticipantBannedError, match=r"'bob' .* banned from it; close the socket"):
        await stage.kit.connect_websocket("ws", "new", only.send, room_id="room", participant_id="bob")
    assert stage.channel.connection_count == 2


class Interrupting(InMemoryStore):
    """A store in which a participant loses their place between the reads of a connection that is made."""

    def __init__(self, status):
        super().__init__()
        self.status = status
        self.loads = -1

    async def load(self, room_id, **options):
        self.loads -= 1
        if self.loads == 0:
            bob = await self.get_participant(room_id, "bob")
            await self.update_participant(bob.replace(status=self.status))
        return await super().load(room_id, **options)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (ParticipantStatus.LEFT, ParticipantRemovedError),
        (ParticipantStatus.BANNED, ParticipantBannedError),
    ],
)
async def test_who_loses_their_place_while_they_connect_is_not_connected(status, error):
    """Else the connection would stay: it was not there yet when the channel was notified."""
    async with a_house(store := Interrupting(status)) as house:
        await house.kit.ensure_participant("room", "ws", "bob")
        wire = []
        store.loads = 2  # it is read before the connection is registered, and afterwards

        async def send(connection_id, event):
            wire.append(event)

        with pytest.raises(error):
            await house.kit.connect_websocket("ws", "c", send, room_id="room", participant_id="bob")
        assert house.kit.get_channel("ws").connection_count == 0


async def test_a_banned_participant_gets_into_the_room_by_no_other_way(stage):
    """Neither by subscribing, nor by a message that names the room and is refused."""
    for room_id in ("room", "other"):
        await stage.kit.create_room(room_id)
        await stage.kit.attach_channel(room_id, "ws")
    for name in ("bob", "ann"):
        await stage.kit.ensure_participant("room", "ws", name)
    await stage.kit.remove_participant("room", "bob", banned=True)
    subscribed, roaming = (
        stage.join("s", "other", participant_id="bob"),
        stage.join("r", None, participant_id="bob"),
    )
    stage.channel.subscribe("s", "room")
    stage.channel.subscribe("s", "not there yet")
    for who, connection in (("bob", "r"), ("ann", "unknown")):
        message = InboundMessage(
            channel_id="ws", sender_id=who, connection_id=connection, content=TextContent(body=f"by {who}")
        )
        result = await stage.kit.process_inbound(message, room_id="room")
        assert result.reason == ("participant_banned" if who == "bob" else None)
    await stage.kit.send_event("other", "system", TextContent(body="elsewhere"))
    assert (subscribed.texts, roaming.texts) == (["elsewhere"], [])


async def test_a_ban_is_known_by_the_address_the_participant_used(stage):
    """An identity may have given the sender another id than their connection has."""
    wire = stage.join("c", participant_id="+1555")
    person = Participant(
        id="ann",
        room_id="room",
        channel_id="ws",
        external_id="+1555",
        status=ParticipantStatus.BANNED,
    )
    await stage.channel.update_participant("room", person.replace(channel_id="sms"))
    await stage.turns()
    assert wire.closed == []
    await stage.channel.update_participant("room", person)
    await stage.turns()
    assert wire.closed == ["participant_banned"]


async def test_connections_of_a_room_that_is_gone_are_dropped(stage):
    await stage.kit.create_room("room")
    await stage.kit.attach_channel("room", "ws")
    wires = [stage.join("a"), stage.join("b", None)]

    async def failing(connection_id, reason):
        raise RuntimeError("the socket is in two pieces")

    stage.channel.register_connection("c", wires[0].send, close_fn=failing, room_id="room")
    await stage.kit.delete_room("room")
    await stage.turns()
    assert [wire.closed for wire in wires] == [["room_not_found"]] * 2
    assert stage.channel.connection_count == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"participant_id": "ann"}, {"participant_id": "bob"}),
        ({"participant_id": "ann"}, {}),
        ({}, {"participant_id": "bob"}),
        ({}, {}),
        ({"room_id": None}, {}),
        ({}, {"room_id": None}),
    ],
)
async def test_a_connection_id_in_use_is_nobody_elses(stage, before, after):
    """The connection that has it goes on as ever."""
    wire, thief = stage.join("c", **before), stage.wire("c")
    await stage.attach("room")
    with pytest.raises(InvalidInputError, match="connection id 'c' is in use by another connection"):
        thief.join(stage.channel, **{"room_id": "room", **after})
    await stage.say("for the first")
    assert (wire.texts, thief.texts, wire.closed) == (["for the first"], [], [])


async def test_the_same_participant_may_reconnect_under_the_same_id(stage):
    for name in ("ann", None):
        room_id = None if name is None else "room"
        old = stage.join(f"{name}", room_id, participant_id=name)
        stage.join(f"{name}", None if name is None else "other", participant_id=name)
        await stage.turns()
        assert old.closed == ["replaced"]


async def test_an_answer_under_way_ends_where_the_channel_loses_the_right_to_read(stage):
    """Nothing more of it is shown, nor its event, nor to who joins then."""
    await stage.kit.create_room("room")
    await stage.kit.attach_channel("room", "ws")
    wire = stage.join("c", streaming=True)
    answer = stage.answer("Seen. Unseen.")
    await answer.say("Seen. ")
    await stage.kit.set_access("room", "ws", Access.WRITE_ONLY)
    late = stage.join("late", streaming=True)
    await answer.say("Unseen.")
    output = await answer.finish()
    assert (wire.streamed_text, wire.texts, late.frames) == ("Seen. ", [], [])
    assert [frame.error for frame in wire.frames if isinstance(frame, StreamError)] == ["answer_withheld"]
    assert output.skip_reason == "read_access_lost"


# -- over workers ---------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_ban_on_another_worker_reaches_the_connection(town):
    """As soon as the workers hear of it; by the recheck when they do not."""
    first, second = await town.populate(2)
    for name, loud in (("bob", True), ("eve", False)):
        await first.kit.ensure_participant("room", "ws", name)
        wire = await second.join(name, participant_id=name)
        if not loud:
            town.realtime.down = True
        await first.kit.remove_participant("room", name, banned=True)
        await town.until(lambda wire=wire: wire.closed, seconds=2 if loud else 100)
        town.realtime.down = False
        await first.say(f"after {name}")
        assert (wire.closed, wire.texts) == (["participant_banned"], [])


@pytest.mark.virtual_time
async def test_an_access_change_on_another_worker_reaches_the_connection(town):
    first, second = await town.populate(2)
    wire = await second.join("c")
    await first.kit.set_access("room", "ws", Access.WRITE_ONLY)
    await first.say("hidden")
    await asyncio.sleep(1)  # virtual time
    await first.kit.set_access("room", "ws", Access.READ_WRITE)
    await first.say("shown")
    await town.until(lambda: "shown" in wire.texts)
    assert wire.closed == []


async def test_a_connection_makes_no_room_where_none_is_to_be_made(stage):
    """A program with a web framework of its own says so for each message."""
    message = InboundMessage(
        channel_id="ws", sender_id="bob", connection_id="c", content=TextContent(body="hi")
    )
    result = await stage.kit.process_inbound(message, room_id="room", make_room=False)
    assert (result.blocked, result.reason) == (True, "room_not_found")
    assert await stage.kit.store.get_room("room") is None
