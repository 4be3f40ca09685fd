"""The store's contract: values under keys, and their revisions."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import DuplicateEventError, StaleValueError
from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.room import Room
from roomkit.models.value import Value, encoded_key
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit

__all__ = ["KeyedValuesContract"]

_INTERLEAVINGS = int(os.environ.get("ROOMKIT_INTERLEAVINGS", "150"))
"""How many random puts and deletes two workers make at once; `nox -s kill` sets more."""
_HOSTILE = ("", "\0", 'quote"d', "\\", "[", "ünï", "😀", "a\nb", "'; DROP TABLE", "null")


class KeyedValuesContract(StoreSuite):
    """A value is whatever was put last under its key, on every worker."""

    async def test_every_field_of_a_value_is_kept(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """And read by every worker as soon as it is put."""
        value = made(
            "full",
            data={"a": [1, None, "x\0y"]},
            expires_at=NOW,
            subject="+1",
            room_id="r",
            organization_id="acme",
            derived=True,
        )
        stored = await store.put_value(value)
        assert stored == value.replace(revision=stored.revision)
        assert await read(other, stored) == stored

    async def test_a_put_replaces_the_whole_value(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        first = await store.put_value(made("k", data={"a": 1}, subject="ann"))
        second = await other.put_value(first.replace(data={"b": 2}, subject=None))
        assert second.revision > first.revision > 0
        assert await read(store, first) == second

    async def test_any_text_may_be_a_key(self, store: ConversationStore) -> None:
        """Of one part or more, none taken for another."""
        keys = [(each,) for each in _HOSTILE] + [("a", "b"), ("a,b",), ("a", "b", ""), ("", "a", "b")]
        namespace = new_id()
        for place, key in enumerate(keys):
            await store.put_value(Value(namespace=namespace, key=key, data={"place": place}))
        for place, key in enumerate(keys):
            found = await store.get_value(namespace, key)
            assert found is not None
            assert (found.key, found.data) == (key, {"place": place})

    async def test_a_value_is_its_organizations(self, store: ConversationStore) -> None:
        """Not another one's, nor that of none; so is its namespace."""
        base = made("k")
        values = [
            await store.put_value(base.replace(data={"of": each}, organization_id=each))
            for each in (None, "a", "b")
        ]
        assert [await read(store, each) for each in values] == values
        assert await store.get_value(new_id(), base.key) is None
        assert await store.get_value(base.namespace, base.key, organization_id="c") is None

    async def test_a_put_with_a_revision_replaces_only_that_one(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        first = await store.put_value(made("k", data={"n": 1}), if_revision=0)
        for wrong in (0, first.revision + 1_000_000):
            with pytest.raises(StaleValueError, match="read it"):
                await other.put_value(first.replace(data={"n": 2}), if_revision=wrong)
        assert await read(other, first) == first
        second = await other.put_value(first.replace(data={"n": 2}), if_revision=first.revision)
        with pytest.raises(StaleValueError):
            await store.put_value(first.replace(data={"n": 3}), if_revision=first.revision)
        assert await read(store, first) == second

    async def test_a_put_that_wants_a_value_there_makes_none(self, store: ConversationStore) -> None:
        """A revision other than 0 is one that is there."""
        value = made("k")
        with pytest.raises(StaleValueError):
            await store.put_value(value, if_revision=1)
        assert await read(store, value) is None

    async def test_a_revision_is_never_used_again(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """Also not after a delete: who read the former value cannot replace the new one."""
        revisions = []
        value = made("k")
        for each in (store, other, store):
            value = await each.put_value(value, if_revision=0)
            revisions.append(value.revision)
            assert await each.delete_value(value.namespace, value.key)
        assert sorted(set(revisions)) == revisions

    async def test_a_delete_removes_the_value(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """With a revision only that one; False when there is none."""
        value = await store.put_value(made("k", organization_id="a"))
        place: Any = (value.namespace, value.key)
        assert not await other.delete_value(*place)
        for wrong in (0, value.revision + 1):
            with pytest.raises(StaleValueError):
                await other.delete_value(*place, organization_id="a", if_revision=wrong)
        assert await read(store, value) == value
        assert await other.delete_value(*place, organization_id="a", if_revision=value.revision)
        assert await read(store, value) is None
        assert not await store.delete_value(*place, organization_id="a", if_revision=value.revision)

    async def test_one_of_several_that_put_at_once_wins(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        for _ in range(5):
            value = made(new_id())
            puts = [
                each.put_value(value.replace(data={"by": number}), if_revision=0)
                for number, each in enumerate((store, other) * 4)
            ]
            results = await asyncio.gather(*puts, return_exceptions=True)
            (won,) = [each for each in results if isinstance(each, Value)]
            assert sum(isinstance(each, StaleValueError) for each in results) == 7
            assert await read(other, value) == won

    async def test_no_change_of_two_workers_is_lost(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """Counters that are read and put by revision at random count every put that succeeded."""
        namespace, chance = new_id(), random.Random(7)
        put: Counter[str] = Counter()

        async def change(on: ConversationStore, name: str) -> None:
            before = await on.get_value(namespace, (name,))
            count = 0 if before is None else int(before.data["count"])
            value = Value(namespace=namespace, key=(name,), data={"count": count + 1})
            try:
                await on.put_value(value, if_revision=0 if before is None else before.revision)
            except StaleValueError:
                return
            put[name] += 1

        for _ in range(_INTERLEAVINGS // 10):
            await asyncio.gather(
                *(change(chance.choice((store, other)), chance.choice("abc")) for _ in range(10))
            )
        for name, count in put.items():
            found = await store.get_value(namespace, (name,))
            assert found is not None
            assert found.data == {"count": count}

    async def test_the_values_of_a_room_go_with_it(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Also those that were put before the room was made; another room's stay."""
        later = new_id()
        gone = [await store.put_value(made(new_id(), room_id=each)) for each in (room.id, later)]
        kept = await store.put_value(made(new_id(), room_id=(await store.create_room(Room())).id))
        await store.create_room(Room(id=later))
        for room_id in (room.id, later):
            await other.delete_room(room_id)
        assert [await read(store, each) for each in gone] == [None, None]
        assert await read(store, kept) == kept

    async def test_values_are_listed_by_the_parts_their_keys_begin_with(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """In the order of the encoded keys, page by page; of one organization and namespace."""
        namespace = new_id()
        keys = [
            ("a",),
            ("a", ""),
            ("a", "b"),
            ("a", "b", "c"),
            ("a,b",),
            ('a"',),
            ("a-",),
            ("b",),
            ("\0", "ü"),
        ]
        for key in keys:
            await store.put_value(Value(namespace=namespace, key=key, subject=key[-1]))
        await store.put_value(Value(namespace=namespace, key=("a",), organization_id="acme"))
        await store.put_value(Value(namespace=new_id(), key=("a",)))

        async def found(*prefix: str, **filters: Any) -> list[tuple[str, ...]]:
            return [each.key for each in await other.list_values(namespace, prefix, **filters)]

        everything = sorted(keys, key=encoded_key)
        assert await found() == everything
        under_a = [key for key in everything if key[0] == "a"]
        assert await found("a") == under_a
        assert await found("a", "b") == [("a", "b", "c"), ("a", "b")]
        assert await found("a", "b", "c") == [("a", "b", "c")]
        assert await found("a", organization_id="acme") == [("a",)]
        assert await found("a", limit=2) == under_a[:2]
        assert await found("a", after=under_a[1], limit=1) == under_a[2:3]
        assert await found("a", after=under_a[-1]) == []
        assert await found(after=everything[4]) == everything[5:]
        assert await found("a", subject="b") == [("a", "b")]
        assert await found("c") == []

    async def test_an_erasure_removes_what_was_derived_from_the_room(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """In the commit that redacts: a summary may say what an erased event said."""
        values = [
            await store.put_value(made(new_id(), room_id=of, derived=derived, data={"x": "a\0b"}))
            for of, derived in ((room.id, True), (room.id, False), (new_id(), True), (None, True))
        ]
        (said,) = await commit(store, room.id, event(room.id))
        assert await read(other, values[0]) == values[0]
        again = made(new_id(), room_id=room.id, derived=True)
        await commit(other, room.id, redact=[said.id], values=[again])
        assert [await read(store, each) is None for each in values] == [True, False, False, False]
        assert await read(store, again) is not None

    async def test_the_values_about_a_person_are_listed(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """Of one organization, or of all; page by page, in order of revision."""
        who = new_id()
        values = [
            await store.put_value(made(new_id(), subject=subject, organization_id=organization, data=data))
            for subject, organization, data in (
                (who, None, {"n": 1}),
                (who, "b", {"n": 2}),
                (who, "a", {"n": 3}),
                ("other", "a", {"n": 4}),
                (None, "a", {"n": 5}),
            )
        ]
        again = await other.put_value(values[0].replace(data={"n": 6}, expires_at=NOW))
        assert await store.list_values_of(who) == [values[1], values[2], again]
        assert await other.list_values_of(who, organization_id="a") == [values[2]]
        assert await store.list_values_of(who, limit=2) == values[1:3]
        assert await store.list_values_of(who, after=values[2].revision) == [again]
        assert await store.list_values_of(who, after=again.revision) == []
        assert await store.list_values_of(new_id()) == []

    async def test_the_values_of_a_room_are_listed(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        room_id = new_id()
        values = [
            await store.put_value(made(new_id(), room_id=room, subject=who, organization_id=organization))
            for room, who, organization in (
                (room_id, "ann", None),
                (room_id, None, "a"),
                (new_id(), "ann", None),
                (None, "ann", None),
            )
        ]
        assert await other.list_room_values(room_id) == values[:2]
        assert await store.list_room_values(room_id, limit=1) == values[:1]
        assert await store.list_room_values(room_id, after=values[0].revision) == [values[1]]
        assert await store.list_room_values(new_id()) == []

    async def test_the_values_about_a_person_are_deleted(self, store: ConversationStore) -> None:
        who = new_id()
        values = [
            await store.put_value(made(new_id(), subject=subject, organization_id=organization))
            for subject, organization in ((who, None), (who, "a"), (who, "b"), ("other", "a"), (None, "a"))
        ]
        assert await store.delete_values_of(who, organization_id="a") == 1
        assert [await read(store, each) is None for each in values] == [False, True, False, False, False]
        assert await store.delete_values_of(who) == 2
        assert [await read(store, each) is None for each in values] == [True, True, True, False, False]

    async def test_what_has_expired_is_purged(self, store: ConversationStore) -> None:
        """What expired first goes first; until then it is there."""
        await store.purge_values(NOW + timedelta(days=999))
        values = [
            await store.put_value(made(new_id(), expires_at=at))
            for at in (NOW, NOW - timedelta(seconds=1), NOW + timedelta(microseconds=1), None)
        ]
        assert await read(store, values[0]) == values[0]
        assert await store.purge_values(NOW, limit=1) == 1
        assert [await read(store, each) is None for each in values] == [False, True, False, False]
        assert await store.purge_values(NOW) == 1
        assert [await read(store, each) is None for each in values] == [True, True, False, False]

    async def test_a_commit_puts_values_or_nothing(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Whatever is there, with the event; of two under one key the last."""
        before = await other.put_value(made("k", data={"n": 1}))
        values = [before.replace(data={"n": 2}), made("new"), before.replace(data={"n": 3})]
        await commit(store, room.id, event(room.id, idempotency_key="once"), values=values)
        after = await read(other, before)
        assert after is not None
        assert after.data == {"n": 3}
        assert after.revision > before.revision
        assert await read(other, values[1]) is not None
        with pytest.raises(DuplicateEventError):
            await commit(
                store,
                room.id,
                event(room.id, idempotency_key="once"),
                values=[before.replace(data={"n": 4})],
            )
        assert await read(other, before) == after

    async def test_an_event_is_found_by_its_key_in_any_room(self, store: ConversationStore) -> None:
        """The newest one, of the organization that asks."""
        key, rooms = new_id(), [Room(), Room(organization_id="a"), Room(organization_id="b")]
        for number, each in enumerate(rooms):
            await store.create_room(each)
            said = event(each.id, idempotency_key=key)
            await commit(store, each.id, said, at=NOW + timedelta(seconds=number))

        async def found(organization_id: str | None) -> str | None:
            event = await store.find_keyed_event(key, organization_id=organization_id)
            return None if event is None else event.room_id

        assert await found(None) == rooms[2].id
        assert await found("a") == rooms[1].id
        assert await found("c") is None
        await store.delete_room(rooms[2].id)
        assert await found(None) == rooms[1].id
        assert await store.find_keyed_event(new_id()) is None


def made(name: str, **fields: Any) -> Value:
    """Make a value of a namespace that no other test has."""
    return Value(namespace=new_id(), key=(name,), **fields)


async def read(store: ConversationStore, value: Value) -> Value | None:
    """Return the value stored under the key of another."""
    return await store.get_value(value.namespace, value.key, organization_id=value.organization_id)
