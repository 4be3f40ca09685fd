"""The socket server, over real sockets of this machine."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit.abc.errors import InvalidInputError, KitClosedError
from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookTrigger
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import ScriptedIntelligence, assert_nothing_leaks
from roomkit_plugins.websocket import WebSocketChannel, WebSocketServer


class Client:
    """A person at a socket."""

    def __init__(self, socket):
        self.socket = socket
        self.seen = []

    async def say(self, text, client_id=None):
        frame = {"type": "message", "text": text}
        await self.send({**frame, "client_id": client_id} if client_id else frame)

    async def send(self, frame):
        await self.socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def next(self, *kinds):
        """The next frame of one of `kinds`, of any without."""
        async with asyncio.timeout(30):
            while True:
                frame = json.loads(await self.socket.recv())
                self.seen.append(frame)
                if not kinds or frame["type"] in kinds:
                    return frame

    async def texts(self, number):
        """The words of so many events, however they came."""
        found = []
        while len(found) < number:
            found.append((await self.next("event", "stream_end"))["event"]["content"]["body"])
        return found


class House:
    """A kit with one room behind a server."""

    def __init__(self, kit, server):
        self.kit = kit
        self.server = server

    @asynccontextmanager
    async def client(self, participant="alice", room="room", after=None, **options):
        url = self.server.url(room, participant, after=after)
        # Else a client that closes with frames unread waits for its own reader, for ten seconds.
        async with connect(url, **{"max_queue": None, **options}) as opened:
            client = Client(opened)
            assert (await client.next())["type"] == "ready"
            yield client

    async def tell(self, *texts):
        for text in texts:
            await self.kit.send_event("room", "system", TextContent(body=text))


@asynccontextmanager
async def a_house(channel=None, agent=None, **options):
    kit = RoomKit()
    channel = channel or WebSocketChannel("ws")
    kit.register_channel(channel)
    await kit.create_room("room")
    await kit.attach_channel("room", "ws")
    if agent is not None:
        kit.register_channel(agent)
        await kit.attach_channel("room", agent.channel_id)
    async with channel.serve(kit, **options) as server:
        yield House(kit, server)
    await kit.close()


async def refusal(url, **options):
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, **options):
            pass
    response = refused.value.response
    return response.status_code, response.body.decode().strip()


async def test_two_people_and_an_agent_that_streams():
    """Each sees the other and both see the answer grow; its identity is the stored one's."""
    agent = ScriptedIntelligence("agent", ["Hello to you both"], streaming=True)
    async with a_house(agent=agent) as house:
        async with house.client("alice") as alice, house.client("bob") as bob:
            await alice.say("hi", "m1")
            ack = await alice.next("ack")
            ends = [await person.next("stream_end") for person in (alice, bob)]
            stored = await house.kit.get_timeline("room")
        assert [frame["type"] for frame in bob.seen if frame["type"] != "stream_chunk"] == [
            "ready",
            "event",
            "stream_start",
            "stream_end",
        ]
        assert "event" not in [frame["type"] for frame in alice.seen]
        assert ack == {
            "type": "ack",
            "client_id": "m1",
            "event_id": stored[-2].id,
            "index": stored[-2].index,
            "duplicate": False,
        }
        for person, end in zip((alice, bob), ends, strict=True):
            assert end["event"]["id"] == end["stream_id"] == stored[-1].id
            assert end["event"]["index"] == stored[-1].index
            deltas = [frame["delta"] for frame in person.seen if frame["type"] == "stream_chunk"]
            assert "".join(deltas) == "Hello to you both"


async def test_typing_is_seen_by_the_others_only():
    """A signal, not an event: nothing of it is stored or acknowledged."""
    async with a_house() as house, house.client("alice") as alice, house.client("bob") as bob:
        before = len(await house.kit.get_timeline("room"))
        await alice.send({"type": "typing"})
        signal = (await bob.next("ephemeral"))["event"]
        await bob.say("what is it?")
        await alice.next("event")
        assert (signal["type"], signal["user_id"]) == ("typing_start", "alice")
        assert [frame["type"] for frame in alice.seen] == ["ready", "event"]
        assert len(await house.kit.get_timeline("room")) == before + 1


