"""The table `server`: what callers of a kit's server are answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import httpx2

from roomkit import RoomKit
from roomkit.plugins import PluginManager
from roomkit_plugins.server import KitServer, ServerConfig, create_app
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["SERVER"]

_KEY = "k" * 32
_KEYS: Settings = {"keys": {"backend": {"secret": _KEY, "scopes": ["rooms:read", "rooms:write"]}}}
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


async def _trickling(settings: Settings) -> object:
    """Return whether a client that never finishes its request is hung up on within two seconds."""
    kit = RoomKit(plugins=PluginManager(entry_points=()))
    async with kit, KitServer(kit, ServerConfig.model_validate({"port": 0, **settings})) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(b"GET /health/live HTTP/1.1\r\n")
            return await asyncio.wait_for(reader.read(), 2.0) == b""
        except TimeoutError:
            return False
        finally:
            writer.close()


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
        "head_timeout": Change(0.2, observe=_trickling),
        "max_body_bytes": Change(1000, _KEYS, _asking(_LARGE)),
    },
    real_time=True,
)
