"""How a session writes to its client, whatever the web framework."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from roomkit.abc.channel import WritesText
from roomkit.abc.log import get_logger

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit

__all__ = ["FunctionTransport", "Transport", "TransportClosed"]

_log = get_logger("roomkit.websocket.server")
_TRY_AGAIN_LATER = 1013


class TransportClosed(Exception):
    """Nothing can be sent: the client is gone, or its socket was closed."""


class Transport(Protocol):
    """One client's socket."""

    writes_at_once: bool
    """Whether `write` can write."""

    def write(self, data: bytes) -> bool:
        """Write one text frame of UTF-8 now; False if that would have to wait, or the socket is closing."""

    async def send(self, data: bytes) -> None:
        """Write one text frame of UTF-8. Raises TransportClosed, at once where the socket is closing."""

    async def close(self, code: int, reason: str) -> None:
        """Close the socket with a close frame; never raises."""

    def abort(self) -> None:
        """Cut off a client that does not read; it resumes from where it was."""


def _write_fn(send: object) -> Callable[[bytes], bool] | None:
    return send.write_text if isinstance(send, WritesText) else None


class FunctionTransport:
    """A socket of a web framework, as the two functions that write to it and close it.

    One frame is written at a time. A function that raises has met a client that is gone.
    """

    def __init__(
        self,
        kit: RoomKit,
        send: Callable[[str], Awaitable[object]],
        close: Callable[[int, str], Awaitable[object]],
    ) -> None:
        self._kit = kit
        self._send = send
        self._write = _write_fn(send)
        self.writes_at_once = self._write is not None
        self._close = close
        self._is_writing = False
        self._waiting: deque[asyncio.Future[None]] = deque()  # bound: who writes to one client
        self._is_open = True

    def write(self, data: bytes) -> bool:
        """Write one text frame now, where the framework can and no other one is being written."""
        return self._write is not None and self._is_open and not self._is_writing and self._write(data)

    async def send(self, data: bytes) -> None:
        """Write one text frame of UTF-8. Raises TransportClosed."""
        if self._is_writing:
            await self._turn()
        self._is_writing = True
        try:
            if self._is_open:
                await self._send(data.decode())
                return
        except Exception as error:  # frameworks raise errors of their own for a client that is gone
            self._is_open = False
            _log.info("a client is gone: %s", type(error).__name__)
            raise TransportClosed from error
        finally:
            self._next()
        raise TransportClosed

    async def _turn(self) -> None:
        """Wait for the frames that came before. An `asyncio.Lock` costs each socket three calls more."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()  # its turn had come
            raise

    def _next(self) -> None:
        """Have the next frame written that still waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._is_writing = False

    async def close(self, code: int, reason: str) -> None:
        """Close the socket with a close frame; never raises."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            await self._close(code, reason)
        except Exception as error:  # noqa: BLE001  # as in send: then there is nothing to close
            _log.info("a socket could not be closed: %s", type(error).__name__)

    def abort(self) -> None:
        """Close the socket in the background: the framework ends one whose client does not read."""
        if self._is_open:
            closing = self.close(_TRY_AGAIN_LATER, "too_slow: connect again and resume")
            self._kit.spawn(closing, name="close a socket that is too slow")
