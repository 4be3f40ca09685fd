"""The store's contract: alarms, what is to be done about a room at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from roomkit.abc.errors import RoomNotFoundError, StaleRoomError
from roomkit.abc.store import ConversationStore
from roomkit.models.alarm import Alarm
from roomkit.models.base import new_id
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import LEASE, StoreSuite, commit
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records, unique_ids

__all__ = ["AlarmsContract"]

LATER = NOW + timedelta(hours=1)
ALWAYS_DUE = datetime(1970, 1, 1, tzinfo=UTC)


class AlarmsContract(StoreSuite):
    """An alarm goes off once it is due, for one worker, and for another when that one does not come back."""

    @PROPERTY
    @given(alarm=records(Alarm, id=unique_ids()), again=records(Alarm))
    async def test_every_field_of_an_alarm_is_kept(
        self, store: ConversationStore, worker: str, alarm: Alarm, again: Alarm
    ) -> None:
        """By every way of setting it and of reading it; setting it again replaces every field."""
        room = Room()
        alarm, again = alarm.replace(room_id=room.id), again.replace(id=alarm.id, room_id=room.id)
        twin, third = alarm.replace(id=new_id()), alarm.replace(id=new_id())
        await store.create_room(room, alarms=[alarm])
        assert await store.list_alarms(room.id) == [alarm]
        await commit(store, room.id, alarms=[twin], at=alarm.due_at - timedelta(days=1))
        await store.set_alarm(third)
        assert _by_id(await store.list_alarms(room.id)) == _by_id([alarm, twin, third])
        assert _by_id(await store.claim_alarms(worker, alarm.due_at)) == _by_id([alarm, twin, third])
        await store.set_alarm(again)
        assert _by_id(await store.list_alarms(room.id)) == _by_id([again, twin, third])
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

    async def test_an_alarm_goes_off_when_it_is_due(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """Not before, to the moment; those due longest first, as many as are asked for."""
        late, later, latest = await set_alarms(store, room, *(NOW + timedelta(hours=n) for n in (0, 1, 2)))
        assert await store.claim_alarms(worker, NOW - timedelta(microseconds=1)) == []
        assert await store.claim_alarms(worker, LATER, limit=0) == []
        assert await store.claim_alarms(worker, LATER, limit=1) == [late]
        assert await store.claim_alarms(worker, LATER) == [later]
        assert await store.claim_alarms(worker, NOW + timedelta(days=1)) == [latest]

    async def test_an_alarm_that_was_taken_goes_off_for_nobody_else(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Nor again for its holder, as long as the lease is in force."""
        (alarm,) = await set_alarms(store, room, NOW)
        assert await store.claim_alarms(worker, NOW) == [alarm]
        assert await store.claim_alarms(worker, LATER) == []
        assert await other.claim_alarms(rival, LATER) == []
        assert await other.list_alarms(room.id) == [alarm]

    async def test_an_alarm_of_a_lost_worker_is_taken_over(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        """It counts one more claim each time; whoever overslept gets nothing."""
        (alarm,) = await set_alarms(store, room, NOW)
        await store.claim_alarms(worker, NOW)
        for claims in (1, 2):
            await self.let_leases_run_out(store)
            successor = await other.open_lease(LEASE)
            assert await store.claim_alarms(worker, NOW) == []
            taken = alarm.replace(claims=alarm.claims + claims)
            assert await other.claim_alarms(successor, NOW) == [taken]
            assert await store.list_alarms(room.id) == [taken]

    async def test_an_alarm_of_a_worker_that_left_is_free(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """It was given back: that is no loss, and does not count."""
        (alarm,) = await set_alarms(store, room, NOW)
        await store.claim_alarms(worker, NOW)
        await store.close_lease(worker)
        assert await store.claim_alarms(worker, NOW) == []
        assert await other.claim_alarms(rival, NOW) == [alarm]

    async def test_setting_an_alarm_again_frees_it(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """It goes off at its new time, for anybody."""
        (alarm,) = await set_alarms(store, room, NOW)
        await store.claim_alarms(worker, NOW)
        moved = alarm.replace(due_at=LATER, data={"n": 2})
        await store.set_alarm(moved)
        assert await store.list_alarms(room.id) == [moved]
        assert await other.claim_alarms(rival, NOW) == []
        assert await other.claim_alarms(rival, LATER) == [moved]

    async def test_an_alarm_that_was_answered_is_gone(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """With the ends of deliveries or with a commit; one that is gone already is no error."""
        first, second, third = await set_alarms(store, room, NOW, NOW, LATER)
        await store.claim_alarms(worker, NOW)
        await store.complete([], worker_id=worker, alarms_done=[first.id, new_id()])
        assert _by_id(await store.list_alarms(room.id)) == _by_id([second, third])
        await commit(store, room.id, event(room.id), worker_id=worker, alarms_done=[second.id, first.id])
        assert await store.list_alarms(room.id) == [third]
        await self.let_leases_run_out(store)
        assert await store.claim_alarms(await store.open_lease(LEASE), NOW) == []

    async def test_only_who_holds_an_alarm_answers_it_as_a_worker(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """One that another or nobody holds stays, as one that was set anew meanwhile does, by either way."""
        mine, again, theirs, free = await set_alarms(store, room, NOW, NOW, LATER, LATER)
        await store.claim_alarms(worker, NOW)
        await store.set_alarm(again.replace(due_at=LATER + timedelta(hours=1)))
        await other.claim_alarms(rival, LATER)
        await store.set_alarm(free)
        done = [alarm.id for alarm in (mine, again, theirs, free)]
        await store.complete([], worker_id=worker, alarms_done=done[1:])
        await commit(store, room.id, event(room.id), worker_id=worker, alarms_done=done[1:])
        assert len(await store.list_alarms(room.id)) == 4
        await commit(store, room.id, event(room.id), worker_id=worker, alarms_done=done)
        left = {alarm.id for alarm in (again, theirs, free)}
        assert {alarm.id for alarm in await other.list_alarms(room.id)} == left
        await store.complete([], alarms_done=done)
        assert await other.list_alarms(room.id) == []

    async def test_an_alarm_can_be_answered_and_set_anew_at_once(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """What a commit sets stays, also under the id that it answers."""
        (alarm,) = await set_alarms(store, room, NOW)
        await store.claim_alarms(worker, NOW)
        await commit(store, room.id, alarms=[alarm.replace(due_at=LATER)], alarms_done=[alarm.id])
        assert await store.list_alarms(room.id) == [alarm.replace(due_at=LATER)]
        assert await store.claim_alarms(worker, LATER) == [alarm.replace(due_at=LATER)]

    async def test_what_a_commit_makes_due_is_the_committing_workers(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """At the commit's own time; what is due later is for whoever is there then."""
        now, later = alarm_of(room, NOW), alarm_of(room, NOW + timedelta(microseconds=1))
        await commit(store, room.id, alarms=[now, later], worker_id=worker, at=NOW)
        assert _by_id(await other.list_alarms(room.id)) == _by_id([now, later])
        assert await other.claim_alarms(rival, LATER) == [later]
        await self.let_leases_run_out(store)
        successor = await other.open_lease(LEASE)
        assert await other.claim_alarms(successor, NOW) == [now.replace(claims=1)]

    async def test_an_alarm_that_is_always_due_is_its_committers_whatever_the_clocks_show(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        """Due in 1970, it is any other's once the lease has ended: also if that one's clock is a day slow."""
        slow = NOW - timedelta(days=1)
        lost, left = alarm_of(room, ALWAYS_DUE), alarm_of(room, ALWAYS_DUE)
        later = alarm_of(room, NOW + timedelta(days=1))
        await commit(store, room.id, alarms=[lost, later], worker_id=worker, at=NOW)
        assert await other.claim_alarms(await other.open_lease(LEASE), slow) == []
        await self.let_leases_run_out(store)
        successor = await other.open_lease(LEASE)
        assert await other.claim_alarms(successor, slow) == [lost.replace(claims=1)]
        leaver = await store.open_lease(LEASE)
        await commit(store, room.id, alarms=[left], worker_id=leaver, at=NOW)
        await store.close_lease(leaver)
        assert await other.claim_alarms(successor, slow) == [left]
        await other.set_alarm(lost)
        assert await other.claim_alarms(successor, slow) == [lost]

    async def test_what_nobody_in_force_commits_is_held_by_nobody(
        self, store: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """A commit without a worker, or by one whose lease is over, leaves its alarms to all."""
        await store.close_lease(worker)
        alarms = [alarm_of(room, NOW), alarm_of(room, NOW)]
        await commit(store, room.id, alarms=alarms[:1], at=LATER)
        await commit(store, room.id, alarms=alarms[1:], at=LATER, worker_id=worker)
        assert _by_id(await store.claim_alarms(rival, NOW)) == _by_id(alarms)

    async def test_the_alarms_of_a_room_are_listed_by_their_time(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Only its own."""
        other = await store.create_room(Room())
        hours = [timedelta(hours=number) for number in (2, 0, 3, 1)]
        alarms = await set_alarms(store, room, *(NOW + each for each in hours))
        await set_alarms(store, other, NOW)
        assert await store.list_alarms(room.id) == sorted(alarms, key=lambda alarm: alarm.due_at)
        assert await store.list_alarms(new_id()) == []

    async def test_alarms_go_with_their_room(self, store: ConversationStore, room: Room, worker: str) -> None:
        """Those that were taken too; a later room of that id has none."""
        other = await store.create_room(Room())
        await set_alarms(store, room, NOW, LATER)
        (spared,) = await set_alarms(store, other, NOW)
        await store.claim_alarms(worker, NOW, limit=1)
        await store.delete_room(room.id)
        assert await store.list_alarms(room.id) == []
        await store.create_room(Room(id=room.id))
        assert await store.list_alarms(room.id) == []
        await self.let_leases_run_out(store)
        claimed = await store.claim_alarms(await store.open_lease(LEASE), LATER)
        assert [alarm.id for alarm in claimed] == [spared.id]

    async def test_an_alarm_needs_a_room(self, store: ConversationStore, room: Room, worker: str) -> None:
        """One for a room that is not there is an error; one of a commit that fails is not set."""
        nowhere = new_id()
        with pytest.raises(RoomNotFoundError, match=nowhere):
            await store.set_alarm(alarm_of(Room(id=nowhere), NOW))
        with pytest.raises(StaleRoomError):
            await commit(store, room.id, alarms=[alarm_of(room, NOW)], expected_version=1000)
        assert await store.claim_alarms(worker, LATER) == []


def alarm_of(room: Room, due_at: Any) -> Alarm:
    """Build an alarm of a room."""
    return Alarm(id=new_id(), room_id=room.id, kind="k", due_at=due_at, data={"n": 1})


async def set_alarms(store: ConversationStore, room: Room, *due_at: Any) -> list[Alarm]:
    """Set an alarm of a room for each time."""
    alarms = [alarm_of(room, each) for each in due_at]
    for alarm in alarms:
        await store.set_alarm(alarm)
    return alarms


def _by_id(alarms: list[Alarm]) -> dict[str, Alarm]:
    return {alarm.id: alarm for alarm in alarms}
