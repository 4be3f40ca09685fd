"""Which intelligences may speak in a room, and why an answer under way ends. Reasons are stable codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.kernel.flow.permissions import is_banned
from roomkit.models.enums import Access, ChannelDirection

if TYPE_CHECKING:
    from roomkit.abc.store import RoomRecord
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import EventSource

__all__ = ["VOICE_LOST", "may_answer", "voice_lost"]

VOICE_LOST = frozenset(
    {
        "muted",
        "detached",
        "taken_over",
        "unregistered",
        "room_closed",
        "room_archived",
        "room_deleted",
    }
)
"""Why an answer may be cut off because its agent may say no more, or its room takes no more."""


def may_answer(binding: ChannelBinding) -> str | None:
    """Return why an intelligence is not asked: it sees nothing, or no channel would see its answer."""
    if binding.muted:
        return binding.mute_reason or "muted"
    if binding.access is not Access.READ_WRITE:
        return "read_only" if binding.access is Access.READ_ONLY else "channel_detached"
    if binding.direction is ChannelDirection.INBOUND:
        return "channel_detached"
    return "invisible" if binding.visibility == "none" else None


def voice_lost(record: RoomRecord, channel_id: str, question: EventSource) -> str | None:
    """Return why an answer of the intelligence to a question that is under way ends."""
    if not record.status.is_open:
        return f"room_{record.status}"
    binding = record.bindings.get(channel_id)
    if binding is None:
        return "detached"
    if may_answer(binding) is not None:
        return binding.mute_reason or "muted"
    asked_by = (question.participant_id, question.on_behalf_of)
    return "interrupted" if any(is_banned(record, each) for each in asked_by) else None
