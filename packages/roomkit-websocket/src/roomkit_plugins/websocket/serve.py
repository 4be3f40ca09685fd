"""A ready socket server for a web-socket channel, for programs without a web framework."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from weakref import WeakSet

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.log import get_logger
from roomkit.models.base import new_id
from roomkit.models.values import is_key
from roomkit_plugins.websocket.admission import Lost, index_in, room_as_it_is
from roomkit_plugins.websocket.allowance import ClientLimits
from roomkit_plugins.websocket.protocol import Latest, encode
from roomkit_plugins.websocket.session import Session
from roomkit_plugins.websocket.transport import TransportClosed

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

    from roomkit.kernel.kit import RoomKit

__all__ = ["Authenticate", "SocketRequest", "WebSocketServer"]

_log = get_logger("roomkit.websocket.server")


@dataclass(slots=True, frozen=True)
class SocketRequest:
    """What a client asked for when it connected. Header names are in lower case."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


type Authenticate = Callable[[SocketRequest, str], Awaitable[str | None]]
"""`async (request, room_id)`: who it is, verified and allowed into the room, or None to refuse."""


@dataclass(slots=True, frozen=True)
class _Admission:
    room_id: str
    participant_id: str | None
    after: int | None


class _Refusal(Exception):
    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


class _Site(NamedTuple):
    """Where a page, or this server, is reached."""

    scheme: str
    host: str
    port: int


def room_in_path(request: SocketRequest) -> str | None:
    """Return ROOM of the path `/rooms/ROOM`."""
    head, _, room_id = request.path.rpartition("/")
    return unquote(room_id, errors="surrogateescape") if head == "/rooms" and room_id else None


def participant_in_query(request: SocketRequest) -> str | None:
    """Return NAME of the query `?participant=NAME`."""
    return request.query.get("participant") or None


