"""The kit's one clock."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import datetime

from roomkit.models.base import utcnow

__all__ = ["Clock", "SystemClock"]


class Clock(ABC):
    """Where the kit takes the time from, so that tests can run on virtual time.

    Waiting is always done through the running event loop, whose `time()` is the kit's monotonic time.
    """

    follows_store: bool = False
    """Whether a kit corrects this clock by the clock of a shared store (`ConversationStore.now`)."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the present time, aware and in UTC."""

    def monotonic(self) -> float:
        """Return seconds on the running loop's clock, which never goes back."""
        return asyncio.get_running_loop().time()


class SystemClock(Clock):
    """The operating system's clock. On a shared store it is corrected by the store's when it is wrong."""

    follows_store = True

    def now(self) -> datetime:
        """Return the present time, aware and in UTC."""
        return utcnow()
