"""The store's contract: what vendors report of sent messages, in time, late and early."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

STATES = list(ReceiptState)
CONTRARY = (
    ReceiptState.EXPIRED,
    ReceiptState.UNDELIVERED,
    ReceiptState.DELIVERED,
    ReceiptState.FAILED,
    ReceiptState.READ,
)


class ReceiptsContract(StoreSuite):
    """A receipt finds its delivery, in either order of arrival, and only ever moves it forward."""

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
        found = await store.record_receipt(reported(message), ReceiptState.DELIVERED)
        assert found == sent
        found = await store.record_receipt(reported(part), ReceiptState.SENT)
        assert found == sent.replace(receipt=ReceiptState.SENT)
        assert await store.get_delivery(row.id) == found
        assert await store.record_receipt(reported(message, provider="other"), ReceiptState.READ) is None
        assert await store.record_receipt(reported(new_id()), ReceiptState.READ) is None
        assert (await row_of(store, other.id)).receipt is None

    @pytest.mark.parametrize("reached", STATES)
    async def test_a_receipt_moves_as_the_states_follow_each_other(
        self, store: ConversationStore, row: Delivery, reached: ReceiptState
    ) -> None:
        """Whatever stands there: later steps and outcomes move it, earlier ones and repetitions do not."""
        status = reported(new_id())
        await send(store, row, status.message_id)
        await store.record_receipt(status, reached)
        expected = reached
        for receipt in (*STATES, *reversed(STATES)):
            after = await store.record_receipt(status, receipt)
            expected = receipt if receipt.follows(expected) else expected
            assert after is not None
            assert after.receipt is expected
        assert (await row_of(store, row.id)).receipt is expected

    @PROPERTY
    @given(words=st.lists(st.sampled_from(STATES), max_size=8))
    async def test_receipts_in_any_order_and_number_end_as_the_rule_says(
        self, store: ConversationStore, room: Room, words: list[ReceiptState]
    ) -> None:
        """Vendors report late, twice and out of order."""
        row, message = await pending(store, room.id), new_id()
        await send(store, row, message)
        expected: ReceiptState | None = None
        for receipt in words:
            await store.record_receipt(reported(message), receipt)
            expected = receipt if receipt.follows(expected) else expected
        assert (await row_of(store, row.id)).receipt is expected

    @PROPERTY
    @given(
        early=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(STATES)), max_size=6, unique=True),
        late=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(STATES)), max_size=10),
    )
    async def test_a_message_of_parts_stands_where_its_parts_do(
        self,
        store: ConversationStore,
        room: Room,
        early: list[tuple[int, ReceiptState]],
        late: list[tuple[int, ReceiptState]],
    ) -> None:
        """Each part moves by itself, before the send was recorded and after; the row is `of_parts`."""
        row, ids = await pending(store, room.id), [new_id() for _ in range(3)]
        parts: list[ReceiptState | None] = [None, None, None]
        expected: ReceiptState | None = None
        for said in (early, late):
            for number, receipt in said:
                await store.record_receipt(reported(ids[number]), receipt)
                parts[number] = receipt if receipt.follows(parts[number]) else parts[number]
                expected = ReceiptState.of_parts(parts)
            if said is early:
                await send(store, row, *ids)
        assert (await row_of(store, row.id)).receipt is expected

    @pytest.mark.parametrize("states", list(combinations(CONTRARY, 3)), ids="-".join)
    async def test_the_same_receipts_end_in_the_same_state_whatever_their_order(
        self, store: ConversationStore, room: Room, states: tuple[ReceiptState, ...]
    ) -> None:
        reached = set()
        for order in permutations(states):
            row, message = await pending(store, room.id), new_id()
            await store.record_receipt(reported(message), order[0])
            await send(store, row, message)
            for receipt in order[1:]:
                await store.record_receipt(reported(message), receipt)
            reached.add((await row_of(store, row.id)).receipt)
        assert len(reached) == 1

    @PROPERTY
    @given(
        said=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(STATES)), max_size=6, unique=True),
        places=st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted),
    )
    async def test_a_part_keeps_its_receipt_when_further_parts_are_sent(
        self, store: ConversationStore, room: Room, said: list[tuple[int, ReceiptState]], places: list[int]
    ) -> None:
        """Receipts come before the first part was recorded, between the parts, and after the last one."""
        row, ids = await pending(store, room.id), [new_id() for _ in range(3)]
        under_way = row.replace(provider="acme", provider_message_id=ids[0], parts=(ids[0],), sent_parts=1)
        parts: list[ReceiptState | None] = [None, None, None]
        for place, report in enumerate([*said, *[None] * (7 - len(said))]):
            if place == places[0]:
                await store.complete([under_way.outcome()])
            if place == places[1]:
                await send(store, row, *ids)
            if report is not None:
                number, receipt = report
                await store.record_receipt(reported(ids[number]), receipt)
                parts[number] = receipt if receipt.follows(parts[number]) else parts[number]
        assert (await row_of(store, row.id)).receipt is ReceiptState.of_parts(parts)

    async def test_a_late_end_does_not_take_a_receipt_back(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """The vendor's word may overtake our own record of the end."""
        status = reported(new_id())
        tried = row.replace(attempts=1, provider="acme", provider_message_id=status.message_id)
        await store.complete([tried.outcome()])
        await store.record_receipt(status, ReceiptState.DELIVERED)
        await store.complete([tried.outcome(attempts=2)])
        assert (await row_of(store, row.id)).receipt is ReceiptState.DELIVERED
        await complete_one(store, tried)
        after = await row_of(store, row.id)
        assert (after.state, after.receipt) == (DeliveryState.SENT, ReceiptState.DELIVERED)

    async def test_the_id_of_an_earlier_attempt_still_leads_to_the_row(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """A vendor may report on a message that was sent again in the meantime."""
        first, second = new_id(), new_id()
        await store.complete([row.outcome(provider="acme", provider_message_id=first)])
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
        result = await store.complete([sent.outcome()])
        after = sent.replace(receipt=ReceiptState.DELIVERED)
        assert list(result.receipts) == [(after, status)]
        assert await row_of(store, row.id) == after

    async def test_waiting_receipts_are_matched_in_order_of_arrival(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """Of the message and its parts, each with the row after it; the part that is behind counts."""
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
        result = await store.complete([sent.outcome()])
        reached = [None, ReceiptState.QUEUED, ReceiptState.SENT, ReceiptState.SENT]
        expected = [
            (sent.replace(receipt=receipt), status)
            for receipt, (status, _) in zip(reached, early, strict=True)
        ]
        assert list(result.receipts) == expected
        assert await row_of(store, row.id) == sent.replace(receipt=ReceiptState.SENT)

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
        first = await store.complete([tried.outcome(), other.outcome()])
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
            assert not (await store.complete([row.outcome(**near)])).receipts
        assert (await row_of(store, row.id)).receipt is None

    async def test_no_message_has_receipts_without_end_waiting(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        message = new_id()
        for number in range(40):
            await store.record_receipt(reported(message, status=str(number)), ReceiptState.SENT)
        result = await complete_one(store, row, provider="acme", provider_message_id=message)
        assert 4 <= len(result.receipts) < 20
        numbers = [int(status.status) for _, status in result.receipts]
        assert all(before < after for before, after in pairwise(numbers))

    # -- the recipient is erased ----------------------------------------------------------------

    async def test_waiting_receipts_for_a_recipient_are_deleted(
        self, store: ConversationStore, other: ConversationStore, row: Delivery
    ) -> None:
        """By any worker; those for similar addresses and those of the excepted channels stay."""
        message = new_id()
        given = [
            ({"recipient": "+1555"}, ReceiptState.SENT),
            ({"recipient": "+1555", "channel_id": "sms"}, ReceiptState.DELIVERED),
            ({"recipient": "+1555", "channel_id": "web"}, ReceiptState.SENT),
            ({"recipient": "+15550"}, ReceiptState.SENT),
            ({"sender": "+1555"}, ReceiptState.SENT),
            ({"recipient": 'ann "%_\\ünï😀'}, ReceiptState.SENT),
        ]
        statuses = [reported(message, status=str(n), **fields) for n, (fields, _) in enumerate(given)]
        for status, (_, receipt) in zip(statuses, given, strict=True):
            await store.record_receipt(status, receipt)
        elsewhere = reported(new_id(), recipient="+1555")
        await store.record_receipt(elsewhere, ReceiptState.SENT)
        assert await other.delete_waiting_receipts([], not_of=["web"]) == 0
        assert await other.delete_waiting_receipts([str(given[-1][0]["recipient"])]) == 1
        assert await other.delete_waiting_receipts(["+1555", "x\0", "\ud83d"], not_of=["web"]) == 3
        assert await store.delete_waiting_receipts(["+1555"], not_of=["web"]) == 0
        result = await complete_one(store, row, provider="acme", provider_message_id=message)
        assert [status for _, status in result.receipts] == statuses[2:5]

    async def test_deleting_waiting_receipts_leaves_what_was_matched(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """The delivery keeps its receipt, and goes on from it."""
        status = reported(new_id(), recipient="+1555")
        await store.record_receipt(status, ReceiptState.SENT)
        await complete_one(store, row, provider="acme", provider_message_id=status.message_id)
        assert await store.delete_waiting_receipts(["+1555"]) == 0
        after = await store.record_receipt(status, ReceiptState.DELIVERED)
        assert after is not None
        assert (await row_of(store, row.id)).receipt is ReceiptState.DELIVERED
