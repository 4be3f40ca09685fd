"""The store's contract: what vendors report of sent messages, in time, late and early."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given

from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.store.base import (
    StoreSuite,
    complete_one,
    pending,
    reported,
    row_of,
    send,
)
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records, unique_ids

__all__ = ["ReceiptsContract"]

FORWARD = [ReceiptState.QUEUED, ReceiptState.SENT, ReceiptState.DELIVERED, ReceiptState.READ]


class ReceiptsContract(StoreSuite):
    """A receipt finds its delivery, whichever of the two comes first, and only ever moves it forward."""

    @pytest.fixture
    async def row(self, store: ConversationStore, room: Room) -> Delivery:
        """Return the row of one delivery that has not ended."""
        return await pending(store, room.id)

    async def test_a_receipt_finds_its_row_by_the_vendors_id(
        self, store: ConversationStore, room: Room
    ) -> None:
        """By that of the message and of each part, for that vendor only."""
        row, other = await pending(store, room.id), await pending(store, room.id)
        message, part = new_id(), new_id()
        sent = await send(store, row, message, part)
        await send(store, other, new_id(), provider="other")
        found = await store.record_receipt(reported(message), ReceiptState.SENT)
        assert found == sent.replace(receipt=ReceiptState.SENT)
        found = await store.record_receipt(reported(part), ReceiptState.DELIVERED)
        assert found == sent.replace(receipt=ReceiptState.DELIVERED)
        assert await store.get_delivery(row.id) == found
        assert await store.record_receipt(reported(message, provider="other"), ReceiptState.READ) is None
        assert await store.record_receipt(reported(new_id()), ReceiptState.READ) is None
        assert (await row_of(store, other.id)).receipt is None

    @pytest.mark.parametrize("reached", FORWARD)
    async def test_a_receipt_never_moves_backwards(
        self, store: ConversationStore, row: Delivery, reached: ReceiptState
    ) -> None:
        """Vendors report late and out of order; the furthest counts."""
        status = reported(new_id())
        await send(store, row, status.message_id)
        await store.record_receipt(status, reached)
        for earlier in FORWARD[: FORWARD.index(reached) + 1]:
            after = await store.record_receipt(status, earlier)
            assert after is not None
            assert after.receipt is reached
        for later in FORWARD[FORWARD.index(reached) :]:
            after = await store.record_receipt(status, later)
            assert after is not None
            assert after.receipt is later

    async def test_a_failed_receipt_is_final(self, store: ConversationStore, row: Delivery) -> None:
        """What failed at the vendor is not delivered by a later word."""
        status = reported(new_id())
        await send(store, row, status.message_id)
        for receipt in (ReceiptState.SENT, ReceiptState.FAILED, *FORWARD):
            after = await store.record_receipt(status, receipt)
        assert after is not None
        assert after.receipt is ReceiptState.FAILED
        assert await store.get_delivery(row.id) == after

    async def test_what_was_read_did_not_fail(self, store: ConversationStore, row: Delivery) -> None:
        """A failure reported after it is of no consequence."""
        status = reported(new_id())
        await send(store, row, status.message_id)
        await store.record_receipt(status, ReceiptState.READ)
        after = await store.record_receipt(status, ReceiptState.FAILED)
        assert after is not None
        assert after.receipt is ReceiptState.READ

    async def test_a_late_end_does_not_take_a_receipt_back(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """The vendor's word may overtake our own record of the end."""
        status = reported(new_id())
        tried = row.replace(attempts=1, provider="acme", provider_message_id=status.message_id)
        await store.complete([tried])
        await store.record_receipt(status, ReceiptState.DELIVERED)
        for receipt in (None, ReceiptState.SENT):
            await store.complete([tried.replace(receipt=receipt, attempts=2)])
            assert (await row_of(store, row.id)).receipt is ReceiptState.DELIVERED
        await complete_one(store, tried)
        after = await row_of(store, row.id)
        assert (after.state, after.receipt) == (DeliveryState.SENT, ReceiptState.DELIVERED)

    async def test_the_id_of_an_earlier_attempt_still_leads_to_the_row(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """A vendor may report on a message that was sent again in the meantime."""
        first, second = new_id(), new_id()
        await store.complete([row.replace(provider="acme", provider_message_id=first)])
        await send(store, row, second)
        for message_id in (first, second):
            found = await store.record_receipt(reported(message_id), ReceiptState.SENT)
            assert found is not None
            assert found.id == row.id

    # -- before the send was recorded -----------------------------------------------------------

    @PROPERTY
    @given(
        status=records(DeliveryStatus, provider=unique_ids(), message_id=unique_ids()),
    )
    async def test_every_field_of_a_waiting_receipt_is_kept(
        self, store: ConversationStore, room: Room, status: DeliveryStatus
    ) -> None:
        """It is handed back as it was when its delivery is completed."""
        row = await pending(store, room.id)
        assert await store.record_receipt(status, ReceiptState.DELIVERED) is None
        sent = row.replace(
            state=DeliveryState.SENT, provider=status.provider, provider_message_id=status.message_id
        )
        result = await store.complete([sent])
        after = sent.replace(receipt=ReceiptState.DELIVERED)
        assert list(result.receipts) == [(after, status)]
        assert await row_of(store, row.id) == after

    async def test_waiting_receipts_are_matched_in_order_of_arrival(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """Of the message and its parts, each with the row after it; one that is behind moves nothing back."""
        message, part = new_id(), new_id()
        early = [
            (reported(part, status="1"), ReceiptState.QUEUED),
            (reported(message, status="2"), ReceiptState.DELIVERED),
            (reported(part, status="3"), ReceiptState.SENT),
            (reported(message, status="4"), ReceiptState.READ),
        ]
        for status, receipt in early:
            assert await store.record_receipt(status, receipt) is None
        other = reported(message, provider="other")
        assert await store.record_receipt(other, ReceiptState.FAILED) is None
        sent = row.replace(
            state=DeliveryState.SENT, provider="acme", provider_message_id=message, parts=(message, part)
        )
        result = await store.complete([sent])
        reached = [
            ReceiptState.QUEUED,
            ReceiptState.DELIVERED,
            ReceiptState.DELIVERED,
            ReceiptState.READ,
        ]
        expected = [
            (sent.replace(receipt=receipt), status)
            for receipt, (status, _) in zip(reached, early, strict=True)
        ]
        assert list(result.receipts) == expected
        assert await row_of(store, row.id) == sent.replace(receipt=ReceiptState.READ)

    async def test_a_waiting_receipt_that_is_repeated_waits_once(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """Vendors repeat what they were not thanked for in time."""
        status = reported(new_id())
        for receipt in (ReceiptState.SENT, ReceiptState.DELIVERED, ReceiptState.SENT, ReceiptState.DELIVERED):
            await store.record_receipt(status, receipt)
        result = await complete_one(store, row, provider="acme", provider_message_id=status.message_id)
        assert [after.receipt for after, _ in result.receipts] == [ReceiptState.SENT, ReceiptState.DELIVERED]

    async def test_a_waiting_receipt_is_matched_once(self, store: ConversationStore, room: Room) -> None:
        """When its message is first written down, be it of a delivery that goes on; not again at its end."""
        row, other = await pending(store, room.id), await pending(store, room.id)
        status = reported(new_id())
        await store.record_receipt(status, ReceiptState.SENT)
        tried = row.replace(provider="acme", provider_message_id=status.message_id)
        first = await store.complete([tried, other])
        assert [after.id for after, _ in first.receipts] == [row.id]
        assert not (await complete_one(store, tried)).receipts
        assert (await row_of(store, row.id)).receipt is ReceiptState.SENT
        assert (await row_of(store, other.id)).receipt is None
        assert await store.record_receipt(status, ReceiptState.DELIVERED) is not None

    async def test_a_refused_end_takes_no_receipt_along(self, store: ConversationStore, room: Room) -> None:
        """It goes on waiting for the delivery that has the message."""
        ended, row = await pending(store, room.id), await pending(store, room.id)
        await complete_one(store, ended, state=DeliveryState.SKIPPED)
        status = reported(new_id())
        await store.record_receipt(status, ReceiptState.SENT)
        named = {"provider": "acme", "provider_message_id": status.message_id}
        refused = await complete_one(store, ended, **named)
        assert (list(refused.refused), list(refused.receipts)) == ([ended.id], [])
        assert (await row_of(store, ended.id)).receipt is None
        result = await complete_one(store, row, **named)
        assert [given for _, given in result.receipts] == [status]

    async def test_a_waiting_receipt_has_to_be_of_the_same_vendor_and_message(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """Nothing that is only alike is matched."""
        status = reported(new_id())
        await store.record_receipt(status, ReceiptState.READ)
        for near in (
            {"provider": "other", "provider_message_id": status.message_id},
            {"provider": "acme", "provider_message_id": status.message_id[:-1]},
            {"provider": None, "provider_message_id": status.message_id},
            {"provider": "acme", "provider_message_id": None},
        ):
            assert not (await store.complete([row.replace(**near)])).receipts
        assert (await row_of(store, row.id)).receipt is None

    async def test_no_message_has_receipts_without_end_waiting(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """Whatever somebody sends to the webhook; a message's ordinary ones are all there."""
        message = new_id()
        for number in range(40):
            await store.record_receipt(reported(message, status=str(number)), ReceiptState.SENT)
        result = await complete_one(store, row, provider="acme", provider_message_id=message)
        assert len(FORWARD) <= len(result.receipts) < 20
        numbers = [int(status.status) for _, status in result.receipts]
        assert all(before < after for before, after in pairwise(numbers))
