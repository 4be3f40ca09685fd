"""A person in a room."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record, utcnow
from roomkit.models.enums import IdentificationStatus, ParticipantRole, ParticipantStatus
from roomkit.models.values import Id, Key, Label

__all__ = ["Participant", "banned_senders"]


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


def banned_senders(participants: Mapping[str, Participant], channel_id: str) -> frozenset[str]:
    """Return the banned participants' ids, and their addresses on that channel."""
    banned: set[str] = set()
    for participant in participants.values():
        if participant.status is ParticipantStatus.BANNED:
            banned.add(participant.id)
            banned.update(address for channel, address in participant.senders if channel == channel_id)
    return frozenset(banned)
