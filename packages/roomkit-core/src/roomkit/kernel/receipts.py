"""Vendors' receipts, on their way to the event they are for."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from roomkit.kernel.cascade import Cascade
from roomkit.models.enums import HookTrigger, ReceiptState

if TYPE_CHECKING:
    from roomkit.kernel.parts import Parts
    from roomkit.kernel.settling import Settling
    from roomkit.models.delivery import Delivery, DeliveryStatus

__all__ = ["Receipts", "receipt_state"]

_log = logging.getLogger("roomkit.kernel")
_MAX_EARLY = 10_000
_MAX_EARLY_EACH = 8

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

    Receipts that are faster than the send they belong to are kept, for at most 10,000 messages with
    the oldest given up first, and matched in their order when the send is written down.
    """

    def __init__(self, parts: Parts, settling: Settling) -> None:
        self._parts = parts
        self._settling = settling
        self._early: OrderedDict[tuple[str, str], list[DeliveryStatus]] = OrderedDict()
        self.given_up = 0

    async def take(self, status: DeliveryStatus) -> Delivery | None:
        """Move the delivery's receipt forward and tell the observers; None when it is not known yet."""
        state = receipt_state(status.status)
        row = None
        if state is not None:
            row = await self._parts.store.record_receipt(status.provider, status.message_id, state)
        if row is None:
            if state is not None:
                self._keep(status)
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

    def _keep(self, status: DeliveryStatus) -> None:
        early = self._early.setdefault((status.provider, status.message_id), [])
        if status not in early:
            early.append(status)
        del early[:-_MAX_EARLY_EACH]
        if len(self._early) > _MAX_EARLY:
            self._early.popitem(last=False)
            self.given_up += 1

    @property
    def expecting(self) -> bool:
        """Whether any receipt waits for its send."""
        return bool(self._early)

    async def sent(self, row: Delivery) -> None:
        """Match the receipts that came before the send of `row` was written down."""
        for message_id in filter(None, (row.provider_message_id, *row.parts)):
            for early in self._early.pop((row.provider or "", message_id), ()):
                await self.take(early)

    async def _tell(self, status: DeliveryStatus, row: Delivery) -> None:
        if not self._parts.hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, row.room_id):
            return
        record = await self._parts.store.load(row.room_id, recent=50)
        if record is not None:
            told = status.replace(room_id=row.room_id, channel_id=row.channel_id, event_id=row.event_id)
            await self._settling.observe(HookTrigger.ON_DELIVERY_STATUS, told, record, Cascade())
