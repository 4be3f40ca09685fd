"""The store's contract: the one write path."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from roomkit.abc.errors import (
    DuplicateEventError,
    EventNotFoundError,
    InvalidInputError,
    RoomKitError,
    StaleRoomError,
    StoreError,
)
from roomkit.abc.store import RECENT_SCAN, Amend, Commit, ConversationStore, Entry, Hearing
from roomkit.models.base import new_id
from roomkit.models.content import EventContent, TextContent
from roomkit.models.enums import DeliveryState, EventStatus, EventType, RoomStatus
from roomkit.models.event import Heard, RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit, say, snapshot
from roomkit_plugins.testing.contracts.strategies import PROPERTY, contents, records, unique_ids

__all__ = ["CommitContract"]

OWNED = {"id", "created_at", "event_count", "latest_index", "version", "timers", "metadata"}


class CommitContract(StoreSuite):
    """All of a commit or nothing, indexes that only rise, and no message twice."""

    # -- events -------------------------------------------------------------------------------

    @PROPERTY
    @given(given_event=records(RoomEvent, id=unique_ids(), idempotency_key=unique_ids()))
    async def test_every_field_of_an_event_is_kept(
        self, store: ConversationStore, room: Room, given_event: RoomEvent
    ) -> None:
        """But for the index, the time of the commit, and DELIVERED in place of PENDING."""
        before = await store.get_event_count(room.id)
        (stored,) = await commit(store, room.id, given_event.replace(room_id=room.id))
        status = given_event.status
        assert stored == given_event.replace(
            room_id=room.id,
            index=before,
            created_at=NOW,
            status=EventStatus.DELIVERED if status is EventStatus.PENDING else status,
        )
        assert await store.get_event(stored.id) == stored
        assert await store.find_event_by_key(room.id, given_event.idempotency_key or "") == stored
        assert await store.list_events(room.id, after_index=before - 1) == [stored]

    async def test_indexes_rise_by_one_from_zero(self, store: ConversationStore, room: Room) -> None:
        """Over commits of one event and of several; blocked ones take their place too."""
        stored = await say(store, room.id, "one", "two")
        stored += await commit(
            store, room.id, event(room.id), event(room.id, status=EventStatus.BLOCKED), event(room.id)
        )
        assert [each.index for each in stored] == [0, 1, 2, 3, 4]
        assert [each.index for each in await store.list_events(room.id)] == [0, 1, 2, 3, 4]

    async def test_the_counters_move_with_the_commit(self, store: ConversationStore, room: Room) -> None:
        """Count, latest index and last activity are those of the timeline, at once."""
        assert (room.event_count, room.latest_index) == (0, -1)
        await commit(store, room.id, event(room.id), event(room.id), at=NOW)
        await commit(store, room.id, event(room.id), at=NOW + timedelta(hours=1), activity=False)
        after = await store.get_room(room.id)
        assert after is not None
        assert (after.event_count, after.latest_index) == (3, 2)
        assert after.timers.last_activity_at == NOW
        assert await store.get_event_count(room.id) == 3

    async def test_an_event_keeps_its_index_when_it_is_deleted(
        self, store: ConversationStore, room: Room
    ) -> None:
        """A deletion leaves its entry in place, and the next event gets a new index."""
        stored = await say(store, room.id, "one", "two")
        await commit(store, room.id, amend=Amend(stored[-1].id, None, "alice"))
        (third,) = await say(store, room.id, "three")
        assert third.index > stored[-1].index
        assert [each.index for each in await store.list_events(room.id)] == [0, 1, third.index]

    async def test_how_much_was_heard_is_kept_beside_the_event(
        self, store: ConversationStore, room: Room
    ) -> None:
        """For each channel, only rising; without an entry of its own, and without changing events."""
        (stored,) = await say(store, room.id, "Your order left us this morning.")
        before = await snapshot(store, room.id)
        for channel_id, chars, estimated, kept in (
            ("phone", 10, True, (10, True)),
            ("phone", 4, False, (10, True)),
            ("phone", 10, False, (10, False)),
            ("sms", 32, False, (32, False)),
            ("phone", 20, True, (20, True)),
        ):
            heard = Heard(channel_id=channel_id, chars=chars, estimated=estimated)
            await commit(store, room.id, heard=[Hearing(stored.id, heard)], activity=False)
            now = await store.get_event(stored.id)
            assert now is not None
            assert now.generation is not None
            found = {each.channel_id: (each.chars, each.estimated) for each in now.generation.heard}
            assert found[channel_id] == kept
        assert now is not None
        assert now.heard_by("phone") == "Your order left us t"
        assert now.replace(generation=stored.generation) == stored
        assert await store.list_events(room.id) == [now]
        record = await store.load(room.id, recent=5)
        assert record is not None
        assert list(record.recent(5)) == [now]
        changed = (await snapshot(store, room.id)).differences(before)
        assert set(changed) <= {"events", "room"}

    # -- no message twice ---------------------------------------------------------------------

    async def test_an_idempotency_key_is_used_once_a_room(self, store: ConversationStore, room: Room) -> None:
        """The second use raises with the first event, and writes nothing."""
        (first,) = await commit(store, room.id, event(room.id, "first", idempotency_key="key"))
        before = await snapshot(store, room.id)
        with pytest.raises(DuplicateEventError) as caught:
            await self._commit_everything(store, room.id, event(room.id, "second", idempotency_key="key"))
        assert caught.value.event == first
        assert (await snapshot(store, room.id)).differences(before) == {}
        assert await store.check_idempotency(room.id, "key")
        assert not await store.check_idempotency(room.id, "KEY")

    async def test_the_same_key_in_another_room_is_another_message(self, store: ConversationStore) -> None:
        """Keys are per room, and an event without one is never a duplicate of another."""
        for _ in range(2):
            room = await store.create_room(Room())
            await commit(store, room.id, event(room.id, idempotency_key="key"))
            await commit(store, room.id, event(room.id), event(room.id))
            assert await store.get_event_count(room.id) == 3

    async def test_a_key_that_spans_rooms_is_used_once_an_organization(
        self, store: ConversationStore
    ) -> None:
        for organization_id in (new_id(), None):
            first, second = [
                await store.create_room(Room(id=new_id(), organization_id=organization_id)) for _ in range(2)
            ]
            key = new_id()
            (stored,) = await _spanning(store, first.id, key)
            with pytest.raises(DuplicateEventError) as caught:
                await _spanning(store, second.id, key)
            assert caught.value.event == stored
            assert await store.list_events(second.id) == []
            assert await store.get_room(second.id) == second
            amended = Amend(stored.id, TextContent(body="edited"), "ann")
            await store.commit(Commit(room_id=first.id, entries=(), at=NOW, amend=amended))
            with pytest.raises(DuplicateEventError) as caught:
                await _spanning(store, second.id, key)
            assert caught.value.event.content == TextContent(body="edited")

    async def test_a_key_that_spans_rooms_is_no_other_organizations(self, store: ConversationStore) -> None:
        """Nor is it taken by one that counts in its own room, in either order."""
        key = new_id()
        for organization_id in (new_id(), new_id(), None):
            room = await store.create_room(Room(id=new_id(), organization_id=organization_id))
            await _spanning(store, room.id, key)
        other = await store.create_room(Room(id=new_id()))
        await commit(store, other.id, event(other.id, idempotency_key=key))
        key = new_id()
        await commit(store, other.id, event(other.id, idempotency_key=key))
        await _spanning(store, (await store.create_room(Room(id=new_id()))).id, key)
        with pytest.raises(DuplicateEventError):
            await _spanning(store, other.id, key)

    @pytest.mark.parametrize("end", ["delete", "prune"])
    async def test_a_key_that_spans_rooms_is_free_without_its_event(
        self, store: ConversationStore, end: str
    ) -> None:
        """A vendor's id may name a person: nothing is kept of it."""
        first, second = [await store.create_room(Room(id=new_id())) for _ in range(2)]
        key = new_id()
        await _spanning(store, first.id, key)
        if end == "delete":
            await store.delete_room(first.id)
        else:
            await store.prune_events(first.id, NOW + timedelta(days=1))
        (stored,) = await _spanning(store, second.id, key)
        assert await store.find_keyed_event(key) == stored

    async def test_an_event_id_is_used_once(self, store: ConversationStore, room: Room) -> None:
        """In whatever room; the error carries the event that has it."""
        other = await store.create_room(Room())
        (first,) = await commit(store, room.id, event(room.id, "first"))
        for room_id in (room.id, other.id):
            before = await snapshot(store, room_id)
            with pytest.raises(DuplicateEventError) as caught:
                await self._commit_everything(store, room_id, event(room_id, "second", id=first.id))
            assert caught.value.event == first
            assert (await snapshot(store, room_id)).differences(before) == {}

    async def test_a_commit_with_a_duplicate_in_itself_is_refused(
        self, store: ConversationStore, room: Room
    ) -> None:
        twin = event(room.id, "twin")
        for pair in (
            (twin, twin),
            (event(room.id, idempotency_key="key"), event(room.id, idempotency_key="key")),
        ):
            with pytest.raises(RoomKitError):
                await commit(store, room.id, *pair)
            assert await store.list_events(room.id) == []
        (stored,) = await commit(store, room.id, event(room.id, idempotency_key="key"))
        assert stored.index == 0

    # -- all or nothing -----------------------------------------------------------------------

    async def test_a_commit_on_an_outdated_plan_is_refused(
        self, store: ConversationStore, room: Room
    ) -> None:
        """With the right version it passes, without one it is not checked."""
        planned = await store.load(room.id)
        assert planned is not None
        version = planned.version
        await store.add_binding(binding(room.id, "news"))
        before = await snapshot(store, room.id)
        with pytest.raises(StaleRoomError, match=room.id):
            await self._commit_everything(store, room.id, event(room.id), expected_version=version)
        assert (await snapshot(store, room.id)).differences(before) == {}
        now = await store.load(room.id)
        assert now is not None
        await commit(store, room.id, event(room.id), expected_version=now.version)
        await commit(store, room.id, event(room.id))
        assert await store.get_event_count(room.id) == 2

    async def test_everything_in_a_commit_is_written(self, store: ConversationStore, room: Room) -> None:
        """Events, participants, bindings, detachments, changes, metadata, tasks, observations."""
        await store.add_binding(binding(room.id, "old"))
        await store.patch_room_metadata(room.id, {"kept": 1, "changed": 1})
        (amended,) = await say(store, room.id, "before")
        await self._commit_everything(
            store, room.id, event(room.id, "new"), unbind=["old"], amended_id=amended.id
        )
        after = await snapshot(store, room.id)
        assert after.room is not None
        assert after.room.status is RoomStatus.PAUSED
        assert after.room.organization_id == "org"
        assert after.room.metadata == {"kept": 1, "changed": 2, "added": {"deep": [1]}}
        assert [each.channel_id for each in after.bindings] == ["bound"]
        assert [each.id for each in after.participants] == ["joined"]
        assert [each.title for each in after.tasks] == ["task"]
        assert [each.content for each in after.observations] == ["observation"]
        assert [each.content for each in after.events] == [
            TextContent(body="edited"),
            TextContent(body="new"),
        ]
        assert [(row.event_id, row.channel_id, row.state) for row in after.deliveries] == [
            (after.events[1].id, "bound", DeliveryState.PENDING)
        ]

    async def test_a_commit_that_amends_what_is_not_there_writes_nothing(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Neither an unknown event nor one of another room can be amended."""
        other = await store.create_room(Room())
        (foreign,) = await say(store, other.id, "theirs")
        before = await snapshot(store, room.id)
        for event_id in (new_id(), foreign.id):
            with pytest.raises(EventNotFoundError, match=event_id):
                await self._commit_everything(store, room.id, event(room.id), amended_id=event_id)
            assert (await snapshot(store, room.id)).differences(before) == {}
        assert await store.get_event(foreign.id) == foreign

    async def test_a_commit_with_what_json_cannot_carry_writes_nothing(
        self, store: ConversationStore, room: Room
    ) -> None:
        """It is refused by a typed error, so that the caller knows it: a lease may depend on it."""
        before = await snapshot(store, room.id)
        values: tuple[object, ...] = (object(), float("inf"), {1: "key"}, "\ud83d", 10**4300, NOW)
        wrong: list[dict[str, Any]] = [{"metadata": {"bad": value}} for value in values]
        wrong += [{"metadata": value} for value in (7, "text", ["a"])]
        wrong += [{name: [value]} for name in ("tasks", "observations") for value in (*values, None)]
        for fields in wrong:
            with pytest.raises(InvalidInputError, match=r"nothing was stored"):
                await commit(store, room.id, event(room.id), targets=["sms"], **fields)
            assert (await snapshot(store, room.id)).differences(before) == {}

    @PROPERTY
    @given(wanted=records(Room))
    async def test_every_field_of_a_room_can_be_changed_by_a_commit(
        self, store: ConversationStore, wanted: Room
    ) -> None:
        """But for those the store owns and those that make the room the room it is."""
        room = await store.create_room(Room())
        changes = {
            name: getattr(wanted, name) for name in Room.model_fields if name not in OWNED | {"updated_at"}
        }
        await commit(store, room.id, room_changes=changes)
        after = await store.get_room(room.id)
        assert after is not None
        assert {name: getattr(after, name) for name in changes} == changes

    async def test_a_commit_without_events_is_one_too(self, store: ConversationStore, room: Room) -> None:
        """It returns nothing and writes the rest."""
        assert await commit(store, room.id, metadata={"a": 1}) == []
        after = await store.get_room(room.id)
        assert after is not None
        assert after.metadata == {"a": 1}
        assert after.event_count == 0

    async def test_a_bound_channel_replaces_and_an_unbound_one_is_gone(
        self, store: ConversationStore, room: Room
    ) -> None:
        await commit(store, room.id, bindings=[binding(room.id, "a"), binding(room.id, "b")])
        await commit(store, room.id, bindings=[binding(room.id, "a", muted=True)], unbind=["b", "never"])
        assert [(each.channel_id, each.muted) for each in await store.list_bindings(room.id)] == [("a", True)]

    async def test_what_a_commit_was_handed_may_change_afterwards(
        self, store: ConversationStore, room: Room
    ) -> None:
        """The store keeps what it was given at the time."""
        metadata: dict[str, Any] = {"list": [1], "dict": {"a": 1}}
        targets = ["sms"]
        entries = [Entry(event(room.id), targets)]
        result = await store.commit(Commit(room_id=room.id, entries=entries, at=NOW, metadata=metadata))
        targets.append("email")
        entries.clear()
        metadata["list"].append(2)
        metadata["dict"]["a"] = 2
        after = await snapshot(store, room.id)
        assert after.room is not None
        assert after.room.metadata == {"list": [1], "dict": {"a": 1}}
        assert after.events == list(result.events)
        assert [row.channel_id for row in after.deliveries] == ["sms"]

    async def test_what_was_handed_out_is_the_callers(self, store: ConversationStore, room: Room) -> None:
        """Emptying a list that was returned changes nothing in the store."""
        await self._commit_everything(store, room.id, event(room.id))
        before = await snapshot(store, room.id)
        for listed in (before.events, before.bindings, before.tasks, before.deliveries):
            listed.clear()
        after = await snapshot(store, room.id)
        assert all([after.events, after.bindings, after.tasks, after.deliveries])

    async def test_a_cancelled_commit_is_whole_or_nothing(self, store: ConversationStore) -> None:
        """At whatever await: event, counters and ledger agree, and repeating it gives one event."""
        rooms: list[Room] = []
        events: list[RoomEvent] = []

        async def work() -> None:
            rooms.append(await store.create_room(Room()))
            events.append(event(rooms[-1].id, idempotency_key="key"))
            await self._commit_everything(store, rooms[-1].id, events[-1])

        async def check(cancellation: Cancellation) -> None:
            if len(events) == len(rooms) and events:
                await self._assert_whole_or_nothing(store, rooms[-1].id, events[-1])

        await cancel_at_every_await(work, check)

    async def _assert_whole_or_nothing(self, store: ConversationStore, room_id: str, sent: RoomEvent) -> None:
        after = await snapshot(store, room_id)
        assert after.room is not None
        count = len(after.events)
        assert count == after.room.event_count == len(after.deliveries) == len(after.tasks)
        assert (count == 1) == bool(after.bindings) == bool(after.participants) == bool(after.observations)
        if count:
            with pytest.raises(DuplicateEventError) as caught:
                await self._commit_everything(store, room_id, sent)
            assert caught.value.event == after.events[0]
        else:
            await self._commit_everything(store, room_id, sent)
        assert await store.get_event_count(room_id) == 1

    # -- amending -----------------------------------------------------------------------------

    @PROPERTY
    @given(first=contents(), second=contents())
    async def test_an_edit_replaces_the_content_and_keeps_the_former(
        self, store: ConversationStore, room: Room, first: EventContent, second: EventContent
    ) -> None:
        """Edit by edit; index, time and status stay those of the commit."""
        (stored,) = await commit(store, room.id, event(room.id, content=first))
        later = NOW + timedelta(minutes=5)
        await commit(store, room.id, amend=Amend(stored.id, second, "bob"), at=NOW)
        await commit(store, room.id, amend=Amend(stored.id, TextContent(body="third"), "carol"), at=later)
        edited = await store.get_event(stored.id)
        assert edited is not None
        assert edited.amendment is not None
        assert edited.content == TextContent(body="third")
        assert edited.amendment.former_contents == (first, second)
        assert edited.amendment.edited_at == later
        assert edited.amendment.amended_by == "carol"
        assert edited.amendment.deleted_at is None
        assert edited.replace(content=first, amendment=None) == stored
        assert await store.list_events(room.id, after_index=stored.index - 1) == [edited]

    async def test_a_deletion_marks_the_entry(self, store: ConversationStore, room: Room) -> None:
        """It stays in the timeline, says when and by whom, and is no longer recent."""
        (stored,) = await say(store, room.id, "oops")
        await commit(store, room.id, amend=Amend(stored.id, None, "alice"), at=NOW)
        deleted = await store.get_event(stored.id)
        assert deleted is not None
        assert deleted.deleted
        assert deleted.amendment is not None
        assert deleted.amendment.deleted_at == NOW
        assert deleted.amendment.amended_by == "alice"
        assert (deleted.index, deleted.status) == (stored.index, stored.status)
        assert await store.list_events(room.id) == [deleted]
        assert await store.get_event_count(room.id) == 1
        record = await store.load(room.id, recent=10)
        assert record is not None
        assert list(record.recent(10)) == []

    # -- reading for a plan -------------------------------------------------------------------

    async def test_a_loaded_room_has_all_a_plan_needs(self, store: ConversationStore, room: Room) -> None:
        """The room with its counters, bindings and participants by id, in order."""
        for name in ("b", "a", "c"):
            await store.add_binding(binding(room.id, name))
            await store.add_participant(Participant(id=name, room_id=room.id, channel_id=name))
        await say(store, room.id, "hello")
        record = await store.load(room.id)
        assert record is not None
        assert record.room == await store.get_room(room.id)
        assert (record.version, record.status) == (record.room.version, RoomStatus.ACTIVE)
        assert list(record.bindings) == list(record.participants) == ["b", "a", "c"]
        assert list(record.bindings.values()) == await store.list_bindings(room.id)
        assert list(record.participants.values()) == await store.list_participants(room.id)

    async def test_recent_events_are_the_newest_messages(self, store: ConversationStore, room: Room) -> None:
        stored = await say(store, room.id, *map(str, range(8)))
        await commit(store, room.id, event(room.id, type=EventType.SYSTEM))
        await commit(store, room.id, event(room.id, status=EventStatus.BLOCKED))
        await commit(store, room.id, amend=Amend(stored[6].id, None, None))
        record = await store.load(room.id, recent=3)
        assert record is not None
        assert [each.id for each in record.recent(3)] == [stored[4].id, stored[5].id, stored[7].id]
        assert [each.id for each in record.recent(1)] == [stored[7].id]
        assert list(record.recent(0)) == []

    async def test_recent_events_are_looked_for_in_so_many_entries(
        self, store: ConversationStore, room: Room
    ) -> None:
        """So that the room's length is of no consequence; what lies further back is not among them."""
        (first,) = await say(store, room.id, "first")
        between = [event(room.id, type=EventType.SYSTEM) for _ in range(2 * RECENT_SCAN - 1)]
        await commit(store, room.id, *between)
        record = await store.load(room.id, recent=3)
        assert record is not None
        assert [each.id for each in record.recent(2)] == [first.id]
        await commit(store, room.id, event(room.id, type=EventType.SYSTEM))
        record = await store.load(room.id, recent=3)
        assert record is not None
        assert list(record.recent(2)) == []
        assert [each.id for each in record.recent(3)] == [first.id]

    async def test_a_loaded_room_knows_the_event_of_a_key(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        elsewhere = await store.create_room(Room())
        await commit(store, elsewhere.id, event(elsewhere.id, idempotency_key="theirs"))

        async def keyed(asked: ConversationStore, key: str) -> RoomEvent | None:
            record = await asked.load(room.id, key=key)
            assert record is not None
            return record.keyed(key)

        for asked in (store, other):
            assert await keyed(asked, "mine") is None
        (stored,) = await commit(store, room.id, event(room.id, idempotency_key="mine"))
        await say(store, room.id, *map(str, range(3)))
        for asked in (store, other):
            assert await keyed(asked, "mine") == stored
            assert await keyed(asked, "theirs") is None
            assert await keyed(asked, "") is None
        await commit(other, room.id, amend=Amend(stored.id, TextContent(body="edited"), "ann"))
        for asked in (store, other):
            found = await keyed(asked, "mine")
            assert found is not None
            assert found.content == TextContent(body="edited")

    async def test_a_load_is_of_the_room_as_it_is_now(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        for number, (writer, reader) in enumerate([(store, other), (other, store)] * 2):
            assert await reader.load(room.id, recent=20) is not None
            channel = f"c{number}"
            await commit(writer, room.id, event(room.id), bindings=[binding(room.id, channel)])
            await writer.add_participant(Participant(id=channel, room_id=room.id, channel_id=channel))
            await writer.patch_room_metadata(room.id, {channel: number})
            record = await reader.load(room.id, recent=20)
            assert record is not None
            assert record.room == await writer.get_room(room.id)
            assert (record.room.metadata[channel], len(record.recent(20))) == (number, number + 1)
            assert channel in record.bindings
            assert channel in record.participants

    async def test_a_commit_with_another_rooms_task_writes_nothing(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Its id is taken; the other room's task stays as it is."""
        elsewhere = await store.create_room(Room())
        task = await store.add_task(Task(id=new_id(), room_id=elsewhere.id, title="theirs"))
        before = await snapshot(store, room.id)
        mine = Task(id=new_id(), room_id=room.id, title="mine")
        with pytest.raises(StoreError, match=task.id):
            await commit(
                store, room.id, event(room.id), tasks=[mine, mine.replace(id=task.id)], metadata={"a": 1}
            )
        assert (await snapshot(store, room.id)).differences(before) == {}
        assert await store.list_tasks(elsewhere.id) == [task]

    async def test_text_with_a_nul_is_kept_or_refused(self, store: ConversationStore, room: Room) -> None:
        """What some databases cannot carry is never silently changed."""
        text = "before\x00after"
        try:
            (stored,) = await commit(store, room.id, event(room.id, text, metadata={"k\x00": text}))
        except (RoomKitError, ValueError):
            assert await store.get_event_count(room.id) == 0
        else:
            assert stored.content == TextContent(body=text)
            assert await store.get_event(stored.id) == stored

    async def _commit_everything(
        self,
        store: ConversationStore,
        room_id: str,
        sent: RoomEvent,
        *,
        unbind: list[str] | None = None,
        amended_id: str | None = None,
        expected_version: int | None = None,
    ) -> None:
        amend = None if amended_id is None else Amend(amended_id, TextContent(body="edited"), "alice")
        await commit(
            store,
            room_id,
            sent,
            targets=["bound"],
            expected_version=expected_version,
            participants=[Participant(id="joined", room_id=room_id, channel_id="bound")],
            bindings=[binding(room_id, "bound")],
            unbind=unbind or [],
            room_changes={"status": RoomStatus.PAUSED, "organization_id": "org"},
            metadata={"changed": 2, "added": {"deep": [1]}},
            amend=amend,
            tasks=[Task(id=new_id(), room_id=room_id, title="task")],
            observations=[
                Observation(id=new_id(), room_id=room_id, channel_id="bound", content="observation")
            ],
        )


async def _spanning(store: ConversationStore, room_id: str, key: str) -> Sequence[RoomEvent]:
    """Commit an event whose key spans rooms."""
    entries = [Entry(event(room_id, idempotency_key=key), key_spans_rooms=True)]
    return (await store.commit(Commit(room_id=room_id, entries=entries, at=NOW))).events
