"""A memory that always remembers the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roomkit.abc.memory import MemoryProvider, MemoryResult
from roomkit.models.ai import AIMessage
from roomkit.models.context import RoomContext
from roomkit.models.event import RoomEvent

__all__ = ["MockMemoryProvider"]


@dataclass(slots=True, frozen=True)
class RetrieveCall:
    """What `retrieve` was asked."""

    room_id: str
    current_event: RoomEvent
    context: RoomContext
    channel_id: str | None


@dataclass(slots=True, frozen=True)
class IngestCall:
    """The calls of `ingest`."""

    room_id: str
    event: RoomEvent
    channel_id: str | None


class MockMemoryProvider(MemoryProvider):
    """Returns `messages` and `events`, for every caller; records every call in the `*_calls` lists."""

    def __init__(
        self, messages: Sequence[AIMessage] | None = None, events: Sequence[RoomEvent] | None = None
    ) -> None:
        self._result = MemoryResult(tuple(messages or ()), tuple(events or ()))
        self.retrieve_calls: list[RetrieveCall] = []  # bound: the life of a test
        self.ingest_calls: list[IngestCall] = []  # bound: the life of a test
        self.clear_calls: list[str] = []  # bound: the life of a test
        self.closed = False

    async def retrieve(
        self,
        room_id: str,
        current_event: RoomEvent,
        context: RoomContext,
        *,
        channel_id: str | None = None,
    ) -> MemoryResult:
        """Return what it was made with."""
        self.retrieve_calls.append(RetrieveCall(room_id, current_event, context, channel_id))
        return self._result

    async def ingest(self, room_id: str, event: RoomEvent, *, channel_id: str | None = None) -> None:
        """Record the event."""
        self.ingest_calls.append(IngestCall(room_id, event, channel_id))

    async def clear(self, room_id: str) -> None:
        """Record the room."""
        self.clear_calls.append(room_id)

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True
