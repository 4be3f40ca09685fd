"""Finding the room of a message that names none, without ever guessing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, override

from roomkit.abc.channel import Channel
from roomkit.abc.log import get_logger
from roomkit.abc.router import InboundRoomRouter

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.enums import ChannelType

__all__ = ["DefaultInboundRoomRouter", "OrganizationRouter", "SeedRouter", "adapted", "router_of"]

_log = get_logger("roomkit.routing")
_ROOMS_OF_A_SENDER = 20
"""How many are looked at: a member of more groups than that gets a room of their own."""


class DefaultInboundRoomRouter(InboundRoomRouter):
    """Goes by who is writing, then by where the channel is the sender's alone.

    1. The open room whose binding of the channel has the sender's address, the most recently active one
       when there are several: who was written to answers there.
    2. The open room where the sender came by this channel before, likewise: their own conversation, so none
       that is bound to another address, such as a group's.
    3. The one open room the channel is attached to, if no other sender uses it by that channel.
    4. None: a new room. Two candidates are ambiguous, and another person's room is never one.

    With an `organization_id` only that organization's rooms are there. `channels` are those registered: of
    one without `Channel.address_of`, bindings seldom have an address, so that the second rule comes first.
    """

    def __init__(
        self,
        store: ConversationStore,
        *,
        organization_id: str | None = None,
        channels: Mapping[str, Channel] | None = None,
    ) -> None:
        self._store = store
        self._organization_id = organization_id
        self._channels = channels
        self._warned: set[str] = set()  # bound: the channels

    def within(self, organization_id: str) -> DefaultInboundRoomRouter:
        """Return a router that finds rooms of one organization alone."""
        return DefaultInboundRoomRouter(self._store, organization_id=organization_id, channels=self._channels)

    def _has_addresses(self, channel_id: str) -> bool:
        channel = None if self._channels is None else self._channels.get(channel_id)
        return channel is None or type(channel).address_of is not Channel.address_of

    async def _known(self, channel_id: str, sender: str) -> str | None:
        """Return the room that the sender was written to in, or has been in."""
        store, organization_id = self._store, self._organization_id
        if not self._has_addresses(channel_id):
            for find in (store.find_sender_room_ids, store.find_address_room_ids):
                if found := await find(channel_id, sender, limit=1, organization_id=organization_id):
                    return found[0]
            return None
        found = await store.find_address_room_ids(
            channel_id, sender, limit=1, organization_id=organization_id
        )
        return found[0] if found else await self._own(channel_id, sender)

    async def _own(self, channel_id: str, sender: str) -> str | None:
        """Return the newest room that the sender wrote in and that is not bound to another address.

        One that is bound to a group, say, is answered there: what the sender writes alone is not for it.
        """
        found = await self._store.find_sender_room_ids(
            channel_id, sender, limit=_ROOMS_OF_A_SENDER, organization_id=self._organization_id
        )
        for room_id in found:
            record = await self._store.load(room_id)
            bound = None if record is None else record.bindings.get(channel_id)
            if bound is None or bound.address is None:
                return room_id
            if sender in (bound.address, bound.participant_id, *bound.also):
                return room_id
        return None

    @override
    async def route(
        self,
        channel_id: str,
        channel_type: ChannelType,
        participant_id: str | None = None,
        *,
        message: InboundMessage | None = None,
    ) -> str | None:
        if participant_id:
            known = await self._known(channel_id, participant_id)
            if known is not None:
                return known
        rooms = await self._store.find_room_ids_by_channel(
            channel_id, limit=2, organization_id=self._organization_id
        )
        if len(rooms) == 1:
            record = await self._store.load(rooms[0])
            if record is not None and _is_free(record, channel_id, participant_id):
                return rooms[0]
        if rooms and channel_id not in self._warned:
            self._warned.add(channel_id)
            _log.warning(
                "channel %s is attached to rooms of other senders, so each stranger's message opens a room: "
                "name the room where it is known; this is logged once a channel, see routing_ambiguous",
                channel_id,
            )
        return None


class OrganizationRouter(InboundRoomRouter):
    """Asks another router, and takes nothing but rooms of one organization for an answer."""

    def __init__(self, router: InboundRoomRouter, store: ConversationStore, organization_id: str) -> None:
        self._router = router
        self._store = store
        self._organization_id = organization_id

    @override
    async def route(
        self,
        channel_id: str,
        channel_type: ChannelType,
        participant_id: str | None = None,
        *,
        message: InboundMessage | None = None,
    ) -> str | None:
        room_id = await self._router.route(channel_id, channel_type, participant_id, message=message)
        if room_id is None:
            return None
        room = await self._store.get_room(room_id, organization_id=self._organization_id)
        return None if room is None else room_id


class SeedRouter(InboundRoomRouter):
    """Asks a router that was written for `route(channel_id, channel_type, participant_id, channel_data)`."""

    def __init__(self, router: InboundRoomRouter) -> None:
        self._router = router

    @override
    async def route(
        self,
        channel_id: str,
        channel_type: ChannelType,
        participant_id: str | None = None,
        *,
        message: InboundMessage | None = None,
    ) -> str | None:
        return await self._router.route(channel_id, channel_type, participant_id)


def adapted(router: InboundRoomRouter) -> InboundRoomRouter:
    """Return a router that takes the message, whatever signature the given one has."""
    parameters = inspect.signature(router.route).parameters.values()
    takes_message = any(each.name == "message" or each.kind is each.VAR_KEYWORD for each in parameters)
    return router if takes_message else SeedRouter(router)


def router_of(
    router: InboundRoomRouter, store: ConversationStore, organization_id: str | None
) -> InboundRoomRouter:
    """Return the router within one organization, None for all rooms."""
    if organization_id is None:
        return router
    if isinstance(router, DefaultInboundRoomRouter):
        return router.within(organization_id)
    return OrganizationRouter(router, store, organization_id)


def _is_free(record: RoomRecord, channel_id: str, sender_id: str | None) -> bool:
    """Whether the sender is the only one in the room by that channel."""
    binding = record.bindings[channel_id]
    if any(each not in (None, sender_id) for each in (binding.participant_id, binding.address)):
        return False
    return all(
        sender_id in (person.id, person.external_id)
        for person in record.participants.values()
        if channel_id in (person.connected_via or (person.channel_id,))
    )
