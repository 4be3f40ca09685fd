"""The contract of what an agent remembers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.services import Services
    from roomkit.models.ai import AIMessage
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.generation import AIContext, AIResponse

__all__ = ["MemoryProvider", "MemoryRequest", "MemoryResult"]


@dataclass(slots=True, frozen=True)
class MemoryRequest:
    """A request that a memory has made of a model, and the answer: usage and cost of the turn include it."""

    provider: AIProvider
    context: AIContext
    response: AIResponse


@dataclass(slots=True, frozen=True)
class MemoryResult:
    """The history put before the current event: ready `messages` first, then `events`, oldest first.

    `requests` are those that were made for it. A memory that wraps another one hands its requests on:
    `dataclasses.replace(found, events=...)` does.
    """

    messages: Sequence[AIMessage] = ()
    events: Sequence[RoomEvent] = ()
    requests: Sequence[MemoryRequest] = ()


class MemoryProvider(ABC):
    """Chooses the history an agent sees. One object serves many rooms concurrently."""

    @property
    def name(self) -> str:
        """The provider's component name."""
        return type(self).__name__

    @property
    def providers(self) -> Sequence[AIProvider]:
        """The providers whose models the memory asks: an agent with a budget needs their prices."""
        return ()

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
