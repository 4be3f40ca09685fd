"""The store's contract: any sequence of calls gives what the in-memory reference gives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from roomkit.abc.errors import DuplicateEventError, RoomKitError
from roomkit.abc.store import Amend, Commit, ConversationStore, Entry
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.enums import (
    Access,
    ChannelType,
    DeliveryState,
    EventStatus,
    EventType,
    ReceiptState,
    RoomStatus,
    TaskStatus,
)
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, snapshot

__all__ = ["ModelContract"]

type Operation = Callable[[ConversationStore], Awaitable[Any]]

NUMBERS = st.integers(0, 3)
CHANNELS = st.sampled_from(["sms", "email", "ai"])
PEOPLE = st.sampled_from(["ann", "ben"])
STATUSES = st.sampled_from(RoomStatus)


class ModelContract(StoreSuite):
    """The reference is the in-memory store: same calls, same answers, same errors, same contents."""

    async def test_any_sequence_of_calls_gives_what_the_reference_gives(
        self, store: ConversationStore
    ) -> None:
        """A state machine tries sequences nobody would think of, and shrinks the one that differs."""
        loop = asyncio.get_running_loop()

        class Machine(StoreMachine):
            def __init__(self) -> None:
                super().__init__(store, loop)

        chosen = settings(
            deadline=None,
            max_examples=self.sequences,
            stateful_step_count=40,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        await asyncio.to_thread(run_state_machine_as_test, Machine, settings=chosen)

    @property
    def sequences(self) -> int:
        """How many sequences are tried."""
        return 60


class StoreMachine(RuleBasedStateMachine):
    """Makes the same call on the store and on a fresh reference, and compares what comes of it.

    It runs in a thread; the calls run on the loop of the store. Ids start with a prefix of this
    sequence, so that all sequences can share one store.
    """

    def __init__(self, store: ConversationStore, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._store = store
        self._reference = InMemoryStore()
        self._loop = loop
        self._prefix = new_id()
        self._now = NOW
        self._events: list[RoomEvent] = []
        self._rows: list[str] = []

    # -- rooms --------------------------------------------------------------------------------

    @initialize()
    def furnish(self) -> None:
        """Rooms 0 and 1 are there for good, 2 comes and goes, 3 may or may not come."""
        for number in range(3):
            self.create_room(number, RoomStatus.ACTIVE, "a")
            for channel in ("sms", "email"):
                self.bind(number, channel, "ann", Access.READ_WRITE, True)

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

    @rule(number=NUMBERS, status=STATUSES)
    def update_room(self, number: int, status: RoomStatus) -> None:
        async def update(store: ConversationStore) -> Any:
            room = await store.get_room(self._room(number)) or Room(id=self._room(number))
            return await store.update_room(room.replace(status=status))

        self._same(update)

    @rule(number=NUMBERS, key=PEOPLE, value=st.integers() | st.none(), unset=st.lists(PEOPLE, max_size=1))
    def patch_metadata(self, number: int, key: str, value: int | None, unset: list[str]) -> None:
        patch = {} if key in unset else {key: value}
        self._same(lambda store: store.patch_room_metadata(self._room(number), patch, unset))

    @rule(number=st.integers(2, 3))
    def delete_room(self, number: int) -> None:
        self._same(lambda store: store.delete_room(self._room(number)))

    # -- the timeline -------------------------------------------------------------------------

    @rule(number=NUMBERS, sender=CHANNELS)
    def say(self, number: int, sender: str) -> None:
        self.commit_events(number, [EventType.MESSAGE], None, sender, "all", False, {"sms", "ai"}, True)

    @rule(
        number=NUMBERS,
        kinds=st.lists(st.sampled_from([EventType.MESSAGE, EventType.SYSTEM]), min_size=1, max_size=3),
        key=st.none() | st.integers(0, 4),
        sender=CHANNELS,
        visibility=st.sampled_from(["all", "internal", "email", "transport"]),
        blocked=st.booleans(),
        to=st.sets(CHANNELS),
        activity=st.booleans(),
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
        commit = Commit(room_id=room_id, entries=entries, at=self._tick(), activity=activity)
        stored = self._same(lambda store: store.commit(commit))
        if isinstance(stored, list):
            self._events += events
            self._rows += [f"{each.id}:{channel}" for each in events for channel in sorted(to)]

    @rule(number=NUMBERS, status=st.none() | STATUSES, channel=CHANNELS, gone=CHANNELS, who=PEOPLE)
    def commit_changes(
        self, number: int, status: RoomStatus | None, channel: str, gone: str, who: str
    ) -> None:
        room_id = self._room(number)
        self._commit(
            Commit(
                room_id=room_id,
                entries=[],
                at=self._tick(),
                participants=[self._person(room_id, who, channel)],
                bindings=[self._binding(room_id, channel, who)],
                unbind=[gone] if gone != channel else [],
                room_changes={"status": status} if status is not None else None,
                metadata={"who": who},
                tasks=[Task(id=f"{self._prefix}-{room_id}-{who}", room_id=room_id, title=channel)],
            )
        )

    @precondition(lambda self: self._events)
    @rule(number=NUMBERS, place=st.integers(0, 50), text=st.none() | PEOPLE)
    def amend(self, number: int, place: int, text: str | None) -> None:
        target = self._events[place % len(self._events)]
        content = None if text is None else TextContent(body=text)
        self._commit(
            Commit(
                room_id=self._room(number),
                entries=[],
                at=self._tick(),
                amend=Amend(target.id, content, "someone"),
            )
        )

    # -- people -------------------------------------------------------------------------------

    @rule(number=NUMBERS, channel=CHANNELS, who=PEOPLE, access=st.sampled_from(Access), anew=st.booleans())
    def bind(self, number: int, channel: str, who: str, access: Access, anew: bool) -> None:
        bound = self._binding(self._room(number), channel, who, access=access)
        self._same(lambda store: store.add_binding(bound) if anew else store.update_binding(bound))

    @rule(number=NUMBERS, channel=CHANNELS)
    def unbind(self, number: int, channel: str) -> None:
        async def remove(store: ConversationStore) -> Any:
            if await store.get_room(self._room(number)) is None:
                return None  # whether that is False or an error is open
            return await store.remove_binding(self._room(number), channel)

        self._same(remove)

    @rule(number=NUMBERS, who=PEOPLE, channel=CHANNELS, anew=st.booleans())
    def join(self, number: int, who: str, channel: str, anew: bool) -> None:
        person = self._person(self._room(number), who, channel)
        self._same(lambda store: store.add_participant(person) if anew else store.update_participant(person))

    @rule(who=PEOPLE, organization=st.none() | PEOPLE)
    def know(self, who: str, organization: str | None) -> None:
        """Identities are created once, so their ids carry the time."""
        identity = Identity(
            id=f"{self._prefix}-{who}-{self._tick().timestamp()}",
            organization_id=organization and f"{self._prefix}-{organization}",
            channel_addresses={"sms": (f"{self._prefix}-{self._now.timestamp()}",)},
        )
        self._same(lambda store: store.create_identity(identity))
        self._same(lambda store: store.link_address(identity.id, "email", identity.id))
        self._same(
            lambda store: store.resolve_identity(
                "email", identity.id, organization_id=identity.organization_id
            )
        )

    # -- work, marks, ledger ------------------------------------------------------------------

    @rule(number=NUMBERS, who=PEOPLE, status=st.sampled_from(TaskStatus), anew=st.booleans())
    def task(self, number: int, who: str, status: TaskStatus, anew: bool) -> None:
        room_id = self._room(number)
        task = Task(
            id=f"{self._prefix}-{room_id}-{who}", room_id=room_id, title="t", status=status, created_at=NOW
        )
        self._same(lambda store: store.add_task(task) if anew else store.update_task(task))
        self._same(lambda store: store.list_tasks(room_id, status))

    @rule(number=NUMBERS, who=PEOPLE)
    def observe(self, number: int, who: str) -> None:
        room_id = self._room(number)
        observation = Observation(
            id=f"{self._prefix}-{room_id}-{who}", room_id=room_id, channel_id="ai", content=who
        )
        self._same(lambda store: store.add_observation(observation))

    @precondition(lambda self: self._events)
    @rule(number=NUMBERS, channel=CHANNELS, place=st.integers(0, 50) | st.none())
    def read(self, number: int, channel: str, place: int | None) -> None:
        room_id = self._room(number)
        if place is None:
            self._same(lambda store: store.mark_all_read(room_id, channel))
        else:
            target = self._events[place % len(self._events)]
            self._same(lambda store: store.mark_read(room_id, channel, target.id))

    @precondition(lambda self: self._rows)
    @rule(place=st.integers(0, 50), state=st.sampled_from(DeliveryState))
    def record(self, place: int, state: DeliveryState) -> None:
        delivery_id = self._rows[place % len(self._rows)]
        self._same(partial(_record, delivery_id=delivery_id, state=state))

    @precondition(lambda self: self._rows)
    @rule(
        place=st.integers(0, 50),
        provider=st.sampled_from(["acme", "acme", "other"]),
        receipts=st.lists(
            st.sampled_from([each for each in ReceiptState if each is not ReceiptState.FAILED]),
            min_size=1,
            max_size=3,
        ),
    )
    def receive(self, place: int, provider: str, receipts: list[ReceiptState]) -> None:
        self.record(place, DeliveryState.SENT)
        message_id = self._rows[place % len(self._rows)]
        for receipt in receipts:
            self._same(partial(_receive, provider=provider, message_id=message_id, receipt=receipt))

    # -- questions ----------------------------------------------------------------------------

    @rule(status=st.none() | STATUSES, who=st.none() | PEOPLE, limit=st.integers(0, 5))
    def find_rooms(self, status: RoomStatus | None, who: str | None, limit: int) -> None:
        metadata = None if who is None else {"who": who}
        self._same(lambda store: store.find_rooms(f"{self._prefix}-a", status, metadata, limit=limit))

    @rule(channel=CHANNELS, who=PEOPLE, status=st.none() | STATUSES)
    def find_room_of(self, channel: str, who: str, status: RoomStatus | None) -> None:
        channel_id, person = f"{self._prefix}-{channel}", f"{self._prefix}-{who}"
        self._same(lambda store: store.find_room_ids_by_channel(channel_id, status, limit=5))
        self._same(lambda store: store.find_latest_room(person, ChannelType.SMS, status))

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
        assert _comparable(mine) == _comparable(theirs)
        return theirs

    def _both(self, operation: Operation) -> tuple[Any, Any]:
        async def ask() -> tuple[Any, Any]:
            return await _outcome(operation, self._store), await _outcome(operation, self._reference)

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result()

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
        )

    def _binding(self, room_id: str, channel: str, who: str, **fields: Any) -> ChannelBinding:
        return binding(room_id, channel, participant_id=f"{self._prefix}-{who}", attached_at=NOW, **fields)


async def _contents(store: ConversationStore, room_id: str) -> Any:
    record = await store.load(room_id, recent=3)
    if record is None:
        return await snapshot(store, room_id)
    unread = {name: await store.get_unread_count(room_id, name) for name in record.bindings}
    people = list(record.participants)
    return await snapshot(store, room_id), list(record.recent(3)), unread, people


async def _record(store: ConversationStore, delivery_id: str, state: DeliveryState) -> Any:
    """Record how a delivery ended; the vendor's message has the id of the row."""
    row = await store.get_delivery(delivery_id)
    if row is not None:
        sent = row.replace(state=state, provider="acme", provider_message_id=delivery_id)
        await store.record_deliveries([sent])
    return await store.get_delivery(delivery_id)


async def _receive(store: ConversationStore, provider: str, message_id: str, receipt: ReceiptState) -> Any:
    return await store.record_receipt(provider, message_id, receipt)


async def _outcome(operation: Operation, store: ConversationStore) -> Any:
    try:
        return await operation(store)
    except DuplicateEventError as error:
        return type(error), error.event
    except RoomKitError as error:
        return type(error)


def _comparable(value: Any) -> Any:
    """Leave out what the stores may choose: the version's number, and the time of a patch."""
    if isinstance(value, Room):
        return value.replace(version=0, updated_at=NOW)
    if isinstance(value, list | tuple):
        return [_comparable(each) for each in value]
    if hasattr(value, "differences"):
        return {name: _comparable(getattr(value, name)) for name in value.__slots__}
    return value