class WebSocketServer:
    """Serves a `WebSocketChannel` on a socket; the JSON is described in `protocol`.

    A client connects to `/rooms/ROOM?participant=NAME`, to a room that the channel is attached to.
    With `&after=INDEX` it is first sent the events after that index (-1: all), without gaps or
    duplicates, and no more than `max_replay` at once: then it has to ask for the rest. `room_of` and
    `participant_of` read both from the request in another way.

    `authenticate` says who a client is, whatever it claims; without it the server listens on
    loopback addresses only. Browsers are let in from pages of the same host (on loopback: of this
    machine), or from `origins`, such as `"https://shop.example"`.

    A connection may send `frames_per_second` frames on average and `frame_burst` at once; all connections
    of a participant together twice that. Of the kit's `inbound_rate_limit` one client gets half at most.
    Messages beyond are refused as `rate_limited`, with the seconds to wait as `retry_after`. So are frames
    that cannot be read (no JSON, an unknown type, a wrong field), whatever their pace. A client that goes
    on, so that more than `max_refused` frames are refused, and one a second besides, is closed with 1008
    (`rate_limited`, `unreadable_frames`).

    `ping_interval` and `ping_timeout` find clients that are gone, in seconds; a frame of more than
    `max_frame_bytes` ends its connection. `close_timeout` bounds the whole of a close: a step that is not
    done by then is cut off. Start it with `start()` or `async with`; closing it before the kit lets its
    clients say what they still have to, and one that was left open is closed with the kit. Raises
    InvalidInputError for settings that are not safe.
    """

    def __init__(
        self,
        kit: RoomKit,
        channel_id: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        room_of: Callable[[SocketRequest], str | None] = room_in_path,
        participant_of: Callable[[SocketRequest], str | None] = participant_in_query,
        authenticate: Authenticate | None = None,
        origins: Sequence[str] | None = None,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        close_timeout: float = 5.0,
        max_frame_bytes: int = 65_536,
        max_replay: int = 1000,
        frames_per_second: float = 50.0,
        frame_burst: int = 100,
        max_refused: int = 100,
    ) -> None:
        if max_replay < 1:
            raise InvalidInputError(
                f"max_replay is {max_replay}: a client that resumes gets at least one event"
            )
        limits = ClientLimits(frames_per_second, frame_burst, max_refused, kit.settings.inbound_rate_limit)
        if authenticate is None and not _is_loopback(host):
            raise InvalidInputError(
                f"{host!r} can be reached from other machines: pass authenticate=, which says who a client "
                "is, or listen on 127.0.0.1"
            )
        self._kit = kit
        self._limits = limits
        self._channel_id = channel_id
        self._host = host
        self._port = port
        self._room_of = room_of
        self._participant_of = participant_of
        self._authenticate = authenticate
        self._origins = None if origins is None else frozenset(origins)
        self._ping = (ping_interval, ping_timeout)
        self._close_timeout = close_timeout
        self._max_frame_bytes = max_frame_bytes
        self._max_replay = max_replay
        self._server: Server | None = None
        self._withdraw: Callable[[], None] = _nothing
        self._sockets: WeakSet[ServerConnection] = WeakSet()
        self._serving: set[asyncio.Task[None]] = set()  # bound: open connections
        self._encode = Latest(encode)
        self._framed = Latest(_framed)

    @property
    def port(self) -> int:
        """The port it listens on, once it is started; with `port=0` the system chose it."""
        if self._server is None:
            return self._port
        return int(next(iter(self._server.sockets)).getsockname()[1])

    def url(self, room_id: str, participant_id: str | None = None, *, after: int | None = None) -> str:
        """Return where a client of a room connects to, with the default `room_of` and `participant_of`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        query = urlencode(
            {
                **({} if participant_id is None else {"participant": participant_id}),
                **({} if after is None else {"after": after}),
            }
        )
        path = f"ws://{host}:{self.port}/rooms/{quote(room_id, safe='')}"
        return f"{path}?{query}" if query else path

    async def start(self) -> None:
        """Listen, until `close()` or the end of the kit. Once.

        Raises OSError when the address cannot be used, KitClosedError when the kit is closed.
        """
        if self._server is not None:
            return
        self._withdraw = self._kit.push_async_callback(self.close)
        try:
            self._server = await self._listen()
        except BaseException:  # raised again: a server that does not listen is not the kit's to close
            self._withdraw()
            raise

    async def _listen(self) -> Server:
        from websockets.asyncio.server import serve

        from roomkit_plugins.websocket.intake import ClientSocket

        def accept(*args: Any, **options: Any) -> ServerConnection:  # Any: the library's own arguments
            socket = ClientSocket(*args, **options)
            self._sockets.add(socket)
            return socket

        return await serve(
            self._serve,
            self._host,
            self._port,
            process_request=self._admit,
            create_connection=accept,  # type: ignore[arg-type]  # it is called as the class would be
            compression=None,  # chat is small; deflate costs more time and memory than it saves
            ping_interval=self._ping[0],
            ping_timeout=self._ping[1],
            close_timeout=self._close_timeout,
            max_size=self._max_frame_bytes,
            server_header=None,
            logger=_log,
        )

    async def close(self) -> None:
        """Say goodbye to every client (code 1001) and stop listening, within `close_timeout`. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        self._withdraw()
        server.close()
        self._cut(opening_only=True)
        try:
            async with asyncio.timeout(self._close_timeout * _FAREWELL):
                await server.wait_closed()
        except TimeoutError:
            self._cut()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._close_timeout * (1 - _FAREWELL)):
                    await server.wait_closed()

    def _cut(self, *, opening_only: bool = False) -> None:
        """Cut off clients that do not say goodbye in time, or that have not yet said hello."""
        from websockets.protocol import State

        for socket in tuple(self._sockets):
            if hasattr(socket, "transport") and not (opening_only and socket.state is not State.CONNECTING):
                socket.transport.abort()
        if not opening_only:
            for task in tuple(self._serving):
                task.cancel()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- one client ---------------------------------------------------------------------------

    async def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """Decide on a client before the web socket is opened."""
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        try:
            admission = await self._admission(_request(request.path, headers))
        except _Refusal as refusal:
            response = socket.respond(refusal.status, f"{refusal}\n")
            response.headers.update(refusal.headers)
            return response
        setattr(socket, _ADMISSION, admission)
        return None

    async def _admission(self, request: SocketRequest) -> _Admission:
        self._check_origin(request)
        room_id = self._room_of(request)
        if room_id is None or not is_key(room_id):
            raise _Refusal(404, "connect to /rooms/ROOM?participant=NAME")
        try:
            after = index_in(request.query.get("after"))
        except Lost:
            raise _Refusal(400, "after= is the index of the last event seen, or -1") from None
        if self._authenticate is None:
            participant_id = self._participant_of(request)
        else:
            participant_id = await self._authenticate(request, room_id)
            if participant_id is None:
                raise _Refusal(401, "sign in first")
        if participant_id is not None:
            self._check_participant(participant_id)
        await self._check_room(room_id, participant_id)
        return _Admission(room_id, participant_id, after)

    def _check_participant(self, participant_id: str) -> None:
        if len(participant_id) > _LONGEST_ID or not participant_id.isprintable():
            raise _Refusal(
                400, f"a participant is a name of at most {_LONGEST_ID} characters that can be printed"
            )
        now = asyncio.get_running_loop().time()
        if seconds := self._limits.wait(participant_id, now):
            raise _Refusal(
                429, f"rate_limited: try again in {seconds:.1f} s", {"Retry-After": f"{ceil(seconds)}"}
            )

    async def _check_room(self, room_id: str, participant_id: str | None) -> None:
        channel = self._kit.get_channel(self._channel_id)
        try:
            await room_as_it_is(channel, room_id, participant_id, may_return=True)
        except Lost as lost:
            if str(lost) == "participant_banned":
                raise _Refusal(403, "participant_banned: you are banned from this room") from None
            raise _Refusal(404, "no such room") from None

    def _check_origin(self, request: SocketRequest) -> None:
        origin = request.headers.get("origin")
        if origin is None:
            return
        if self._origins is not None:
            allowed = origin in self._origins
        elif self._authenticate is None:
            # Not the Host header: a page that rebinds its name to this machine chooses that.
            page = _site(origin)
            allowed = page is not None and _is_loopback(page.host)
        else:
            # A page cannot set these headers; a proxy that ends TLS says so by X-Forwarded-Proto.
            scheme = request.headers.get("x-forwarded-proto", "http").split(",")[0].strip()
            served = _site(f"{scheme}://{request.headers.get('host', '')}")
            allowed = served is not None and _site(origin) == served
        if not allowed:
            raise _Refusal(403, "this page may not connect; its origin is not in origins=")

    async def _serve(self, socket: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        admission: _Admission = getattr(socket, _ADMISSION)
        participant_id = admission.participant_id
        session = Session(
            self._kit,
            self._channel_id,
            admission.room_id,
            participant_id,
            _ServerTransport(socket, self._framed),
            new_id(),
            after=admission.after,
            encode=self._encode,
            max_replay=self._max_replay,
            limits=self._limits.of(participant_id, asyncio.get_running_loop().time()),
            is_admitted=True,
        )
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            async with session:
                with suppress(ConnectionClosed):
                    await _listen(session, socket)
        finally:
            self._serving.discard(task)


_ADMISSION = "roomkit_admission"
_LONGEST_ID = 512
_FAREWELL = 0.8
"""The part of `close_timeout` that clients have to say goodbye."""
_PORTS = {"http": 80, "https": 443}


def _nothing() -> None:
    """Withdraw nothing: a server that was never started is not pushed onto its kit."""


def _request(target: str, headers: Mapping[str, str]) -> SocketRequest:
    try:
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, errors="strict"))  # else two names could be read as one
    except ValueError:
        raise _Refusal(400, "the address is not one: connect to /rooms/ROOM?participant=NAME") from None
    return SocketRequest(path=url.path, query=query, headers=headers)


