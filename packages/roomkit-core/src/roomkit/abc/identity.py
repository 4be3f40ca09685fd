"""The contract of identity resolution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.identity import IdentityResult

__all__ = ["IdentityResolver"]


class IdentityResolver(ABC):
    """Says who the sender of a message is."""

    @abstractmethod
    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        """Return who sent `message`.

        Bounded by the kit's `identity_timeout`; failing or timing out counts as UNKNOWN. For a
        message that would open a room, `context.room` is a room that does not exist yet.
        """
