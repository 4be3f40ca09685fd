"""A pooler of connections that treats clients as PgBouncer does, for machines that do not have it."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed

__all__ = ["Pooler"]

_NO_TLS, _CANCEL, _START = 80877103, 80877102, 196608
_KNOWN = {"user", "database", "client_encoding", "application_name", "timezone", "datestyle"}
"""What PgBouncer takes at the start of a connection; all else it refuses."""


_TOLD = ("server_version", "server_encoding", "client_encoding", "integer_datetimes", "TimeZone")
"""What a client hears about the server at the start."""


class Pooler:
    """Lends few sessions of a server to many clients, the last used first; see PgBouncer's `pool_mode`.

    In transaction mode a client has a session until its transaction ends, in session mode until it leaves:
    then the session is reset. An asynchronous context manager; `dsn` is the URL of the database behind it.
    """

    def __init__(self, dsn: str, mode: Literal["session", "transaction"]) -> None:
        self._target = dsn
        self.mode = mode
        self._free: list[_Session] = []  # bound: the sessions
        self._sessions: list[_Session] = []  # bound: the clients of a test
        self._clients: set[_Client] = set()
        self.parameters: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        first = await self.borrow()
        self._free.append(first)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for client in tuple(self._clients):
            client.transport.abort()
        for session in self._sessions:
            session.connection.terminate()

    @property
    def dsn(self) -> str:
        """The URL of the database, by way of the pooler."""
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://anybody@127.0.0.1:{port}{urlsplit(self._target).path}"

    async def borrow(self) -> _Session:
        """Return a session that is free, or a new one."""
        if self._free:
            return self._free.pop()
        connection = await asyncpg.connect(self._target)
        self.parameters = {name: getattr(connection.get_settings(), name) for name in _TOLD}
        session = _Session(self, connection)
        self._sessions.append(session)
        return session

    def give_back(self, session: _Session) -> None:
        """Lend the session to the next client."""
        session.client = None
        self._free.append(session)


class _Session(asyncio.Protocol):
    """A session of the server. The driver has made it; from then on its socket is ours."""

    def __init__(self, pooler: Pooler, connection: Any) -> None:
        self.connection = connection
        self.client: _Client | None = None
        self.until_reset = 0
        self._pooler = pooler
        self._frames = _Frames()
        connection._transport.set_protocol(self)

    def send(self, data: bytes) -> None:
        self.connection._transport.write(data)

    def data_received(self, data: bytes) -> None:
        for kind, frame in self._frames.of(data):
            if self.until_reset:
                self.until_reset -= kind == b"Z"
                if not self.until_reset:
                    self._pooler.give_back(self)
            elif self.client is not None:
                self.client.answered(self, kind, frame)

    def reset(self, open_requests: int) -> None:
        """Let it finish what it was asked, make it as new, and then lend it again."""
        self.until_reset, self.client = open_requests + 1, None
        self.send(_frame(b"Q", b"DISCARD ALL\0"))


class _Client(asyncio.Protocol):
    """A client, and the session it has for now."""

    def __init__(self, pooler: Pooler) -> None:
        self._pooler = pooler
        self._frames = _Frames()
        self._start = b""
        self._has_started = False
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._session: _Session | None = None
        self._open_requests = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._pooler._clients.add(self)
        self._forwarding = asyncio.create_task(self._forward())

    def connection_lost(self, error: BaseException | None) -> None:
        self._forwarding.cancel()
        self._pooler._clients.discard(self)
        if self._session is not None:
            self._session.reset(self._open_requests)

    def data_received(self, data: bytes) -> None:
        if not self._has_started:
            data = self._greet(data)
        for kind, frame in self._frames.of(data):
            if kind == b"X":
                self.transport.close()
            else:
                self._waiting.put_nowait(frame)

    def _greet(self, data: bytes) -> bytes:
        self._start += data
        while len(self._start) >= 8:
            length, code = struct.unpack("!II", self._start[:8])
            if len(self._start) < length:
                return b""
            body, self._start = self._start[8:length], self._start[length:]
            if code == _NO_TLS:
                self.transport.write(b"N")
            elif code == _START:
                self._has_started = True
                self._welcome(body)
                return self._start
            else:
                self.transport.close()
        return b""

    def _welcome(self, body: bytes) -> None:
        words = body.rstrip(b"\0").split(b"\0")
        unknown = {name.decode().lower() for name in words[::2]} - _KNOWN
        if unknown:
            text = f"SFATAL\0C08P01\0Munsupported startup parameter: {min(unknown)}\0\0"
            self.transport.write(_frame(b"E", text.encode()))
            self.transport.close()
            return
        self.transport.write(_frame(b"R", struct.pack("!I", 0)))
        for name, value in self._pooler.parameters.items():
            self.transport.write(_frame(b"S", f"{name}\0{value}\0".encode()))
        self.transport.write(_frame(b"K", secrets.token_bytes(8)) + _frame(b"Z", b"I"))

    async def _forward(self) -> None:
        while True:
            frame = await self._waiting.get()
            if self._session is None:
                self._session = await self._pooler.borrow()
                self._session.client = self
            self._open_requests += frame[:1] in (b"Q", b"S")
            self._session.send(frame)

    def answered(self, session: _Session, kind: bytes, frame: bytes) -> None:
        self.transport.write(frame)
        if kind == b"Z":
            self._open_requests -= 1
            if self._pooler.mode == "transaction" and frame[5:] == b"I" and not self._open_requests:
                self._session = None
                self._pooler.give_back(session)


class _Frames:
    """Cuts a stream into the messages of the protocol: a kind, a length, a body."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._rest += data
        while len(self._rest) >= 5:
            end = 1 + struct.unpack("!I", self._rest[1:5])[0]
            if len(self._rest) < end:
                return
            frame, self._rest = self._rest[:end], self._rest[end:]
            yield frame[:1], frame


def _frame(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", 4 + len(body)) + body
