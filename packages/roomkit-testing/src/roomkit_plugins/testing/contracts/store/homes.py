"""The store's contract: homes of live things, and the deliveries that go to them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from roomkit.abc.errors import HomeLostError, RoomNotFoundError
from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.enums import DeliveryState
from roomkit.models.room import Room
from roomkit.models.value import Value
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.contracts.store.base import (
    LEASE,
    StoreSuite,
    committed,
    complete_one,
    pending,
    row_of,
)

__all__ = ["HomesContract"]

_NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
_NAMES = ("voice", "bot:1", 'quote"d', "ünï", "%")


class HomesContract(StoreSuite):
    """One living worker has a home; deliveries to its channel go there, in order."""

    # -- whose it is ------------------------------------------------------------------------------

    async def test_one_worker_has_a_home_until_it_leaves(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        for room_id in (room.id, None):
            for name in (*_NAMES, new_id()):
                name = name if room_id else f"{name}{new_id()}"
                assert await store.get_home(room_id, name) is None
                taken = await store.take_home(room_id, name, worker, url="http://a")
                assert (taken.worker_id, taken.is_alive, taken.url) == (worker, True, "http://a")
                assert await other.take_home(room_id, name, rival) == taken
                assert await other.get_home(room_id, name) == taken
                assert not await other.leave_home(room_id, name, rival)
                assert await store.leave_home(room_id, name, worker)
                left = await other.get_home(room_id, name)
                assert left is not None
                assert (left.worker_id, left.is_lost, left.token) == (None, False, taken.token)
                assert not await store.leave_home(room_id, name, worker)
                assert (await other.take_home(room_id, name, rival)).worker_id == rival

    async def test_homes_of_rooms_and_elected_ones_are_apart(
        self, store: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        second, name = await store.create_room(Room()), new_id()
        assert (await store.take_home(room.id, name, worker)).worker_id == worker
        assert (await store.take_home(second.id, name, rival)).worker_id == rival
        assert (await store.take_home(None, name, rival)).worker_id == rival
        assert await store.leave_home(None, name, rival)
        home = await store.get_home(second.id, name)
        assert home is not None
        assert home.is_alive

    async def test_each_new_holder_gets_a_higher_token(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        first = await store.take_home(room.id, "voice", worker)
        again = await store.take_home(room.id, "voice", worker, url="http://b")
        assert (again.token, again.url) == (first.token, "http://b")
        await store.leave_home(room.id, "voice", worker)
        second = await other.take_home(room.id, "voice", rival)
        await other.close_lease(rival)
        third = await store.take_home(room.id, "voice", worker)
        assert first.token < second.token < third.token

    async def test_a_home_is_taken_again_only_if_no_other_worker_had_it(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        first = await store.take_home(room.id, "voice", worker)
        await self.let_leases_run_out(store)
        successor = await store.open_lease(LEASE)
        kept = await store.take_home(room.id, "voice", successor, token=first.token)
        assert (kept.worker_id, kept.token) == (successor, first.token + 1)
        await store.leave_home(room.id, "voice", successor)
        rival = await other.open_lease(LEASE)
        await other.take_home(room.id, "voice", rival)
        await other.leave_home(room.id, "voice", rival)
        refused = await store.take_home(room.id, "voice", successor, token=kept.token)
        assert refused.worker_id is None

    async def test_a_dead_holders_home_is_lost_and_free(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        await store.take_home(room.id, "voice", worker)
        await self.let_leases_run_out(store)
        lost = await other.get_home(room.id, "voice")
        assert lost is not None
        assert (lost.worker_id, lost.is_alive, lost.is_lost) == (worker, False, True)
        successor = await other.open_lease(LEASE)
        assert (await other.take_home(room.id, "voice", successor)).worker_id == successor

    async def test_a_worker_without_a_lease_takes_nothing(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        await store.close_lease(worker)
        for room_id in (room.id, None):
            home = await store.take_home(room_id, "voice", worker)
            assert (home.worker_id, home.is_alive) == (None, False)

    async def test_of_workers_that_take_a_home_at_once_one_has_it(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        for room_id in (room.id, None):
            name = new_id()
            workers = [(each, await each.open_lease(LEASE)) for each in (store, other) * 4]
            taken = await asyncio.gather(
                *(each.take_home(room_id, name, worker_id) for each, worker_id in workers)
            )
            assert len({(home.worker_id, home.token) for home in taken}) == 1

    async def test_a_home_needs_its_room_and_goes_with_it(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        with pytest.raises(RoomNotFoundError):
            await store.take_home(new_id(), "voice", worker)
        await store.take_home(room.id, "voice", worker)
        await store.delete_room(room.id)
        assert await store.get_home(room.id, "voice") is None
        assert await store.yield_lane(room.id, "voice", worker, at=_NOW, grace=0.0) is None
        assert not await store.leave_home(room.id, "voice", worker)

    # -- deliveries to it -------------------------------------------------------------------------

    async def test_a_free_lane_goes_to_the_home_of_its_channel(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Handed over where another worker commits; directly where the holder does."""
        await other.take_home(room.id, "voice", rival)
        ids: list[str] = []
        for absent in ((), ["voice"]):
            result = await committed(
                store, room.id, event(room.id), targets=["voice", "sms"], worker_id=worker, absent=absent
            )
            ids.append(f"{result.events[0].id}:voice")
            assert dict(result.elsewhere) == {ids[-1]: rival}
        claimed = await other.claim(room.id, rival, channels=["voice"])
        assert [each.delivery.id for each in claimed] == ids
        assert [each.delivery.claims for each in claimed] == [0, 0]
        for each in claimed:
            await complete_one(other, each.delivery)
        result = await committed(other, room.id, event(room.id), targets=["voice"], worker_id=rival)
        assert dict(result.elsewhere) == {}

    async def test_a_free_lane_is_the_committers_where_a_home_was_left_or_lost(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        second = await store.create_room(Room())
        for room_id in (room.id, second.id):
            await other.take_home(room_id, "voice", rival)
        await other.leave_home(room.id, "voice", rival)
        await other.close_lease(rival)
        for room_id in (room.id, second.id):
            result = await committed(store, room_id, event(room_id), targets=["voice"], worker_id=worker)
            assert dict(result.elsewhere) == {}

    async def test_a_reopened_delivery_goes_to_the_home(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        row = await pending(store, room.id, "voice")
        await complete_one(store, row, state=DeliveryState.FAILED)
        await other.take_home(room.id, "voice", rival)
        assert (await store.reopen_delivery(row.id)).holder == rival
        assert [each.delivery.id for each in await other.claim(room.id, rival, channels=())] == [row.id]

    async def test_agents_are_placed_with_a_home_of_the_room(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        """If the holder announces them; other channels' lanes stay with the committer."""
        rival = await other.open_lease(LEASE, channels=["voice", "agent"])
        await other.take_home(room.id, "voice", rival)
        targets = ["agent", "stranger", "sms"]
        result = await committed(
            store,
            room.id,
            event(room.id),
            targets=targets,
            worker_id=worker,
            agents=["agent", "stranger"],
        )
        said = result.events[0].id
        assert dict(result.elsewhere) == {f"{said}:agent": rival}
        held = [(await row_of(store, f"{said}:{each}")).holder for each in targets]
        assert held == [rival, worker, worker]

    # -- yielding ---------------------------------------------------------------------------------

    async def test_a_lane_is_yielded_to_the_holder_whole_and_in_order(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        ids: list[str] = []
        for _ in range(3):
            result = await committed(
                store, room.id, event(room.id), targets=["voice", "sms"], worker_id=worker
            )
            ids.append(f"{result.events[0].id}:voice")
        await other.take_home(room.id, "voice", rival)
        home = await store.yield_lane(room.id, "voice", worker, at=_NOW, grace=0.0)
        assert home is not None
        assert home.worker_id == rival
        assert await store.claim(room.id, worker) == []
        later = await committed(store, room.id, event(room.id), targets=["voice"], worker_id=worker)
        ids.append(f"{later.events[0].id}:voice")
        assert dict(later.elsewhere) == {ids[-1]: rival}
        claimed = await other.claim(room.id, rival, channels=())
        assert [each.delivery.id for each in claimed] == ids
        completed = await store.complete([claimed[0].delivery.outcome()], worker_id=worker)
        assert list(completed.refused) == ids[:1]

    async def test_a_lane_of_a_lost_home_is_released_for_its_grace(
        self, store: ConversationStore, other: ConversationStore, room: Room, rival: str
    ) -> None:
        """The time of the loss is kept: a second worker counts from there."""
        await other.take_home(room.id, "voice", rival)
        await self.let_leases_run_out(store)
        worker = await store.open_lease(LEASE)
        result = await committed(store, room.id, event(room.id), targets=["voice"], worker_id=worker)
        delivery_id = f"{result.events[0].id}:voice"
        for seconds, is_released in ((0, True), (59, True), (60, False)):
            at = _NOW + timedelta(seconds=seconds)
            home = await store.yield_lane(room.id, "voice", worker, at=at, grace=60.0)
            assert home is not None
            assert (home.is_lost, home.lost_at) == (True, _NOW)
            assert ((await row_of(store, delivery_id)).holder is None) is is_released
            claimed = await store.claim(room.id, worker)
            assert [each.delivery.claims for each in claimed] == [0] * is_released

    async def test_a_lane_stays_where_a_home_was_left_or_never_taken(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        result = await committed(store, room.id, event(room.id), targets=["voice"], worker_id=worker)
        delivery_id = f"{result.events[0].id}:voice"
        assert await store.yield_lane(room.id, "voice", worker, at=_NOW, grace=60.0) is None
        await other.take_home(room.id, "voice", rival)
        await other.leave_home(room.id, "voice", rival)
        home = await store.yield_lane(room.id, "voice", worker, at=_NOW, grace=60.0)
        assert home is not None
        assert (home.worker_id, home.lost_at) == (None, None)
        assert (await row_of(store, delivery_id)).holder == worker

    async def test_a_holder_that_yields_releases_its_lane(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        """The live thing has just ended, and the home is not left yet."""
        await store.take_home(room.id, "voice", worker)
        result = await committed(store, room.id, event(room.id), targets=["voice"], worker_id=worker)
        await store.yield_lane(room.id, "voice", worker, at=_NOW, grace=0.0)
        assert (await row_of(store, f"{result.events[0].id}:voice")).holder is None

    async def test_takes_and_commits_have_one_order(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """However they meet, each delivery is the holder's after at most one yield, and none is lost."""

        async def commit_some() -> None:
            for _ in range(5):
                await committed(store, room.id, event(room.id), targets=["voice"], worker_id=worker)

        await asyncio.gather(commit_some(), other.take_home(room.id, "voice", rival), commit_some())
        await store.yield_lane(room.id, "voice", worker, at=_NOW, grace=0.0)
        claimed = await other.claim(room.id, rival, channels=())
        indexes = [each.event.index for each in claimed]
        assert indexes == sorted(indexes)
        assert len(indexes) == 10

    # -- fences -----------------------------------------------------------------------------------

    async def test_a_value_is_written_under_the_newest_token_of_a_home(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Of a room's home or an elected one, whether its holder is alive, has left or is lost."""
        for room_id in (room.id, None):
            name, value = new_id(), Value(namespace=new_id(), key=("offset",), data={"at": 1})
            home = await store.take_home(room_id, name, worker)
            first = await store.put_value(value, if_revision=0, fence=home)
            await store.leave_home(room_id, name, worker)
            second = await other.put_value(value.replace(data={"at": 2}), fence=home)
            assert second.revision > first.revision
            place, revision = (value.namespace, value.key), second.revision
            assert await store.delete_value(*place, if_revision=revision, fence=home)
            assert not await store.delete_value(*place, fence=home)

    async def test_a_former_holder_writes_no_value(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Nor does one whose room was deleted; nothing is changed."""
        for room_id in (room.id, None):
            name = new_id()
            value = Value(namespace=new_id(), key=("offset",), data={"at": 1})
            former = await store.take_home(room_id, name, worker)
            kept = await store.put_value(value, fence=former)
            await store.leave_home(room_id, name, worker)
            home = await other.take_home(room_id, name, rival)
            for revision in (None, kept.revision):
                with pytest.raises(HomeLostError, match=f"after token {former.token}"):
                    await store.put_value(value.replace(data={}), if_revision=revision, fence=former)
                with pytest.raises(HomeLostError):
                    await store.delete_value(value.namespace, value.key, if_revision=revision, fence=former)
            assert await other.get_value(value.namespace, value.key) == kept
            assert (await other.put_value(value, fence=home)).revision > kept.revision
        deleted = await store.create_room(Room())
        home = await store.take_home(deleted.id, name, worker)
        await store.delete_room(deleted.id)
        with pytest.raises(HomeLostError):
            await store.put_value(value, fence=home)

    async def test_of_writes_and_takings_at_once_none_is_out_of_order(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """A value never goes back to what a former holder wrote."""
        name, value = new_id(), Value(namespace=new_id(), key=("offset",))
        tokens: list[int] = []

        async def hold(on: ConversationStore) -> None:
            worker = await on.open_lease(LEASE)
            for _ in range(10):
                home = await on.take_home(None, name, worker)
                if home.worker_id != worker:
                    continue
                await on.leave_home(None, name, worker)
                with suppress(HomeLostError):
                    put = await on.put_value(value.replace(data={"token": home.token}), fence=home)
                    tokens.append(put.data["token"] * 1_000_000 + put.revision)

        await asyncio.gather(*(hold(each) for each in (store, other) * 3))
        by_revision = sorted(tokens, key=lambda each: each % 1_000_000)
        assert tokens
        assert by_revision == sorted(tokens)
