"""Providers of tools, and the guarded fetch: what servers are asked, and what agents are offered."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roomkit.abc.errors import RoomKitError
from roomkit.models.room import Room
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import HTTPSimulator
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["TOOLS"]

# -- MCP -------------------------------------------------------------------------------------------

_PROGRAM = """
import json, os, sys
for line in sys.stdin:
    request = json.loads(line)
    method, name = request["method"], request.get("params", {}).get("name")
    result = {}
    if method == "initialize":
        about = {"name": "acme", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
    elif method == "tools/list":
        result = {"tools": [{"name": each, "inputSchema": {"type": "object"}} for each in sys.argv[1:]]}
    elif method == "tools/call":
        said = f"{os.environ.get('ACME')} {os.getcwd()}"
        result = {"content": [{"type": "text", "text": said}]}
    if "id" in request and name != "wait":
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"""
"""An MCP server on its standard streams, whose tools are its arguments; it answers no call of `wait`."""
_COMMAND = (sys.executable, "-S", "-c", _PROGRAM)
_SILENT = (sys.executable, "-S", "-c", "import sys; sys.stdin.read()")


class _Server(HTTPSimulator):
    """An MCP server over HTTP that has one tool, and answers what a client asks at first."""

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        if request.method != "POST" or not request.body:
            await exchange.send_json(405, {})
            return
        asked = json.loads(request.body)
        if "id" not in asked:
            await exchange.send_json(202, {})
            return
        about = {"name": "acme", "version": "1"}
        results: Mapping[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": about,
            },
            "tools/list": {"tools": [{"name": "look", "inputSchema": {"type": "object"}}]},
        }
        result = results.get(asked["method"], {})
        await exchange.send_json(200, {"jsonrpc": "2.0", "id": asked["id"], "result": result})


def _calling(tool: str = "where") -> Observe:
    """Return an observation of the tools of a program, and of a call of the first that is offered."""

    async def observe(settings: Settings) -> object:
        tools: Any = await default_manager().acreate("tools", "mcp", settings)
        try:
            offered = [each.definition.name for each in (await tools.offer(Room(id="r"))).tools]
            called = next((each for each in offered if each.endswith(tool)), None)
            return offered, None if called is None else await tools.call_tool(called, {})
        except (RoomKitError, TimeoutError) as error:
            return type(error).__name__
        finally:
            await tools.close()

    return observe


def _waiting(option: str) -> Observe:
    """Return an observation of how long a program is waited for that does not answer."""

    async def observe(settings: Settings) -> object:
        tools: Any = await default_manager().acreate("tools", "mcp", settings)
        try:
            async with asyncio.timeout(60 if settings[option] < 1 else 0.2):
                return await tools.call_tool("wait", {})
        except TimeoutError as error:
            return "ended" if str(error) else "still waiting"
        except RoomKitError as error:
            return type(error).__name__
        finally:
            await tools.close()

    return observe


async def _over_http(settings: Settings) -> object:
    """Return the first requests to a server, and the tools offered of it."""
    async with _Server() as server:
        url = f"{settings['url']}".replace("{origin}", server.origin)
        tools: Any = await default_manager().acreate("tools", "mcp", {**settings, "url": url})
        try:
            offered = [each.definition.name for each in (await tools.offer(Room(id="r"))).tools]
        except RoomKitError as error:
            offered = [type(error).__name__]
        finally:
            await tools.close()
        first = server.requests[0]
        return first.method, first.path, first.headers.get("x-team"), offered


def _program(*tools: str) -> Settings:
    return {"command": [*_COMMAND, *tools]}


_PLACES = _program("where", "look")
_SITE: Settings = {"url": "{origin}/mcp"}
MCP = Subject(
    "tools:mcp",
    {
        "url": Change("{origin}/other", _SITE, _over_http),
        "transport": Change("sse", _SITE, _over_http),
        "headers": Change({"X-Team": "blue"}, _SITE, _over_http),
        "command": Change(_program("where")["command"], _PLACES),
        "env": Change({"ACME": "blue"}, _PLACES),
        "cwd": Change("/", _PLACES),
        "tool_filter": Change(["wh*"], _PLACES),
        "prefix": Change("shop_", _PLACES),
        "max_tools": Change(1, _PLACES),
        "connect_timeout": Change(
            0.1, {"command": [*_SILENT], "connect_timeout": 30.0}, _waiting("connect_timeout")
        ),
        "call_timeout": Change(0.1, {**_program("wait"), "call_timeout": 60.0}, _waiting("call_timeout")),
    },
    _calling(),
    real_time=True,
)


# -- skills ----------------------------------------------------------------------------------------


async def _skilled(settings: Settings) -> object:
    with tempfile.TemporaryDirectory() as folder:
        (skill := Path(folder, "tea")).mkdir()
        (skill / "SKILL.md").write_text("---\nname: tea\ndescription: Makes tea.\n---\nBoil water.\n")
        given = {key: [each.format(folder=folder) for each in value] for key, value in settings.items()}
        skills: Any = await default_manager().acreate("tools", "skills", given)
        offer = await skills.offer(Room(id="r"))
        return list(offer.instructions), [each.definition.name for each in offer.tools]


# -- the guarded fetch -----------------------------------------------------------------------------


class _Site(HTTPSimulator):
    """Answers with the caller's name."""

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        name = request.headers.get("user-agent", "").encode()
        await exchange.send_bytes(200, name, {"content-type": "text/plain"})


async def _fetched(settings: Settings) -> object:
    """Return the outcome of fetching from a server of this machine."""
    async with _Site() as site:
        port = int(site.origin.rpartition(":")[2])
        allowed = [each.format(port=port) for each in settings.get("allow_hosts", ())]
        ports = [port if each == 1 else each for each in settings.get("ports", (80, 443))]
        given = {**settings, "allow_hosts": allowed, "ports": ports}
        fetch: Any = await default_manager().acreate("fetch", "pinned", given)
        try:
            return (await fetch(f"{site.origin}/a", limit=1000)).data
        except RoomKitError as error:
            return type(error).__name__


async def _unconnected(settings: Settings) -> object:
    """Return how long a server is waited for that takes no connection and refuses none."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        host = f"127.0.0.1:{full.getsockname()[1]}"
        fetch: Any = await default_manager().acreate("fetch", "pinned", {**settings, "allow_hosts": [host]})
        try:
            async with asyncio.timeout(60 if settings["connect_timeout"] < 1 else 0.2):
                await fetch(f"http://{host}/", limit=1000, timeout=120)
        except TimeoutError:
            return "still waiting"
        except RoomKitError as error:
            return type(error).__name__


_NAMED: Settings = {"allow_hosts": ["127.0.0.1:{port}"]}
_NETWORK: Settings = {"ports": [1]}  # 1 stands for the server's
FETCH = Subject(
    "fetch:pinned",
    {
        "allow_hosts": Change(_NAMED["allow_hosts"]),
        "allow_networks": Change(["127.0.0.0/8"], _NETWORK),
        "ports": Change([1], {"allow_networks": ["127.0.0.0/8"]}),
        "connect_timeout": Change(0.1, {"connect_timeout": 300.0}, _unconnected),
        "user_agent": Change("Acme", _NAMED),
    },
    _fetched,
    real_time=True,
)

TOOLS = (
    MCP,
    Subject("tools:skills", {"folders": Change(["{folder}"])}, _skilled, real_time=True),
    FETCH,
)
