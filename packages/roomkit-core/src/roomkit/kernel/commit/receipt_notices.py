"""Notifying the observers of vendors' receipts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.models.context import RoomContext
from roomkit.models.enums import HookTrigger
from roomkit.models.room import Room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.models.delivery import Delivery, DeliveryStatus

__all__ = ["ReceiptNotices"]

_NO_ROOM = "unmatched"


class ReceiptNotices:
    """Shows receipts to their observers, with the room of the delivery they belong to."""

    def __init__(self, *, store: ConversationStore, hooks: HookEngine, observers: Observers) -> None:
        self._store = store
        self._hooks = hooks
        self._observers = observers

    def matched(self, receipts: Sequence[tuple[Delivery, DeliveryStatus]]) -> None:
        """Notify the observers of receipts that had waited for their send."""
        for row, status in receipts:
            if self._hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, row.room_id):
                self._observers.start(
                    partial(self.notify, status, row), f"observers of a receipt for {row.id}"
                )

    async def notify(self, status: DeliveryStatus, row: Delivery) -> None:
        """Notify the observers of a receipt that matched a delivery."""
        if not self._hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, row.room_id):
            return
        record = await self._store.load(row.room_id, recent=RECENT_EVENTS)
        if record is not None:
            matched = status.replace(room_id=row.room_id, channel_id=row.channel_id, event_id=row.event_id)
            await self._observers.observe(HookTrigger.ON_DELIVERY_STATUS, matched, record, Cascade())

    async def notify_unmatched(self, status: DeliveryStatus) -> None:
        """Notify the observers of a receipt without a delivery: programs also send outside the kit."""
        hooks, room_id = self._hooks, status.room_id
        if not hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, room_id):
            return
        record = None if room_id is None else await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is not None:
            await self._observers.observe(HookTrigger.ON_DELIVERY_STATUS, status, record, Cascade())
            return
        nowhere = RoomContext(Room(id=_NO_ROOM), (), ())
        await hooks.observe(HookTrigger.ON_DELIVERY_STATUS, status, nowhere, None)
