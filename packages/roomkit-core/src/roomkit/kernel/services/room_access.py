"""Rooms as one owner reads them and writes to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import ChannelNotFoundError
from roomkit.abc.services.rooms import Excerpt, RoomAccess
from roomkit.kernel.flow.contract import organization_of, providers_of
from roomkit.kernel.flow.merged import successor
from roomkit.kernel.flow.reading import read_excerpt
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.runtime.scope import room_at_work

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.inbound.pipeline import Inbound, Wait
    from roomkit.kernel.operations import RoomOperations
    from roomkit.kernel.rooms.bindings import Bindings
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.services.owner import Owner
    from roomkit.models.base import Json
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import Delivery, InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.room import Room
    from roomkit.models.scheduling import SendAt

__all__ = ["KitRoomAccess"]


@checks_arguments(but=("post",), of_services=True)
class KitRoomAccess(RoomAccess):
    """Reads the store, and writes as the kit does."""

    def __init__(
        self,
        kit: RoomOperations,
        owner: Owner,
        *,
        store: ConversationStore,
        bindings: Bindings,
        channels: Channels,
        inbound: Inbound,
        enter: Callable[[], Awaitable[None]],
    ) -> None:
        self._kit = kit
        self._owner = owner
        self._store = store
        self._bindings = bindings
        self._channels = channels
        self._inbound = inbound
        self._enter = enter

    @override
    async def post(
        self,
        room_id: str,
        what: EventContent | RoomEvent,
        *,
        channel_id: str | None = None,
        at: SendAt | None = None,
        wait: Wait = "committed",
    ) -> RoomEvent:
        return await self._kit.send_event(room_id, self._owner.channel(channel_id), what, wait=wait, at=at)

    @override
    async def change_binding(
        self,
        room_id: str,
        fn: Callable[[ChannelBinding], ChannelBinding],
        *,
        channel_id: str | None = None,
    ) -> ChannelBinding:
        channel_id = self._owner.channel(channel_id)
        await self._enter()
        try:
            return await self._bindings.change_binding(room_id, channel_id, fn)
        except ChannelNotFoundError:
            room = await successor(self._store, room_id)
            if room is None:
                raise
            return await self._bindings.change_binding(room.id, channel_id, fn)

    @override
    async def change_state(self, room_id: str, fn: Callable[[Json | None], Json | None]) -> Json | None:
        return await self._kit.change_state(room_id, self._owner.namespace, fn)

    @override
    async def read_room(self, room_id: str) -> Room:
        return await self._kit.get_room(room_id)

    @override
    async def find_event(self, external_id: str, *, channel_id: str | None = None) -> RoomEvent | None:
        channel_id = self._owner.channel(channel_id)
        await self._enter()
        own = await self._organization(channel_id)
        event = await self._store.find_event(channel_id, external_id, organization_id=own)
        return None if event is None else event.without_former_contents()

    @override
    async def find_delivery(self, message_id: str, *, channel_id: str | None = None) -> Delivery | None:
        channel_id = self._owner.channel(channel_id)
        await self._enter()
        own, channel = await self._organization(channel_id), self._channels.get(channel_id)
        for provider in (channel_id,) if channel is None else providers_of(channel, channel_id):
            row = await self._store.find_delivery(provider, message_id, organization_id=own)
            if row is not None and row.channel_id == channel_id:
                return row
        return None

    @override
    async def find_bindings(
        self, address: str, *, channel_id: str | None = None, limit: int = 20
    ) -> Sequence[ChannelBinding]:
        channel_id = self._owner.channel(channel_id)
        await self._enter()
        own = await self._organization(channel_id)
        room_ids = await self._store.find_address_room_ids(
            channel_id, address, limit=limit, organization_id=own, closed=True
        )
        found = [await self._store.get_binding(each, channel_id) for each in room_ids]
        return [each for each in found if each is not None]

    async def _organization(self, channel_id: str) -> str | None:
        """Return the organization of the room at work, else of the channel; None for any."""
        room_id = room_at_work()
        room = None if room_id is None else await self._store.get_room(room_id)
        if room is not None:
            return room.organization_id
        channel = self._channels.get(channel_id)
        return None if channel is None else organization_of(channel, channel_id)

    @override
    async def locate(self, message: InboundMessage) -> str | None:
        self._owner.channel(message.channel_id)
        await self._enter()
        return await self._inbound.locate(message)

    @override
    async def read_timeline(
        self,
        room_id: str,
        *,
        channel_id: str | None = None,
        after_index: int | None = None,
        limit: int = 100,
    ) -> Excerpt | None:
        channel_id = self._owner.channel(channel_id)
        found = await read_excerpt(self._store, room_id, channel_id, after_index, limit)
        if found is None and (room := await successor(self._store, room_id)) is not None:
            found = await read_excerpt(self._store, room.id, channel_id, after_index, limit)
        return found
