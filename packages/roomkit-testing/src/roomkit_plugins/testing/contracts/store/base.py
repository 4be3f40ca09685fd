"""What the parts of the store's contract share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from roomkit.abc.store import Commit, Committed, Completed, ConversationStore, Entry
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import DeliveryState
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, ContractSuite, close, event, make

__all__ = [
    "LEASE",
    "Sibling",
    "Snapshot",
    "StoreSuite",
    "commit",
    "committed",
    "complete_one",
    "jump",
    "pending",
    "reported",
    "row_of",
    "say",
    "send",
    "snapshot",
]

EVERYTHING = 1_000_000
LEASE = 600.0
"""For how many seconds the suite takes its leases: longer than any test takes."""

type Sibling = Callable[[ConversationStore], ConversationStore | Awaitable[ConversationStore]]


class StoreSuite(ContractSuite):
    """The fixtures of the store's contract, and the properties a store may declare."""

    @pytest.fixture
    def store(self, subject: ConversationStore) -> ConversationStore:
        """Return the store under test; it holds nothing yet."""
        return subject

    @pytest.fixture
    def sibling(self) -> Sibling | None:
        """Return a function that opens the data of a given store again; None where that cannot be."""
        return None

    @pytest.fixture
    async def other(
        self, store: ConversationStore, sibling: Sibling | None
    ) -> AsyncIterator[ConversationStore]:
        """Return the store as another worker has it: a second object on its data, if there can be one."""
        if sibling is None:
            yield store
            return
        made = await make(partial(sibling, store))
        yield made
        await close(made)

    @pytest.fixture
    async def worker(self, store: ConversationStore) -> str:
        """Return a worker on the store."""
        return await store.open_lease(LEASE)

    @pytest.fixture
    async def rival(self, other: ConversationStore) -> str:
        """Return a worker on the other store."""
        return await other.open_lease(LEASE)

    async def let_leases_run_out(self, store: ConversationStore) -> None:
        """Make every lease that was opened on the store until now run out.

        As it is, the running loop's time jumps forward; a store that goes by another clock overrides this.
        """
        jump(LEASE + 1)

    async def find_traces(self, store: ConversationStore, text: str) -> Collection[str]:
        """Return where else than in its methods' answers the store still has a text: search, files, tables.

        For redacted words. By default, nowhere; a store that can look deeper overrides this.
        """
        return ()

    @pytest.fixture
    async def room(self, store: ConversationStore) -> Room:
        """Return a stored room."""
        return await store.create_room(Room())


async def committed(
    store: ConversationStore,
    room_id: str,
    *events: RoomEvent,
    targets: Sequence[str] = (),
    at: datetime = NOW,
    **fields: Any,
) -> Committed:
    """Commit events, each to the same targets."""
    entries = [Entry(each, targets) for each in events]
    return await store.commit(Commit(room_id=room_id, entries=entries, at=at, **fields))


async def commit(
    store: ConversationStore, room_id: str, *events: RoomEvent, **fields: Any
) -> list[RoomEvent]:
    """Commit events, each to the same targets; return them as stored."""
    return list((await committed(store, room_id, *events, **fields)).events)


async def say(store: ConversationStore, room_id: str, *texts: str, **fields: Any) -> list[RoomEvent]:
    """Commit messages, one transaction each; return them as stored."""
    stored: list[RoomEvent] = []
    for text in texts:
        stored += await commit(store, room_id, event(room_id, text, **fields))
    return stored


async def pending(store: ConversationStore, room_id: str, channel_id: str = "sms", **fields: Any) -> Delivery:
    """Commit an event to one target and return the row."""
    (stored,) = await commit(store, room_id, event(room_id), targets=[channel_id], **fields)
    return await row_of(store, f"{stored.id}:{channel_id}")


async def row_of(store: ConversationStore, delivery_id: str) -> Delivery:
    """Return a row that is there."""
    row = await store.get_delivery(delivery_id)
    assert row is not None
    return row


async def complete_one(store: ConversationStore, row: Delivery, **fields: Any) -> Completed:
    """Complete one delivery, as SENT unless it is said otherwise."""
    return await store.complete([row.outcome(**{"state": DeliveryState.SENT, **fields})])


async def send(
    store: ConversationStore, row: Delivery, message_id: str, *parts: str, provider: str = "acme"
) -> Delivery:
    """Complete a delivery as the vendor's message of that id."""
    sent = row.replace(
        state=DeliveryState.SENT,
        provider=provider,
        provider_message_id=message_id,
        parts=(message_id, *parts),
    )
    assert not (await store.complete([sent.outcome()])).refused
    return sent.replace(holder=None)


def reported(message_id: str, *, provider: str = "acme", **fields: Any) -> DeliveryStatus:
    """Build what a vendor reports of a message."""
    return DeliveryStatus(**{"provider": provider, "message_id": message_id, "status": "reported", **fields})


def jump(seconds: float) -> None:
    """Put the running loop's clock forward."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop.time, _AheadOf):
        loop.time = _AheadOf(loop.time)  # type: ignore[method-assign]  # that is the jump
    loop.time.seconds += seconds


class _AheadOf:
    """A clock that is so many seconds ahead of another."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds = 0.0

    def __call__(self) -> float:
        return self._clock() + self.seconds


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
    timers: list[Timer]

    def differences(self, other: Snapshot) -> dict[str, tuple[Any, Any]]:
        """Return the differences from another snapshot, {} when there are none."""
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
        timers=await store.list_timers(room_id),
    )
