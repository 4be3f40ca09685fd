"""The kit's clock, corrected by the clock that all workers of a store share."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, override

from roomkit.abc.clock import Clock
from roomkit.abc.log import get_logger

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore

__all__ = ["StoreClock", "follow_store"]

_log = get_logger("roomkit.kernel")
_TOLERATED = timedelta(seconds=1)


class StoreClock(Clock):
    """A clock that is corrected when it differs from the store's by more than a second.

    Timers and activity are written by one worker and read by others: with clocks minutes apart, a timer would
    be minutes late or early. Clocks that are kept by NTP differ by less, and are never corrected.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._correction = timedelta(0)

    @override
    def now(self) -> datetime:
        """Return the present time by the store's clock, as it was compared last."""
        return self._clock.now() + self._correction

    async def follow(self, store: ConversationStore) -> None:
        """Compare the clock with the store's, and correct it if it is wrong. Raises StoreError."""
        before = self._clock.now()
        there = await store.now()
        if there is None:
            return
        waited = self._clock.now() - before
        correction = there - before - waited / 2
        if abs(correction - self._correction) <= _TOLERATED + waited:
            return
        self._correction = correction if abs(correction) > _TOLERATED else timedelta(0)
        _log.warning(
            "this worker's clock is %.1f s apart from the store's, which it goes by from now on: check the "
            "machine's time service",
            correction.total_seconds(),
        )


async def follow_store(clock: Clock, store: ConversationStore) -> None:
    """Correct a clock by the store's, if it is one that follows it. Raises StoreError."""
    if isinstance(clock, StoreClock):
        await clock.follow(store)
