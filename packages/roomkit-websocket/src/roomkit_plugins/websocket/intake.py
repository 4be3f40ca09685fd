"""The socket of one client: what it sends is parsed a little at a time, between other work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, override

from websockets.asyncio.server import ServerConnection
from websockets.frames import DATA_OPCODES, Frame

from roomkit_plugins.websocket.allowance import Allowance

if TYPE_CHECKING:
    from websockets.protocol import Event

__all__ = ["ClientSocket"]

_SLICE = 2048
"""Bytes parsed at once: some three hundred of the smallest frames, in a few milliseconds."""
_PINGS_PER_SECOND = 20.0
_PINGS_AT_ONCE = 100.0


class ClientSocket(ServerConnection):
    """A connection that takes in a slice at a time.

    One read of the transport may bring 256 KiB, which is tens of thousands of tiny frames: the library
    would parse all of them before anything else gets a turn. A client that sends more pings or pongs than
    anyone needs is cut off.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # Any: the library's own arguments
        super().__init__(*args, **options)
        self._unparsed = bytearray()  # bound: two reads of the transport
        self._feeding: asyncio.Handle | None = None
        self._pings = Allowance(_PINGS_PER_SECOND, _PINGS_AT_ONCE, self.loop.time())

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.recv_messages.resume = self._go_on

    @override
    def data_received(self, data: bytes) -> None:
        if not self._unparsed and len(data) <= _SLICE:
            super().data_received(data)
            return
        self._unparsed += data
        self.transport.pause_reading()
        if not self.recv_messages.paused:
            self._feed_soon()

    def _feed_soon(self) -> None:
        if self._feeding is None:
            self._feeding = self.loop.call_soon(self._feed)

    def _feed(self) -> None:
        self._feeding = None
        piece = bytes(self._unparsed[:_SLICE])
        del self._unparsed[:_SLICE]
        super().data_received(piece)
        if not self.recv_messages.paused:
            self._go_on()

    def _go_on(self) -> None:
        """Accept more, once the accepted frames are read."""
        if self._unparsed:
            self._feed_soon()
        else:
            self.transport.resume_reading()

    @override
    def eof_received(self) -> None:
        self._parse_rest()
        super().eof_received()

    def _parse_rest(self) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
            self._feeding = None
        rest = bytes(self._unparsed)
        self._unparsed.clear()
        if rest:
            super().data_received(rest)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._unparsed.clear()
        super().connection_lost(exc)

    @override
    def process_event(self, event: Event) -> None:
        is_control = isinstance(event, Frame) and event.opcode not in DATA_OPCODES
        if is_control and self._pings.take(self.loop.time()):
            self.transport.abort()
        else:
            super().process_event(event)
