"""Vendors' receipts, on their way to the event they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.kernel.delivery.watermarks import Watermarks
from roomkit.kernel.flow.contract import provider_of
from roomkit.models.delivery import ReceiptWatermark
from roomkit.models.enums import ReceiptState

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.receipt_notices import ReceiptNotices
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.delivery import Delivery, DeliveryStatus

__all__ = ["Receipts"]


class Receipts:
    """Matches receipts to deliveries by (provider, vendor's message id).

    A channel without a provider's name stands for its provider with its own id. The store keeps receipts that
    come before the send they belong to was recorded, and matches them when it is, on any worker.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        events: FrameworkEvents,
        ledger: OutcomeWriter,
        channels: Channels,
        notices: ReceiptNotices,
        supervisor: Supervisor,
    ) -> None:
        self._store = store
        self._events = events
        self._ledger = ledger
        self._channels = channels
        self._notices = notices
        self._watermarks = Watermarks(
            store=store, channels=channels, supervisor=supervisor, take=self._take_one
        )

    async def take(self, status: DeliveryStatus | ReceiptWatermark) -> Delivery | None:
        """Move the delivery's receipt forward and notify the observers; None if no delivery matches.

        Of a watermark, the receipts of all that it passes; the newest of them is returned.
        """
        if self._ledger:
            await self._ledger.flush()  # the send's outcome may be waiting there
        if isinstance(status, ReceiptWatermark):
            return await self._watermarks.take(status)
        return await self._take_one(status)

    async def _take_one(self, status: DeliveryStatus) -> Delivery | None:
        status = self._with_provider(status)
        state = ReceiptState.of_word(status.status)
        row = await self._store.record_receipt(status, state)
        if row is None and status.reference is not None:
            row = await self._store.record_receipt(status.replace(message_id=status.reference), state)
        if row is not None:
            await self._notices.take(status, row)
            return row
        self._events.emit(
            "delivery_status_unmatched",
            room_id=status.room_id,
            channel_id=status.channel_id,
            provider=status.provider,
            message_id=status.message_id,
            status=status.status,
        )
        await self._notices.notify_unmatched(status)
        return None

    def _with_provider(self, status: DeliveryStatus) -> DeliveryStatus:
        """Name the channel as the provider if it has none; see `row` in `deliver`."""
        channel_id = status.channel_id
        if channel_id is None or status.provider == channel_id:
            return status
        channel = self._channels.get(channel_id)
        name = provider_of(channel, channel_id)
        if status.provider and (channel is None or name is not None):
            return status
        return status.replace(provider=name or channel_id)
