"""The store's contract: rooms, and finding them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from roomkit.abc.errors import RoomAlreadyExistsError, RoomNotFoundError, StaleCursorError, StaleRoomError
from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.enums import ChannelType, ReceiptState, RoomStatus
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit, reported, say, snapshot
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records, unique_ids

__all__ = ["RoomsContract"]


class RoomsContract(StoreSuite):
    """Rooms are created once, replaced whole or patched, found by what they are, and deleted with all."""

    # -- one room -----------------------------------------------------------------------------

    @PROPERTY
    @given(room=records(Room, id=unique_ids()))
    async def test_every_field_of_a_room_is_kept(self, store: ConversationStore, room: Room) -> None:
        created = await store.create_room(room)
        assert created == room.replace(event_count=0, latest_index=-1, version=created.version)
        assert await store.get_room(room.id) == created

    async def test_a_room_is_created_once(self, store: ConversationStore, room: Room) -> None:
        """A second room of the same id is refused, and the first stays as it was."""
        await say(store, room.id, "hello")
        before = await snapshot(store, room.id)
        with pytest.raises(RoomAlreadyExistsError, match=room.id):
            await store.create_room(Room(id=room.id, organization_id="other"))
        assert (await snapshot(store, room.id)).differences(before) == {}

    async def test_a_room_that_is_not_there_is_none(self, store: ConversationStore) -> None:
        nowhere = new_id()
        assert await store.get_room(nowhere) is None
        assert await store.load(nowhere) is None
        assert await store.delete_room(nowhere) is False
        assert await store.list_events(nowhere) == []
        assert await store.list_bindings(nowhere) == []
        assert await store.list_participants(nowhere) == []
        assert await store.list_tasks(nowhere) == []
        assert await store.list_observations(nowhere) == []
        assert await store.list_read_marks(nowhere) == {}
        assert await store.list_deliveries(nowhere) == []
        assert await store.list_timers(nowhere) == []
        assert await store.get_event_count(nowhere) == 0

    async def test_changing_a_room_that_is_not_there_is_an_error(self, store: ConversationStore) -> None:
        """Every change names the room it did not find."""
        nowhere = new_id()
        person = Participant(id="p", room_id=nowhere, channel_id="c")
        changes = [
            store.update_room(Room(id=nowhere)),
            store.patch_room_metadata(nowhere, {"a": 1}),
            commit(store, nowhere, event(nowhere)),
            store.add_binding(binding(nowhere)),
            store.add_participant(person),
            store.add_task(Task(id=new_id(), room_id=nowhere, title="t")),
            store.add_observation(Observation(id=new_id(), room_id=nowhere, channel_id="c", content="o")),
            store.set_timer(Timer(id=new_id(), room_id=nowhere, kind="k", due_at=NOW)),
            store.prune_events(nowhere, NOW),
        ]
        for change in changes:
            with pytest.raises(RoomNotFoundError, match=nowhere):
                await change
        assert await store.get_room(nowhere) is None

    @PROPERTY
    @given(before=records(Room, id=unique_ids()), after=records(Room))
    async def test_an_update_replaces_all_but_what_the_store_owns(
        self, store: ConversationStore, before: Room, after: Room
    ) -> None:
        """Counters and version stay the store's, and the last activity where none is given."""
        await store.create_room(before)
        await say(store, before.id, "one", "two")
        stored = await store.get_room(before.id)
        assert stored is not None
        wanted = after.replace(id=before.id, version=stored.version, latest_index=stored.latest_index)
        updated = await store.update_room(wanted)
        assert updated.version > stored.version
        assert updated == wanted.replace(
            event_count=2,
            latest_index=stored.latest_index,
            version=updated.version,
            timers=wanted.timers.replace(last_activity_at=wanted.timers.last_activity_at or NOW),
        )
        assert await store.get_room(before.id) == updated

    @pytest.mark.parametrize("minutes", [-90, 90])
    async def test_an_update_moves_the_last_activity(
        self, store: ConversationStore, other: ConversationStore, room: Room, minutes: int
    ) -> None:
        """Back as well as forward; every object on the data sees it, and the next message moves it again."""
        await say(store, room.id, "one")
        await other.load(room.id)
        read = await store.get_room(room.id)
        assert read is not None
        moved = NOW + timedelta(minutes=minutes)
        timers = RoomTimers(closed_after_seconds=60, last_activity_at=moved)
        updated = await store.update_room(read.replace(timers=timers))
        record = await other.load(room.id)
        assert record is not None
        assert updated.timers == record.room.timers == timers
        assert await other.get_room(room.id) == updated
        await commit(other, room.id, event(room.id), at=NOW + timedelta(minutes=5))
        after = await store.get_room(room.id)
        assert after is not None
        assert after.timers.last_activity_at == NOW + timedelta(minutes=5)

    @pytest.mark.parametrize("minutes", [-90, 0, 90])
    async def test_an_update_never_undoes_activity_that_it_does_not_know(
        self, store: ConversationStore, other: ConversationStore, room: Room, minutes: int
    ) -> None:
        await commit(store, room.id, event(room.id), at=NOW - timedelta(minutes=90))
        read = await store.get_room(room.id)
        assert read is not None
        await commit(other, room.id, event(room.id), at=NOW)
        given = NOW + timedelta(minutes=minutes)
        timers = read.timers.replace(last_activity_at=given)
        updated = await store.update_room(read.replace(timers=timers))
        assert updated.timers.last_activity_at == max(given, NOW)

    @pytest.mark.parametrize("kind", ["metadata", "room", "binding", "participant", "update"])
    async def test_an_update_with_a_stale_room_is_refused(
        self, store: ConversationStore, other: ConversationStore, room: Room, kind: str
    ) -> None:
        """Whatever changed since it was read, by either object: nothing is written."""
        stale = await other.get_room(room.id)
        assert stale is not None
        changes: dict[str, Callable[[], Awaitable[Any]]] = {
            "metadata": lambda: store.patch_room_metadata(room.id, {"added": 1}),
            "room": lambda: commit(store, room.id, room_changes={"status": RoomStatus.PAUSED}),
            "binding": lambda: store.add_binding(binding(room.id)),
            "participant": lambda: store.add_participant(
                Participant(id="p", room_id=room.id, channel_id="c")
            ),
            "update": lambda: store.update_room(stale.replace(metadata={"added": 2})),
        }
        await changes[kind]()
        before = await snapshot(store, room.id)
        with pytest.raises(StaleRoomError, match=room.id):
            await other.update_room(stale.replace(metadata={"mine": 3}))
        assert (await snapshot(store, room.id)).differences(before) == {}
        current = await other.get_room(room.id)
        assert current is not None
        updated = await other.update_room(current.replace(metadata={**current.metadata, "mine": 3}))
        assert updated.metadata == {**current.metadata, "mine": 3}

    async def test_events_do_not_make_a_room_stale(self, store: ConversationStore, room: Room) -> None:
        """An update after a message succeeds, and keeps the store's counters."""
        read = await store.get_room(room.id)
        assert read is not None
        await say(store, room.id, "one", "two")
        updated = await store.update_room(read.replace(metadata={"mine": 3}))
        assert (updated.event_count, updated.metadata) == (2, {"mine": 3})

    async def test_the_version_rises_with_every_change(self, store: ConversationStore, room: Room) -> None:
        """Of the room, its bindings and its participants; never does it fall."""
        person = Participant(id="p", room_id=room.id, channel_id="c")
        changes: list[Any] = [
            lambda: store.update_room(room),
            lambda: store.patch_room_metadata(room.id, {"a": 1}),
            lambda: store.add_binding(binding(room.id)),
            lambda: store.update_binding(binding(room.id, muted=True)),
            lambda: store.remove_binding(room.id, "channel"),
            lambda: store.add_participant(person),
            lambda: store.update_participant(person.replace(display_name="P")),
            lambda: commit(store, room.id, room_changes={"status": RoomStatus.PAUSED}),
            lambda: commit(store, room.id, metadata={"b": 2}),
            lambda: commit(store, room.id, bindings=[binding(room.id)]),
            lambda: commit(store, room.id, unbind=["channel"]),
            lambda: commit(store, room.id, participants=[person]),
            lambda: commit(store, room.id, remove_participants=["p"]),
        ]
        for change in changes:
            before = await store.get_room(room.id)
            await change()
            after = await store.get_room(room.id)
            assert before is not None
            assert after is not None
            assert after.version > before.version

    async def test_a_metadata_patch_merges_and_unsets(self, store: ConversationStore) -> None:
        """Keys that are not named stay; values are replaced, not merged into."""
        room = await store.create_room(Room(metadata={"a": 1, "b": {"x": 1}, "c": 3}))
        patched = await store.patch_room_metadata(room.id, {"b": {"y": 2}, "d": None}, unset=["c", "zz"])
        assert patched.metadata == {"a": 1, "b": {"y": 2}, "d": None}
        assert await store.get_room(room.id) == patched

    async def test_metadata_that_json_cannot_carry_is_refused(
        self, store: ConversationStore, room: Room
    ) -> None:
        """A patch with a value that cannot be stored changes nothing."""
        for value in (object(), float("nan"), {1: "key"}, "\ud800"):
            with pytest.raises(ValueError, match=r"."):
                await store.patch_room_metadata(room.id, {"good": 1, "bad": value})
            assert (await store.get_room(room.id)) == room

    async def test_what_was_handed_in_may_change_afterwards(
        self, store: ConversationStore, room: Room
    ) -> None:
        """The store keeps what it was given at the time, however mutable it was."""
        patch: dict[str, Any] = {"list": [1], "dict": {"a": 1}}
        await store.patch_room_metadata(room.id, patch)
        patch["list"].append(2)
        patch["dict"]["a"] = 2
        stored = await store.get_room(room.id)
        assert stored is not None
        assert stored.metadata == {"list": [1], "dict": {"a": 1}}

    # -- deleting -----------------------------------------------------------------------------

    async def test_deleting_a_room_removes_all_that_belongs_to_it(self, store: ConversationStore) -> None:
        """And nothing of any other room, nor the identities."""
        doomed, spared = await store.create_room(Room()), await store.create_room(Room())
        ids = {}
        for room in (doomed, spared):
            ids[room.id] = await self._furnish(store, room.id)
        identity = await store.create_identity(Identity(id=new_id(), channel_addresses={"sms": (new_id(),)}))
        before = await snapshot(store, spared.id)

        assert await store.delete_room(doomed.id) is True
        assert await store.delete_room(doomed.id) is False
        gone = await snapshot(store, doomed.id)
        assert gone.room is None
        assert not any([gone.events, gone.bindings, gone.participants, gone.tasks, gone.observations])
        assert not gone.marks
        assert not gone.deliveries
        assert not gone.timers
        event_id, task_id, message_id, delivery_id = ids[doomed.id]
        assert await store.get_event(event_id) is None
        assert await store.get_task(task_id) is None
        assert await store.get_delivery(delivery_id) is None
        assert await store.record_receipt(reported(message_id), ReceiptState.READ) is None
        assert [each.room_id for each in await store.find_participants()] == [spared.id]
        assert await store.find_event_by_key(doomed.id, "key") is None
        assert doomed.id not in await store.find_room_ids_by_channel("sms", limit=100)
        assert doomed.id not in await store.find_sender_room_ids("sms", "person", limit=100)

        assert (await snapshot(store, spared.id)).differences(before) == {}
        assert await store.get_event(ids[spared.id][0]) is not None
        assert await store.get_identity(identity.id) == identity

    async def test_a_room_created_again_starts_with_nothing(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Nothing of the earlier room of that id comes back, and its keys and ids are free again."""
        await self._furnish(store, room.id)
        old = await store.list_events(room.id)
        await store.delete_room(room.id)
        again = await store.create_room(Room(id=room.id))
        assert (await store.list_events(room.id), await store.list_bindings(room.id)) == ([], [])
        assert await store.list_read_marks(room.id) == {}
        assert again.event_count == 0
        stored = await commit(
            store, room.id, old[0].replace(index=-1), event(room.id, idempotency_key="key2")
        )
        indexes = [each.index for each in stored]
        assert indexes == sorted(set(indexes))

    async def _furnish(self, store: ConversationStore, room_id: str) -> tuple[str, str, str, str]:
        await store.add_binding(binding(room_id, "sms", participant_id="person"))
        await store.add_participant(Participant(id="person", room_id=room_id, channel_id="sms"))
        task = await store.add_task(Task(id=new_id(), room_id=room_id, title="call back"))
        await store.add_observation(
            Observation(id=new_id(), room_id=room_id, channel_id="sms", content="angry")
        )
        (stored,) = await commit(store, room_id, event(room_id, idempotency_key="key"), targets=["sms"])
        await store.mark_read(room_id, "sms", stored.id)
        row = await store.get_delivery(f"{stored.id}:sms")
        assert row is not None
        message_id = new_id()
        await store.complete([row.outcome(provider="acme", provider_message_id=message_id)])
        await store.set_timer(Timer(id=new_id(), room_id=room_id, kind="k", due_at=NOW))
        return stored.id, task.id, message_id, row.id

    # -- finding ------------------------------------------------------------------------------

    async def test_rooms_are_listed_in_order_of_creation(self, store: ConversationStore) -> None:
        rooms = [
            await store.create_room(Room(created_at=NOW - timedelta(days=number))) for number in range(5)
        ]
        ids = [room.id for room in rooms]
        assert [room.id for room in await store.list_rooms()] == ids
        assert [room.id for room in await store.list_rooms(offset=1, limit=3)] == ids[1:4]
        assert await store.list_rooms(offset=5) == []
        assert await store.list_rooms(limit=0) == []

    async def test_rooms_are_found_by_all_filters_at_once(self, store: ConversationStore) -> None:
        """Organization, status (as enum or word) and metadata; each given filter must hold."""
        here, there = new_id(), new_id()
        metadata = {"tier": "gold", "n": 1, "nested": {"a": [1, 2]}, "nothing": None}
        gold = await store.create_room(Room(organization_id=here, metadata=metadata))
        plain = await store.create_room(Room(organization_id=here, status=RoomStatus.CLOSED))
        await store.create_room(Room(organization_id=there, metadata=metadata))

        async def found(**filters: Any) -> list[str]:
            return [room.id for room in await store.find_rooms(here, **filters)]

        assert await found() == [gold.id, plain.id]
        assert await found(status=RoomStatus.CLOSED) == [plain.id]
        assert await found(status="active") == [gold.id]
        assert await found(metadata_filter={"tier": "gold", "n": 1}) == [gold.id]
        assert await found(metadata_filter={"nested": {"a": [1, 2]}}) == [gold.id]
        assert await found(metadata_filter={"nested": {"a": [1]}}) == []
        assert await found(metadata_filter={"nothing": None}) == [gold.id]
        assert await found(metadata_filter={"missing": None}) == []
        assert await found(metadata_filter={}) == [gold.id, plain.id]
        assert await found(status=RoomStatus.CLOSED, metadata_filter={"tier": "gold"}) == []
        assert await store.find_rooms(new_id()) == []

    async def test_a_cursor_is_exact_while_rooms_come_and_go(self, store: ConversationStore) -> None:
        here = new_id()
        rooms = [await store.create_room(Room(organization_id=here)) for _ in range(10)]
        seen: list[str] = []
        cursor: str | None = None
        while page := await store.find_rooms(here, limit=3, after=cursor):
            seen += [room.id for room in page]
            cursor = seen[-1]
            if len(seen) == 3:
                await store.delete_room(rooms[0].id)
                await store.delete_room(rooms[5].id)
                await store.create_room(Room(organization_id=here))
        assert len(seen) == len(set(seen)) == 10
        assert seen[:9] == [room.id for number, room in enumerate(rooms) if number != 5]

    async def test_a_cursor_whose_room_is_gone_is_an_error(self, store: ConversationStore) -> None:
        """An empty page would look like the end, and the rest would never be seen."""
        room = await store.create_room(Room())
        await store.delete_room(room.id)
        with pytest.raises(StaleCursorError, match="restart from the first page"):
            await store.find_rooms(after=room.id)

    async def test_a_commit_counts_as_activity_unless_it_says_otherwise(
        self, store: ConversationStore
    ) -> None:
        made = NOW - timedelta(seconds=90)
        room = await store.create_room(Room(created_at=made, timers=RoomTimers(inactive_after_seconds=60)))
        assert room.next_due == made + timedelta(seconds=60)
        await commit(store, room.id, event(room.id), at=NOW)
        await commit(store, room.id, event(room.id), at=NOW + timedelta(seconds=90), activity=False)
        after = await store.get_room(room.id)
        assert after is not None
        assert after.timers.last_activity_at == NOW
        assert after.next_due == NOW + timedelta(seconds=60)

    async def test_the_newest_room_of_a_person_is_found(self, store: ConversationStore) -> None:
        """As a participant or as a binding's participant; open rooms unless a status is asked for."""
        who = new_id()

        async def room(age: int, status: RoomStatus = RoomStatus.ACTIVE) -> str:
            made = await store.create_room(Room(created_at=NOW - timedelta(days=age), status=status))
            return made.id

        old, middle, new, closed = (
            await room(3),
            await room(2),
            await room(1),
            await room(0, RoomStatus.CLOSED),
        )
        for room_id in (old, closed):
            await store.add_participant(Participant(id=who, room_id=room_id, channel_id="sms"))
        await store.add_binding(binding(middle, participant_id=who, channel_type=ChannelType.EMAIL))
        await store.add_binding(binding(new, participant_id="another person"))

        async def found(*filters: Any) -> str | None:
            latest = await store.find_latest_room(who, *filters)
            return latest.id if latest is not None else None

        assert await found() == middle
        assert await found(ChannelType.EMAIL) == middle
        assert await found(ChannelType.SMS) is None
        assert await found(None, RoomStatus.CLOSED) == closed
        assert await found(None, "paused") is None
        assert await store.find_latest_room(new_id()) is None
        await store.add_binding(binding(old, channel_type=ChannelType.SMS))
        assert await found(ChannelType.SMS) == old

    async def test_a_person_is_found_as_long_as_one_reason_is_left(self, store: ConversationStore) -> None:
        who, channel = new_id(), new_id()
        room = await store.create_room(Room())
        await store.add_participant(
            Participant(id=who, room_id=room.id, channel_id=channel, connected_via=(channel,))
        )
        await store.add_binding(binding(room.id, channel, participant_id=who))
        assert await store.find_sender_room_ids(channel, who) == [room.id]
        await store.add_binding(binding(room.id, channel))
        assert await store.find_sender_room_ids(channel, who) == [room.id]
        await store.remove_binding(room.id, channel)
        latest = await store.find_latest_room(who)
        assert latest is not None
        assert latest.id == room.id
        assert await store.find_sender_room_ids(channel, who) == []

    async def test_a_senders_rooms_are_found_by_the_channel_they_came_by(
        self, store: ConversationStore
    ) -> None:
        """Open rooms the channel is in, the last active first, by participant and by binding alike."""
        who, channel = new_id(), new_id()
        rooms = [await store.create_room(Room()) for _ in range(6)]
        first, second, third, other, closed, left = (room.id for room in rooms)
        for room_id in (first, second, other, closed):
            await store.add_binding(binding(room_id, channel))
        for room_id in (first, second, closed, left):
            await store.add_participant(
                Participant(id=who, room_id=room_id, channel_id=channel, connected_via=(channel,))
            )
        await store.add_binding(binding(third, channel, participant_id=who))
        await store.add_participant(
            Participant(id=who, room_id=other, channel_id="else", connected_via=("else",))
        )
        await store.add_participant(Participant(id="stranger", room_id=other, channel_id=channel))
        await commit(store, closed, room_changes={"status": RoomStatus.CLOSED})
        for minute, room_id in enumerate((second, third, first)):
            await commit(store, room_id, event(room_id), at=NOW + timedelta(minutes=minute))
        assert await store.find_sender_room_ids(channel, who, limit=10) == [first, third, second]
        assert await store.find_sender_room_ids(channel, who) == [first, third]
        assert await store.find_sender_room_ids(channel, new_id()) == []

    async def test_rooms_are_found_by_channel(self, store: ConversationStore) -> None:
        """Open rooms unless a status is asked for, in order of creation, as long as it is attached."""
        channel = new_id()
        rooms = [await store.create_room(Room()) for _ in range(3)]
        for room in reversed(rooms):
            await store.add_binding(binding(room.id, channel))
        closed = await store.create_room(Room(status=RoomStatus.CLOSED))
        await store.add_binding(binding(closed.id, channel))
        ids = [room.id for room in rooms]
        assert await store.find_room_ids_by_channel(channel, limit=10) == ids
        assert await store.find_room_ids_by_channel(channel) == ids[:2]
        assert await store.find_room_ids_by_channel(channel, RoomStatus.CLOSED) == [closed.id]
        assert await store.find_room_ids_by_channel(channel, "closed") == [closed.id]
        assert await store.find_room_id_by_channel(channel) is None
        assert await store.find_room_id_by_channel(channel, "closed") == closed.id
        await store.remove_binding(ids[0], channel)
        await store.delete_room(ids[1])
        assert await store.find_room_ids_by_channel(channel, limit=10) == ids[2:]
        assert await store.find_room_id_by_channel(channel) == ids[2]
        assert await store.find_room_id_by_channel(new_id()) is None
