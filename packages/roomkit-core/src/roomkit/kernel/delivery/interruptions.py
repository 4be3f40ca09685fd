"""Ending answers under way from outside, on any worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.errors import RoomKitError
from roomkit.abc.log import get_logger
from roomkit.models.base import new_id
from roomkit.models.enums import ChannelCategory, DeliveryState, EphemeralEventType
from roomkit.models.realtime import EphemeralEvent

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.runtime.lease import Lease

__all__ = ["Interruptions"]

_log = get_logger("roomkit.kernel")
_TOPIC = "turns-interrupted"
_MOST_ROWS = 1_000


class Interruptions:
    """Ends turns in the lanes of this worker, and has the other workers end those in theirs."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        realtime: RealtimeBackend,
        clock: Clock,
        lanes: Lanes,
        lease: Lease,
    ) -> None:
        self._store = store
        self._realtime = realtime
        self._clock = clock
        self._lanes = lanes
        self._lease = lease
        self._own_id = new_id()
        self._is_on = False

    async def begin(self) -> None:
        """Take the other workers' calls, if the store has others."""
        if self._is_on or self._lease.worker_id is None:
            return
        self._is_on = True
        try:
            await self._realtime.subscribe(_TOPIC, self._called)
        except RoomKitError:
            _log.warning("interruptions by other workers are not received", exc_info=True)

    async def _called(self, signal: EphemeralEvent) -> None:
        if signal.user_id != self._own_id:
            stream_id = signal.data.get("stream_id")
            reason = str(signal.data.get("reason") or "interrupted")
            self._lanes.interrupt(signal.room_id, None if stream_id is None else str(stream_id), reason)

    async def interrupt(self, room_id: str, stream_id: str | None, reason: str) -> int:
        """End turns of a room; return how many: those here, and those that other workers hold."""
        ended = self._lanes.interrupt(room_id, stream_id, reason)
        own_id = self._lease.worker_id
        elsewhere = 0 if own_id is None else await self._held_elsewhere(room_id, own_id)
        if elsewhere:
            signal = EphemeralEvent(
                room_id=room_id,
                type=EphemeralEventType.CUSTOM,
                user_id=self._own_id,
                data={"stream_id": stream_id, "reason": reason},
                timestamp=self._clock.now(),
            )
            await self._realtime.publish(_TOPIC, signal)
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
