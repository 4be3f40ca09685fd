"""The table `server`: what callers of a kit's server are answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit import RoomKit
from roomkit.abc import Route
from roomkit.models import WebhookAnswer, WebhookRequest
from roomkit.plugins import PluginManager, hookimpl
from roomkit_plugins.server import KitServer, ServerConfig, create_app
from roomkit_plugins.websocket import WebSocketChannel
from tests.options.mechanism import Change, Observe, Settings, Subject
from tests.options.scripted import Found

__all__ = ["SERVER"]

_KEY = "k" * 32
_KEYS: Settings = {
    "keys": {"backend": {"secret": _KEY, "scopes": ["rooms:read", "rooms:write", "sockets:connect"]}}
}
_SIGNED = {"Authorization": f"Bearer {_KEY}"}
_SHOWN = ("access-control-allow-origin", "strict-transport-security")


def _asking(*requests: tuple[str, str, dict[str, Any]]) -> Observe:
    """Return an observation of how requests are answered, one after the other."""

    async def observe(settings: Settings) -> object:
        async with RoomKit(plugins=PluginManager(entry_points=())) as kit:
            app = create_app(kit, ServerConfig.model_validate(settings))
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://kit.test") as client:
                answers = [await client.request(method, path, **given) for method, path, given in requests]
        return [(answer.status_code, [answer.headers.get(name) for name in _SHOWN]) for answer in answers]

    return observe


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def _listening(settings: Settings) -> object:
    """Return which addresses of this machine answer on the port that was asked for."""
    wanted = _free_port() if settings["port"] else 0  # any but 0 stands for one that is free
    settings = {**settings, "port": wanted}
    kit = RoomKit(plugins=PluginManager(entry_points=()))
    async with kit, KitServer(kit, ServerConfig.model_validate(settings)) as server:
        return [await _answers(host, server.port) for host in _HOSTS], server.port == wanted


_HOSTS: Sequence[str] = ("127.0.0.1", "127.0.0.2")


async def _answers(host: str, port: int) -> bool:
    async with httpx2.AsyncClient(timeout=20, trust_env=False) as client:
        try:
            return (await client.get(f"http://{host}:{port}/health/live")).is_success
        except httpx2.ConnectError:
            return False


class _Plugin:
    """Brings a route that says who asks, one that verifies no caller, and one that takes its time."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    @hookimpl
    def roomkit_routes(self, kit: Any, services: Any, settings: Any) -> list[Route]:
        async def caller(request: WebhookRequest) -> WebhookAnswer:
            return WebhookAnswer.of_json([request.client_host, request.url.partition(":")[0]])

        async def slow(request: WebhookRequest) -> WebhookAnswer:
            self.is_asked.set()
            await self.may_answer.wait()
            return WebhookAnswer.of_json("done")

        async def large(request: WebhookRequest) -> WebhookAnswer:
            return WebhookAnswer(body=bytes(_MORE_THAN_BUFFERS))

        return [
            Route(path="/caller", name="caller", method="GET", handler=caller),
            Route(path="/open", name="open", method="GET", secure=False, handler=caller),
            Route(path="/slow", name="slow", method="GET", handler=slow),
            Route(path="/large", name="large", method="GET", handler=large),
        ]


@asynccontextmanager
async def _a_server(settings: Settings, plugin: _Plugin) -> AsyncIterator[KitServer]:
    """Serve a kit with a room, a web socket's channel and the plugin's routes by a real socket."""
    async with RoomKit(plugins=PluginManager(entry_points=[Found(plugin)])) as kit:
        kit.register_channel(WebSocketChannel("ws"))
        await kit.create_room("r")
        await kit.attach_channel("r", "ws")
        async with KitServer(kit, ServerConfig.model_validate({"port": 0, **settings})) as server:
            yield server


@asynccontextmanager
async def _a_client(server: KitServer) -> AsyncIterator[httpx2.AsyncClient]:
    given = {"base_url": server.url, "headers": _SIGNED, "timeout": 60, "trust_env": False}
    async with httpx2.AsyncClient(**given) as client:
        yield client


def _trickling(option: str, part: bytes) -> Observe:
    """Return an observation of a client that sends a part of a request: what it is answered, if anything."""

    async def observe(settings: Settings) -> object:
        patience = 60 if option in settings else 0.2  # the default is many seconds
        async with _a_server(settings, _Plugin()) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                writer.write(part)
                return (await asyncio.wait_for(reader.read(), patience)).partition(b"\r\n")[0]
            except TimeoutError:
                return "still waiting"
            finally:
                writer.close()

    return observe


async def _taking_nothing(settings: Settings) -> object:
    """Return whether all of a large answer comes that its client stops to read for half a second."""
    async with _a_server(settings, _Plugin()) as server:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            found = len(await loop.sock_recv(client, 1))
            await asyncio.sleep(0.5)  # other processes: the buffers of the system
            with contextlib.suppress(ConnectionError):
                while some := await loop.sock_recv(client, 2**20):
                    found += len(some)
        return found > _MORE_THAN_BUFFERS


_MORE_THAN_BUFFERS = 16 * 2**20
"""Bytes that the buffers of a connection on this machine do not hold."""


async def _behind_a_proxy(settings: Settings) -> object:
    """Return who a plugin's route is shown as the caller."""
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    async with _a_server(settings, _Plugin()) as server, _a_client(server) as client:
        return (await client.get("/caller", headers=headers)).json()


