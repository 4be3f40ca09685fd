"""Ending answers under way from outside, on any worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelCategory, DeliveryState

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.worker_signals import WorkerSignals
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["Interruptions"]

_TOPIC = "turns-interrupted"
_MOST_ROWS = 1_000


class Interruptions:
    """Ends turns in the lanes of this worker, and has the other workers end those in theirs."""

    def __init__(
        self, *, store: ConversationStore, signals: WorkerSignals, lanes: Lanes, lease: Lease
    ) -> None:
        self._store = store
        self._signals = signals
        self._lanes = lanes
        self._lease = lease

    async def begin(self) -> None:
        """Take the other workers' calls, if the store has others."""
        if self._lease.worker_id is not None:
            await self._signals.listen(_TOPIC, self._called)

    async def _called(self, signal: EphemeralEvent) -> None:
        stream_id = signal.data.get("stream_id")
        reason = str(signal.data.get("reason") or "interrupted")
        self._lanes.interrupt(signal.room_id, None if stream_id is None else str(stream_id), reason)

    async def interrupt(self, room_id: str, stream_id: str | None, reason: str) -> int:
        """End turns of a room; return how many: those here, and those that other workers hold."""
        ended = self._lanes.interrupt(room_id, stream_id, reason)
        own_id = self._lease.worker_id
        elsewhere = 0 if own_id is None else await self._held_elsewhere(room_id, own_id)
        if elsewhere:
            await self._signals.publish(_TOPIC, {"stream_id": stream_id, "reason": reason}, room_id)
        return ended + elsewhere

    async def _held_elsewhere(self, room_id: str, own_id: str) -> int:
        """Count the intelligences that have turns with other workers."""
        rows = await self._store.list_deliveries(room_id, state=DeliveryState.PENDING, limit=_MOST_ROWS)
        held = {row.channel_id for row in rows if row.holder not in (None, own_id)}
        if not held:
            return 0
        bindings = await self._store.list_bindings(room_id)
        return sum(
            each.category is ChannelCategory.INTELLIGENCE and each.channel_id in held for each in bindings
        )
