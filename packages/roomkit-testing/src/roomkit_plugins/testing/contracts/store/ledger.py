"""The store's contract: the ledger of deliveries."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import (
    DeliveryNotFoundError,
    DuplicateEventError,
    EventNotFoundError,
    RoomKitError,
    StaleCursorError,
    StaleRoomError,
    StoreError,
)
from roomkit.abc.store import Amend, ConversationStore, Hearing
from roomkit.models.base import new_id
from roomkit.models.delivery import Delivery, DeliveryError
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.event import Heard
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import (
    StoreSuite,
    commit,
    committed,
    complete_one,
    pending,
    reported,
    row_of,
    snapshot,
)
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records

__all__ = ["LedgerContract"]

ENDED = [DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.SKIPPED]


class LedgerContract(StoreSuite):
    """Each planned delivery has a row from the commit on, with one outcome, found by every filter."""

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

    async def test_ids_with_colons_in_them_are_ids_too(self, store: ConversationStore, room: Room) -> None:
        """Wherever the event's ends and the channel's begins."""
        event_id, prefix = f"{new_id()}:1", new_id()
        named = event(room.id, id=event_id, idempotency_key=f"{prefix}:{prefix}")
        await commit(store, room.id, named, targets=["sms:2:3", "sms"])
        ids = [f"{event_id}:sms:2:3", f"{event_id}:sms"]
        assert [row.id for row in await store.list_deliveries(room.id)] == ids
        for delivery_id, channel_id in zip(ids, ["sms:2:3", "sms"], strict=True):
            row = await row_of(store, delivery_id)
            assert (row.event_id, row.channel_id) == (event_id, channel_id)
            assert not (await complete_one(store, row)).refused
            assert (await row_of(store, delivery_id)).state is DeliveryState.SENT
        for unknown in (event_id, f"{event_id}:sms:2", f"{event_id}:", f"{prefix}:sms"):
            assert await store.get_delivery(unknown) is None

    @PROPERTY
    @given(given_row=records(Delivery, provider_message_id=st.none(), parts=st.just(())))
    async def test_every_field_of_a_row_is_kept(
        self, store: ConversationStore, room: Room, given_row: Delivery
    ) -> None:
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
        result = await store.complete([wanted.outcome()])
        assert (list(result.refused), list(result.receipts)) == ([], [])
        kept = wanted.replace(holder=None, claims=0, receipt=None)
        assert await store.get_delivery(row.id) == kept
        assert await store.list_deliveries(room.id, event_id=row.event_id) == [kept]

    async def test_a_pending_row_may_change_until_it_ends(
        self, store: ConversationStore, row: Delivery
    ) -> None:
        """Attempts and the last error are noted on the way."""
        error = DeliveryError(code="rate_limit", message="slow down", retryable=True)
        for attempts in (1, 2):
            tried = row.replace(attempts=attempts, error=error)
            assert not (await store.complete([tried.outcome()])).refused
            assert await store.get_delivery(row.id) == tried

    @pytest.mark.parametrize("ended", ENDED)
    async def test_a_row_that_has_ended_is_not_changed_again(
        self, store: ConversationStore, row: Delivery, ended: DeliveryState
    ) -> None:
        final = row.replace(state=ended, attempts=1, finished_at=NOW)
        await store.complete([final.outcome()])
        for state in DeliveryState:
            late = await store.complete([row.outcome(state=state, attempts=9, reason="late")])
            assert list(late.refused) == [row.id]
        assert await store.get_delivery(row.id) == final

    async def test_several_rows_are_completed_together(self, store: ConversationStore, room: Room) -> None:
        rows = [await pending(store, room.id) for _ in range(3)]
        await complete_one(store, rows[1], state=DeliveryState.SKIPPED, reason="muted")
        result = await store.complete([row.outcome(state=DeliveryState.SENT) for row in rows])
        assert list(result.refused) == [rows[1].id]
        nothing = await store.complete([])
        assert (list(nothing.refused), list(nothing.receipts)) == ([], [])
        states = [row.state for row in await store.list_deliveries(room.id)]
        assert states == [DeliveryState.SENT, DeliveryState.SKIPPED, DeliveryState.SENT]

    async def test_what_is_not_there_is_refused(self, store: ConversationStore, room: Room) -> None:
        doomed = await store.create_room(Room())
        gone, here = await pending(store, doomed.id), await pending(store, room.id)
        await store.delete_room(doomed.id)
        never = here.replace(id=f"{here.event_id}:never", channel_id="never")
        unknown = here.replace(id=f"{new_id()}:sms")
        unknown = unknown.replace(event_id=unknown.id.partition(":")[0])
        result = await store.complete(
            [row.outcome(state=DeliveryState.SENT) for row in (gone, never, unknown, here)]
        )
        assert list(result.refused) == [gone.id, never.id, unknown.id]
        for row in (gone, never, unknown):
            assert await store.get_delivery(row.id) is None
        assert await store.list_deliveries() == [await row_of(store, here.id)]
        assert (await row_of(store, here.id)).state is DeliveryState.SENT

    async def test_rows_are_found_by_all_filters_at_once(self, store: ConversationStore) -> None:
        """Room, event, channel and state, in order of commit; each given filter must hold."""
        rooms = [await store.create_room(Room()) for _ in range(2)]
        for _ in range(2):
            for room in rooms:
                await commit(store, room.id, event(room.id), targets=["a", "b"])
        rows = [row for room in rooms for row in await store.list_deliveries(room.id)]
        assert len(rows) == 8
        await complete_one(store, rows[0])

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
            await store.complete([row.outcome(state=DeliveryState.SENT) for row in page])
        assert seen == [row.id for row in rows]

    async def test_a_cursor_whose_row_is_gone_is_an_error(self, store: ConversationStore, room: Room) -> None:
        """An empty page would look like the end, and the rest would never be seen."""
        row = await pending(store, room.id)
        await store.delete_room(room.id)
        with pytest.raises(StaleCursorError, match="restart from the first page"):
            await store.list_deliveries(after=row.id)

    async def test_the_rows_of_all_rooms_are_in_order_of_commit(self, store: ConversationStore) -> None:
        """Not room by room, also page by page; rooms that go take theirs with them."""
        rooms = [await store.create_room(Room()) for _ in range(3)]
        rows = [await pending(store, rooms[number % 3].id) for number in range(9)]
        await complete_one(store, rows[4])
        seen: list[str] = []
        while page := await store.list_deliveries(limit=2, after=seen[-1] if seen else None):
            seen += [row.id for row in page]
        assert seen == [row.id for row in rows]
        await store.delete_room(rooms[0].id)
        left = [row.id for row in rows if row.room_id != rooms[0].id]
        assert [row.id for row in await store.list_deliveries()] == left

    @pytest.mark.parametrize("of_one_room", [True, False])
    async def test_the_newest_rows_come_first_if_so_asked(
        self, store: ConversationStore, room: Room, of_one_room: bool
    ) -> None:
        """Page by page: the exact reverse of the order of commit, several rows of one event too."""
        rooms = [room, room if of_one_room else await store.create_room(Room())]
        ids: list[str] = []
        for number in range(5):
            (stored,) = await commit(store, (to := rooms[number % 2].id), event(to), targets=["a", "b"])
            ids += [f"{stored.id}:a", f"{stored.id}:b"]
        room_id = room.id if of_one_room else None
        seen: list[str] = []
        while page := await store.list_deliveries(
            room_id, limit=3, after=seen[-1] if seen else None, newest_first=True
        ):
            seen += [row.id for row in page]
        assert seen == ids[::-1]

    # -- a failed row ---------------------------------------------------------------------------

    async def test_a_failed_row_can_be_opened_again(self, store: ConversationStore, room: Room) -> None:
        """Pending in its old place, without its error and its end; it can then end otherwise."""
        row, later = await pending(store, room.id), await pending(store, room.id)
        failed = row.replace(
            state=DeliveryState.FAILED,
            attempts=3,
            error=DeliveryError(code="timeout", message="no answer"),
            finished_at=NOW,
            duration_ms=5.0,
        )
        await store.complete([failed.outcome()])
        reopened = await store.reopen_delivery(row.id)
        assert reopened == failed.replace(
            state=DeliveryState.PENDING, error=None, finished_at=None, duration_ms=None
        )
        assert await store.get_delivery(row.id) == reopened
        waiting = await store.list_deliveries(room.id, state=DeliveryState.PENDING)
        assert [each.id for each in waiting] == [row.id, later.id]
        assert not (await complete_one(store, reopened, attempts=4)).refused
        assert (await row_of(store, row.id)).state is DeliveryState.SENT

    async def test_a_failed_row_can_be_given_up(self, store: ConversationStore, row: Delivery) -> None:
        """It is then skipped, for that reason, with the error it had; that is an end."""
        error = DeliveryError(code="timeout", message="no answer")
        failed = row.replace(state=DeliveryState.FAILED, attempts=3, error=error, finished_at=NOW)
        await store.complete([failed.outcome()])
        dropped = await store.drop_delivery(row.id, "not worth it")
        assert dropped == failed.replace(state=DeliveryState.SKIPPED, reason="not worth it")
        assert await store.get_delivery(row.id) == dropped
        assert list((await complete_one(store, row)).refused) == [row.id]

    async def test_an_event_can_fall_back_to_another_channel(
        self, store: ConversationStore, room: Room
    ) -> None:
        """By a pending row of its own, which says in whose place it is; once for each channel."""
        row = await pending(store, room.id)
        error = DeliveryError(code="server", message="out of order")
        await store.complete([row.outcome(state=DeliveryState.FAILED, error=error, finished_at=NOW)])
        made = await store.add_fallback(row.id, "other:channel")
        assert made is not None
        assert made == row.fallback_to("other:channel")
        assert (made.state, made.fallback_of) == (DeliveryState.PENDING, row.id)
        assert await store.get_delivery(made.id) == made
        assert await store.list_deliveries(room.id, state=DeliveryState.PENDING) == [made]
        before = await snapshot(store, room.id)
        for channel_id in ("other:channel", row.channel_id):
            assert await store.add_fallback(row.id, channel_id) is None
        for unknown in (f"{row.event_id}:never", new_id()):
            with pytest.raises(DeliveryNotFoundError, match=unknown):
                await store.add_fallback(unknown, "other")
        assert (await snapshot(store, room.id)).differences(before) == {}
        third = await store.add_fallback(made.id, "third")
        assert third is not None
        assert third.fallback_of == made.id
        assert not (await complete_one(store, made, attempts=1)).refused
        assert (await row_of(store, made.id)).fallback_of == row.id

    async def test_the_row_of_a_fallback_has_one_place(self, store: ConversationStore, room: Room) -> None:
        """With its event in the room, in order of writing over all rooms; also page by page."""
        elsewhere, gone = await store.create_room(Room()), await store.create_room(Room())
        first, second = await pending(store, room.id), await pending(store, room.id)
        other = await pending(store, elsewhere.id)
        await pending(store, gone.id)
        made = await store.add_fallback(first.id, "fallback")
        further = await store.add_fallback(first.id, "further")
        await store.delete_room(gone.id)
        last = await pending(store, elsewhere.id)
        assert made is not None
        assert further is not None
        late = await store.add_fallback(second.id, "fallback")
        assert late is not None
        in_room = [first, made, further, second, late]
        everywhere = [first, second, other, made, further, last, late]
        for room_id, rows in ((room.id, in_room), (None, everywhere)):
            for newest_first in (False, True):
                ids = [row.id for row in (reversed(rows) if newest_first else rows)]
                page = partial(store.list_deliveries, room_id, newest_first=newest_first)
                assert [row.id for row in await page()] == ids
                for before, after in pairwise(ids):
                    assert [row.id for row in await page(after=before, limit=1)] == [after]

    async def test_only_what_failed_is_opened_again_or_given_up(
        self, store: ConversationStore, room: Room
    ) -> None:
        rows = [await pending(store, room.id) for _ in range(3)]
        await complete_one(store, rows[1])
        await complete_one(store, rows[2], state=DeliveryState.SKIPPED, reason="muted")
        before = await snapshot(store, room.id)
        for row in rows:
            with pytest.raises(StoreError, match=row.id):
                await store.reopen_delivery(row.id)
            with pytest.raises(StoreError, match=row.id):
                await store.drop_delivery(row.id, "no")
        for unknown in (f"{rows[0].event_id}:never", new_id()):
            with pytest.raises(DeliveryNotFoundError, match=unknown):
                await store.reopen_delivery(unknown)
            with pytest.raises(DeliveryNotFoundError, match=unknown):
                await store.drop_delivery(unknown, "no")
        assert (await snapshot(store, room.id)).differences(before) == {}

    # -- riding along with a commit ---------------------------------------------------------------

    async def test_what_a_commit_completes_is_completed(self, store: ConversationStore, room: Room) -> None:
        """Rows and timers of any room, with the answer that `complete` would give."""
        elsewhere = await store.create_room(Room())
        row, theirs, ended = (
            await pending(store, room.id),
            await pending(store, elsewhere.id),
            await pending(store, elsewhere.id),
        )
        await complete_one(store, ended)
        await store.set_timer(Timer(id=new_id(), room_id=elsewhere.id, kind="k", due_at=NOW))
        (timer,) = await store.list_timers(elsewhere.id)
        early = reported(new_id())
        assert await store.record_receipt(early, ReceiptState.READ) is None
        sent = theirs.replace(state=DeliveryState.SENT, provider="acme", provider_message_id=early.message_id)
        result = await committed(
            store,
            room.id,
            event(room.id),
            completed=[row.outcome(state=DeliveryState.SENT), sent.outcome(), ended.outcome()],
            timers_done=[timer.id, new_id()],
        )
        assert list(result.completed.refused) == [ended.id]
        assert list(result.completed.receipts) == [(sent.replace(receipt=ReceiptState.READ), early)]
        assert (await row_of(store, row.id)).state is DeliveryState.SENT
        assert await row_of(store, theirs.id) == sent.replace(receipt=ReceiptState.READ)
        assert await store.list_timers(elsewhere.id) == []
        quiet = await committed(store, room.id, event(room.id))
        assert (list(quiet.completed.refused), list(quiet.completed.receipts)) == ([], [])

    async def test_what_rides_along_with_a_failing_commit_is_not_written(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Whatever the commit fails of; a receipt that waits goes on waiting."""
        row = await pending(store, room.id)
        (first,) = await commit(store, room.id, event(room.id, idempotency_key="key"))
        timer = Timer(id=new_id(), room_id=room.id, kind="k", due_at=NOW)
        await store.set_timer(timer)
        early = reported(new_id())
        await store.record_receipt(early, ReceiptState.READ)
        sent = row.replace(state=DeliveryState.SENT, provider="acme", provider_message_id=early.message_id)
        record = await store.load(room.id)
        assert record is not None
        before = await snapshot(store, room.id)
        failing: list[tuple[type[RoomKitError], dict[str, Any]]] = [
            (StaleRoomError, {"expected_version": record.version + 1}),
            (EventNotFoundError, {"amend": Amend(new_id(), None, None)}),
            (EventNotFoundError, {"redact": [first.id, new_id()]}),
            (EventNotFoundError, {"heard": [Hearing(new_id(), Heard(channel_id="phone", chars=1))]}),
            (DuplicateEventError, {}),
        ]
        for error, fields in failing:
            said = event(room.id, idempotency_key=None if fields else "key")
            with pytest.raises(error):
                await committed(
                    store, room.id, said, completed=[sent.outcome()], timers_done=[timer.id], **fields
                )
            assert (await snapshot(store, room.id)).differences(before) == {}
        result = await store.complete([sent.outcome()])
        assert [status for _, status in result.receipts] == [early]
