"""Something of a room that waits for its time."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.values import DerivedId, Int, Key

__all__ = ["Alarm"]


class Alarm(Record):
    """What is to be done about a room at a time, by whichever worker is there then.

    `due_at` is by the clock of the worker that sets it. `kind` names who answers it, `data` is theirs.
    `claims` counts how often it was taken over from a worker that did not come back.
    """

    id: DerivedId
    room_id: Key
    kind: Key
    due_at: datetime
    data: Json = EMPTY
    claims: Int = Field(default=0, ge=0)
