"""What one client may send, and what it costs the others when it sends more."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.kit import RoomKit
from roomkit.models.channel import RateLimit
from roomkit_plugins.websocket import WebSocketChannel, WebSocketServer
from roomkit_plugins.websocket.allowance import Allowance, Allowances
from roomkit_plugins.websocket.intake import ClientSocket
from roomkit_plugins.websocket.session import Session


class House:
    def __init__(self, kit, server, stack):
        self.kit, self.server, self.stack = kit, server, stack

    async def client(self, name):
        url = self.server.url("room", name)
        socket = await self.stack.enter_async_context(connect(url, max_queue=None))
        assert json.loads(await socket.recv())["type"] == "ready"
        return socket


@asynccontextmanager
async def a_house(inbound_rate_limit=None, **options):
    async with RoomKit(inbound_rate_limit=inbound_rate_limit) as kit, AsyncExitStack() as stack:
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        await kit.create_room("room")
        await kit.attach_channel("room", "ws")
        server = await stack.enter_async_context(channel.serve(kit, **options))
        yield House(kit, server, stack)


async def speak(socket, number, start=0):
    for each in range(start, start + number):
        await socket.send(json.dumps({"type": "message", "text": "x", "client_id": f"m{each}"}))


async def answers(socket, number):
    """So many acknowledgements and errors."""
    found = []
    async with asyncio.timeout(20):
        while len(found) < number:
            frame = json.loads(await socket.recv())
            if frame["type"] in ("ack", "error"):
                found.append(frame)
    return found


async def ending(socket):
    """Every frame to the end of a connection, and how that was."""
    frames = []
    async with asyncio.timeout(20):
        try:
            while True:
                frames.append(json.loads(await socket.recv()))
        except ConnectionClosed as closed:
            return frames, closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)


def masked(payload, opcode=0x81):
    """A client's frame as it is on the wire."""
    mask = os.urandom(4)
    hidden = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes((opcode, 0x80 | len(payload))) + mask + hidden