async def _unverified(settings: Settings) -> object:
    async with _a_server(settings, _Plugin()) as server, _a_client(server) as client:
        return (await client.get("/open")).status_code


async def _full(settings: Settings) -> object:
    """Return how requests on two connections at once, and a web socket beside them, are answered."""
    async with (
        _a_server(settings, _Plugin()) as server,
        _a_client(server) as one,
        _a_client(server) as other,
    ):
        requests = [await client.get("/health/live") for client in (one, other)]
        return [answer.status_code for answer in requests], await _enter(server, _BY_KEY, _SIGNED)


_BY_KEY = "participant_id=ann"


async def _enter(server: KitServer, query: str, headers: Settings, *sent: str) -> object:
    """Open a web socket and send; return how it was refused, or what it got, without ids and times."""
    url = f"{server.url.replace('http:', 'ws:')}/v1/rooms/r/socket?{query}"
    try:
        async with asyncio.timeout(60), connect(url, additional_headers=headers) as socket:
            kinds = [json.loads(await socket.recv())["type"]]
            for frame in sent:
                await socket.send(frame)
                kinds.append(json.loads(await socket.recv())["type"])
            return kinds
    except InvalidStatus as refused:
        return refused.response.status_code
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code


async def _large_frame(settings: Settings) -> object:
    async with _a_server(settings, _Plugin()) as server:
        frame = json.dumps({"type": "message", "text": "x" * 3000, "client_id": "m1"})
        return await _enter(server, _BY_KEY, _SIGNED, frame)


async def _ticket(settings: Settings) -> object:
    """Return how a browser is answered that shows a ticket at once."""
    async with _a_server(settings, _Plugin()) as server, _a_client(server) as client:
        seat = {"channel_id": "ws", "participant_id": "ann"}
        given = (await client.post("/v1/rooms/r/tickets", json=seat)).json()["ticket"]
        return await _enter(server, f"ticket={given}", {})


async def _draining(settings: Settings) -> object:
    """Return whether a server that starts to stop takes nothing new at once."""
    async with _a_server(settings, _Plugin()) as server:
        closing = asyncio.ensure_future(server.close())
        await asyncio.sleep(0)
        stopping = server.app.stopping
        seen = stopping.is_draining, stopping.has_begun
        await closing
        return seen


async def _stopping(settings: Settings) -> object:
    """Return whether a request ends that is under way when the server stops."""
    plugin = _Plugin()
    async with _a_server(settings, plugin) as server, _a_client(server) as client:
        request = asyncio.ensure_future(client.get("/slow"))
        await plugin.is_asked.wait()
        closing = asyncio.ensure_future(server.close())
        await asyncio.wait((closing,), timeout=60 if "stop_timeout" in settings else 0.2)
        plugin.may_answer.set()
        await closing
        (answer,) = await asyncio.gather(request, return_exceptions=True)
        return answer.status_code if isinstance(answer, httpx2.Response) else type(answer).__name__


_HEAD = b"GET /health/live HTTP/1.1\r\n"
_BODY = (
    b"POST /v1/rooms HTTP/1.1\r\nHost: kit.test\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer " + _KEY.encode() + b"\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{"
)
_LIST = ("GET", "/v1/rooms", {"headers": _SIGNED})
_STRANGER = ("GET", "/v1/rooms", {"headers": {"Authorization": "Bearer wrong"}})
_LARGE = ("POST", "/v1/rooms", {"headers": _SIGNED, "json": {"metadata": {"a": "x" * 2000}}})
_PAGE = ("GET", "/v1/rooms", {"headers": {**_SIGNED, "Origin": "https://shop.example"}})
_ONE = {"max_per_minute": 1, "burst": 1}

SERVER = Subject(
    "server",
    {
        "host": Change("127.0.0.2", {"port": 0}, _listening),
        "port": Change(8080, {"port": 0}, _listening),
        "public_url": Change("https://bot.example", observe=_asking(("GET", "/health/live", {}))),
        "keys": Change(_KEYS["keys"], observe=_asking(_LIST)),
        "origins": Change(["https://shop.example"], _KEYS, _asking(_PAGE)),
        "open_metrics": Change(True, observe=_asking(("GET", "/metrics", {}))),
        "mcp": Change(True, _KEYS, _asking(("POST", "/mcp", {"json": {}}))),
        "address_rate_limit": Change(_ONE, _KEYS, _asking(_LIST, _LIST, _LIST)),
        "refusal_rate_limit": Change(_ONE, _KEYS, _asking(_STRANGER, _STRANGER, _STRANGER)),
        "head_timeout": Change(0.1, observe=_trickling("head_timeout", _HEAD)),
        "body_timeout": Change(0.1, _KEYS, _trickling("body_timeout", _BODY)),
        "send_timeout": Change(0.1, observe=_taking_nothing),
        "trusted_proxies": Change(["127.0.0.1"], observe=_behind_a_proxy),
        "insecure_routes": Change(["open"], observe=_unverified),
        "max_connections": Change(1, _KEYS, _full),
        "max_frame_bytes": Change(2000, _KEYS, _large_frame),
        "ticket_seconds": Change(1e-6, _KEYS, _ticket),
        "drain_seconds": Change(0.1, observe=_draining),
        "stop_timeout": Change(0.1, observe=_stopping),
        "max_body_bytes": Change(1000, _KEYS, _asking(_LARGE)),
    },
    real_time=True,
)
