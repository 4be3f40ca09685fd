"""The tools of an MCP server, as an agent's tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, override

from anyio import BrokenResourceError, ClosedResourceError
from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError, UnknownToolError
from roomkit.abc.log import get_logger
from roomkit.abc.tools import ProvidedTool, ToolOffer, ToolProvider
from roomkit.authoring.options import checked_options
from roomkit_plugins.mcp.config import MCPConfig
from roomkit_plugins.mcp.connection import ServerConnection
from roomkit_plugins.mcp.errors import MCPToolError, MCPUnavailableError
from roomkit_plugins.mcp.listing import listed
from roomkit_plugins.mcp.wire import result_of

if TYPE_CHECKING:
    import httpx2

    from mcp import Client, MCPError
    from roomkit.abc.ai import ToolHandler
    from roomkit.models.ai import AITool
    from roomkit.models.room import Room
    from roomkit.models.tool import ToolResult

__all__ = ["MCPToolProvider"]

logger = get_logger("roomkit.mcp")

NO_TIMEOUT = 86_400.0
"""Seconds for the SDK: deadlines of calls are kept here, so that a server is notified of cancellations."""
_SESSION_GONE = "Session terminated"
"""What the SDK says of an HTTP session that the server does not know any more: the call was not run."""


class MCPToolProvider(ToolProvider):
    """Offers the tools of one MCP server: `MCPToolProvider("https://tools.example/mcp")`.

    `server_url` is another name of `url`; the other options are the fields of `MCPConfig`, or one `config`.
    It connects in the background when it is started, or at first use, and again when a connection was lost,
    with growing pauses. While the server cannot be reached its known tools stay on offer, and calls of them
    fail. Changes of the server's list of tools take effect at the next turn. A call is made once: if the
    connection is lost during it, its outcome is unknown. Cancelling a call cancels it on the server.

    `http_client` replaces the one that is made from `headers`, for a proxy or certificates of your own; its
    maker closes it. Raises InvalidInputError for settings that no server could have.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        server_url: str | None = None,
        config: MCPConfig | None = None,
        http_client: httpx2.AsyncClient | None = None,
        **options: Any,  # the fields of MCPConfig, checked by it
    ) -> None:
        if config is None:
            config = checked_options(MCPConfig, {"url": url or server_url, **options})
        elif url or server_url or options:
            raise InvalidInputError("config has all settings of an MCP server; leave the others out")
        self._config = config
        self._tools: Mapping[str, ProvidedTool] = {}
        self._known = False
        self._listing = asyncio.Lock()
        self._disabled: dict[str, str] = {}  # bound: the server's tools
        self._disabled_before = self._disabled
        self._connection = ServerConnection(
            config, http_client=http_client, refuse=self._refuse, on_change=self._on_change
        )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a provider for the server at `url`."""
        return cls(url, **options)

    @property
    @override
    def name(self) -> str:
        """The server, without what may be secret."""
        return f"mcp:{self._config.label}"

    @property
    def handler(self) -> ToolHandler:
        """A handler of the server's tools, for `compose_tool_handlers`; usable before connecting.

        It raises UnknownToolError for a tool that the server does not have, or that it cannot be asked about.
        """
        return self._handle

    @property
    def tool_names(self) -> list[str]:
        """The names under which tools are offered, as far as the server was asked."""
        return [*self._tools]

    @property
    def disabled_tools(self) -> Mapping[str, str]:
        """The server's tools that are not offered, by their names there, each with the reason."""
        return dict(self._disabled)

    async def get_tools(self) -> list[AITool]:
        """Return the tools' definitions; connect if needed. Raises MCPUnavailableError."""
        return [tool.definition for tool in (await self._list()).values()]

    async def call_tool(
        self, name: str, arguments: Mapping[str, Any], *, timeout: float | None = None
    ) -> str:
        """Call a tool by its name on offer and return the text of its result.

        `timeout` in seconds replaces `call_timeout`. Raises MCPToolError for a result that is an error and
        for a call that the server refused, MCPUnavailableError, TimeoutError, and UnknownToolError.
        """
        await self._list()
        if name not in self._tools:
            raise UnknownToolError(f"the MCP server {self._config.label} has no tool {name!r}")
        result = await self._call(self._own_name(name), dict(arguments), timeout)
        if result.is_error:
            raise MCPToolError(result.text)
        return result.text

    @override
    async def start(self) -> None:
        """Start to connect, without waiting for it."""
        self._connection.begin()

    @override
    async def offer(self, room: Room) -> ToolOffer:
        """Return the server's tools; those it had when it was last asked, if it cannot be reached now.

        Raises MCPUnavailableError if it was never reached.
        """
        try:
            tools = await self._list()
        except MCPUnavailableError:
            if not self._tools:
                raise
            tools = self._tools
        return ToolOffer([*tools.values()])

    @override
    async def close(self) -> None:
        """End the connection, and the program that was started for it. A later use connects again."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        """Connect. Raises MCPUnavailableError."""
        await self._list()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the connection."""
        await self.close()

    async def _handle(self, name: str, arguments: dict[str, Any]) -> str | ToolResult:
        try:
            tools = await self._list()
        except MCPUnavailableError as error:
            if name not in self._tools:
                raise UnknownToolError(f"whether there is a tool {name!r} is not known: {error}") from error
            raise
        if name not in tools:
            raise UnknownToolError(f"the MCP server {self._config.label} has no tool {name!r}")
        result = await self._call(self._own_name(name), arguments)
        return result if result.images or result.is_error else result.text

    def _own_name(self, name: str) -> str:
        return name.removeprefix(self._config.prefix)

    def _on_change(self) -> None:
        self._known = False

    def _refuse(self, name: str, reason: str) -> None:
        """Take note of a tool that is not offered; warn unless the list before had the same."""
        if self._disabled_before.get(name) != reason and self._disabled.get(name) != reason:
            logger.warning("the tool %r of %s is not offered: %s", name, self._config.label, reason)
        self._disabled[name] = reason

    async def _list(self) -> Mapping[str, ProvidedTool]:
        """Return the tools by their names on offer; ask the server if they may have changed."""
        if self._known and self._connection.is_open:
            return self._tools
        async with self._listing:
            if not (self._known and self._connection.is_open):
                await self._ask()
        return self._tools

    async def _ask(self) -> None:
        client = await self._connection.client()
        self._known = True  # until a change is announced, perhaps while the list is being read
        self._disabled_before, self._disabled = self._disabled, {}
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                found = await listed(client, self._config, self._refuse)
        except asyncio.CancelledError:
            self._known = False
            raise
        except Exception as error:
            self._connection.drop(client)
            raise MCPUnavailableError(
                f"the MCP server {self._config.label} does not list its tools: {str(error) or 'no answer'}; "
                "the next turn asks again"
            ) from error
        self._tools = {
            tool.name: ProvidedTool(tool, partial(self._run, own), self._config.call_timeout)
            for own, tool in found.items()
        }

    async def _run(self, own_name: str, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Answer a call of an agent, which has its own deadline for it."""
        return await self._call(own_name, arguments)

    async def _call(
        self, own_name: str, arguments: dict[str, Any], timeout: float | None = None, *, again: bool = True
    ) -> ToolResult:
        from mcp import MCPError

        client = await self._connection.client()
        try:
            async with asyncio.timeout(timeout or self._config.call_timeout):
                result = await client.call_tool(own_name, arguments, read_timeout_seconds=NO_TIMEOUT)
        except MCPError as error:
            if again and error.message == _SESSION_GONE:
                self._connection.drop(client)
                return await self._call(own_name, arguments, timeout, again=False)
            raise self._failure(own_name, client, error) from error
        except TimeoutError:
            seconds = timeout or self._config.call_timeout
            raise TimeoutError(f"no answer of {self._config.label} in {seconds:g} s") from None
        except ValidationError as error:
            raise MCPToolError(f"{self._config.label} answered {own_name!r} with no valid result") from error
        except (OSError, ClosedResourceError, BrokenResourceError) as error:
            raise self._lost(own_name, client) from error
        return result_of(result)

    def _failure(self, own_name: str, client: Client, error: MCPError) -> MCPToolError | MCPUnavailableError:
        from mcp_types import CONNECTION_CLOSED

        if error.code == CONNECTION_CLOSED:
            return self._lost(own_name, client)
        return MCPToolError(f"{self._config.label} refused {own_name!r}: {error.message}")

    def _lost(self, own_name: str, client: Client) -> MCPUnavailableError:
        self._connection.drop(client)
        return MCPUnavailableError(
            f"the connection to {self._config.label} was lost while {own_name!r} ran: its outcome is "
            "unknown; the next call connects again"
        )
