"""The channel of live connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Unpack, override

from roomkit.abc.channel import Channel
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.text_stream import TextStream, text_stream_of
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.enums import Access, ChannelType
from roomkit_plugins.websocket.audience import Connections, without_sender
from roomkit_plugins.websocket.background import Background
from roomkit_plugins.websocket.capabilities import CAPABILITIES
from roomkit_plugins.websocket.connection import Connection, FanOut
from roomkit_plugins.websocket.display import Display, all_failed
from roomkit_plugins.websocket.following import FollowedRooms
from roomkit_plugins.websocket.live import LiveAnswers
from roomkit_plugins.websocket.namesakes import names_of_sender
from roomkit_plugins.websocket.rights import Rights
from roomkit_plugins.websocket.streaming import Streaming

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit_plugins.websocket.frames import CloseFn, SendFn, StreamSendFn
    from roomkit_plugins.websocket.serve import WebSocketServer
    from roomkit_plugins.websocket.session import Session
    from roomkit_plugins.websocket.sessions import SessionOptions, Sessions

__all__ = ["WebSocketChannel"]


class WebSocketChannel(Channel):
    """People on live connections, such as web sockets. The web framework is the caller's.

    A connection is an id and the functions that write to it. It gets the events of the rooms it is subscribed
    to, and of no other: one registered without a room follows the channel as long as the channel is attached
    to exactly one, and after that sees nothing until it subscribes, or until a message that came by it
    (`InboundMessage.connection_id`) names a room. That is reported once, as the framework event
    `connection_unrouted`.

    A message that came by a connection is shown to the channel's other connections, but never to one that may
    be its sender's: with a `connection_id` all others get it, without one those of another participant.

    Sends are concurrent between connections and in order for each. One that is not done at once goes on in
    the background for up to `send_timeout` seconds while at most `backlog` frames wait behind it. One that is
    late, overflows, or fails `max_failures` times in a row is evicted, which is reported as
    `channel_disconnected` with the reason `timeout`, `overflow` or `failures`. Being evicted or unregistered
    cancels the send under way, so that its owner can close the socket.

    A connection has no more than its rights: when its room is deleted or the channel detached from it
    (`room_not_found`), or its participant is removed from the room (`participant_removed`) or banned from it
    (`participant_banned`), on any worker, it gets nothing more of that room. If it has no other room it is
    dropped, and its `close_fn` called. `kit.connect_websocket` makes a removed participant active again;
    where connections are registered here, `kit.ensure_participant` does.

    Where the store is shared and the realtime backend reaches other processes, a room may have connections on
    several workers, and any of them may commit to it. The channel then follows the rooms of its connections
    (`Homes.follow`), so each connection still gets every event once and in order of index. Then register
    connections with a `room_id`: which rooms the channel is attached to is known only to the worker where
    that was done.

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
        background = Background(self)
        self._connections = Connections(channel_id, background, self._joined, self._left)
        self._fan_out = FanOut(
            background.supervise,
            self._connections.evict,
            send_timeout=send_timeout,
            backlog=backlog,
            max_failures=max_failures,
        )
        self._live = LiveAnswers()
        self._display = Display(channel_id, self._connections, self._fan_out, self._live)
        self._streaming = Streaming(self._display)
        self._rights = Rights(self, self._connections, self._display)
        self._sessions: Sessions | None = None
        self._followed: FollowedRooms | None = None

    @override
    def bind(self, services: Services) -> None:
        super().bind(services)
        if services.has_other_workers:
            self.follows_rooms = True
            self._followed = FollowedRooms(services, self._live, self._display, self._rights)

    @property
    def info(self) -> dict[str, Any]:
        """How many connections there are, and how many were evicted so far.

        With other workers also how many rooms are followed.
        """
        known = {"connection_count": len(self._connections), "evicted": self._connections.evicted}
        if self._followed is not None:
            known["rooms_followed"] = len(self._followed)
        return known

    @property
    def connection_count(self) -> int:
        """How many connections are registered."""
        return len(self._connections)

    def capabilities(self) -> ChannelCapabilities:
        """Return that everything but threads and templates is carried, at any length."""
        return CAPABILITIES

    def serve(self, kit: RoomKit, **options: Any) -> WebSocketServer:
        """Return a socket server for this channel, yet to be started; see `WebSocketServer`."""
        from roomkit_plugins.websocket.serve import WebSocketServer

        return WebSocketServer(kit, self.channel_id, **options)

    def session(
        self,
        kit: RoomKit,
        room_id: str,
        participant_id: str | None = None,
        *,
        send: Callable[[str], Awaitable[object]],
        close: Callable[[int, str], Awaitable[object]],
        after: int | str | None = None,
        **options: Unpack[SessionOptions],
    ) -> AbstractAsyncContextManager[Session]:
        """Serve one socket of your web framework: the protocol of `WebSocketServer`, and its resume.

        Accept the socket, enter the session, and hand each frame to `await session.receive(text)` until the
        socket ends. `send(text)` writes a text frame and is called once at a time; it may have a method
        that writes without waiting, see `WritesText` of `roomkit.abc`. `close(code, reason)` closes the
        socket. `participant_id` is who you verified the client to be; `after` is what the client
        says it has seen. One without a right to the room is sent the reason and closed with 1008, on entering
        or later. What a client does raises nothing; settings that cannot work raise InvalidInputError.
        """
        if self._sessions is None:
            from roomkit_plugins.websocket.sessions import Sessions  # what most channels never use

            self._sessions = Sessions(self)
        return self._sessions.open(kit, room_id, participant_id, send, close, after, **options)

    def register_connection(
        self,
        connection_id: str,
        send_fn: SendFn,
        *,
        stream_send_fn: StreamSendFn | None = None,
        close_fn: CloseFn | None = None,
        room_id: str | None = None,
        participant_id: str | None = None,
    ) -> None:
        """Begin to send to a connection.

        `send_fn` gets events. `stream_send_fn` gets answers while they are generated; without it the
        connection gets each answer once, complete. `close_fn` is called with a reason when the channel drops
        the connection by itself. `participant_id` is who is at the other end, as verified by the caller.

        A connection of the same id is replaced, and keeps nothing, if it is the same participant's; also
        where neither of the two names a participant or a room. Otherwise the id is another's: raises
        InvalidInputError, as for an empty id or a callback that cannot be called.
        """
        self._connections.register(connection_id, send_fn, stream_send_fn, close_fn, room_id, participant_id)

    def unregister_connection(self, connection_id: str, send_fn: SendFn | None = None) -> bool:
        """Stop sending to a connection; False when there is none of that id.

        With `send_fn`, only if it is still the one registered: a late goodbye of a connection that was
        replaced does nothing to its successor.
        """
        connection = self._connections.by_id.get(connection_id)
        if connection is None or (send_fn is not None and connection.send_fn != send_fn):
            return False
        self._connections.remove(connection)
        return True

    async def listening(self, room_id: str) -> None:
        """Wait until the room's connections here are shown whatever any worker commits from now on.

        For who sends a connection what it missed: register it, wait for this, read the timeline up to its
        end, and then release the events held for the connection, if their index is beyond that. Without other
        workers, or connections in that room, there is nothing to wait for. It waits for the store; and for
        the realtime backend for two seconds at most.
        """
        if self._followed is not None:
            await self._followed.listening(room_id)

    def subscribe(self, connection_id: str, room_id: str) -> None:
        """Send the events of a room to a connection, from now on. Raises InvalidInputError.

        A participant who turns out to be banned or removed is taken out of the room at once. Of an answer
        that is being generated in the room it gets the text so far, then the rest.
        """
        connection = self._connections.by_id.get(connection_id)
        if connection is None:
            raise InvalidInputError(
                f"channel {self.channel_id!r} has no connection {connection_id!r}: register_connection first"
            )
        self._connections.join(connection, room_id)
        if self.services is not None and connection.participant_id is not None:
            self.services.tasks.spawn(
                self._rights.look(room_id, for_bans=True), name=f"bans of room {room_id}"
            )

    def unsubscribe(self, connection_id: str, room_id: str) -> bool:
        """Send no more of a room's events to a connection; False when it got none."""
        connection = self._connections.by_id.get(connection_id)
        if connection is None or room_id not in connection.rooms:
            return False
        self._connections.part(connection, room_id)
        return True

    def _joined(self, connection: Connection, room_id: str, is_new: bool) -> None:
        if self._followed is not None:
            self._followed.watch(room_id)
        if is_new:
            self._display.catch_up(connection, room_id)

    def _left(self, room_ids: Sequence[str]) -> None:
        if self._followed is not None:
            self._followed.unwatch_soon(room_ids, unless=self._connections.are_in)

    async def update_participant(self, room_id: str, participant: Participant) -> None:
        """Drop the connections of a participant who was removed or banned."""
        self._rights.bar_departed(room_id, {participant.id: participant})

    async def update_rights(self, room_id: str) -> None:
        """Read what the connections to a room may do now that another worker changed it."""
        if self._followed is None:  # a room that is followed is read anyway
            await self._rights.look(room_id)

    async def update_binding(self, room_id: str, binding: ChannelBinding) -> None:
        """Learn which rooms the channel serves."""
        followed = self._connections.only_room
        if binding.access is Access.NONE:
            await self._rights.look(room_id)
            self._connections.detach(room_id)
        else:
            self._display.withhold(room_id, binding)
            self._connections.attach(room_id)
        self._left((room_id,) if followed is None else (room_id, followed))

    async def route(self, message: InboundMessage) -> str | None:
        """Return the room of the connection a message came by, if it has exactly one of its own."""
        connection = self._connections.by_id.get(message.connection_id or "")
        rooms = connection.rooms if connection is not None else ()
        return next(iter(rooms)) if len(rooms) == 1 else None

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make the event of a message; subscribe the connection it came by, if that has no room."""
        connection = self._connections.by_id.get(message.connection_id or "")
        if connection is not None and connection.roams:
            self._rights.let_in(connection, context.room_id, context.participants)
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Send `event` to the room's connections; never waits for one.

        Skipped as `no_connections` when there is none it may go to, or all turn out to be gone: a client gets
        by resuming what it missed. Raises ProviderError when every one of them failed at once.

        With other workers it is not called: connections on all of them get events by following the room, and
        a delivery is sent once it is announced.
        """
        connections: Sequence[Connection] = self._connections.audience(binding.room_id).everyone
        if event.source.channel_id == self.channel_id:
            names: Collection[str] = ()
            if event.source.connection_id is None:
                names = names_of_sender(event.source, context.participants, binding.addresses)
            connections = without_sender(connections, event.source, names)
        if not connections:
            return ChannelOutput.skipped("no_connections")
        if self._fan_out.send(connections, event):
            return ChannelOutput.empty()
        if all(connection.gone for connection in connections):
            return ChannelOutput.skipped("no_connections")
        raise all_failed(connections, self.channel_id, binding.room_id)

    @property
    def supports_streaming_delivery(self) -> bool:
        """Whether any connection, here or perhaps elsewhere, can show an answer while it is generated."""
        return self.follows_rooms or self._connections.has_streaming

    def can_stream(self, binding: ChannelBinding) -> bool:
        """Return whether any connection of that room can show an answer while it is generated.

        With other workers that cannot be known, so it is assumed.
        """
        return self.follows_rooms or bool(self._connections.audience(binding.room_id).streaming)

    async def deliver_stream(
        self, text_stream: TextStream, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Show an answer while it is generated: a start, the pieces, and one end or error, whatever comes.

        Who joins during it gets a start and the text so far. Connections without a `stream_send_fn` get the
        committed event alone. With other workers it is not called, as `deliver`.
        """
        return await self._streaming.run(text_stream_of(text_stream, event), event, binding.room_id)

    async def close(self) -> None:
        """Close the sockets of sessions, and forget every connection: others close theirs. Idempotent."""
        self._fan_out.finish()
        if self._sessions is not None:
            await self._sessions.close()
        self._connections.clear()
        if self._followed is not None:
            self._followed.close()
