"""Requests that are made to hurt, by real sockets: the server refuses them, and serves the others on."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable

import pytest
import uvicorn
from starlette.requests import HTTPConnection
from uvicorn.server import ServerState

from roomkit import RateLimit, RoomKit
from roomkit.abc import RoomKitError
from roomkit.authoring.limits import TokenBucketRateLimiter
from roomkit.models import TextContent
from roomkit_plugins.server import Scope, ServerConfig
from roomkit_plugins.server.api import ENDPOINTS
from roomkit_plugins.server.entrance import Entrance
from roomkit_plugins.server.requests import address_of
from roomkit_plugins.server.stopping import Stopping
from roomkit_plugins.server.waiting import protocol_with

from .conftest import Site, key_of, keys

PATIENCE = 30
KEY = f"Authorization: Bearer {key_of('acme')}\r\n".encode()
JSON = b"Content-Type: application/json\r\n"
PLENTY = RateLimit(max_per_second=1e6)


@pytest.fixture
def config() -> ServerConfig:
    return ServerConfig(
        port=0,
        keys={name: key.model_copy(update={"rate_limit": PLENTY}) for name, key in keys().items()},
        address_rate_limit=PLENTY,
        head_timeout=0.2,
        send_timeout=0.2,
        max_body_bytes=10_000,
    )


@pytest.fixture
async def served(site: Site) -> AsyncIterator[Site]:
    await site.serve()
    yield site
    answer = await (await site.remote()).get("/v1/rooms")
    assert answer.status_code == 200, "the server does not serve on"


async def answered(site: Site, *pieces: bytes) -> bytes:
    """What the server sends before it hangs up, or until the answer is complete."""
    assert site.server is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    try:
        async with asyncio.timeout(PATIENCE):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n".encode() if body else b""
    return b"%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s%s\r\n%s" % (
        line,
        b"".join(headers),
        length,
        body,
    )


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# -- slow and silent clients ------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [b"", b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\nX-A: "], ids=["silence", "half"]
)
async def test_a_client_that_does_not_say_what_it_wants_is_hung_up_on(served: Site, said: bytes) -> None:
    assert await answered(served, said) == b""


async def test_bytes_of_a_head_do_not_put_its_deadline_off(served: Site) -> None:
    """One after the other, faster than the deadline, and never the last one."""
    assert served.server is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    closed = asyncio.ensure_future(reader.read())
    async with asyncio.timeout(PATIENCE):
        writer.write(b"GET / HTTP/1.1\r\nX-A: ")
        while not closed.done():
            writer.write(b"a")
            await asyncio.wait((closed,), timeout=0.02)
    assert await closed == b""
    writer.close()


async def test_a_client_that_reads_nothing_is_hung_up_on(served: Site) -> None:
    """An answer that cannot be sent holds neither a connection of its key nor one of the server."""
    assert served.server is not None
    room = await served.room("acme", "ws")
    for number in range(60):
        await served.kit.send_event(room, "system", TextContent(body=f"{number}" * 60_000))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.server.port))
        path = f"/v1/rooms/{room}/stream?channel_id=ws&after=-1".encode()
        client.sendall(request(b"GET " + path, KEY))
        async with asyncio.timeout(PATIENCE):
            while not served.server.app._entrance.open_connections:  # noqa: ASYNC110  # nothing says so
                await asyncio.sleep(0.01)  # other processes: the buffers of the system
            while served.server.app._entrance.open_connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # other processes, likewise


class Buffer(asyncio.Transport):
    """The transport of a client that takes as many bytes of an answer as a test allows."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("unsent", "is_aborted"),
    [([900, 900], True), ([900, 899, 899], True), ([900, 899, 10, 9], False), ([900, 10, 0, 0], False)],
)
async def test_a_slow_client_is_not_one_that_reads_nothing(unsent: list[int], is_aborted: bool) -> None:
    """As long as it takes a byte within each time-out."""
    made = protocol_with(head_timeout=1e6, send_timeout=30)
    protocol = made(config=uvicorn.Config(None, log_config=None), server_state=ServerState(), app_state={})
    transport = Buffer()
    protocol.connection_made(transport)
    assert transport.limit == 0
    first, *later = unsent
    transport.unsent = first
    protocol.pause_writing()
    await asyncio.sleep(15)
    for transport.unsent in later:
        if not transport.unsent:
            protocol.resume_writing()
        await asyncio.sleep(30)
    assert transport.is_aborted is is_aborted
    protocol.connection_lost(ConnectionResetError())


async def test_a_second_request_has_a_deadline_of_its_own(served: Site) -> None:
    """On a connection that stays open after an answer."""
    assert served.server is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    async with asyncio.timeout(PATIENCE):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status_of(await reader.readuntil(b'{"status":"live"}')) == 200
        writer.write(b"GET /health/li")
        assert await reader.read() == b""
    writer.close()


