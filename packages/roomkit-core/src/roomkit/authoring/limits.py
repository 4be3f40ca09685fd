"""How often something may happen: token buckets, fair to those who wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable

from roomkit.models.channel import RateLimit

__all__ = ["TokenBucketRateLimiter"]


class _Bucket:
    """One limit: `rate` tokens a second, at most `capacity` saved up.

    Tokens are taken in advance: the level may go below zero, and the debt says how long the taker
    has to wait. That makes waiters leave in order of arrival without a queue.
    """

    __slots__ = ("at", "capacity", "level", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self.level = capacity
        self.at = now

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
        self.at = now

    def wait(self) -> float:
        """Return the seconds until one more token is there."""
        return max(0.0, (1.0 - self.level) / self.rate)


def _rates(limit: RateLimit) -> list[tuple[float, float]]:
    """Return (rate, capacity) of every limit that is set; a bucket holds at least one token."""
    windows = ((limit.max_per_second, 1.0), (limit.max_per_minute, 60.0), (limit.max_per_hour, 3600.0))
    found: list[tuple[float, float]] = []  # bound: three
    for most, seconds in windows:
        if most is not None:
            rate = most / seconds
            # Only the finest limit spreads its tokens; the coarser ones may be used up at once.
            capacity = max(1.0, rate if not found else most)
            found.append((rate, capacity if limit.burst is None else float(limit.burst)))
    return found


class TokenBucketRateLimiter:
    """Token buckets by key, for any number of keys up to `max_keys` (the longest unused is dropped).

    A dropped key starts full again, which errs on the side of letting through.
    """

    def __init__(self, max_keys: int = 10_000) -> None:
        self._buckets: OrderedDict[Hashable, tuple[RateLimit, list[_Bucket]]] = OrderedDict()
        self._max_keys = max_keys
        self.dropped = 0

    def _of(self, key: Hashable, limit: RateLimit, now: float) -> list[_Bucket]:
        known = self._buckets.get(key)
        if known is not None and known[0] == limit:
            self._buckets.move_to_end(key)
            buckets = known[1]
            for bucket in buckets:
                bucket.refill(now)
            return buckets
        buckets = [_Bucket(rate, capacity, now) for rate, capacity in _rates(limit)]
        self._buckets[key] = (limit, buckets)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
            self.dropped += 1
        return buckets

    def acquire(self, key: Hashable, limit: RateLimit) -> bool:
        """Take a token of every bucket if each has one now."""
        buckets = self._of(key, limit, asyncio.get_running_loop().time())
        # A hair less than one: refilling in many small steps loses the last bits of a whole token.
        if any(bucket.level < 1.0 - 1e-9 for bucket in buckets):
            return False
        for bucket in buckets:
            bucket.level -= 1.0
        return True

    def delay(self, key: Hashable, limit: RateLimit) -> float:
        """Return the seconds until every bucket has a token, 0.0 when each has one now."""
        buckets = self._of(key, limit, asyncio.get_running_loop().time())
        return max((bucket.wait() for bucket in buckets if bucket.level < 1.0 - 1e-9), default=0.0)

    def take(self, key: Hashable, limit: RateLimit, tokens: float = 1.0) -> None:
        """Take tokens of every bucket whether it has them or not; a negative number gives them back."""
        for bucket in self._of(key, limit, asyncio.get_running_loop().time()):
            bucket.level -= tokens

    async def wait(self, key: Hashable, limit: RateLimit) -> float:
        """Take a token, waiting in line for it; return the seconds waited.

        A waiter that is cancelled gives its place back.
        """
        buckets = self._of(key, limit, asyncio.get_running_loop().time())
        seconds = max((bucket.wait() for bucket in buckets), default=0.0)
        for bucket in buckets:
            bucket.level -= 1.0
        if seconds > 0.0:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                for bucket in buckets:
                    bucket.level += 1.0
                raise
        return seconds
