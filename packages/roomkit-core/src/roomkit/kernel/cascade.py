"""What one message sets going, and when all of it has settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from roomkit.models.delivery import Delivery, DeliveryResult

if TYPE_CHECKING:
    from roomkit.abc.store import RoomRecord
    from roomkit.models.event import RoomEvent

__all__ = ["Cascade", "DeliveryResults", "Run", "result_of"]


class Cascade:
    """Counts what is still under way; `error` is the first failure of an intelligence or observer."""

    __slots__ = ("_waiter", "error", "outer", "pending", "then")

    def __init__(self) -> None:
        self.pending = 0
        self.error: Exception | None = None
        self.then: Callable[[], object] | None = None
        """What to do when all has settled, for one that goes on without its caller."""
        self.outer: Cascade | None = None
        """The cascade that this one is a part of: it settles no sooner."""
        self._waiter: asyncio.Future[None] | None = None

    def hold(self) -> None:
        """Note that something more was set going."""
        self.pending += 1
        cascade = self
        while cascade.pending == 1 and cascade.outer is not None:
            cascade = cascade.outer
            cascade.pending += 1

    def release(self) -> None:
        """Note that something came to its end."""
        cascade: Cascade | None = self
        while cascade is not None:
            cascade.pending -= 1
            if cascade.pending:
                return
            if cascade._waiter is not None and not cascade._waiter.done():
                cascade._waiter.set_result(None)
            if cascade.then is not None:
                cascade.then()
            cascade = cascade.outer

    def failed(self, error: Exception) -> None:
        """Keep the first failure."""
        cascade: Cascade | None = self
        while cascade is not None and cascade.error is None:
            cascade.error = error
            cascade = cascade.outer

    async def settled(self) -> None:
        """Return when nothing is under way any more; any number of callers may wait."""
        while self.pending:
            if self._waiter is None or self._waiter.done():
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)


class Run:
    """One committed event on its way out: which deliveries are still open, how the others ended."""

    __slots__ = (
        "abandoned",
        "alarm_id",
        "cascade",
        "elsewhere",
        "event",
        "finished",
        "launched",
        "pending",
        "record",
        "resumed",
        "span",
        "targets",
        "unrecorded",
    )

    def __init__(
        self, cascade: Cascade, event: RoomEvent, record: RoomRecord, targets: Sequence[str]
    ) -> None:
        self.cascade = cascade
        self.event = event
        self.record = record
        self.targets = targets
        self.pending = len(targets)
        self.launched = False
        self.abandoned = False
        self.elsewhere = False
        """Whether other deliveries of the event are another worker's, or have to be claimed first."""
        self.resumed = False
        """Whether its deliveries were claimed: the rest of what follows from the event is not its matter."""
        self.span: str | None = None
        """The span of its broadcast, which ends with it; None on a worker that did not commit it."""
        self.alarm_id: str | None = None
        """The alarm that has the observers run if this worker does not come to it."""
        self.finished: list[Delivery] = []  # bound: the event's targets
        self.unrecorded: list[Delivery] = []  # bound: the event's targets


def result_of(row: Delivery) -> DeliveryResult:
    """Return the end of a delivery as callers see it."""
    return DeliveryResult(row.channel_id, row.state, row.provider_message_id, row.error, row.reason)


class DeliveryResults(Mapping[str, DeliveryResult]):
    """The ends of an event's deliveries by channel id, built when they are looked at."""

    __slots__ = ("_rows",)

    def __init__(self, run: Run) -> None:
        self._rows = run.finished

    def __getitem__(self, channel_id: str) -> DeliveryResult:
        for row in self._rows:
            if row.channel_id == channel_id:
                return result_of(row)
        raise KeyError(channel_id)

    def __iter__(self) -> Iterator[str]:
        return (row.channel_id for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return repr(dict(self))
