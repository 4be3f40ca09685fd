"""The store's contract: any sequence of calls gives what the in-memory reference gives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
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
from roomkit.abc.store import Amend, Commit, Committed, ConversationStore, Entry
from roomkit.memory.store import InMemoryStore
from roomkit.models.alarm import Alarm
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery
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
from roomkit_plugins.testing.contracts.store.base import (
    LEASE,
    StoreSuite,
    jump,
    reported,
    snapshot,
)

__all__ = ["ModelContract"]

type Operation = Callable[[ConversationStore], Awaitable[Any]]

NUMBERS = st.integers(0, 3)
CHANNELS = st.sampled_from(["sms", "email", "ai"])
PEOPLE = st.sampled_from(["ann", "ben"])
STATUSES = st.sampled_from(RoomStatus)
WORKERS = st.integers(0, 2)
SOMEBODY = st.none() | WORKERS
PLACES = st.integers(0, 50)


class ModelContract(StoreSuite):
    """The reference is the in-memory store: same calls, same answers, same errors, same contents."""

    async def test_any_sequence_of_calls_gives_what_the_reference_gives(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """A state machine tries sequences nobody would think of, and shrinks the one that differs."""
        loop = asyncio.get_running_loop()

        async def pass_time() -> None:
            await self.let_leases_run_out(store)
            jump(LEASE + 1)  # for the reference, which goes by the loop's time

        class Machine(StoreMachine):
            def __init__(self) -> None:
                super().__init__([store, other], loop, pass_time)

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
        self._alarms: list[str] = []
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
                self.bind(number, channel, "ann", Access.READ_WRITE, True)
            self.begin_work(number)

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
        self.commit_events(number, [EventType.MESSAGE], None, sender, "all", False, {"sms", "ai"}, True, None)

    @rule(number=NUMBERS, worker=WORKERS, kinds=st.integers(1, 2))
    def say_as(self, number: int, worker: int, kinds: int) -> None:
        said = [EventType.MESSAGE] * kinds
        self.commit_events(number, said, None, "ai", "all", False, {"sms"}, True, worker)

    @rule(
        number=NUMBERS,
        kinds=st.lists(st.sampled_from([EventType.MESSAGE, EventType.SYSTEM]), min_size=1, max_size=3),
        key=st.none() | st.integers(0, 4),
        sender=CHANNELS,
        visibility=st.sampled_from(["all", "internal", "email", "transport"]),
        blocked=st.booleans(),
        to=st.sets(CHANNELS),
        activity=st.booleans(),
        worker=SOMEBODY,
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
    @rule(number=NUMBERS, place=PLACES, text=st.none() | PEOPLE)
    def amend(self, number: int, place: int, text: str | None) -> None:
        content = None if text is None else TextContent(body=text)
        self._commit(
            Commit(
                room_id=self._room(number),
                entries=[],
                at=self._tick(),
                amend=Amend(self._event(place).id, content, "someone"),
            )
        )

    @precondition(lambda self: self._events)
    @rule(number=NUMBERS, places=st.lists(PLACES, min_size=1, max_size=2), who=st.none() | PEOPLE)
    def redact(self, number: int, places: list[int], who: str | None) -> None:
        self._commit(
            Commit(
                room_id=self._room(number),
                entries=[],
                at=self._tick(),
                redact=[self._event(place).id for place in places],
                remove_participants=[] if who is None else [f"{self._prefix}-{who}"],
            )
        )

    @rule(number=NUMBERS, ago=st.integers(-1, 30), limit=st.sampled_from([1, 2, 1000]))
    def prune(self, number: int, ago: int, limit: int) -> None:
        before = self._now - timedelta(seconds=ago)
        self._same(lambda store: store.prune_events(self._room(number), before, limit=limit))

    @rule(number=NUMBERS, fence=st.integers(0, 5))
    def commit_under_lock(self, number: int, fence: int) -> None:
        self._commit(Commit(room_id=self._room(number), entries=[], at=self._tick(), fence=fence))

    @precondition(lambda self: self._rows)
    @rule(
        number=NUMBERS,
        worker=SOMEBODY,
        place=PLACES,
        state=st.sampled_from(DeliveryState),
        fence=st.none() | st.integers(0, 5),
        alarm=st.none() | st.integers(-1, 1),
        done=st.none() | PLACES,
        number_of_key=st.none() | st.integers(0, 4),
    )
    def commit_ends(
        self,
        number: int,
        worker: int | None,
        place: int,
        state: DeliveryState,
        fence: int | None,
        alarm: int | None,
        done: int | None,
        number_of_key: int | None,
    ) -> None:
        """Ends and alarms that ride along with a message, which may fail."""
        room_id, row, at = self._room(number), self._row(place), self._tick()
        key = None if number_of_key is None or fence is not None else f"key {number_of_key}"
        said = event(room_id, channel_id="ai", idempotency_key=key)  # one reason to fail is enough
        alarms = [] if alarm is None else [self._alarm(room_id, alarm)]
        answered = [] if done is None else self._alarms[done : done + 1]

        async def commit(store: ConversationStore) -> Any:
            ended = await _ended(store, row, state)
            return await store.commit(
                Commit(
                    room_id=room_id,
                    entries=[Entry(said, ["sms"])],
                    at=at,
                    fence=fence,
                    worker_id=self._who(worker, store),
                    alarms=alarms,
                    completed=ended,
                    alarms_done=answered,
                )
            )

        if isinstance(self._same(commit), Committed):
            self._events.append(said)
            self._rows.append(f"{said.id}:sms")

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

    @rule(who=PEOPLE, identity=st.none() | CHANNELS, after=st.none() | NUMBERS, limit=st.integers(0, 4))
    def find_people(self, who: str, identity: str | None, after: int | None, limit: int) -> None:
        cursor = None if after is None else (self._room(after), f"{self._prefix}-ann")
        person = f"{self._prefix}-{who}" if identity is None else None
        known = None if identity is None else f"{self._prefix}-{identity}"
        for organization in (None, f"{self._prefix}-a"):
            self._same(
                partial(
                    _find_people,
                    participant_id=person,
                    identity_id=known,
                    organization_id=organization,
                    limit=limit,
                    after=cursor,
                )
            )

    @rule(who=PEOPLE, organization=st.none() | PEOPLE, goes=st.booleans())
    def know(self, who: str, organization: str | None, goes: bool) -> None:
        """Identities are created once, so their ids carry the time."""
        identity = Identity(
            id=f"{self._prefix}-{who}-{self._tick().timestamp()}",
            organization_id=organization and f"{self._prefix}-{organization}",
            channel_addresses={"sms": (f"{self._prefix}-{self._now.timestamp()}",)},
        )
        self._same(lambda store: store.create_identity(identity))
        self._same(lambda store: store.link_address(identity.id, "email", identity.id))
        if goes:
            self._same(lambda store: store.delete_identity(identity.id))
        self._same(lambda store: store.get_identity(identity.id, organization_id=f"{self._prefix}-ann"))
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
    @rule(number=NUMBERS, channel=CHANNELS, place=PLACES | st.none())
    def read(self, number: int, channel: str, place: int | None) -> None:
        room_id = self._room(number)
        if place is None:
            self._same(lambda store: store.mark_all_read(room_id, channel))
        else:
            target = self._event(place)
            self._same(lambda store: store.mark_read(room_id, channel, target.id))

    @precondition(lambda self: self._rows)
    @rule(place=PLACES, state=st.sampled_from(DeliveryState), worker=SOMEBODY)
    def complete(self, place: int, state: DeliveryState, worker: int | None) -> None:
        row = self._row(place)

        async def complete(store: ConversationStore) -> Any:
            ended = await _ended(store, row, state)
            return await store.complete(ended, worker_id=self._who(worker, store))

        self._same(complete)

    @precondition(lambda self: self._rows)
    @rule(
        place=PLACES,
        provider=st.sampled_from(["acme", "acme", "other"]),
        part=st.sampled_from(["", "/part"]),
        receipts=st.lists(st.sampled_from(ReceiptState), min_size=1, max_size=3),
        is_sent=st.booleans(),
    )
    def receive(
        self, place: int, provider: str, part: str, receipts: list[ReceiptState], is_sent: bool
    ) -> None:
        """Before the send was recorded, or after."""
        if is_sent:
            self.complete(place, DeliveryState.SENT, None)
        status = reported(self._row(place) + part, provider=provider)
        for receipt in receipts:
            self._same(partial(_receive, status=status, receipt=receipt))

    @precondition(lambda self: self._rows)
    @rule(place=PLACES, again=st.booleans())
    def settle(self, place: int, again: bool) -> None:
        row = self._row(place)
        self._same(lambda store: store.reopen_delivery(row) if again else store.drop_delivery(row, "no"))

    # -- workers and alarms -------------------------------------------------------------------

    @rule()
    def let_time_pass(self) -> None:
        """Every lease runs out, also those of workers that are to go on."""
        asyncio.run_coroutine_threadsafe(self._wait(), self._loop).result()

    @rule(worker=WORKERS)
    def begin_work(self, worker: int) -> None:
        """Work under a new lease; a former one is left to run out."""
        mine, theirs = self._both(lambda store: store.open_lease(LEASE))
        self._workers[worker] = (mine, theirs)
        self._names[mine] = self._names[theirs] = f"worker {len(self._names)}"

    @rule(worker=WORKERS)
    def end_work(self, worker: int) -> None:
        self._same(lambda store: store.close_lease(self._id(worker, store)))

    @rule(worker=WORKERS)
    def go_on_working(self, worker: int) -> None:
        self._same(lambda store: store.renew_lease(self._id(worker, store), LEASE))

    @rule(worker=WORKERS, number=NUMBERS)
    def claim(self, worker: int, number: int) -> None:
        self._same(lambda store: store.claim(self._room(number), self._id(worker, store)))

    @rule(worker=WORKERS, limit=st.sampled_from([1, 2, 100]))
    def find_claimable(self, worker: int, limit: int) -> None:
        self._same(lambda store: store.find_claimable(self._id(worker, store), limit=limit))

    @rule(number=NUMBERS, offset=st.integers(-2, 2), again=st.none() | PLACES)
    def set_alarm(self, number: int, offset: int, again: int | None) -> None:
        alarm = self._alarm(self._room(number), offset, again)
        self._same(lambda store: store.set_alarm(alarm))

    @rule(worker=WORKERS, offset=st.integers(-2, 2), limit=st.sampled_from([1, 100]))
    def claim_alarms(self, worker: int, offset: int, limit: int) -> None:
        now = self._now + timedelta(minutes=offset)
        self._same(lambda store: store.claim_alarms(self._id(worker, store), now, limit=limit))

    # -- questions ----------------------------------------------------------------------------

    @rule(status=st.none() | STATUSES, who=st.none() | PEOPLE, limit=st.integers(0, 5))
    def find_rooms(self, status: RoomStatus | None, who: str | None, limit: int) -> None:
        metadata = None if who is None else {"who": who}
        self._same(lambda store: store.find_rooms(f"{self._prefix}-a", status, metadata, limit=limit))

    @rule(who=PEOPLE, status=st.none() | STATUSES, organization=st.none() | st.sampled_from(["a", "b"]))
    def find_room_of(self, who: str, status: RoomStatus | None, organization: str | None) -> None:
        person, owner = f"{self._prefix}-{who}", organization and f"{self._prefix}-{organization}"
        self._same(
            lambda store: store.find_latest_room(person, ChannelType.SMS, status, organization_id=owner)
        )
        for channel in ("sms", "email"):
            self._same(partial(_find_sender, channel_id=channel, sender_id=person, organization_id=owner))

    @precondition(lambda self: self._rows)
    @rule(place=PLACES, organization=st.sampled_from(["a", "b"]), limit=st.integers(1, 9))
    def ask_as(self, place: int, organization: str, limit: int) -> None:
        owner, row, said = f"{self._prefix}-{organization}", self._row(place), self._event(place).id
        room_id = self._room(place % 4)
        self._same(lambda store: store.get_room(room_id, organization_id=owner))
        self._same(lambda store: store.get_event(said, organization_id=owner))
        self._same(lambda store: store.get_delivery(row, organization_id=owner))
        self._same(lambda store: store.list_deliveries(organization_id=owner, limit=limit))
        self._same(lambda store: store.list_deliveries(room_id, organization_id=owner, after=row))

    @rule(number=NUMBERS, key=st.integers(0, 4))
    def load_by_key(self, number: int, key: int) -> None:
        async def keyed(store: ConversationStore) -> Any:
            record = await store.load(self._room(number), key=f"key {key}")
            return None if record is None else record.keyed(f"key {key}")

        self._same(keyed)

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

    def _id(self, worker: int, store: ConversationStore) -> str:
        return self._workers[worker][store is self._reference]

    def _who(self, worker: int | None, store: ConversationStore) -> str | None:
        return None if worker is None else self._id(worker, store)

    def _event(self, place: int) -> RoomEvent:
        return self._events[place % len(self._events)]

    def _row(self, place: int) -> str:
        return self._rows[place % len(self._rows)]

    def _alarm(self, room_id: str, offset: int, again: int | None = None) -> Alarm:
        """Build an alarm due so many minutes from now, no two at one time; or an earlier one anew."""
        if again is not None and again < len(self._alarms):
            alarm_id = self._alarms[again]
        else:
            alarm_id = new_id()
            self._alarms.append(alarm_id)
        due_at = self._tick() + timedelta(minutes=offset)
        return Alarm(id=alarm_id, room_id=room_id, kind="k", due_at=due_at, data={"offset": offset})

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


async def _contents(store: ConversationStore, room_id: str) -> Any:
    record = await store.load(room_id, recent=3)
    if record is None:
        return await snapshot(store, room_id)
    unread = {name: await store.get_unread_count(room_id, name) for name in record.bindings}
    people = list(record.participants)
    return await snapshot(store, room_id), list(record.recent(3)), unread, people


async def _ended(store: ConversationStore, delivery_id: str, state: DeliveryState) -> list[Delivery]:
    """Return a row as it is to end, if it is there; the vendor's message has the id of the row."""
    row = await store.get_delivery(delivery_id)
    if row is None:
        return []
    parts = (delivery_id, f"{delivery_id}/part")
    return [row.replace(state=state, provider="acme", provider_message_id=delivery_id, parts=parts)]


async def _receive(store: ConversationStore, **receipt: Any) -> Any:
    return await store.record_receipt(**receipt)


async def _find_people(store: ConversationStore, **filters: Any) -> Any:
    return await store.find_participants(**filters)


async def _find_sender(store: ConversationStore, **filters: Any) -> Any:
    return await store.find_sender_room_ids(**filters)


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
