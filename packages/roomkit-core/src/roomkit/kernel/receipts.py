"""Vendors' receipts, on their way to the event they are for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from roomkit.kernel.cascade import Cascade
from roomkit.kernel.view import RECENT_EVENTS
from roomkit.models.enums import HookTrigger, ReceiptState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.kernel.parts import Parts
    from roomkit.kernel.settling import Settling
    from roomkit.models.delivery import Delivery, DeliveryStatus

__all__ = ["Receipts", "receipt_state"]


_WORDS = {
    "queued": ReceiptState.QUEUED,
    "accepted": ReceiptState.QUEUED,
    "scheduled": ReceiptState.QUEUED,
    "sending": ReceiptState.QUEUED,
    "sent": ReceiptState.SENT,
    "dispatched": ReceiptState.SENT,
    "delivered": ReceiptState.DELIVERED,
    "read": ReceiptState.READ,
    "seen": ReceiptState.READ,
    "failed": ReceiptState.FAILED,
    "undelivered": ReceiptState.FAILED,
    "rejected": ReceiptState.FAILED,
    "expired": ReceiptState.FAILED,
    "bounced": ReceiptState.FAILED,
}


def receipt_state(word: str) -> ReceiptState | None:
    """Return what a vendor's word means; None for one that is no step of a delivery."""
    return _WORDS.get(word.strip().lower())


class Receipts:
    """Matches receipts to deliveries by (provider, vendor's message id).

    The store keeps those that are faster than the send they belong to, and matches them when that is
    written down, by whichever worker.
    """

    def __init__(self, parts: Parts, settling: Settling) -> None:
        self._parts = parts
        self._settling = settling

    async def take(self, status: DeliveryStatus) -> Delivery | None:
        """Move the delivery's receipt forward and tell the observers; None when it is not known yet."""
        state = receipt_state(status.status)
        row = None
        if state is not None:
            if self._parts.ledger:
                await self._parts.ledger.flush()  # the send may be what waits there
            row = await self._parts.store.record_receipt(status, state)
        if row is None:
            self._parts.events.emit(
                "delivery_status_unmatched",
                room_id=status.room_id,
                channel_id=status.channel_id,
                provider=status.provider,
                message_id=status.message_id,
                status=status.status,
            )
            return None
        await self._tell(status, row)
        return row

    def matched(self, receipts: Sequence[tuple[Delivery, DeliveryStatus]]) -> None:
        """Tell the observers of receipts that had waited for their send."""
        for row, status in receipts:
            if self._parts.hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, row.room_id):
                self._settling.start(partial(self._tell, status, row), f"observers of a receipt for {row.id}")

    async def _tell(self, status: DeliveryStatus, row: Delivery) -> None:
        if not self._parts.hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, row.room_id):
            return
        record = await self._parts.store.load(row.room_id, recent=RECENT_EVENTS)
        if record is not None:
            told = status.replace(room_id=row.room_id, channel_id=row.channel_id, event_id=row.event_id)
            await self._settling.observe(HookTrigger.ON_DELIVERY_STATUS, told, record, Cascade())
