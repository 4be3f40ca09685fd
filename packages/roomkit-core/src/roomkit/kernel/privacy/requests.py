"""Data-subject requests: a copy of a person's data, and its erasure with a receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit._dataclasses import dataclass
from roomkit.abc.store import Commit, Entry
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.job import Job
from roomkit.kernel.flow.merged import followed
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.state import without_derived
from roomkit.kernel.privacy.erasure_receipt import BEYOND_A_PERSON, BEYOND_A_ROOM, ReceiptBook
from roomkit.kernel.privacy.exports import deliveries_of, room_values_of, values_of
from roomkit.kernel.privacy.person import Person, Place, find_person
from roomkit.kernel.privacy.waiting_receipts import WaitingReceipts
from roomkit.kernel.runtime.scope import innermost_gate
from roomkit.kernel.runtime.supervisor import Interrupted
from roomkit.models.base import EMPTY
from roomkit.models.content import DeleteContent, EditContent, SystemContent
from roomkit.models.enums import Access, ChannelCategory, DeliveryState, EventType, HookTrigger

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.consent.consents import Consents, Suppression
    from roomkit.kernel.delivery.lanes import Lane, Lanes
    from roomkit.kernel.privacy.exports import Exports
    from roomkit.kernel.rooms.changes import RoomChanges
    from roomkit.kernel.rooms.rights_signals import RightsSignals
    from roomkit.kernel.rooms.rooms import Rooms
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.delivery import Delivery, DeliveryOutcome
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.rights import ErasureReceipt, ExportKind
    from roomkit.models.room import Room
    from roomkit.models.task import Task

__all__ = ["ERASED", "DataSubjectRequests"]

ERASED = "erased"
"""The code of what an event says once it is redacted, and why a delivery of it was skipped."""

_PAGE = 500


class DataSubjectRequests:
    """Copies and erases. Works with a kit that was never started, too: it delivers nothing."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        supervisor: Supervisor,
        hooks: HookEngine,
        events: FrameworkEvents,
        ledger: OutcomeWriter,
        rights_signals: RightsSignals,
        channels: Channels,
        rooms: Rooms,
        changes: RoomChanges,
        writer: Writer,
        lanes: Lanes,
        observers: Observers,
        exports: Exports,
        consents: Consents,
    ) -> None:
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._hooks = hooks
        self._events = events
        self._ledger = ledger
        self._rights_signals = rights_signals
        self._channels = channels
        self._receipts = WaitingReceipts(store, channels)
        self._rooms = rooms
        self._changes = changes
        self._writer = writer
        self._lanes = lanes
        self._observers = observers
        self.exports = exports
        self._consents = consents

    async def set_retention(self, room_id: str, seconds: float | None) -> Room:
        """Keep a room's events for so long from now on. Raises RoomNotFoundError."""
        return await self._rooms.set_retention(room_id, seconds)

    async def count_older(self, room_id: str, seconds: float) -> tuple[int, int]:
        """Return how many of a room's events are older than so many seconds, and how many there are.

        So many go when `set_retention` sets that term now. Raises RoomNotFoundError.
        """
        store = self._store
        await self._changes.room(room_id)
        before = self._clock.now() - timedelta(seconds=seconds)
        older, after_index = 0, -1
        while page := await store.list_events(room_id, limit=_PAGE, after_index=after_index):
            older += sum(event.created_at < before for event in page)
            after_index = page[-1].index
            if page[-1].created_at >= before:
                break
        return older, await store.get_event_count(room_id)

    # -- a room -------------------------------------------------------------------------------

    async def erase_room(self, room_id: str, *, organization_id: str | None = None) -> ErasureReceipt:
        """Remove a room and all that belongs to it."""
        book = ReceiptBook("room", self._clock.now())
        room = await self._store.get_room(room_id, organization_id=organization_id)
        if room is not None and room.merged_into is not None:
            room_id = (await followed(self._store, room)).id
        record = None if room is None else await self._store.load(room_id)
        if record is not None:
            channel_ids = tuple(record.bindings)
            counts = await self._count(record)
            if await self._rooms.delete(room_id):
                book.retained += BEYOND_A_ROOM
                book.under_way(self._abandon(room_id, channel_ids), room_id)
                for kind, count in counts.items():
                    book.erase(kind, "removed", room_id, count)
        return book.closed(self._clock.now())

    async def count_room(
        self, room_id: str, *, organization_id: str | None = None
    ) -> Mapping[ExportKind, int]:
        """Return how many records of each kind `erase_room` would remove now; none of an unknown room."""
        room = await self._store.get_room(room_id, organization_id=organization_id)
        record = None if room is None else await self._store.load(room_id)
        return {} if record is None else await self._count(record)

    async def _count(self, record: RoomRecord) -> dict[ExportKind, int]:
        store, room_id = self._store, record.room_id
        return {
            "room": 1,
            "binding": len(record.bindings),
            "participant": len(record.participants),
            "event": await store.get_event_count(room_id),
            "delivery": await _number(deliveries_of(store, room_id)),
            "task": len(await store.list_tasks(room_id)),
            "observation": len(await store.list_observations(room_id)),
            "read_mark": len(await store.list_read_marks(room_id)),
            "timer": len(await store.list_timers(room_id)),
            "value": await _number(room_values_of(store, room_id)),
        }

    def _abandon(self, room_id: str, channel_ids: Iterable[str]) -> list[str]:
        """Release the jobs in the lanes of a deleted room; return the deliveries that cannot be recalled."""
        sending: list[str] = []  # bound: the room's lanes
        for lane in self._lanes_of(room_id, channel_ids):
            while lane.queue:
                self._lanes.executor.abandon(lane.queue.popleft())
            sending += _stopped(lane)
        return sending

    def _lanes_of(self, room_id: str, channel_ids: Iterable[str]) -> list[Lane]:
        lanes = [self._lanes.get(room_id, channel_id) for channel_id in channel_ids]
        return [lane for lane in lanes if lane is not None]

    # -- a person -----------------------------------------------------------------------------

    async def erase_person(
        self,
        *,
        identity_id: str | None = None,
        participant_id: str | None = None,
        organization_id: str | None = None,
        watch: Callable[[str], object] | None = None,
        suppression: Suppression = "keep",
    ) -> ErasureReceipt:
        """Redact a person's words and remove the person, room by room.

        Records that lead to others are erased last, so that a second call finishes an interrupted one.
        `watch` is called with the room's id after each page of events.
        """
        book = ReceiptBook("person", self._clock.now(), watch)
        person = await find_person(
            self._store,
            identity_id=identity_id,
            participant_id=participant_id,
            organization_id=organization_id,
        )
        done = set(person.linking)  # bound: the person's rooms
        for room_id in person.others:
            done.add(room_id)
            await self._erase_in_room(person, room_id, book)
        await self._erase_where_bound(person, done, book)
        await self._erase_receipts(person, book)
        if person.identity is not None and await self._store.delete_identity(person.identity.id):
            book.erase("identity", "removed", None, 1)
        for room_id in person.linking:
            await self._erase_in_room(person, room_id, book)
        await self._erase_where_bound(person, done, book)
        for subject in sorted(person.subjects):
            found = await self._store.delete_values_of(subject, organization_id=person.organization_id)
            book.erase("value", "removed", None, found)
            found = await self._store.delete_timers_of(subject, organization_id=person.organization_id)
            book.erase("timer", "removed", None, found)
        await self._settle_suppressions(person, book, suppression)
        if not book.is_empty:
            book.retained += BEYOND_A_PERSON
            self._events.emit("person_erased", receipt_id=book.id)
        return book.closed(self._clock.now())

    async def _settle_suppressions(self, person: Person, book: ReceiptBook, suppression: Suppression) -> None:
        """Keep the revocations of the person's addresses, which hold no name, or forget them on request."""
        addresses = [(kind, address) for kind, address in person.addresses if kind is not None]
        if suppression == "forget":
            for kind, address in addresses:
                found = await self._consents.forget(kind, address, person.organization_id)
                book.erase("value", "removed", None, found)
        else:
            book.suppressed(await self._consents.count_revocations(addresses, person.organization_id))

    async def count_person(
        self,
        *,
        identity_id: str | None = None,
        participant_id: str | None = None,
        organization_id: str | None = None,
        watch: Callable[[str], object] | None = None,
    ) -> Mapping[ExportKind, int]:
        """Return how many records of each kind `erase_person` would touch now; `room` are those it goes to.

        At least: rooms that know the person by a binding alone are found one by one while they are erased,
        and receipts that wait for their delivery are not counted.
        """
        person = await find_person(
            self._store,
            identity_id=identity_id,
            participant_id=participant_id,
            organization_id=organization_id,
        )
        counts: Counter[ExportKind] = Counter()
        room_ids = (*person.others, *person.linking, *await person.rooms_of_bindings())
        for room_id in dict.fromkeys(room_ids):
            counts += await self._count_in_room(_Walk(person, room_id), watch)
        if person.identity is not None:
            counts["identity"] = 1
        for subject in person.subjects:  # after the rooms: they know further addresses
            found = values_of(self._store, subject, person.organization_id)
            counts["value"] += await _number(found)
        return +counts

    async def _count_in_room(self, walk: _Walk, watch: Callable[[str], object] | None) -> Counter[ExportKind]:
        record = await self._store.load(walk.room_id)
        if record is None:  # deleted since
            return Counter()
        place = walk.person.place_in(record)
        while not walk.is_over:
            page = await self._store.list_events(walk.room_id, limit=_PAGE, after_index=walk.after_index)
            for event in page:
                walk.takes(place, event)
            walk.after_index = page[-1].index if page else walk.after_index
            walk.is_over = len(page) < _PAGE
            if watch is not None:
                watch(walk.room_id)
        found: Counter[ExportKind] = Counter()
        found["event"] = walk.count
        found["participant"] = len(place.participants)
        found["binding"] = len(place.own_bindings)
        found["value"] = await self._count_derived(walk.room_id) if walk.count else 0
        found["room"] = int(any(found.values()))
        return found

    async def _erase_where_bound(self, person: Person, done: set[str], book: ReceiptBook) -> None:
        """Erase in rooms that know the person by a binding alone; each one found hides older ones."""
        while fresh := [each for each in await person.rooms_of_bindings() if each not in done]:
            for room_id in fresh:
                done.add(room_id)
                await self._erase_in_room(person, room_id, book)

    async def _erase_in_room(self, person: Person, room_id: str, book: ReceiptBook) -> None:
        """Erase page by page, each in a tenure of the room's lock; the participants go with the last."""
        walk = _Walk(person, room_id)
        while not walk.is_over:
            try:
                await self._writer.exclusively(room_id, partial(self._erase_page, walk, book))
            finally:
                taken, walk.taken = walk.taken, []
                _once_free(partial(self._skip, taken))
            if book.watch is not None:
                book.watch(room_id)
        book.amended_by_them(walk.amended, room_id)
        for binding, event in walk.detached:
            await self._tell_detached(binding, event)

    async def _erase_page(self, walk: _Walk, book: ReceiptBook) -> None:
        store = self._store
        record = await store.load(walk.room_id)
        if record is None:  # deleted in between
            walk.is_over = True
            return
        await self._ledger.flush()  # deliveries already sent must not be recorded as skipped
        place = walk.person.place_in(record)
        lanes = self._lanes_of(walk.room_id, tuple(record.bindings))
        page = await store.list_events(walk.room_id, limit=_PAGE, after_index=walk.after_index)
        walk.redacted = {event.id: event for event in page if walk.takes(place, event)}
        commit = QuietCommit(room_id=walk.room_id, at=self._clock.now(), redact=tuple(walk.redacted))
        walk.after_index = page[-1].index if page else walk.after_index
        walk.is_over = len(page) < _PAGE
        if walk.is_over:
            # Before the commit, which removes the keys that lead to the addresses.
            await self._erase_receipts(walk.person, book)
            await self._add_last(commit, place, walk)
        if _says_something(commit):
            await self._commit(commit, walk, lanes, book)
            if walk.is_over:
                await self._erase_late(place, walk, lanes, book)

    async def _erase_receipts(self, person: Person, book: ReceiptBook) -> None:
        book.erase("receipt", "removed", None, await self._receipts.erase(person))

    async def _erase_late(self, place: Place, walk: _Walk, lanes: Sequence[Lane], book: ReceiptBook) -> None:
        """Erase concurrent writes, from a worker whose locks are not ours.

        From the last commit on, whatever such a worker had planned before is stale to the store.
        """
        store = self._store
        late = await store.list_events(walk.room_id, limit=_PAGE, after_index=walk.after_index)
        walk.redacted = {event.id: event for event in late if walk.takes(place, event)}
        if walk.redacted:
            redact, at = tuple(walk.redacted), self._clock.now()
            commit = QuietCommit(room_id=walk.room_id, at=at, redact=redact)
            await self._commit(commit, walk, lanes, book)

    async def _add_last(self, commit: Commit, place: Place, walk: _Walk) -> None:
        """Add the person's other records, beside events, to the last commit of a room.

        A channel that was there to reach the person is unbound: one without a recipient would fail with
        every message. Agents stay, without the data they were given about the person.
        """
        store, room_id = self._store, walk.room_id
        own = place.own_bindings
        transports = [binding for binding in own if binding.category is not ChannelCategory.INTELLIGENCE]
        commit.remove_participants = tuple(place.participants)
        commit.participants = _without_candidate(place)
        commit.unbind = [binding.channel_id for binding in transports]
        told = [*(binding for binding in own if binding not in transports), *place.mentioning_bindings]
        commit.bindings = [_told_nothing(binding, place) for binding in told]
        commit.tasks = [
            _redacted(task)
            for task in await store.list_tasks(room_id)
            if task.title != ERASED and place.is_about(task, walk.gone)
        ]
        commit.observations = [
            observation.replace(content=ERASED, metadata=EMPTY).without_unknown()
            for observation in await store.list_observations(room_id)
            if observation.content != ERASED and place.is_about(observation, walk.gone)
        ]
        if _says_something(commit) or walk.count:
            state = place.record.room.state
            if (after := without_derived(state)) != state:
                commit.room_changes = {**(commit.room_changes or {}), "state": after}
            notes = [_detached_note(binding) for binding in transports]
            walk.detached = list(zip(transports, notes, strict=True))
            notes.append(_erased_note(room_id, walk.count))
            commit.entries = [Entry(each) for each in notes]

    async def _waiting(self, commit: Commit, lanes: Iterable[Lane]) -> list[Delivery]:
        """Return the pending rows that the commit leaves without a purpose, and that no lane here has."""
        here = {job.delivery_id for lane in lanes for job in _jobs(lane)}
        waiting: list[Delivery] = []  # bound: the room's pending deliveries
        after: str | None = None
        while page := await self._store.list_deliveries(
            commit.room_id, state=DeliveryState.PENDING, limit=_PAGE, after=after
        ):
            waiting += [
                row
                for row in page
                if (row.event_id in commit.redact or row.channel_id in commit.unbind) and row.id not in here
            ]
            after = page[-1].id
        return waiting

    async def _count_derived(self, room_id: str) -> int:
        """Return how many values were made from what the room holds: they go when any of it is redacted."""
        return sum([value.derived async for value in room_values_of(self._store, room_id)])

    async def _commit(self, commit: Commit, walk: _Walk, lanes: Sequence[Lane], book: ReceiptBook) -> None:
        waiting = await self._waiting(commit, lanes)
        commit.completed = [_skipped(row, commit.at) for row in waiting]
        walk.derived = await self._count_derived(commit.room_id) if commit.redact else 0
        deferred = {place for lane in lanes for place in lane.deferred}  # not begun
        held = [
            row.id
            for row in waiting
            if row.holder is not None and (row.channel_id, row.event_index) not in deferred
        ]
        try:
            await self._supervisor.complete(self._store.commit(commit), "erasure")
        except Interrupted:
            self._call_back(commit, walk, lanes, book)
            raise
        self._call_back(commit, walk, lanes, book)
        book.under_way(held, commit.room_id)

    def _call_back(self, commit: Commit, walk: _Walk, lanes: Iterable[Lane], book: ReceiptBook) -> None:
        """Remove the erased deliveries from the lanes; still under the lock, so none is missed.

        Recipients that have not seen one of the events yet get its redacted form.
        """
        book.note(commit)
        book.erase("value", "removed", commit.room_id, walk.derived)
        for lane in lanes:
            is_unbound = lane.key[1] in commit.unbind
            for job in _jobs(lane):
                event = walk.redacted.get(job.run.event.id)
                if event is None and not is_unbound:
                    continue
                if event is not None:
                    job.run.event = event.redacted(commit.at)
                if job is lane.busy:
                    book.under_way(_stopped(lane), commit.room_id)
                elif job.recipient is None:  # else it was shown already, as it came
                    lane.queue.remove(job)
                    walk.taken.append(job)
                    book.erase("delivery", "skipped", commit.room_id, 1, (job.delivery_id,))

    def _skip(self, taken: Sequence[Job]) -> None:
        for job in taken:
            self._lanes.executor.skip(job, ERASED)

    async def _tell_detached(self, binding: ChannelBinding, event: RoomEvent) -> None:
        room_id = binding.room_id
        self._events.emit("room_channel_detached", room_id=room_id, channel_id=binding.channel_id)
        self._rights_signals.announce(room_id)
        channel = self._channels.get(binding.channel_id)
        if channel is not None:
            gone = binding.replace(access=Access.NONE)
            await self._observers.afterwards(
                partial(channel.update_binding, room_id, gone), f"binding of {binding.channel_id}"
            )
        if self._hooks.has_hooks(HookTrigger.ON_CHANNEL_DETACHED, room_id):
            await self._observers.afterwards(
                partial(self._observe_detached, event), "observers of an erasure"
            )

    async def _observe_detached(self, event: RoomEvent) -> None:
        record = await self._store.load(event.room_id, recent=RECENT_EVENTS)
        if record is not None:
            await self._observers.observe(
                HookTrigger.ON_CHANNEL_DETACHED, event, record, Cascade(), event.source
            )


