"""Which participants the clients of a channel are, where people of other channels have the same names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from roomkit.models.participant import namesake_id

if TYPE_CHECKING:
    from roomkit.abc.services import Excerpt
    from roomkit.models.event import EventSource, RoomEvent
    from roomkit.models.participant import Participant

__all__ = ["OwnIds", "names_of_sender", "participant_ids"]


def participant_ids(
    name: str, participants: Mapping[str, Participant], channel_id: str, address_type: str
) -> frozenset[str]:
    """Return the ids of the participants that a channel with that kind of addresses calls `name`.

    And the id that a client of that name has before anything is known of it: signals of people whom an
    identity joins to another participant have that one. It is the name itself, unless another participant
    has it.
    """
    found = {one.id for one in participants.values() if name in one.names_on(channel_id, address_type)}
    own = name
    while own in participants and own not in found:
        own = namesake_id(address_type, own)
    return frozenset((*found, own))


def names_of_sender(
    source: EventSource, participants: Iterable[Participant], address_type: str
) -> frozenset[str]:
    """Return what the event's channel calls the participant who sent it; nothing for no participant."""
    if source.participant_id is None:
        return frozenset()
    for one in participants:
        if one.id == source.participant_id:
            return one.names_on(source.channel_id, address_type)
    return frozenset((source.participant_id,))


class OwnIds:
    """The participant ids that are one client, as far as the room's record and its own messages say.

    `name` is what the channel calls the client. Until a record was read, it is taken for its id.
    """

    __slots__ = ("_ids", "_name", "_spoke_as")

    def __init__(self, name: str) -> None:
        self._name = name
        self._ids = frozenset((name,))
        self._spoke_as: str | None = None

    def __contains__(self, participant_id: str | None) -> bool:
        return participant_id in self._ids

    def read(self, excerpt: Excerpt) -> None:
        """Renew the ids from the room as it was just read."""
        binding = excerpt.binding
        ids = participant_ids(self._name, excerpt.participants, binding.channel_id, binding.addresses)
        self._ids = ids if self._spoke_as is None else ids | {self._spoke_as}

    def spoke(self, event: RoomEvent) -> None:
        """Learn from a message of the client that was accepted.

        If that made it another participant than those known, its name is not taken for its id any more:
        a participant with that id came by another channel since the room was read.
        """
        spoke_as = event.source.participant_id
        if spoke_as is None:
            return
        self._spoke_as = spoke_as
        if spoke_as not in self._ids:
            self._ids = (self._ids - {self._name}) | {spoke_as}
