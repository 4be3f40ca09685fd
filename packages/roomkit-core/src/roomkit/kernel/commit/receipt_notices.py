"""Notifying the observers of vendors' receipts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.models.context import RoomContext
from roomkit.models.enums import HookTrigger
from roomkit.models.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.models.delivery import Delivery, DeliveryStatus

__all__ = ["ReceiptNotices"]

_NO_ROOM = "unmatched"


class ReceiptNotices:
    """Shows receipts to their observers, with the room of the delivery they belong to.

    `reported` is called with a row that a receipt matched, if that may say that it did not arrive.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        hooks: HookEngine,
        observers: Observers,
        reported: Callable[[Delivery], Coroutine[Any, Any, None]],
    ) -> None:
        self._reported = reported
        self._store = store
        self._hooks = hooks
        self._observers = observers

    def matched(self, receipts: Sequence[tuple[Delivery, DeliveryStatus]]) -> None:
        """Notify the observers of receipts that had waited for their send."""
        for row, status in receipts:
            if row.receipt is not None and row.receipt.is_failure:
                self._observers.start(partial(self._reported, row), f"fallback after a receipt for {row.id}")
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

    async def take(self, status: DeliveryStatus, row: Delivery) -> None:
        """Act on a receipt that matched a delivery, and notify its observers."""
        if row.receipt is not None and row.receipt.is_failure:
            await self._reported(row)
        await self.notify(status, row)

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