async def test_who_comes_back_gets_what_was_missed():
    """From the index on that it names, in order, its own words on other devices included."""
    async with a_house() as house:
        async with house.client("alice") as alice:
            await house.tell("one")
            seen = (await alice.next("event"))["event"]["index"]
        await house.tell("two")
        async with house.client("alice") as other_device:
            await other_device.say("three")
            await other_device.next("ack")
        async with house.client("alice", after=seen) as alice:
            await house.tell("four")
            assert await alice.texts(3) == ["two", "three", "four"]
        async with house.client("bob", after=-1) as bob:
            assert await bob.texts(4) == ["one", "two", "three", "four"]
        async with house.client("bob", after=10**12) as bob:
            await house.tell("five")
            assert await bob.texts(1) == ["five"]


async def test_who_missed_a_lot_asks_for_it_part_by_part():
    async with a_house(max_replay=3) as house:
        await house.tell(*"abcdefgh")
        first = (await house.kit.get_timeline("room", as_channel="ws"))[0].index
        async with house.client("alice", after=first - 1) as alice:
            assert await alice.texts(3) == ["a", "b", "c"]
            assert await alice.next() == {"type": "more", "after": first + 2, "index": first + 7}
            await house.tell("i")
            await alice.say("still there?", "m1")
            await alice.next("ack")
            await alice.send({"type": "more"})
            assert await alice.texts(3) == ["d", "e", "f"]
            more = await alice.next()
            assert more == {"type": "more", "after": first + 5, "index": first + 9}
            await alice.send({"type": "more", "after": more["after"] + 1})  # g is of no interest
            assert await alice.texts(3) == ["h", "i", "still there?"]
            await house.tell("j")
            assert await alice.texts(1) == ["j"]
        async with house.client("bob", after=first + 7) as bob:  # exactly as many as may be
            assert await bob.texts(3) == ["i", "still there?", "j"]
            await bob.send({"type": "more"})
            assert (await bob.next())["code"] == "nothing_more"
            await house.tell("k")
            assert await bob.texts(1) == ["k"]


async def test_only_who_was_told_of_more_may_ask_for_it():
    """And for no other index than one that can be; nothing is sent twice."""
    async with a_house(max_replay=1) as house, house.client("alice") as alice:
        await alice.send({"type": "more"})
        assert (await alice.next())["code"] == "nothing_more"
        await house.tell("one", "two")
        async with house.client("bob", after=-1) as bob:
            assert await bob.texts(1) == ["one"]
            await bob.next("more")
            for wrong in (-2, True, "3", 1.5, 2**70):
                await bob.send({"type": "more", "after": wrong})
                assert (await bob.next())["code"] in ("invalid_field", "invalid_json")
            await bob.send({"type": "more", "after": -1})
            assert await bob.texts(1) == ["two"]
        async with house.client("bob", after=-1) as bob:
            await bob.next("more")
            await bob.send({"type": "more", "after": 10**9})
            await bob.say("on", "m1")
            await bob.next("ack")
            await house.tell("three")
            assert await bob.texts(1) == ["three"]


async def test_an_index_ahead_of_the_room_is_told():
    """The client's idea of the room is of another time, or another room."""
    async with a_house() as house:
        await house.tell("one")
        newest = (await house.kit.get_room("room")).latest_index
        async with house.client("alice", after=newest + 1) as alice:
            error = await alice.next()
            assert (error["type"], error["code"]) == ("error", "index_ahead")
            assert "after=-1" in error["next_step"]
            await house.tell("two")
            assert await alice.texts(1) == ["two"]
        async with house.client("alice", after=newest + 1) as alice:
            await house.tell("three")
            assert await alice.texts(1) == ["three"]
    with pytest.raises(InvalidInputError, match="max_replay is 0"):
        WebSocketServer(house.kit, "ws", max_replay=0)


async def test_nothing_is_missed_or_doubled_while_everybody_talks():
    """However the replay, the answers under way and the live events fall."""
    answers = [f"answer {number} " * 5 for number in range(30)]
    async with a_house(agent=ScriptedIntelligence("agent", answers, streaming=True)) as house:

        async def talk():
            for number in range(30):
                message = InboundMessage(
                    channel_id="ws", sender_id="carol", content=TextContent(body=f"{number}")
                )
                await house.kit.process_inbound(message, room_id="room", wait="committed")
                await asyncio.sleep(0)

        async def listen():
            indexes, after = [], -1
            for _ in range(6):
                async with house.client("alice", after=after) as alice:
                    for _ in range(8):
                        event = (await alice.next("event", "stream_end"))["event"]
                        indexes.append(event["index"])
                        after = event["index"]
            return indexes

        _, indexes = await asyncio.gather(talk(), listen())
        timeline = await house.kit.get_timeline("room", limit=200, as_channel="ws")
        visible = [event.index for event in timeline]
        assert indexes == visible[: len(indexes)]


