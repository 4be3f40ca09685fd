"""Stores with one fault each, and the contract test that must find it.

Here: values, state of bindings and look-ups.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from planting import SteppedStore, planted

from roomkit.abc.errors import (
    RoomKitError,
    StaleValueError,
)
from roomkit.abc.store import Commit, Committed, Completed
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import utcnow
from roomkit.models.delivery import Delivery, DeliveryOutcome
from roomkit.models.event import RoomEvent
from roomkit.models.value import Value
from roomkit_plugins.testing.contracts import ConversationStoreContract

pytestmark = pytest.mark.virtual_time  # a fault that hangs is found in no time

found_by = partial(planted, ConversationStoreContract)


# -- values -----------------------------------------------------------------------------------------


@found_by("test_the_shared_clock_tells_the_time_in_utc")
class TellsTheTimeOfItsPlace(InMemoryStore):
    async def now(self) -> datetime | None:
        return datetime(2026, 1, 1)  # planted


@found_by("test_the_shared_clock_tells_the_time_in_utc")
class HasAClockOfItsOwn(InMemoryStore):
    passed = timedelta(0)

    async def now(self) -> datetime | None:
        self.passed -= timedelta(seconds=1)
        return utcnow() + self.passed


@found_by("test_a_put_with_a_revision_replaces_only_that_one", "test_one_of_several_that_put_at_once_wins")
class PutsInTwoSteps(InMemoryStore):
    async def put_value(self, value: Value, *, if_revision: int | None = None) -> Value:
        found = await self.get_value(value.namespace, value.key, organization_id=value.organization_id)
        await asyncio.sleep(0)
        if if_revision not in (None, 0) and (found is None or found.revision != if_revision):
            raise StaleValueError("stale")
        return await super().put_value(value)


@found_by("test_a_revision_is_never_used_again")
class CountsRevisionsByKey(InMemoryStore):
    async def put_value(self, value: Value, *, if_revision: int | None = None) -> Value:
        found = await self.get_value(value.namespace, value.key, organization_id=value.organization_id)
        stored = await super().put_value(value, if_revision=if_revision)
        place = (value.organization_id, value.namespace, value.key)
        stored = stored.replace(revision=1 if found is None else found.revision + 1)
        self._values._values[place] = stored
        return stored


@found_by("test_any_text_may_be_a_key")
class JoinsKeys(InMemoryStore):
    async def put_value(self, value: Value, *, if_revision: int | None = None) -> Value:
        return await super().put_value(value.replace(key=(",".join(value.key),)))

    async def get_value(self, namespace: str, key: Sequence[str], **options: Any) -> Value | None:
        return await super().get_value(namespace, (",".join(key),), **options)


@found_by("test_the_values_about_a_person_are_listed")
class ShowsValuesOfOtherTenants(InMemoryStore):
    async def list_values_of(
        self, subject: str, *, after: int = 0, limit: int = 100, **_: Any
    ) -> list[Value]:
        return await super().list_values_of(subject, after=after, limit=limit)


@found_by("test_the_values_of_a_room_are_listed")
class ShowsValuesOfOneSubjectOnly(InMemoryStore):
    async def list_room_values(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[Value]:
        page = await super().list_room_values(room_id, after=after, limit=limit)
        return [value for value in page if value.subject is not None]


@found_by("test_the_values_of_a_room_go_with_it")
class LeavesValuesBehind(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        self._values.delete_room = lambda _: None  # type: ignore[method-assign]
        return await super().delete_room(room_id)


@found_by("test_the_values_about_a_person_are_deleted")
class DeletesWhatIsAnothers(InMemoryStore):
    async def delete_values_of(self, subject: str, **_: Any) -> int:
        return await super().delete_values_of(subject)


@found_by("test_what_has_expired_is_purged")
class PurgesEverythingThatExpires(InMemoryStore):
    async def purge_values(self, before: datetime, *, limit: int = 1000) -> int:
        return await super().purge_values(before + timedelta(days=1), limit=limit)


@found_by("test_a_commit_puts_values_or_nothing")
class PutsValuesFirst(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        for value in commit.values:
            await self.put_value(value)
        return await super().commit(replace(commit, values=()))


@found_by("test_values_are_listed_by_the_parts_their_keys_begin_with")
class ListsKeysByTheirFirstLetters(InMemoryStore):
    async def list_values(self, namespace: str, prefix: Sequence[str] = (), **filters: Any) -> list[Value]:
        everything = await super().list_values(namespace, (), **filters)
        return [each for each in everything if "".join(each.key).startswith("".join(prefix))]


@found_by("test_an_erasure_removes_what_was_derived_from_the_room")
class KeepsWhatWasDerived(SteppedStore):
    def _rewrite(self, record: Any, commit: Commit) -> None:
        values = self._values._values.copy()
        super()._rewrite(record, commit)
        self._values._values.update(values)


@found_by("test_an_erasure_removes_what_was_derived_from_the_room")
class RemovesWhateverTheRoomKeeps(SteppedStore):
    def _rewrite(self, record: Any, commit: Commit) -> None:
        super()._rewrite(record, commit)
        if commit.redact:
            self._values.delete_room(commit.room_id)


# -- kept state -------------------------------------------------------------------------------------


@found_by(
    "test_a_commit_on_an_outdated_plan_is_refused",
    "test_random_changes_of_state_by_two_workers_lose_nothing",
)
class ForgetsTheVersionOfBindings(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        if commit.bindings and commit.expected_version is not None:
            await asyncio.sleep(0)
            commit = replace(commit, expected_version=None)
        return await super().commit(commit)


@found_by(
    "test_an_address_leads_to_a_room_as_long_as_a_binding_has_it",
    "test_what_is_kept_with_a_room_and_a_binding_is_read_by_every_worker",
    "test_random_changes_of_state_by_two_workers_lose_nothing",
)
class ForgetsTheStateOfBindings(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(
            replace(commit, bindings=[each.replace(state={}) for each in commit.bindings])
        )


# -- look-ups ---------------------------------------------------------------------------------------


@found_by("test_an_event_is_found_by_its_vendors_id")
class FindsEventsOfEveryTenant(InMemoryStore):
    async def find_event(
        self, channel_id: str, external_id: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        return await super().find_event(channel_id, external_id)


@found_by("test_the_newest_event_of_a_room_with_a_vendors_id_is_found")
class FindsErasedEvents(SteppedStore):
    def _put_event(self, record: Any, event: RoomEvent) -> None:
        self._events[event.id] = event
        record.put(event)


@found_by("test_a_delivery_is_found_by_its_providers_message")
class FindsDeliveriesOfEveryProvider(InMemoryStore):
    async def find_delivery(
        self, provider: str, message_id: str, *, organization_id: str | None = None
    ) -> Delivery | None:
        known = [key for key in self._ledger._by_message_id if key[1] == message_id]
        return await super().find_delivery(*known[0], organization_id=organization_id) if known else None


@found_by("test_every_room_bound_to_an_address_is_found")
class RemembersFormerAddresses(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._directory._unindex_address = lambda record, binding: None  # type: ignore[method-assign]


@found_by("test_an_address_leads_to_a_room_as_long_as_a_binding_has_it")
class FindsRoomsByAnyChannelsAddress(InMemoryStore):
    async def find_address_room_ids(
        self, channel_id: str, address: str, *, limit: int = 2, **_asked: Any
    ) -> list[str]:
        rooms = self._directory.with_channel(channel_id)
        return [each.room_id for each in rooms if channel_id in each.bindings][:limit]


@found_by("test_rooms_are_found_by_the_address_of_a_binding")
class FindsClosedRoomsByAddress(InMemoryStore):
    async def find_address_room_ids(
        self, channel_id: str, address: str, *, limit: int = 2, **_asked: Any
    ) -> list[str]:
        return [each.room_id for each in self._directory.with_address(channel_id, address)][:limit]


@found_by("test_rooms_of_any_status_are_found_by_the_address_of_a_binding")
class FindsOpenRoomsAlone(InMemoryStore):
    async def find_address_room_ids(
        self, channel_id: str, address: str, *, closed: bool = False, **asked: Any
    ) -> list[str]:
        return await super().find_address_room_ids(channel_id, address, **asked)


@found_by("test_an_event_is_found_by_its_key_in_any_room")
class FindsTheOldestEvent(InMemoryStore):
    async def find_keyed_event(
        self, idempotency_key: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        return next((e for e in self._events.values() if e.idempotency_key == idempotency_key), None)


@found_by("test_an_outcome_that_is_not_durable_frees_its_lane_and_is_written_again")
class PutsOffWhatIsNotDurable(InMemoryStore):
    async def complete(
        self, outcomes: Sequence[DeliveryOutcome], *, durable: bool = True, **rest: Any
    ) -> Completed:
        return await super().complete(outcomes if durable else (), **rest)


@found_by("test_only_the_holder_completes_as_a_worker", "test_a_worker_that_overslept_is_refused")
class AsksForNoHolder(SteppedStore):
    def _complete(
        self, outcomes: Sequence[DeliveryOutcome], worker_id: Any, timers_done: Sequence[str]
    ) -> Completed:
        return super()._complete(outcomes, None, timers_done)


@found_by("test_a_takeover_and_a_late_end_at_once_are_one_or_the_other")
class AsksForTheHolderTooEarly(InMemoryStore):
    async def complete(
        self,
        outcomes: Sequence[DeliveryOutcome],
        *,
        worker_id: str | None = None,
        timers_done: Sequence[str] = (),
        durable: bool = True,
    ) -> Completed:
        mine = [row for row in outcomes if self._ledger.get(row.id).holder == worker_id]
        await asyncio.sleep(0)
        return await super().complete(mine if worker_id else outcomes, timers_done=timers_done)


@found_by("test_what_is_completed_without_a_worker_may_be_anybodys")
class RefusesWhoIsNoWorker(SteppedStore):
    def _complete(
        self, outcomes: Sequence[DeliveryOutcome], worker_id: Any, timers_done: Sequence[str]
    ) -> Completed:
        return super()._complete(outcomes, worker_id or "another", timers_done)


@found_by("test_a_row_keeps_its_holder_and_its_claims_until_it_ends")
class KeepsTheHolderOfWhatEnded(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        before = {row.id: self._ledger.get(row.id) for row in outcomes}
        result = super()._complete(outcomes, *rest)
        for row_id, row in before.items():
            if row is not None and row_id not in result.refused:
                after = self._ledger.get(row_id)
                self._ledger._rows[row_id] = after.replace(holder=row.holder)
        return result


@found_by("test_a_row_keeps_its_holder_and_its_claims_until_it_ends")
class ForgetsTheClaims(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        result = super()._complete(outcomes, *rest)
        for row in outcomes:
            if row.id not in result.refused:
                self._ledger._rows[row.id] = self._ledger.get(row.id).replace(claims=0)
        return result


@found_by(
    "test_a_row_that_is_opened_again_joins_its_lane",
    "test_a_row_that_is_opened_again_in_a_free_lane_is_for_anybody",
)
class ReopensOutsideTheLane(InMemoryStore):
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        lanes, self._ledger._lanes = self._ledger._lanes, None
        row = await super().reopen_delivery(delivery_id)
        self._ledger._lanes = lanes
        return row


@found_by("test_a_row_that_is_opened_again_was_never_lost")
class RemembersLossesForEver(InMemoryStore):
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        before = self._ledger.get(delivery_id)
        row = await super().reopen_delivery(delivery_id)
        self._ledger._rows[row.id] = row = row.replace(claims=before.claims if before else 0)
        return row


@found_by("test_the_lanes_of_a_room_go_with_it")
class LeavesLanesBehind(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        lanes, self._ledger._lanes = self._ledger._lanes, None
        deleted = await super().delete_room(room_id)
        self._ledger._lanes = lanes
        return deleted

    async def find_claimable(self, worker_id: str, *, limit: int = 100, **options: Any) -> list[str]:
        return [room_id for room_id in self._ledger._all_lanes().rooms if room_id in self._rooms]


@found_by("test_a_lock_that_was_lost_writes_nothing")
class IgnoresTheFence(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, fence=None))


@found_by("test_a_lock_that_was_lost_writes_nothing")
class RemembersTheLastFenceOnly(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        self._record(commit.room_id).fence = commit.fence
        return result


@found_by("test_each_room_has_its_own_fence")
class RaisesTheFenceOfAFailure(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        try:
            return await super().commit(commit)
        except RoomKitError:
            self._record(commit.room_id).fence = commit.fence
            raise


@found_by("test_each_room_has_its_own_fence")
class HasOneFenceForAll(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        if commit.fence is not None:
            self.fence = max(commit.fence, getattr(self, "fence", 0))
            self._record(commit.room_id).fence = self.fence
        return await super().commit(commit)
