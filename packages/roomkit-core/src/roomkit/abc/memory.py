"""The contract of what an agent remembers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.models.ai import AIMessage
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = ["MemoryProvider", "MemoryResult"]


@dataclass(slots=True, frozen=True)
class MemoryResult:
    """The history put before the current event: ready `messages` first, then `events`, oldest first."""

    messages: Sequence[AIMessage] = ()
    events: Sequence[RoomEvent] = ()


class MemoryProvider(ABC):
    """Chooses the history an agent sees. One object serves many rooms concurrently."""

    @property
    def name(self) -> str:
        """The provider's component name."""
        return type(self).__name__

    def bind(self, services: Services) -> None:
        """Take the services of the agent's kit; synchronous, without I/O, and once for each agent of it.

        Their namespace is that of the memory's class. A memory that wraps another one passes them on.
        """

    @abstractmethod
    async def retrieve(
        self,
        room_id: str,
        current_event: RoomEvent,
        context: RoomContext,
        *,
        channel_id: str | None = None,
    ) -> MemoryResult:
        """Return the history for one answer, without `current_event`.

        `context` shows only what the agent may see; nothing else may be added.
        """

    async def ingest(self, room_id: str, event: RoomEvent, *, channel_id: str | None = None) -> None:
        """Take note of an event the agent was shown or made."""

    async def clear(self, room_id: str) -> None:
        """Forget the room."""

    async def close(self) -> None:
        """Release what the memory holds. Idempotent."""
