"""Web sockets as uvicorn serves them, which the application can write to without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, override

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

if TYPE_CHECKING:
    from starlette.websockets import WebSocket
    from websockets.http11 import Request

__all__ = ["SocketProtocol", "sender_of"]

_EXTENSION = "roomkit.write_text"
"""The key, among the extensions of an ASGI connection, of a function that writes a text frame."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """Gives the application a function that writes a frame to the socket while its buffer has room.

    A frame for a thousand sockets is made once, and costs each of them no coroutine, no parsing of an ASGI
    message and no encoding.
    """

    @override
    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # the application is called in a later step of the loop
            self.scope["extensions"][_EXTENSION] = {"write": self.write_text}

    def write_text(self, data: bytes) -> bool:
        """Write a text frame of UTF-8; False where `send` has to wait, or says that the client is gone."""
        if not self.handshake_complete or self.disconnected or self.close_sent or self.conn.extensions:
            return False
        if not self.writable.is_set() or self.conn.state is not State.OPEN or self.transport.is_closing():
            return False
        self.transport.write(_framed(data))
        return True


class _Framed:
    """Makes the frame of a text; the sockets of a room are sent the same text one after the other."""

    def __init__(self) -> None:
        self._data = self._frame = b""

    def __call__(self, data: bytes) -> bytes:
        """Return a frame as every client gets it: a server masks nothing (RFC 6455, section 5.1)."""
        if data is not self._data or not self._frame:
            self._data, self._frame = data, Frame(Opcode.TEXT, data).serialize(mask=False)
        return self._frame


_framed = _Framed()


class _Sender:
    """Sends text to a socket, by its server's own function where that can write at once."""

    def __init__(self, socket: WebSocket, write_text: Callable[[bytes], bool]) -> None:
        self._send = socket.send_text
        self.write_text = write_text

    async def __call__(self, text: str) -> None:
        await self._send(text)


def sender_of(socket: WebSocket) -> Any:  # Any: one of two kinds of function of a text
    """Return what sends text to a socket; it writes without waiting behind a server that can."""
    extension = socket.scope.get("extensions", {}).get(_EXTENSION)
    return socket.send_text if extension is None else _Sender(socket, extension["write"])
