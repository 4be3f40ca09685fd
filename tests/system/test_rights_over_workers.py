"""Rights that a process without the channel takes away reach the sockets of the workers that have it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit import RoomKit, WebSocketChannel
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent
from roomkit.models.enums import Access

AT_ONCE = 10.0
"""Seconds; a third of what the channel waits before it compares a quiet room with the store."""


class SharedStore(InMemoryStore):
    """A store that several kits have open."""

    @property
    def is_process_local(self):
        return False

    async def close(self):
        """Stay open for the others."""


class SharedRealtime(InMemoryRealtime):
    """Signals between kits."""

    @property
    def is_process_local(self):
        return False

    async def close(self):
        """Stay open for the others."""


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def make_kit(request, tmp_path):
    """Make kits over one store: SQLite with signals over Redis, PostgreSQL with its own."""
    if request.param == "memory":
        store, realtime, locks = SharedStore(), SharedRealtime(), InMemoryLockManager()
        return lambda: RoomKit(store=store, realtime=realtime, lock_manager=locks, single_process=True)
    if request.param == "sqlite":
        sqlite = pytest.importorskip("roomkit_plugins.sqlite")
        redis = pytest.importorskip("roomkit_plugins.redis")
        url = request.getfixturevalue("redis_url")
        return lambda: RoomKit(
            store=sqlite.SQLiteStore(tmp_path / "rooms.db"),
            realtime=redis.RedisRealtime(url),
            lock_manager=redis.RedisLockManager(url),
        )
    postgres = pytest.importorskip("roomkit_plugins.postgres")
    dsn = request.getfixturevalue("postgres_store_dsn")
    return lambda: RoomKit(store=postgres.PostgresStore(dsn))


class Town:
    """Two workers with sockets, and an operator's process without the channel."""

    def __init__(self, stack, servers, operator):
        self.stack = stack
        self.servers = servers
        self.operator = operator

    async def client(self, place, name):
        url = self.servers[place].url("room", name)
        socket = await self.stack.enter_async_context(connect(url, max_queue=None))
        assert json.loads(await socket.recv())["type"] == "ready"
        return socket


@pytest.fixture
async def town(make_kit):
    async with AsyncExitStack() as stack:
        kits = [await stage_in(stack, make_kit()) for _ in range(3)]
        *workers, operator = kits
        servers = []
        for kit in workers:
            channel = WebSocketChannel("ws")
            kit.register_channel(channel)
            servers.append(await stack.enter_async_context(channel.serve(kit)))
        await workers[0].create_room("room", organization_id="acme")
        await workers[0].attach_channel("room", "ws")
        yield Town(stack, servers, operator)


async def stage_in(stack, kit):
    return await stack.enter_async_context(kit)


async def ending(socket):
    """The texts that came up to the end of a connection, and its reason."""
    texts = []
    async with asyncio.timeout(AT_ONCE):
        try:
            while True:
                frame = json.loads(await socket.recv())
                if frame["type"] == "event":
                    texts.append(frame["event"]["content"]["body"])
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 1008
            return texts, closed.rcvd.reason.partition(":")[0]


async def next_text(socket):
    async with asyncio.timeout(AT_ONCE):
        while (frame := json.loads(await socket.recv()))["type"] != "event":
            pass
        return frame["event"]["content"]["body"]


@pytest.mark.parametrize("tenant", [False, True])
@pytest.mark.parametrize("banned", [False, True])
async def test_a_participant_without_a_word_is_put_out_on_every_worker(town, banned, tenant):
    """At once; the others stay. A banned one is refused everywhere, a removed one may come back."""
    bobs = [await town.client(place, "bob") for place in (0, 1)]
    ann = await town.client(1, "ann")
    operator = town.operator.for_organization("acme") if tenant else town.operator
    await operator.remove_participant("room", "bob", banned=banned)
    reason = "participant_banned" if banned else "participant_removed"
    assert [await ending(bob) for bob in bobs] == [([], reason)] * 2
    await town.operator.send_event("room", "system", TextContent(body="without bob"))
    assert await next_text(ann) == "without bob"
    if banned:
        with pytest.raises(InvalidStatus):
            await connect(town.servers[0].url("room", "bob"))
    else:
        again = await town.client(0, "bob")
        await town.operator.send_event("room", "system", TextContent(body="with bob"))
        assert await next_text(again) == "with bob"


@pytest.mark.parametrize("way", ["detach_channel", "delete_room", "erase_room"])
async def test_a_room_or_channel_that_goes_ends_the_sockets_of_every_worker(town, way):
    sockets = [await town.client(place, name) for place, name in ((0, "ann"), (1, "bob"))]
    await getattr(town.operator, way)("room", *(["ws"] if way == "detach_channel" else []))
    assert [await ending(socket) for socket in sockets] == [([], "room_not_found")] * 2


async def test_access_that_is_taken_away_elsewhere_holds_and_a_closed_room_stays(town):
    ann = await town.client(0, "ann")
    await town.operator.set_access("room", "ws", Access.WRITE_ONLY)
    await town.operator.set_visibility("room", "ws", "none")
    await town.operator.send_event("room", "system", TextContent(body="hidden"))
    await ann.send(json.dumps({"type": "message", "text": "I see nothing"}))
    assert json.loads(await ann.recv())["type"] == "ack"
    await town.operator.close_room("room")
    await ann.send(json.dumps({"type": "message", "text": "wait"}))
    assert json.loads(await ann.recv())["code"] == "room_closed"
    await town.operator.remove_participant("room", "ann", banned=True)
    assert await ending(ann) == ([], "participant_banned")
