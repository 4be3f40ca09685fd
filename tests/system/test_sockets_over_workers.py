"""Clients of one room on the sockets of several workers: they see the same, and may move at any time."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit import RoomKit, WebSocketChannel
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent
from roomkit_plugins.testing import Recipient, ScriptedIntelligence, assert_history, assert_nothing_leaks
from roomkit_plugins.websocket import WebSocketServer

PATIENCE = 20.0


class SharedStore(InMemoryStore):
    """A store that several kits have open."""

    @property
    def is_process_local(self):
        return False

    async def close(self):
        """Stay open for the others."""


class SharedRealtime(InMemoryRealtime):
    """Signals between kits; as with a server elsewhere, it takes a while to subscribe."""

    @property
    def is_process_local(self):
        return False

    async def subscribe(self, channel, callback):
        for _ in range(50):
            await asyncio.sleep(0)
        return await super().subscribe(channel, callback)

    async def close(self):
        """Stay open for the others."""


class Client:
    """A person at a socket, who remembers what came."""

    def __init__(self, socket):
        self.socket = socket
        self.frames = []

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame))

    async def next(self, *kinds):
        """The next frame of one of `kinds`."""
        async with asyncio.timeout(PATIENCE):
            while True:
                frame = json.loads(await self.socket.recv())
                self.frames.append(frame)
                if frame["type"] in kinds:
                    return frame

    async def event(self):
        """The next event, however it comes."""
        return (await self.next("event", "stream_end"))["event"]


class Worker:
    """A kit among others over the same rooms, with a socket server."""

    def __init__(self, store, locks, realtime, **options):
        self.kit = RoomKit(store=store, lock_manager=locks, realtime=realtime, single_process=True)
        self.channel = WebSocketChannel("ws")
        self.kit.register_channel(self.channel)
        self.server = WebSocketServer(self.kit, "ws", **options)

    @asynccontextmanager
    async def client(self, name, room="room", after=None):
        # Else a client that closes with frames unread waits for its own reader, for ten seconds.
        async with connect(self.server.url(room, name, after=after), max_queue=None) as socket:
            client = Client(socket)
            await client.next("ready")
            yield client

    async def say(self, *texts, room="room"):
        for text in texts:
            await self.kit.send_event(room, "system", TextContent(body=text))

    async def die(self):
        """End as a process does that is killed, as far as its clients can tell."""
        for socket in self.server._server.connections:
            socket.transport.abort()
        await self.server.close()
        await self.kit.close()


@pytest.fixture(params=["memory", "postgres", "redis"])
async def bus(request):
    """Make what a worker publishes and listens with: one backend for all, or each its own connection."""
    if request.param == "memory":
        shared = SharedRealtime()
        yield lambda: shared
        return
    if request.param == "postgres":
        postgres = pytest.importorskip("roomkit_plugins.postgres")
        dsn = request.getfixturevalue("postgres_store_dsn")
        make = lambda: postgres.PostgresRealtime(dsn)  # noqa: E731
    else:
        redis = pytest.importorskip("roomkit_plugins.redis")
        url = request.getfixturevalue("redis_url")
        make = lambda: redis.RedisRealtime(url)  # noqa: E731
    if make().is_process_local:
        pytest.skip(f"the {request.param} backend does not say that it reaches other processes")
    yield make


@pytest.fixture
async def town(bus):
    """Start workers that share a store and a bus, and have a room; they are closed after the test."""
    store, locks = SharedStore(), InMemoryLockManager()
    async with AsyncExitStack() as stack:

        async def start(number, **options):
            workers = [Worker(store, locks, bus(), **options) for _ in range(number)]
            for worker in workers:
                stack.push_async_callback(worker.kit.close)
                await stack.enter_async_context(worker.server)
            await workers[0].kit.create_room("room")
            await workers[0].kit.attach_channel("room", "ws")
            return workers

        yield start


async def test_everybody_sees_the_same(town):
    """From any sender on any worker: once each, in one order, and large messages too."""
    first, second, third = await town(3)
    texts = ["one", "two", "ж" * 20_000, "four"]
    async with first.client("ann") as ann, second.client("ben") as ben, third.client("cid") as cid:
        for worker, text in zip((first, second, third, first), texts, strict=True):
            await worker.say(text)
        seen = [[await one.event() for _ in range(4)] for one in (ann, ben, cid)]
        assert all([event["content"]["body"] for event in events] == texts for events in seen)
        assert seen[0] == seen[1] == seen[2]
        await ann.send(type="message", text="hello from ann", client_id="m1")
        ack = await ann.next("ack")
        assert (await ben.event())["id"] == (await cid.event())["id"] == ack["event_id"]


async def test_typing_is_seen_on_other_workers(town):
    first, second = await town(2)
    await second.kit.create_room("other")
    await second.kit.attach_channel("other", "ws")
    async with (
        first.client("ann") as ann,
        second.client("ben") as ben,
        second.client("cid", room="other") as cid,
    ):
        # An acknowledged client receives signals.
        for one in (ann, ben, cid):
            await one.send(type="message", text="hi", client_id="m1")
            await one.next("ack")
        await ann.send(type="typing")
        signal = (await ben.next("ephemeral"))["event"]
        assert (signal["type"], signal["user_id"]) == ("typing_start", "ann")
        await cid.send(type="message", text="bye", client_id="m2")
        await cid.next("ack")
        assert "ephemeral" not in [frame["type"] for frame in cid.frames]


async def test_an_answer_grows_on_other_workers(town):
    """And is the same event at its end."""
    first, second = await town(2)
    answer = "word " * 200
    first.kit.register_channel(ScriptedIntelligence("agent", [answer], streaming=True, word_delay=0.001))
    await first.kit.attach_channel("room", "agent")
    async with first.client("ann") as ann, second.client("ben") as ben:
        await ann.send(type="message", text="?")
        ends = [await one.next("stream_end") for one in (ann, ben)]
        for one in (ann, ben):
            text = "".join(frame["delta"] for frame in one.frames if frame["type"] == "stream_chunk")
            assert text == answer
        assert ends[0] == ends[1]
        assert [frame["type"] for frame in ben.frames].count("stream_start") == 1


async def test_a_client_that_moves_misses_nothing(town):
    """From worker to worker, while everybody talks and an agent answers."""
    workers = await town(3, max_replay=7)
    answers = [f"answer {number} " * 3 for number in range(200)]
    workers[0].kit.register_channel(ScriptedIntelligence("agent", answers, streaming=True))
    await workers[0].kit.attach_channel("room", "agent")
    listening = asyncio.Semaphore(0)

    async def talk(worker, name):
        for number in range(30):
            await worker.say(f"{name} {number}")

    async def listen(name, place):
        seen, after = [], -1
        while True:
            place += 1
            async with workers[place % 3].client(name, after=after) as client:
                listening.release()
                for _ in range(10):
                    frame = await client.next("event", "stream_end", "more")
                    if frame["type"] == "more":
                        await client.send(type="more")
                        continue
                    event = frame["event"]
                    seen.append(event["id"])
                    after = event["index"]
                    if event["content"]["body"] == "the end":
                        return seen, after

    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(listen(f"listener {place}", place)) for place in range(3)]
        for _ in listeners:
            await listening.acquire()
        async with asyncio.TaskGroup() as talkers:
            for place, worker in enumerate(workers):
                talkers.create_task(talk(worker, place))
        await workers[1].say("the end")
    timeline = await workers[0].kit.get_timeline("room", limit=1000)
    by_id = {event.id: event for event in timeline}
    binding = await workers[0].kit.get_binding("room", "ws")
    recipients = []
    for seen, last in (task.result() for task in listeners):
        recipients.append(Recipient(binding, [by_id[each] for each in seen], before_index=last + 1))
    assert len(recipients[0].seen) > 91
    assert_history(timeline, recipients)


async def test_the_clients_of_a_worker_that_dies_go_on_elsewhere(town):
    first, second = await town(2)
    async with first.client("ann") as ann:
        async with second.client("ben") as ben:
            await first.say("one")
            after = (await ben.event())["index"]
            await second.die()
            with pytest.raises(ConnectionClosed):
                await ben.event()
        await first.say("two")
        async with first.client("ben", after=after) as ben:
            await first.say("three")
            assert [(await ben.event())["content"]["body"] for _ in range(2)] == ["two", "three"]
        assert [(await ann.event())["content"]["body"] for _ in range(3)] == ["one", "two", "three"]


async def test_a_client_belongs_to_its_room_on_every_worker(town):
    """It cannot come into another one, or with an index that is none; it hears of no other room."""
    first, second = await town(2)
    await first.kit.create_room("other")
    await first.kit.attach_channel("other", "ws")
    await first.kit.create_room("private")
    for path, status in (
        ("/rooms/private?participant=ann", 404),
        ("/rooms/nowhere?participant=ann", 404),
        ("/rooms/room?participant=ann&after=-2", 400),
        ("/rooms/room?participant=ann&after=1.5", 400),
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://127.0.0.1:{second.server.port}{path}"):
                pass
        assert refused.value.response.status_code == status
    async with second.client("ann", after=10**9) as ann:
        assert (await ann.next("error"))["code"] == "index_ahead"
        await first.say("not for ann", room="other")
        await first.say("for ann")
        assert (await ann.event())["content"]["body"] == "for ann"


def _publishing():
    return any(task.get_name().startswith("signals for") for task in asyncio.all_tasks())


async def test_clients_that_come_and_go_leave_nothing(town):
    """No task, no descriptor, no connection, no subscription."""
    first, second = await town(2)
    async with first.client("ann") as ann:

        async def cycle():
            async with second.client("ben", after=-1) as ben:
                await ben.send(type="message", text="hi", client_id=None)
                await ben.next("ack")
                await ann.event()
            # A signal may be seen before its server has answered the worker that published it.
            while second.channel.info["rooms_followed"] or _publishing():  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0)

        await assert_nothing_leaks(cycle, cycles=10)