async def test_what_was_kept_from_a_person_is_not_replayed_to_them():
    async with a_house() as house:

        @house.kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event, context):
            blocked = "secret" in event.content.body
            return HookResult.block("no secrets here, please") if blocked else HookResult.allow()

        async with house.client("bob") as bob:
            await bob.say("a secret", "m1")
            error = await bob.next("error")
        assert (error["code"], error["client_id"]) == ("blocked", "m1")
        assert error["message"] == "no secrets here, please"
        for visibility in ("intelligence", "all"):
            message = InboundMessage(
                channel_id="ws",
                sender_id="bob",
                content=TextContent(body=f"to {visibility}"),
                visibility=visibility,
            )
            await house.kit.process_inbound(message, room_id="room")
        async with house.client("alice", after=-1) as alice:
            assert await alice.texts(1) == ["to all"]
        async with house.client("bob", after=-1) as bob:
            assert await bob.texts(2) == ["to intelligence", "to all"]


async def test_a_message_sent_twice_counts_once():
    """After a reconnect too: the second time gets the first event again."""
    async with a_house() as house:
        acks = []
        for _ in range(2):
            async with house.client("alice") as alice:
                await alice.say("hi", "m1")
                acks.append(await alice.next("ack"))
        assert acks[0]["event_id"] == acks[1]["event_id"]
        assert [ack["duplicate"] for ack in acks] == [False, True]


async def test_a_wrong_frame_is_answered_and_the_connection_goes_on():
    """With what to do; the next frame is taken."""
    async with a_house() as house, house.client("alice") as alice:
        for frame in (
            "{",
            b"\x00\x01",
            '{"type": "shout"}',
            '{"type": "edit", "event_id": "e", "text": "x"}',
        ):
            await alice.send(frame)
        errors = [await alice.next("error") for _ in range(4)]
        await alice.say("still here", "m1")
        assert (await alice.next("ack"))["client_id"] == "m1"
        assert [error["code"] for error in errors] == [
            "invalid_json",
            "invalid_json",
            "unknown_type",
            "target_event_not_found",
        ]
        assert all(error["next_step"] for error in errors)


async def test_what_is_replied_or_reacted_to_is_an_event_of_the_room():
    """Another room's is not there, and neither is one that never was."""
    async with a_house() as house, house.client("alice") as alice:
        await house.kit.create_room("other")
        other = await house.kit.send_event("other", "system", TextContent(body="elsewhere"))
        await alice.say("first", "m0")
        first = (await alice.next("ack"))["event_id"]
        frames = [{"type": "message", "text": "re", "reply_to": target} for target in (first, other.id, "e")]
        frames += [{"type": "reaction", "emoji": "x", "event_id": frame["reply_to"]} for frame in frames]
        for number, frame in enumerate(frames):
            await alice.send({**frame, "client_id": f"{number}"})
        answers = [await alice.next("ack", "error") for _ in frames]
        assert [answer.get("code") for answer in answers] == [
            *[None, "parent_event_not_found", "parent_event_not_found"] * 2
        ]
        assert [answer["client_id"] for answer in answers] == [*"012345"]


async def test_a_delivery_to_sockets_that_are_closing_is_skipped():
    async with a_house(close_timeout=0.5) as house, house.client("alice") as alice:
        alice.socket.transport.pause_reading()  # it will not answer the goodbye
        closing = asyncio.create_task(house.server.close())
        while not next(iter(house.server._sockets)).protocol.close_sent:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0)
        for text in ("one", "two"):
            event = await house.kit.send_event("room", "system", TextContent(body=text))
            (row,) = await house.kit.list_deliveries("room", event_id=event.id)
            assert (row.state, row.reason) == ("skipped", "no_connections")
        await closing
        alice.socket.transport.abort()


