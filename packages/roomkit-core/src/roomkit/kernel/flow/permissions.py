"""Who may add what to a room. Every answer is a stable code, None for yes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.enums import (
    ChannelCategory,
    DeleteType,
    EventStatus,
    EventType,
    IdentificationStatus,
    ParticipantRole,
    ParticipantStatus,
)
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit.models.participant import Participant, namesake_id
from roomkit.models.visibility import admits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from roomkit.abc.store import RoomRecord
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = [
    "address_type_of",
    "amends",
    "are_joined",
    "is_banned",
    "may_amend",
    "may_speak",
    "may_write",
    "newcomer",
    "participant_of",
    "said_by",
]

_AMENDING = frozenset({EventType.EDIT, EventType.DELETE})


def may_speak(record: RoomRecord, event: RoomEvent) -> str | None:
    """Return why the source has no place in the room: not attached, detached, or banned from it.

    A connection of a participant who was removed has none either, until they connect again, nor has an agent
    that answers for a banned one.
    """
    source = event.source
    if source.channel_id != SYSTEM_CHANNEL_ID and source.channel_id not in record.bindings:
        detached = source.channel_id in record.room.detached_channels
        return "channel_detached" if detached else "channel_not_attached"
    if source.participant_id is not None:
        person = record.participants.get(source.participant_id)
        status = None if person is None else person.status
        if status is ParticipantStatus.BANNED or (
            person is not None and person.identity_id is not None and _is_banned(record, person)
        ):
            return "participant_banned"
        if status is ParticipantStatus.LEFT and source.connection_id is not None:
            return "participant_removed"
    if source.on_behalf_of is not None:
        asker = record.participants.get(source.on_behalf_of)
        if asker is not None and asker.status is ParticipantStatus.BANNED:
            return "participant_banned"
    return None


def is_banned(record: RoomRecord, participant_id: str | None) -> bool:
    """Return whether a participant is banned from the room."""
    person = record.participants.get(participant_id or "")
    return person is not None and person.status is ParticipantStatus.BANNED


def are_joined(one: Participant, other: Participant) -> bool:
    """Whether an identity makes two participants one person."""
    return one.identity_id is not None and one.identity_id == other.identity_id


def _is_banned(record: RoomRecord, person: Participant) -> bool:
    """Whether a participant of the same identity is banned."""
    return any(
        each.status is ParticipantStatus.BANNED and are_joined(each, person)
        for each in record.participants.values()
    )


def participant_of(
    participants: Mapping[str, Participant],
    bindings: Mapping[str, ChannelBinding],
    channel_id: str,
    name: str,
    *,
    is_address: bool,
) -> str:
    """Return the id of the participant whom a channel knows by a name: an address, or an id that a host gave.

    The id is the address, unless a participant has that name by an address of another kind: see
    `namesake_id`. The answer is the same on every worker that has read the same participants.
    """
    kind = address_type_of(bindings, channel_id)
    other = participants.get(namesake_id(kind, name))
    if other is not None and other.external_id == name and _is_reached_by(bindings, other, channel_id):
        return other.id
    found = name
    while (person := participants.get(found)) is not None:
        if (not is_address or _has_address(person, name)) and _is_reached_by(bindings, person, channel_id):
            break
        found = namesake_id(kind, found)
    return _known_also(participants, channel_id, name) or found if is_address and person is None else found


def _known_also(participants: Mapping[str, Participant], channel_id: str, address: str) -> str | None:
    """Return the participant with an address that a merge of rooms found to be theirs, too."""
    return next(
        (each.id for each in participants.values() if each.also and (channel_id, address) in each.also), None
    )


def _has_address(person: Participant, address: str) -> bool:
    """Whether a participant whose id is an address has that address.

    One who has another address may have the id of an identity, or the id of a namesake.
    """
    if person.external_id in (None, address):
        return True
    made = None if person.address_type is None else namesake_id(person.address_type, person.external_id or "")
    return person.identification is not IdentificationStatus.IDENTIFIED and person.id != made


def said_by(record: RoomRecord, event: RoomEvent, name: str, *, is_address: bool) -> RoomEvent:
    """Return the event as said by the participant whom its channel knows by a name: see `participant_of`."""
    source = event.source
    binding = record.bindings.get(source.channel_id)
    if binding is None or binding.category is ChannelCategory.INTELLIGENCE:
        return event
    found = participant_of(
        record.participants, record.bindings, source.channel_id, name, is_address=is_address
    )
    if found == source.participant_id:
        return event
    return event.replace(source=source.replace(participant_id=found))


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
    (`edit_source`, ADMIN, SYSTEM) can only narrow that, never widen it. If the source may not see the
    target, it is answered as for an id that does not exist.
    """
    reason = _amendment_refusal(record, event, target)
    if reason is not None and target is not None and _is_hidden(record, event.source.channel_id, target):
        return "target_event_not_found"
    return reason


