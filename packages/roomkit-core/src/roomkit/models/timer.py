"""A durable one-shot timer of a room."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field

from roomkit.models.base import EMPTY, FrozenDict, Json, Record
from roomkit.models.values import DerivedId, Int, Key

__all__ = ["Timer"]

DEAD = "core.dead"
"""The kind of dead timers, which no worker claims; the kind that one had is in its data."""
BEGUN = "begun"
"""Where in its data it is counted how often a timer was started by workers that then died."""


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

    @property
    def is_dead(self) -> bool:
        """Whether it kept killing its workers, and waits for an operator: it is not fired."""
        return self.kind == DEAD

    def buried(self) -> Self:
        """Return it as a dead timer."""
        return self.replace(kind=DEAD, data=FrozenDict({"kind": self.kind, "data": self.data}))

    def revived(self, due_at: datetime) -> Self:
        """Return a dead timer as it was, to be fired again."""
        data = {name: value for name, value in self.data.get("data", EMPTY).items() if name != BEGUN}
        return self.replace(kind=str(self.data.get("kind")), data=FrozenDict(data), due_at=due_at, claims=0)