@pytest.mark.parametrize("turns", range(6))
async def test_a_delivery_to_a_socket_that_broke_does_not_fail(turns):
    async with a_house() as house, house.client("alice") as alice:
        next(iter(house.server._sockets)).transport.abort()
        for _ in range(turns):
            await asyncio.sleep(0)
        event = await house.kit.send_event("room", "system", TextContent(body="x"))
        (row,) = await house.kit.list_deliveries("room", event_id=event.id)
        assert row.state in ("sent", "skipped")
        with pytest.raises(ConnectionClosed):
            await alice.next("event")
        async with house.client("alice", after=-1) as again:
            assert await again.texts(1) == ["x"]


async def test_a_frame_that_is_too_long_ends_its_connection_alone():
    """With the web socket's own code for it."""
    async with (
        a_house(max_frame_bytes=1000) as house,
        house.client("alice") as alice,
        house.client("bob") as bob,
    ):
        await alice.say("x" * 2000)
        with pytest.raises(ConnectionClosed) as closed:
            await alice.next()
        assert closed.value.rcvd.code == 1009
        await house.tell("still here")
        assert await bob.texts(1) == ["still here"]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/rooms/elsewhere?participant=alice", 404, "no such room"),
        ("/rooms/unattached", 404, "no such room"),
        ("/", 404, "connect to /rooms/ROOM"),
        ("/rooms/", 404, "connect to /rooms/ROOM"),
        ("/rooms/room?after=x", 400, "after= is the index"),
        ("/rooms/room?after=-2", 400, "after= is the index"),
        (f"/rooms/room?after={'9' * 30}", 400, "after= is the index"),
    ],
)
async def test_a_wrong_address_is_refused_before_the_socket_opens(path, status, words):
    async with a_house() as house:
        await house.kit.create_room("unattached")
        code, body = await refusal(f"ws://127.0.0.1:{house.server.port}{path}")
        assert code == status
        assert words in body


@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        (None, True),
        ("http://localhost:5173", True),
        ("http://127.0.0.1", True),
        ("https://evil.example", False),
        ("null", False),
    ],
)
async def test_only_pages_of_this_machine_may_use_a_server_without_sign_in(origin, taken):
    """Any page in the user's browser could reach it otherwise."""
    async with a_house() as house:
        url = house.server.url("room", "alice")
        if taken:
            async with connect(url, origin=origin):
                pass
        else:
            code, body = await refusal(url, origin=origin)
            assert code == 403
            assert "origins=" in body


async def test_a_server_others_can_reach_needs_to_know_who_they_are():
    """It is refused when it is made."""
    with pytest.raises(InvalidInputError, match="pass authenticate="):
        WebSocketServer(RoomKit(), "ws", host="0.0.0.0")


async def test_authentication_decides_who_speaks():
    """Whatever the address claims; who is not known is not let in."""

    async def authenticate(request, room_id):
        return {"Bearer good": "verified"}.get(request.headers.get("authorization", "")) if room_id else None

    async with a_house(authenticate=authenticate, origins=["https://shop.example"]) as house:
        url = house.server.url("room", "someone-else")
        assert (await refusal(url))[0] == 401
        headers = {"Authorization": "Bearer good"}
        assert (await refusal(url, additional_headers=headers, origin="https://evil.example"))[0] == 403
        async with connect(url, additional_headers=headers, origin="https://shop.example") as opened:
            client = Client(opened)
            assert (await client.next("ready"))["participant_id"] == "verified"
            await client.say("hi")
            await client.next("ack")
        assert (await house.kit.get_timeline("room"))[-1].source.participant_id == "verified"


async def test_frames_of_every_length_arrive_whole():
    """A frame states its length in one, three or nine bytes."""
    texts = ["x" * length for length in (1, 125, 126, 70_000, 65_535 - 600, 2)]
    async with a_house() as house, house.client("alice") as alice, house.client("bob") as bob:
        await house.tell(*texts)
        assert await alice.texts(len(texts)) == await bob.texts(len(texts)) == texts
        await alice.send({"type": "nonsense"})
        assert 0 < len(json.dumps(await alice.next("error"))) < 126 * 4


