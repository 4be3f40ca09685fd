"""A person in a room."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record, utcnow
from roomkit.models.enums import IdentificationStatus, ParticipantRole, ParticipantStatus
from roomkit.models.values import Id, Key, Label

__all__ = ["Participant", "banned_senders", "departed_senders"]


class Participant(Record):
    """A person in a room, unique by (`room_id`, `id`).

    `channel_id` is the channel they came by first, `connected_via` every channel they used in the
    order of first sight. `candidates` are the identities it may be, while that is open.
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
    resolved_at: datetime | None = None
    resolved_by: Key | None = None
    joined_at: datetime = Field(default_factory=utcnow)
    metadata: Json = EMPTY

    @property
    def senders(self) -> frozenset[tuple[str, str]]:
        """The participant as a sender: each channel they came by, and their address there."""
        who = self.external_id or self.id
        return frozenset((channel_id, who) for channel_id in self.connected_via or (self.channel_id,))


_DEPARTED = {
    ParticipantStatus.LEFT: "participant_removed",
    ParticipantStatus.BANNED: "participant_banned",
}


def departed_senders(participants: Mapping[str, Participant], channel_id: str) -> dict[str, str]:
    """Return why connections to the room end, by participant id and by address on that channel.

    The reason is `participant_removed` for a participant who left, `participant_banned` for a banned one;
    a ban outranks a removal. Participants with a right to the room are not among them.
    """
    reasons: dict[str, str] = {}
    for participant in participants.values():
        reason = _DEPARTED.get(participant.status)
        if reason is None:
            continue
        for sender in (
            participant.id,
            *(address for channel, address in participant.senders if channel == channel_id),
        ):
            if reasons.get(sender) != "participant_banned":
                reasons[sender] = reason
    return reasons


def banned_senders(participants: Mapping[str, Participant], channel_id: str) -> frozenset[str]:
    """Return the banned participants' ids, and their addresses on that channel."""
    departed = departed_senders(participants, channel_id)
    return frozenset(sender for sender, reason in departed.items() if reason == "participant_banned")
