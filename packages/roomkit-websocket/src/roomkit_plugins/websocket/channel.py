"""The channel of live connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from roomkit.abc.channel import Channel, TextStream
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.models.base import new_id, utcnow
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import Access, ChannelMediaType, ChannelType
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from roomkit_plugins.websocket.connection import Connection, FanOut
from roomkit_plugins.websocket.frames import (
    StreamChunk,
    StreamEnd,
    StreamError,
    StreamErrorCode,
    StreamStart,
)

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit_plugins.websocket.frames import SendFn, StreamSendFn
    from roomkit_plugins.websocket.serve import WebSocketServer

__all__ = ["WebSocketChannel"]

_CAPABILITIES = ChannelCapabilities(
    media_types=(
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
        ChannelMediaType.LOCATION,
    ),
    supports_typing=True,
    supports_read_receipts=True,
    supports_reactions=True,
    supports_edit=True,
    supports_delete=True,
    supports_rich_text=True,
    supports_media=True,
    supports_audio=True,
    supports_video=True,
    supports_buttons=True,
    supports_cards=True,
    supports_quick_replies=True,
)


class _Audience:
    """Who sees a room: everyone, and of them those that see answers grow and those that do not."""

    __slots__ = ("everyone", "plain", "streaming")

    def __init__(self, everyone: Sequence[Connection]) -> None:
        self.everyone = tuple(everyone)
        self.streaming = tuple(one for one in everyone if one.stream_send_fn is not None)
        self.plain = tuple(one for one in everyone if one.stream_send_fn is None)


_NOBODY = _Audience(())


class _Live:
    """An answer that is being shown, and its text so far, for those who join meanwhile."""

    __slots__ = ("pieces", "start")

    def __init__(self, start: StreamStart) -> None:
        self.start = start
        self.pieces: list[str] = []  # bound: the answer itself


class WebSocketChannel(Channel):
    """People on live connections, such as web sockets. The web framework is the caller's.

    A connection is an id and the functions that write to it. It gets the events of the rooms it is
    subscribed to, and of no other: one registered without a room follows the channel as long as the
    channel is attached to exactly one, and after that sees nothing until it subscribes, or until a
    message that came by it (`InboundMessage.connection_id`) names a room. That is told once, as the
    framework event `connection_unrouted`.

    What came by a connection is shown to the channel's other connections, but never to one that may
    be its sender's: with a `connection_id` all others get it, without one those of another
    participant.

    Sends are concurrent between connections and in order for each. One that is not done at once
    goes on in the background for up to `send_timeout` seconds while at most `backlog` frames wait
    behind it. What is late, overflows, or fails `max_failures` times in a row is evicted, which is
    told as `channel_disconnected` with the reason `timeout`, `overflow` or `failures`. Being evicted
    or unregistered cancels the send under way, so that its owner can close the socket.

    Use it from one event loop. Raises InvalidInputError for settings that cannot work.
    """

    channel_type = ChannelType.WEBSOCKET
    delivers_to_source = True

    def __init__(
        self,
        channel_id: str,
        *,
        send_timeout: float = 5.0,
        backlog: int = 1000,
        max_failures: int = 3,
    ) -> None:
        super().__init__(channel_id)
        for name, value in (
            ("send_timeout", send_timeout),
            ("backlog", backlog),
            ("max_failures", max_failures),
        ):
            if not value > 0:
                raise InvalidInputError(f"{name} is {value!r}; give it a positive number")
        self._fan_out = FanOut(
            self._supervise,
            self._evict,
            send_timeout=send_timeout,
            backlog=backlog,
            max_failures=max_failures,
        )
        self._connections: dict[str, Connection] = {}  # bound: what the caller registered
        self._members: dict[str, dict[str, Connection]] = {}  # bound: subscriptions
        self._followers: dict[str, Connection] = {}  # bound: connections
        self._attached: set[str] = set()
        self._audiences: dict[str, _Audience] = {}  # bound: rooms with connections
        self._streams: dict[str, dict[str, _Live]] = {}  # bound: answers under way
        self._unsupervised: set[asyncio.Task[None]] = set()
        self._evicted = 0

    # -- what it is ---------------------------------------------------------------------------

    @property
    def info(self) -> dict[str, Any]:
        """How many connections there are, and how many were evicted so far."""
        return {"connection_count": len(self._connections), "evicted": self._evicted}

    @property
    def connection_count(self) -> int:
        """How many connections are registered."""
        return len(self._connections)

    def capabilities(self) -> ChannelCapabilities:
        """Return that everything but threads and templates is carried, at any length."""
        return _CAPABILITIES

    # -- connections --------------------------------------------------------------------------

    def register_connection(
        self,
        connection_id: str,
        send_fn: SendFn,
        *,
        stream_send_fn: StreamSendFn | None = None,
        room_id: str | None = None,
        participant_id: str | None = None,
    ) -> None:
        """Begin to send to a connection; one of the same id is replaced, and keeps nothing.

        `send_fn` gets events. `stream_send_fn` gets answers while they are generated; without it
        the connection gets each answer once, complete. `participant_id` is who is at the other end,
        as verified by the caller. Raises InvalidInputError for an empty id or what cannot be called.
        """
        if not connection_id:
            raise InvalidInputError("a connection id cannot be empty: use a text of your own, such as a UUID")
        for name, fn in (("send_fn", send_fn), ("stream_send_fn", stream_send_fn or send_fn)):
            if not callable(fn):
                raise InvalidInputError(f"{name} of connection {connection_id!r} is {fn!r}, not a function")
        if (before := self._connections.get(connection_id)) is not None:
            self._forget(before)
        connection = Connection(connection_id, send_fn, stream_send_fn, participant_id, roams=room_id is None)
        self._connections[connection_id] = connection
        if room_id is not None:
            self._join(connection, room_id)
        else:
            self._followers[connection_id] = connection
            self._audiences.clear()
            self._guide((connection,))

    def unregister_connection(self, connection_id: str, send_fn: SendFn | None = None) -> bool:
        """Stop sending to a connection; False when there is none of that id.

        With `send_fn`, only if it is still the one registered: a late goodbye of a connection that
        was replaced does nothing to its successor.
        """
        connection = self._connections.get(connection_id)
        if connection is None or (send_fn is not None and connection.send_fn != send_fn):
            return False
        self._forget(connection)
        return True

    def subscribe(self, connection_id: str, room_id: str) -> None:
        """Send the events of a room to a connection, from now on. Raises InvalidInputError.

        Of an answer that is being generated in the room it gets the text so far, then the rest.
        """
        connection = self._connections.get(connection_id)
        if connection is None:
            raise InvalidInputError(
                f"channel {self.channel_id!r} has no connection {connection_id!r}: register_connection first"
            )
        self._join(connection, room_id)

    def unsubscribe(self, connection_id: str, room_id: str) -> bool:
        """Send no more of a room's events to a connection; False when it got none."""
        connection = self._connections.get(connection_id)
        if connection is None or room_id not in connection.rooms:
            return False
        self._part(connection, room_id)
        return True

    def serve(self, kit: RoomKit, **options: Any) -> WebSocketServer:
        """Return a socket server for this channel, yet to be started; see `WebSocketServer`."""
        from roomkit_plugins.websocket.serve import WebSocketServer

        return WebSocketServer(kit, self.channel_id, **options)

    def _join(self, connection: Connection, room_id: str) -> None:
        if room_id in connection.rooms:
            return
        watched = connection.follows and self._only_room == room_id
        if connection.follows:
            connection.follows = False
            self._followers.pop(connection.id, None)
            self._audiences.clear()
        connection.rooms.add(room_id)
        self._members.setdefault(room_id, {})[connection.id] = connection
        self._audiences.pop(room_id, None)
        if not watched:
            self._catch_up(connection, room_id)

    def _part(self, connection: Connection, room_id: str) -> None:
        connection.rooms.discard(room_id)
        members = self._members[room_id]
        del members[connection.id]
        if not members:
            del self._members[room_id]
        self._audiences.pop(room_id, None)

    def _forget(self, connection: Connection) -> None:
        connection.drop()
        if self._connections.get(connection.id) is not connection:
            return
        del self._connections[connection.id]
        for room_id in tuple(connection.rooms):
            self._part(connection, room_id)
        if connection.follows:
            del self._followers[connection.id]
            self._audiences.clear()

    def _evict(self, connection: Connection, reason: str) -> None:
        if connection.gone:
            return
        self._forget(connection)
        self._evicted += 1
        if self.services is not None:
            self.services.report(
                "channel_disconnected",
                channel_id=self.channel_id,
                connection_id=connection.id,
                reason=reason,
            )

    # -- rooms --------------------------------------------------------------------------------

    @property
    def _only_room(self) -> str | None:
        """The room that connections without one of their own follow."""
        return next(iter(self._attached)) if len(self._attached) == 1 else None

    async def update_binding(self, room_id: str, binding: ChannelBinding) -> None:
        """Learn which rooms the channel serves."""
        known = len(self._attached)
        if binding.access is Access.NONE:
            self._attached.discard(room_id)
        else:
            self._attached.add(room_id)
        if len(self._attached) != known:
            if self._followers:
                self._audiences.clear()
            self._guide(tuple(self._followers.values()), were=known)

    def _guide(self, followers: Sequence[Connection], were: int = 0) -> None:
        """Show followers what goes on in the room there now is, or tell that they lost their way."""
        rooms = len(self._attached)
        if rooms == 1:
            for connection in followers:
                self._catch_up(connection, next(iter(self._attached)))
        elif rooms > 1 >= were and self.services is not None:
            for connection in followers:
                self.services.report(
                    "connection_unrouted",
                    channel_id=self.channel_id,
                    connection_id=connection.id,
                    reason=f"the channel serves {rooms} rooms: register the connection with a room_id, "
                    "or subscribe it",
                )

    def _audience(self, room_id: str) -> _Audience:
        audience = self._audiences.get(room_id)
        if audience is None:
            everyone = [*self._members.get(room_id, {}).values()]
            if self._followers and self._only_room == room_id:
                everyone += self._followers.values()
            if not everyone:
                return _NOBODY
            audience = self._audiences[room_id] = _Audience(everyone)
        return audience

    # -- events -------------------------------------------------------------------------------

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make the event of a message; subscribe the connection it came by, if that has no room."""
        room_id = context.room_id
        if message.connection_id is not None:
            connection = self._connections.get(message.connection_id)
            if connection is not None and connection.roams:
                self._join(connection, room_id)
        return _EVENT.replace(
            id=new_id(),
            room_id=room_id,
            type=message.event_type,
            source=_SOURCE.replace(
                channel_id=self.channel_id,
                participant_id=message.sender_id or None,
                connection_id=message.connection_id,
                external_id=message.external_id,
                provider_message_id=message.provider_message_id,
                raw_payload=message.raw_payload,
            ),
            content=message.content,
            visibility=message.visibility or "all",
            response_visibility=message.response_visibility,
            addressed_to=message.addressed_to,
            parent_event_id=message.parent_event_id,
            idempotency_key=message.idempotency_key,
            created_at=utcnow() if self.services is None else self.services.clock.now(),
            metadata=message.metadata,
            channel_data=_channel_data(message),
        )

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Send `event` to the room's connections; never waits for one.

        Skipped as `no_connections` when there is none it may go to. Raises ProviderError when
        every one of them failed at once.
        """
        connections = self._audience(binding.room_id).everyone
        if event.source.channel_id == self.channel_id:
            connections = _not_the_senders(connections, event.source)
        if not connections:
            return ChannelOutput.skipped("no_connections")
        if not self._fan_out.send(connections, event):
            raise ProviderError(
                f"none of the {len(connections)} connections of channel {self.channel_id!r} in room "
                f"{binding.room_id!r} took the event: their send functions failed",
                error_code=ErrorCode.INVALID_RECIPIENT,  # not the provider's fault: other rooms go on
            )
        return ChannelOutput.empty()

    # -- answers while they are generated -----------------------------------------------------

    @property
    def supports_streaming_delivery(self) -> bool:
        """Whether any connection can show an answer while it is generated."""
        return any(connection.stream_send_fn is not None for connection in self._connections.values())

    def can_stream(self, binding: ChannelBinding) -> bool:
        """Return whether any connection of that room can show an answer while it is generated."""
        return bool(self._audience(binding.room_id).streaming)

    async def deliver_stream(
        self, text_stream: TextStream, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Show an answer while it is generated: a start, the pieces, and one end or error, whatever comes.

        Who joins meanwhile gets a start and the text so far. Connections without a `stream_send_fn`
        get the committed event alone.
        """
        room_id, stream_id = binding.room_id, text_stream.id
        live = _Live(StreamStart(room_id, stream_id, event.source, stream_id))
        self._streams.setdefault(room_id, {})[stream_id] = live
        send = self._fan_out.send
        send(self._audience(room_id).streaming, live.start)
        try:
            async for text in text_stream:
                live.pieces.append(text)
                send(self._audience(room_id).streaming, StreamChunk(room_id, stream_id, text))
        except asyncio.CancelledError:
            self._end(live, text_stream.event, "answer_cancelled")
            raise
        except Exception:
            self._end(live, text_stream.event, "answer_failed")
            raise
        return self._end(live, text_stream.event, "answer_withheld")

    def _end(self, live: _Live, event: RoomEvent | None, why_not: StreamErrorCode) -> ChannelOutput:
        """End a stream with the committed event, or say why there is none."""
        room_id, stream_id = live.start.room_id, live.start.stream_id
        streams = self._streams[room_id]
        del streams[stream_id]
        if not streams:
            del self._streams[room_id]
        audience = self._audience(room_id)
        if event is None:
            self._fan_out.send(audience.streaming, StreamError(room_id, stream_id, why_not))
            return ChannelOutput.skipped("nothing_committed")
        taken = self._fan_out.send(audience.streaming, StreamEnd(room_id, stream_id, event))
        taken += self._fan_out.send(audience.plain, event)
        return ChannelOutput.empty() if taken else ChannelOutput.skipped("no_connections")

    def _catch_up(self, connection: Connection, room_id: str) -> None:
        """Show a connection the answers that are being generated in a room it has just joined."""
        if connection.stream_send_fn is None:
            return
        for stream_id, live in tuple(self._streams.get(room_id, {}).items()):
            self._fan_out.send((connection,), live.start)
            if live.pieces:
                text = "".join(live.pieces)
                self._fan_out.send((connection,), StreamChunk(room_id, stream_id, text))

    # -- the end ------------------------------------------------------------------------------

    def _supervise(self, task: asyncio.Task[None], name: str) -> None:
        if self.services is not None:
            self.services.spawn(_see_to(task), name=name)
        else:  # not registered with a kit: the loop would not keep the task alive
            self._unsupervised.add(task)
            task.add_done_callback(self._unsupervised.discard)

    async def close(self) -> None:
        """Forget every connection; the sockets are their owners' to close. Idempotent."""
        for connection in tuple(self._connections.values()):
            self._forget(connection)
        self._attached.clear()
        self._audiences.clear()


async def _see_to(task: asyncio.Task[None]) -> None:
    """Be there until `task` has ended, and end it when cancelled."""
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        raise


def _not_the_senders(connections: Sequence[Connection], source: EventSource) -> tuple[Connection, ...]:
    """Return the connections that are known not to be where an event came from."""
    if (sender := source.connection_id) is not None:
        return tuple(one for one in connections if one.id != sender)
    if (person := source.participant_id) is None:
        return ()
    return tuple(one for one in connections if one.participant_id not in (None, person))


# Copied from, so that nothing that was validated already is validated again.
_SOURCE = EventSource.model_construct(channel_id="", channel_type=ChannelType.WEBSOCKET)
_NO_CHANNEL_DATA = ChannelData.model_construct()
_EVENT = RoomEvent.model_construct(
    id="",
    room_id="",
    source=_SOURCE,
    content=TextContent.model_construct(body=""),
    created_at=datetime.min,
    channel_data=_NO_CHANNEL_DATA,
)


def _channel_data(message: InboundMessage) -> ChannelData:
    if message.external_id is None and message.thread_id is None:
        return _NO_CHANNEL_DATA
    return _NO_CHANNEL_DATA.replace(external_id=message.external_id, thread_id=message.thread_id)
