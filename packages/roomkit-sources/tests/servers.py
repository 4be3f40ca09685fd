"""Real servers on this machine that say things by web socket and by server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from roomkit_plugins.testing.simulators import HTTPSimulator
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest

__all__ = ["EventServer", "SocketServer", "said"]


def said(number: int) -> str:
    """Return a message as sources read it."""
    return json.dumps({"sender_id": "ann", "text": f"number {number}", "external_id": f"m-{number}"})


class SocketServer:
    """Sends each argument of `say` to the connected clients, once."""

    def __init__(self) -> None:
        self.pending: deque[str | bytes] = deque()  # bound: one test
        self._changed = asyncio.Event()
        self.heard: asyncio.Queue[str | bytes] = asyncio.Queue()  # bound: one test
        self.requests: list[Any] = []  # bound: one test
        self.connections = 0
        self._current: ServerConnection | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/events"

    def say(self, *things: str | bytes) -> None:
        """Say these to the connection there is, or to the next one."""
        self.pending.extend(things)
        self._changed.set()

    async def drop(self) -> None:
        """Close the connection without a word."""
        assert self._current is not None
        self._current.transport.abort()
        await self._current.wait_closed()

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, select_subprotocol=_first, ping_interval=None)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        self._current = connection
        self._changed.set()
        self.requests.append(connection.request)
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen(connection))
                talking = tasks.create_task(self._talk(connection))
                await asyncio.wait((listening, talking), return_when=asyncio.FIRST_COMPLETED)
                listening.cancel()
                talking.cancel()
        except* ConnectionClosed:
            pass

    async def _listen(self, connection: ServerConnection) -> None:
        async for heard in connection:
            self.heard.put_nowait(heard)

    async def _talk(self, connection: ServerConnection) -> None:
        while self._current is connection:
            if self.pending:
                await connection.send(self.pending[0])
                self.pending.popleft()
            else:
                self._changed.clear()
                await self._changed.wait()


class EventServer(HTTPSimulator):
    """Keeps what it says, and says it again to a client that names an earlier `Last-Event-ID`."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[str] = []  # bound: one test
        self.refuse_with: int | None = None
        self.content_type = "text/event-stream; charset=utf-8"
        self.end_after: int | None = None
        self._news = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"{self.origin}/events"

    async def say(self, *datas: str) -> None:
        """Add events, with their places as ids."""
        async with self._news:
            self.history += [
                f"id: {len(self.history) + n}\ndata: {data}\n\n" for n, data in enumerate(datas, 1)
            ]
            self._news.notify_all()

    async def say_raw(self, *events: str) -> None:
        """Add events as they stand."""
        async with self._news:
            self.history += events
            self._news.notify_all()

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        if self.refuse_with is not None:
            await exchange.send_bytes(self.refuse_with, b"", {"location": "http://127.0.0.1:9/"})
            return
        await exchange.start(200, {"content-type": self.content_type})
        place = int(request.headers.get("last-event-id") or 0)
        sent = 0
        while self.end_after is None or sent < self.end_after:
            async with self._news:
                while len(self.history) <= place:
                    await self._news.wait()
            await exchange.send(self.history[place].encode())
            place, sent = place + 1, sent + 1
        self.end_after = None
        await exchange.end()


def _first(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return offered[0] if offered else None
