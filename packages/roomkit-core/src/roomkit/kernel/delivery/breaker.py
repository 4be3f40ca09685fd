"""A circuit breaker: a provider that keeps failing gets no requests for an interval."""

from __future__ import annotations

import asyncio

__all__ = ["Breakers", "CircuitBreaker"]


class CircuitBreaker:
    """Opens after `failure_threshold` provider failures in a row, for `recovery_timeout` seconds.

    Then one probe is let through; its success closes the breaker, its failure opens it again. A
    probe that ends without a verdict (it was cancelled) must call `record_abandoned`.
    """

    __slots__ = ("_cooldown", "_failures", "_opened_at", "_threshold", "probe")

    def __init__(self, failure_threshold: int = 5, recovery_timeout: float = 60.0) -> None:
        self._threshold = failure_threshold
        self._cooldown = recovery_timeout
        self._failures = 0
        self._opened_at: float | None = None
        self.probe: asyncio.Event | None = None
        """The probe under way, set when it ends; deliveries waiting for it then ask `allow_request` again."""

    @property
    def is_closed(self) -> bool:
        """Whether everything is let through."""
        return self._opened_at is None

    @property
    def is_open(self) -> bool:
        """Whether nothing is let through now."""
        return self._opened_at is not None and self.retry_after > 0

    @property
    def is_half_open(self) -> bool:
        """Whether a probe is due or under way."""
        return self._opened_at is not None and not self.is_open

    @property
    def retry_after(self) -> float:
        """Seconds until the next probe."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._cooldown - asyncio.get_running_loop().time())

    def allow_request(self) -> bool:
        """Return whether a request may go out now; True for the one probe of a half-open breaker."""
        if self._opened_at is None:
            return True
        if self.probe is not None or self.retry_after > 0:
            return False
        self.probe = asyncio.Event()
        return True

    def record_success(self) -> bool:
        """Note a success; return whether it closed the breaker."""
        closed = self._opened_at is not None
        self.reset()
        return closed

    def record_failure(self) -> bool:
        """Note a failure of the provider; return whether it opened the breaker."""
        self._failures += 1
        was_closed = self._opened_at is None
        if self.probe is not None or self._failures >= self._threshold:
            self._opened_at = asyncio.get_running_loop().time()
            self._end_probe()
            return was_closed
        return False

    def record_abandoned(self) -> None:
        """Note that a request ended without telling anything of the provider."""
        self._end_probe()

    def reset(self) -> None:
        """Close the breaker and forget the failures."""
        self._failures = 0
        self._opened_at = None
        self._end_probe()

    def _end_probe(self) -> None:
        probe, self.probe = self.probe, None
        if probe is not None:
            probe.set()


class Breakers(dict[tuple[str, str | None], CircuitBreaker]):
    """The breakers by channel id and provider; one exists from a provider's first failure on."""

    def of(self, channel_id: str, provider: str | None) -> CircuitBreaker:
        """Return the breaker of a channel's provider, made if there is none yet."""
        found = self.get((channel_id, provider))
        if found is None:
            found = self[channel_id, provider] = CircuitBreaker()
        return found

    def forget(self, channel_id: str) -> None:
        """Remove the breakers of a channel."""
        for key in [key for key in self if key[0] == channel_id]:
            self.pop(key).reset()  # deliveries waiting for its probe continue
