"""Sources: what servers are asked, and what becomes of what they say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from roomkit.abc.errors import RoomKitError
from roomkit.models import InboundMessage, InboundResult
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import HTTPSimulator
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["SOURCES"]

_MESSAGE = '{"sender_id": "ann", "text": "%s"}' % ("x" * 100)
_LONG = 1.5
"""Seconds: the waits that are observed take two, everything else far less, on a busy machine too."""
_FAST: Settings = {"max_reconnect_backoff": 0.01}


class _Events(HTTPSimulator):
    """Sends two events to each request, and ends the stream."""

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        await exchange.start(200, {"content-type": "text/event-stream"})
        for place in (1, 2):
            await exchange.send(f"id: {place}\ndata: {_MESSAGE}\n\n".encode())
        await exchange.end()


class _Taken:
    """What a source emitted, until there is enough of it."""

    def __init__(self, enough: int) -> None:
        self.messages: list[InboundMessage] = []  # bound: one test
        self._enough = enough
        self.is_enough = asyncio.Event()

    async def __call__(self, emitted: Any) -> InboundResult:
        self.messages.append(emitted)
        if len(self.messages) >= self._enough:
            self.is_enough.set()
        return InboundResult()


async def _run(source: Any, enough: int, *, patience: float = 20.0) -> tuple[Any, object]:
    """Run a source until it ends or emitted enough; return its connection, and what it came to."""
    taken, error = _Taken(enough), ""
    began = asyncio.get_running_loop().time()
    connection: Any = None

    async def start() -> None:
        nonlocal error
        try:
            await source.start(taken)
        except RoomKitError as raised:
            error = type(raised).__name__
        taken.is_enough.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(start())
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await taken.is_enough.wait()
        took = asyncio.get_running_loop().time() - began
        connection = getattr(source, "_connection", None)
        await source.stop()
    return connection, ([each.channel_id for each in taken.messages], error, took > _LONG)


def _streams(enough: int = 2) -> Observe:
    """Return an observation of the requests to the server of a stream, and of the outcome."""

    async def observe(settings: Settings) -> object:
        async with _Events() as server:
            given = {"url": f"{server.origin}/events", "channel_id": "chat", **settings}
            source = await default_manager().acreate("source", "sse", given)
            _, came_to = await _run(source, enough)
            asked = [
                (each.query, each.headers.get("x-team"), each.headers.get("last-event-id"))
                for each in server.requests[:1]
            ]
            return asked, came_to

    return observe


async def _connects_in_time(settings: Settings) -> object:
    """Return what becomes of a server that takes no connection and refuses none."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        source = await default_manager().acreate("source", "sse", {"url": url, "channel_id": "c", **settings})
        return (await _run(source, 1, patience=3.0))[1]


def _talks(enough: int = 2) -> Observe:
    """Return an observation of the requests to the server of a web socket, and of the outcome."""

    async def observe(settings: Settings) -> object:
        asked: list[object] = []

        async def serve_one(connection: ServerConnection) -> None:
            headers = connection.request.headers if connection.request is not None else {}
            asked.append([headers.get(name) for name in ("x-team", "origin", "sec-websocket-protocol")])
            for _ in range(2):
                await connection.send(_MESSAGE)
            if enough <= 2:
                await connection.wait_closed()

        async with serve(serve_one, "127.0.0.1", 0, select_subprotocol=lambda *_: None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            given = {"url": f"ws://127.0.0.1:{port}/", "channel_id": "chat", **settings}
            source = await default_manager().acreate("source", "websocket", given)
            connection, came_to = await _run(source, enough)
        kept = [
            getattr(connection, name, None) for name in ("ping_interval", "ping_timeout", "close_timeout")
        ]
        return asked[:1], came_to, kept

    return observe


def _shared(observe: Callable[[int], Observe]) -> dict[str, Change]:
    """Return the options that every source has."""
    again = {"reconnect": True}
    return {
        "channel_id": Change("other"),
        "headers": Change({"X-Team": "blue"}),
        "reconnect": Change(True, _FAST, observe(3)),
        "max_reconnect_backoff": Change(0.01, again, observe(5)),
        "rate_limit": Change({"max_per_minute": 30.0, "burst": 1}),
    }


SOURCES = (
    Subject(
        "source:sse",
        {
            **_shared(_streams),
            "url": Change("http://127.0.0.1:9/events"),
            "params": Change({"room": "r"}),
            "timeout": Change(0.2, observe=_connects_in_time),
            "last_event_id": Change("7"),
        },
        _streams(),
        real_time=True,
    ),
    Subject(
        "source:websocket",
        {
            **_shared(_talks),
            "url": Change("ws://127.0.0.1:9/"),
            "subprotocols": Change(["chat"]),
            "ping_interval": Change(5.0),
            "ping_timeout": Change(5.0),
            "close_timeout": Change(5.0),
            "max_size": Change(50),
            "origin": Change("https://app.example"),
        },
        _talks(),
        real_time=True,
    ),
)