def test_an_allowance_is_exact():
    """So many at once, then so many a second; without a limit there is no waiting."""
    allowance = Allowance(2.0, 3.0, now=0.0)
    assert [allowance.take(0.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 0.5]
    assert [allowance.take(now) for now in (0.25, 0.5, 0.5)] == [0.25, 0.0, 0.5]
    assert [allowance.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    free = Allowance(inf, 1.0, now=0.0)
    assert {free.take(0.0) for _ in range(1000)} == {0.0}


def test_as_many_participants_are_known_as_there_is_room_for():
    """The longest unused goes; who comes again finds their own."""
    allowances = Allowances(1.0, 1.0)
    mine = allowances.of("ann", 0.0)
    for number in range(9_999):
        allowances.of(f"{number}", 0.0)
    assert allowances.of("ann", 0.0) is mine
    for number in range(10_000):
        allowances.of(f"new {number}", 0.0)
    assert allowances.of("ann", 0.0) is not mine


@pytest.mark.parametrize("option", ["frames_per_second", "frame_burst", "max_refused"])
def test_a_limit_of_nothing_is_refused(option):
    with pytest.raises(InvalidInputError, match=f"{option}.* 0.*give positive numbers"):
        WebSocketServer(RoomKit(), "ws", **{option: 0})


async def test_what_is_too_much_is_refused_with_when_to_send_it_again():
    async with a_house(frames_per_second=0.01, frame_burst=3) as house:
        ann, bob = await house.client("ann"), await house.client("bob")
        await speak(ann, 5)
        found = await answers(ann, 5)
        assert [frame["type"] for frame in found] == ["ack", "ack", "ack", "error", "error"]
        assert [frame.get("client_id") for frame in found] == ["m0", "m1", "m2", "m3", "m4"]
        for refusal in found[3:]:
            assert refusal["code"] == "rate_limited"
            assert 90 < refusal["retry_after"] <= 100
            assert "retry_after seconds" in refusal["next_step"]
        await speak(bob, 1)
        assert (await answers(bob, 1))[0]["type"] == "ack"


async def test_who_goes_on_is_closed_and_does_not_come_back_before_time():
    """With 1008 and the reason; connecting again gains nothing, for the limit is the participant's too."""
    async with a_house(frames_per_second=0.01, frame_burst=2, max_refused=4) as house:
        ann = await house.client("ann")
        await speak(ann, 20)
        frames, end = await ending(ann)
        assert [frame["type"] for frame in frames] == ["ack"] * 2 + ["error"] * 4
        assert end == (1008, "rate_limited: too many frames, again and again")
        again = await house.client("ann")  # all connections of a participant have twice the burst
        await speak(again, 4)
        assert [frame["type"] for frame in await answers(again, 4)] == ["ack"] * 2 + ["error"] * 2
        with pytest.raises(InvalidStatus) as refused:
            await connect(house.server.url("room", "ann"))
        response = refused.value.response
        assert response.status_code == 429
        assert 0 < int(response.headers["Retry-After"]) <= 100
        bob = await house.client("bob")
        await speak(bob, 1)
        assert (await answers(bob, 1))[0]["type"] == "ack"


@pytest.mark.parametrize(
    "junk",
    [
        "no JSON",
        b"\x00\xff",
        "[]",
        json.dumps({"type": "nonsense"}),
        json.dumps({"type": "message", "text": 5}),
        json.dumps({"type": "more", "after": "x"}),
    ],
    ids=["no JSON", "binary", "no object", "unknown type", "wrong field", "wrong index"],
)
async def test_who_sends_what_cannot_be_read_again_and_again_is_closed(junk):
    """At any pace; a mistake now and then is only answered, and others are not closed for it."""
    async with a_house(frames_per_second=1000, frame_burst=1000, max_refused=4) as house:
        ann, bob = await house.client("ann"), await house.client("bob")
        await bob.send(junk)
        for _ in range(20):
            await ann.send(junk)
        frames, end = await ending(ann)
        assert [frame["type"] for frame in frames] == ["error"] * 4
        assert end == (1008, "unreadable_frames: too many frames that cannot be read")
        await speak(bob, 1)
        assert [frame["type"] for frame in await answers(bob, 2)] == ["error", "ack"]


async def test_what_cannot_be_read_counts_against_the_allowance():
    """The next frames are refused as those after any other."""
    async with a_house(frames_per_second=0.01, frame_burst=3) as house:
        ann = await house.client("ann")
        for _ in range(3):
            await ann.send("no JSON")
        await speak(ann, 1)
        codes = [frame["code"] for frame in await answers(ann, 4)]
        assert codes == ["invalid_json"] * 3 + ["rate_limited"]


async def test_one_client_cannot_use_up_the_limit_of_all():
    """Of what the kit takes by a channel, one client gets half."""
    async with a_house(RateLimit(max_per_minute=1, burst=6), max_refused=1000) as house:
        ann, bob, eve = [await house.client(name) for name in ("ann", "bob", "eve")]
        await speak(ann, 50)
        found = await answers(ann, 50)
        assert [frame["type"] for frame in found].count("ack") == 3
        await speak(bob, 1)
        assert (await answers(bob, 1))[0]["type"] == "ack"
        await speak(bob, 2, start=1)
        await answers(bob, 2)
        await speak(eve, 1)
        (refusal,) = await answers(eve, 1)
        assert (refusal["code"], refusal["client_id"]) == ("rate_limited", "m0")
        assert 0 < refusal["retry_after"] <= 60


@pytest.mark.parametrize("kind", ["typing", "junk", "message"])
async def test_a_flood_is_taken_in_between_other_work(monkeypatch, kind):
    """However much arrives at once: in one turn of the loop a slice is parsed, and four frames handled."""
    turn, parsed, handled = [0], {}, {}
    process_event, take = ClientSocket.process_event, Session._take

    def counted_event(self, event):
        parsed[turn[0], id(self)] = parsed.get((turn[0], id(self)), 0) + 1
        process_event(self, event)

    async def counted_take(self, data):
        handled[turn[0], id(self)] = handled.get((turn[0], id(self)), 0) + 1
        await take(self, data)

    async def count_turns():
        while True:
            turn[0] += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(ClientSocket, "process_event", counted_event)
    monkeypatch.setattr(Session, "_take", counted_take)
    payload = {"typing": b'{"type":"typing"}', "junk": b"x", "message": b'{"type":"message","text":"x"}'}[
        kind
    ]
    number = 1000
    async with a_house(frames_per_second=inf, max_refused=number) as house:
        flooders = [await house.client(f"f{number}") for number in range(3)]
        ticking = asyncio.create_task(count_turns())
        for flooder in flooders:
            flooder.transport.write(masked(payload) * number)
        bob = await house.client("bob")
        await speak(bob, 1)
        await answers(bob, 1)
        while sum(handled.values()) < 3 * number:  # noqa: ASYNC110  # whatever is counted, no event tells
            await asyncio.sleep(0)
        ticking.cancel()
    assert max(handled.values()) <= 4
    assert max(parsed.values()) <= 2048 // len(masked(payload)) + 1


async def test_what_is_sent_at_once_is_taken_in_whole_and_in_order():
    """Also when it is large, and when the client is gone right after it."""
    async with a_house(frames_per_second=inf) as house:
        ann = await house.client("ann")
        big = [
            json.dumps({"type": "message", "text": f"{n}" * 20_000, "client_id": f"m{n}"}) for n in range(9)
        ]
        for frame in big:
            await ann.send(frame)
        await speak(ann, 300, start=9)
        found = await answers(ann, 309)
        assert [frame["client_id"] for frame in found] == [f"m{n}" for n in range(309)]


async def test_a_flood_of_pings_ends_its_connection():
    async with a_house() as house:
        ann = await house.client("ann")
        ann.transport.write(masked(b"", 0x89) * 5000)
        _, end = await ending(ann)
        assert end is None
        bob = await house.client("bob")
        for _ in range(20):
            await (await bob.ping())


async def test_typing_costs_no_more_reads_in_a_room_with_many_sockets():
    async with a_house() as house:
        reads = []
        store = house.kit.store
        get_binding, load = store.get_binding, store.load

        async def counted_binding(*args):
            reads.append("binding")
            return await get_binding(*args)

        async def counted_load(*args, **options):
            reads.append("load")
            return await load(*args, **options)

        ann = await house.client("ann")
        costs = []
        for number in (1, 20):
            others = [await house.client(f"{number}-{each}") for each in range(number)]
            store.get_binding, store.load = counted_binding, counted_load
            reads.clear()
            await ann.send('{"type":"typing"}')
            for other in others:
                assert json.loads(await other.recv())["type"] == "ephemeral"
            costs.append(sorted(reads))
            store.get_binding, store.load = get_binding, load
        assert costs == [["binding", "load"]] * 2
