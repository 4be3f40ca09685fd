"""An MCP server on its standard streams, for the tests that start a program."""

from __future__ import annotations

import os

from mcp.server.mcpserver import MCPServer

server = MCPServer("program", log_level="ERROR")


@server.tool()
def variable(name: str) -> str:
    """Return a variable of the environment."""
    return os.environ.get(name, "unset")


if __name__ == "__main__":
    server.run("stdio")
