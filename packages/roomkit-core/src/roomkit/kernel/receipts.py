"""Vendors' receipts, on their way to the event they are for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from roomkit.kernel.cascade import Cascade
from roomkit.kernel.view import RECENT_EVENTS
from roomkit.models.context import RoomContext
from roomkit.models.enums import HookTrigger, ReceiptState
from roomkit.models.room import Room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.kernel.parts import Parts
    from roomkit.kernel.settling import Settling
    from roomkit.models.delivery import Delivery, DeliveryStatus

__all__ = ["Receipts"]

_NO_ROOM = "unmatched"


class Receipts:
    """Matches receipts to deliveries by (provider, vendor's message id).

    A channel without a provider's name stands for its provider with its own id. The store keeps receipts that
    come before the send they belong to was recorded, and matches them when it is, on whichever worker.
    """

    def __init__(self, parts: Parts, settling: Settling) -> None:
        self._parts = parts
        self._settling = settling

    async def take(self, status: DeliveryStatus) -> Delivery | None:
        """Move the delivery's receipt forward and notify the observers; None if no delivery matches."""
        status = self._with_provider(status)
        if self._parts.ledger:
            await self._parts.ledger.flush()  # the send may be what waits there
        row = await self._parts.store.record_receipt(status, ReceiptState.of_word(status.status))
        if row is not None:
            await self._notify(status, row)
            return row
        self._parts.events.emit(
            "delivery_status_unmatched",
            room_id=status.room_id,
            channel_id=status.channel_id,
            provider=status.provider,
            message_id=status.message_id,
            status=status.status,
        )
        await self._notify_unmatched(status)
        return None

    def _with_provider(self, status: DeliveryStatus) -> DeliveryStatus:
        """Name the channel as the provider if it has none; see `row` in `deliver`."""
        channel_id = status.channel_id
        if channel_id is None or status.provider == channel_id:
            return status
        channel = self._parts.channels.get(channel_id)
        if status.provider and (channel is None or channel.provider_name is not None):
            return status
        name = None if channel is None else channel.provider_name
        return status.replace(provider=name or channel_id)

    def matched(self, receipts: Sequence[tuple[Delivery, DeliveryStatus]]) -> None:
        """Notify the observers of receipts that had waited for their send."""
        for row, status in receipts:
            if self._parts.hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, row.room_id):
                self._settling.start(
                    partial(self._notify, status, row), f"observers of a receipt for {row.id}"
                )

    async def _notify(self, status: DeliveryStatus, row: Delivery) -> None:
        if not self._parts.hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, row.room_id):
            return
        record = await self._parts.store.load(row.room_id, recent=RECENT_EVENTS)
        if record is not None:
            matched = status.replace(room_id=row.room_id, channel_id=row.channel_id, event_id=row.event_id)
            await self._settling.observe(HookTrigger.ON_DELIVERY_STATUS, matched, record, Cascade())

    async def _notify_unmatched(self, status: DeliveryStatus) -> None:
        """Notify the observers of a receipt without a delivery: programs also send outside the kit."""
        hooks, room_id = self._parts.hooks, status.room_id
        if not hooks.has_hooks(HookTrigger.ON_DELIVERY_STATUS, room_id):
            return
        record = None if room_id is None else await self._parts.store.load(room_id, recent=RECENT_EVENTS)
        if record is not None:
            await self._settling.observe(HookTrigger.ON_DELIVERY_STATUS, status, record, Cascade())
            return
        nowhere = RoomContext(Room(id=_NO_ROOM), (), ())
        await hooks.observe(HookTrigger.ON_DELIVERY_STATUS, status, nowhere, None)
