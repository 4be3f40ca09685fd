"""Messages that answer another one: which event that is, and whether its room is the sender's too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.attributes import read_attribute
from roomkit.kernel.flow.contract import owner_of, providers_of
from roomkit.kernel.flow.permissions import address_type_of
from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.delivery import MOST_REPLIED_TO
from roomkit.models.enums import AutoAttach, ChannelCategory, EventType, ParticipantStatus
from roomkit.models.visibility import sees

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant

__all__ = ["Replies", "about", "may_attach"]

_GONE = frozenset({ParticipantStatus.LEFT, ParticipantStatus.BANNED})


class Replies:
    """Finds what a message answers, by the vendor's ids that it names, within one organization's rooms.

    What a message names is content, not authority: it leads to a room only where the sender is known there.
    """

    def __init__(self, store: ConversationStore, *, organization_id: str | None) -> None:
        self._store = store
        self._organization_id = organization_id

    async def answered(self, message: InboundMessage, channel: Channel) -> RoomEvent | None:
        """Return the event that a message answers: one that we delivered, else one that came in."""
        ids = message.in_reply_to[:MOST_REPLIED_TO]
        for provider in providers_of(channel, message.channel_id):
            for each in ids:
                row = await self._store.find_delivery(provider, each, organization_id=self._organization_id)
                if row is not None:
                    return await self._shown(await self._store.get_event(row.event_id))
        for each in ids:
            event = await self._store.find_event(
                message.channel_id, each, organization_id=self._organization_id
            )
            if event is not None:
                return await self._shown(event)
        return None

    async def _shown(self, event: RoomEvent | None) -> RoomEvent | None:
        """Return what a person sees where an event went: an edit or a reaction is seen at what it is about.

        Vendors keep a message's id when it is edited, so the edit's delivery has the same one.
        """
        if event is None:
            return None
        content = event.content
        if isinstance(content, EditContent | DeleteContent):
            shown_at: str | None = content.target_event_id
        else:
            shown_at = event.parent_event_id if event.type is EventType.REACTION else None
        return event if shown_at is None else await self._store.get_event(shown_at) or event

    async def room_of(self, answered: RoomEvent, message: InboundMessage, channel: Channel) -> str | None:
        """Return the room of the event that a message answers, if it takes the message from this sender."""
        record = await self._store.load(answered.room_id)
        if record is None or not record.status.is_open or message.channel_id in record.room.detached_channels:
            return None
        if not await self.knows(record, message, channel):
            return None
        is_attached = message.channel_id in record.bindings
        return record.room_id if is_attached or may_attach(record, channel) else None

    async def knows(self, record: RoomRecord, message: InboundMessage, channel: Channel) -> bool:
        """Return whether a message's sender is in a room: by their address, or by their identity.

        A message of a shared conversation belongs only to the room that is bound to it.
        """
        channel_id, sender = message.channel_id, message.sender_id
        if message.conversation is not None:
            bound = record.bindings.get(channel_id)
            return bound is not None and message.conversation in (bound.address, *bound.also)
        kind = read_attribute(owner_of(channel_id), channel, "address_type", str)
        if any(
            (each.address == sender and each.addresses == kind)
            or (each.channel_id == channel_id and each.participant_id == sender)
            for each in record.bindings.values()
        ):
            return True
        people = [each for each in record.participants.values() if each.status not in _GONE]
        if any(_is_sender(record, each, channel_id, kind, sender) for each in people):
            return True
        identities = {each.identity_id for each in people if each.identity_id is not None}
        if not identities:
            return False
        identity = await self._store.resolve_identity(
            str(channel.channel_type), sender, organization_id=record.room.organization_id
        )
        return identity is not None and identity.id in identities


def may_attach(record: RoomRecord, channel: Channel) -> bool:
    """Return whether a room lets a known person's message attach the channel that it comes by."""
    return record.room.auto_attach is not AutoAttach.NONE and channel.category is ChannelCategory.TRANSPORT


def about(
    message: InboundMessage, answered: RoomEvent | None, room_id: str, record: RoomRecord | None
) -> InboundMessage:
    """Return a message that names others by the vendor's ids, as one about an event of the room.

    That event is its parent, or what an edit or a deletion is of, where the channel sees it. An edit of a
    message that the room does not have becomes a message: its words are new there.
    """
    found = answered is not None and answered.room_id == room_id and _is_seen(answered, message, record)
    content = message.content
    if isinstance(content, EditContent) and message.event_type is EventType.EDIT:
        if answered is None or not found:
            return message.replace(event_type=EventType.MESSAGE, content=content.new_content)
        return message.replace(content=content.replace(target_event_id=answered.id))
    if answered is None or not found or message.parent_event_id is not None:
        return message
    if isinstance(content, DeleteContent):
        return message.replace(content=content.replace(target_event_id=answered.id))
    return message.replace(parent_event_id=answered.id)


def _is_seen(answered: RoomEvent, message: InboundMessage, record: RoomRecord | None) -> bool:
    """Whether a message's channel may see what it answers, which may have been deleted by now."""
    reader = None if record is None else record.bindings.get(message.channel_id)
    return reader is None or sees(reader, answered.replace(amendment=None))


def _is_sender(record: RoomRecord, person: Participant, channel_id: str, kind: str, sender: str) -> bool:
    """Whether a participant has the address, on this channel or on one with the same kind of addresses."""
    if (person.external_id or person.id) != sender:
        return False
    ways = person.connected_via or (person.channel_id,)
    return (
        channel_id in ways
        or person.address_type == kind
        or any(address_type_of(record.bindings, each) == kind for each in ways)
    )
