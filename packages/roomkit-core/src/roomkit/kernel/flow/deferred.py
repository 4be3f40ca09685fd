"""Deliveries that wait without their job, and the event that settles with the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from roomkit.models.enums import DeliveryState

if TYPE_CHECKING:
    from roomkit.models.delivery import DeliveryOutcome

__all__ = ["Deferred", "Remainder"]


class _Part(Protocol):
    """A run: some of an event's deliveries."""

    targets: Sequence[str]
    timer_id: str | None
    resumed: bool
    elsewhere: bool
    abandoned: bool
    finished: list[DeliveryOutcome]


class Deferred:
    """A delivery that waits in its lane by its event's index; its job is made again in its turn."""

    __slots__ = ("index", "remainder", "worker_id")

    def __init__(self, index: int, worker_id: str | None, remainder: Remainder) -> None:
        self.index = index
        self.worker_id = worker_id
        """The lease that its ledger row is held under."""
        self.remainder = remainder


class Remainder:
    """An event with deferred deliveries: each of its parts is a run, and the last to end settles the event.

    One part is the run that was committed or claimed, with the deliveries that were not deferred.
    """

    __slots__ = ("abandoned", "elsewhere", "failed", "has_timer", "open", "resumed", "total")

    def __init__(self, run: _Part) -> None:
        self.open = 1
        """How many parts have not ended."""
        self.total = len(run.targets)
        self.has_timer = run.timer_id is not None
        self.resumed = run.resumed
        self.elsewhere = False
        self.abandoned = False
        """Whether a delivery was released: its event's timer then runs the observers."""
        self.failed: Sequence[DeliveryOutcome] = ()

    def ended(self, run: _Part) -> bool:
        """Note the end of a part; return whether it was the last, which then stands for all of them."""
        self.open -= 1
        self.elsewhere |= run.elsewhere
        self.abandoned |= run.abandoned
        if failed := [row for row in run.finished if row.state is DeliveryState.FAILED]:
            self.failed = (*self.failed, *failed)
        run.elsewhere, run.abandoned = self.elsewhere, self.abandoned
        return self.open == 0
