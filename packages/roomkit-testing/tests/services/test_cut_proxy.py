"""The proxy that loses connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.services import CutProxy, ServiceError


class Echo:
    """A server that answers each line with the line, and remembers all it was sent."""

    def __init__(self) -> None:
        self.received = bytearray()  # bound: the life of a test
        self.ended = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.received += data
                if data.endswith(b"\n"):
                    writer.write(data)
        except ConnectionError:
            pass
        finally:
            self.ended.set()
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.url = f"echo://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/path?a=b"
    async with server:
        yield echo


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[CutProxy]:
    async with CutProxy(echo.url) as proxy:
        yield proxy


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, line: bytes) -> bytes:
        self.writer.write(line)
        async with asyncio.timeout(30):
            return await self.reader.readline()


@pytest.fixture
async def client(proxy: CutProxy) -> AsyncIterator[Client]:
    client = await connect(proxy)
    yield client
    client.writer.close()


async def connect(proxy: CutProxy) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", proxy.port))


async def test_everything_is_forwarded(proxy: CutProxy, client: Client, echo: Echo) -> None:
    """Both ways, and counted."""
    assert await client.ask(b"one\n") == b"one\n"
    large = b"x" * 1_000_000 + b"\n"
    client.writer.write(large)
    await until(lambda: len(echo.received) == len(large) + 4)
    assert proxy.client_bytes == len(large) + 4
    assert (proxy.connections, proxy.requests, proxy.open_connections) == (1, 2, 1)


async def test_the_url_is_the_servers_with_another_address(proxy: CutProxy) -> None:
    assert proxy.url == f"echo://user:secret@127.0.0.1:{proxy.port}/path?a=b"
    with pytest.raises(ServiceError, match="the URL of a server"):
        CutProxy("/just/a/path")


async def test_a_cut_resets_both_sides(proxy: CutProxy, client: Client, echo: Echo) -> None:
    """At once, and new connections are as before."""
    assert await client.ask(b"one\n") == b"one\n"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client.ask(b"two\n")
    await asyncio.wait_for(echo.ended.wait(), 5)
    again = await connect(proxy)
    assert await again.ask(b"three\n") == b"three\n"
    again.writer.close()


async def test_what_is_held_is_not_lost(proxy: CutProxy, client: Client) -> None:
    """Nothing comes through, on new connections neither, until it is released."""
    proxy.hold()
    other = await connect(proxy)
    first = asyncio.create_task(client.ask(b"one\n"))
    second = asyncio.create_task(other.ask(b"two\n"))
    done, _ = await asyncio.wait([first, second], timeout=0.02)
    assert not done
    proxy.release()
    assert [await first, await second] == [b"one\n", b"two\n"]
    other.writer.close()


async def test_refusing_leaves_what_is_open(proxy: CutProxy, client: Client) -> None:
    """And the port is the same afterwards."""
    assert await client.ask(b"one\n") == b"one\n"
    port = proxy.port
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    assert await client.ask(b"two\n") == b"two\n"
    await proxy.accept()
    assert proxy.port == port
    again = await connect(proxy)
    assert await again.ask(b"three\n") == b"three\n"
    again.writer.close()


async def test_a_request_is_torn_after_so_many_bytes(proxy: CutProxy, client: Client, echo: Echo) -> None:
    """The server has these and no more, and then the end."""
    proxy.cut_after_bytes(5)
    with pytest.raises(ConnectionResetError):
        await client.ask(b"0123456789\n")
    await asyncio.wait_for(echo.ended.wait(), 5)
    assert echo.received == b"01234"


async def test_a_request_is_cut_before_the_server_sees_it(
    proxy: CutProxy, client: Client, echo: Echo
) -> None:
    proxy.cut_at_request(3)
    for line in (b"one\n", b"two\n"):
        assert await client.ask(line) == line
    with pytest.raises(ConnectionResetError):
        await client.ask(b"three\n")
    assert echo.received == b"one\ntwo\n"


async def test_an_answer_is_lost(proxy: CutProxy, client: Client, echo: Echo) -> None:
    """The server has done it, and the client does not know."""
    proxy.cut_at_request(2, answer_is_lost=True)
    assert await client.ask(b"one\n") == b"one\n"
    with pytest.raises(ConnectionResetError):
        await client.ask(b"two\n")
    assert echo.received == b"one\ntwo\n"


async def test_an_end_is_handed_on(proxy: CutProxy, client: Client, echo: Echo) -> None:
    """With all that was said before it."""
    client.writer.write(b"last\n")
    client.writer.write_eof()
    async with asyncio.timeout(30):
        assert await client.reader.readline() == b"last\n"
        await echo.ended.wait()
    await until(lambda: not proxy.open_connections)


async def test_without_a_server_the_client_is_cut(proxy: CutProxy) -> None:
    async with CutProxy("echo://127.0.0.1:1/") as nowhere:
        client = await connect(nowhere)
        with pytest.raises(ConnectionResetError):
            await client.ask(b"one\n")
        client.writer.close()
    assert nowhere.open_connections == 0
