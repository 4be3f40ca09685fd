"""The servers whose sockets are measured, each in a process of its own: RoomKit's, and the same by hand."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from math import inf
from multiprocessing.connection import Connection
from socket import socket

import uvicorn
from pydantic import SecretStr
from pydantic_core import from_json, to_json
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from benchmarks.world import ROOM, open_kit
from roomkit.kernel.kit import RoomKit
from roomkit.models.base import new_id, utcnow
from roomkit.models.channel import RateLimit
from roomkit_plugins.server import KeyConfig, KitServer, Scope, ServerConfig
from roomkit_plugins.websocket import WebSocketChannel

__all__ = ["KEY", "SERVERS", "SOCKET", "Served", "Spent", "server"]

_SPAWN = multiprocessing.get_context("spawn")
_HOST = "127.0.0.1"
KEY = "the-key-of-the-benchmark"
SOCKET = f"/v1/rooms/{ROOM}/socket?channel_id=ws&participant_id={{}}"
"""Where a participant's socket is at the application of `roomkit-server`; `KEY` opens it."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of CPU that a process has taken, in its own code and in the system's."""

    user: float
    system: float

    @property
    def all(self) -> float:
        """Both together."""
        return self.user + self.system


@dataclass(frozen=True, slots=True)
class Served:
    """A server at work: its port, and what it has spent so far."""

    port: int
    pipe: Connection

    def spent(self) -> Spent:
        """Ask the server what it has spent."""
        self.pipe.send("spent")
        spent = self.pipe.recv()
        assert isinstance(spent, Spent), spent
        return spent


@asynccontextmanager
async def server(name: str) -> AsyncIterator[Served]:
    """Start one of `SERVERS` in a process of its own, and end it."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_run, args=(name, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Served(await asyncio.to_thread(ours.recv), ours)
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
        ours.close()


# -- in the server's process --------------------------------------------------------------------


def _run(name: str, pipe: Connection) -> None:
    loop = uvicorn.Config(name, loop="auto").get_loop_factory()  # uvloop's if it is installed
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_serve(name, pipe))


async def _serve(name: str, pipe: Connection) -> None:
    """Serve until the other end of the pipe is closed."""
    async with SERVERS[name]() as port:
        over = asyncio.Event()

        def answer() -> None:
            try:
                pipe.recv()
            except EOFError:
                asyncio.get_running_loop().remove_reader(pipe.fileno())
                over.set()
            else:
                used = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send(Spent(used.ru_utime, used.ru_stime))

        asyncio.get_running_loop().add_reader(pipe.fileno(), answer)
        pipe.send(port)
        await over.wait()


@asynccontextmanager
async def _kit() -> AsyncIterator[tuple[RoomKit, WebSocketChannel]]:
    async with open_kit() as kit:
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        await kit.create_room(room_id=ROOM)
        await kit.attach_channel(ROOM, "ws")
        yield kit, channel


@asynccontextmanager
async def _roomkit_starlette() -> AsyncIterator[int]:
    """RoomKit behind Starlette, as the documentation has it."""
    async with _kit() as (kit, channel):

        async def room(client: WebSocket) -> None:
            await client.accept()
            session = channel.session(
                kit,
                ROOM,
                client.query_params.get("participant"),
                send=client.send_text,
                close=client.close,
                frames_per_second=inf,
            )
            async with session as connection:
                while (frame := await client.receive())["type"] == "websocket.receive":
                    await connection.receive(frame.get("text") or frame.get("bytes") or "")

        async with _uvicorn(Starlette(routes=[WebSocketRoute("/rooms/{room_id}", room)])) as port:
            yield port


@asynccontextmanager
async def _roomkit_server() -> AsyncIterator[int]:
    """RoomKit's own server."""
    async with (
        _kit() as (kit, channel),
        channel.serve(kit, frames_per_second=inf, ping_interval=None) as serving,
    ):
        yield serving.port


@asynccontextmanager
async def _application() -> AsyncIterator[int]:
    """The application of `roomkit-server`, with its keys, limits, headers and metrics."""
    often = RateLimit(max_per_second=1e6)  # a crowd from one address, by one key, is no attack here
    key = KeyConfig(secret=SecretStr(KEY), scopes=tuple(Scope), rate_limit=often, max_connections=10_000)
    config = ServerConfig(port=0, keys={"benchmark": key}, address_rate_limit=often)
    async with _kit() as (kit, _), KitServer(kit, config) as serving:
        yield serving.port


@asynccontextmanager
async def _starlette() -> AsyncIterator[int]:
    """A loop over the sockets of a room, behind Starlette: no limits, store, acknowledgements, isolation."""
    clients: set[WebSocket] = set()
    numbers = count()

    async def room(client: WebSocket) -> None:
        await client.accept()
        clients.add(client)
        await client.send_text('{"type":"ready"}')
        try:
            while (frame := await client.receive())["type"] == "websocket.receive":
                said = _event(frame["text"], next(numbers)).decode()
                for other in clients:
                    if other is not client:
                        await other.send_text(said)
        finally:
            clients.discard(client)

    async with _uvicorn(Starlette(routes=[WebSocketRoute("/rooms/{room_id}", room)])) as port:
        yield port


@asynccontextmanager
async def _websockets() -> AsyncIterator[int]:
    """The same with the `websockets` library alone, and its `broadcast`, which never waits."""
    clients: set[ServerConnection] = set()
    numbers = count()

    async def room(client: ServerConnection) -> None:
        clients.add(client)
        await client.send('{"type":"ready"}')
        try:
            while True:
                text = await client.recv()
                broadcast(clients - {client}, _event(text, next(numbers)), text=True)
        except ConnectionClosed:
            pass
        finally:
            clients.discard(client)

    async with serve(room, _HOST, 0, compression=None, ping_interval=None) as serving:
        yield int(next(iter(serving.sockets)).getsockname()[1])


def _event(text: str | bytes, index: int) -> bytes:
    """Return a frame like RoomKit's, of what a client sent."""
    said = from_json(text)
    event: Mapping[str, object] = {
        "id": new_id(),
        "room_id": ROOM,
        "type": "message",
        "source": {"channel_id": "ws", "channel_type": "websocket", "participant_id": "alice"},
        "content": {"type": "text", "body": said["text"], "language": None},
        "created_at": utcnow(),
        "visibility": "all",
        "index": index,
        "metadata": {},
    }
    return to_json({"type": "event", "event": event})


class _Uvicorn(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def _uvicorn(app: ASGIApp) -> AsyncIterator[int]:
    serving = _Uvicorn(uvicorn.Config(app, host=_HOST, port=0, log_level="error", ws_ping_interval=None))
    task = asyncio.create_task(serving.serve())
    await serving.listening.wait()
    try:
        yield int(serving.servers[0].sockets[0].getsockname()[1])
    finally:
        serving.should_exit = True
        await task


type _Server = Callable[[], AbstractAsyncContextManager[int]]
"""Serves while it is entered, and gives the port."""

SERVERS: Mapping[str, _Server] = {
    "RoomKit behind Starlette": _roomkit_starlette,
    "RoomKit's own server": _roomkit_server,
    "RoomKit's application": _application,
    "Starlette by hand": _starlette,
    "websockets by hand": _websockets,
}
"""By name; those by hand are the floors of the others."""
