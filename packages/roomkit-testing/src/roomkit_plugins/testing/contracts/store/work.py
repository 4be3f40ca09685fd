"""The store's contract: tasks, observations, read marks."""

from __future__ import annotations

import pytest
from hypothesis import given

from roomkit.abc.errors import (
    ChannelNotFoundError,
    EventNotFoundError,
    RoomNotFoundError,
    StaleCursorError,
    StoreError,
)
from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.enums import Access, EventStatus, EventType, TaskStatus
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing.contracts.base import binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit, say
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records, unique_ids

__all__ = ["WorkContract"]


class WorkContract(StoreSuite):
    """What a conversation leaves to do and to know, and how far it was read."""

    @PROPERTY
    @given(given_task=records(Task, id=unique_ids()), changed=records(Task))
    async def test_every_field_of_a_task_is_kept(
        self, store: ConversationStore, room: Room, given_task: Task, changed: Task
    ) -> None:
        """When it is added, and when it is replaced."""
        task = given_task.replace(room_id=room.id)
        assert await store.add_task(task) == task
        assert await store.get_task(task.id) == task
        assert task in await store.list_tasks(room.id)
        after = changed.replace(id=task.id, room_id=room.id)
        assert await store.update_task(after) == after
        assert await store.get_task(task.id) == after
        assert after in await store.list_tasks(room.id, after.status)

    async def test_tasks_are_listed_as_they_came_and_by_status(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Adding one again replaces it in place; another room's are not among them."""
        other = await store.create_room(Room())
        ids = [new_id() for _ in range(3)]
        for task_id in ids:
            await store.add_task(Task(id=task_id, room_id=room.id, title="t"))
        await store.add_task(Task(id=new_id(), room_id=other.id, title="theirs"))
        await store.add_task(Task(id=ids[0], room_id=room.id, title="t", status=TaskStatus.COMPLETED))
        assert [task.id for task in await store.list_tasks(room.id)] == ids
        assert [task.id for task in await store.list_tasks(room.id, TaskStatus.PENDING)] == ids[1:]
        assert [task.id for task in await store.list_tasks(room.id, TaskStatus.COMPLETED)] == ids[:1]
        assert await store.list_tasks(room.id, TaskStatus.FAILED) == []
        assert await store.get_task(new_id()) is None

    async def test_what_a_room_has_is_listed_in_pages(self, store: ConversationStore, room: Room) -> None:
        """Participants, tasks and observations: each once and in order, over several calls."""
        other = await store.create_room(Room())
        ids = [new_id() for _ in range(5)]
        for each in ids:
            await store.add_participant(Participant(id=each, room_id=room.id, channel_id="sms"))
            await store.add_task(Task(id=each, room_id=room.id, title="t"))
            await store.add_observation(Observation(id=each, room_id=room.id, channel_id="ai", content="x"))
        for read in (store.list_participants, store.list_tasks, store.list_observations):
            first = await read(room.id, limit=2)
            second = await read(room.id, limit=2, after=first[-1].id)
            rest = await read(room.id, after=second[-1].id)
            assert [each.id for each in (*first, *second, *rest)] == ids
            assert await read(room.id, limit=2, after=ids[-1]) == []
            assert await read(room.id, limit=0) == await read(room.id, limit=-1) == []
            assert len(await read(room.id, limit=2**62)) == 5
            for cursor in (new_id(), ""):
                with pytest.raises(StaleCursorError, match="no longer exists: restart from the first page"):
                    await read(room.id, limit=2, after=cursor)
            with pytest.raises(StaleCursorError, match=ids[0]):
                await read(other.id, after=ids[0])

    async def test_a_page_of_tasks_continues_from_one_of_another_status(
        self, store: ConversationStore, room: Room
    ) -> None:
        """The task that a page ended with may have been completed since."""
        ids = [new_id() for _ in range(4)]
        for each in ids:
            await store.add_task(Task(id=each, room_id=room.id, title="t"))
        first = await store.list_tasks(room.id, TaskStatus.PENDING, limit=2)
        await store.update_task(first[-1].replace(status=TaskStatus.COMPLETED))
        second = await store.list_tasks(room.id, TaskStatus.PENDING, limit=2, after=first[-1].id)
        assert [each.id for each in (*first, *second)] == ids

    async def test_updating_a_task_that_is_not_there_is_an_error(
        self, store: ConversationStore, room: Room
    ) -> None:
        with pytest.raises(StoreError, match="no-such-task"):
            await store.update_task(Task(id="no-such-task", room_id=room.id, title="t"))
        assert await store.list_tasks(room.id) == []

    async def test_a_tasks_id_is_one_rooms(self, store: ConversationStore, room: Room) -> None:
        """Neither adding nor updating takes it to another room."""
        other = await store.create_room(Room())
        task = await store.add_task(Task(id=new_id(), room_id=room.id, title="t"))
        moved = task.replace(room_id=other.id, title="moved")
        for change in (store.add_task(moved), store.update_task(moved)):
            with pytest.raises(StoreError, match=task.id):
                await change
        assert await store.list_tasks(room.id) == [task]
        assert await store.list_tasks(other.id) == []

    @PROPERTY
    @given(given_observation=records(Observation, id=unique_ids()))
    async def test_every_field_of_an_observation_is_kept(
        self, store: ConversationStore, room: Room, given_observation: Observation
    ) -> None:
        observation = given_observation.replace(room_id=room.id)
        assert await store.add_observation(observation) == observation
        assert observation in await store.list_observations(room.id)

    async def test_observations_are_listed_as_they_came(self, store: ConversationStore, room: Room) -> None:
        """Adding one again replaces it in place; each room has its own."""
        other = await store.create_room(Room())
        ids = [new_id() for _ in range(3)]
        for content, each in (("old", ids[0]), ("b", ids[1]), ("c", ids[2]), ("new", ids[0])):
            await store.add_observation(
                Observation(id=each, room_id=room.id, channel_id="ai", content=content)
            )
        found = await store.list_observations(room.id)
        assert [(each.id, each.content) for each in found] == [(ids[0], "new"), (ids[1], "b"), (ids[2], "c")]
        assert await store.list_observations(other.id) == []

    # -- read marks ---------------------------------------------------------------------------

    async def test_a_read_mark_never_moves_backwards(self, store: ConversationStore, room: Room) -> None:
        """Reading something older again leaves it where it was."""
        await store.add_binding(binding(room.id))
        first, second, third = await say(store, room.id, "1", "2", "3")
        assert await store.mark_read(room.id, "channel", second.id) == second.index
        assert await store.mark_read(room.id, "channel", first.id) == second.index
        assert await store.list_read_marks(room.id) == {"channel": second.index}
        assert await store.mark_all_read(room.id, "channel") == third.index
        assert await store.mark_read(room.id, "channel", second.id) == third.index
        assert await store.list_read_marks(room.id) == {"channel": third.index}

    async def test_each_channel_has_its_own_mark(self, store: ConversationStore, room: Room) -> None:
        """And a channel that never read has none."""
        for name in ("a", "b", "c"):
            await store.add_binding(binding(room.id, name))
        first, second = await say(store, room.id, "1", "2")
        await store.mark_read(room.id, "a", first.id)
        await store.mark_read(room.id, "b", second.id)
        assert await store.list_read_marks(room.id) == {"a": first.index, "b": second.index}
        assert [await store.get_unread_count(room.id, name) for name in ("a", "b", "c")] == [1, 0, 2]

    async def test_an_empty_room_is_read_to_nothing(self, store: ConversationStore, room: Room) -> None:
        """The mark before the first event is -1, and hides nothing that comes later."""
        await store.add_binding(binding(room.id))
        assert await store.mark_all_read(room.id, "channel") == -1
        await say(store, room.id, "news")
        assert await store.get_unread_count(room.id, "channel") == 1

    async def test_unread_are_the_messages_of_others_that_it_may_see(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Not its own, not hidden, blocked or other entries, and nothing before the mark."""
        await store.add_binding(binding(room.id, "reader"))
        await store.add_binding(binding(room.id, "deaf", access=Access.WRITE_ONLY))
        (read,) = await say(store, room.id, "read")
        await store.mark_read(room.id, "reader", read.id)
        await commit(
            store,
            room.id,
            event(room.id, "counts"),
            event(room.id, "counts too", visibility="reader"),
            event(room.id, "hidden", visibility="intelligence"),
            event(room.id, "own", channel_id="reader"),
            event(room.id, "blocked", status=EventStatus.BLOCKED),
            event(room.id, "system", type=EventType.SYSTEM),
        )
        assert await store.get_unread_count(room.id, "reader") == 2
        assert await store.get_unread_count(room.id, "deaf") == 0
        await store.mark_all_read(room.id, "reader")
        assert await store.get_unread_count(room.id, "reader") == 0

    async def test_marking_needs_a_room_a_channel_and_an_event_of_it(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Each that is missing is named by its error, and no mark is set."""
        other = await store.create_room(Room())
        (theirs,) = await say(store, other.id, "theirs")
        (ours,) = await say(store, room.id, "ours")
        with pytest.raises(ChannelNotFoundError, match="channel"):
            await store.mark_read(room.id, "channel", ours.id)
        with pytest.raises(ChannelNotFoundError, match="channel"):
            await store.mark_all_read(room.id, "channel")
        await store.add_binding(binding(room.id))
        for event_id in (theirs.id, new_id()):
            with pytest.raises(EventNotFoundError, match=event_id):
                await store.mark_read(room.id, "channel", event_id)
        with pytest.raises((RoomNotFoundError, ChannelNotFoundError)):
            await store.mark_read(new_id(), "channel", ours.id)
        assert await store.list_read_marks(room.id) == {}
