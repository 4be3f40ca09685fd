"""The channel of live connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.channel import Channel, TextStream, text_stream_of
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError, RoomKitError
from roomkit.abc.log import get_logger
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.enums import Access, ChannelMediaType, ChannelType
from roomkit.models.participant import departed_senders
from roomkit.models.visibility import admits
from roomkit_plugins.websocket.connection import Connection, FanOut
from roomkit_plugins.websocket.frames import (
    StreamChunk,
    StreamEnd,
    StreamError,
    StreamErrorCode,
    StreamStart,
)
from roomkit_plugins.websocket.live import LiveAnswer, LiveAnswers

if TYPE_CHECKING:
    from roomkit.abc.services import ChannelServices, Excerpt
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import EventSource, RoomEvent
    from roomkit.models.participant import Participant
    from roomkit_plugins.websocket.frames import CloseFn, SendFn, StreamMessage, StreamSendFn
    from roomkit_plugins.websocket.serve import WebSocketServer
    from roomkit_plugins.websocket.workers import Workers

__all__ = ["WebSocketChannel"]

_log = get_logger("roomkit.websocket")

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

    A connection has no more than its rights: when its room is deleted or the channel detached from it
    (`room_not_found`), or its participant is removed from the room (`participant_removed`) or banned from it
    (`participant_banned`), on any worker, it gets nothing more of that room. If it has no other room it is
    dropped, and its `close_fn` called. `kit.connect_websocket` makes a removed participant active again;
    where connections are registered here, `kit.ensure_participant` does.

    Where the store is shared and the realtime backend reaches other processes, a room may have
    connections on several workers, and any of them may deliver to it. Each connection still gets every
    event once and in order of index: workers tell each other of events, larger ones by reference, and what
    is lost, doubled or overtaken on the way is put right from the store. A room that was quiet for
    `recheck_interval` seconds is compared with the store, at most fifty rooms a second. Then register
    connections with a `room_id`: which rooms the channel is attached to is known only to the worker
    where that was done.

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
        recheck_interval: float = 30.0,
    ) -> None:
        super().__init__(channel_id)
        for name, value in (
            ("send_timeout", send_timeout),
            ("backlog", backlog),
            ("max_failures", max_failures),
            ("recheck_interval", recheck_interval),
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
        self._live = LiveAnswers()
        self._workers: Workers | None = None
        self._recheck_interval = recheck_interval
        self._unsupervised: set[asyncio.Task[None]] = set()
        self._evicted = 0

    # -- what it is ---------------------------------------------------------------------------

    @property
    def info(self) -> dict[str, Any]:
        """How many connections there are, and how many were evicted so far.

        With other workers also how many rooms are listened to, and how many signals were not published.
        """
        known = {"connection_count": len(self._connections), "evicted": self._evicted}
        if self._workers is not None:
            known["rooms_listened_to"] = len(self._workers.watched)
            known["unpublished"] = self._workers.unpublished
        return known

    @override
    def bind(self, services: ChannelServices) -> None:
        super().bind(services)
        if services.has_other_workers:
            from roomkit_plugins.websocket.workers import Workers

            self._workers = Workers(
                self.channel_id,
                services,
                self._live,
                self._show,
                self._show_frame,
                self._judge,
                recheck_interval=self._recheck_interval,
            )

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
        close_fn: CloseFn | None = None,
        room_id: str | None = None,
        participant_id: str | None = None,
    ) -> None:
        """Begin to send to a connection.

        `send_fn` gets events. `stream_send_fn` gets answers while they are generated; without it
        the connection gets each answer once, complete. `close_fn` is called with a reason when the
        channel drops the connection by itself. `participant_id` is who is at the other end,
        as verified by the caller.

        A connection of the same id is replaced, and keeps nothing, if it is the same participant's; also
        where neither of the two names a participant or a room. Otherwise the id is another's: raises
        InvalidInputError, as for an empty id or what cannot be called.
        """
        if not connection_id:
            raise InvalidInputError("a connection id cannot be empty: use a text of your own, such as a UUID")
        for name, fn in (
            ("send_fn", send_fn),
            ("stream_send_fn", stream_send_fn or send_fn),
            ("close_fn", close_fn or send_fn),
        ):
            if not callable(fn):
                raise InvalidInputError(f"{name} of connection {connection_id!r} is {fn!r}, not a function")
        if (before := self._connections.get(connection_id)) is not None:
            self._replace(before, room_id, participant_id)
        connection = Connection(
            connection_id,
            send_fn,
            stream_send_fn,
            participant_id,
            close_fn=close_fn,
            roams=room_id is None,
        )
        self._connections[connection_id] = connection
        if room_id is not None:
            self._join(connection, room_id)
        else:
            self._followers[connection_id] = connection
            self._audiences.clear()
            self._guide((connection,))

    def _replace(self, before: Connection, room_id: str | None, participant_id: str | None) -> None:
        """Forget a connection whose id is registered again. Raises InvalidInputError for another's."""
        same = before.participant_id == participant_id
        nameless = participant_id is None and room_id is None and before.roams
        if not same or (participant_id is None and not nameless):
            raise InvalidInputError(
                f"connection id {before.id!r} is in use by another connection of channel "
                f"{self.channel_id!r}: use a new id for each connection, or unregister that one first"
            )
        self._forget(before)
        self._close(before, "replaced")

    async def listening(self, room_id: str) -> None:
        """Wait until the room's connections here are shown whatever any worker commits from now on.

        For who sends a connection what it missed: register it, wait for this, read the timeline up to
        its end, and then let through what came for the connection meanwhile, if its index is beyond
        that. Without other workers, or connections in that room, there is nothing to wait for. It
        waits for the store; and for the realtime backend for two seconds at most.
        """
        if self._workers is not None:
            await self._workers.listening(room_id)

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

        A participant who turns out to be banned or removed is taken out of the room at once. Of an answer
        that is being generated in the room it gets the text so far, then the rest.
        """
        connection = self._connections.get(connection_id)
        if connection is None:
            raise InvalidInputError(
                f"channel {self.channel_id!r} has no connection {connection_id!r}: register_connection first"
            )
        self._join(connection, room_id)
        if self.services is not None and connection.participant_id is not None:
            self.services.spawn(self._look(room_id, for_bans=True), name=f"bans of room {room_id}")

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
        if self._workers is not None:
            self._workers.watch(room_id)
        if not watched:
            self._catch_up(connection, room_id)

    def _part(self, connection: Connection, room_id: str) -> None:
        connection.rooms.discard(room_id)
        members = self._members[room_id]
        del members[connection.id]
        if not members:
            del self._members[room_id]
        self._audiences.pop(room_id, None)
        self._look_around((room_id,))

    def _look_around(self, room_ids: Sequence[str]) -> None:
        """Stop listening to rooms that nobody here follows any more, unless somebody comes at once."""
        if self._workers is not None:
            asyncio.get_running_loop().call_soon(self._unwatch, room_ids)

    def _unwatch(self, room_ids: Sequence[str]) -> None:
        assert self._workers is not None
        for room_id in room_ids:
            if not self._audience(room_id).everyone:
                self._workers.unwatch(room_id)

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
            self._look_around(tuple(self._attached))

    def _evict(self, connection: Connection, reason: str) -> None:
        if connection.gone:
            return
        self._forget(connection)
        self._evicted += 1
        self._report_gone(connection, reason)
        self._close(connection, reason)

    def _report_gone(self, connection: Connection, reason: str, room_id: str | None = None) -> None:
        if self.services is not None:
            self.services.report(
                "channel_disconnected",
                room_id=room_id,
                channel_id=self.channel_id,
                connection_id=connection.id,
                reason=reason,
            )

    def _close(self, connection: Connection, reason: str) -> None:
        """Have the owner of a connection that was dropped close it."""
        if connection.close_fn is None:
            return
        work = _closed(connection, connection.close_fn, reason)
        if self.services is not None:
            self.services.spawn(work, name=f"close connection {connection.id}")
        else:
            task = asyncio.Task(work)
            self._unsupervised.add(task)
            task.add_done_callback(self._unsupervised.discard)

    # -- rights -------------------------------------------------------------------------------

    def _judge(self, room_id: str, excerpt: Excerpt | None) -> None:
        """Drop the connections of a room that have no right to it, as the store has it now."""
        if excerpt is None:
            for connection in self._audience(room_id).everyone:
                self._bar(connection, room_id, "room_not_found")
            return
        self._withhold(room_id, excerpt.binding)
        if departed := departed_senders(excerpt.participants, self.channel_id, self.address_type):
            self._bar_departed(room_id, departed)

    def _bar_departed(self, room_id: str, departed: Mapping[str, str]) -> None:
        for connection in self._audience(room_id).everyone:
            if (reason := departed.get(connection.participant_id or "")) is not None:
                self._bar(connection, room_id, reason)

    def _withhold(self, room_id: str, binding: ChannelBinding) -> None:
        """End the answers under way that the channel may not see any more."""
        for live in self._live.of(room_id):
            if not _sees_live(binding, live):
                live.withheld = True
                self._live.end(room_id, live.start.stream_id)
                self._show_frame(room_id, StreamError(room_id, live.start.stream_id, "answer_withheld"))

    def _bar(self, connection: Connection, room_id: str, reason: str) -> None:
        """Show a connection nothing more of a room; drop it when it has no other."""
        if connection.rooms - {room_id}:
            self._part(connection, room_id)
            self._report_gone(connection, reason, room_id)
        else:
            self._evict(connection, reason)

    async def _look(self, room_id: str, *, for_bans: bool = False) -> None:
        """Read whether the room's connections have a right to it; `for_bans`, it may not be there yet."""
        if self.services is None or not self._audience(room_id).everyone:
            return
        try:
            excerpt = await self.services.read_timeline(room_id, self.channel_id)
        except RoomKitError:
            _log.warning(
                "rights in room %r could not be read; frames are still refused", room_id, exc_info=True
            )
            return
        if excerpt is not None or not for_bans:
            self._judge(room_id, excerpt)

    async def update_participant(self, room_id: str, participant: Participant) -> None:
        """Drop the connections of a participant who was removed or banned, here and on the other workers."""
        departed = departed_senders({participant.id: participant}, self.channel_id, self.address_type)
        if departed:
            self._bar_departed(room_id, departed)
            if self._workers is not None:
                self._workers.rebound(room_id)

    async def update_rights(self, room_id: str) -> None:
        """Read what the connections to a room may do now that another worker changed it."""
        if self._workers is not None:
            self._workers.renew(room_id)
        else:
            await self._look(room_id)

    # -- rooms --------------------------------------------------------------------------------

    @property
    def _only_room(self) -> str | None:
        """The room that connections without one of their own follow."""
        return next(iter(self._attached)) if len(self._attached) == 1 else None

    async def update_binding(self, room_id: str, binding: ChannelBinding) -> None:
        """Learn which rooms the channel serves."""
        known = len(self._attached)
        if binding.access is Access.NONE:
            await self._look(room_id)
            self._attached.discard(room_id)
        else:
            self._attached.add(room_id)
            self._withhold(room_id, binding)
        if len(self._attached) != known:
            if self._followers:
                self._audiences.clear()
            self._guide(tuple(self._followers.values()), were=known)
        if self._workers is not None:
            self._workers.rebound(room_id)
            self._look_around((room_id, *self._attached))

    def _guide(self, followers: Sequence[Connection], were: int = 0) -> None:
        """Show followers what goes on in the room there now is, or tell that they lost their way."""
        rooms = len(self._attached)
        if rooms == 1:
            if followers and self._workers is not None:
                self._workers.watch(next(iter(self._attached)))
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

    async def route(self, message: InboundMessage) -> str | None:
        """Return the room of the connection a message came by, if it has exactly one of its own."""
        connection = self._connections.get(message.connection_id) if message.connection_id else None
        rooms = connection.rooms if connection is not None else ()
        return next(iter(rooms)) if len(rooms) == 1 else None

    def _let_in(self, connection: Connection, context: RoomContext) -> None:
        """Subscribe a connection to the room of its message, unless its participant has no right to that."""
        if context.room_id in connection.rooms:
            return
        people = {participant.id: participant for participant in context.participants}
        if connection.participant_id not in departed_senders(people, self.channel_id, self.address_type):
            self._join(connection, context.room_id)

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make the event of a message; subscribe the connection it came by, if that has no room."""
        if message.connection_id is not None:
            connection = self._connections.get(message.connection_id)
            if connection is not None and connection.roams:
                self._let_in(connection, context)
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Send `event` to the room's connections; never waits for one.

        Skipped as `no_connections` when there is none it may go to, or all turn out to be gone: a client
        gets by resuming what it missed. Raises ProviderError when
        every one of them failed at once.

        With other workers, they are told of it in the background, and a connection here gets it in
        its place among theirs. What is said here is then of this worker alone: sent means that there
        are connections here, which have it or will have it next; where there are none, it is
        skipped as `no_connections_here`, whoever gets it elsewhere.
        """
        if self._workers is not None and event.index >= 0:
            return self._deliver_everywhere(event, binding)
        connections = self._audience(binding.room_id).everyone
        if event.source.channel_id == self.channel_id:
            connections = _not_the_senders(connections, event.source)
        if not connections:
            return ChannelOutput.skipped("no_connections")
        if self._fan_out.send(connections, event):
            return ChannelOutput.empty()
        if all(connection.gone for connection in connections):
            return ChannelOutput.skipped("no_connections")
        raise self._all_failed(len(connections), binding.room_id)

    def _deliver_everywhere(self, event: RoomEvent, binding: ChannelBinding) -> ChannelOutput:
        assert self._workers is not None
        connections = self._audience(binding.room_id).everyone
        if event.source.channel_id == self.channel_id:
            connections = _not_the_senders(connections, event.source)
        # A piece of a message that was split has the index of all of it.
        taken = self._workers.offer(event, whole=binding.capabilities.max_length is None)
        if not connections:
            return ChannelOutput.skipped("no_connections_here")
        if taken == 0 and all(connection.gone for connection in connections):
            return ChannelOutput.skipped("no_connections_here")
        if taken == 0:
            raise self._all_failed(len(connections), binding.room_id)
        return ChannelOutput.empty()

    def _all_failed(self, number: int, room_id: str) -> ProviderError:
        return ProviderError(
            f"none of the {number} connections of channel {self.channel_id!r} in room "
            f"{room_id!r} took the event: their send functions failed",
            error_code=ErrorCode.INVALID_RECIPIENT,  # not the provider's fault: other rooms go on
        )

    def _show(self, room_id: str, event: RoomEvent) -> int:
        """Send an event to the connections here it is for; it ends the answer it was shown as."""
        audience = self._audience(room_id)
        if self._live.end(room_id, event.id) is not None:
            taken = self._fan_out.send(audience.streaming, StreamEnd(room_id, event.id, event))
            return taken + self._fan_out.send(audience.plain, event)
        connections = audience.everyone
        if event.source.channel_id == self.channel_id:
            connections = _not_the_senders(connections, event.source)
        return self._fan_out.send(connections, event)

    def _show_frame(self, room_id: str, frame: StreamMessage) -> None:
        """Send a frame to the connections here that see answers grow."""
        self._fan_out.send(self._audience(room_id).streaming, frame)

    # -- answers while they are generated -----------------------------------------------------

    @property
    def supports_streaming_delivery(self) -> bool:
        """Whether any connection, here or perhaps elsewhere, can show an answer while it is generated."""
        return self._workers is not None or any(
            connection.stream_send_fn is not None for connection in self._connections.values()
        )

    def can_stream(self, binding: ChannelBinding) -> bool:
        """Return whether any connection of that room can show an answer while it is generated.

        With other workers that cannot be known, so it is assumed.
        """
        return self._workers is not None or bool(self._audience(binding.room_id).streaming)

    async def deliver_stream(
        self, text_stream: TextStream, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Show an answer while it is generated: a start, the pieces, and one end or error, whatever comes.

        Who joins meanwhile gets a start and the text so far. Connections without a `stream_send_fn`
        get the committed event alone. It grows on the connections of other workers too, in larger
        pieces; a piece that is lost on the way is made up for within seconds, and by the event.
        """
        text_stream = text_stream_of(text_stream, event)
        room_id, stream_id = binding.room_id, text_stream.id
        live = LiveAnswer(StreamStart(room_id, stream_id, event.source, stream_id), event.visibility)
        self._live.add(live)
        self._show_frame(room_id, live.start)
        workers, send = self._workers, self._fan_out.send
        if workers is not None:
            workers.begin(live)
        try:
            async for text in text_stream:
                if live.over:  # its event was shown already
                    continue
                live.pieces.append(text)
                send(self._audience(room_id).streaming, StreamChunk(room_id, stream_id, text))
                if workers is not None:
                    workers.grow(live, text)
        except asyncio.CancelledError:
            self._end(live, text_stream.event, "answer_cancelled")
            raise
        except Exception:
            self._end(live, text_stream.event, "answer_failed")
            raise
        return self._end(live, text_stream.event, "answer_withheld")

    def _end(self, live: LiveAnswer, event: RoomEvent | None, why_not: StreamErrorCode) -> ChannelOutput:
        """End a stream with the committed event, or say why there is none."""
        room_id, stream_id = live.start.room_id, live.start.stream_id
        if event is None:
            self._live.end(room_id, stream_id)
            self._show_frame(room_id, StreamError(room_id, stream_id, why_not))
            if self._workers is not None:
                self._workers.break_off(live, why_not)
            return ChannelOutput.skipped("nothing_committed")
        if self._workers is None and live.withheld:
            return ChannelOutput.skipped("read_access_lost")
        if self._workers is None:
            taken = self._show(room_id, event)
            return ChannelOutput.empty() if taken else ChannelOutput.skipped("no_connections")
        self._workers.finish(live, event)
        if self._audience(room_id).everyone:
            return ChannelOutput.empty()
        self._live.end(room_id, stream_id)
        return ChannelOutput.skipped("no_connections_here")

    def _catch_up(self, connection: Connection, room_id: str) -> None:
        """Show a connection the answers that are being generated in a room it has just joined."""
        if connection.stream_send_fn is None:
            return
        for live in self._live.of(room_id):
            self._fan_out.send((connection,), live.start)
            if live.pieces:
                self._fan_out.send((connection,), StreamChunk(room_id, live.start.stream_id, live.text))

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
        if self._workers is not None:
            await self._workers.close()
        self._attached.clear()
        self._audiences.clear()


def _sees_live(binding: ChannelBinding, live: LiveAnswer) -> bool:
    return binding.can_read and admits(live.visibility, binding.channel_id, binding.category)


async def _closed(connection: Connection, close_fn: CloseFn, reason: str) -> None:
    try:
        await close_fn(connection.id, reason)
    except Exception as error:  # noqa: BLE001  # it may raise anything: the connection is gone either way
        _log.info("closing connection %s failed: %s", connection.id, type(error).__name__)


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
