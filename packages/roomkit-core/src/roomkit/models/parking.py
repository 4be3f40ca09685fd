"""Tool calls that wait for a person or a program, and the turns that they park."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.values import Key, Label, Reference, Text

__all__ = ["Park", "ParkedCall", "ParkedRound", "ParkedTurn"]


@dataclass(slots=True, frozen=True)
class Park:
    """What a tool returns instead of a result: the answer comes later, from outside the turn.

    `deadline` is an instant or a length of time; once it is over, the model gets an error as the result.
    `asked` is who may answer: a participant of the room where they were asked, or an identity. `request` is
    the id of the event by which they were asked, `code` a text that was in it, for answers by a channel that
    does not say what they reply to. Without `asked` only a program answers, with `resume`.
    """

    reason: str
    deadline: datetime | timedelta
    asked: str | None = None
    request: str | None = None
    code: str | None = None


class ParkedCall(Record):
    """A call that waits for its result, or that got it while others of its round still wait.

    `reason`, `asked`, `request` and `code` are those of its `Park`; `result` is None while it waits.
    """

    call_id: Reference
    name: Text
    arguments: Json = EMPTY
    reason: Label
    deadline: datetime
    asked: Key | None = None
    request: Key | None = None
    code: Label | None = None
    result: Text | None = None
    is_error: bool = False

    @property
    def waits(self) -> bool:
        """Whether it has no result yet."""
        return self.result is None


@dataclass(slots=True)
class ParkedRound:
    """One round of a turn in which some calls wait.

    `state` is the intelligence's own, of JSON values: everything that it needs to continue, apart from the
    room's history. When it continues, the results are in `calls`.
    """

    calls: Sequence[ParkedCall]
    state: Mapping[str, Any] = field(default_factory=dict)


class ParkedTurn(Record):
    """An agent's turn that waits for the results of some of its calls.

    `turn_id` is the id of the delivery whose turn it is, `event_id` the event that it answers,
    `participant_id` the person whom it is for. `resumed_as` is the event by which it continues, once all
    calls have results.
    """

    turn_id: Reference
    room_id: Key
    channel_id: Key
    event_id: Key
    participant_id: Key | None = None
    parked_at: datetime
    calls: tuple[ParkedCall, ...]
    resumed_as: Key | None = None
    is_cancelled: bool = False
    """Whether it was cancelled, and is being removed: it continues no more."""

    @property
    def waiting(self) -> tuple[ParkedCall, ...]:
        """The calls that wait."""
        return tuple(call for call in self.calls if call.waits)

    @property
    def deadline(self) -> datetime | None:
        """When the first of the waiting calls expires; None when none waits."""
        return min((call.deadline for call in self.waiting), default=None)
