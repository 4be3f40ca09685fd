"""The event by which a parked turn continues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.kernel.flow.notes import note
from roomkit.models.content import SystemContent
from roomkit.models.enums import EventType

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.parking import ParkedTurn

__all__ = ["continuation", "continues", "question_of"]

_RESUMED = "turn_resumed"


def continues(event: RoomEvent) -> bool:
    """Return whether an event has the form of one by which a parked turn continues."""
    content = event.content
    return event.type is EventType.SYSTEM and isinstance(content, SystemContent) and content.code == _RESUMED


def question_of(event: RoomEvent) -> str:
    """Return the id of the event that a turn answers: one that was resumed answers the same one."""
    if isinstance(event.content, SystemContent) and continues(event):
        return str(event.content.data["event_id"])
    return event.id


def continuation(turn: ParkedTurn, question: RoomEvent, *, key: str) -> RoomEvent:
    """Return the event by which a turn continues: what its agent says then answers the question."""
    event = note(
        turn.room_id,
        EventType.SYSTEM,
        _RESUMED,
        f"a turn of {turn.channel_id} continues",
        turn_id=turn.turn_id,
        event_id=turn.event_id,
    )
    return event.replace(
        id=turn.resumed_as,
        source=event.source.replace(on_behalf_of=turn.participant_id),
        idempotency_key=key,
        chain_depth=question.chain_depth,
        correlation_id=question.correlation_id or question.id,
        parent_event_id=question.parent_event_id,
        response_visibility=question.response_visibility,
        channel_data=event.channel_data.replace(thread_id=question.channel_data.thread_id),
    )
