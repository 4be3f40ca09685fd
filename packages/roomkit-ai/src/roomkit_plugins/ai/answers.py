"""The events that an agent's answers become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.models.base import new_id, utcnow
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelDirection
from roomkit.models.event import EventSource, Generation, RoomEvent
from roomkit.models.values import repaired, vendor_json

if TYPE_CHECKING:
    from roomkit.models.ai import StreamDone
    from roomkit.models.channel import ChannelBinding

__all__ = ["AnswerEvents"]


class AnswerEvents:
    """Makes events of the answers of one agent, in any number of rooms.

    Most answers have the source and the generation of the one before: both are kept, and validated again
    only when they differ.
    """

    def __init__(self, channel_id: str, channel_type: str) -> None:
        self._channel_id = channel_id
        self._channel_type = channel_type
        self._draft = self._new_draft()
        self._made: dict[str, Any] = {}  # bound: four fields
        self._generation = Generation()

    def event(self, text: str, done: StreamDone, binding: ChannelBinding) -> RoomEvent:
        """Return an answer that was generated to its end as an event of the binding's room."""
        provider = done.metadata["provider"]
        draft = self._draft
        if (draft.source.participant_id, draft.source.provider) != (binding.participant_id, provider):
            draft = self._draft = self._new_draft(binding.participant_id, provider)
        body = repaired(text, keep_nul=True)
        return draft.replace(
            id=new_id(),
            created_at=utcnow(),
            room_id=binding.room_id,
            content=TextContent.trusted({"type": "text", "body": body, "language": None}),
            generation=self._generation_of(done),
        )

    def _generation_of(self, done: StreamDone) -> Generation:
        """Return how an answer was made; but for their usage, most are made as the one before."""
        made = {
            "provider": done.metadata["provider"],
            "model": done.metadata["model"],
            "tool_rounds": done.metadata["tool_rounds"],
            "finish_reason": done.finish_reason,
        }
        if made != self._made:
            self._made, self._generation = made, Generation(**made)
        usage, cost = done.usage, done.metadata["cost"]
        if cost is not None:
            return self._generation.replace(usage=vendor_json(usage), cost=cost)
        return self._generation.replace(usage=vendor_json(usage)) if usage else self._generation

    def _new_draft(self, participant_id: str | None = None, provider: str | None = None) -> RoomEvent:
        """Return an answer that has neither words nor a room yet."""
        source = EventSource(
            channel_id=self._channel_id,
            channel_type=self._channel_type,
            direction=ChannelDirection.OUTBOUND,
            participant_id=participant_id,
            provider=provider,
        )
        return RoomEvent(room_id=self._channel_id, source=source, content=TextContent(body=""))
