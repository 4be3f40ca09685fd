"""A durable one-shot timer of a room."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.values import DerivedId, Int, Key

__all__ = ["Timer"]


class Timer(Record):
    """A stored one-shot timer, fired once, by the worker that claims it.

    `due_at` is by the clock of the worker that sets it. `kind` names the handler that `data` is for.
    `claims` counts how often it was reclaimed from a worker that was lost. It is removed with its room, where
    it has one, and with the person of that address or id who is its `subject`.
    """

    id: DerivedId
    room_id: Key | None = None
    kind: Key
    due_at: datetime
    data: Json = EMPTY
    claims: Int = Field(default=0, ge=0)
    subject: Key | None = None