@dataclass(slots=True)
class _Walk:
    """One person's events of one room, from the oldest on."""

    person: Person
    room_id: str
    after_index: int = -1
    is_over: bool = False
    count: int = 0
    amended: int = 0
    derived: int = 0
    """Events of others that carry the person's id as who edited or deleted them."""
    gone: set[str] = field(default_factory=set)  # bound: the erased events of the room
    redacted: dict[str, RoomEvent] = field(default_factory=dict)  # bound: one page
    taken: list[Job] = field(default_factory=list)  # bound: jobs queued in the room's lanes
    detached: list[tuple[ChannelBinding, RoomEvent]] = field(default_factory=list)  # bound: the bindings

    def takes(self, place: Place, event: RoomEvent) -> bool:
        """Return whether the event is to be redacted, and remember that it was.

        Beside the person's own: what intelligences answered them, which repeats what they said; and
        edits and deletions of either, by any author, which hold the new words or a reason.
        """
        content = event.content
        if isinstance(content, SystemContent) and content.code == ERASED and event.deleted:
            self.gone.add(event.id)
            return False
        target = content.target_event_id if isinstance(content, EditContent | DeleteContent) else None
        if place.wrote(event) or place.was_answered(event) or target in self.gone:
            self.gone.add(event.id)
            self.count += 1
            return True
        self.amended += event.amendment is not None and event.amendment.amended_by in place.ids
        return False


