"""The store's contract: timers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from roomkit.abc.errors import RoomNotFoundError, StaleRoomError
from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import LEASE, StoreSuite, commit
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records, unique_ids

__all__ = ["TimersContract"]

LATER = NOW + timedelta(hours=1)
ALWAYS_DUE = datetime(1970, 1, 1, tzinfo=UTC)


class TimersContract(StoreSuite):
    """A timer fires once it is due, for one worker, and for another when that one is lost."""

    @PROPERTY
    @given(timer=records(Timer, id=unique_ids()), again=records(Timer))
    async def test_every_field_of_a_timer_is_kept(
        self, store: ConversationStore, worker: str, timer: Timer, again: Timer
    ) -> None:
        """By every way of setting it and of reading it; setting it again replaces every field."""
        room = Room()
        timer, again = timer.replace(room_id=room.id), again.replace(id=timer.id, room_id=room.id)
        twin, third = timer.replace(id=new_id()), timer.replace(id=new_id())
        await store.create_room(room, timers=[timer])
        assert await store.list_timers(room.id) == [timer]
        await commit(store, room.id, timers=[twin], at=timer.due_at - timedelta(days=1))
        await store.set_timer(third)
        assert _by_id(await store.list_timers(room.id)) == _by_id([timer, twin, third])
        assert _by_id(await store.claim_timers(worker, timer.due_at)) == _by_id([timer, twin, third])
        await store.set_timer(again)
        assert _by_id(await store.list_timers(room.id)) == _by_id([again, twin, third])
        await store.delete_room(room.id)

    async def test_the_shared_clock_tells_the_time_in_utc(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """Aware, the same for every worker, and never back; None where the store has no clock."""
        first, second, third = await store.now(), await other.now(), await store.now()
        if first is None:
            assert (second, third) == (None, None)
            return
        assert second is not None
        assert third is not None
        assert first.utcoffset() == timedelta(0)
        assert first <= second <= third

    async def test_a_timer_fires_when_it_is_due(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """Not before, to the moment; those due longest first, as many as are asked for."""
        late, later, latest = await set_timers(store, room, *(NOW + timedelta(hours=n) for n in (0, 1, 2)))
        assert await store.claim_timers(worker, NOW - timedelta(microseconds=1)) == []
        assert await store.claim_timers(worker, LATER, limit=0) == []
        assert await store.claim_timers(worker, LATER, limit=1) == [late]
        assert await store.claim_timers(worker, LATER) == [later]
        assert await store.claim_timers(worker, NOW + timedelta(days=1)) == [latest]

    async def test_only_timers_of_the_kinds_that_a_worker_handles_are_claimed(
        self, store: ConversationStore, other: ConversationStore, worker: str, rival: str, room: Room
    ) -> None:
        """Others stay for workers that handle them; among all kinds, those due longest go first."""
        kinds = ("retention", "acme.follow_up", "other", "room_timers")
        timers = [
            _timer(room.id, kind=kind, due_at=NOW + timedelta(seconds=number))
            for number, kind in enumerate(kinds)
        ]
        for each in reversed(timers):
            await store.set_timer(each)
        assert await store.claim_timers(worker, LATER, ("retention", "other"), limit=1) == [timers[0]]
        assert await store.claim_timers(worker, LATER, ()) == []
        assert await store.claim_timers(worker, NOW, ("acme.follow_up",)) == []
        assert await other.claim_timers(rival, LATER, ("nothing", "x'y")) == []
        assert await other.claim_timers(rival, LATER, ("acme.follow_up", "retention")) == [timers[1]]
        assert await other.claim_timers(rival, LATER) == timers[2:]

    async def test_a_timer_may_belong_to_no_room(
        self, store: ConversationStore, other: ConversationStore, worker: str, room: Room
    ) -> None:
        """By whatever way it is set; no room that is deleted takes it along."""
        alone, in_commit = _timer(None), _timer(None)
        await store.set_timer(alone)
        await commit(store, room.id, timers=[in_commit, _timer(room.id)])
        await store.delete_room(room.id)
        claimed = await other.claim_timers(await other.open_lease(LEASE), LATER)
        assert _by_id(claimed) == _by_id([alone, in_commit])
        await store.set_timer(alone.replace(due_at=LATER))
        assert await store.claim_timers(worker, LATER) == [alone.replace(due_at=LATER)]

    async def test_a_timer_is_deleted(
        self, store: ConversationStore, other: ConversationStore, worker: str, room: Room
    ) -> None:
        """Though a worker holds it; False when there is none."""
        free, held, spared = _timer(room.id, due_at=LATER), _timer(room.id), _timer(None, due_at=LATER)
        for each in (free, held, spared):
            await store.set_timer(each)
        await store.claim_timers(worker, NOW)
        for each in (free, held):
            assert await other.delete_timer(each.id)
            assert not await other.delete_timer(each.id)
        assert await store.list_timers(room.id) == []
        assert await store.claim_timers(worker, LATER) == [spared]

    async def test_the_timers_about_a_person_are_deleted(
        self, store: ConversationStore, other: ConversationStore, worker: str
    ) -> None:
        """Those of one organization's rooms, or all; also those that a worker holds."""
        who = f"{new_id()}ü"
        rooms = [await store.create_room(Room(organization_id=each)) for each in ("a", "b")]
        places = [(rooms[0].id, who), (rooms[1].id, who), (None, who), (rooms[0].id, "other"), (None, None)]
        timers = [_timer(room_id, subject=subject) for room_id, subject in places]
        for each in timers:
            await store.set_timer(each)
        await store.claim_timers(worker, NOW, limit=2)
        assert await other.delete_timers_of(who, organization_id="a") == 1
        assert await store.list_timers(rooms[0].id) == [timers[3]]
        assert await other.delete_timers_of(who) == 2
        assert await other.delete_timers_of(who) == 0
        await store.close_lease(worker)
        left = await store.claim_timers(await store.open_lease(LEASE), NOW)
        assert {each.id for each in left} == {timers[3].id, timers[4].id}

    async def test_timers_of_all_rooms_are_found_page_by_page(
        self, store: ConversationStore, other: ConversationStore, worker: str, room: Room
    ) -> None:
        """By kind, by when they are due, in the order of their ids; also those that a worker holds."""
        ids = sorted(f"{prefix}{new_id()}" for prefix in ("a", "B", "ü", "\U0001f514", "z"))
        timers = [
            _timer(room.id if number % 2 else None, id=each, kind="acme.call", due_at=NOW + timedelta(number))
            for number, each in enumerate(ids)
        ]
        for each in (*reversed(timers), _timer(room.id, kind="other")):
            await store.set_timer(each)
        await store.claim_timers(worker, NOW + timedelta(1), ("acme.call",))
        assert await other.find_timers("acme.call") == timers
        assert await other.find_timers("acme.call", limit=2) == timers[:2]
        assert await other.find_timers("acme.call", after=ids[1], limit=2) == timers[2:4]
        assert await other.find_timers("acme.call", due_before=timers[2].due_at) == timers[:3]
        assert await other.find_timers("nothing") == []
        found = await other.find_timers(due_before=NOW)
        assert timers[0] in found
        assert timers[1] not in found
        assert len(await other.find_timers()) == 6

    async def test_a_claimed_timer_fires_for_no_other_worker(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Nor again for its holder, as long as the lease is in force."""
        (timer,) = await set_timers(store, room, NOW)
        assert await store.claim_timers(worker, NOW) == [timer]
        assert await store.claim_timers(worker, LATER) == []
        assert await other.claim_timers(rival, LATER) == []
        assert await other.list_timers(room.id) == [timer]

    async def test_a_timer_of_a_lost_worker_is_reclaimed(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        (timer,) = await set_timers(store, room, NOW)
        await store.claim_timers(worker, NOW)
        for claims in (1, 2):
            await self.let_leases_run_out(store)
            successor = await other.open_lease(LEASE)
            assert await store.claim_timers(worker, NOW) == []
            taken = timer.replace(claims=timer.claims + claims)
            assert await other.claim_timers(successor, NOW) == [taken]
            assert await store.list_timers(room.id) == [taken]

    async def test_a_timer_of_a_worker_that_left_is_free(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        (timer,) = await set_timers(store, room, NOW)
        await store.claim_timers(worker, NOW)
        await store.close_lease(worker)
        assert await store.claim_timers(worker, NOW) == []
        assert await other.claim_timers(rival, NOW) == [timer]

    async def test_setting_a_timer_again_frees_it(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        (timer,) = await set_timers(store, room, NOW)
        await store.claim_timers(worker, NOW)
        moved = timer.replace(due_at=LATER, data={"n": 2})
        await store.set_timer(moved)
        assert await store.list_timers(room.id) == [moved]
        assert await other.claim_timers(rival, NOW) == []
        assert await other.claim_timers(rival, LATER) == [moved]

    async def test_a_completed_timer_is_gone(self, store: ConversationStore, room: Room, worker: str) -> None:
        first, second, third = await set_timers(store, room, NOW, NOW, LATER)
        await store.claim_timers(worker, NOW)
        await store.complete([], worker_id=worker, timers_done=[first.id, new_id()])
        assert _by_id(await store.list_timers(room.id)) == _by_id([second, third])
        await commit(store, room.id, event(room.id), worker_id=worker, timers_done=[second.id, first.id])
        assert await store.list_timers(room.id) == [third]
        await self.let_leases_run_out(store)
        assert await store.claim_timers(await store.open_lease(LEASE), NOW) == []

    async def test_only_its_holder_completes_a_timer_as_a_worker(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        mine, again, theirs, free = await set_timers(store, room, NOW, NOW, LATER, LATER)
        await store.claim_timers(worker, NOW)
        await store.set_timer(again.replace(due_at=LATER + timedelta(hours=1)))
        await other.claim_timers(rival, LATER)
        await store.set_timer(free)
        done = [timer.id for timer in (mine, again, theirs, free)]
        await store.complete([], worker_id=worker, timers_done=done[1:])
        await commit(store, room.id, event(room.id), worker_id=worker, timers_done=done[1:])
        assert len(await store.list_timers(room.id)) == 4
        await commit(store, room.id, event(room.id), worker_id=worker, timers_done=done)
        left = {timer.id for timer in (again, theirs, free)}
        assert {timer.id for timer in await other.list_timers(room.id)} == left
        await store.complete([], timers_done=done)
        assert await other.list_timers(room.id) == []

    async def test_a_timer_can_be_completed_and_set_again_at_once(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """What a commit sets stays, also under the id that it answers."""
        (timer,) = await set_timers(store, room, NOW)
        await store.claim_timers(worker, NOW)
        await commit(store, room.id, timers=[timer.replace(due_at=LATER)], timers_done=[timer.id])
        assert await store.list_timers(room.id) == [timer.replace(due_at=LATER)]
        assert await store.claim_timers(worker, LATER) == [timer.replace(due_at=LATER)]

    async def test_what_a_commit_makes_due_is_the_committing_workers(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        now, later = timer_of(room, NOW), timer_of(room, NOW + timedelta(microseconds=1))
        await commit(store, room.id, timers=[now, later], worker_id=worker, at=NOW)
        assert _by_id(await other.list_timers(room.id)) == _by_id([now, later])
        assert await other.claim_timers(rival, LATER) == [later]
        await self.let_leases_run_out(store)
        successor = await other.open_lease(LEASE)
        assert await other.claim_timers(successor, NOW) == [now.replace(claims=1)]

    async def test_a_timer_that_is_always_due_is_its_committers_whatever_the_clocks_show(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        """Due in 1970, it is any other's once the lease has ended: also if that one's clock is a day slow."""
        slow = NOW - timedelta(days=1)
        lost, left = timer_of(room, ALWAYS_DUE), timer_of(room, ALWAYS_DUE)
        later = timer_of(room, NOW + timedelta(days=1))
        await commit(store, room.id, timers=[lost, later], worker_id=worker, at=NOW)
        assert await other.claim_timers(await other.open_lease(LEASE), slow) == []
        await self.let_leases_run_out(store)
        successor = await other.open_lease(LEASE)
        assert await other.claim_timers(successor, slow) == [lost.replace(claims=1)]
        leaver = await store.open_lease(LEASE)
        await commit(store, room.id, timers=[left], worker_id=leaver, at=NOW)
        await store.close_lease(leaver)
        assert await other.claim_timers(successor, slow) == [left]
        await other.set_timer(lost)
        assert await other.claim_timers(successor, slow) == [lost]

    async def test_what_nobody_in_force_commits_is_held_by_nobody(
        self, store: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """A commit without a worker, or by one whose lease is over, leaves its timers to all."""
        await store.close_lease(worker)
        timers = [timer_of(room, NOW), timer_of(room, NOW)]
        await commit(store, room.id, timers=timers[:1], at=LATER)
        await commit(store, room.id, timers=timers[1:], at=LATER, worker_id=worker)
        assert _by_id(await store.claim_timers(rival, NOW)) == _by_id(timers)

    async def test_the_timers_of_a_room_are_listed_by_their_time(
        self, store: ConversationStore, room: Room
    ) -> None:
        other = await store.create_room(Room())
        hours = [timedelta(hours=number) for number in (2, 0, 3, 1)]
        timers = await set_timers(store, room, *(NOW + each for each in hours))
        await set_timers(store, other, NOW)
        assert await store.list_timers(room.id) == sorted(timers, key=lambda timer: timer.due_at)
        assert await store.list_timers(new_id()) == []

    async def test_timers_go_with_their_room(self, store: ConversationStore, room: Room, worker: str) -> None:
        """Those that were taken too; a later room of that id has none."""
        other = await store.create_room(Room())
        await set_timers(store, room, NOW, LATER)
        (spared,) = await set_timers(store, other, NOW)
        await store.claim_timers(worker, NOW, limit=1)
        await store.delete_room(room.id)
        assert await store.list_timers(room.id) == []
        await store.create_room(Room(id=room.id))
        assert await store.list_timers(room.id) == []
        await self.let_leases_run_out(store)
        claimed = await store.claim_timers(await store.open_lease(LEASE), LATER)
        assert [timer.id for timer in claimed] == [spared.id]

    async def test_a_timer_needs_a_room(self, store: ConversationStore, room: Room, worker: str) -> None:
        """One for a room that is not there is an error; one of a commit that fails is not set."""
        nowhere = new_id()
        with pytest.raises(RoomNotFoundError, match=nowhere):
            await store.set_timer(timer_of(Room(id=nowhere), NOW))
        with pytest.raises(StaleRoomError):
            await commit(store, room.id, timers=[timer_of(room, NOW)], expected_version=1000)
        assert await store.claim_timers(worker, LATER) == []


def timer_of(room: Room, due_at: Any) -> Timer:
    """Build a timer of a room."""
    return Timer(id=new_id(), room_id=room.id, kind="k", due_at=due_at, data={"n": 1})


def _timer(room_id: str | None, **fields: Any) -> Timer:
    return Timer(**{"id": new_id(), "room_id": room_id, "kind": "k", "due_at": NOW, **fields})


async def set_timers(store: ConversationStore, room: Room, *due_at: Any) -> list[Timer]:
    """Set a timer of a room for each time."""
    timers = [timer_of(room, each) for each in due_at]
    for timer in timers:
        await store.set_timer(timer)
    return timers


def _by_id(timers: list[Timer]) -> dict[str, Timer]:
    return {timer.id: timer for timer in timers}