def _is_hidden(record: RoomRecord, channel_id: str, target: RoomEvent) -> bool:
    """Return whether a channel was never shown an event."""
    binding = record.bindings.get(channel_id)
    if binding is None or target.source.channel_id == channel_id:
        return False
    return not (binding.can_read and admits(target.visibility, channel_id, binding.category))


def _amendment_refusal(record: RoomRecord, event: RoomEvent, target: RoomEvent | None) -> str | None:
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
                and _is_reached_by(record.bindings, person, source.channel_id)
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
    person = record.participants.get(source.participant_id)
    if source.participant_id != target.source.participant_id:
        author = record.participants.get(target.source.participant_id)
        joined = person is not None and author is not None and are_joined(person, author)
        return None if joined else "not_original_author"
    ways = (source.channel_id, target.source.channel_id)
    if ways[0] == ways[1] or (
        address_type_of(record.bindings, ways[0]) == address_type_of(record.bindings, ways[1])
    ):
        return None
    # The same name on channels of two kinds is two people, until something but the name joins them.
    joined = person is not None and all(_is_reached_by(record.bindings, person, way) for way in ways)
    return None if joined else "not_original_author"


def _is_reached_by(bindings: Mapping[str, ChannelBinding], person: Participant, channel_id: str) -> bool:
    """Whether the channel, or one with the same kind of addresses, is one of the person's."""
    known = person.connected_via or (person.channel_id,)
    if channel_id in known or person.channel_id == SYSTEM_CHANNEL_ID:  # removed before they came by any
        return True
    kind = address_type_of(bindings, channel_id)
    return kind == person.address_type or any(
        address_type_of(bindings, each) == kind for each in known if each in bindings
    )


def address_type_of(bindings: Mapping[str, ChannelBinding], channel_id: str) -> str:
    """Return the kind of addresses that a channel's senders have; equal ones of one kind are one person."""
    binding = bindings.get(channel_id)
    if binding is None:
        return f"channel {channel_id}"
    return binding.addresses


def newcomer(
    record: RoomRecord,
    event: RoomEvent,
    binding: ChannelBinding | None,
    at: datetime,
    address: str | None = None,
) -> Participant | None:
    """Return the participant record to write with a transport's event, None when nothing is new.

    Each author becomes a participant; a second channel of theirs is added to `connected_via`. `address`
    is what the channel calls them, where that may not be the participant's id.
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
            external_id=None if address == participant_id else address,
            address_type=address_type_of(record.bindings, source.channel_id),
            identification=IdentificationStatus.UNKNOWN,
            joined_at=at,
        )
    if source.channel_id in person.connected_via:
        return None
    if person.channel_id == SYSTEM_CHANNEL_ID:  # removed once, before they had used any channel
        return person.replace(
            channel_id=source.channel_id,
            connected_via=(source.channel_id,),
            address_type=address_type_of(record.bindings, source.channel_id),
        )
    known = person.connected_via or (person.channel_id,)
    if source.channel_id in known:
        return person.replace(connected_via=known)
    if not _is_reached_by(record.bindings, person, source.channel_id):
        return None  # a namesake: an address of another kind that no identity has joined to the person
    return person.replace(connected_via=(*known, source.channel_id))
