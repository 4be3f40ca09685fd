"""The contract of finding the room of a message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.enums import ChannelType

__all__ = ["InboundRoomRouter"]


class InboundRoomRouter(ABC):
    """Finds the room of a message that names none."""

    @abstractmethod
    async def route(
        self,
        channel_id: str,
        channel_type: ChannelType,
        participant_id: str | None = None,
        *,
        message: InboundMessage | None = None,
    ) -> str | None:
        """Return the id of the room, or None for a new one; when in doubt, None.

        `participant_id` is the sender's address, or that of the conversation that several share.

        Calls for one (channel, sender) come one at a time.
        """
