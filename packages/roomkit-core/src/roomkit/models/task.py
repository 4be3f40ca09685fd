"""Work and insight that a conversation leaves behind."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record, new_id, utcnow
from roomkit.models.enums import TaskStatus
from roomkit.models.values import DerivedId, Id, Key, Label

__all__ = ["Observation", "Task"]


class Task(Record):
    """Something to be done about a room. Ids are unique over all rooms."""

    id: Id = Field(default_factory=new_id)
    room_id: Key
    title: Label
    description: Label | None = None
    assigned_to: Key | None = None
    status: TaskStatus = TaskStatus.PENDING
    created_at: datetime = Field(default_factory=utcnow)
    metadata: Json = EMPTY


class Observation(Record):
    """Something noticed about a room, with a confidence between 0 and 1."""

    id: DerivedId
    room_id: Key
    channel_id: Key
    content: Label
    category: Label | None = None
    confidence: float = Field(default=1.0, ge=0, le=1)
    created_at: datetime = Field(default_factory=utcnow)
    metadata: Json = EMPTY
