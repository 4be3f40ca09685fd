"""Who may add what to a room. Every answer is a stable code, None for yes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.enums import (
    ChannelCategory,
    ChannelType,
    DeleteType,
    EventStatus,
    EventType,
    IdentificationStatus,
    ParticipantRole,
    ParticipantStatus,
)
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit.models.participant import Participant

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.store import RoomRecord
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["amends", "may_amend", "may_speak", "may_write", "newcomer"]

_ADDRESS_TYPES = {
    ChannelType.SMS: "phone",
    ChannelType.MMS: "phone",
    ChannelType.RCS: "phone",
    ChannelType.WHATSAPP: "phone",
    ChannelType.WHATSAPP_PERSONAL: "phone",
    ChannelType.VOICE: "phone",
}
"""What kind of addresses a channel type has, where several types share one."""
_AMENDING = frozenset({EventType.EDIT, EventType.DELETE})


def may_speak(record: RoomRecord, event: RoomEvent) -> str | None:
    """Return why the source has no place in the room: not attached, detached, or banned from it.

    A connection of a participant who was removed has none either, until they connect again.
    """
    source = event.source
    if source.channel_id != SYSTEM_CHANNEL_ID and source.channel_id not in record.bindings:
        detached = source.channel_id in record.room.detached_channels
        return "channel_detached" if detached else "channel_not_attached"
    if source.participant_id is not None:
        person = record.participants.get(source.participant_id)
        status = None if person is None else person.status
        if status is ParticipantStatus.BANNED:
            return "participant_banned"
        if status is ParticipantStatus.LEFT and source.connection_id is not None:
            return "participant_removed"
    return None


def may_write(binding: ChannelBinding | None) -> str | None:
    """Return why the source's binding may not add to the timeline; the framework (None) always may."""
    if binding is None or binding.can_write:
        return None
    return "source_muted" if binding.access.can_write else "source_read_only"


def amends(event: RoomEvent) -> bool:
    """Return whether the event edits or deletes another."""
    return event.type in _AMENDING or isinstance(event.content, EditContent | DeleteContent)


def may_amend(record: RoomRecord, event: RoomEvent, target: RoomEvent | None) -> str | None:
    """Return why the source may not edit or delete `target`.

    Authors may amend what they wrote, known by the participant the channel verified; owners of the
    room may delete anything; the framework may do both. What the content claims about itself
    (`edit_source`, ADMIN, SYSTEM) can only narrow that, never widen it.
    """
    content = event.content
    if not (
        (event.type is EventType.EDIT and isinstance(content, EditContent))
        or (event.type is EventType.DELETE and isinstance(content, DeleteContent))
    ):
        return "content_type_mismatch"
    if target is None or target.room_id != event.room_id or target.status is EventStatus.BLOCKED:
        return "target_event_not_found"
    if target.type is not EventType.MESSAGE or target.deleted:
        return "target_not_amendable"
    source = event.source
    if source.channel_id == SYSTEM_CHANNEL_ID:
        return None
    if isinstance(content, DeleteContent):
        if content.delete_type is DeleteType.SYSTEM:
            return "not_authorized"
        if content.delete_type is DeleteType.ADMIN:
            person = record.participants.get(source.participant_id or "")
            owner = (
                person is not None
                and person.role is ParticipantRole.OWNER
                and _is_reached_by(record, person, source.channel_id)
            )
            return None if owner else "not_authorized"
    return _is_author(record, event, target)


def _is_author(record: RoomRecord, event: RoomEvent, target: RoomEvent) -> str | None:
    source = event.source
    binding = record.bindings.get(source.channel_id)
    if binding is not None and binding.category is ChannelCategory.INTELLIGENCE:
        return None if target.source.channel_id == source.channel_id else "not_original_author"
    if source.participant_id is None or target.source.participant_id is None:
        return "identity_required_for_edit"
    if source.participant_id != target.source.participant_id:
        return "not_original_author"
    person = record.participants.get(source.participant_id)
    ways = (source.channel_id, target.source.channel_id)
    if ways[0] == ways[1] or _address_type(record, ways[0]) == _address_type(record, ways[1]):
        return None
    # The same name on channels of two kinds is two people, until something but the name joins them.
    joined = person is not None and all(_is_reached_by(record, person, way) for way in ways)
    return None if joined else "not_original_author"


def _is_reached_by(record: RoomRecord, person: Participant, channel_id: str) -> bool:
    """Whether the channel, or one with the same kind of addresses, is one of the person's."""
    known = person.connected_via or (person.channel_id,)
    if channel_id in known:
        return True
    kind = _address_type(record, channel_id)
    return any(_address_type(record, each) == kind for each in known if each in record.bindings)


def _address_type(record: RoomRecord, channel_id: str) -> str:
    """Return the kind of addresses that a channel's senders have; equal ones of one kind are one person."""
    binding = record.bindings.get(channel_id)
    if binding is None:
        return f"channel {channel_id}"
    return _ADDRESS_TYPES.get(binding.channel_type, str(binding.channel_type))


def newcomer(
    record: RoomRecord, event: RoomEvent, binding: ChannelBinding | None, at: datetime
) -> Participant | None:
    """Return the participant record to write with a transport's event, None when nothing is new.

    Whoever speaks becomes a participant; a second channel of theirs is added to `connected_via`.
    """
    source = event.source
    participant_id = source.participant_id
    if not participant_id or binding is None or binding.category is ChannelCategory.INTELLIGENCE:
        return None
    person = record.participants.get(participant_id)
    if person is None:
        return Participant(
            id=participant_id,
            room_id=event.room_id,
            channel_id=source.channel_id,
            connected_via=(source.channel_id,),
            identification=IdentificationStatus.UNKNOWN,
            joined_at=at,
        )
    if source.channel_id in person.connected_via:
        return None
    if person.channel_id == SYSTEM_CHANNEL_ID:  # removed once, before they had used any channel
        return person.replace(channel_id=source.channel_id, connected_via=(source.channel_id,))
    known = person.connected_via or (person.channel_id,)
    if source.channel_id in known:
        return person.replace(connected_via=known)
    if not _is_reached_by(record, person, source.channel_id):
        return None  # a namesake: an address of another kind that no identity has joined to the person
    return person.replace(connected_via=(*known, source.channel_id))
