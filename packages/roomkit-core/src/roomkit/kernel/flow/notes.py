"""The framework's own notes on a room."""

from __future__ import annotations

from roomkit.models.content import SystemContent
from roomkit.models.enums import ChannelDirection, ChannelType, EventType
from roomkit.models.event import SYSTEM_CHANNEL_ID, EventSource, RoomEvent

__all__ = ["note"]

_SYSTEM = EventSource(
    channel_id=SYSTEM_CHANNEL_ID, channel_type=ChannelType.SYSTEM, direction=ChannelDirection.OUTBOUND
)


def note(
    room_id: str,
    kind: EventType,
    code: str,
    body: str,
    *,
    participant_id: str | None = None,
    **data: object,
) -> RoomEvent:
    """Return the framework's own note on a room: from the system, seen by no channel."""
    return RoomEvent(
        room_id=room_id,
        type=kind,
        source=_SYSTEM if participant_id is None else _SYSTEM.replace(participant_id=participant_id),
        content=SystemContent(body=body, code=code, data=data),
        visibility="internal",
    )
