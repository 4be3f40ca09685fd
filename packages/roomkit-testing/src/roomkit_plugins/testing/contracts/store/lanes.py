"""The store's contract: leases, and the lanes that workers hold under them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import DuplicateEventError, LockLostError
from roomkit.abc.store import Amend, Committed, ConversationStore
from roomkit.models.base import new_id
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import (
    LEASE,
    StoreSuite,
    commit,
    committed,
    complete_one,
    pending,
    reported,
    row_of,
    snapshot,
)

__all__ = ["LanesContract"]


class LanesContract(StoreSuite):
    """One worker carries out a lane's deliveries, in order; when it is lost, the next one does.

    `worker` works on `store`, `rival` on `other`, the same data.
    """

    # -- leases -------------------------------------------------------------------------------

    async def test_a_lease_holds_until_it_runs_out(self, store: ConversationStore, worker: str) -> None:
        """Renewed it goes on; once it has run out it never comes back, and another one is another."""
        assert await store.renew_lease(worker, LEASE)
        await self.let_leases_run_out(store)
        assert not await store.renew_lease(worker, LEASE)
        another = await store.open_lease(LEASE)
        assert another != worker
        assert await store.renew_lease(another, LEASE)
        assert not await store.renew_lease(worker, LEASE)
        assert not await store.renew_lease(new_id(), LEASE)

    async def test_a_renewed_lease_runs_from_then_on(self, store: ConversationStore, room: Room) -> None:
        """For the seconds of its renewal, be they more or less than before."""
        brief = await store.open_lease(LEASE)
        assert await store.renew_lease(brief, 0)
        assert not await store.renew_lease(brief, LEASE)
        await pending(store, room.id)
        assert await store.find_claimable(brief) == []

    async def test_a_lease_that_was_closed_is_over(
        self, store: ConversationStore, other: ConversationStore, worker: str, rival: str
    ) -> None:
        for worker_id in (worker, worker, new_id()):
            await store.close_lease(worker_id)
        assert not await store.renew_lease(worker, LEASE)
        assert await other.renew_lease(rival, LEASE)
        await self.let_leases_run_out(store)
        await other.close_lease(rival)

    # -- whose a new delivery is ----------------------------------------------------------------

    async def test_a_free_lane_is_the_committing_workers(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        for _ in range(2):
            result = await say_as(store, room.id, worker, "sms", "email")
            assert dict(result.elsewhere) == {}
            for row in await rows_of(store, result):
                assert (row.holder, row.claims, row.state) == (worker, 0, DeliveryState.PENDING)
        assert await store.find_claimable(worker) == []
        assert await store.claim(room.id, worker) == []

    async def test_all_entries_of_a_commit_follow_each_other(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """The first makes the lane the committing worker's, so the next ones are too."""
        result = await committed(
            store,
            room.id,
            *(event(room.id) for _ in range(3)),
            targets=["sms", "email"],
            worker_id=worker,
        )
        assert dict(result.elsewhere) == {}
        assert {row.holder for row in await rows_of(store, result)} == {worker}

    async def test_what_joins_another_workers_lane_is_handed_over(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        await say_as(store, room.id, worker, "sms")
        result = await say_as(other, room.id, rival, "sms", "email")
        said = result.events[0].id
        assert dict(result.elsewhere) == {f"{said}:sms": worker}
        assert (await row_of(store, f"{said}:sms")).holder == worker
        assert (await row_of(store, f"{said}:email")).holder == rival
        assert await other.claim(room.id, rival) == []
        assert await other.find_claimable(rival) == []
        assert await store.find_claimable(worker) == [room.id]
        (claimed,) = await store.claim(room.id, worker)
        assert claimed.delivery == await row_of(other, f"{said}:sms")
        assert (claimed.delivery.holder, claimed.delivery.claims) == (worker, 0)
        assert claimed.event == result.events[0]
        assert await store.claim(room.id, worker) == []

    async def test_what_was_handed_over_comes_before_what_follows_it(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Until the holder has claimed, its own new deliveries queue up behind, also those of one commit."""
        await say_as(store, room.id, worker, "sms")
        handed = await say_as(other, room.id, rival, "sms")
        result = await committed(
            store, room.id, event(room.id), event(room.id), targets=["sms", "email"], worker_id=worker
        )
        late = [f"{each.id}:sms" for each in result.events]
        assert dict(result.elsewhere) == dict.fromkeys(late, worker)
        claimed = [each.delivery.id for each in await store.claim(room.id, worker)]
        assert claimed == [f"{handed.events[0].id}:sms", *late]
        assert dict((await say_as(store, room.id, worker, "sms")).elsewhere) == {}

    async def test_what_a_worker_finds_in_a_lane_of_nobody_has_to_be_claimed_first(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        waiting = await pending(store, room.id)
        result = await say_as(store, room.id, worker, "sms", "email")
        mine = f"{result.events[0].id}:sms"
        assert dict(result.elsewhere) == {mine: None}
        assert (await row_of(store, mine)).holder is None
        claimed = await store.claim(room.id, worker)
        assert [each.delivery.id for each in claimed] == [waiting.id, mine]
        assert dict((await say_as(store, room.id, worker, "sms")).elsewhere) == {}

    async def test_what_joins_the_lane_of_a_lost_worker_waits_for_the_next(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        lost = await say_as(store, room.id, worker, "sms")
        await self.let_leases_run_out(store)
        successor = await other.open_lease(LEASE)
        result = await say_as(other, room.id, successor, "sms", "email")
        mine = f"{result.events[0].id}:sms"
        assert dict(result.elsewhere) == {mine: None}
        assert (await row_of(store, mine)).holder is None
        claimed = [each.delivery for each in await other.claim(room.id, successor)]
        assert [(row.id, row.holder, row.claims) for row in claimed] == [
            (f"{lost.events[0].id}:sms", successor, 1),
            (mine, successor, 0),
        ]

    async def test_a_worker_whose_lease_is_over_gets_no_lane(
        self, store: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        await store.close_lease(worker)
        for gone in (worker, new_id()):
            result = await say_as(store, room.id, gone, "sms")
            assert dict(result.elsewhere) == {f"{result.events[0].id}:sms": None}
        await say_as(store, room.id, rival, "email")
        await self.let_leases_run_out(store)
        result = await say_as(store, room.id, rival, "email", "push")
        said = result.events[0].id
        assert dict(result.elsewhere) == {f"{said}:email": None, f"{said}:push": None}
        assert [row.holder for row in await rows_of(store, result)] == [None, None]

    async def test_a_commit_without_a_worker_is_told_nothing(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        await say_as(store, room.id, worker, "sms")
        result = await committed(store, room.id, event(room.id), targets=["sms", "email"])
        assert dict(result.elsewhere) == {}
        sms, email = await rows_of(store, result)
        assert (sms.holder, email.holder) == (worker, None)
        claimed = [each.delivery.id for each in await store.claim(room.id, worker)]
        assert claimed == [sms.id, email.id]

    async def test_a_lane_is_free_again_when_nothing_in_it_is_pending(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        for state in (DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.SKIPPED):
            (row,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
            await store.complete([row.outcome(state=state)], worker_id=worker)
            (row,) = await rows_of(store, await say_as(other, room.id, rival, "sms"))
            assert row.holder == rival
            await other.complete([row.outcome(state=state)], worker_id=rival)

    async def test_an_outcome_that_is_not_durable_frees_its_lane_and_is_written_again(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Others see it at once; writing it durably changes nothing, also in later changes."""
        (row,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        ended = row.replace(state=DeliveryState.SENT, provider="acme", provider_message_id=new_id())
        shown = await store.complete([ended.outcome()], worker_id=worker, durable=False)
        assert list(shown.refused) == []
        assert await row_of(other, row.id) == ended.replace(holder=None)
        (after,) = await rows_of(other, await say_as(other, room.id, rival, "sms"))
        assert after.holder == rival
        again = await store.complete([ended.outcome(reason="again")], worker_id=worker)
        assert list(again.refused) == [row.id]
        assert await row_of(other, row.id) == ended.replace(holder=None)

    async def test_what_a_commit_completes_makes_way_for_its_own(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """The ends that ride along are written first."""
        (first,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        (handed,) = await rows_of(store, await say_as(other, room.id, rival, "sms"))
        done = [row.outcome(state=DeliveryState.SENT) for row in (first, handed)]
        result = await say_as(store, room.id, worker, "sms", completed=done)
        assert list(result.completed.refused) == []
        assert dict(result.elsewhere) == {}

    async def test_each_channel_of_each_room_is_a_lane(
        self, store: ConversationStore, other: ConversationStore, worker: str, rival: str
    ) -> None:
        rooms = [await store.create_room(Room()) for _ in range(2)]
        for room in rooms:
            mine = await say_as(store, room.id, worker, f"sms {room.id}")
            theirs = await say_as(other, room.id, rival, f"sms {rooms[0].id}", f"sms {rooms[1].id}")
            said = theirs.events[0].id
            assert dict(mine.elsewhere) == {}
            assert dict(theirs.elsewhere) == {f"{said}:sms {room.id}": worker}

    # -- claiming -------------------------------------------------------------------------------

    async def test_what_nobody_holds_is_claimed_in_order(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        stored = await commit(store, room.id, event(room.id), event(room.id), targets=["b", "c", "a"])
        stored += await commit(store, room.id, event(room.id), targets=["a", "b"])
        await complete_one(store, await row_of(store, f"{stored[0].id}:c"))
        claimed = await store.claim(room.id, worker)
        expected = [
            f"{stored[place].id}:{channel}"
            for place, channels in enumerate(("ba", "bca", "ab"))
            for channel in channels
        ]
        assert [each.delivery.id for each in claimed] == expected
        assert [each.event.id for each in claimed] == [row.partition(":")[0] for row in expected]
        assert {(each.delivery.holder, each.delivery.claims) for each in claimed} == {(worker, 0)}
        for each in claimed:
            assert await row_of(store, each.delivery.id) == each.delivery
        assert await store.claim(room.id, worker) == []

    async def test_a_claimed_delivery_comes_with_its_event_as_it_is_now(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        row = await pending(store, room.id)
        await store.complete([row.outcome(attempts=2)])
        await commit(store, room.id, amend=Amend(row.event_id, TextContent(body="edited"), "ann"))
        (claimed,) = await store.claim(room.id, worker)
        assert claimed.event == await store.get_event(row.event_id)
        assert claimed.event.content == TextContent(body="edited")
        assert claimed.delivery == row.replace(attempts=2, holder=worker)

    async def test_what_a_worker_in_force_holds_is_nobody_elses(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Neither found nor claimed, as long as the lease is renewed; held lanes stay with their holder."""
        await pending(store, room.id)
        await store.claim(room.id, worker)
        assert await store.renew_lease(worker, LEASE)
        assert await other.find_claimable(rival) == []
        assert await other.claim(room.id, rival) == []
        theirs = await say_as(other, room.id, rival, "sms")
        assert list(theirs.elsewhere.values()) == [worker]
        assert dict((await say_as(other, room.id, rival, "email")).elsewhere) == {}

    async def test_what_a_lost_worker_held_is_claimed_by_the_next(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        first = await say_as(store, room.id, worker, "sms")
        second = await say_as(other, room.id, rival, "sms")
        ids = [f"{result.events[0].id}:sms" for result in (first, second)]
        for claims in (1, 2, 3):
            await self.let_leases_run_out(store)
            successor = await other.open_lease(LEASE)
            assert await other.find_claimable(successor) == [room.id]
            claimed = [each.delivery for each in await other.claim(room.id, successor)]
            assert [(row.id, row.holder, row.claims) for row in claimed] == [
                (delivery_id, successor, claims) for delivery_id in ids
            ]
            assert await other.find_claimable(successor) == []

    async def test_what_a_worker_gave_back_is_not_lost(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Closing the lease leaves its deliveries to all; that does not count."""
        first = await say_as(store, room.id, worker, "sms")
        second = await say_as(other, room.id, rival, "sms")
        await store.close_lease(worker)
        ids = [f"{result.events[0].id}:sms" for result in (first, second)]
        assert [(await row_of(store, each)).holder for each in ids] == [None, None]
        assert await store.claim(room.id, worker) == []
        claimed = [each.delivery for each in await other.claim(room.id, rival)]
        assert [(row.id, row.holder, row.claims) for row in claimed] == [(each, rival, 0) for each in ids]

    async def test_who_has_no_lease_claims_nothing(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """Neither with one that ran out, nor with one that never was; nor is there anything in no room."""
        row = await pending(store, room.id)
        assert await store.claim(new_id(), worker) == []
        await self.let_leases_run_out(store)
        for gone in (worker, new_id()):
            assert await store.find_claimable(gone) == []
            assert await store.claim(room.id, gone) == []
        assert await row_of(store, row.id) == row

    async def test_rooms_that_wait_longest_are_found_first(
        self, store: ConversationStore, other: ConversationStore, worker: str, rival: str
    ) -> None:
        """By their oldest delivery there is to claim; as many as are asked for."""
        rooms = [await store.create_room(Room()) for _ in range(5)]
        ids = [room.id for room in rooms]
        for minute, place in enumerate((3, 1, 0, 2, 3, 0)):
            await pending(store, ids[place], at=NOW + timedelta(minutes=minute))
        assert await store.find_claimable(worker) == [ids[3], ids[1], ids[0], ids[2]]
        assert await store.find_claimable(worker, limit=2) == [ids[3], ids[1]]
        assert await store.find_claimable(worker, limit=0) == []
        (row, *_) = await store.list_deliveries(ids[3])
        await complete_one(store, row)
        assert await store.find_claimable(worker) == [ids[1], ids[0], ids[2], ids[3]]
        await other.claim(ids[0], rival)
        await say_as(store, ids[0], worker, "sms", at=NOW + timedelta(minutes=7))
        assert await store.find_claimable(worker) == [ids[1], ids[2], ids[3]]
        assert await other.find_claimable(rival) == [ids[1], ids[2], ids[3], ids[0]]

    # -- completing as a worker -----------------------------------------------------------------

    async def test_only_the_holder_completes_as_a_worker(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        (mine,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        (theirs,) = await rows_of(other, await say_as(other, room.id, rival, "email"))
        free = await pending(store, room.id, "push")
        done = [row.outcome(state=DeliveryState.SENT) for row in (theirs, mine, free)]
        result = await store.complete(done, worker_id=worker)
        assert list(result.refused) == [theirs.id, free.id]
        assert await row_of(store, theirs.id) == theirs
        assert await row_of(store, free.id) == free
        assert await row_of(store, mine.id) == mine.replace(state=DeliveryState.SENT, holder=None)

    async def test_a_worker_that_overslept_is_refused(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        """Its successor's word counts, also over what rides along with a commit."""
        (row,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        await self.let_leases_run_out(store)
        successor = await other.open_lease(LEASE)
        (claimed,) = await other.claim(room.id, successor)
        late = row.replace(state=DeliveryState.FAILED)
        assert list((await store.complete([late.outcome()], worker_id=worker)).refused) == [row.id]
        result = await say_as(store, room.id, worker, "email", completed=[late.outcome()])
        assert list(result.completed.refused) == [row.id]
        assert await row_of(store, row.id) == claimed.delivery
        done = claimed.delivery.replace(state=DeliveryState.SENT)
        assert not (await other.complete([done.outcome()], worker_id=successor)).refused
        assert await row_of(store, row.id) == done.replace(holder=None)

    async def test_a_refused_end_takes_no_receipt(
        self, store: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """It waits for the end that the holder writes."""
        (row,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        status = reported(new_id())
        await store.record_receipt(status, ReceiptState.READ)
        sent = row.replace(state=DeliveryState.SENT, provider="acme", provider_message_id=status.message_id)
        assert not (await store.complete([sent.outcome()], worker_id=rival)).receipts
        result = await store.complete([sent.outcome()], worker_id=worker)
        assert [given for _, given in result.receipts] == [status]

    async def test_what_is_completed_without_a_worker_may_be_anybodys(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        (row,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        assert not (await complete_one(store, row)).refused
        assert await row_of(store, row.id) == row.replace(state=DeliveryState.SENT, holder=None)

    async def test_a_row_keeps_its_holder_and_its_claims_until_it_ends(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        await say_as(store, room.id, worker, "sms")
        await self.let_leases_run_out(store)
        successor = await other.open_lease(LEASE)
        ((claimed,)) = await other.claim(room.id, successor)
        row = claimed.delivery.replace(attempts=1)
        await other.complete([row.outcome()], worker_id=successor)
        assert await row_of(store, row.id) == row
        failed = row.replace(state=DeliveryState.FAILED)
        await other.complete([failed.outcome()], worker_id=successor)
        assert await row_of(store, row.id) == row.replace(state=DeliveryState.FAILED, holder=None)

    # -- opened again ---------------------------------------------------------------------------

    async def test_a_row_that_is_opened_again_joins_its_lane(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        (failed,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        await complete_one(store, failed, state=DeliveryState.FAILED)
        await say_as(store, room.id, worker, "sms")
        reopened = await other.reopen_delivery(failed.id)
        assert reopened.holder == worker
        assert await other.claim(room.id, rival) == []
        later = await say_as(store, room.id, worker, "sms")
        assert list(later.elsewhere.values()) == [worker]
        claimed = await store.claim(room.id, worker)
        assert [each.delivery.id for each in claimed] == [failed.id, f"{later.events[0].id}:sms"]

    async def test_a_row_that_falls_back_joins_the_lane_of_its_channel(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Behind the rows that are there, at the worker that holds them; a free lane is for any worker."""
        (failed,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        await complete_one(store, failed, state=DeliveryState.FAILED)
        await say_as(store, room.id, worker, "mail")
        made = await other.add_fallback(failed.id, "mail")
        assert made is not None
        assert made.holder == worker
        assert await other.claim(room.id, rival) == []
        assert [each.delivery for each in await store.claim(room.id, worker)] == [made]
        free = await store.add_fallback(failed.id, "push")
        assert free is not None
        assert free.holder is None
        assert [each.delivery.id for each in await other.claim(room.id, rival)] == [free.id]

    async def test_a_row_that_is_opened_again_in_a_free_lane_is_for_anybody(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        (failed,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        await complete_one(store, failed, state=DeliveryState.FAILED)
        assert (await store.reopen_delivery(failed.id)).holder is None
        assert list((await say_as(store, room.id, worker, "sms")).elsewhere.values()) == [None]
        assert await other.find_claimable(rival) == [room.id]
        claimed = await other.claim(room.id, rival)
        assert [each.delivery.claims for each in claimed] == [0, 0]

    async def test_a_row_that_is_opened_again_was_never_lost(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        await say_as(store, room.id, worker, "sms")
        await self.let_leases_run_out(store)
        (claimed,) = await other.claim(room.id, await other.open_lease(LEASE))
        assert claimed.delivery.claims == 1
        await complete_one(store, claimed.delivery, state=DeliveryState.FAILED)
        assert (await row_of(store, claimed.delivery.id)).claims == 1
        assert (await store.reopen_delivery(claimed.delivery.id)).claims == 0
        assert (await row_of(other, claimed.delivery.id)).claims == 0

    # -- read again ------------------------------------------------------------------------------

    async def test_a_lane_is_read_by_the_indexes_of_its_events(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """In the order of the timeline, whatever order they are given in; nothing changes by it."""
        said = [await say_as(store, room.id, worker, "sms", "mail") for _ in range(4)]
        await say_as(store, room.id, worker, "mail")
        events = [each.events[0] for each in said]
        rows = [await row_of(store, f"{each.id}:sms") for each in events]
        wanted = [events[3].index, events[0].index, events[2].index]
        for asked in (store, other):
            found = await asked.read_lane(room.id, "sms", wanted)
            assert [each.delivery for each in found] == [rows[0], rows[2], rows[3]]
            assert [each.event for each in found] == [events[0], events[2], events[3]]
        assert [await row_of(store, row.id) for row in rows] == rows
        assert await other.claim(room.id, rival) == []

    async def test_a_lane_is_read_in_any_state_and_without_what_is_not_there(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """Rows that ended, or that another worker holds, show it; missing ones are passed over."""
        ended = await say_as(store, room.id, worker, "sms")
        (row,) = await rows_of(store, ended)
        await store.complete([row.outcome(state=DeliveryState.SENT)], worker_id=worker)
        only_mail = await say_as(store, room.id, worker, "mail")
        free = await pending(store, room.id)
        indexes = [ended.events[0].index, only_mail.events[0].index, free.event_index, 10**6]
        found = await store.read_lane(room.id, "sms", indexes)
        assert [each.delivery for each in found] == [await row_of(store, row.id), free]
        assert [each.delivery.state for each in found] == [DeliveryState.SENT, DeliveryState.PENDING]
        assert await store.read_lane(room.id, "sms", []) == []
        assert await store.read_lane(room.id, "s\0ms", indexes) == []
        assert await store.read_lane(new_id(), "sms", indexes) == []

    async def test_a_lane_is_read_with_its_events_as_they_are_now(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        said = await say_as(store, room.id, worker, "sms")
        (shown,) = said.events
        await commit(store, room.id, redact=[shown.id])
        (found,) = await store.read_lane(room.id, "sms", [shown.index])
        assert found.event == await store.get_event(shown.id)
        assert found.event.is_erased

    # -- deleted rooms ---------------------------------------------------------------------------

    async def test_the_lanes_of_a_room_go_with_it(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        (held,) = await rows_of(store, await say_as(store, room.id, worker, "sms"))
        await say_as(other, room.id, rival, "sms")
        await pending(store, room.id, "email")
        await store.delete_room(room.id)
        done = held.replace(state=DeliveryState.SENT)
        assert list((await store.complete([done.outcome()], worker_id=worker)).refused) == [held.id]
        await store.create_room(Room(id=room.id))
        for asked, who in ((store, worker), (other, rival)):
            assert await asked.find_claimable(who) == []
            assert await asked.claim(room.id, who) == []
        assert dict((await say_as(other, room.id, rival, "sms", "email")).elsewhere) == {}

    # -- the fence of the room's lock -----------------------------------------------------------

    async def test_a_lock_that_was_lost_writes_nothing(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        row = await pending(store, room.id)
        timer = Timer(id=new_id(), room_id=room.id, kind="k", due_at=NOW)
        await store.set_timer(timer)
        await commit(store, room.id, event(room.id), fence=7)
        before = await snapshot(store, room.id)
        with pytest.raises(LockLostError, match=room.id):
            await committed(
                other,
                room.id,
                event(room.id),
                targets=["sms"],
                fence=6,
                metadata={"a": 1},
                timers=[timer.replace(id=new_id())],
                completed=[row.outcome(state=DeliveryState.SENT)],
                timers_done=[timer.id],
            )
        assert (await snapshot(store, room.id)).differences(before) == {}
        for fence in (7, 7, None, 8, 2**40, None):
            await commit(other, room.id, event(room.id), fence=fence)
        with pytest.raises(LockLostError):
            await commit(store, room.id, fence=8)

    async def test_each_room_has_its_own_fence(self, store: ConversationStore, room: Room) -> None:
        """Another room's is as high as it is; a commit that fails raises none."""
        other = await store.create_room(Room())
        await commit(store, room.id, event(room.id, idempotency_key="key"), fence=5)
        await commit(store, other.id, event(other.id), fence=1)
        with pytest.raises(DuplicateEventError):
            await commit(store, room.id, event(room.id, idempotency_key="key"), fence=50)
        await commit(store, room.id, event(room.id), fence=5)


async def say_as(
    store: ConversationStore, room_id: str, worker_id: str, *targets: str, **fields: Any
) -> Committed:
    """Commit one message to these targets, as a worker."""
    return await committed(store, room_id, event(room_id), targets=targets, worker_id=worker_id, **fields)


async def rows_of(store: ConversationStore, result: Committed) -> list[Delivery]:
    """Return the rows of a commit, by event and target."""
    ids = {each.id for each in result.events}
    rows = await store.list_deliveries(result.events[0].room_id, limit=1000)
    return [row for row in rows if row.event_id in ids]
