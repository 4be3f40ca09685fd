"""People and channels of a room, and identities beyond it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant

__all__ = ["PeopleStore"]


class PeopleStore(ABC):
    """Bindings and participants of rooms, and identities with their addresses."""

    @abstractmethod
    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Attach, or replace the binding of that channel."""

    @abstractmethod
    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        """Return a binding."""

    @abstractmethod
    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        """Replace an existing binding. Raises ChannelNotFoundError."""

    @abstractmethod
    async def remove_binding(self, room_id: str, channel_id: str) -> bool:
        """Detach; False when it was not attached."""

    @abstractmethod
    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return the bindings of a room."""

    @abstractmethod
    async def add_participant(self, participant: Participant) -> Participant:
        """Add, or replace the participant of that id."""

    @abstractmethod
    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        """Return a participant."""

    @abstractmethod
    async def update_participant(self, participant: Participant) -> Participant:
        """Replace an existing participant. Raises ParticipantNotFoundError."""

    @abstractmethod
    async def list_participants(
        self, room_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Participant]:
        """Return a page of a room's participants in order of insertion, all of them without a limit.

        `after` is the id of the last participant of the page before. Raises StoreError when the room has no
        such participant. An unknown room has none.
        """

    @abstractmethod
    async def find_participants(
        self,
        *,
        participant_id: str | None = None,
        identity_id: str | None = None,
        organization_id: str | None = None,
        limit: int = 100,
        after: tuple[str, str] | None = None,
    ) -> list[Participant]:
        """Return a person's participations over all rooms; each given id must be theirs.

        Ordered by (room id, participant id); `after` is that pair of the last one of the page before.
        """

    @abstractmethod
    async def create_identity(self, identity: Identity) -> Identity:
        """Add an identity and every address it lists, within its organization."""

    @abstractmethod
    async def get_identity(self, identity_id: str, *, organization_id: str | None = None) -> Identity | None:
        """Return an identity."""

    @abstractmethod
    async def delete_identity(self, identity_id: str) -> bool:
        """Remove an identity and its addresses; False when there is none."""

    @abstractmethod
    async def resolve_identity(
        self, channel_type: str, address: str, *, organization_id: str | None = None
    ) -> Identity | None:
        """Return who has that address in that organization (None: those without one)."""

    @abstractmethod
    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Add an address to an identity. Raises IdentityNotFoundError."""
