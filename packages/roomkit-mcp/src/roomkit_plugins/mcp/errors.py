"""Errors between an agent and an MCP server."""

from __future__ import annotations

from roomkit.abc.errors import RoomKitError

__all__ = ["MCPToolError", "MCPUnavailableError"]


class MCPUnavailableError(RoomKitError, ConnectionError):
    """There is no connection to an MCP server: it cannot be reached, or was lost.

    If it was lost during a call, the outcome of the call is unknown: it is not repeated.
    """

    code = "mcp_unavailable"


class MCPToolError(RoomKitError):
    """An MCP server refused a call, or answered with something that is not a result."""

    code = "mcp_tool_failed"
