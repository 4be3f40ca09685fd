"""A small HTTP/1.1 server for simulators: real sockets, and every byte under the script's control."""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

import h11

_READ = 65536


@dataclass(slots=True, eq=False)
class ReceivedRequest:
    """One request, as it came over the wire. Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    disconnected: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when the client went away before it had the whole answer."""

    def json(self) -> Any:
        """Return the body as JSON. Raises ValueError when it is not."""
        return json.loads(self.body)


class Exchange:
    """The answer to one request: `send_json`, or `start`, `send` ..., `end`; or `abort`."""

    def __init__(self, connection: h11.Connection, writer: asyncio.StreamWriter) -> None:
        self._connection = connection
        self._writer = writer
        self.started = False

    async def send_json(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a JSON document."""
        await self.send_bytes(status, json.dumps(body).encode(), headers)

    async def send_bytes(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Answer with `body`, as JSON unless `headers` say otherwise."""
        await self.start(
            status,
            {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})},
        )
        await self.send(body)
        await self.end()

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status and the headers."""
        self.started = True
        self._write(h11.Response(status_code=status, headers=list(headers.items())))
        await self._writer.drain()

    async def send(self, chunk: bytes) -> None:
        """Send a piece of the body; without a content-length it is one chunk."""
        self._write(h11.Data(data=chunk))
        await self._writer.drain()

    async def end(self) -> None:
        """Finish the answer properly."""
        self._write(h11.EndOfMessage())
        await self._writer.drain()

    def abort(self) -> None:
        """Drop the connection where it stands."""
        self._writer.transport.abort()

    def _write(self, event: h11.Event) -> None:
        if data := self._connection.send(event):
            self._writer.write(data)


class ClientGoneError(Exception):
    """The client closed its connection before it had the whole answer."""


class HTTPSimulator(ABC):
    """A vendor's API on a free local port, for as long as `async with` lasts.

    Whatever goes wrong inside the simulator itself is raised when the block ends.
    """

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []  # bound: one test
        self._problems: list[Exception] = []  # bound: one test
        self._connections: set[asyncio.Task[Any]] = set()  # bound: the client's pool
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Condition()

    @property
    def origin(self) -> str:
        """The scheme, host and port, such as `http://127.0.0.1:40123`."""
        if self._server is None:
            raise RuntimeError(f"{type(self).__name__} is not running; use it in `async with`")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @abstractmethod
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Answer one request. Cancelled when the client goes away."""

    async def respond(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Answer one request by `handle`, unless the script says otherwise."""
        await self.handle(request, exchange)

    async def received(self, count: int = 1) -> ReceivedRequest:
        """Wait until `count` requests have come, and return the last of them."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.close()
        if kind is None and self._problems:
            raise ExceptionGroup(f"{type(self).__name__} failed", self._problems)

    async def close(self) -> None:
        """Stop listening and drop every connection. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except asyncio.CancelledError:
            pass  # the simulator closes
        except (h11.RemoteProtocolError, ConnectionError):
            pass  # the client broke off, or did not send HTTP
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        while (request := await _read_request(connection, reader)) is not None:
            self.requests.append(request)
            async with self._arrived:
                self._arrived.notify_all()
            if not await self._answer(request, connection, reader, writer):
                return
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(
        self,
        request: ReceivedRequest,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer, watching the client; whether the connection can be used again."""
        exchange = Exchange(connection, writer)
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(_watch(connection, reader))
                await self._handle(request, exchange)
                watch.cancel()
        except* (ClientGoneError, ConnectionError):
            request.disconnected.set()
        return not (request.disconnected.is_set() or writer.is_closing())

    async def _handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        try:
            await self.respond(request, exchange)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - a mistake in the script fails the test, at its end
            self._problems.append(error)
            if exchange.started:
                exchange.abort()
            else:
                await exchange.send_json(500, {"error": {"message": f"in the simulator: {error}"}})


async def _read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> ReceivedRequest | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _request(head, bytes(body))
        else:
            return None


def _request(head: h11.Request, body: bytes) -> ReceivedRequest:
    path, _, query = head.target.decode().partition("?")
    return ReceivedRequest(
        method=head.method.decode(),
        path=unquote(path),
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={name.decode(): value.decode("latin-1") for name, value in head.headers},
        body=body,
    )


async def _watch(connection: h11.Connection, reader: asyncio.StreamReader) -> None:
    """Keep what the client pipelines; raise when it goes away."""
    while data := await reader.read(_READ):
        connection.receive_data(data)
    raise ClientGoneError
