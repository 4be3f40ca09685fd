"""A person in a room."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record, utcnow
from roomkit.models.enums import IdentificationStatus, ParticipantRole, ParticipantStatus
from roomkit.models.values import LONGEST_KEY, Id, Key, Label
from roomkit.models.zone import ZoneName

__all__ = ["Participant", "banned_senders", "departed_senders", "namesake_id"]


class Participant(Record):
    """A person in a room, unique by (`room_id`, `id`).

    `channel_id` is the channel they came by first, `connected_via` every channel they used in the
    order of first sight. `candidates` are the identities it may be, while that is open.

    A person is (kind of addresses, address) until an identity joins several: `external_id` is the address
    where it is not the id, `address_type` the kind of it. The first sender with an address has it as id;
    a sender with the same address of another kind is another participant, with the id `namesake_id`.
    `also` are further addresses, each with the channel it is used on, of participants that a merge of rooms
    found to be this one.
    """

    id: Id
    room_id: Key
    channel_id: Key
    display_name: Label | None = None
    role: ParticipantRole = ParticipantRole.MEMBER
    status: ParticipantStatus = ParticipantStatus.ACTIVE
    identification: IdentificationStatus = IdentificationStatus.PENDING
    identity_id: Key | None = None
    candidates: tuple[Key, ...] | None = None
    connected_via: tuple[Key, ...] = ()
    external_id: Key | None = None
    address_type: Label | None = None
    resolved_at: datetime | None = None
    resolved_by: Key | None = None
    joined_at: datetime = Field(default_factory=utcnow)
    timezone: ZoneName | None = None
    metadata: Json = EMPTY
    also: tuple[tuple[Key, Key], ...] = ()

    @property
    def senders(self) -> frozenset[tuple[str, str]]:
        """The participant as a sender: each channel they came by, and their address there."""
        who = self.external_id or self.id
        own = ((channel_id, who) for channel_id in self.connected_via or (self.channel_id,))
        return frozenset((*own, *self.also))

    def names_on(self, channel_id: str, address_type: str | None = None) -> frozenset[str]:
        """Return what the participant is called by a channel with that kind of addresses.

        The addresses that came by it, and the participant's address unless that is of another kind.
        """
        address = self.external_id or self.id
        came_by_it = channel_id in (self.connected_via or (self.channel_id,))
        if self.also:
            further = frozenset(who for of, who in self.also if of == channel_id)
            return self.replace(also=()).names_on(channel_id, address_type) | further
        if self.address_type is None or self.id == self.identity_id:  # nothing is said against the id
            return frozenset((address, self.id) if came_by_it else (self.id,))
        if came_by_it or address_type in (None, self.address_type):
            return frozenset((address,))
        return frozenset()


def namesake_id(address_type: str, address: str) -> str:
    """Return the participant id of a sender whose address is taken by a participant of another kind."""
    named = f"{address_type}:{address}"
    if len(named.encode(errors="surrogatepass")) <= LONGEST_KEY:
        return named
    return f"{address_type[:32]}:{sha256(address.encode(errors='surrogatepass')).hexdigest()}"


_DEPARTED = {
    ParticipantStatus.LEFT: "participant_removed",
    ParticipantStatus.BANNED: "participant_banned",
}


def departed_senders(
    participants: Mapping[str, Participant], channel_id: str, address_type: str | None = None
) -> dict[str, str]:
    """Return why connections to the room end, by participant id and by address on that channel.

    Participants whose addresses are of another kind than `address_type` (that of the channel) are omitted,
    because another person may have the same address of the channel's kind.

    The reason is `participant_removed` for a participant who left, `participant_banned` for a banned one;
    a ban outranks a removal. Participants with a right to the room are not among them.
    """
    reasons: dict[str, str] = {}
    for participant in participants.values():
        reason = _DEPARTED.get(participant.status)
        if reason is None:
            continue
        for sender in participant.names_on(channel_id, address_type):
            if reasons.get(sender) != "participant_banned":
                reasons[sender] = reason
    return reasons


def banned_senders(
    participants: Mapping[str, Participant], channel_id: str, address_type: str | None = None
) -> frozenset[str]:
    """Return the banned participants' ids, and their addresses on that channel: see `departed_senders`."""
    departed = departed_senders(participants, channel_id, address_type)
    return frozenset(sender for sender, reason in departed.items() if reason == "participant_banned")
