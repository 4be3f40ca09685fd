"""Lists the tools of a server, and keeps one malformed tool from spoiling the list.

The SDK checks a list as a whole: one tool without a name or with a schema that is not an object, and none is
listed. So such tools are taken out of the server's answers before the SDK reads them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from roomkit_plugins.mcp.wire import UnusableToolError, tool_of

if TYPE_CHECKING:
    from mcp_types import Tool

    from mcp import Client
    from mcp.client import Transport
    from mcp.client._transport import ReadStream, TransportStreams
    from mcp.shared.message import SessionMessage
    from roomkit.models.ai import AITool
    from roomkit_plugins.mcp.config import MCPConfig

__all__ = ["Refuse", "listed", "sifted"]

MAX_PAGES = 100
"""A list that never ends is read so far."""

type Refuse = Callable[[str, str], None]
"""`(name, reason)`: takes note of a tool that is not offered."""

type _Item = SessionMessage | Exception


async def listed(client: Client, config: MCPConfig, refuse: Refuse) -> dict[str, AITool]:
    """Return the tools of a server that are offered, by their names there."""
    found: dict[str, AITool] = {}
    for tool in await _pages(client):
        if config.tool_filter and not any(fnmatchcase(tool.name, glob) for glob in config.tool_filter):
            continue
        try:
            if tool.name in found:
                raise UnusableToolError("another tool of the server has the same name")
            if len(found) >= config.max_tools:
                raise UnusableToolError(f"only {config.max_tools} are; set tool_filter, or raise max_tools")
            found[tool.name] = tool_of(tool, config.prefix + tool.name)
        except UnusableToolError as error:
            refuse(tool.name, str(error))
    return found


async def _pages(client: Client) -> list[Tool]:
    tools: list[Tool] = []  # bound: MAX_PAGES
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools


@asynccontextmanager
async def sifted(transport: Transport, refuse: Refuse) -> AsyncGenerator[TransportStreams]:
    """Open a transport whose lists of tools have only those that the SDK can read."""
    async with transport as (read, write):
        yield _Sifted(read, refuse), write


class _Sifted:
    """A stream of what the server says."""

    def __init__(self, stream: ReadStream[_Item], refuse: Refuse) -> None:
        self._stream = stream
        self._refuse = refuse

    @property
    def last_context(self) -> object:
        """What the SDK reads beside each message, if the stream has it."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> _Item:
        return self._sift(await self._stream.receive())

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Item:
        return self._sift(await self._stream.__anext__())

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stream.__aexit__(kind, error, traceback)

    def _sift(self, item: _Item) -> _Item:
        result = getattr(getattr(item, "message", None), "result", None)
        if isinstance(result, dict) and isinstance(tools := result.get("tools"), list):
            result["tools"] = [tool for tool in tools if self._is_readable(tool)]
        return item

    def _is_readable(self, tool: Any) -> bool:
        reason = _problem(tool)
        if reason is None:
            return True
        name = tool.get("name") if isinstance(tool, dict) else None
        self._refuse(name if isinstance(name, str) else "(without a name)", reason)
        return False


def _problem(tool: Any) -> str | None:
    from mcp_types import Tool

    try:
        Tool.model_validate(tool, by_name=False)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        return f"{place}: {first['msg']}"
    kind = tool["inputSchema"].get("type")
    return None if kind == "object" else f"its schema is of type {kind!r:.80}, not an object"
