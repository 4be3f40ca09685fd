"""The store's contract: many writers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from roomkit.abc.errors import DuplicateEventError, RoomAlreadyExistsError, RoomKitError, StaleRoomError
from roomkit.abc.store import Amend, Commit, ConversationStore, Entry
from roomkit.models.base import new_id
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery
from roomkit.models.enums import DeliveryState, ReceiptState, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import (
    LEASE,
    StoreSuite,
    commit,
    committed,
    complete_one,
    pending,
    reported,
    row_of,
    send,
)
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = ["ConcurrencyContract"]


class ConcurrencyContract(StoreSuite):
    """Whatever runs at the same time, no change is lost and no index is given twice."""

    async def test_concurrent_commits_get_indexes_of_their_own(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Each writer's events rise in its own order, and the counters agree with the timeline."""

        async def write(writer: int) -> list[RoomEvent]:
            stored: list[RoomEvent] = []
            for number in range(5):
                stored += await commit(store, room.id, event(room.id, f"{writer}.{number}"), event(room.id))
            return stored

        written = await asyncio.gather(*map(write, range(8)))
        timeline = await store.list_events(room.id, limit=1000)
        assert [each.index for each in timeline] == list(range(80))
        for stored in written:
            assert [each.index for each in stored] == sorted(each.index for each in stored)
        returned = [each for stored in written for each in stored]
        assert sorted(returned, key=lambda each: each.index) == timeline
        after = await store.get_room(room.id)
        assert after is not None
        assert (after.event_count, after.latest_index) == (80, 79)

    async def test_of_concurrent_duplicates_one_is_stored(self, store: ConversationStore, room: Room) -> None:
        """The others get an error that names it."""

        async def write(number: int) -> RoomEvent:
            try:
                (stored,) = await commit(store, room.id, event(room.id, str(number), idempotency_key="key"))
            except DuplicateEventError as error:
                return error.event
            return stored

        results = await asyncio.gather(*map(write, range(10)))
        assert [each.id for each in results] == [results[0].id] * 10
        assert await store.list_events(room.id) == [results[0]]

    async def test_of_concurrent_duplicates_in_several_rooms_one_is_stored(
        self, store: ConversationStore
    ) -> None:
        rooms = [await store.create_room(Room(id=new_id())) for _ in range(6)]
        keys = [new_id() for _ in range(4)]

        async def write(number: int, key: str) -> RoomEvent:
            room_id = rooms[number].id
            entry = Entry(event(room_id, idempotency_key=key), key_spans_rooms=True)
            try:
                return (await store.commit(Commit(room_id=room_id, entries=[entry], at=NOW))).events[0]
            except DuplicateEventError as error:
                return error.event

        asked = [(n, key) for n in range(6) for key in (keys if n % 2 else reversed(keys))]
        results = await asyncio.gather(*(write(*each) for each in asked))
        assert {
            key: {e.id for (_, k), e in zip(asked, results, strict=True) if k == key} for key in keys
        } == {key: {stored.id} for key in keys if (stored := await store.find_keyed_event(key)) is not None}
        assert sum([await store.get_event_count(each.id) for each in rooms]) == len(keys)

    async def test_of_concurrent_plans_one_is_carried_out(self, store: ConversationStore, room: Room) -> None:
        """When each changes the room it was planned on, the others are stale."""
        record = await store.load(room.id)
        assert record is not None
        version = record.version

        async def change(number: int) -> int | None:
            try:
                await commit(store, room.id, expected_version=version, metadata={"winner": number})
            except StaleRoomError:
                return None
            return number

        winners = [each for each in await asyncio.gather(*map(change, range(10))) if each is not None]
        after = await store.get_room(room.id)
        assert after is not None
        assert [after.metadata["winner"]] == winners

    async def test_of_concurrent_creations_one_succeeds(self, store: ConversationStore) -> None:
        """The others find the room there, untouched."""
        room_id = new_id()

        async def create(number: int) -> Room | None:
            try:
                return await store.create_room(Room(id=room_id, metadata={"by": number}))
            except RoomAlreadyExistsError:
                return None

        created = [each for each in await asyncio.gather(*map(create, range(10))) if each is not None]
        assert [await store.get_room(room_id)] == created

    @pytest.mark.parametrize("first", range(17))
    async def test_any_two_changes_at_once_are_both_seen(self, store: ConversationStore, first: int) -> None:
        """Partial updates of one room never lose each other, in whatever pair."""
        for second in range(first, 17):
            room = await store.create_room(Room())
            for _ in range(3):
                stage = await RaceStage.set(store, room.id)
                one, other = stage.changes()[first], stage.changes()[second]
                await asyncio.gather(one.make(), other.make())
                assert await one.is_seen(), f"of {first} and {second} the first is lost"
                assert await other.is_seen(), f"of {first} and {second} the second is lost"

    async def test_a_deletion_and_a_commit_at_once_leave_no_half(self, store: ConversationStore) -> None:
        """The commit was before, or finds no room; nothing of either is left."""
        for _ in range(10):
            room = await store.create_room(Room())
            (stored,) = await commit(store, room.id, event(room.id))
            sent = event(room.id, idempotency_key="key")

            async def write(room_id: str = room.id, sent: RoomEvent = sent) -> None:
                with suppress(RoomKitError):
                    await commit(store, room_id, sent, targets=["sms"])

            await asyncio.gather(write(), store.delete_room(room.id))
            assert await store.get_room(room.id) is None
            for event_id in (stored.id, sent.id):
                assert await store.get_event(event_id) is None
            assert await store.list_deliveries(room.id) == []

    # -- workers --------------------------------------------------------------------------------

    async def test_of_what_several_claim_at_once_each_gets_its_own(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        rooms = [(await store.create_room(Room())).id for _ in range(5)]
        for room_id in rooms:
            await commit(store, room_id, event(room_id), event(room_id), targets=["sms", "email"])
            await store.set_timer(Timer(id=new_id(), room_id=room_id, kind="k", due_at=NOW))
        stores = [store, other] * 2
        workers = [await each.open_lease(LEASE) for each in stores]
        claims = [
            each.claim(room_id, worker)
            for room_id in rooms
            for each, worker in zip(stores, workers, strict=True)
        ]
        rings = [each.claim_timers(worker, NOW) for each, worker in zip(stores, workers, strict=True)]
        claimed, rung = await asyncio.gather(asyncio.gather(*claims), asyncio.gather(*rings))
        taken = [one.delivery.id for lot in claimed for one in lot]
        assert sorted(taken) == sorted(row.id for row in await store.list_deliveries())
        assert all(len({one.delivery.holder for one in lot}) <= 1 for lot in claimed)
        assert sorted(str(timer.room_id) for lot in rung for timer in lot) == sorted(rooms)

    async def test_lanes_stay_in_order_while_several_workers_commit_and_claim(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Each delivery is carried out by one worker, once, and none before those ahead of it in its lane."""
        done: dict[str, list[int]] = {"sms": [], "email": []}

        async def work(each: ConversationStore, worker: str, commits: int) -> None:
            for number in range(commits + 3):
                mine: list[Delivery] = []
                if number < commits:
                    result = await committed(
                        each, room.id, event(room.id), targets=list(done), worker_id=worker
                    )
                    planned = (Delivery.planned(said, to) for said in result.events for to in done)
                    mine += [row for row in planned if row.id not in result.elsewhere]
                mine += [claimed.delivery for claimed in await each.claim(room.id, worker)]
                for row in mine:
                    done[row.channel_id].append(row.event_index)
                    await asyncio.sleep(0)
                ended = [row.outcome(state=DeliveryState.SENT) for row in mine]
                assert not (await each.complete(ended, worker_id=worker)).refused

        stores = [store, other, store]
        workers = [await each.open_lease(LEASE) for each in stores]
        await asyncio.gather(*(work(each, who, 12) for each, who in zip(stores, workers, strict=True)))
        for each, worker in zip(stores, workers, strict=True):
            await work(each, worker, 0)
        expected = [each.index for each in await store.list_events(room.id)]
        assert done == {"sms": expected, "email": expected}
        assert await store.list_deliveries(room.id, state=DeliveryState.PENDING) == []

    async def test_no_receipt_is_lost_between_a_send_and_its_record(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        rows = [await pending(store, room.id) for _ in range(20)]

        async def race(row: Delivery) -> None:
            status = reported(new_id())
            sent = row.replace(
                state=DeliveryState.SENT, provider="acme", provider_message_id=status.message_id
            )
            matched, result = await asyncio.gather(
                other.record_receipt(status, ReceiptState.DELIVERED), store.complete([sent.outcome()])
            )
            moved = [each for each, _ in result.receipts] + ([matched] if matched is not None else [])
            assert moved == [sent.replace(receipt=ReceiptState.DELIVERED)]
            assert await store.get_delivery(row.id) == moved[0]

        await asyncio.gather(*map(race, rows))

    async def test_a_takeover_and_a_late_end_at_once_are_one_or_the_other(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        for _ in range(10):
            late = await store.open_lease(LEASE)
            (said,) = await commit(store, room.id, event(room.id), targets=["sms"], worker_id=late)
            row = await row_of(store, f"{said.id}:sms")
            await self.let_leases_run_out(store)
            successor = await other.open_lease(LEASE)
            result, claimed = await asyncio.gather(
                store.complete([row.outcome(state=DeliveryState.SENT)], worker_id=late),
                other.claim(room.id, successor),
            )
            assert [each.delivery.id for each in claimed] == list(result.refused)
            if claimed:
                await complete_one(other, claimed[0].delivery)

    async def test_nothing_leaks(self, store: ConversationStore) -> None:
        """Rooms that come, are used and go leave tasks, threads and descriptors flat."""

        async def cycle() -> None:
            room = await store.create_room(Room())
            await asyncio.gather(*(commit(store, room.id, event(room.id)) for _ in range(3)))
            await store.delete_room(room.id)

        await assert_nothing_leaks(cycle, cycles=20)


@dataclass(slots=True)
class RacingChange:
    """One change, and whether its effect is there."""

    make: Callable[[], Awaitable[object]]
    is_seen: Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class RaceStage:
    """A room that is ready for every kind of change; every effect is under ids of its own."""

    store: ConversationStore
    room_id: str
    event: RoomEvent
    sent: Delivery
    identity: Identity
    channel: str
    timer: Timer
    person: Participant
    doomed: RoomEvent

    @classmethod
    async def set(cls, store: ConversationStore, room_id: str) -> RaceStage:
        """Prepare what the changes change."""
        channel = new_id()
        await store.add_binding(binding(room_id, channel))
        stored, sent = await commit(store, room_id, event(room_id), event(room_id), targets=[channel])
        row = await store.get_delivery(f"{sent.id}:{channel}")
        assert row is not None
        row = await send(store, row, new_id())
        identity = await store.create_identity(Identity(id=new_id()))
        timer = Timer(id=new_id(), room_id=room_id, kind="k", due_at=NOW)
        await store.set_timer(timer)
        person = await store.add_participant(Participant(id=new_id(), room_id=room_id, channel_id=channel))
        (doomed,) = await commit(store, room_id, event(room_id))
        return cls(store, room_id, stored, row, identity, channel, timer, person, doomed)

    def changes(self) -> list[RacingChange]:
        """Return one change of every kind, each with ids that no other change has."""
        return [
            self._commit(),
            self._commit_metadata(),
            self._patch(),
            self._bind(),
            self._unbind(),
            self._join(),
            self._task(),
            self._observe(),
            self._read(),
            self._end_delivery(),
            self._receipt(),
            self._link(),
            self._amend(),
            self._timer(),
            self._answer(),
            self._remove(),
            self._redact(),
        ]

    def _commit(self) -> RacingChange:
        sent = event(self.room_id)

        async def seen() -> bool:
            return sent.id in {each.id for each in await self.store.list_events(self.room_id, limit=1000)}

        return RacingChange(lambda: commit(self.store, self.room_id, sent), seen)

    def _commit_metadata(self) -> RacingChange:
        key = new_id()

        async def seen() -> bool:
            room = await self.store.get_room(self.room_id)
            return room is not None and room.metadata.get(key) == 1 and room.status is RoomStatus.PAUSED

        changes = {"status": RoomStatus.PAUSED}
        return RacingChange(
            lambda: commit(self.store, self.room_id, metadata={key: 1}, room_changes=changes), seen
        )

    def _patch(self) -> RacingChange:
        key = new_id()

        async def seen() -> bool:
            room = await self.store.get_room(self.room_id)
            return room is not None and room.metadata.get(key) == 2

        return RacingChange(lambda: self.store.patch_room_metadata(self.room_id, {key: 2}), seen)

    def _bind(self) -> RacingChange:
        bound = binding(self.room_id, new_id())

        async def seen() -> bool:
            return await self.store.get_binding(self.room_id, bound.channel_id) == bound

        return RacingChange(lambda: self.store.add_binding(bound), seen)

    def _unbind(self) -> RacingChange:
        bound = binding(self.room_id, new_id())

        async def make() -> None:
            await self.store.add_binding(bound)
            await self.store.remove_binding(self.room_id, bound.channel_id)

        async def seen() -> bool:
            return await self.store.get_binding(self.room_id, bound.channel_id) is None

        return RacingChange(make, seen)

    def _join(self) -> RacingChange:
        person = Participant(id=new_id(), room_id=self.room_id, channel_id="c")

        async def seen() -> bool:
            return await self.store.get_participant(self.room_id, person.id) == person

        return RacingChange(lambda: self.store.add_participant(person), seen)

    def _task(self) -> RacingChange:
        task = Task(id=new_id(), room_id=self.room_id, title="t")

        async def seen() -> bool:
            return task in await self.store.list_tasks(self.room_id)

        return RacingChange(lambda: self.store.add_task(task), seen)

    def _observe(self) -> RacingChange:
        observation = Observation(id=new_id(), room_id=self.room_id, channel_id="c", content="o")

        async def seen() -> bool:
            return observation in await self.store.list_observations(self.room_id)

        return RacingChange(lambda: self.store.add_observation(observation), seen)

    def _read(self) -> RacingChange:
        async def seen() -> bool:
            return (await self.store.list_read_marks(self.room_id))[self.channel] >= self.event.index

        return RacingChange(lambda: self.store.mark_read(self.room_id, self.channel, self.event.id), seen)

    def _end_delivery(self) -> RacingChange:
        delivery_id = f"{self.event.id}:{self.channel}"

        async def make() -> None:
            row = await self.store.get_delivery(delivery_id)
            assert row is not None
            await complete_one(self.store, row)

        async def seen() -> bool:
            row = await self.store.get_delivery(delivery_id)
            return row is not None and row.state is DeliveryState.SENT

        return RacingChange(make, seen)

    def _receipt(self) -> RacingChange:
        message_id = self.sent.provider_message_id or ""

        async def seen() -> bool:
            row = await self.store.get_delivery(self.sent.id)
            return row is not None and row.receipt is ReceiptState.READ

        return RacingChange(lambda: self.store.record_receipt(reported(message_id), ReceiptState.READ), seen)

    def _link(self) -> RacingChange:
        address = new_id()

        async def seen() -> bool:
            identity = await self.store.get_identity(self.identity.id)
            found = await self.store.resolve_identity("sms", address)
            return identity is not None and identity == found and address in identity.channel_addresses["sms"]

        return RacingChange(lambda: self.store.link_address(self.identity.id, "sms", address), seen)

    def _amend(self) -> RacingChange:
        content = TextContent(body=new_id())

        async def seen() -> bool:
            edited = await self.store.get_event(self.event.id)
            if edited is None or edited.amendment is None:
                return False
            return content in (edited.content, *edited.amendment.former_contents)

        return RacingChange(
            lambda: commit(self.store, self.room_id, amend=Amend(self.event.id, content, "alice")), seen
        )

    def _timer(self) -> RacingChange:
        timer = Timer(id=new_id(), room_id=self.room_id, kind="k", due_at=NOW)

        async def seen() -> bool:
            return timer in await self.store.list_timers(self.room_id)

        return RacingChange(lambda: self.store.set_timer(timer), seen)

    def _answer(self) -> RacingChange:
        async def seen() -> bool:
            return self.timer not in await self.store.list_timers(self.room_id)

        return RacingChange(lambda: self.store.complete([], timers_done=[self.timer.id]), seen)

    def _remove(self) -> RacingChange:
        async def seen() -> bool:
            return await self.store.get_participant(self.room_id, self.person.id) is None

        return RacingChange(
            lambda: commit(self.store, self.room_id, remove_participants=[self.person.id]), seen
        )

    def _redact(self) -> RacingChange:
        async def seen() -> bool:
            return await self.store.get_event(self.doomed.id) == self.doomed.redacted(NOW)

        return RacingChange(lambda: commit(self.store, self.room_id, redact=[self.doomed.id]), seen)
