"""Stores with one fault each, and the contract test that must find it.

Here: timers.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from planting import SteppedStore, planted

from roomkit.abc.store import Commit, Committed, Completed
from roomkit.memory.store import InMemoryStore
from roomkit.models.delivery import DeliveryOutcome
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts import ConversationStoreContract

pytestmark = pytest.mark.virtual_time  # a fault that hangs is found in no time

found_by = partial(planted, ConversationStoreContract)


@found_by("test_only_timers_of_the_kinds_that_a_worker_handles_are_claimed")
class FiresTimersOfEveryKind(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        return await super().claim_timers(worker_id, now, limit=limit)


@found_by("test_only_timers_of_the_kinds_that_a_worker_handles_are_claimed")
class ChoosesKindsAfterTheLimit(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        taken = await super().claim_timers(worker_id, now, limit=limit)
        return [timer for timer in taken if kinds is None or timer.kind in kinds]


@found_by("test_a_timer_may_belong_to_no_room")
class LeavesOutTimersOfNoRoom(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        of_rooms = [timer for timer in commit.timers if timer.room_id is not None]
        return await super().commit(replace(commit, timers=of_rooms))


@found_by("test_timers_of_all_rooms_are_found_page_by_page")
class FindsOnlyTimersOfRooms(InMemoryStore):
    async def find_timers(self, kind: str | None = None, **options: Any) -> list[Timer]:
        return [timer for timer in await super().find_timers(kind, **options) if timer.room_id is not None]


@found_by("test_timers_of_all_rooms_are_found_page_by_page")
class PagesTimersByTheirTime(InMemoryStore):
    async def find_timers(self, kind: str | None = None, **options: Any) -> list[Timer]:
        return sorted(await super().find_timers(kind, **options), key=lambda timer: timer.id.lower())


@found_by("test_a_timer_is_deleted")
class KeepsTimersThatAreHeld(InMemoryStore):
    async def delete_timer(self, timer_id: str) -> bool:
        return timer_id not in self._timers._held and await super().delete_timer(timer_id)


@found_by("test_the_timers_about_a_person_are_deleted")
class DeletesTimersOfEveryTenant(InMemoryStore):
    async def delete_timers_of(self, subject: str, *, organization_id: str | None = None) -> int:
        return await super().delete_timers_of(subject)


@found_by("test_a_timer_fires_when_it_is_due")
class RingsEarly(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        return await super().claim_timers(worker_id, now + timedelta(seconds=1), kinds, limit=limit)


@found_by("test_a_timer_fires_when_it_is_due")
class RingsTheNewestFirst(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        for timer in sorted(self._timers._timers.values(), key=lambda timer: timer.due_at, reverse=True):
            if timer.due_at <= now and timer.id not in self._timers._held and limit == 1:
                return [self._timers._take(timer, worker_id)]
        return await super().claim_timers(worker_id, now, kinds, limit=limit)


@found_by(
    "test_a_claimed_timer_fires_for_no_other_worker",
    "test_of_what_several_claim_at_once_each_gets_its_own",
)
class RingsForEverybody(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        return [timer for timer in self._timers._timers.values() if timer.due_at <= now][:limit]


@found_by("test_a_timer_of_a_lost_worker_is_reclaimed")
class NeverTakesTimersOver(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        taken = await super().claim_timers(worker_id, now, kinds, limit=limit)
        return [timer for timer in taken if not timer.claims]


@found_by("test_setting_a_timer_again_frees_it")
class KeepsWhoHeldTheTimer(InMemoryStore):
    async def set_timer(self, timer: Timer) -> None:
        holder = self._timers._held.get(timer.id)
        await super().set_timer(timer)
        if holder is not None:
            self._timers._held[timer.id] = holder


@found_by("test_what_a_commit_makes_due_is_the_committing_workers")
class LeavesDueTimersToAll(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(replace(commit, timers=()))
        for timer in commit.timers:
            await self.set_timer(timer)
        return result


@found_by("test_what_a_commit_makes_due_is_the_committing_workers")
class HoldsLaterTimersToo(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        for timer in commit.timers:
            self._timers.set(timer, commit.worker_id)
        return result


@found_by("test_a_timer_that_is_always_due_is_its_committers_whatever_the_clocks_show")
class TrustsTheCommittersClock(InMemoryStore):
    """A timer due at once is stored under the commit's time, which another worker has not reached."""

    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        for timer in commit.timers:
            if timer.id in self._timers._held:
                self._timers.set(
                    timer.replace(due_at=max(timer.due_at, commit.at)), self._timers._held[timer.id]
                )
        return result


@found_by("test_only_its_holder_completes_a_timer_as_a_worker")
class LetsAnybodyAnswer(SteppedStore):
    def _complete(
        self, outcomes: Sequence[DeliveryOutcome], worker_id: Any, timers_done: Sequence[str]
    ) -> Completed:
        self._timers.remove(timers_done)
        return self._ledger.complete(outcomes, worker_id)


@found_by("test_the_timers_of_a_room_are_listed_by_their_time")
class ListsTimersAsTheyCame(InMemoryStore):
    async def list_timers(self, room_id: str) -> list[Timer]:
        return [timer for timer in self._timers._timers.values() if timer.room_id == room_id]


@found_by("test_timers_go_with_their_room", "test_deleting_a_room_removes_all_that_belongs_to_it")
class LeavesTimersBehind(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        timers = self._timers.of(room_id)
        deleted = await super().delete_room(room_id)
        for timer in timers:
            self._timers.set(timer)
        return deleted


@found_by("test_a_timer_needs_a_room")
class SetsTimersForNoRoom(InMemoryStore):
    async def set_timer(self, timer: Timer) -> None:
        self._timers.set(timer)