def _site(origin: str) -> _Site | None:
    """Return the site of an origin, its port filled in; None for a text that is not one."""
    try:
        url = urlsplit(origin)
        port = url.port
    except ValueError:
        return None
    if url.scheme not in _PORTS or not url.hostname:
        return None
    return _Site(url.scheme, url.hostname, port or _PORTS[url.scheme])


async def _listen(session: Session, socket: ServerConnection) -> None:
    async for data in socket:
        await session.receive(data)
        if session.is_over:  # the rest of the buffer is not read
            return


class _ServerTransport:
    """The socket of a client of this server."""

    writes_at_once = True

    def __init__(self, socket: ServerConnection, framed: Callable[[bytes], bytes]) -> None:
        from websockets.exceptions import ConnectionClosed
        from websockets.protocol import State

        self._socket = socket
        self._framed = framed
        self._open = State.OPEN
        self._gone = ConnectionClosed

    def write(self, data: bytes) -> bool:
        socket = self._socket
        transport = socket.transport
        if socket.paused or socket.protocol.state is not self._open or transport.is_closing():
            return False
        transport.write(self._framed(data))  # no extension is negotiated, and nothing sent in fragments
        return True

    async def send(self, data: bytes) -> None:
        if self._socket.state is not self._open:  # the library would wait until it is closed
            raise TransportClosed
        try:
            await self._socket.send(data, text=True)
        except self._gone as error:
            raise TransportClosed from error

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code, reason)

    def abort(self) -> None:
        self._socket.transport.abort()


def _framed(data: bytes) -> bytes:
    """Return a text frame, as every client gets it: a server masks nothing (RFC 6455, section 5.1)."""
    from websockets.frames import Frame, Opcode

    return Frame(Opcode.TEXT, data).serialize(mask=False)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
