"""The store's contract: state kept with rooms and bindings, changed by several workers at once."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import Any

from roomkit.abc.errors import StaleRoomError
from roomkit.abc.store import ConversationStore, RoomRecord
from roomkit.models.base import Json, new_id
from roomkit.models.room import Room
from roomkit.models.value import Value
from roomkit_plugins.testing.contracts.base import binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit

__all__ = ["KeptStateContract"]

_INTERLEAVINGS = int(os.environ.get("ROOMKIT_INTERLEAVINGS", "150"))
"""How many random changes two workers make at once; `nox -s kill` sets more."""


class KeptStateContract(StoreSuite):
    """A change that is committed at the version it was made on is lost by no other."""

    async def test_what_is_kept_with_a_room_and_a_binding_is_read_by_every_worker(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """In the room as it is got, in its record and in the binding; with whatever text."""
        state = {"app": {"a": [1, None, "x\0y", "ü"]}, "acme.x": {}}
        bound = binding(room.id, "sms", state={"thread": {"id": "\0"}}, address="+1")
        await commit(store, room.id, room_changes={"state": state}, bindings=[bound])
        found, record = await other.get_room(room.id), await other.load(room.id)
        assert found is not None
        assert record is not None
        assert found.state == record.room.state == state
        assert record.bindings["sms"] == bound
        assert await other.get_binding(room.id, "sms") == bound

    async def test_random_changes_of_state_by_two_workers_lose_nothing(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Of a room, of a binding, with an event and a value or without; refused ones leave nothing."""
        chance, done, namespace = random.Random(11), Counter[str](), new_id()
        await store.add_binding(binding(room.id, "sms"))

        async def change(on: ConversationStore, name: str) -> None:
            record = await on.load(room.id)
            assert record is not None
            version, state, bound = record.version, record.room.state, record.bindings["sms"]
            changes: dict[str, Any]
            if name.startswith("room"):
                changes = {"room_changes": {"state": {**state, name: _counted(state.get(name))}}}
            else:
                counted = {**bound.state, name: _counted(bound.state.get(name))}
                changes = {"bindings": [bound.replace(state=counted)]}
            said = [event(room.id, name)] if chance.random() < 0.5 else []
            value = Value(namespace=namespace, key=(name,), data=_seen(record, name))
            try:
                await commit(on, room.id, *said, expected_version=version, values=[value], **changes)
            except StaleRoomError:
                return
            done[name] += 1
            done["events"] += len(said)

        for _ in range(_INTERLEAVINGS // 10):
            names = (f"{chance.choice(['room', 'binding'])}{chance.randrange(2)}" for _ in range(10))
            await asyncio.gather(*(change(chance.choice((store, other)), name) for name in names))
        record = await store.load(room.id)
        assert record is not None
        kept = {**record.room.state, **record.bindings["sms"].state}
        assert {name: each["n"] for name, each in kept.items()} == {
            name: count for name, count in done.items() if name != "events"
        }
        assert record.room.event_count == done["events"]


def _counted(state: Json | None) -> Json:
    return {"n": (state or {}).get("n", 0) + 1}


def _seen(record: RoomRecord, name: str) -> Json:
    return {"version": record.version, "name": name}
