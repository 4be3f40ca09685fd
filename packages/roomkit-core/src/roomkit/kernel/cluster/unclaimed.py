"""Deliveries whose channel no running worker has registered."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import TYPE_CHECKING

from roomkit.abc.log import get_logger

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.models.options import KitOptions

__all__ = ["Unclaimed"]

_log = get_logger("roomkit.kernel")


class Unclaimed:
    """Reports channels that no worker announces while deliveries wait for them.

    Time is counted from when this worker first saw a channel missing: a deployment that replaces every
    worker at once fails nothing.
    """

    def __init__(self, *, settings: KitOptions, store: ConversationStore, events: FrameworkEvents) -> None:
        self._settings = settings
        self._store = store
        self._events = events
        self._since: dict[str, float] = {}  # bound: the channels of pending deliveries
        self._reported: set[str] = set()  # bound: likewise

    @property
    def expired(self) -> Set[str]:
        """The channels that no worker has announced for `unclaimed_after`: their deliveries are to fail."""
        return self._missing_for(self._settings.unclaimed_after)

    def missing(self) -> Set[str]:
        """Return the channels that no worker has announced for a lease: nothing waits for them any longer."""
        return self._missing_for(self._settings.lease_seconds)

    def _missing_for(self, seconds: float) -> Set[str]:
        if not self._since:
            return frozenset()
        before = asyncio.get_running_loop().time() - seconds
        return {channel_id for channel_id, since in self._since.items() if since <= before}

    async def look(self) -> None:
        """Find such channels, and report each that has been missing for a lease. Raises StoreError."""
        counts = await self._store.count_unclaimed()
        now = asyncio.get_running_loop().time()
        self._since = {channel_id: self._since.get(channel_id, now) for channel_id in counts}
        self._reported &= counts.keys()
        for channel_id in self.missing() - self._reported:
            self._reported.add(channel_id)
            self._report(channel_id, counts[channel_id])

    def _report(self, channel_id: str, deliveries: int) -> None:
        _log.warning(
            "%s deliveries wait for channel %r, which no worker has registered: register_channel it, or "
            "they fail %g s after it was missed",
            deliveries,
            channel_id,
            self._settings.unclaimed_after,
        )
        self._events.emit("delivery_unclaimed", channel_id=channel_id, deliveries=deliveries)
