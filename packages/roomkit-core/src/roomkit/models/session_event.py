"""The start of a session: a call that is live, or a room a stranger's message opened."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Any

from roomkit._dataclasses import dataclass
from roomkit.models.base import utcnow
from roomkit.models.enums import ChannelType

__all__ = ["SessionStartedEvent"]


@dataclass(slots=True, frozen=True, kw_only=True)
class SessionStartedEvent:
    """The payload of ON_SESSION_STARTED; `session` is the live call, None for text."""

    room_id: str
    channel_id: str
    channel_type: ChannelType
    participant_id: str | None = None
    session: Any = None
    timestamp: datetime = field(default_factory=utcnow)
