"""Who is not let in, and what stays open: wrong addresses, foreign pages, clients that say nothing."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from roomkit.kernel.kit import RoomKit
from roomkit.models.enums import HookTrigger
from roomkit_plugins.websocket import WebSocketChannel


@asynccontextmanager
async def a_server(**options):
    async with RoomKit() as kit:
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        await kit.create_room("room")
        await kit.attach_channel("room", "ws")
        async with channel.serve(kit, **options) as server:
            yield kit, server


async def everybody(request, room_id):
    return "ann"


async def answer_to(server, target, *headers):
    """The status of what the server answers to a request as it is, byte by byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(20):
        status = await reader.readline()
    writer.close()
    return int(status.split()[1])


@pytest.mark.parametrize("authenticate", [None, everybody])
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("//[", [], 400),
        ("http://[/rooms/room", [], 400),
        ("/rooms/room", ["Origin: http://["], 403),
        ("/rooms/room", ["Origin: http://127.0.0.1:notaport"], 403),
        ("/rooms/room", ["Origin: "], 403),
        ("/rooms/a%00b", [], 404),
        ("/rooms/room?after=%00", [], 400),
        ("/rooms/room?participant=ann", [], 101),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(caplog, authenticate, target, headers, status):
    """By its status, and with no more than a line in the log."""
    caplog.set_level(logging.INFO)
    async with a_server(authenticate=authenticate) as (_, server):
        caplog.clear()
        assert await answer_to(server, target, *headers) == status
        told = [record for record in caplog.records if record.levelno >= logging.WARNING or record.exc_info]
        assert told == []


@pytest.mark.parametrize("name", ["a%00", "a%1b%5b2J", "x" * 513])
async def test_a_participant_is_a_name_that_can_be_printed(name):
    """Of at most 512 characters: it is stored, and shown to operators."""
    async with a_server() as (_, server):
        assert await answer_to(server, f"/rooms/room?participant={name}") == 400


@pytest.mark.parametrize(
    ("origin", "proxy", "taken"),
    [
        ("http://{host}", None, True),
        ("https://{host}", None, False),
        ("https://{host}", "https", True),
        ("https://{host}", "https, http", True),
        ("http://{host}", "https", False),
        ("HTTP://{host}", None, True),
        ("ftp://{host}", "ftp", False),
        ("http://127.0.0.1", None, False),
        ("http://evil.example", None, False),
        ("http://{host}.evil.example", None, False),
        ("null", None, False),
    ],
)
async def test_a_page_of_the_same_site_may_connect(origin, proxy, taken):
    """The same scheme, host and port; a proxy that ends TLS says by which scheme the page is reached."""
    async with a_server(authenticate=everybody) as (_, server):
        headers = [f"Origin: {origin.format(host=f'127.0.0.1:{server.port}')}"]
        if proxy is not None:
            headers.append(f"X-Forwarded-Proto: {proxy}")
        assert await answer_to(server, "/rooms/room", *headers) == (101 if taken else 403)


async def test_closing_waits_for_nobody_longer_than_it_says():
    """Neither for half-open connections, nor for clients that do not answer or are being served."""
    async with a_server(close_timeout=0.5) as (kit, server):
        entered, never, port = asyncio.Event(), asyncio.Event(), server.port

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def hang(event, context):
            entered.set()
            await never.wait()

        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        silent[0][1].write(b"GET /rooms/room HTTP/1.1\r\nHost: x\r\n")
        deaf = await connect(server.url("room", "deaf"))
        deaf.transport.pause_reading()  # it will not see that the server says goodbye
        busy = await connect(server.url("room", "busy"))
        await busy.send('{"type":"message","text":"x"}')
        await entered.wait()
        async with asyncio.timeout(5):  # half-open connections alone took ten seconds
            await server.close()
        for _, writer in silent:
            writer.close()
        deaf.transport.abort()
        await busy.wait_closed()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_connection_that_is_just_opening_is_not_served_by_a_closing_server():
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request, room_id):
        asked.set()
        await go_on.wait()
        return "ann"

    async with a_server(authenticate=slow, close_timeout=0.5) as (kit, server):
        opening = asyncio.create_task(connect(server.url("room", "ann")).__aenter__())
        await asked.wait()
        async with asyncio.timeout(5):
            closing = asyncio.create_task(server.close())
            await asyncio.sleep(0)
            go_on.set()
            await closing
        with pytest.raises((OSError, EOFError, WebSocketException)):
            await opening
        assert kit.get_channel("ws").connection_count == 0
