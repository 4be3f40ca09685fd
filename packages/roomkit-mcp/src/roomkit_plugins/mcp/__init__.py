"""Tools of MCP servers for agents of RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.mcp.config import MCPConfig as MCPConfig
    from roomkit_plugins.mcp.errors import MCPToolError as MCPToolError
    from roomkit_plugins.mcp.errors import MCPUnavailableError as MCPUnavailableError
    from roomkit_plugins.mcp.provider import MCPToolProvider as MCPToolProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "MCPConfig": "config",
            "MCPToolError": "errors",
            "MCPToolProvider": "provider",
            "MCPUnavailableError": "errors",
        },
    )
