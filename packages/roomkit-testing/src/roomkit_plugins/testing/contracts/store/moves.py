"""The store's contract: what moves from one room to another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import RoomBusyError, RoomNotFoundError, StaleRoomError
from roomkit.abc.moved import moved_key
from roomkit.abc.store import Commit, ConversationStore, Entry, Move
from roomkit.models.base import new_id
from roomkit.models.delivery import Delivery
from roomkit.models.enums import ReceiptState
from roomkit.models.event import EventOrigin, RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit.models.value import Value
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import (
    EVERYTHING,
    StoreSuite,
    commit,
    complete_one,
    pending,
    reported,
    row_of,
    say,
    send,
    snapshot,
)

__all__ = ["MovesContract"]


class MovesContract(StoreSuite):
    """What moves is lost nowhere, and is there once; all of a move is written, or nothing."""

    async def test_moved_events_are_appended_in_order(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """With their ids, times and origin, whatever the order of time; their indexes stay holes."""
        into = await store.create_room(Room())
        first, second, third = await say(store, room.id, "one", "two", "three")
        (own,) = await commit(store, into.id, event(into.id, "own"), at=NOW + timedelta(minutes=1))

        assert await store.move(a_move(room, into, [third.id, first.id, new_id(), first.id, own.id])) == 2

        moved = [
            each.replace(room_id=into.id, index=place, origin=EventOrigin(room_id=room.id, index=each.index))
            for place, each in enumerate((third, first), 1)
        ]
        assert await other.list_events(into.id) == [own, *moved]
        assert await other.list_events(room.id) == [second]
        assert [await other.get_event(each.id) for each in (third, first)] == moved
        by_time = await other.list_events(into.id, by_time=True)
        assert [each.id for each in by_time] == [third.id, first.id, own.id]
        newest = await other.list_events(into.id, by_time=True, newest_first=True, offset=1, limit=1)
        assert [each.id for each in newest] == [first.id]
        assert [await counted(other, each.id) for each in (room, into)] == [(1, 2), (3, 2)]
        (after,) = await say(store, room.id, "four")
        (last,) = await say(other, into.id, "last")
        assert (after.index, last.index) == (3, 3)

    async def test_a_timeline_with_holes_is_read_like_any_other(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """By pages, from either end, recent ones and those that a key names."""
        into = await store.create_room(Room())
        events: list[RoomEvent] = []
        for number in range(9):
            events += await commit(store, room.id, event(room.id, str(number), idempotency_key=f"k{number}"))
        gone = [events[place].id for place in (0, 3, 4, 8)]
        kept = [each for each in events if each.id not in gone]
        await other.load(room.id, recent=5)
        assert await store.move(a_move(room, into, gone)) == 4
        for on in (store, other):
            assert await on.list_events(room.id, newest_first=True) == kept[::-1]
            for index in range(-1, 10):
                after = [each for each in kept if each.index > index]
                before = [each for each in kept if each.index < index]
                assert await on.list_events(room.id, after_index=index) == after
                assert await on.list_events(room.id, before_index=index) == before
            record = await on.load(room.id, recent=5, key="k5")
            assert record is not None
            assert list(record.recent(5)) == kept
            assert record.keyed("k5") == events[5]
            assert await on.find_event_by_key(room.id, "k3") is None
            assert await on.get_event_count(room.id) == len(kept)

    async def test_rows_of_moved_events_go_along(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """With their receipts, found by every id; a later receipt finds its row."""
        into, message_id = await store.create_room(Room()), new_id()
        row = await pending(store, room.id)
        await send(store, row, message_id)
        await store.record_receipt(reported(message_id), ReceiptState.DELIVERED)
        stays = await pending(store, room.id, "mail")
        before = await row_of(store, row.id)

        assert await store.move(a_move(room, into, [row.event_id])) == 1

        after = before.replace(room_id=into.id, event_index=0)
        assert await row_of(other, row.id) == after
        assert await other.find_delivery("acme", message_id) == after
        assert await other.list_deliveries(into.id) == [after]
        assert await other.list_deliveries(room.id) == [await row_of(store, stays.id)]
        read = await other.record_receipt(reported(message_id), ReceiptState.READ)
        assert read == after.replace(receipt=ReceiptState.READ)
        await complete_one(store, stays)

    async def test_what_vendors_call_an_event_finds_it_after_a_move(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        into, external_id = await store.create_room(Room()), new_id()
        draft = event(room.id, channel_id="sms", idempotency_key=f"in:{external_id}")
        draft = draft.replace(source=draft.source.replace(external_id=external_id))
        (brought,) = await commit(store, room.id, draft)
        await store.move(a_move(room, into, [brought.id]))
        for found in (
            await other.find_event("sms", external_id),
            await other.find_keyed_event(f"in:{external_id}"),
            await other.find_event_by_key(into.id, f"in:{external_id}"),
        ):
            assert found is not None
            assert (found.id, found.room_id) == (brought.id, into.id)

    async def test_a_key_that_the_other_room_has_gets_the_rooms_id_in_front(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """A long one is shortened; both events are found."""
        into = await store.create_room(Room())
        keys = ["k", "l" * 840, "ü" * 420]
        own = [(await commit(store, into.id, event(into.id, idempotency_key=key)))[0] for key in keys]
        moved = [(await commit(store, room.id, event(room.id, idempotency_key=key)))[0] for key in keys]
        await store.move(a_move(room, into, [each.id for each in moved]))
        for key, there, came in zip(keys, own, moved, strict=True):
            found = await other.find_event_by_key(into.id, key)
            also = await other.find_event_by_key(into.id, moved_key(room.id, key))
            assert found is not None
            assert also is not None
            assert (found.id, also.id) == (there.id, came.id)

    async def test_authors_get_the_names_that_they_have_in_the_other_room(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        into = await store.create_room(Room())
        said = await say(store, room.id, "hi", channel_id="ann")
        said += await say(store, room.id, "ho", channel_id="ben")
        answer = event(room.id, "yes")
        answer = answer.replace(source=answer.source.replace(on_behalf_of="ann", participant_id=None))
        said += await commit(store, room.id, answer)
        await store.move(a_move(room, into, [each.id for each in said], authors={"ann": "anna"}))
        sources = [each.source for each in await other.list_events(into.id)]
        assert [each.participant_id for each in sources] == ["anna", "ben", None]
        assert [each.on_behalf_of for each in sources] == [None, None, "anna"]

    async def test_everything_of_a_room_moves_with_it(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Tasks, observations, timers and values; a clashing observation gets the room's id in front."""
        into = await store.create_room(Room())
        task = await store.add_task(Task(id=new_id(), room_id=room.id, title="t"))
        for each in (room, into):
            await store.add_observation(
                Observation(id="o", room_id=each.id, channel_id="ai", content=each.id)
            )
        timer = Timer(id=new_id(), room_id=room.id, kind="x:y", due_at=NOW, data={"a": 1}, subject="ann")
        await store.set_timer(timer)
        value = await store.put_value(Value(namespace=new_id(), key=("k",), room_id=room.id, subject="ann"))
        await store.move(a_move(room, into, [], everything=True))
        assert await other.list_tasks(room.id) == []
        assert await other.list_tasks(into.id) == [task.replace(room_id=into.id)]
        assert await other.get_task(task.id) == task.replace(room_id=into.id)
        notes = {each.id: (each.room_id, each.content) for each in await other.list_observations(into.id)}
        assert notes == {"o": (into.id, into.id), moved_key(room.id, "o"): (into.id, room.id)}
        assert await other.list_observations(room.id) == []
        assert await other.list_timers(into.id) == [timer.replace(room_id=into.id)]
        assert await other.list_timers(room.id) == []
        kept = await other.get_value(value.namespace, value.key)
        assert kept is not None
        assert (kept.room_id, kept.subject, kept.data) == (into.id, "ann", value.data)
        await store.delete_room(into.id)
        assert await store.get_value(value.namespace, value.key) is None

    async def test_both_commits_of_a_move_are_written(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """People and channels change rooms with it, and entries follow moved events."""
        into, number = await store.create_room(Room()), new_id()
        (said,) = await say(store, room.id, "hi")
        await store.add_binding(binding(room.id, "sms", address=number))
        ann = Participant(id=new_id(), room_id=room.id, channel_id="sms")
        await store.add_participant(ann)
        note = event(into.id, "merged")
        await store.move(
            a_move(
                room,
                into,
                [said.id],
                source={"unbind": ["sms"], "remove_participants": [ann.id]},
                target={
                    "bindings": [binding(into.id, "sms", address=number, also=("+2",))],
                    "participants": [ann.replace(room_id=into.id, also=(("sms", f"{number}2"),))],
                    "room_changes": {"merged_from": (room.id,), "is_interleaved": True},
                    "entries": [note],
                },
            )
        )
        assert [each.id for each in await other.list_events(into.id)] == [said.id, note.id]
        assert [await other.list_bindings(room.id), await other.list_participants(room.id)] == [[], []]
        for sender in (ann.id, f"{number}2"):
            assert await other.find_sender_room_ids("sms", sender) == [into.id]
        bound, after = await other.get_binding(into.id, "sms"), await other.get_room(into.id)
        assert bound is not None
        assert (bound.address, bound.also) == (number, ("+2",))
        assert after is not None
        assert (after.merged_from, after.is_interleaved) == ((room.id,), True)
        for on in (store, other):
            record = await on.load(into.id, recent=5)
            assert record is not None
            assert [each.id for each in record.recent(5)] == [said.id, note.id]
            assert set(record.bindings) == {"sms"}

    @pytest.mark.parametrize(
        "what", ["no source", "no target", "stale source", "stale target", "pending", "lane"]
    )
    async def test_a_refused_move_changes_nothing(
        self, store: ConversationStore, other: ConversationStore, room: Room, what: str
    ) -> None:
        into = await store.create_room(Room())
        (said,) = await say(store, room.id, "hi")
        await store.add_binding(binding(room.id, "sms"))
        waiting = await pending(store, room.id, "sms" if what == "lane" else "mail")
        moving = [said.id, waiting.event_id] if what == "pending" else [said.id]
        source, target = (Room() if what == f"no {each}" else None for each in ("source", "target"))
        move = a_move(
            source or room,
            target or into,
            moving,
            source={"unbind": ["sms"], **({"expected_version": 99} if what == "stale source" else {})},
            target={
                "entries": [event((target or into).id)],
                **({"expected_version": 99} if what == "stale target" else {}),
            },
        )
        before = [await snapshot(store, each.id) for each in (room, into)]
        kinds = {"no": RoomNotFoundError, "stale": StaleRoomError}
        with pytest.raises(kinds.get(what.split()[0], RoomBusyError)):
            await store.move(move)
        for each, was in zip((room, into), before, strict=True):
            assert (await snapshot(other, each.id)).differences(was) == {}

    async def test_a_room_with_pending_deliveries_does_not_move_whole(
        self, store: ConversationStore, room: Room
    ) -> None:
        into = await store.create_room(Room())
        row = await pending(store, room.id)
        with pytest.raises(RoomBusyError, match="are pending"):
            await store.move(a_move(room, into, [], everything=True))
        await complete_one(store, row)
        assert await store.move(a_move(room, into, [row.event_id], everything=True)) == 1

    async def test_read_marks_move_with_their_channels(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """To the last moved event that was read; one that read none of them has none."""
        into = await store.create_room(Room())
        await say(store, into.id, "own")
        events = await say(store, room.id, "one", "two", "three", channel_id="ann")
        for channel_id in ("sms", "mail", "web"):
            await store.add_binding(binding(room.id, channel_id))
        await store.mark_read(room.id, "sms", events[1].id)
        await store.mark_all_read(room.id, "web")
        await store.move(a_move(room, into, [each.id for each in events[:2]], channels=["sms", "mail"]))
        assert await other.list_read_marks(into.id) == {"sms": 2}
        assert await other.list_read_marks(room.id) == {"web": 2}
        await store.add_binding(binding(into.id, "sms"))
        assert await store.get_unread_count(into.id, "sms") == 0

    async def test_events_of_an_interleaved_room_are_pruned_by_their_time(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Wherever they are, up to a pending delivery."""
        into, days = await store.create_room(Room()), timedelta(days=2)
        old: list[RoomEvent] = []
        for _ in range(2):
            old += await commit(store, room.id, event(room.id), at=NOW - days)
        (new,) = await commit(store, into.id, event(into.id), at=NOW)
        await store.move(a_move(room, into, [each.id for each in old]))
        assert await store.prune_events(into.id, NOW) == 0
        assert await store.prune_events(into.id, NOW, interleaved=True, limit=1) == 1
        assert await other.prune_events(into.id, NOW, interleaved=True) == 1
        assert [each.id for each in await other.list_events(into.id)] == [new.id]
        assert [await other.get_event(each.id) for each in old] == [None, None]
        (later,) = await say(store, into.id, "later")
        assert later.index == 3
        row = await pending(store, room.id, at=NOW - days)
        await complete_one(store, row)
        blocking = await pending(store, into.id)
        await store.move(a_move(room, into, [row.event_id]))
        assert await store.prune_events(into.id, NOW, interleaved=True) == 0
        await complete_one(store, blocking)
        assert await store.prune_events(into.id, NOW, interleaved=True) == 1

    async def test_random_moves_lose_and_duplicate_nothing(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """Each event is in one room, under one index, with its rows; loading and listing agree."""
        dice = random.Random(7)
        rooms = [await store.create_room(Room()) for _ in range(3)]
        rows: dict[str, Delivery] = {}
        highest = dict.fromkeys((each.id for each in rooms), -1)
        for _ in range(40):
            source, into = dice.sample(rooms, 2)
            on = dice.choice([store, other])
            if dice.random() < 0.4:
                row = await pending(on, source.id)
                await send(on, row, new_id())
                rows[row.event_id] = row
            else:
                there = await on.list_events(source.id, limit=EVERYTHING)
                chosen = dice.sample(there, dice.randint(0, len(there)))
                assert await on.move(a_move(source, into, [each.id for each in chosen])) == len(chosen)
            for each in (source, into):
                highest[each.id] = await consistent(other, each.id, highest[each.id])
        found = [each for one in rooms for each in await store.list_events(one.id, limit=EVERYTHING)]
        assert sorted(each.id for each in found) == sorted(rows)
        for moved in found:
            was, row = rows[moved.id], await row_of(other, rows[moved.id].id)
            assert (row.room_id, row.event_index) == (moved.room_id, moved.index)
            assert row.provider_message_id is not None
            assert await other.find_delivery("acme", row.provider_message_id) == row
            if moved.origin is not None:
                assert (moved.origin.room_id, moved.origin.index) == (was.room_id, was.event_index)
        for one in rooms:
            listed = await other.list_deliveries(one.id, limit=EVERYTHING)
            assert {row.event_id for row in listed} == {each.id for each in found if each.room_id == one.id}


def a_move(source_room: Room, into: Room, events: Sequence[str], **given: Any) -> Move:
    """Build a move between two rooms, with fields of their commits as `source` and `target`."""
    of_source, of_target = given.pop("source", {}), given.pop("target", {})
    entries = [Entry(each) for each in of_target.pop("entries", ())]
    return Move(
        source=Commit(room_id=source_room.id, entries=(), at=NOW, activity=False, **of_source),
        into=Commit(room_id=into.id, entries=entries, at=NOW, activity=False, **of_target),
        events=events,
        **given,
    )


async def counted(store: ConversationStore, room_id: str) -> tuple[int, int]:
    """Return how many events a room has, and its latest index."""
    room = await store.get_room(room_id)
    assert room is not None
    return room.event_count, room.latest_index


async def consistent(store: ConversationStore, room_id: str, highest: int) -> int:
    """Check that all readings of a room agree; return its latest index, which never falls."""
    listed = await store.list_events(room_id, limit=EVERYTHING)
    indexes = [each.index for each in listed]
    assert indexes == sorted(set(indexes))
    count, latest = await counted(store, room_id)
    assert count == len(listed) == await store.get_event_count(room_id)
    assert latest >= max([highest, *indexes])
    record = await store.load(room_id, recent=3)
    assert record is not None
    assert list(record.recent(3)) == [each for each in listed if each.index > latest - 30][-3:]
    for each in listed[:3]:
        assert await store.get_event(each.id) == each
    return latest
