"""The ledger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from roomkit.abc.store.queries import DeliveryQuery

if TYPE_CHECKING:
    from roomkit.abc.store.records import Completed
    from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
    from roomkit.models.enums import DeliveryState, ReceiptState

__all__ = ["LedgerStore"]


class LedgerStore(ABC):
    """The record of every delivery: pending, sent, failed or skipped, and why."""

    @abstractmethod
    async def complete(
        self,
        outcomes: Sequence[DeliveryOutcome],
        *,
        worker_id: str | None = None,
        timers_done: Sequence[str] = (),
        durable: bool = True,
    ) -> Completed:
        """Write how deliveries ended, or stand, and remove the timers that were handled.

        A row that has ended is not changed again. With a `worker_id`, nor is one that this worker does
        not hold, nor is such a timer removed; without one, the holder is not asked for. `holder`, `claims`
        and `receipt` of a row are the store's own; a row that has ended has no holder.
        `DeliveryOutcome.delivery` makes the model of a row that a store encodes, or returns later.

        The vendor's message ids written here are what receipts are matched by, also those that came
        before: see `record_receipt`.

        With `durable=False` other workers see the outcomes when this returns, but a crash of the store's
        server or machine may undo them, so that the store need not wait for a disk. The caller writes them
        once more without it, within moments: that changes nothing where they stand.
        """

    @abstractmethod
    async def get_delivery(self, delivery_id: str, *, organization_id: str | None = None) -> Delivery | None:
        """Return a row."""

    @abstractmethod
    async def find_delivery(
        self, provider: str, message_id: str, *, organization_id: str | None = None
    ) -> Delivery | None:
        """Return the row that has, or had, that message of the provider's: the one its receipts move."""

    @abstractmethod
    async def query_deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        """Return a page of rows. Raises StaleCursorError when the row `query.after` is gone."""

    async def list_deliveries(
        self,
        room_id: str | None = None,
        *,
        event_id: str | None = None,
        channel_id: str | None = None,
        state: DeliveryState | None = None,
        organization_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
        newest_first: bool = False,
    ) -> list[Delivery]:
        """Return a page of rows: `query_deliveries` with the filters of a `DeliveryQuery`."""
        query = DeliveryQuery(
            room_id=room_id,
            event_id=event_id,
            channel_id=channel_id,
            state=state,
            organization_id=organization_id,
            limit=limit,
            after=after,
            newest_first=newest_first,
        )
        return await self.query_deliveries(query)

    @abstractmethod
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        """Make a FAILED row PENDING again, in its lane, without its error, its end and its claims; return it.

        Raises DeliveryNotFoundError; StoreError when it has not failed.
        """

    @abstractmethod
    async def drop_delivery(self, delivery_id: str, reason: str) -> Delivery:
        """Give a FAILED row up: make it SKIPPED, for `reason`, keeping its error; return it.

        Raises DeliveryNotFoundError; StoreError when it has not failed.
        """

    @abstractmethod
    async def add_fallback(self, delivery_id: str, channel_id: str) -> Delivery | None:
        """Put an event of which there is a row into another channel's lane, pending; return that new row.

        It has `fallback_of` the given row, and joins the lane as `reopen_delivery` does. None, and nothing
        is changed, if the event has a row of that channel already. Raises DeliveryNotFoundError.
        """

    @abstractmethod
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        """Move the receipt of the delivery with that provider and message id forward; return the row.

        None if there is none yet: the receipt is then kept for a day at least, and matched when the
        delivery is completed, by any worker. `ReceiptState.follows` says which state follows which.
        If the delivery has several message ids, the receipt moves the part with that id, and the row's
        receipt is `ReceiptState.of_parts` of them all; a part keeps its receipt when further parts are sent.
        In whatever order receipts, parts and outcomes come, the same ones lead to the same row.
        """

    @abstractmethod
    async def delete_waiting_receipts(
        self, recipients: Collection[str], *, not_of: Collection[str] = ()
    ) -> int:
        """Remove the receipts that wait for their delivery and name one of the recipients; return how many.

        Recipients are compared character by character. Receipts whose `channel_id` is one of `not_of` stay:
        the same text is another person's address there. It reads all waiting receipts.
        """
