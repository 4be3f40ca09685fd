"""One client of `WebSocketServer`: what it missed, then what happens, and what it says."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed

from roomkit.abc.errors import KitClosedError, RoomKitError
from roomkit.models.enums import EventStatus
from roomkit.models.event import RoomEvent
from roomkit.models.visibility import admits
from roomkit_plugins.websocket.frames import StreamChunk, StreamStart
from roomkit_plugins.websocket.protocol import (
    FrameError,
    ack_frame,
    ephemeral_frame,
    error_frame,
    parse,
    ready_frame,
)

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

    from roomkit.kernel.kit import RoomKit
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.models.realtime import EphemeralEvent
    from roomkit_plugins.websocket.frames import Frame

__all__ = ["Session"]

_log = logging.getLogger("roomkit.websocket.server")
_PAGE = 100
_HELD = 1000
_CODE = re.compile(r"[a-z][a-z_]*")
_NEXT_STEPS = {
    "rate_limited": "wait a moment, then send it again",
    "process_timeout": "send it again with the same client_id",
    "internal_error": "send it again with the same client_id",
    "kit_closed": "connect again",
}
_NO_NEXT_STEP = "nothing was stored; sending it again unchanged will not help"


class Session:
    """Writes to one socket, and takes in what comes by it.

    Between the registration and the end of the replay live frames are held back, so that a client
    that resumes sees every event once and in order.
    """

    def __init__(
        self,
        kit: RoomKit,
        binding: ChannelBinding,
        socket: ServerConnection,
        connection_id: str,
        participant_id: str | None,
        encode: Callable[[Frame], bytes],
    ) -> None:
        self._kit = kit
        self._binding = binding
        self._socket = socket
        self._connection_id = connection_id
        self._participant_id = participant_id
        self._encode = encode
        self._held: deque[Frame] | None = deque()  # bound: _HELD, kept by send
        self._replayed = -1
        self._skipped: set[str] = set()  # bound: answers under way when the client came

    async def run(self, after: int | None) -> None:
        """Serve the client until it goes; `after` is the index of the last event it has seen."""
        kit, room_id, channel_id = self._kit, self._binding.room_id, self._binding.channel_id
        await kit.connect_websocket(
            channel_id,
            self._connection_id,
            self.send,
            stream_send_fn=self.send,
            room_id=room_id,
            participant_id=self._participant_id,
        )
        subscription: str | None = None
        try:
            subscription = await kit.subscribe_room(room_id, self.signal, as_channel=channel_id)
            await self._begin(after)
            async for data in self._socket:
                await self._take(data)
        except ConnectionClosed:
            pass
        except KitClosedError:
            await self._socket.close(1001, "the server is closing")
        finally:
            await kit.disconnect_websocket(channel_id, self._connection_id)
            if subscription is not None:
                await kit.unsubscribe_room(subscription)

    # -- to the client ------------------------------------------------------------------------

    async def send(self, _connection_id: str, frame: Frame) -> None:
        """Write a frame, or keep it until the client has what came before."""
        if self._held is not None:
            if len(self._held) >= _HELD:
                self._socket.transport.abort()  # the client resumes from where it was
                raise ConnectionError("too much happened while the client was catching up")
            self._held.append(frame)
        elif not self._was_replayed(frame):
            await self._write(self._encode(frame))

    async def signal(self, event: EphemeralEvent) -> None:
        """Write somebody else's signal."""
        if event.user_id == self._participant_id and event.channel_id in (None, self._binding.channel_id):
            return
        with suppress(ConnectionClosed):
            await self._write(ephemeral_frame(event))

    async def _write(self, data: bytes) -> None:
        try:
            await self._socket.send(data, text=True)
        except asyncio.CancelledError:
            self._socket.transport.abort()  # evicted: what was being written is broken off
            raise

    async def _begin(self, after: int | None) -> None:
        room = await self._kit.get_room(self._binding.room_id)
        await self._write(
            ready_frame(
                room_id=room.id,
                participant_id=self._participant_id,
                connection_id=self._connection_id,
                index=room.latest_index,
            )
        )
        if after is not None:
            await self._replay(after)
        while self._held:
            frame = self._held.popleft()
            if not self._was_replayed(frame):
                await self._write(self._encode(frame))
        self._held = None

    async def _replay(self, after: int) -> None:
        shown: set[str] = set()  # bound: one replay
        while page := await self._kit.get_timeline(
            self._binding.room_id, limit=_PAGE, after_index=after, as_channel=self._binding.channel_id
        ):
            for event in page:
                if self._is_for_client(event):
                    await self._write(self._encode(event))
                    shown.add(event.id)
            after = self._replayed = page[-1].index
        assert self._held is not None
        self._skipped = {frame.stream_id for frame in self._held if isinstance(frame, StreamStart)} & shown

    def _is_for_client(self, event: RoomEvent) -> bool:
        """Whether the client would have been shown the event, had it been there.

        The timeline is read as the channel, which may see all that came by it; this client may see
        what it said itself, and of the others what they said to the channel.
        """
        if event.status is EventStatus.BLOCKED:
            return False
        source, binding = event.source, self._binding
        if source.channel_id != binding.channel_id:
            return True
        mine = self._participant_id is not None and source.participant_id == self._participant_id
        return mine or admits(event.visibility, binding.channel_id, binding.category)

    def _was_replayed(self, frame: Frame) -> bool:
        if isinstance(frame, RoomEvent):
            return 0 <= frame.index <= self._replayed
        if frame.stream_id not in self._skipped:
            return False
        if not isinstance(frame, StreamStart | StreamChunk):
            self._skipped.discard(frame.stream_id)
        return True

    # -- from the client ----------------------------------------------------------------------

    async def _take(self, data: str | bytes) -> None:
        try:
            message = parse(
                data,
                channel_id=self._binding.channel_id,
                connection_id=self._connection_id,
                participant_id=self._participant_id,
            )
        except FrameError as error:
            await self._write(
                error_frame(
                    error.frame_code, str(error), next_step=error.next_step, client_id=error.client_id
                )
            )
            return
        try:
            result = await self._kit.process_inbound(message, room_id=self._binding.room_id, wait="committed")
        except KitClosedError:
            raise
        except RoomKitError as error:
            _log.info("a message by connection %s was refused: %s", self._connection_id, error)
            await self._refuse(message, error.code)
        except Exception:  # noqa: BLE001  # one message must not end the connection; the log has it
            _log.exception("a message by connection %s failed", self._connection_id)
            await self._refuse(message, "internal_error")
        else:
            await self._answer(message, result)

    async def _answer(self, message: InboundMessage, result: InboundResult) -> None:
        if result.blocked:
            reason = result.reason or "blocked"
            if _CODE.fullmatch(reason):
                await self._refuse(message, reason)
            else:  # the words of a hook, for whoever sent the message
                await self._refuse(message, "blocked", reason)
        elif result.event is not None and result.event.index >= 0:
            await self._write(
                ack_frame(result.event, client_id=message.external_id, duplicate=result.duplicate)
            )

    async def _refuse(
        self, message: InboundMessage, code: str, reason: str = "the message was not taken"
    ) -> None:
        await self._write(
            error_frame(
                code,
                reason,
                next_step=_NEXT_STEPS.get(code, _NO_NEXT_STEP),
                client_id=message.external_id,
            )
        )
