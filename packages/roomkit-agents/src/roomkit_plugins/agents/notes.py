"""Notes by which agents are asked, which no person sees."""

from __future__ import annotations

from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import SYSTEM_CHANNEL_ID, EventSource, RoomEvent

__all__ = ["note_to", "notice_on"]


def note_to(
    agent_id: str,
    room_id: str,
    words: str,
    *,
    asks: bool = True,
    on_behalf_of: str | None = None,
    key: str | None = None,
) -> RoomEvent:
    """Return a note of the system that one agent sees; it is asked to answer, and everyone sees that.

    Without `asks` the note waits in the agent's history. `on_behalf_of` is the participant whom the agent
    answers, by whose role its tools are judged.
    """
    return RoomEvent(
        room_id=room_id,
        source=EventSource(
            channel_id=SYSTEM_CHANNEL_ID, channel_type=ChannelType.SYSTEM, on_behalf_of=on_behalf_of
        ),
        content=TextContent(body=words),
        visibility=agent_id,
        response_visibility="all",
        addressed_to=(agent_id,) if asks else (),
        idempotency_key=key,
    )


def notice_on(channel_id: str, room_id: str, words: str) -> RoomEvent:
    """Return words of the system that are shown on one channel, and that no agent answers."""
    return RoomEvent(
        room_id=room_id,
        source=EventSource(channel_id=SYSTEM_CHANNEL_ID, channel_type=ChannelType.SYSTEM),
        content=TextContent(body=words),
        visibility=channel_id,
        addressed_to=(),
    )
