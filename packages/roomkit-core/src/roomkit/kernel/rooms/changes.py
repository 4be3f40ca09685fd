"""How a room is changed: noted in its timeline, shown to channels and observers, or without a note."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.channel import Channel
from roomkit.abc.errors import RoomNotFoundError, StaleRoomError
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.draft import Draft, Written
from roomkit.kernel.runtime.scope import working_for
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import Access, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.rooms.notices import ChannelNotices, Notice
    from roomkit.kernel.runtime.channels import Channels


__all__ = ["RoomChanges"]

_TRIES = 8


class RoomChanges:
    """Writes changes of rooms, and shows them."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        notices: ChannelNotices,
        hooks: HookEngine,
        channels: Channels,
        writer: Writer,
        observers: Observers,
        lanes: Lanes,
    ) -> None:
        self._store = store
        self._notices = notices
        self._hooks = hooks
        self._channels = channels
        self._writer = writer
        self._observers = observers
        self._lanes = lanes

    async def write(self, event: RoomEvent, plan: Callable[[Draft, RoomRecord], Draft | None]) -> Written:
        """Commit a note as planned, and wait for its cascade; no event if nothing was to be done."""
        draft = Draft(event=event, cascade=Cascade(), lifecycle=True, plan=plan)
        written = await self._writer.write(draft)
        if not working_for(event.room_id):
            await self._lanes.waits.settled(draft.cascade)
        return written

    async def notify(self, *bindings: ChannelBinding) -> None:
        """Notify the channels that are registered here of their bindings."""
        found = [(self._channels.get(binding.channel_id), binding) for binding in bindings]
        await self._notices.send(
            [_notice(channel, binding) for channel, binding in found if channel is not None]
        )

    async def release(self, bindings: Sequence[ChannelBinding]) -> None:
        """Notify the channels of a room that has ended."""
        await self.notify(*(binding.replace(access=Access.NONE) for binding in bindings))

    async def observe(self, trigger: HookTrigger, event: RoomEvent, *, last: bool = False) -> None:
        """Show a note to its observers; `last`, forget the room's own hooks then."""
        if self._hooks.has_hooks(trigger, event.room_id):
            show = partial(self._show, trigger, event, last)
            await self._observers.afterwards(show, f"observers of {trigger}")
        elif last:
            self._hooks.forget_room(event.room_id)

    async def _show(self, trigger: HookTrigger, event: RoomEvent, last: bool) -> None:
        try:
            record = await self._store.load(event.room_id, recent=RECENT_EVENTS)
            if record is not None:
                await self._observers.observe(trigger, event, record, Cascade(), event.source)
        finally:
            if last:
                self._hooks.forget_room(event.room_id)

    async def retried[T](self, room_id: str, work: Callable[[], Awaitable[T]], what: str) -> T:
        """Do work under the room's lock that compares its version, again when the room has changed."""
        for _ in range(_TRIES):
            try:
                return await self._writer.exclusively(room_id, work)
            except StaleRoomError:  # a lock was lost, or a gate of the room wrote in between
                continue
        raise StaleRoomError(
            f"{what} was not changed: room {room_id!r} changed {_TRIES} times in between; try again"
        )

    async def room(self, room_id: str) -> Room:
        """Return a room. Raises RoomNotFoundError."""
        room = await self._store.get_room(room_id)
        if room is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        return room


def _notice(channel: Channel, binding: ChannelBinding) -> Notice:
    update = partial(channel.update_binding, binding.room_id, binding)
    return f"update_binding of channel {channel.channel_id}", update
