"""What the parts of the store's contract share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pytest

from roomkit.abc.store import Commit, ConversationStore, Entry
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing.contracts.base import NOW, ContractSuite, event

__all__ = ["Snapshot", "StoreSuite", "commit", "say", "snapshot"]

EVERYTHING = 1_000_000


class StoreSuite(ContractSuite):
    """The fixtures of the store's contract."""

    @pytest.fixture
    def store(self, subject: ConversationStore) -> ConversationStore:
        """Return the store under test; it holds nothing yet."""
        return subject

    @pytest.fixture
    async def room(self, store: ConversationStore) -> Room:
        """Return a stored room."""
        return await store.create_room(Room())


async def commit(
    store: ConversationStore,
    room_id: str,
    *events: RoomEvent,
    targets: Sequence[str] = (),
    at: datetime = NOW,
    **fields: Any,
) -> list[RoomEvent]:
    """Commit events, each to the same targets; return them as stored."""
    entries = [Entry(each, targets) for each in events]
    return list(await store.commit(Commit(room_id=room_id, entries=entries, at=at, **fields)))


async def say(store: ConversationStore, room_id: str, *texts: str, **fields: Any) -> list[RoomEvent]:
    """Commit messages, one transaction each; return them as stored."""
    stored: list[RoomEvent] = []
    for text in texts:
        stored += await commit(store, room_id, event(room_id, text, **fields))
    return stored


@dataclass(slots=True, frozen=True)
class Snapshot:
    """Everything a store shows of one room."""

    room: Room | None
    events: list[RoomEvent]
    bindings: list[ChannelBinding]
    participants: list[Participant]
    tasks: list[Task]
    observations: list[Observation]
    marks: dict[str, int]
    deliveries: list[Delivery]

    def differences(self, other: Snapshot) -> dict[str, tuple[Any, Any]]:
        """Return what is not the same in another snapshot, {} when all is."""
        mine, theirs = asdict(self), asdict(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


async def snapshot(store: ConversationStore, room_id: str) -> Snapshot:
    """Read everything of one room, by the public methods."""
    return Snapshot(
        room=await store.get_room(room_id),
        events=await store.list_events(room_id, limit=EVERYTHING),
        bindings=await store.list_bindings(room_id),
        participants=await store.list_participants(room_id),
        tasks=await store.list_tasks(room_id),
        observations=await store.list_observations(room_id),
        marks=await store.list_read_marks(room_id),
        deliveries=await store.list_deliveries(room_id, limit=EVERYTHING),
    )
