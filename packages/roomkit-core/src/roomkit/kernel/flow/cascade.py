"""The work that one message starts, and when all of it has settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from roomkit.models.delivery import DeliveryOutcome, DeliveryResult
from roomkit.models.enums import DeliveryState

__all__ = ["Cascade", "DeliveryResults", "result_of"]


class Cascade:
    """Counts the work still under way; `error` is the first failure of an intelligence or observer."""

    __slots__ = ("_waiter", "error", "is_awaited", "outer", "pending", "then")

    def __init__(self, *, is_awaited: bool = True) -> None:
        self.pending = 0
        self.is_awaited = is_awaited
        """Whether a caller may wait for it, and for the outcomes of its deliveries."""
        self.error: Exception | None = None
        self.then: Callable[[], object] | None = None
        """Called once all has settled, for a cascade that no caller awaits."""
        self.outer: Cascade | None = None
        """The cascade that this one is part of, which settles no sooner."""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def has_waiter(self) -> bool:
        """Whether a caller may wait for it, or for one that it is part of."""
        cascade: Cascade | None = self
        while cascade is not None and not cascade.is_awaited:
            cascade = cascade.outer
        return cascade is not None

    def hold(self) -> None:
        """Note that another piece of work was started."""
        self.pending += 1
        cascade = self
        while cascade.pending == 1 and cascade.outer is not None:
            cascade = cascade.outer
            cascade.pending += 1

    def release(self) -> None:
        """Note that one piece of work has ended."""
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
        """Wait until no work is under way; any number of callers may wait."""
        while self.pending:
            if self._waiter is None or self._waiter.done():  # as `waiter`: each message comes by here
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)

    def waiter(self) -> asyncio.Future[None]:
        """Return a future that is done when no work is under way, for callers that must not cancel it."""
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def is_part_of(self, other: Cascade) -> bool:
        """Whether the other cascade settles no sooner than this one."""
        cascade: Cascade | None = self
        while cascade is not None and cascade is not other:
            cascade = cascade.outer
        return cascade is other


def result_of(row: DeliveryOutcome) -> DeliveryResult:
    """Return the outcome of a delivery as callers see it."""
    is_partial = row.state is DeliveryState.FAILED and row.sent_parts > 0
    return DeliveryResult(
        row.channel_id, row.state, row.provider_message_id, row.error, row.reason, is_partial
    )


class DeliveryResults(Mapping[str, DeliveryResult]):
    """The outcomes of an event's deliveries by channel id, built when they are read."""

    __slots__ = ("_by_channel", "_rows")

    def __init__(self, rows: Sequence[DeliveryOutcome]) -> None:
        self._rows = rows
        self._by_channel: dict[str, DeliveryOutcome] = {}

    def __getitem__(self, channel_id: str) -> DeliveryResult:
        if len(self._by_channel) < len(self._rows):
            self._by_channel = {row.channel_id: row for row in self._rows}
        return result_of(self._by_channel[channel_id])

    def __iter__(self) -> Iterator[str]:
        return (row.channel_id for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return repr(dict(self))
