"""One client of a channel: what it missed, then what happens, and what it says."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from roomkit.abc.errors import (
    ForeignCodeError,
    KitClosedError,
    ParticipantBannedError,
    ParticipantRemovedError,
    RoomKitError,
)
from roomkit.abc.log import get_logger
from roomkit.models.event import RoomEvent
from roomkit.models.visibility import is_shown
from roomkit_plugins.websocket.admission import CLOSED, LOST, Lost, index_in, room_as_it_is
from roomkit_plugins.websocket.namesakes import OwnIds
from roomkit_plugins.websocket.protocol import (
    FrameError,
    More,
    ack_frame,
    ephemeral_frame,
    error_frame,
    more_frame,
    parse,
    ready_frame,
)
from roomkit_plugins.websocket.transport import TransportClosed

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.services import Excerpt
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.models.realtime import EphemeralEvent
    from roomkit_plugins.websocket.allowance import Limits
    from roomkit_plugins.websocket.frames import Frame
    from roomkit_plugins.websocket.transport import Transport

__all__ = ["Session"]

_log = get_logger("roomkit.websocket.server")
_HELD = 1000
_ANSWERS = 64
_CODE = re.compile(r"[a-z][a-z_]*")
_NEXT_STEPS = {
    "rate_limited": "wait for retry_after seconds, then send it again",
    "process_timeout": "send it again with the same client_id",
    "internal_error": "send it again with the same client_id",
    "kit_closed": "connect again",
    "invalid_index": "connect again with the index of the last event you have, or with -1",
}
_GOING_AWAY, _POLICY_VIOLATION, _TOO_BIG = 1001, 1008, 1009
_PATIENCE = 5.0
"""Seconds that a client has to read why it is closed."""
_ENDS = (TransportClosed, KitClosedError, ParticipantBannedError, ParticipantRemovedError, Lost)
"""Reasons that end a connection orderly."""
_TURN = 4
"""Frames of one client that are taken in before others have their turn."""
_NO_NEXT_STEP = "nothing was stored; sending it again unchanged will not help"


@runtime_checkable
class _Listening(Protocol):
    """A channel whose connections see what other workers commit, as `WebSocketChannel` does."""

    async def listening(self, room_id: str) -> None: ...


class Session:
    """Writes to one socket, and receives its frames, for as long as it is entered.

    Entering sends `ready`, then missed events, then new ones. Between the registration and the end of the
    replay live frames are held back, so that a client that resumes sees every event once and in order. A
    client that missed more than `max_replay` events is not registered until it has asked for the rest, part
    by part.

    Each frame and each page of a replay is judged by the room's record at that time. A connection without a
    right to its room is sent the reason and closed with 1008; `is_over` is true then, and further frames are
    ignored. A client's errors are never raised.
    """

    def __init__(
        self,
        kit: RoomKit,
        channel_id: str,
        room_id: str,
        participant_id: str | None,
        transport: Transport,
        connection_id: str,
        *,
        after: object,
        encode: Callable[[Frame], bytes],
        max_replay: int,
        limits: Limits,
        max_frame_bytes: float = inf,
        is_admitted: bool = False,
    ) -> None:
        self._kit = kit
        self._channel_id = channel_id
        self._room_id = room_id
        self._participant_id = participant_id
        self._transport = transport
        self._connection_id = connection_id
        self._after = after
        self._own_ids = OwnIds(participant_id or connection_id)
        self._encode = encode
        self._max_replay = max_replay
        self._limits = limits
        self._max_frame_bytes = max_frame_bytes
        self._is_admitted = is_admitted
        self._channel = kit.get_channel(channel_id)
        self.is_over = False
        """Whether the connection was closed from this side, or its client was found to be gone."""
        self._taken = 0
        self._subscription: str | None = None
        self._held: deque[Frame] | None = None  # bound: _HELD, kept by _hold
        self._replayed = -1
        self._answers: deque[str] = deque(maxlen=_ANSWERS)
        """Ids of the last answers replayed: they are not shown again as streams that come late."""
        self._asks_for_more = False

    @property
    def connection_id(self) -> str:
        """The id of the connection, which its client knows too."""
        return self._connection_id

    async def __aenter__(self) -> Self:
        try:
            await self._enter()
        except BaseException:  # raised again: parts entered so far are left
            await self._leave()
            raise
        return self

    async def _enter(self) -> None:
        try:
            await self._open()
        except _ENDS as reason:
            await self._conclude(reason)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._leave()

    async def receive(self, data: str | bytes) -> None:
        """Take in one frame of the client, and answer it: one after the other, in the order they came.

        Other work gets its turn between frames, however many there are. Raises nothing for what a client
        sends; after the end of the connection it does nothing.
        """
        if self.is_over:
            return
        try:
            await self._take(data)
        except _ENDS as reason:
            await self._conclude(reason)
        self._taken += 1
        if not self._taken % _TURN:
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Close the socket, because the server goes away: the client may connect again and resume."""
        self.is_over = True
        await self._transport.close(_GOING_AWAY, "the server is closing")

    async def _conclude(self, reason: Exception) -> None:
        """End the connection for one of `_ENDS`."""
        match reason:
            case KitClosedError():
                await self.end()
            case ParticipantBannedError() | ParticipantRemovedError():
                await self._dismiss(reason.code)
            case Lost():
                await self._dismiss(str(reason))
            case _:
                self.is_over = True

    async def _open(self) -> None:
        after = index_in(self._after)
        if not self._is_admitted:
            if self._limits.wait(asyncio.get_running_loop().time()):
                raise Lost("rate_limited")  # connecting again gains a participant nothing
            await room_as_it_is(self._channel_now(), self._room_id, self._participant_id, may_return=True)
        await self._join()
        latest = (await self._read()).latest_index
        await self._greet(latest, after)
        self._subscription = await self._kit.subscribe_room(
            self._room_id, self.signal, as_channel=self._channel_id
        )
        await self._go_on(None if after is None or after > latest else after)

    async def _leave(self) -> None:
        await self._kit.disconnect_websocket(self._channel_id, self._connection_id)
        if self._subscription is not None:
            await self._kit.unsubscribe_room(self._subscription)

    async def _join(self) -> None:
        """Have what happens sent here, from now on, and hold it back."""
        kit, room_id, channel_id = self._kit, self._room_id, self._channel_id
        self._held = deque()  # bound: _HELD, kept by _hold
        send = _Writer(self) if self._transport.writes_at_once else self.send
        await kit.connect_websocket(
            channel_id,
            self._connection_id,
            send,
            stream_send_fn=send,
            close_fn=self.dropped,
            room_id=room_id,
            participant_id=self._participant_id,
        )
        channel: object = kit.get_channel(channel_id)
        if isinstance(channel, _Listening):
            await channel.listening(room_id)

    def _channel_now(self) -> Channel | None:
        """Return the channel the client connected to; None once it is unregistered, whatever has its id."""
        channel = self._channel
        return channel if channel is self._kit.get_channel(self._channel_id) else None

    async def _read(self, after: int | None = None) -> Excerpt:
        """Return the room and a page of its events as they are now. Raises Lost."""
        excerpt = await room_as_it_is(self._channel_now(), self._room_id, self._participant_id, after=after)
        self._own_ids.read(excerpt)
        return excerpt

    # -- the end ------------------------------------------------------------------------------

    async def dropped(self, _connection_id: str, reason: str) -> None:
        """Close the socket of a connection that the channel dropped."""
        if reason in LOST:
            await self._dismiss(reason)
        else:
            self._abort()  # too slow to read an error

    async def _dismiss(self, code: str) -> None:
        """Send why the connection has no right to its room, and close it; cut it off if it does not read."""
        self.is_over = True
        next_step = _NEXT_STEPS.get(code, "connect to a room you may enter")
        with suppress(TransportClosed, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._write(error_frame(code, CLOSED[code], next_step=next_step))
                await self._shut(code)

    def _abort(self) -> None:
        """Cut off a client that does not read; it resumes from where it was."""
        self.is_over = True
        self._transport.abort()

    async def _shut(self, code: str) -> None:
        self.is_over = True
        await self._transport.close(_POLICY_VIOLATION, f"{code}: {CLOSED[code]}")

    # -- to the client ------------------------------------------------------------------------

    async def send(self, _connection_id: str, frame: Frame) -> None:
        """Write a frame, or keep it until the client has the earlier events."""
        if self._held is not None:
            self._hold(frame, self._held)
        elif self._replayed < 0 or not self._was_replayed(frame):
            try:
                await self._transport.send(self._encode(frame))
            except TransportClosed:
                await self._gone()
            except asyncio.CancelledError:
                self._abort()  # evicted: a write under way is aborted
                raise

    def write(self, frame: Frame) -> bool:
        """Write a frame without waiting; False where `send` has to."""
        if self._held is not None or (self._replayed >= 0 and self._was_replayed(frame)):
            return False
        return self._transport.write(self._encode(frame))

    def _hold(self, frame: Frame, held: deque[Frame]) -> None:
        if len(held) >= _HELD:
            self._abort()  # the client resumes from where it was
            raise ConnectionError("too much happened while the client was catching up")
        held.append(frame)

    async def _gone(self) -> None:
        """Unregister the connection. Raises ConnectionError.

        So the delivery has not failed: there is no connection, and the client resumes from where it was.
        """
        self.is_over = True
        await self._kit.disconnect_websocket(self._channel_id, self._connection_id)
        raise ConnectionError("the client is gone")

    async def signal(self, event: EphemeralEvent) -> None:
        """Write another participant's signal; none while the connection waits to be asked for more."""
        if self._asks_for_more:  # it is not registered, so that a change of its rights does not reach it
            return
        if event.user_id in self._own_ids and event.channel_id in (None, self._channel_id):
            return
        with suppress(TransportClosed):
            await self._write(ephemeral_frame(event))

    async def _write(self, data: bytes) -> None:
        if self._transport.write(data):
            return
        try:
            await self._transport.send(data)
        except asyncio.CancelledError:
            self._abort()  # evicted: a write under way is aborted
            raise

    async def _greet(self, latest: int, after: int | None) -> None:
        await self._write(
            ready_frame(
                room_id=self._room_id,
                participant_id=self._participant_id,
                connection_id=self._connection_id,
                index=latest,
            )
        )
        if after is not None and after > latest:
            await self._write(
                error_frame(
                    "index_ahead",
                    f"the newest event of this room has the index {latest}, not {after}",
                    next_step="forget what you have of this room and connect again with after=-1",
                )
            )

    async def _go_on(self, after: int | None) -> None:
        """Send the events after an index, then those held back, then live ones."""
        if after is not None and not await self._replay(after):
            self._held = None
            await self._kit.disconnect_websocket(self._channel_id, self._connection_id)
            self._asks_for_more = True
            latest = (await self._read()).latest_index
            await self._write(more_frame(after=self._replayed, index=latest))
            return
        while self._held:
            frame = self._held.popleft()
            if not self._was_replayed(frame):
                await self._write(self._encode(frame))
        self._held = None

    async def _replay(self, after: int) -> bool:
        """Send the events after an index; False when there are more than are sent at once."""
        self._replayed = after
        left = self._max_replay
        while (excerpt := await self._read(self._replayed)).events:
            for event in excerpt.events:
                if self._is_for_client(event, excerpt.binding):
                    if not left:
                        return False
                    left -= 1
                    await self._write(self._encode(event))
                    if event.generation is not None:
                        self._answers.append(event.id)
                self._replayed = event.index
        return True

    def _is_for_client(self, event: RoomEvent, binding: ChannelBinding) -> bool:
        """Whether the client may see an event, by the channel's binding as it is now.

        The timeline is read as the channel, which may see all that came by it; this client may see
        what it said itself, and of the others what they said to the channel; nothing while the channel
        may not read.
        """
        source = event.source
        mine = source.participant_id in self._own_ids and source.channel_id == binding.channel_id
        return is_shown(event.replace(visibility="all") if mine else event, binding)

    def _was_replayed(self, frame: Frame) -> bool:
        if isinstance(frame, RoomEvent):
            return 0 <= frame.index <= self._replayed
        return frame.stream_id in self._answers

    # -- from the client ----------------------------------------------------------------------

    async def _take(self, data: str | bytes) -> None:
        if len(data) > self._max_frame_bytes:
            self.is_over = True
            await self._transport.close(_TOO_BIG, f"frame_too_long: {CLOSED['frame_too_long']}")
            return
        now = asyncio.get_running_loop().time()
        retry_after = self._limits.take(now)
        if retry_after and self._limits.refusals.take(now):
            await self._shut("rate_limited")
            return
        try:
            message = parse(
                data,
                channel_id=self._channel_id,
                connection_id=self._connection_id,
                participant_id=self._participant_id,
                room_id=self._room_id,
            )
        except FrameError as error:
            await self._not_read(error, counted=bool(retry_after))
            return
        if retry_after:
            await self._limit(message, retry_after)
            return
        if self._channel_now() is None:
            raise Lost("channel_not_attached")
        if isinstance(message, More):
            await self._more(message)
            return
        try:
            result = await self._kit.process_inbound(
                message, room_id=self._room_id, wait="committed", make_room=False
            )
        except KitClosedError:
            raise
        except ForeignCodeError:
            _log.exception("a message by connection %s failed", self._connection_id)
            await self._refuse(message, "internal_error")
        except RoomKitError as error:
            _log.info("a message by connection %s was refused: %s", self._connection_id, error)
            await self._refuse(message, error.code)
            if error.code in LOST:
                await self._shut(error.code)
        except Exception:  # noqa: BLE001  # one message must not end the connection; the log has it
            _log.exception("a message by connection %s failed", self._connection_id)
            await self._refuse(message, "internal_error")
        else:
            if result.event is not None and not result.blocked:
                self._own_ids.spoke(result.event)
            await self._answer(message, result)

    async def _not_read(self, error: FrameError, *, counted: bool) -> None:
        """Report a bad frame; it counts as one that is refused, unless it was `counted` so."""
        if not counted and self._limits.refusals.take(asyncio.get_running_loop().time()):
            await self._shut("unreadable_frames")
            return
        await self._write(
            error_frame(error.frame_code, str(error), next_step=error.next_step, client_id=error.client_id)
        )

    async def _limit(self, message: InboundMessage | More, retry_after: float) -> None:
        client_id = None if isinstance(message, More) else message.external_id
        await self._write(
            error_frame(
                "rate_limited",
                "too many frames",
                next_step=_NEXT_STEPS["rate_limited"],
                client_id=client_id,
                retry_after=retry_after,
            )
        )

    async def _more(self, wish: More) -> None:
        if not self._asks_for_more:
            await self._write(
                error_frame(
                    "nothing_more",
                    "nothing is being held back",
                    next_step="send more only after a frame of that type",
                )
            )
            return
        self._asks_for_more = False
        await self._read()  # who was removed since then is not made active again by asking for more
        await self._join()
        after = self._replayed  # never back: no event is sent twice
        if wish.after is not None and wish.after > after:
            after = min(wish.after, (await self._read()).latest_index)
        await self._go_on(after)

    async def _answer(self, message: InboundMessage, result: InboundResult) -> None:
        if result.blocked:
            reason = result.reason or "blocked"
            if reason == "rate_limited":
                await self._limit(message, result.retry_after or 0.0)
            elif reason in LOST:
                await self._refuse(message, reason, LOST[reason])
                await self._shut(reason)
            elif _CODE.fullmatch(reason):
                await self._refuse(message, reason)
            else:  # the words of a hook, for the sender
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


class _Writer:
    """Writes to the client of a session, at once where that can be."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    async def __call__(self, connection_id: str, frame: Frame) -> None:
        await self._session.send(connection_id, frame)

    def write(self, _connection_id: str, frame: Frame) -> bool:
        return self._session.write(frame)
