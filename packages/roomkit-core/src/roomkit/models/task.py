"""Work and insight that a conversation leaves behind."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record, utcnow
from roomkit.models.enums import TaskStatus

__all__ = ["Observation", "Task"]


class Task(Record):
    """Something to be done about a room."""

    id: str = Field(min_length=1)
    room_id: str
    title: str
    description: str | None = None
    assigned_to: str | None = None
    status: TaskStatus = TaskStatus.PENDING
    created_at: datetime = Field(default_factory=utcnow)
    metadata: Json = EMPTY


class Observation(Record):
    """Something noticed about a room, with a confidence between 0 and 1."""

    id: str = Field(min_length=1)
    room_id: str
    channel_id: str
    content: str
    category: str | None = None
    confidence: float = Field(default=1.0, ge=0, le=1)
    created_at: datetime = Field(default_factory=utcnow)
    metadata: Json = EMPTY
