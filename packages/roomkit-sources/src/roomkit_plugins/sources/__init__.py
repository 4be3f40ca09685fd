"""Event-driven sources for RoomKit: web sockets and server-sent events."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.sources.config import SSESourceConfig as SSESourceConfig
    from roomkit_plugins.sources.config import WebSocketSourceConfig as WebSocketSourceConfig
    from roomkit_plugins.sources.errors import SourceBrokenError as SourceBrokenError
    from roomkit_plugins.sources.errors import SourceNotConnectedError as SourceNotConnectedError
    from roomkit_plugins.sources.sse import SSESource as SSESource
    from roomkit_plugins.sources.websocket import WebSocketSource as WebSocketSource
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "SSESource": "sse",
            "SSESourceConfig": "config",
            "SourceBrokenError": "errors",
            "SourceNotConnectedError": "errors",
            "WebSocketSource": "websocket",
            "WebSocketSourceConfig": "config",
        },
    )