async def test_a_slow_answer_is_not_a_slow_head(served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is over when the head has come."""
    room = await served.room()
    begun, held = asyncio.Event(), asyncio.Event()
    real = served.kit.store.get_room

    async def slow(*given: object, **options: object) -> object:
        begun.set()
        await held.wait()
        return await real(*given, **options)

    monkeypatch.setattr(served.kit.store, "get_room", slow)
    asking = asyncio.ensure_future(answered(served, request(b"GET /v1/rooms/%s" % room.encode(), KEY)))
    await begun.wait()
    loop = asyncio.get_running_loop()
    loop.call_later(0.5, held.set)  # the deadline of a head is 0.2 s
    assert status_of(await asking) == 200


async def test_an_open_socket_outlives_the_deadline_of_heads(site: Site) -> None:
    await site.serve()
    room = await site.room("acme", "ws")
    path = f"/v1/rooms/{room}/socket?participant_id=ann&channel_id=ws"
    async with site.socket(path, Authorization=f"Bearer {key_of('acme')}") as ann:
        await ann.recv()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await ann.recv()
        await ann.send(json.dumps({"type": "message", "text": "still here"}))
        async with asyncio.timeout(PATIENCE):
            assert json.loads(await ann.recv())["type"] == "ack"


# -- what does not parse ----------------------------------------------------------------------

HEADS = {
    "long line": [b"GET /" + b"a" * 200_000],
    "long header": [b"GET /v1/rooms HTTP/1.1\r\nX-A: " + b"a" * 200_000],
    "many headers": [b"GET /v1/rooms HTTP/1.1\r\n", *[b"X-%d: a\r\n" % each for each in range(20_000)]],
    "no HTTP": [b"\x16\x03\x01\x02\x00\x01\x00" + b"\xff" * 512 + b"\r\n\r\n"],
    "two lengths": [
        b"POST /v1/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    ],
    "negative length": [b"POST /v1/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"],
    "bare line ends": [b"GET /v1/rooms HTTP/1.1\nHost: x\rX-A: b\n\n"],
    "NUL in a header": [b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n"],
    "no host": [b"GET /v1/rooms HTTP/1.1\r\n\r\n"],
}


@pytest.mark.parametrize("pieces", HEADS.values(), ids=HEADS)
async def test_a_head_that_is_none_is_refused(served: Site, pieces: Iterable[bytes]) -> None:
    answer = await answered(served, *pieces)
    assert not answer or 400 <= status_of(answer) < 500


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/rooms/%ff%fe",
        b"/v1/rooms/%00",
        b"/v1/rooms/%ed%a0%80/events",
        b"/v1/rooms/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        b"/v1/rooms/..%5c..%5c",
        b"/v1/rooms/x%0d%0aX-Injected:%201/events",
        b"/v1/rooms?after=%ff",
        b"/v1/rooms?metadata=%ff",
        b"/v1/rooms?metadata=" + b"[" * 3000,
        b"/v1/rooms?after=%0d%0aX-Injected:%201",
        b"/v1/rooms?limit=1&limit=2",
        b"/v1/rooms?limit=" + b"9" * 4000,
        b"/v1/deliveries?room_id=%00",
    ],
    ids=lambda path: path[:32].decode(),
)
async def test_a_path_that_names_nothing_is_refused_and_not_echoed(
    served: Site, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "roomkit")
    answer = await answered(served, request(b"GET " + path, KEY))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) in (200, 400, 404, 410)
    assert status_of(answer) != 200 or json.loads(body)["items"] == []
    assert b"x-injected" not in head.lower()
    assert "\nX-Injected" not in caplog.text


BODIES = {
    "deep list": b"[" * 5000,
    "deep object": b'{"metadata":' * 800,
    "deep value": b'{"metadata":{"a":' + b"[" * 4000 + b"]" * 4000 + b"}}",
    "invalid UTF-8": b'{"metadata":{"a":"\xff\xfe"}}',
    "lone surrogate": b'{"metadata":{"a":"\\ud800"}}',
    "NUL": b'{"metadata":{"a":"\\u0000"},"title":"\\u0000"}',
    "huge number": b'{"metadata":{"a":1' + b"0" * 5000 + b"}}",
    "NaN": b'{"metadata":{"a":NaN}}',
    "duplicate keys": b'{"metadata":{},"metadata":[]}',
    "empty": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_no_body_makes_an_operation_fail(served: Site, body: bytes) -> None:
    """Not one of those that take one."""
    room = await served.room("acme", "desk")
    client = await served.remote()
    for endpoint in ENDPOINTS:
        if not endpoint.has_body:
            continue
        names = {"room_id": room, "channel_id": "desk", "event_id": "e", "participant_id": "ann"}
        path = endpoint.path.format(**names, task_id="t", delivery_id="d")
        answer = await client.request(
            endpoint.method, path, content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code < 500, (endpoint.name, answer.text)


async def test_a_chunked_body_beyond_the_limit_is_refused_before_its_end(served: Site) -> None:
    """It would never end."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = (
        b"POST /v1/rooms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s%sTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = await answered(served, head % (KEY, JSON), *[chunk] * 40)
    assert not answer or status_of(answer) == 413


# -- guessing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2:3:4", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("/run/proxy.sock", "", False),
    ],
)
def test_an_ipv6_network_counts_as_one_address(one: str, other: str, is_same: bool) -> None:
    """However its zeros are written: a host chooses the lower 64 bits of its address as it likes."""
    found = [address_of(HTTPConnection({"type": "http", "client": (each, 1)})) for each in (one, other)]
    assert (found[0] == found[1]) is is_same


async def test_of_ten_thousand_guesses_a_bounded_number_is_remembered(config: ServerConfig) -> None:
    """From one address, which is stopped soon, and from more addresses than the limits remember."""
    async with RoomKit() as kit:
        limiter = TokenBucketRateLimiter(max_keys=1000)
        entrance = Entrance(kit, config, Stopping(), limiter)
        refusals: Counter[str] = Counter()
        for number in range(10_000):
            address = f"10.0.{number // 250}.{number % 250}" if number % 2 else "10.9.9.9"
            guess = [(b"authorization", b"Bearer guess-%d" % number)]
            scope = {"type": "http", "headers": guess, "client": (address, 1)}
            with pytest.raises(RoomKitError) as refused:
                entrance.admit(HTTPConnection(scope), Scope.ROOMS_READ)
            refusals[refused.value.code] += 1
        assert refusals["rate_limited"] > 4000
        assert refusals["key_refused"] >= 5000
        assert limiter.dropped > 0
