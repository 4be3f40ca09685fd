"""Stores with one fault each, and the contract test that must find it.

Here: deliveries: the ledger, receipts, leases and lanes.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from planting import SteppedStore, planted

from roomkit.abc.store import Claimed, Commit, Committed, Completed
from roomkit.memory.store import InMemoryStore
from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit_plugins.testing.contracts import ConversationStoreContract

pytestmark = pytest.mark.virtual_time  # a fault that hangs is found in no time

found_by = partial(planted, ConversationStoreContract)


# -- the ledger -------------------------------------------------------------------------------------


@found_by("test_ids_with_colons_in_them_are_ids_too")
class SplitsIdsAtTheFirstColon(InMemoryStore):
    async def get_delivery(self, delivery_id: str, **scope: Any) -> Delivery | None:
        event_id, _, channel_id = delivery_id.partition(":")
        event = self._events.get(event_id)
        return None if event is None else self._ledger._row(event, channel_id)


@found_by("test_a_row_that_has_ended_is_not_changed_again[sent]")
class ReopensRows(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        for delivery in outcomes:
            self._ledger._rows.pop(delivery.id, None)
        return super()._complete(outcomes, *rest)


@found_by("test_what_is_not_there_is_refused", "test_several_rows_are_completed_together")
class RefusesNothing(SteppedStore):
    def _complete(self, *args: Any) -> Completed:
        return replace(super()._complete(*args), refused=())


@found_by("test_what_is_not_there_is_refused")
class WritesRowsOfNoEvent(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        result = super()._complete(outcomes, *rest)
        self._ledger._rows.update((row.id, row) for row in outcomes if row.id in result.refused)
        return result


@found_by("test_the_rows_of_all_rooms_are_in_order_of_commit")
class ListsRoomByRoom(InMemoryStore):
    def _deliveries(self, room_id: str | None, organization_id: str | None) -> Any:
        rows = list(super()._deliveries(room_id, organization_id))
        return iter(sorted(rows, key=lambda row: self._rooms[row.room_id].order))


@found_by("test_a_failed_row_can_be_opened_again")
class KeepsTheErrorOfReopenedRows(InMemoryStore):
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        before = await self.get_delivery(delivery_id)
        row = await super().reopen_delivery(delivery_id)
        self._ledger._rows[row.id] = row = row.replace(error=before and before.error)
        return row


@found_by("test_a_failed_row_can_be_given_up")
class ForgetsWhyItGaveUp(InMemoryStore):
    async def drop_delivery(self, delivery_id: str, reason: str) -> Delivery:
        row = (await super().drop_delivery(delivery_id, reason)).replace(error=None)
        self._ledger._rows[row.id] = row
        return row


@found_by("test_only_what_failed_is_opened_again_or_given_up")
class ReopensWhatWasSent(InMemoryStore):
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        row = self._ledger.get(delivery_id)
        if row is not None and delivery_id in self._ledger._rows:
            self._ledger._rows[delivery_id] = row.replace(state=DeliveryState.FAILED)
        return await super().reopen_delivery(delivery_id)


@found_by(
    "test_what_rides_along_with_a_failing_commit_is_not_written", "test_a_lock_that_was_lost_writes_nothing"
)
class CompletesBeforeItCommits(SteppedStore):
    async def commit(self, commit: Commit) -> Committed:
        done = self._complete(commit.completed, commit.worker_id, commit.timers_done)
        return replace(await super().commit(replace(commit, completed=(), timers_done=())), completed=done)


@found_by("test_what_a_commit_completes_is_completed", "test_a_completed_timer_is_gone")
class ForgetsWhatRidesAlong(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, completed=(), timers_done=()))


@found_by(
    "test_what_a_commit_completes_makes_way_for_its_own",
    "test_a_timer_can_be_completed_and_set_again_at_once",
)
class CompletesAfterItCommitted(SteppedStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(replace(commit, completed=(), timers_done=()))
        done = self._complete(commit.completed, commit.worker_id, commit.timers_done)
        return replace(result, completed=done)


@found_by("test_the_row_of_a_fallback_has_one_place")
class ListsFallbacksWithTheirEvents(InMemoryStore):
    async def add_fallback(self, delivery_id: str, channel_id: str) -> Delivery | None:
        made = await super().add_fallback(delivery_id, channel_id)
        if made is not None:
            self._ledger._fallbacks.discard(made.id)
        return made


# -- receipts ---------------------------------------------------------------------------------------


@found_by("test_a_part_keeps_its_receipt_when_further_parts_are_sent")
class ForgetsTheReceiptOfTheFirstPart(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._ledger._in_parts = lambda row, before: row  # type: ignore[method-assign]  # that is the fault


@found_by("test_the_same_receipts_end_in_the_same_state_whatever_their_order[expired-delivered-read]")
class LetsALateExpiryPass(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        if row is not None and receipt is ReceiptState.EXPIRED:
            self._ledger._rows[row.id] = row = row.replace(receipt=receipt)
        return row


@found_by(
    "test_a_receipt_moves_as_the_states_follow_each_other[read]",
    "test_receipts_in_any_order_and_number_end_as_the_rule_says",
    "test_any_sequence_of_calls_gives_what_the_reference_gives[ledger]",
)
class TakesReceiptsBack(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        if row is None:
            return None
        self._ledger._rows[row.id] = row = row.replace(receipt=receipt)
        return row


@found_by("test_a_message_of_parts_stands_where_its_parts_do")
class BelievesTheFirstPart(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        if row is None or len(row.message_ids) < 2 or not receipt.follows(row.receipt):
            return row
        self._ledger._rows[row.id] = row = row.replace(receipt=receipt)
        return row


@found_by("test_a_late_end_does_not_take_a_receipt_back")
class EndsWithoutTheReceipt(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        result = super()._complete(outcomes, *rest)
        for row in outcomes:
            if row.id not in result.refused:
                kept = self._ledger.get(row.id).replace(receipt=None)
                self._ledger._rows[row.id] = kept
        return result


@found_by(
    "test_waiting_receipts_are_matched_in_order_of_arrival",
    "test_no_receipt_is_lost_between_a_send_and_its_record",
)
class LosesEarlyReceipts(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        known = (status.provider, status.message_id) in self._ledger._by_message_id
        return await super().record_receipt(status, receipt) if known else None


@found_by("test_waiting_receipts_for_a_recipient_are_deleted")
class KeepsReceiptsForTheErased(InMemoryStore):
    async def delete_waiting_receipts(
        self, recipients: Collection[str], *, not_of: Collection[str] = ()
    ) -> int:
        return 0


@found_by("test_waiting_receipts_for_a_recipient_are_deleted")
class DeletesReceiptsForNamesakes(InMemoryStore):
    async def delete_waiting_receipts(self, recipients: Collection[str], **_: Any) -> int:
        return await super().delete_waiting_receipts(recipients)


@found_by("test_a_waiting_receipt_that_is_repeated_waits_once")
class KeepsRepeatedReceipts(SteppedStore):
    def __init__(self) -> None:
        super().__init__()
        self.repeats: list[Any] = []

    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        self.repeats.append(status)
        return row

    def _complete(self, *args: Any) -> Completed:
        result = super()._complete(*args)
        repeats = [
            (row, status) for row, status in result.receipts for _ in range(self.repeats.count(status))
        ]
        return replace(result, receipts=repeats)


@found_by("test_waiting_receipts_are_matched_in_order_of_arrival")
class MatchesTheNewestFirst(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        waiting = self._ledger._waiting
        take = waiting.take
        waiting.take = lambda keys: list(reversed(take(keys)))  # type: ignore[method-assign]


@found_by("test_waiting_receipts_are_matched_in_order_of_arrival")
class ForgetsTheParts(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        waiting = self._ledger._waiting
        take = waiting.take
        waiting.take = lambda keys: take(list(keys)[:1])  # type: ignore[method-assign]


@found_by("test_a_waiting_receipt_has_to_be_of_the_same_vendor_and_message")
class MixesVendors(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        waiting = self._ledger._waiting
        take, ledger = waiting.take, self._ledger

        def careless(keys: Iterable[tuple[str, str]]) -> Any:
            wanted = {message for _, message in keys}
            near = [key for key in waiting._by_key if key[1] in wanted]
            ledger._by_message_id.update(dict.fromkeys(near, next(reversed(ledger._rows))))
            return take(near)

        waiting.take = careless  # type: ignore[method-assign]


@found_by("test_a_waiting_receipt_is_matched_once")
class MatchesAgain(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        waiting = self._ledger._waiting
        waiting.take = lambda keys: [  # type: ignore[method-assign]
            (each.status, each.receipt) for key in keys for each in waiting._by_key.get(key, ())
        ]


@found_by("test_a_refused_end_takes_no_receipt_along", "test_a_refused_end_takes_no_receipt")
class MatchesWhatItRefuses(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        result = super()._complete(outcomes, *rest)
        for row in outcomes:
            self._ledger._waiting.take([(row.provider or "", row.provider_message_id or "")])
        return result


@found_by("test_no_message_has_receipts_without_end_waiting")
class KeepsReceiptsWithoutEnd(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        if row is None:
            waiting = self._ledger._waiting._by_key[status.provider, status.message_id]
            self.all = [*getattr(self, "all", ()), waiting[-1]]
            waiting[:] = self.all
        return row


@found_by("test_the_id_of_an_earlier_attempt_still_leads_to_the_row")
class ForgetsEarlierAttempts(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        for row in outcomes:
            ids = self._ledger._by_message_id
            for key in [key for key, owner in ids.items() if owner == row.id]:
                del ids[key]
        return super()._complete(outcomes, *rest)


@found_by("test_no_receipt_is_lost_between_a_send_and_its_record")
class LooksForReceiptsTooEarly(InMemoryStore):
    async def complete(self, outcomes: Sequence[DeliveryOutcome], **rest: Any) -> Completed:
        ids = [(row.provider or "", row.provider_message_id or "") for row in outcomes]
        early = self._ledger._waiting.take(ids)
        await asyncio.sleep(0)
        result = await super().complete(outcomes, **rest)
        for status, receipt in early:
            await self.record_receipt(status, receipt)
        return replace(result, receipts=[])


# -- leases and lanes -------------------------------------------------------------------------------


@found_by("test_a_lease_holds_until_it_runs_out")
class RevivesWorkers(InMemoryStore):
    async def renew_lease(self, worker_id: str, seconds: float, **options: Any) -> bool:
        lease = self._leases._leases.get(worker_id)
        if lease is not None:
            self._leases._leases[worker_id] = (asyncio.get_running_loop().time(), seconds)
        return lease is not None


@found_by("test_a_renewed_lease_runs_from_then_on")
class RenewsForAsLongAsBefore(InMemoryStore):
    async def renew_lease(self, worker_id: str, seconds: float, **options: Any) -> bool:
        return await super().renew_lease(worker_id, max(seconds, 60), **options)


@found_by("test_a_lease_that_was_closed_is_over")
class ClosesEverything(InMemoryStore):
    async def close_lease(self, worker_id: str) -> None:
        for each in list(self._leases._leases):
            await super().close_lease(each)


@found_by(
    "test_what_joins_another_workers_lane_is_handed_over",
    "test_lanes_stay_in_order_while_several_workers_commit_and_claim",
)
class KeepsToItselfWhoHolds(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return replace(await super().commit(commit), elsewhere={})


@found_by("test_a_commit_without_a_worker_is_told_nothing")
class TellsWhoDidNotAsk(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        rows = [row for each in result.events for row in self._ledger.of_event(each)]
        return replace(
            result, elsewhere={row.id: row.holder for row in rows if row.holder != commit.worker_id}
        )


@found_by(
    "test_what_was_handed_over_comes_before_what_follows_it",
    "test_lanes_stay_in_order_while_several_workers_commit_and_claim",
)
class OvertakesWhatWasHandedOver(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        mine = {row: holder for row, holder in result.elsewhere.items() if holder != commit.worker_id}
        return replace(result, elsewhere=mine)


@found_by("test_what_a_worker_finds_in_a_lane_of_nobody_has_to_be_claimed_first")
class TakesWhatFollowsTheUnclaimed(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        return replace(result, elsewhere={row: who for row, who in result.elsewhere.items() if who})


class _Trusting:
    """Leases that never run out."""

    def __init__(self, leases: Any) -> None:
        self._leases = leases

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)

    def in_force(self, worker_id: str | None) -> bool:
        return worker_id is not None


@found_by(
    "test_a_worker_whose_lease_is_over_gets_no_lane",
    "test_who_has_no_lease_claims_nothing",
    "test_what_a_lost_worker_held_is_claimed_by_the_next",
    "test_what_joins_the_lane_of_a_lost_worker_waits_for_the_next",
    "test_a_worker_that_overslept_is_refused",
    "test_any_sequence_of_calls_gives_what_the_reference_gives[ledger]",
)
class TrustsEveryLease(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._ledger._leases = _Trusting(self._leases)  # type: ignore[assignment]


@found_by("test_a_timer_of_a_lost_worker_is_reclaimed", "test_what_nobody_in_force_commits_is_held_by_nobody")
class TrustsEveryLeaseWithTimers(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._leases = self._timers._leases = _Trusting(self._leases)  # type: ignore[assignment]
        self._transactions._leases = self._leases


@found_by("test_each_channel_of_each_room_is_a_lane")
class HasOneLaneForAll(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        self._ledger.keep_lanes()
        lanes = self._ledger._lanes
        assert lanes is not None
        lane = type(lanes).lane
        lanes.lane = lambda room_id, channel_id: lane(lanes, "room", "channel")  # type: ignore[method-assign]
        return await super().commit(commit)


@found_by("test_a_lane_is_free_again_when_nothing_in_it_is_pending")
class NeverFreesALane(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        lanes, self._ledger._lanes = self._ledger._lanes, None
        result = super()._complete(outcomes, *rest)
        self._ledger._lanes = lanes
        return result


@found_by("test_all_entries_of_a_commit_follow_each_other")
class TakesOneEntryOfACommit(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        later = [row.id for each in result.events[1:] for row in self._ledger.of_event(each)]
        return replace(result, elsewhere={**result.elsewhere, **dict.fromkeys(later)})


@found_by("test_a_free_lane_is_the_committing_workers")
class HoldsNothing(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, worker_id=None))


@found_by("test_what_nobody_holds_is_claimed_in_order")
class ClaimsTheLastFirst(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        return list(reversed(await super().claim(room_id, worker_id, **options)))


@found_by("test_what_nobody_holds_is_claimed_in_order")
class ClaimsByChannel(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        claimed = await super().claim(room_id, worker_id, **options)
        return sorted(claimed, key=lambda each: (each.event.index, each.delivery.channel_id))


@found_by("test_a_lane_is_read_by_the_indexes_of_its_events")
class ReadsALaneAsItIsAsked(InMemoryStore):
    async def read_lane(self, room_id: str, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
        read = super().read_lane
        return [row for index in indexes for row in await read(room_id, channel_id, [index])]


@found_by("test_a_lane_is_read_by_the_indexes_of_its_events")
class ReadsALaneFromItsFirstIndexOn(InMemoryStore):
    async def read_lane(self, room_id: str, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
        return await super().read_lane(room_id, channel_id, range(min(indexes), max(indexes) + 1))


@found_by("test_a_lane_is_read_in_any_state_and_without_what_is_not_there")
class ReadsOnlyWhatIsPending(InMemoryStore):
    async def read_lane(self, room_id: str, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
        rows = await super().read_lane(room_id, channel_id, indexes)
        return [each for each in rows if each.delivery.state is DeliveryState.PENDING]


@found_by("test_a_claimed_delivery_comes_with_its_event_as_it_is_now")
class DeliversWhatWasSaidAtFirst(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        claimed = await super().claim(room_id, worker_id, **options)
        return [
            Claimed(each.delivery, each.event.replace(content=each.event.amendment.former_contents[0]))
            if each.event.amendment
            else each
            for each in claimed
        ]


@found_by(
    "test_what_a_worker_in_force_holds_is_nobody_elses",
    "test_of_what_several_claim_at_once_each_gets_its_own",
)
class ClaimsWhatOthersHold(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        lanes = self._ledger._all_lanes().rooms.get(room_id, {})
        for lane in lanes.values():
            if lane.holder != worker_id:
                lane.holder = None
                lane.handed.clear()
        return await super().claim(room_id, worker_id, **options)


@found_by("test_of_what_several_claim_at_once_each_gets_its_own")
class ClaimsInTwoSteps(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        rows = [row for row in self._deliveries(room_id, None) if row.holder is None]
        await asyncio.sleep(0)
        await super().claim(room_id, worker_id, **options)
        return [Claimed(row.replace(holder=worker_id), self._events[row.event_id]) for row in rows]


@found_by("test_what_a_lost_worker_held_is_claimed_by_the_next")
class CountsNoLosses(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        claimed = await super().claim(room_id, worker_id, **options)
        return [replace(each, delivery=each.delivery.replace(claims=0)) for each in claimed]


@found_by("test_what_a_worker_gave_back_is_not_lost", "test_a_timer_of_a_worker_that_left_is_free")
class CountsWhatWasGivenBack(InMemoryStore):
    async def close_lease(self, worker_id: str) -> None:
        self._leases.close(worker_id)


@found_by("test_rooms_that_wait_longest_are_found_first")
class FindsTheNewestRoomsFirst(InMemoryStore):
    async def find_claimable(self, worker_id: str, *, limit: int = 100, **options: Any) -> list[str]:
        return list(reversed(await super().find_claimable(worker_id, limit=1000, **options)))[:limit]


@found_by(
    "test_what_nobody_holds_is_claimed_by_channel", "test_what_a_lost_worker_held_is_claimed_by_channel"
)
class ClaimsEveryChannel(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **_: Any) -> list[Claimed]:
        return await super().claim(room_id, worker_id)


@found_by("test_rooms_with_work_are_found_by_channel")
class FindsEveryChannel(InMemoryStore):
    async def find_claimable(self, worker_id: str, *, limit: int = 100, **_: Any) -> list[str]:
        return await super().find_claimable(worker_id, limit=limit)


@found_by(
    "test_a_free_lane_of_an_absent_channel_goes_to_a_worker_that_announces_it",
    "test_a_lane_of_an_absent_channel_waits_when_no_worker_has_it",
)
class KeepsWhatTheCommitterLacks(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, absent=()))


@found_by("test_a_lane_of_an_absent_channel_waits_when_no_worker_has_it")
class HandsOverToTheDead(InMemoryStore):
    async def close_lease(self, worker_id: str) -> None:
        known = self._leases._channels.get(worker_id)
        await super().close_lease(worker_id)
        self._leases.announcer = lambda channel_id, **_: (  # type: ignore[method-assign]
            worker_id if known is None or channel_id in known else None
        )
        self._leases.in_force = lambda _: True  # type: ignore[method-assign]


@found_by("test_channels_are_announced_anew_with_a_renewal")
class AnnouncesOnce(InMemoryStore):
    async def renew_lease(self, worker_id: str, seconds: float, **_: Any) -> bool:
        return await super().renew_lease(worker_id, seconds)


@found_by("test_what_waits_for_a_channel_is_counted")
class CountsWhatIsHeld(InMemoryStore):
    async def count_unclaimed(self) -> dict[str, int]:
        rows = [row for row in self._ledger.of_all() if row.state is DeliveryState.PENDING]
        return {row.channel_id: sum(each.channel_id == row.channel_id for each in rows) for row in rows}