def _once_free(work: Callable[[], None]) -> None:
    """Run code that may call observers: at once, or from inside a gate when the room's lock is free."""
    gate = innermost_gate()
    if gate is not None and gate.after is not None:
        gate.after.append(work)
    else:
        work()


async def _number(records: AsyncIterator[object]) -> int:
    number = 0
    async for _ in records:
        number += 1
    return number


def _jobs(lane: Lane) -> list[Job]:
    jobs = [each for each in lane.queue if isinstance(each, Job)]
    return jobs if lane.busy is None else [lane.busy, *jobs]


def _stopped(lane: Lane) -> list[str]:
    """End an agent's turn; return the delivery that cannot be ended: a transport is sending it."""
    if lane.answering:
        lane.interrupt()
        return []
    return [] if lane.busy is None else [lane.busy.delivery_id]


def _says_something(commit: Commit) -> bool:
    return bool(
        commit.redact
        or commit.remove_participants
        or commit.participants
        or commit.unbind
        or commit.bindings
        or commit.tasks
        or commit.observations
        or commit.entries
    )


def _skipped(row: Delivery, at: datetime) -> DeliveryOutcome:
    return row.outcome(state=DeliveryState.SKIPPED, reason=ERASED, finished_at=at)


def _without_candidate(place: Place) -> list[Participant]:
    """Return the others in the room who might have been the person, and now cannot be."""
    identity_id = place.person.identity_id
    return [
        each.replace(candidates=tuple(one for one in each.candidates if one != identity_id) or None)
        for each in place.record.participants.values()
        if each.candidates and identity_id in each.candidates and each.id not in place.participants
    ]


def _told_nothing(binding: ChannelBinding, place: Place) -> ChannelBinding:
    changes: dict[str, Any] = {
        "metadata": place.without_address(binding.metadata),
        "state": place.without_address(binding.state),
        "also": place.of_others(binding.also),
    }
    if binding.participant_id in place.ids:
        changes["participant_id"] = None
    return binding.model_copy(update=changes)


def _redacted(task: Task) -> Task:
    redacted = task.replace(title=ERASED, description=None, assigned_to=None, metadata=EMPTY)
    return redacted.without_unknown()


def _erased_note(room_id: str, events: int) -> RoomEvent:
    body = "what a person had said in the room was erased"
    return note(room_id, EventType.SYSTEM, "person_erased", body, events=events)


def _detached_note(binding: ChannelBinding) -> RoomEvent:
    return note(
        binding.room_id,
        EventType.CHANNEL_DETACHED,
        "channel_detached",
        f"channel {binding.channel_id} was detached",
        channel_id=binding.channel_id,
        reason=ERASED,
    )
