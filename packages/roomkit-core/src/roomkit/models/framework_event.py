"""Events about the framework itself."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record, utcnow
from roomkit.models.values import Label

__all__ = ["FrameworkEvent"]


class FrameworkEvent(Record):
    """One observation of the framework at work; the types are listed in `FRAMEWORK_EVENTS` in the kernel."""

    type: Label
    room_id: Label | None = None
    channel_id: Label | None = None
    event_id: Label | None = None
    timestamp: datetime = Field(default_factory=utcnow)
    data: Json = EMPTY
