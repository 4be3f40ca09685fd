"""Drives a store and the reference by the same random calls; what all machines have in common."""

# the name of a rule says what it does

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from roomkit.abc.errors import DuplicateEventError, RoomKitError
from roomkit.abc.store import Commit, Committed, ConversationStore, Entry
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery
from roomkit.models.enums import (
    EventStatus,
    EventType,
    RoomStatus,
)
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import (
    LEASE,
    snapshot,
)

__all__ = [
    "CHANNELS",
    "NUMBERS",
    "PEOPLE",
    "PLACES",
    "STATUSES",
    "WORKER",
    "WORKERS",
    "Operation",
    "StoreMachine",
]

type Operation = Callable[[ConversationStore], Awaitable[Any]]

NUMBERS = st.integers(0, 3)
CHANNELS = st.sampled_from(["sms", "email", "ai"])
PEOPLE = st.sampled_from(["ann", "ben"])
STATUSES = st.sampled_from(RoomStatus)
WORKERS = st.integers(0, 2)
WORKER = st.none() | WORKERS
PLACES = st.integers(0, 50)


class StoreMachine(RuleBasedStateMachine):
    """Makes the same call on the store and on a fresh reference, and compares the results.

    It runs in a thread; the calls run on the loop of the store, on one or the other of the objects that
    have its data. Ids start with a prefix of this sequence, so that all sequences can share one store; its
    rooms are deleted when it ends. Three workers, 0 to 2, have a lease on the store and one on the reference.
    """

    def __init__(
        self,
        stores: Sequence[ConversationStore],
        loop: asyncio.AbstractEventLoop,
        pass_time: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._stores = list(stores)
        self._reference = InMemoryStore()
        self._loop = loop
        self._pass_time = pass_time
        self._prefix = new_id()
        self._now = NOW
        self._events: list[RoomEvent] = []
        self._rows: list[str] = []
        self._timers: list[str] = []
        self._workers: dict[int, tuple[str, str]] = {}
        self._names: dict[str, str] = {}

    def teardown(self) -> None:
        """Leave nothing that another sequence would be asked about."""

        async def clear() -> None:
            for number in range(4):
                await self._stores[0].delete_room(self._room(number))

        asyncio.run_coroutine_threadsafe(clear(), self._loop).result()

    # -- rooms --------------------------------------------------------------------------------

    @initialize()
    def furnish(self) -> None:
        """Rooms 0 and 1 are there for good, 2 comes and goes, 3 may or may not come."""
        for number in range(3):
            self.create_room(number, RoomStatus.ACTIVE, "a" if number else "b")
            for channel in ("sms", "email"):
                bound = self._binding(self._room(number), channel, "ann")
                self._same(partial(_bind, binding=bound))
            self._begin_work(number)

    @rule()
    def change_places(self) -> None:
        """What one object wrote is asked of the other from now on."""
        self._stores.reverse()

    @rule(number=NUMBERS, status=STATUSES, organization=st.sampled_from(["a", "b"]))
    def create_room(self, number: int, status: RoomStatus, organization: str) -> None:
        room = Room(
            id=self._room(number),
            status=status,
            organization_id=f"{self._prefix}-{organization}",
            created_at=self._tick(),
            metadata={"number": number},
        )
        self._same(lambda store: store.create_room(room))

    @rule(number=st.integers(2, 3))
    def delete_room(self, number: int) -> None:
        self._same(lambda store: store.delete_room(self._room(number)))

    # -- the timeline -------------------------------------------------------------------------

    @rule(number=NUMBERS, sender=CHANNELS)
    def say(self, number: int, sender: str) -> None:
        self.commit_events(number, [EventType.MESSAGE], None, sender, "all", False, {"sms", "ai"}, True, None)

    @rule(
        number=NUMBERS,
        kinds=st.lists(st.sampled_from([EventType.MESSAGE, EventType.SYSTEM]), min_size=1, max_size=3),
        key=st.none() | st.integers(0, 4),
        sender=CHANNELS,
        visibility=st.sampled_from(["all", "internal", "email", "transport"]),
        blocked=st.booleans(),
        to=st.sets(CHANNELS),
        activity=st.booleans(),
        worker=WORKER,
    )
    def commit_events(
        self,
        number: int,
        kinds: list[EventType],
        key: int | None,
        sender: str,
        visibility: str,
        blocked: bool,
        to: set[str],
        activity: bool,
        worker: int | None,
    ) -> None:
        room_id = self._room(number)
        events = [
            event(
                room_id,
                type=kind,
                channel_id=sender,
                visibility=visibility,
                status=EventStatus.BLOCKED if blocked else EventStatus.PENDING,
                idempotency_key=f"key {key}" if key is not None and not place else None,
            )
            for place, kind in enumerate(kinds)
        ]
        entries = [Entry(each, sorted(to)) for each in events]
        at = self._tick()

        def commit(store: ConversationStore) -> Awaitable[Any]:
            who = self._who(worker, store)
            return store.commit(
                Commit(room_id=room_id, entries=entries, at=at, activity=activity, worker_id=who)
            )

        if isinstance(self._same(commit), Committed):
            self._events += events
            self._rows += [f"{each.id}:{channel}" for each in events for channel in sorted(to)]

    @rule(number=NUMBERS, ago=st.integers(-1, 30), limit=st.sampled_from([1, 2, 1000]))
    def prune(self, number: int, ago: int, limit: int) -> None:
        before = self._now - timedelta(seconds=ago)
        self._same(lambda store: store.prune_events(self._room(number), before, limit=limit))

    @invariant()
    def contents_are_the_same(self) -> None:
        """Everything every room shows is what the reference shows."""
        for number in range(4):
            self._same(partial(_contents, room_id=self._room(number)))

    # -- how ----------------------------------------------------------------------------------

    def _commit(self, commit: Commit) -> None:
        self._same(lambda store: store.commit(commit))

    def _same(self, operation: Operation) -> Any:
        mine, theirs = self._both(operation)
        assert _comparable(mine, self._names) == _comparable(theirs, self._names)
        return theirs

    def _both(self, operation: Operation) -> tuple[Any, Any]:
        async def ask() -> tuple[Any, Any]:
            return await _outcome(operation, self._stores[0]), await _outcome(operation, self._reference)

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result()

    async def _wait(self) -> None:
        await self._pass_time()

    def _begin_work(self, worker: int) -> None:
        """Work under a new lease; a former one is left to run out."""
        mine, theirs = self._both(lambda store: store.open_lease(LEASE))
        self._workers[worker] = (mine, theirs)
        self._names[mine] = self._names[theirs] = f"worker {len(self._names)}"

    def _id(self, worker: int, store: ConversationStore) -> str:
        return self._workers[worker][store is self._reference]

    def _who(self, worker: int | None, store: ConversationStore) -> str | None:
        return None if worker is None else self._id(worker, store)

    def _event(self, place: int) -> RoomEvent:
        return self._events[place % len(self._events)]

    def _row(self, place: int) -> str:
        return self._rows[place % len(self._rows)]

    def _timer(self, room_id: str, offset: int, again: int | None = None) -> Timer:
        """Build a timer due so many minutes from now, no two at one time; or an earlier one again."""
        if again is not None and again < len(self._timers):
            timer_id = self._timers[again]
        else:
            timer_id = new_id()
            self._timers.append(timer_id)
        due_at = self._tick() + timedelta(minutes=offset)
        return Timer(id=timer_id, room_id=room_id, kind="k", due_at=due_at, data={"offset": offset})

    def _tick(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def _room(self, number: int) -> str:
        return f"{self._prefix}-{number}"

    def _person(self, room_id: str, who: str, channel: str) -> Participant:
        return Participant(
            id=f"{self._prefix}-{who}",
            room_id=room_id,
            channel_id=channel,
            joined_at=NOW,
            connected_via=(channel,),
            identity_id=f"{self._prefix}-{channel}",
        )

    def _binding(self, room_id: str, channel: str, who: str, **fields: Any) -> ChannelBinding:
        return binding(room_id, channel, participant_id=f"{self._prefix}-{who}", attached_at=NOW, **fields)


async def _bind(store: ConversationStore, binding: ChannelBinding) -> Any:
    return await store.add_binding(binding)


async def _contents(store: ConversationStore, room_id: str) -> Any:
    record = await store.load(room_id, recent=3)
    if record is None:
        return await snapshot(store, room_id)
    unread = {name: await store.get_unread_count(room_id, name) for name in record.bindings}
    people = list(record.participants)
    return await snapshot(store, room_id), list(record.recent(3)), unread, people


async def _outcome(operation: Operation, store: ConversationStore) -> Any:
    try:
        return await operation(store)
    except DuplicateEventError as error:
        return type(error), error.event
    except RoomKitError as error:
        return type(error)


def _comparable(value: Any, names: Mapping[str, str]) -> Any:
    """Leave out what the stores may choose: the version's number, the time of a patch, workers' ids."""
    if isinstance(value, Room):
        return value.replace(version=0, updated_at=NOW)
    if isinstance(value, Delivery):
        return value.replace(holder=names.get(value.holder or "", value.holder))
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list | tuple):
        return [_comparable(each, names) for each in value]
    if isinstance(value, Mapping):
        return {key: _comparable(each, names) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _comparable(getattr(value, each.name), names) for each in fields(value)}
    return value
