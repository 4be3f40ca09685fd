"""Pauses of sending, announced between workers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.kernel.runtime.worker_signals import WorkerSignals
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["PauseSignals"]

_TOPIC = "sending-paused"


class PauseSignals:
    """Publishes the pauses that vendors ask this worker for, and keeps those that others publish.

    A signal that is lost costs one refused send on each of the other workers.
    """

    def __init__(self, signals: WorkerSignals) -> None:
        self._signals = signals

    async def listen(self, pause: Callable[[str, float], object]) -> None:
        """Have `pause` called with the keys and seconds that other workers announce, if there can be any."""

        async def received(signal: EphemeralEvent) -> None:
            key, seconds = signal.data.get("key"), signal.data.get("seconds")
            if isinstance(key, str) and isinstance(seconds, int | float) and 0 < seconds < math.inf:
                pause(key, seconds)

        if self._signals.has_others:
            await self._signals.listen(_TOPIC, received)

    def announce(self, key: str, seconds: float) -> None:
        """Publish a pause to the other workers."""
        self._signals.announce(_TOPIC, {"key": key, "seconds": seconds})
