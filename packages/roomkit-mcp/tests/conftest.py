"""MCP servers for the tests: the SDK's own, and one that says what a test wants it to."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent

HERE = Path(__file__).parent
PROGRAM = (sys.executable, str(HERE / "program.py"))
MORTAL = (sys.executable, str(HERE / "mortal.py"))
"""Starts in no time: it is made without the SDK."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Shop:
    """An MCP server with a few tools, and the outcomes of their calls."""

    def __init__(self) -> None:
        self.server = MCPServer("shop", log_level="ERROR")
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls: list[str] = []
        for tool in (self.add, self.draw, self.fail, self.wait, self.prices, self.expand):
            self.server.add_tool(tool)

    async def add(self, a: int, b: int) -> str:
        """Add two numbers."""
        self.calls.append("add")
        return str(a + b)

    async def draw(self) -> CallToolResult:
        """Draw a picture."""
        picture = Image(data=b"dot", format="png").to_image_content()
        return CallToolResult(content=[TextContent(text="a dot"), picture])

    async def fail(self) -> str:
        """Fail."""
        raise ToolError("the shop is closed")

    async def wait(self) -> str:
        """Wait for ever."""
        self.started.set()
        try:
            await asyncio.Event().wait()
        except BaseException:
            self.cancelled.set()
            raise
        return "never"

    async def prices(self) -> dict[str, int]:
        """Return prices."""
        return {"tea": 3}

    async def expand(self, ctx: Context) -> str:
        """Add a tool, and say so."""
        self.server.add_tool(self.greet)
        await ctx.notify_tools_changed()
        return "expanded"

    async def greet(self) -> str:
        """Greet."""
        return "hello"


@asynccontextmanager
async def served(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Serve an ASGI app on 127.0.0.1, on a free port if none is given; yield its endpoint."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, lifespan="on")
    server = uvicorn.Server(config)
    server.capture_signals = _nothing  # type: ignore[method-assign]  # signals are pytest's
    running = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0)
        assert not running.done(), "the server did not start"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = server.force_exit = True
        await running
        listener.close()


def _nothing() -> Any:
    return nullcontext()


@pytest.fixture
def shop() -> Shop:
    """Return a server that is not served yet."""
    return Shop()


@pytest.fixture
async def url(shop: Shop) -> AsyncIterator[str]:
    """Serve the shop over streamable HTTP; return its endpoint."""
    async with served(shop.server.streamable_http_app()) as endpoint:
        yield endpoint


class Scripted:
    """An MCP server of an earlier version, whose list of tools is whatever a test says."""

    def __init__(self, *tools: Any) -> None:
        self.tools = tools
        self.may_list = asyncio.Event()
        self.may_list.set()
        self.listing = asyncio.Event()

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if b'"tools/list"' in body:
            self.listing.set()
            await self.may_list.wait()
        status, answer = self._answer(json.loads(body)) if body else (405, None)
        content = b"" if answer is None else json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _answer(self, request: Any) -> tuple[int, Any]:
        if "id" not in request:
            return 202, None
        head = {"jsonrpc": "2.0", "id": request["id"]}
        match request["method"]:
            case "initialize":
                result: Any = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "scripted", "version": "1"},
                }
            case "tools/list":
                result = {"tools": self.tools}
            case "tools/call":
                result = {"content": [{"type": "text", "text": "called"}]}
            case _:
                return 200, {**head, "error": {"code": -32601, "message": "no such method"}}
        return 200, {**head, "result": result}
