"""Ephemeral signals: typing, presence, read marks, reactions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import checked
from roomkit.kernel.flow.permissions import may_write
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import EphemeralEventType, EventType
from roomkit.models.realtime import EphemeralEvent, InboundSignal
from roomkit.models.visibility import admits, narrowest

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import EphemeralCallback, RealtimeBackend
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.delivery.shown_signals import ShownSignals
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["EPHEMERAL", "InboundSignals"]

EPHEMERAL = frozenset(
    {EventType.TYPING, EventType.PRESENCE, EventType.READ_RECEIPT, EventType.DELIVERY_RECEIPT}
)
"""Event types that are shown once and never written to the timeline."""

_COVERED = 256
_FROM_OUTSIDE = {
    EphemeralEventType.TYPING_START: EventType.TYPING,
    EphemeralEventType.TYPING_STOP: EventType.TYPING,
    EphemeralEventType.READ_RECEIPT: EventType.READ_RECEIPT,
    EphemeralEventType.PRESENCE_ONLINE: EventType.PRESENCE,
    EphemeralEventType.PRESENCE_AWAY: EventType.PRESENCE,
    EphemeralEventType.PRESENCE_OFFLINE: EventType.PRESENCE,
    EphemeralEventType.CUSTOM: EventType.PRESENCE,
}
"""What an `InboundSignal` may say, and the type of such an event, by which its sender's rights are judged."""
_PRESENCE = {
    "online": EphemeralEventType.PRESENCE_ONLINE,
    "away": EphemeralEventType.PRESENCE_AWAY,
    "offline": EphemeralEventType.PRESENCE_OFFLINE,
}


class _Reader:
    """One channel of a room, as which any number subscribe: its binding is read once for each signal."""

    def __init__(self, store: ConversationStore, room_id: str, channel_id: str) -> None:
        self._store = store
        self._room_id = room_id
        self._channel_id = channel_id
        self._reading = asyncio.Lock()
        self._binding: ChannelBinding | None = None
        self._covered: dict[str, None] = {}  # bound: _COVERED
        """Ids of signals that came before the binding was last read."""

    async def sees(self, event: EphemeralEvent) -> bool:
        """Return whether the channel may see a signal, by its binding when that came or later."""
        async with self._reading:
            if event.id not in self._covered:
                self._binding = await self._store.get_binding(self._room_id, self._channel_id)
                self._covered[event.id] = None
                if len(self._covered) > _COVERED:
                    del self._covered[next(iter(self._covered))]
            binding = self._binding
        return (
            binding is not None
            and binding.access.can_read
            and admits(event.visibility, self._channel_id, binding.category)
        )


