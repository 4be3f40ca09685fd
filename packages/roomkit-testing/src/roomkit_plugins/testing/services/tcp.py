"""A proxy between a client and a server that loses connections on command."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self, cast, override
from urllib.parse import urlsplit, urlunsplit

from roomkit_plugins.testing.services.processes import HOST, ServiceError

__all__ = ["CutProxy"]

_DEFAULT_PORTS = {"postgresql": 5432, "postgres": 5432, "redis": 6379, "http": 80}


class CutProxy:
    """Forwards every connection to the server of a URL, until it is set to cut, hold, refuse or be slow.

    An asynchronous context manager; `url` is the server's URL through the proxy. It runs on the
    event loop of the test, and its commands take effect at once.

    A *request* is what a client says until the server speaks again, so `requests` counts round trips.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        if not self._target.hostname:
            raise ServiceError("the proxy needs the URL of a server: scheme://host:port/")
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()  # bound: the connections that are open
        self._bytes_left: int | None = None
        self._request_left: int | None = None
        self._answer_is_lost = False
        self.port = 0
        self.held = False
        self.delay = 0.0
        """Seconds that whatever passes takes, in each direction."""
        self.connections = 0
        """How many connections there were."""
        self.requests = 0
        """How many requests there were, on all connections."""
        self.client_bytes = 0
        """How many bytes clients sent."""

    @property
    def url(self) -> str:
        """The server's URL, by way of the proxy."""
        user, at, _ = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{user}{at}{HOST}:{self.port}"))

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    async def start(self) -> Self:
        """Listen on a free port."""
        await self.accept()
        return self

    async def close(self) -> None:
        """Cut everything and stop listening. Idempotent."""
        await self.refuse()
        self.cut()
        await asyncio.gather(*(link.ended for link in self._links))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def refuse(self) -> None:
        """Refuse new connections, as when no server runs; those that are open stay."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def accept(self) -> None:
        """Take new connections again, on the same port."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._link, HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every open connection (RST), on both sides."""
        for link in tuple(self._links):
            link.cut()

    def hold(self) -> None:
        """Forward nothing from now on, on new connections either: a network that swallows everything."""
        self.held = True
        for link in self._links:
            link.flow()

    def silence(self) -> None:
        """Forward nothing more on the connections that are open, and end none of them; new ones work.

        As when a router forgets them, or the server's machine was replaced: neither end is notified.
        """
        for link in self._links:
            link.is_silent = True
            link.flow()

    def release(self) -> None:
        """Forward held data, and go on."""
        self.held = False
        for link in tuple(self._links):
            link.flow()

    def cut_after_bytes(self, count: int) -> None:
        """Forward `count` more bytes of clients, then cut the connection: the server has a torn request."""
        self._bytes_left = count

    def cut_at_request(self, number: int = 1, *, answer_is_lost: bool = False) -> None:
        """Cut the connection of the `number`-th request from now, before the server sees any of it.

        With `answer_is_lost` the server gets it all and does it, and the connection is cut in place of
        the answer.
        """
        self._request_left = number
        self._answer_is_lost = answer_is_lost

    def _link(self) -> _Side:
        link = _Link(self, self._target.hostname or HOST, self._target.port or self._default_port())
        self._links.add(link)
        self.connections += 1
        return link.client

    def _default_port(self) -> int:
        return _DEFAULT_PORTS.get(self._target.scheme, 0)

    def _forget(self, link: _Link) -> None:
        self._links.discard(link)

    def _admit(self, link: _Link, data: bytes, is_first_of_request: bool) -> None:
        """Forward what a client says, or cut where that was asked for."""
        self.client_bytes += len(data)
        if is_first_of_request:
            self.requests += 1
            if self._request_left is not None:
                self._request_left -= 1
                if self._request_left == 0:
                    self._request_left = None
                    if not self._answer_is_lost:
                        link.cut()
                        return
                    link.answer_is_lost = True
        if self._bytes_left is None:
            link.server.write(data)
            return
        forwarded = data[: self._bytes_left]
        self._bytes_left -= len(forwarded)
        link.server.write(forwarded)
        if not self._bytes_left:
            self._bytes_left = None
            link.tear()


class _Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: CutProxy, host: str, port: int) -> None:
        self.proxy = proxy
        self.answer_is_lost = False
        self.is_silent = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.client = _Side(self)
        self.server = _Side(self)
        self._address = (host, port)
        self._connecting: asyncio.Task[None] | None = None
        self._client_asks = False

    def opened(self, side: _Side) -> None:
        if side is self.client:
            self._connecting = asyncio.create_task(self._connect(), name="cut-proxy-connect")
        self.flow()

    def said(self, side: _Side, data: bytes) -> None:
        if side is self.client:
            is_first, self._client_asks = not self._client_asks, True
            self.proxy._admit(self, data, is_first)
            return
        self._client_asks = False
        if self.answer_is_lost:
            self.cut()
        else:
            self.client.write(data)

    def finished(self, side: _Side) -> None:
        """One side has ended its stream: pass that on; the other may go on."""
        other = self._other(side)
        other.write_eof()
        if other.is_finished:
            side.close()
            other.close()

    def closed(self, side: _Side) -> None:
        """One side is gone: end the other."""
        other = self._other(side)
        if side is self.client and self._connecting is not None:
            self._connecting.cancel()
        other.close()
        if other.is_closed and not self.ended.done():
            self.ended.set_result(None)
            self.proxy._forget(self)

    def _other(self, side: _Side) -> _Side:
        return self.server if side is self.client else self.client

    def flow(self) -> None:
        """Read from both sides, or from none while the proxy holds or the server is not reached yet."""
        ready = self.server.is_open and not self.proxy.held and not self.is_silent
        self.client.read(ready)
        self.server.read(ready)

    def cut(self) -> None:
        self.client.reset()
        self.server.reset()

    def tear(self) -> None:
        """Forward the data written so far, then the end."""
        self.client.reset()
        self.server.close()

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, *self._address)
        except OSError:
            self.client.reset()


class _Side(asyncio.Protocol):
    """One end of a link."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._is_over = False
        self._late: deque[Callable[[], None]] = deque()  # bound: what passes within the proxy's delay
        self._last_due = 0.0
        self.is_finished = False
        """Whether it has said that it says no more."""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._is_over

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, or was never there."""
        return self._transport is None or self._is_over

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._link.opened(self)

    @override
    def data_received(self, data: bytes) -> None:
        self._link.said(self, data)

    @override
    def eof_received(self) -> bool:
        self.is_finished = True
        self._link.finished(self)
        return True  # the other direction stays open

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._link.closed(self)

    def write(self, data: bytes) -> None:
        self._after_delay(partial(self._write, data))

    def write_eof(self) -> None:
        self._after_delay(self._write_eof)

    def close(self) -> None:
        self._after_delay(self._close)

    def _after_delay(self, step: Callable[[], None]) -> None:
        """Do a step once the proxy's delay is over, and after all earlier ones."""
        delay = self._link.proxy.delay
        if not delay and not self._late:
            step()
            return
        loop = asyncio.get_running_loop()
        self._last_due = max(self._last_due, loop.time() + delay)
        self._late.append(step)
        loop.call_at(self._last_due, self._take_step)

    def _take_step(self) -> None:
        self._late.popleft()()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _write_eof(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def read(self, wanted: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or transport.is_reading() == wanted:
            return
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        own_socket = self._transport.get_extra_info("socket")
        own_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
