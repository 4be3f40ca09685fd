"""Sessions: the protocol and its resume behind any web framework, which here is two functions."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing import ScriptedIntelligence, VirtualClock, assert_nothing_leaks
from roomkit_plugins.websocket import WebSocketChannel

pytestmark = pytest.mark.virtual_time


class Socket:
    """A socket of a framework, seen from its client."""

    def __init__(self):
        self.frames = []
        self.closed = None
        self.open = asyncio.Event()
        self.open.set()
        self.failing = None
        self.writing = self.most_writing = 0

    async def send(self, text):
        self.writing += 1
        self.most_writing = max(self.most_writing, self.writing)
        try:
            if self.failing is not None:
                raise self.failing
            await self.open.wait()
            await asyncio.sleep(0)  # virtual time
            assert self.closed is None, "a frame after the close"
            self.frames.append(json.loads(text))
        finally:
            self.writing -= 1

    async def close(self, code, reason):
        assert self.closed is None, "closed twice"
        self.closed = (code, reason)

    def kinds(self):
        return [frame["type"] for frame in self.frames]

    def texts(self):
        shown = [frame for frame in self.frames if frame["type"] in ("event", "stream_end")]
        return [frame["event"]["content"]["body"] for frame in shown]


class House:
    """A kit with one room and a channel that a web framework serves."""

    def __init__(self, kit, channel):
        self.kit = kit
        self.channel = channel

    @asynccontextmanager
    async def client(self, participant="alice", room="room", socket=None, **options):
        socket = socket or Socket()
        opened = self.channel.session(
            self.kit, room, participant, send=socket.send, close=socket.close, **options
        )
        async with opened as session:
            yield socket, session

    async def tell(self, *texts):
        for text in texts:
            await self.kit.send_event("room", "system", TextContent(body=text))

    async def said(self):
        """Return the messages of the room."""
        return [event for event in await self.kit.get_timeline("room") if event.type == "message"]

    async def ban(self, participant):
        await self.kit.remove_participant("room", participant, banned=True)

    async def quiet(self):
        """Let everything that is under way come to its end."""
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
async def house():
    async with RoomKit(clock=VirtualClock()) as kit:
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        await kit.create_room("room")
        await kit.attach_channel("room", "ws")
        yield House(kit, channel)


def message(text, **fields):
    return json.dumps({"type": "message", "text": text, **fields})


async def test_two_clients_and_an_agent_that_streams(house):
    agent = ScriptedIntelligence("bot", ["one two"], streaming=True, word_delay=0.1)
    house.kit.register_channel(agent)
    await house.kit.attach_channel("room", "bot")
    async with house.client() as (alice, session), house.client("bob") as (bob, _):
        await session.receive(message("hello", client_id="m1"))
        await asyncio.sleep(5)  # virtual time
    assert sorted(alice.kinds()[:3]) == ["ack", "ready", "stream_start"]
    assert bob.kinds()[:3] == ["ready", "event", "stream_start"]
    assert bob.texts() == ["hello", "one two"]
    assert alice.texts() == ["one two"]
    assert alice.frames[0]["connection_id"] == session.connection_id


@pytest.mark.parametrize("kind", [int, str])
async def test_a_client_that_comes_back_gets_what_it_missed_then_what_happens(house, kind):
    await house.tell("a", "b", "c")
    index = next(event.index for event in await house.said() if event.content.body == "a")
    async with house.client(after=kind(index)) as (alice, _):
        await house.tell("d")
        await house.quiet()
    assert alice.texts() == ["b", "c", "d"]


async def test_nothing_is_missed_or_duplicated_while_others_talk(house):
    await house.tell(*(f"before {number}" for number in range(30)))
    socket = Socket()
    socket.open.clear()  # the client is slow to take the first frame: all else happens in that time
    talking = asyncio.create_task(house.tell(*(f"while {number}" for number in range(30))))
    opening = asyncio.create_task(held(house, socket))
    await talking
    socket.open.set()
    await house.quiet()
    await house.tell("after")
    await house.quiet()
    assert socket.texts() == [
        *(f"before {number}" for number in range(30)),
        *(f"while {number}" for number in range(30)),
        "after",
    ]
    opening.cancel()
    await asyncio.wait((opening,))


async def held(house, socket):
    async with house.client(socket=socket, after=-1):
        await asyncio.Event().wait()


async def test_a_client_that_missed_a_lot_asks_for_it_part_by_part(house):
    await house.tell(*map(str, range(5)))
    async with house.client(after=-1, max_replay=2) as (alice, session):
        assert alice.kinds() == ["ready", "event", "event", "more"]
        await session.receive('{"type": "more"}')
        await session.receive('{"type": "more"}')
        await house.tell("live")
        await house.quiet()
    assert alice.texts() == ["0", "1", "2", "3", "4", "live"]


async def test_frames_are_written_one_at_a_time(house):
    async with house.client() as (alice, session), house.client("bob") as (_, other):
        alice.open.clear()
        sending = [asyncio.create_task(session.receive(message(str(number)))) for number in range(3)]
        sending += [asyncio.create_task(other.receive(message(str(number)))) for number in range(3)]
        await house.quiet()
        alice.open.set()
        await asyncio.wait(sending)
        await house.quiet()
    assert alice.most_writing == 1
    assert sorted(alice.kinds()) == ["ack"] * 3 + ["event"] * 3 + ["ready"]


class TestRights:
    @pytest.mark.parametrize(
        ("room", "participant", "code"),
        [
            ("elsewhere", "alice", "room_not_found"),
            ("\0", "alice", "room_not_found"),
            ("room", "mallory", "participant_banned"),
        ],
    )
    async def test_a_client_without_a_right_is_sent_the_reason_and_closed(
        self, house, room, participant, code
    ):
        async with house.client("mallory"):
            await house.ban("mallory")
        async with house.client(participant, room) as (socket, session):
            assert session.is_over
            await session.receive(message("hello"))
        assert [frame["code"] for frame in socket.frames] == [code]
        assert socket.closed[0] == 1008
        assert socket.closed[1].startswith(f"{code}: ")
        assert len(house.channel._connections) == 0
        assert await house.said() == []

    @pytest.mark.parametrize("after", ["-2", "x", "1.5", "", "9" * 30, -7, True])
    async def test_an_index_that_is_none_closes_the_connection(self, house, after):
        async with house.client(after=after) as (socket, session):
            assert session.is_over
        assert socket.frames[0]["code"] == "invalid_index"
        assert socket.closed[0] == 1008

    async def test_a_right_that_is_lost_ends_the_session(self, house):
        async with house.client("mallory") as (mallory, session), house.client("bob") as (bob, _):
            await house.ban("mallory")
            await house.quiet()
            assert session.is_over
            await session.receive(message("still here"))
            await house.quiet()
        assert mallory.closed[1].startswith("participant_banned: ")
        assert bob.closed is None
        assert bob.texts() == []

    async def test_a_banned_client_that_does_not_read_is_closed_all_the_same(self, house):
        async with house.client("mallory") as (mallory, session):
            mallory.open.clear()
            await house.ban("mallory")
            await house.quiet()
            assert session.is_over
            await asyncio.sleep(6)  # virtual time
        assert mallory.closed == (1013, "too_slow: connect again and resume")

    async def test_a_removed_participant_may_come_back(self, house):
        async with house.client("ann") as (_, session):
            await house.kit.remove_participant("room", "ann")
            await house.quiet()
            assert session.is_over
        async with house.client("ann") as (again, session):
            await session.receive(message("back", client_id="m"))
        assert again.kinds() == ["ready", "ack"]


class TestLimits:
    async def test_a_frame_that_is_too_long_ends_the_connection(self, house):
        async with house.client(max_frame_bytes=100) as (socket, session):
            await session.receive(message("x" * 100))
            assert session.is_over
        assert socket.closed[0] == 1009

    async def test_a_flood_ends_the_connection_and_connecting_again_gains_nothing(self, house):
        options = {"frames_per_second": 1.0, "frame_burst": 2, "max_refused": 3}
        for _ in range(3):
            async with house.client(**options) as (socket, session):
                for number in range(20):
                    await session.receive(message(str(number)))
        assert socket.closed == (1008, "rate_limited: too many frames, again and again")
        assert socket.kinds() == ["error"]
        assert len(await house.said()) == 4

    async def test_other_work_gets_its_turn_between_frames(self, house):
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)  # virtual time

        quick = Socket()

        async def send(text):
            quick.frames.append(text)

        quick.send = send  # it never waits, and so gives no other work a turn
        async with house.client(socket=quick) as (_, session):
            working = asyncio.create_task(other())
            for _ in range(40):
                await session.receive("no frame")
            working.cancel()
        assert turns >= 10

    async def test_a_client_that_does_not_read_is_closed_and_delays_no_other(self, house):
        async with house.client() as (slow, session), house.client("bob") as (bob, _):
            slow.open.clear()
            await house.tell("a")
            await house.quiet()
            assert bob.texts() == ["a"]
            await asyncio.sleep(10)  # virtual time
            assert slow.closed == (1013, "too_slow: connect again and resume")
            assert session.is_over
            await session.receive(message("lost"))
        assert [event.content.body for event in await house.said()] == ["a"]


class TestEnds:
    async def test_a_client_that_is_gone_is_disconnected_and_not_closed(self, house):
        async with house.client() as (socket, session):
            socket.failing = RuntimeError('Cannot call "send" once a close message has been sent.')
            await session.receive(message("hello"))
            assert session.is_over
            await house.tell("x")
        deliveries = await house.kit.list_deliveries("room", channel_id="ws")
        assert {delivery.state for delivery in deliveries} == {DeliveryState.SKIPPED}
        assert socket.closed is None

    async def test_a_delivery_that_finds_the_client_gone_is_skipped_and_ends_the_session(self, house):
        async with house.client() as (socket, session):
            socket.failing = RuntimeError('Cannot call "send" once a close message has been sent.')
            await house.tell("x")
            assert session.is_over
            assert len(house.channel._connections) == 0
        deliveries = await house.kit.list_deliveries("room", channel_id="ws")
        assert {delivery.state for delivery in deliveries} == {DeliveryState.SKIPPED}
        assert socket.closed is None

    async def test_a_failure_of_the_backend_on_entering_is_raised_and_leaves_no_connection(
        self, house, monkeypatch
    ):
        async def fail(*_arguments, **_options):
            raise OSError("the realtime backend is out of reach")

        monkeypatch.setattr(house.kit, "subscribe_room", fail)
        with pytest.raises(OSError, match="out of reach"):
            async with house.client():
                pass
        assert len(house.channel._connections) == 0

    async def test_a_failure_of_the_program_is_its_own_and_ends_the_connection(self, house):
        with pytest.raises(ZeroDivisionError):
            async with house.client():
                raise ZeroDivisionError
        assert len(house.channel._connections) == 0

    async def test_a_kit_that_closes_sends_clients_away(self):
        kit = RoomKit(clock=VirtualClock())
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        await kit.create_room("room")
        await kit.attach_channel("room", "ws")
        house, stuck = House(kit, channel), Socket()

        async def hang(code, reason):
            await asyncio.Event().wait()

        stuck.close = hang
        async with house.client() as (alice, session), house.client("bob", socket=stuck):
            await kit.close()
            assert asyncio.get_running_loop().time() <= 3
            assert session.is_over
            await session.receive(message("late"))
        assert alice.closed == (1001, "the server is closing")

    async def test_a_closed_kit_takes_no_session(self):
        kit = RoomKit(clock=VirtualClock())
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        await kit.create_room("room")
        await kit.attach_channel("room", "ws")
        await kit.close()
        async with House(kit, channel).client() as (socket, session):
            assert session.is_over
        assert socket.closed == (1001, "the server is closing")

    async def test_sessions_that_come_and_go_leave_nothing(self, house):
        async def cycle():
            async with house.client(after=-1) as (_, session), house.client("bob"):
                await session.receive(message("hello"))

        await assert_nothing_leaks(cycle, cycles=20)
        assert not house.channel._sessions._open


@pytest.mark.parametrize(
    "options",
    [
        {"max_replay": 0},
        {"frames_per_second": 0.0},
        {"frame_burst": 0},
        {"max_refused": 0},
        {"participant": "\0"},
        {"participant": "x" * 1000},
    ],
)
async def test_settings_that_cannot_work_are_refused(house, options):
    with pytest.raises(InvalidInputError):
        async with house.client(**options):
            pass


async def test_a_channel_of_another_kit_is_refused(house):
    socket = Socket()
    with pytest.raises(InvalidInputError, match="not registered with this kit"):
        async with house.channel.session(RoomKit(), "room", send=socket.send, close=socket.close):
            pass