class InboundSignals:
    """Publishes and subscribes by room."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        realtime: RealtimeBackend,
        clock: Clock,
        shown: ShownSignals,
        place: Callable[[InboundMessage], Awaitable[RoomEvent | None]],
    ) -> None:
        """`place` makes the event of a signal, in the room that it is for; None where it is not shown."""
        self._store = store
        self._place = place
        self._shown = shown
        self._realtime = realtime
        self._clock = clock
        self._readers: WeakValueDictionary[tuple[str, str], _Reader] = WeakValueDictionary()

    async def publish(
        self,
        room_id: str,
        kind: EphemeralEventType,
        user_id: str,
        data: Mapping[str, Any] | None = None,
        *,
        channel_id: str | None = None,
        visibility: str = "all",
    ) -> None:
        """Publish one signal on the room's topic."""
        event = EphemeralEvent(
            room_id=room_id,
            type=kind,
            user_id=user_id,
            channel_id=channel_id,
            visibility=visibility,
            data=data or {},
            timestamp=self._clock.now(),
        )
        await self.show(event)

    async def show(self, event: EphemeralEvent) -> None:
        """Publish a signal that was made already."""
        await self._realtime.publish_to_room(event.room_id, event)
        await self._shown.offer(event)

    async def presence(self, room_id: str, user_id: str, status: str) -> None:
        """Publish a status; one that is not in the vocabulary is a CUSTOM event."""
        kind = _PRESENCE.get(status)
        if kind is None:
            await self.publish(room_id, EphemeralEventType.CUSTOM, user_id, {"status": status})
        else:
            await self.publish(room_id, kind, user_id)

    async def take(self, event: RoomEvent) -> None:
        """Publish a channel's message that is a signal, not a timeline entry."""
        who = event.source.participant_id or event.source.channel_id
        data = {**event.metadata}
        kind = EphemeralEventType.CUSTOM
        if event.type is EventType.TYPING:
            stopped = data.get("is_typing") is False
            kind = EphemeralEventType.TYPING_STOP if stopped else EphemeralEventType.TYPING_START
        elif event.type is EventType.PRESENCE:
            kind = _PRESENCE.get(str(data.get("status")), EphemeralEventType.CUSTOM)
        elif event.type is EventType.READ_RECEIPT:
            kind = EphemeralEventType.READ_RECEIPT
        await self.publish(
            event.room_id,
            kind,
            who,
            data,
            channel_id=event.source.channel_id,
            visibility=event.visibility,
        )

    async def accept(self, signal: EphemeralEvent | InboundSignal, channel_id: str) -> None:
        """Publish a signal that came in by a channel, where the channel may write; else it is dropped.

        A signal opens no room and attaches nothing. Raises InvalidInputError for one of another channel.
        """
        where = f"of channel {channel_id!r}"
        if isinstance(signal, InboundSignal):
            signal = checked(signal, InboundSignal, where)
        else:
            signal = checked(signal, EphemeralEvent, where)
        if signal.channel_id not in (None, channel_id):
            raise InvalidInputError(
                f"channel {channel_id!r} brought a signal of channel {signal.channel_id!r}: name its own"
            )
        if isinstance(signal, InboundSignal):
            await self._accept_placed(signal)
        else:
            await self._accept(signal, channel_id)

    async def _accept_placed(self, signal: InboundSignal) -> None:
        """Publish a signal in the room where a message of its sender would go. Raises InvalidInputError."""
        if signal.type not in _FROM_OUTSIDE:
            raise InvalidInputError(
                f"channel {signal.channel_id!r} brought {signal.type} as a signal: it can be one of "
                f"{', '.join(sorted(_FROM_OUTSIDE))}; a reaction is an InboundMessage"
            )
        message = InboundMessage(
            channel_id=signal.channel_id,
            sender_id=signal.sender_id,
            conversation=signal.conversation,
            thread_id=signal.thread_id,
            content=TextContent(body=""),
            event_type=_FROM_OUTSIDE[signal.type],
        )
        event = await self._place(message)
        if event is not None:
            await self.publish(
                event.room_id,
                signal.type,
                event.source.participant_id or signal.sender_id,
                signal.data,
                channel_id=signal.channel_id,
                visibility=event.visibility,
            )

    async def _accept(self, signal: EphemeralEvent, channel_id: str) -> None:
        record = await self._store.load(signal.room_id)
        binding = None if record is None else record.bindings.get(channel_id)
        if record is None or not record.status.is_open or binding is None or may_write(binding) is not None:
            return
        visibility = narrowest(signal.visibility, binding.visibility)
        signal = signal.replace(channel_id=channel_id, visibility=visibility)
        await self.show(signal)

    async def subscribe(
        self, room_id: str, callback: EphemeralCallback, channel_id: str | None = None
    ) -> str:
        """Subscribe to a room, as the operator or, with `channel_id`, as one of its channels."""
        if channel_id is None:
            return await self._realtime.subscribe_to_room(room_id, callback)

        reader = self._readers.get((room_id, channel_id))
        if reader is None:
            reader = self._readers[room_id, channel_id] = _Reader(self._store, room_id, channel_id)

        async def only_visible(event: EphemeralEvent) -> None:
            if await reader.sees(event):
                await callback(event)

        return await self._realtime.subscribe_to_room(room_id, only_visible)
