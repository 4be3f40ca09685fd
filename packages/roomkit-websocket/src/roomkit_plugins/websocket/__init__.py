"""WebSocket channel for RoomKit: live connections, streaming, resume."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.websocket.channel import WebSocketChannel as WebSocketChannel
    from roomkit_plugins.websocket.config import WebSocketChannelConfig as WebSocketChannelConfig
    from roomkit_plugins.websocket.frames import SendFn as SendFn
    from roomkit_plugins.websocket.frames import StreamChunk as StreamChunk
    from roomkit_plugins.websocket.frames import StreamEnd as StreamEnd
    from roomkit_plugins.websocket.frames import StreamError as StreamError
    from roomkit_plugins.websocket.frames import StreamMessage as StreamMessage
    from roomkit_plugins.websocket.frames import StreamSendFn as StreamSendFn
    from roomkit_plugins.websocket.frames import StreamStart as StreamStart
    from roomkit_plugins.websocket.frames import WritesAtOnce as WritesAtOnce
    from roomkit_plugins.websocket.protocol import FrameError as FrameError
    from roomkit_plugins.websocket.serve import WebSocketServer as WebSocketServer
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "FrameError": "protocol",
            "SendFn": "frames",
            "StreamChunk": "frames",
            "StreamEnd": "frames",
            "StreamError": "frames",
            "StreamMessage": "frames",
            "StreamSendFn": "frames",
            "StreamStart": "frames",
            "WebSocketChannel": "channel",
            "WebSocketChannelConfig": "config",
            "WebSocketServer": "serve",
            "WritesAtOnce": "frames",
        },
    )
