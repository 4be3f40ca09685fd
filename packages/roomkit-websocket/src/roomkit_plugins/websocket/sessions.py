"""Sessions of clients that connect through a web framework, and what those of one channel share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypedDict, Unpack

from roomkit.abc.errors import InvalidInputError
from roomkit.models.base import new_id
from roomkit.models.values import is_key
from roomkit_plugins.websocket.allowance import ClientLimits
from roomkit_plugins.websocket.protocol import Latest, encode
from roomkit_plugins.websocket.session import Session
from roomkit_plugins.websocket.transport import FunctionTransport

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.kernel.kit import RoomKit

__all__ = ["SessionOptions", "Sessions"]

_FAREWELL = 2.0


class SessionOptions(TypedDict, total=False):
    """Limits of a session, as `WebSocketServer` has them, with its defaults."""

    frames_per_second: float
    """What one connection may send on average; all of a participant together twice that. Default 50."""
    frame_burst: int
    """How many frames it may send at once. Default 100."""
    max_refused: int
    """So many refused frames, and one more each second, end the connection. Default 100."""
    max_frame_bytes: int
    """A longer frame ends the connection. Default 65536."""
    max_replay: int
    """Events that a resume sends at once. Default 1000."""


class Sessions:
    """Opens the sessions of one channel; closing it closes those that are left."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._limits: dict[tuple[float, int, int], ClientLimits] = {}  # bound: what the program gives
        self._encode = Latest(encode)
        self._open: set[Session] = set()

    @asynccontextmanager
    async def open(
        self,
        kit: RoomKit,
        room_id: str,
        participant_id: str | None,
        send: Callable[[str], Awaitable[object]],
        close: Callable[[int, str], Awaitable[object]],
        after: int | str | None,
        **options: Unpack[SessionOptions],
    ) -> AsyncIterator[Session]:
        """Serve one client; see `WebSocketChannel.session`."""
        channel_id = self._channel.channel_id
        if kit.get_channel(channel_id) is not self._channel:
            raise InvalidInputError(
                f"channel {channel_id!r} is not registered with this kit: register it first"
            )
        if participant_id is not None and not is_key(participant_id):
            raise InvalidInputError(
                f"{participant_id!r} cannot be a participant id: give a text of at most 850 bytes of UTF-8"
            )
        max_replay = options.get("max_replay", 1000)
        if max_replay < 1:
            raise InvalidInputError(
                f"max_replay is {max_replay}: a client that resumes gets at least one event"
            )
        session = Session(
            kit,
            channel_id,
            room_id,
            participant_id,
            FunctionTransport(kit, send, close),
            new_id(),
            after=after,
            encode=self._encode,
            max_replay=max_replay,
            max_frame_bytes=options.get("max_frame_bytes", 65_536),
            limits=self._limits_for(kit, options).of(participant_id, asyncio.get_running_loop().time()),
        )
        self._open.add(session)
        try:
            async with session:
                yield session
        finally:
            self._open.discard(session)

    def _limits_for(self, kit: RoomKit, options: SessionOptions) -> ClientLimits:
        """Return the limits that sessions with the same options share."""
        numbers = (
            options.get("frames_per_second", 50.0),
            options.get("frame_burst", 100),
            options.get("max_refused", 100),
        )
        if numbers not in self._limits:
            self._limits[numbers] = ClientLimits(*numbers, kit.settings.inbound_rate_limit)
        return self._limits[numbers]

    async def close(self) -> None:
        """Close the sockets of the sessions that are left, together, within two seconds."""
        if self._open:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await asyncio.gather(*(session.end() for session in self._open))