async def test_a_client_that_reads_late_has_every_event_once_and_in_order():
    """While it does not read, frames wait for it; its own acknowledgements come in between."""
    channel = WebSocketChannel("ws", send_timeout=3600.0)
    async with a_house(channel) as house, house.client("alice") as alice, house.client("bob") as bob:
        (waiting,) = (one for one in channel._connections.by_id.values() if one.participant_id == "bob")
        bob.socket.transport.pause_reading()
        sent = []  # bound: what the buffers of two sockets hold
        while len(waiting.backlog) < 3:
            sent.append(f"{len(sent)} " + "x" * 100_000)
            await house.tell(sent[-1])
        bob.socket.transport.resume_reading()
        await alice.say("and one more")
        assert await alice.texts(len(sent)) == sent
        assert await bob.texts(len(sent) + 1) == [*sent, "and one more"]
        assert not waiting.sending
        await bob.say("thanks", "m1")
        assert (await bob.next("ack"))["client_id"] == "m1"


async def test_a_client_that_does_not_read_is_cut_off_and_delays_nobody():
    """Its socket is closed, so that it comes back and resumes."""
    channel = WebSocketChannel("ws", send_timeout=0.2)
    async with a_house(channel) as house:
        evicted = asyncio.Event()

        @house.kit.on("channel_disconnected")
        async def note(event):
            if event.data.get("reason") == "timeout":
                evicted.set()

        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", house.server.port))
        narrow.setblocking(False)
        async with house.client("alice") as alice, house.client("bob", sock=narrow) as bob:
            bob.socket.transport.pause_reading()
            big = "x" * 200_000
            for _ in range(40):
                await house.tell(big)
                assert await alice.texts(1) == [big]
            await asyncio.wait_for(evicted.wait(), 10)
            assert channel.connection_count == 1
            bob.socket.transport.abort()


async def test_closing_says_goodbye():
    """Every client is notified that the server goes away; closing twice is closing once."""
    async with a_house() as house, house.client("alice") as alice:
        await house.server.close()
        with pytest.raises(ConnectionClosed) as closed:
            await alice.next()
        assert closed.value.rcvd.code == 1001
        await house.server.close()
        assert house.kit.get_channel("ws").connection_count == 0


async def test_a_kit_that_closes_first_sends_its_clients_away():
    async with a_house() as house, house.client("alice") as alice:
        await house.kit.close()
        with pytest.raises(ConnectionClosed) as closed:
            await alice.next()
        assert closed.value.rcvd.code == 1001


async def test_clients_that_come_and_go_leave_nothing():
    """No task, no descriptor, no connection, no subscription."""
    async with a_house() as house, house.client("bob") as bob:

        async def cycle():
            async with house.client("alice", after=-1) as alice:
                await alice.say("hi")
                await alice.next("ack")
                await bob.texts(1)
            while house.kit.get_channel("ws").connection_count > 1:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0)

        await assert_nothing_leaks(cycle, cycles=20)


async def test_a_server_that_was_left_open_is_closed_with_its_kit():
    others = RoomKit()
    others.register_channel(WebSocketChannel("ws"))
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("ws"))
    await kit.create_room("room")
    await kit.attach_channel("room", "ws")
    async with WebSocketServer(others, "ws") as spared:
        server = WebSocketServer(kit, "ws")
        await server.start()
        url, port = server.url("room", "alice"), server.port
        async with connect(url, max_queue=None) as client:
            assert json.loads(await client.recv())["type"] == "ready"
            await kit.close()
            await client.wait_closed()
        with pytest.raises(OSError, match="Connect call failed"):
            await connect(f"ws://127.0.0.1:{port}")
        with pytest.raises(InvalidStatus):
            await connect(f"ws://127.0.0.1:{spared.port}/elsewhere")
        await server.close()
    await others.close()


async def test_a_server_is_not_started_on_a_closed_kit():
    kit = RoomKit()
    kit.register_channel(WebSocketChannel("ws"))
    await kit.close()
    with pytest.raises(KitClosedError):
        await WebSocketServer(kit, "ws").start()


async def test_servers_that_come_and_go_leave_nothing_with_their_kit():
    """Neither one that was closed nor one that could not listen is kept until the kit closes."""
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("ws"))
        for _ in range(3):
            async with WebSocketServer(kit, "ws") as server:
                with pytest.raises(OSError, match="in use"):
                    await WebSocketServer(kit, "ws", port=server.port).start()
        assert len(kit._life._pushed) == 0
