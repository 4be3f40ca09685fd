"""Where a message belongs: the room that it names, that its channel knows, or that the router finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.attributes import mistyped
from roomkit.abc.channel import Channel
from roomkit.abc.errors import RoomKitError
from roomkit.authoring.coroutines import may_wait
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.contract import OPTIONAL_TEXT, owner_of, type_of
from roomkit.kernel.flow.merged import followed
from roomkit.kernel.inbound.claims import Home
from roomkit.kernel.inbound.recall import Recall
from roomkit.kernel.inbound.replies import Replies, may_attach
from roomkit.kernel.inbound.routing import DefaultInboundRoomRouter
from roomkit.kernel.runtime.supervisor import broken
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import AutoAttach, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.telemetry import Attr, SpanKind

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from roomkit.abc.router import InboundRoomRouter
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.tracing import ConfiguredTelemetry


__all__ = ["RoomFinder"]


class RoomFinder:
    """Finds the room of a message, within one organization's; nothing is claimed or made."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        tracing: ConfiguredTelemetry | None,
        supervisor: Supervisor,
        events: FrameworkEvents,
        router: InboundRoomRouter,
        replies: Replies,
        organization_id: str | None,
    ) -> None:
        self._store = store
        self._tracing = tracing
        self._supervisor = supervisor
        self._events = events
        self.router = router
        self._replies = replies
        self._organization_id = organization_id

    async def named(self, message: InboundMessage) -> str | None:
        """Return the room that a message or its session names, if it takes messages by that channel."""
        for room_id in (message.room_id, getattr(message.session, "room_id", None)):
            if not isinstance(room_id, str):
                continue
            record = await self._store.load(room_id)
            if record is not None and record.status is RoomStatus.CLOSED:
                room_id, record = await self.merged((room_id, record), None)
            if record is not None and self._takes(record, message.channel_id):
                return room_id
        return None

    async def merged(self, home: Home, key: str | None) -> Home:
        """Return a closed room, or the one that it was merged into."""
        record = home[1]
        if record is None or record.room.merged_into is None:
            return home
        room = await followed(self._store, record.room)
        return room.id, await self._store.load(room.id, recent=RECENT_EVENTS, key=key)

    def owns(self, record: RoomRecord | None) -> bool:
        """Whether a room is this organization's, or not there yet."""
        return record is None or record.room.organization_id == self._organization_id

    def _takes(self, record: RoomRecord, channel_id: str) -> bool:
        """Whether a room that is named takes messages that come by a channel."""
        room = record.room
        if not record.status.is_open or channel_id in room.detached_channels:
            return False
        if self._organization_id is not None and not self.owns(record):
            return False
        return channel_id in record.bindings or room.auto_attach is not AutoAttach.NONE

    async def known(self, message: InboundMessage, channel: Channel) -> str | None:
        """Return the room that the channel knows the message to be for."""
        name = f"route of channel {message.channel_id}"
        waits = may_wait(channel.route)
        try:
            routing: Awaitable[str | None] = channel.route(message)
            room_id = await (self._supervisor.call(routing, name) if waits else routing)
        except (RoomKitError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever a channel raises is its failure
            if waits and not isinstance(error, Exception):
                raise
            raise broken(name, error, "return None for a room that is not known") from error
        if room_id is not None and type(room_id) is not str:
            raise mistyped(owner_of(message.channel_id), "what route() returned", room_id, OPTIONAL_TEXT)
        if room_id is None or self._organization_id is None:
            return room_id
        room = await self._store.get_room(room_id, organization_id=self._organization_id)
        return None if room is None else room_id

    async def _route(self, message: InboundMessage, channel: Channel) -> str | None:
        router = self.router
        is_foreign = type(router) is not DefaultInboundRoomRouter
        try:
            routing = router.route(
                message.channel_id,
                type_of(channel, message.channel_id),
                message.conversation or message.sender_id,
                message=message,
            )
            if is_foreign:
                routing = self._supervisor.call(routing, f"router {type(router).__name__}")
            if self._tracing is not None:
                routing = self._traced_route(self._tracing, message, routing)
            found = await routing
        except RoomKitError:
            raise
        except Exception as error:  # a foreign router may raise anything
            if not is_foreign:
                raise
            advice = "return None for a sender who has no room"
            raise broken(f"router {type(router).__name__}", error, advice) from error
        if found is not None and type(found) is not str:
            raise mistyped(f"router {type(router).__name__}", "what route() returned", found, OPTIONAL_TEXT)
        if found is None and self._events.wants("routing_ambiguous"):
            others = await self._store.find_room_ids_by_channel(message.channel_id, limit=1)
            if others:
                self._events.emit(
                    "routing_ambiguous", channel_id=message.channel_id, sender_id=message.sender_id
                )
        return found

    async def _traced_route(
        self, tracing: ConfiguredTelemetry, message: InboundMessage, routing: Awaitable[str | None]
    ) -> str | None:
        with tracing.span(SpanKind.ROUTE, SpanKind.ROUTE.value, channel_id=message.channel_id) as span:
            found = await routing
            if found is not None:
                tracing.set_attribute(span, Attr.ROOM_ID, found)
            return found

    async def routed(
        self, message: InboundMessage, channel: Channel, key: str | None, recall: Recall | None
    ) -> Home | None:
        """Return the room that the kit's router finds, from memory if it may be; None for a new one."""
        room_id = await self._route(message, channel)
        if room_id is None:
            return None
        if recall is not None and (recalled := recall.home(room_id, message.channel_id)) is not None:
            return recalled
        record = await self._store.load(room_id, recent=RECENT_EVENTS, key=key)
        if record is not None and record.status is RoomStatus.CLOSED:
            room_id, record = await self.merged((room_id, record), key)
        if record is None:
            return room_id, None
        if not record.status.is_open or message.channel_id in record.room.detached_channels:
            return None
        if message.channel_id in record.bindings:
            return room_id, record
        if record.room.auto_attach is AutoAttach.ALL:
            return room_id, record
        may_come = may_attach(record, channel) and await self._replies.knows(record, message, channel)
        return (room_id, record) if may_come else None

    async def first(self, key: str | None) -> RoomEvent | None:
        """Return the event of a redelivered message, though its room takes no messages now."""
        if key is None:
            return None
        return await self._store.find_keyed_event(key, organization_id=self._organization_id)
