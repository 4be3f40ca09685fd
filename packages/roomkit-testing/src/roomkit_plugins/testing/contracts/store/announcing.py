"""The store's contract: the channels that workers announce, and deliveries of channels that none has."""

from __future__ import annotations

from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.enums import DeliveryState
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.contracts.store.base import (
    LEASE,
    StoreSuite,
    committed,
    complete_one,
    pending,
    row_of,
)

__all__ = ["AnnouncingContract"]

_HOSTILE = ('quote"d', "back\\slash", "[1]", "null", "ünï:code", "%")


class AnnouncingContract(StoreSuite):
    """A worker carries out only deliveries of channels that are registered with it."""

    async def test_what_nobody_holds_is_claimed_by_channel(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        sms, email = await pending(store, room.id, "sms"), await pending(store, room.id, "email")
        claimed = await store.claim(room.id, worker, channels=["email", "push"])
        assert [each.delivery.id for each in claimed] == [email.id]
        assert (await row_of(store, sms.id)).holder is None
        assert await store.claim(room.id, worker, channels=()) == []
        assert [each.delivery.id for each in await store.claim(room.id, worker)] == [sms.id]

    async def test_what_a_lost_worker_held_is_claimed_by_channel(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        await committed(store, room.id, event(room.id), targets=["sms", "email"], worker_id=worker)
        await self.let_leases_run_out(store)
        successor = await other.open_lease(LEASE, channels=["sms"])
        claimed = await other.claim(room.id, successor, channels=["sms"])
        assert [(each.delivery.channel_id, each.delivery.claims) for each in claimed] == [("sms", 1)]

    async def test_what_was_handed_over_is_claimed_whatever_its_channel(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        await committed(store, room.id, event(room.id), targets=["sms"], worker_id=worker)
        handed = await committed(other, room.id, event(room.id), targets=["sms"], worker_id=rival)
        assert await store.find_claimable(worker, channels=()) == [room.id]
        claimed = await store.claim(room.id, worker, channels=())
        assert [each.event.id for each in claimed] == [handed.events[0].id]

    async def test_rooms_with_work_are_found_by_channel(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        rooms = [room, *[await store.create_room(Room()) for _ in range(2)]]
        for each, channel_id in zip(rooms, ("sms", "sms", "email"), strict=True):
            await pending(store, each.id, channel_id)
        assert await store.find_claimable(worker, channels=["email"], limit=1) == [rooms[2].id]
        assert await store.find_claimable(worker, channels=["sms"]) == [rooms[0].id, rooms[1].id]
        assert await store.find_claimable(worker, channels=()) == []
        assert await store.find_claimable(worker) == [each.id for each in rooms]

    async def test_a_free_lane_of_an_absent_channel_goes_to_a_worker_that_announces_it(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """It claims them; the committing worker keeps what it has."""
        worker = await store.open_lease(LEASE, channels=["sms"])
        able = await other.open_lease(LEASE, channels=["email"])
        for _ in range(2):
            result = await committed(
                store, room.id, event(room.id), targets=["sms", "email"], worker_id=worker, absent=["email"]
            )
            said = result.events[0].id
            assert dict(result.elsewhere) == {f"{said}:email": able}
            assert (await row_of(other, f"{said}:email")).holder == able
            assert (await row_of(other, f"{said}:sms")).holder == worker
        assert await store.claim(room.id, worker) == []
        assert await other.find_claimable(able, channels=["email"]) == [room.id]
        claimed = await other.claim(room.id, able, channels=["email"])
        assert [each.delivery.channel_id for each in claimed] == ["email", "email"]
        assert [each.delivery.claims for each in claimed] == [0, 0]

    async def test_a_lane_of_an_absent_channel_waits_when_no_worker_has_it(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        worker = await store.open_lease(LEASE, channels=["sms", "email"])
        await other.close_lease(await other.open_lease(LEASE, channels=["email"]))
        ids: list[str] = []
        for _ in range(2):
            result = await committed(
                store, room.id, event(room.id), targets=["email"], worker_id=worker, absent=["email"]
            )
            ids.append(f"{result.events[0].id}:email")
            assert dict(result.elsewhere) == {ids[-1]: None}
            assert (await row_of(store, ids[-1])).holder is None
            able = await other.open_lease(LEASE, channels=["email"])
        assert await store.claim(room.id, worker, channels=["sms"]) == []
        claimed = await other.claim(room.id, able, channels=["email"])
        assert [each.delivery.id for each in claimed] == ids

    async def test_an_absent_channel_joins_a_lane_as_it_is(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str, rival: str
    ) -> None:
        """Handed over to its holder, also when others announce the channel."""
        await store.open_lease(LEASE, channels=["email"])
        await committed(other, room.id, event(room.id), targets=["email"], worker_id=rival)
        result = await committed(
            store, room.id, event(room.id), targets=["email"], worker_id=worker, absent=["email"]
        )
        assert list(result.elsewhere.values()) == [rival]

    async def test_channels_are_announced_anew_with_a_renewal(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """A renewal without channels leaves them as they are."""
        await pending(store, room.id, "sms")
        worker = await other.open_lease(LEASE, channels=["email"])
        assert await store.count_unclaimed() == {"sms": 1}
        assert await other.renew_lease(worker, LEASE, channels=["sms"])
        assert await store.count_unclaimed() == {}
        assert await other.renew_lease(worker, LEASE)
        assert await store.count_unclaimed() == {}
        assert await other.renew_lease(worker, LEASE, channels=())
        assert await store.count_unclaimed() == {"sms": 1}

    async def test_what_waits_for_a_channel_is_counted(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        elsewhere = await store.create_room(Room())
        await self.let_leases_run_out(store)
        worker = await store.open_lease(LEASE, channels=["held"])
        await committed(store, room.id, event(room.id), targets=["held"], worker_id=worker)
        for room_id in (room.id, elsewhere.id):
            await pending(store, room_id, "sms")
        await complete_one(store, await pending(store, room.id, "push"), state=DeliveryState.SENT)
        assert await other.count_unclaimed() == {"sms": 2}
        await self.let_leases_run_out(store)
        assert await other.count_unclaimed() == {"held": 1, "sms": 2}
        able = await other.open_lease(LEASE, channels=["sms"])
        assert await store.count_unclaimed() == {"held": 1}
        await other.close_lease(able)
        assert await store.count_unclaimed() == {"held": 1, "sms": 2}
        await store.open_lease(LEASE)
        assert await store.count_unclaimed() == {}

    async def test_any_text_may_be_a_channel(self, store: ConversationStore, room: Room, worker: str) -> None:
        await self.let_leases_run_out(store)
        for channel_id in _HOSTILE:
            await pending(store, room.id, channel_id)
        assert await store.count_unclaimed() == dict.fromkeys(_HOSTILE, 1)
        worker = await store.open_lease(LEASE, channels=_HOSTILE[1:])
        assert await store.count_unclaimed() == {_HOSTILE[0]: 1}
        claimed = await store.claim(room.id, worker, channels=(*_HOSTILE[1:], new_id()))
        assert [each.delivery.channel_id for each in claimed] == list(_HOSTILE[1:])
