"""The store's contract: the ledger of deliveries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import StoreError
from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.delivery import Delivery, DeliveryError
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records

__all__ = ["LedgerContract"]

ENDED = [DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.SKIPPED]
FORWARD = [ReceiptState.QUEUED, ReceiptState.SENT, ReceiptState.DELIVERED, ReceiptState.READ]


class LedgerContract(StoreSuite):
    """Each planned delivery has a row from the commit on, which ends once, and is found by what is asked."""

    @pytest.fixture
    async def row(self, store: ConversationStore, room: Room) -> Delivery:
        """Return the row of one delivery that has not ended."""
        return await pending(store, room.id)

    async def test_a_commit_makes_a_pending_row_for_each_target(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Its id is the event's and the channel's, and it says where it belongs."""
        first, second = await commit(store, room.id, event(room.id), event(room.id), targets=["b", "a"])
        (silent,) = await commit(store, room.id, event(room.id))
        rows = await store.list_deliveries(room.id)
        assert [row.id for row in rows] == [
            f"{each.id}:{channel}" for each in (first, second) for channel in ("b", "a")
        ]
        assert rows[3] == Delivery(
            id=f"{second.id}:a",
            room_id=room.id,
            event_id=second.id,
            event_index=second.index,
            channel_id="a",
            created_at=NOW,
        )
        assert await store.get_delivery(rows[0].id) == rows[0]
        assert await store.list_deliveries(room.id, event_id=silent.id) == []
        for unknown in (f"{silent.id}:a", f"{first.id}:c", f"{first.id}", new_id(), f"{new_id()}:a", ""):
            assert await store.get_delivery(unknown) is None

    @PROPERTY
    @given(given_row=records(Delivery, provider_message_id=st.none(), parts=st.just(())))
    async def test_every_field_of_a_row_is_kept(
        self, store: ConversationStore, room: Room, given_row: Delivery
    ) -> None:
        """What is recorded is what is read."""
        row = await pending(store, room.id)
        message_id = new_id() if given_row.provider is not None else None
        wanted = given_row.replace(
            id=row.id,
            room_id=row.room_id,
            event_id=row.event_id,
            event_index=row.event_index,
            channel_id=row.channel_id,
            created_at=row.created_at,
            provider_message_id=message_id,
            parts=(message_id, new_id()) if message_id is not None else (),
        )
        await store.record_deliveries([wanted])
        assert await store.get_delivery(row.id) == wanted
        assert await store.list_deliveries(room.id, event_id=row.event_id) == [wanted]

    async def test_a_pending_row_may_change_until_it_ends(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """Attempts and the last error are noted on the way."""
        error = DeliveryError(code="rate_limit", message="slow down", retryable=True)
        for attempts in (1, 2):
            tried = row.replace(attempts=attempts, error=error)
            await store.record_deliveries([tried])
            assert await store.get_delivery(row.id) == tried

    @pytest.mark.parametrize("ended", ENDED)
    async def test_a_row_that_has_ended_is_not_changed_again(
        self, store: ConversationStore, row: Delivery, ended: DeliveryState
    ) -> None:
        """Whoever comes late with another end, or takes it for pending still, changes nothing."""
        final = row.replace(state=ended, attempts=1, finished_at=NOW)
        await store.record_deliveries([final])
        for state in DeliveryState:
            await store.record_deliveries([row.replace(state=state, attempts=9, reason="late")])
        assert await store.get_delivery(row.id) == final

    async def test_several_rows_are_recorded_together(self, store: ConversationStore, room: Room) -> None:
        """Those that ended before stay, the others are written; none at all is no error."""
        rows = [await pending(store, room.id) for _ in range(3)]
        done = rows[1].replace(state=DeliveryState.SKIPPED, reason="muted")
        await store.record_deliveries([done])
        await store.record_deliveries([row.replace(state=DeliveryState.SENT) for row in rows])
        await store.record_deliveries([])
        states = [row.state for row in await store.list_deliveries(room.id)]
        assert states == [DeliveryState.SENT, DeliveryState.SKIPPED, DeliveryState.SENT]

    async def test_rows_are_found_by_all_filters_at_once(self, store: ConversationStore) -> None:
        """Room, event, channel and state, in order of commit; each given filter must hold."""
        rooms = [await store.create_room(Room()) for _ in range(2)]
        for _ in range(2):
            for room in rooms:
                await commit(store, room.id, event(room.id), targets=["a", "b"])
        rows = [row for room in rooms for row in await store.list_deliveries(room.id)]
        assert len(rows) == 8
        await store.record_deliveries([rows[0].replace(state=DeliveryState.SENT)])

        async def found(*args: Any, **filters: Any) -> list[str]:
            return [row.id for row in await store.list_deliveries(*args, **filters)]

        first = rooms[0].id
        assert await found(first) == [row.id for row in rows[:4]]
        assert await found(first, channel_id="a") == [rows[0].id, rows[2].id]
        assert await found(event_id=rows[4].event_id) == [rows[4].id, rows[5].id]
        assert await found(first, event_id=rows[4].event_id) == []
        assert await found(first, state=DeliveryState.SENT) == [rows[0].id]
        assert await found(first, state=DeliveryState.PENDING, channel_id="a") == [rows[2].id]
        assert await found(first, limit=3) == [row.id for row in rows[:3]]
        assert await found(first, limit=2, after=rows[0].id) == [rows[1].id, rows[2].id]
        assert await found(first, after=rows[3].id) == []
        assert await found(first, limit=0) == []

    async def test_a_cursor_over_pending_rows_is_exact_while_they_end(
        self, store: ConversationStore, room: Room
    ) -> None:
        """A page starts after its cursor, whatever became of the row the cursor names."""
        rows = [await pending(store, room.id) for _ in range(6)]
        seen: list[str] = []
        while page := await store.list_deliveries(
            room.id, state=DeliveryState.PENDING, limit=2, after=seen[-1] if seen else None
        ):
            seen += [row.id for row in page]
            await store.record_deliveries([row.replace(state=DeliveryState.SENT) for row in page])
        assert seen == [row.id for row in rows]

    async def test_a_cursor_whose_row_is_gone_is_an_error(self, store: ConversationStore, room: Room) -> None:
        """An empty page would look like the end, and the rest would never be seen."""
        row = await pending(store, room.id)
        await store.delete_room(room.id)
        with pytest.raises(StoreError, match="begin again"):
            await store.list_deliveries(after=row.id)

    # -- receipts -----------------------------------------------------------------------------

    async def test_a_receipt_finds_its_row_by_the_vendors_id(
        self, store: ConversationStore, room: Room
    ) -> None:
        """By that of the message and of each part, for that vendor only."""
        row, other = await pending(store, room.id), await pending(store, room.id)
        message, part = new_id(), new_id()
        sent = await record_sent(store, row, message, part)
        await record_sent(store, other, new_id(), provider="other")
        assert await store.record_receipt("acme", message, ReceiptState.SENT) == sent.replace(
            receipt=ReceiptState.SENT
        )
        found = await store.record_receipt("acme", part, ReceiptState.DELIVERED)
        assert found == sent.replace(receipt=ReceiptState.DELIVERED)
        assert await store.get_delivery(row.id) == found
        assert await store.record_receipt("other", message, ReceiptState.READ) is None
        assert await store.record_receipt("acme", new_id(), ReceiptState.READ) is None
        untouched = await store.get_delivery(other.id)
        assert untouched is not None
        assert untouched.receipt is None

    @pytest.mark.parametrize("reached", FORWARD)
    async def test_a_receipt_never_moves_backwards(
        self, store: ConversationStore, row: Delivery, reached: ReceiptState
    ) -> None:
        """Vendors report late and out of order; the furthest counts."""
        message = new_id()
        await record_sent(store, row, message)
        await store.record_receipt("acme", message, reached)
        for earlier in FORWARD[: FORWARD.index(reached) + 1]:
            after = await store.record_receipt("acme", message, earlier)
            assert after is not None
            assert after.receipt is reached
        for later in FORWARD[FORWARD.index(reached) :]:
            after = await store.record_receipt("acme", message, later)
            assert after is not None
            assert after.receipt is later

    async def test_a_failed_receipt_is_final(self, store: ConversationStore, row: Delivery) -> None:
        """What failed at the vendor is not delivered by a later word."""
        message = new_id()
        await record_sent(store, row, message)
        for receipt in (ReceiptState.SENT, ReceiptState.FAILED, *FORWARD):
            after = await store.record_receipt("acme", message, receipt)
        assert after is not None
        assert after.receipt is ReceiptState.FAILED
        assert await store.get_delivery(row.id) == after

    async def test_a_late_record_does_not_take_a_receipt_back(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """The vendor's word may overtake our own record of the end."""
        message = new_id()
        tried = row.replace(attempts=1, provider="acme", provider_message_id=message)
        await store.record_deliveries([tried])
        await store.record_receipt("acme", message, ReceiptState.DELIVERED)
        await store.record_deliveries([tried.replace(state=DeliveryState.SENT)])
        after = await store.get_delivery(row.id)
        assert after is not None
        assert (after.state, after.receipt) == (DeliveryState.SENT, ReceiptState.DELIVERED)


async def pending(store: ConversationStore, room_id: str) -> Delivery:
    """Commit an event to one target and return the row."""
    (stored,) = await commit(store, room_id, event(room_id), targets=["sms"])
    row = await store.get_delivery(f"{stored.id}:sms")
    assert row is not None
    return row


async def record_sent(
    store: ConversationStore, row: Delivery, message_id: str, *parts: str, provider: str = "acme"
) -> Delivery:
    """Record that a row was sent, as the vendor's message of that id."""
    sent = row.replace(
        state=DeliveryState.SENT,
        provider=provider,
        provider_message_id=message_id,
        parts=(message_id, *parts),
    )
    await store.record_deliveries([sent])
    return sent
