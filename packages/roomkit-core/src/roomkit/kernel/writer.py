"""The one way to write to a timeline: gate, permission, commit, and what goes out from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import (
    DuplicateEventError,
    InvalidInputError,
    LockLostError,
    ProcessTimeoutError,
    RoomNotFoundError,
    StaleRoomError,
)
from roomkit.abc.store import Amend, Commit, Committed, Entry
from roomkit.kernel.alarms import after_broadcast_alarm, after_broadcast_id, timers_alarm
from roomkit.kernel.cascade import Cascade, Run
from roomkit.kernel.deadline import Deadline
from roomkit.kernel.gate_waits import GateWaits
from roomkit.kernel.hooks import GateVerdict, HookRegistration
from roomkit.kernel.lanes import Job, Lane, Lanes
from roomkit.kernel.permissions import amends, may_amend, may_speak, may_write, newcomer, said_by
from roomkit.kernel.plan import Target, recipients
from roomkit.kernel.scope import Work, gate_of, origin, present, working_for
from roomkit.kernel.supervisor import Interrupted
from roomkit.kernel.tracing import under
from roomkit.kernel.view import RECENT_EVENTS, RecordContext
from roomkit.kernel.voices import may_answer
from roomkit.models.content import DeleteContent, EditContent
from roomkit.models.enums import ChannelCategory, EventStatus, HookTrigger, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.task import Observation, Task
from roomkit.models.telemetry import SpanKind
from roomkit.models.values import repaired
from roomkit.models.visibility import narrowest

if TYPE_CHECKING:
    from roomkit.abc.store import RoomRecord
    from roomkit.kernel.parts import Parts
    from roomkit.kernel.settling import Settling
    from roomkit.kernel.streams import Recipient
    from roomkit.kernel.takeover import Takeover
    from roomkit.kernel.tracing import ConfiguredTelemetry
    from roomkit.models.alarm import Alarm
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.hook import InjectedEvent
    from roomkit.models.participant import Participant

__all__ = ["Draft", "Writer", "Written", "injected_entry", "repeated"]

_MAX_REPLANS = 8
_MAX_LOST_LOCKS = 3
_MAX_GATE_DEPTH = 8


@dataclass(slots=True, kw_only=True)
class Draft:
    """What is proposed to a timeline, and how.

    `gated` puts it to the BEFORE_BROADCAST hooks; `answerable` lets intelligences answer it.
    `lifecycle` marks the framework's own notes on the room, which are written whatever its status,
    are no gate's to judge, and count as no activity. `plan` is called with the room under its lock,
    to fill in what depends on it; what it raises reaches the caller, and nothing is stored. `joined` are
    further participants who are the same person.
    `targets` replaces the recipients by channel ids. `before` are such notes that belong right before
    the event. `blocked`, by whom and why, stores it as refused. `injected` are events that gates added
    to it earlier. `streamed` are recipients that have already seen the text. `record` is the room as
    it was loaded for the draft, with `channel_key`: it is good enough where no gate looks at it.
    `channel_key` is the idempotency key by which its channel knows the message in every room, `address`
    the sender as the channel calls them, where the room is to say which participant that is.
    With `streamed`, people have read it already, and its source may have lost its right to write since.
    `visible_to` is whom gates may not widen its visibility beyond. `refused_as` is its content if it is
    stored as refused. `as_shown` keeps the visibility that it was streamed with,
    whatever its source's binding says now. An event that is no `activity` leaves the room's timers alone.
    """

    event: RoomEvent
    cascade: Cascade
    gated: bool = True
    answerable: bool = True
    lifecycle: bool = False
    plan: Callable[[RoomRecord], None] | None = None
    targets: Sequence[str] | None = None
    blocked: tuple[str, str] | None = None
    before: Sequence[RoomEvent] = ()
    participant: Participant | None = None
    joined: Sequence[Participant] = ()
    bindings: Sequence[ChannelBinding] = ()
    unbind: Sequence[str] = ()
    room_changes: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    tasks: Sequence[Task] = ()
    observations: Sequence[Observation] = ()
    alarms: Sequence[Alarm] = ()
    injected: Sequence[InjectedEvent] = ()
    streamed: Mapping[str, Recipient] | None = None
    visible_to: str = "all"
    refused_as: EventContent | None = None
    as_shown: bool = False
    activity: bool = True
    record: RoomRecord | None = None
    channel_key: str | None = None
    address: str | None = None


@dataclass(slots=True)
class Written:
    """What became of a draft. `event` is the stored one; None when nothing was stored."""

    event: RoomEvent | None = None
    blocked: bool = False
    reason: str | None = None
    duplicate: bool = False
    run: Run | None = None


@dataclass(slots=True)
class _Block:
    """Why an event is stored as blocked."""

    by: str
    reason: str


type _Queued = tuple[Run, list[tuple[Job, Lane]]]
"""An event on its way out, and its jobs in their lanes."""

type _After = list[Callable[[], None]]
"""What to start once the room's lock is free, in order."""


class Writer:
    """Commits drafts, one at a time per room, and starts what follows from them."""

    def __init__(self, parts: Parts, lanes: Lanes, settling: Settling) -> None:
        self._parts = parts
        self._lanes = lanes
        self._settling = settling
        self._gate_waits = GateWaits()
        self.takeover: Takeover  # set by the kit: it needs the writer

    async def write(self, draft: Draft, deadline: Deadline | None = None) -> Written:
        """Take a draft through gates, permission and commit, and start its deliveries.

        Returns once it is committed or refused; what it set going is counted in `draft.cascade`.
        Raises RoomNotFoundError, ProcessTimeoutError (nothing was stored), and what the store raises.
        A cancellation that comes before the commit leaves nothing behind; one that comes during it
        is raised after everything that follows from the commit was started.
        """
        work = present()
        if work is not None and work.cascade is not draft.cascade:
            self._inherit(draft)
        if deadline is not None:
            return await self._write(draft, deadline)
        seconds = self._parts.settings.process_timeout
        with Deadline(seconds) as deadline:
            try:
                return await self._write(draft, deadline)
            except (asyncio.CancelledError, TimeoutError) as error:
                if isinstance(error, asyncio.CancelledError) and not deadline.caught():
                    raise
                if isinstance(error, TimeoutError) and not deadline.passed:
                    raise
                raise ProcessTimeoutError(
                    f"an event for room {draft.event.room_id!r} was not committed within {seconds} s; "
                    "nothing was stored"
                ) from None

    def _inherit(self, draft: Draft) -> None:
        """Make what is written from inside a room's work a part of it: of its chain, and its cascade."""
        event, (work, cascade) = draft.event, origin(draft.event.room_id)
        if work is None or work.event is None or cascade is None:
            return
        depth = work.event.chain_depth + work.is_turn
        if event.chain_depth < depth or event.correlation_id is None:
            draft.event = event.replace(
                chain_depth=max(event.chain_depth, depth),
                correlation_id=event.correlation_id or work.event.correlation_id or work.event.id,
            )
        if working_for(event.room_id):  # the caller does not wait, so it needs no cascade of its own
            draft.cascade = cascade
        elif draft.cascade.outer is None and not draft.cascade.pending:
            draft.cascade.outer = cascade

    async def _write(self, draft: Draft, deadline: Deadline) -> Written:
        room_id = draft.event.room_id
        work = present()
        if work is None or not work.in_gate:
            return await self._write_outside(draft, deadline)
        gate = gate_of(room_id)
        if gate is not None:
            return await self._write_inside(gate, draft, deadline)
        with self._gate_waits.waiting(room_id) as got_lock:
            return await self._write_outside(draft, deadline, got_lock)

    async def _write_outside(
        self, draft: Draft, deadline: Deadline, got_lock: Callable[[], None] | None = None
    ) -> Written:
        """Write under the room's lock."""
        room_id = draft.event.room_id
        for attempt in count(1):
            after: _After = []  # bound: the drafts of one lock tenure
            try:
                async with self._parts.locks.locked(room_id) as fence:
                    if got_lock is not None:
                        got_lock()
                    return await self._write_locked(draft, deadline, after, fence)
            except LockLostError:
                # Somebody else had the lock meanwhile, so nothing was committed: once more, gates and all.
                if attempt == _MAX_LOST_LOCKS:
                    raise
                draft.record = None
            finally:
                for start in after:
                    start()
        raise AssertionError("unreachable")

    async def _write_inside(self, gate: Work, draft: Draft, deadline: Deadline) -> Written:
        """Write on behalf of a gate, which holds the room's lock; start nothing before it is free."""
        if gate.depth >= _MAX_GATE_DEPTH:
            raise InvalidInputError(
                f"gates of room {draft.event.room_id!r} write from inside each other {gate.depth} deep: "
                "a BEFORE_BROADCAST hook must not answer every event with another"
            )
        assert gate.turn is not None
        assert gate.after is not None
        async with gate.turn:
            if gate.active:
                return await self._write_locked(draft, deadline, gate.after, gate.fence)
        return await self._write(draft, deadline)

    async def exclusively[T](self, room_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run the kit's own `work` under the room's lock, or in its turn inside the room's gate."""
        gate = gate_of(room_id)
        if gate is not None and gate.turn is not None:
            async with gate.turn:
                if gate.active:
                    return await work()
        with self._gate_waits.waiting(room_id) as got_lock:
            async with self._parts.locks.locked(room_id):
                got_lock()
                return await work()

    # -- under the lock -----------------------------------------------------------------------

    async def _write_locked(
        self, draft: Draft, deadline: Deadline, after: _After, fence: int | None
    ) -> Written:
        parts, event = self._parts, draft.event
        hooks: tuple[HookRegistration, ...] = ()
        if draft.gated and not draft.lifecycle:
            hooks = parts.hooks.select(HookTrigger.BEFORE_BROADCAST, event.room_id, event.source)
        key = event.idempotency_key
        record = draft.record
        if record is None or hooks or (key is not None and key != draft.channel_key):
            record = await self._load(event.room_id, key)
        if key is not None and (first := record.keyed(key)) is not None:
            return repeated(first)
        version = record.version  # before the gates: what they change of the room is planned anew
        reason = await self._refusal(record, draft)
        if reason is not None:
            return Written(blocked=True, reason=reason)
        verdict = await self._gate(record, draft, hooks, deadline, after, fence) if hooks else None
        for _ in range(_MAX_REPLANS):
            try:
                return await self._commit(record, version, draft, verdict, deadline, after, fence)
            except DuplicateEventError as duplicate:
                return self._duplicated(duplicate, draft)
            except StaleRoomError:
                record = await self._load(event.room_id, None)
                version = record.version
                reason = await self._refusal(record, draft)
                if reason is not None:
                    return Written(blocked=True, reason=reason)
                if verdict is not None and verdict.payload.source is not draft.event.source:
                    verdict.payload = verdict.payload.replace(source=draft.event.source)
        raise StaleRoomError(
            f"room {event.room_id!r} changed {_MAX_REPLANS} times while an event was being committed: "
            "try again"
        )

    async def _load(self, room_id: str, key: str | None) -> RoomRecord:
        loading = self._parts.store.load(room_id, recent=RECENT_EVENTS, key=key)
        if self._parts.tracing is not None:
            loading = self._parts.tracing.stored("load", "rooms", loading)
        record = await loading
        if record is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        return record

    async def _refusal(self, record: RoomRecord, draft: Draft) -> str | None:
        """Return why nothing of the draft may be stored, None when it may."""
        if draft.plan is not None:
            draft.plan(record)
        if draft.lifecycle:
            return None
        if not record.status.is_open:
            return f"room_{record.status}"
        event, people = draft.event, record.participants
        source = event.source
        if people and source.participant_id is not None:
            name = draft.address or source.participant_id
            person = people.get(name)
            if (
                person is None
                or source.channel_id not in person.connected_via
                or (draft.address is not None and person.external_id not in (None, name))
            ):
                event = said_by(record, event, name, is_address=draft.address is not None)
                draft.event = event
        reason = None if draft.streamed else may_speak(record, event)
        if reason is not None or not amends(event):
            return reason
        target = await self._parts.store.get_event(getattr(event.content, "target_event_id", ""))
        reason = may_amend(record, event, target)
        if reason is None and target is not None:
            # New words for a whisper are a whisper.
            draft.event = event.replace(visibility=narrowest(event.visibility, target.visibility))
        return reason

    async def _gate(
        self,
        record: RoomRecord,
        draft: Draft,
        hooks: Sequence[HookRegistration],
        deadline: Deadline,
        after: _After,
        fence: int | None,
    ) -> GateVerdict:
        event = draft.event
        with Work(
            event.room_id, is_gate=True, after=after, fence=fence, event=event, cascade=draft.cascade
        ) as work:
            try:
                verdict = await self._parts.hooks.run_gates(hooks, event, RecordContext(record), deadline)
            finally:
                await _end(work)
        if self._parts.events.wants("event_gated"):
            after.append(partial(self._tell_gated, event, verdict))
        # A gate rewrites what is said, not who said it, where, or how deep in a chain.
        if verdict.payload is not event:
            verdict.payload = verdict.payload.replace(
                id=event.id,
                room_id=event.room_id,
                source=event.source,
                index=event.index,
                status=event.status,
                chain_depth=event.chain_depth,
                idempotency_key=event.idempotency_key,
            )
        return verdict

    def _tell_gated(self, event: RoomEvent, verdict: GateVerdict) -> None:
        self._parts.events.emit(
            "event_gated",
            room_id=event.room_id,
            channel_id=event.source.channel_id,
            event_id=event.id,
            verdicts=[
                {"hook": hook, "verdict": action, "duration_ms": milliseconds}
                for hook, action, milliseconds in verdict.ran
            ],
        )

    def _block(
        self,
        record: RoomRecord,
        event: RoomEvent,
        binding: ChannelBinding | None,
        verdict: GateVerdict | None,
    ) -> _Block | None:
        if verdict is not None and not verdict.allowed:
            return _Block(repaired(verdict.blocked_by or ""), repaired(str(verdict.reason or "blocked")))
        denied = may_write(binding)
        if denied is not None:
            return _Block(denied, denied)
        if event.chain_depth >= self._parts.settings.max_chain_depth and event.chain_depth > 0:
            return _Block("event_chain_depth_limit", "event_chain_depth_limit")
        return None

    async def _commit(
        self,
        record: RoomRecord,
        version: int,
        draft: Draft,
        verdict: GateVerdict | None,
        deadline: Deadline,
        after: _After,
        fence: int | None,
    ) -> Written:
        parts = self._parts
        event = draft.event if verdict is None else verdict.payload
        binding = record.bindings.get(event.source.channel_id)
        block = None
        if draft.blocked is not None:
            block = _Block(*draft.blocked)
        elif not draft.lifecycle:
            block = self._block(record, event, None if draft.streamed else binding, verdict)
        targets: list[Target] = []  # bound: the room's bindings
        if block is not None:
            event = event.replace(status=EventStatus.BLOCKED, blocked_by=block.by, block_reason=block.reason)
            if draft.refused_as is not None:
                event = event.replace(content=draft.refused_as)
        else:
            if binding is not None and binding.visibility != "all" and not draft.as_shown:
                event = event.replace(visibility=narrowest(event.visibility, binding.visibility))
            if draft.visible_to != "all":
                event = event.replace(visibility=narrowest(event.visibility, draft.visible_to))
            if draft.targets is not None:
                targets = [
                    Target(record.bindings[channel_id], parts.channels.get(channel_id))
                    for channel_id in draft.targets
                    if channel_id in record.bindings
                ]
            elif not draft.lifecycle:
                targets = recipients(
                    record,
                    parts.channels,
                    event,
                    parts.settings.agent_response_policy,
                    answerable=draft.answerable,
                )
        injected = draft.injected if verdict is None else (*draft.injected, *verdict.injected_events)
        span: str | None = None
        if parts.tracing is not None and not draft.lifecycle:
            span, event, injected = _broadcast(parts.tracing, event, injected)
        try:
            commit = self._assemble(record, version, draft, event, block, targets, injected, verdict)
        except Exception as error:
            self._broken_off(span, error)
            raise
        commit.fence = fence
        # From here on nothing is taken back: neither the deadline nor a cancellation may cut it.
        if deadline.close():
            raise TimeoutError
        parts.ledger.ride(commit)
        while True:
            work = parts.store.commit(commit)
            if parts.tracing is not None:
                work = _traced_commit(parts.tracing, event, work)
            try:
                committed = await parts.supervisor.complete(work, "commit")
                break
            except Interrupted as interrupted:
                self._follow(record, draft, commit, interrupted.result, block, targets, injected, after, span)
                raise
            except InvalidInputError as error:
                # Nothing was written. It may be about other rooms' outcomes that rode along.
                if parts.ledger.let_off(commit):
                    continue
                self._broken_off(span, error)
                raise
            except BaseException as error:
                self._broken_off(span, error)
                parts.ledger.put_back(commit)
                parts.lease.doubt(error)
                raise
        return self._follow(record, draft, commit, committed, block, targets, injected, after, span)

    def _broken_off(self, span: str | None, error: BaseException) -> None:
        """End the span of a broadcast that does not come about."""
        if self._parts.tracing is not None and span is not None:
            self._parts.tracing.end_span(span, status="error", error_message=type(error).__name__)

    def _assemble(
        self,
        record: RoomRecord,
        version: int,
        draft: Draft,
        event: RoomEvent,
        block: _Block | None,
        targets: Sequence[Target],
        injected: Sequence[InjectedEvent],
        verdict: GateVerdict | None,
    ) -> Commit:
        at = self._parts.clock.now()
        channel_ids = [target.binding.channel_id for target in targets]
        spans_rooms = draft.channel_key is not None and event.idempotency_key == draft.channel_key
        entries = [Entry(event, channel_ids, spans_rooms)]  # bound: one event and what hooks inject
        if draft.before and block is None:
            entries = [*(Entry(note) for note in draft.before), *entries]
        for injection in injected:
            entries.append(injected_entry(record, event.room_id, injection))
        participants: tuple[Participant, ...] = ()
        amend = None
        if block is None:
            person = draft.participant or newcomer(
                record, event, record.bindings.get(event.source.channel_id), at, draft.address
            )
            participants = (person, *draft.joined) if person is not None else ()
            amend = _amend(event)
        tasks, observations = draft.tasks, draft.observations
        if verdict is not None:
            tasks = (*tasks, *verdict.tasks)
            observations = (*observations, *verdict.observations)
        if block is not None and block.by == "event_chain_depth_limit":
            observations = (*observations, self._too_deep(event))
        room_changes = draft.room_changes
        alarms = draft.alarms
        is_activity = block is None and draft.activity and not draft.lifecycle
        if record.status is RoomStatus.PAUSED and is_activity:
            room_changes = {**(room_changes or {}), "status": RoomStatus.ACTIVE}
            alarms = (*alarms, *_timers_again(record, at))
        worker_id = self._parts.lease.worker_id
        absent: Sequence[str] = ()
        if worker_id is not None:
            known = self._parts.channels
            absent = [
                channel_id for entry in entries for channel_id in entry.targets if channel_id not in known
            ]
        if worker_id is not None and self._parts.hooks.has_hooks(HookTrigger.AFTER_BROADCAST, event.room_id):
            alarms = (
                *alarms,
                *(after_broadcast_alarm(entry.event) for entry in entries if _is_broadcast(entry.event)),
            )
        return Commit(
            room_id=event.room_id,
            entries=entries,
            at=at,
            expected_version=version,
            worker_id=worker_id,
            alarms=alarms,
            participants=participants,
            bindings=draft.bindings,
            unbind=draft.unbind,
            room_changes=room_changes,
            metadata=draft.metadata,
            amend=amend,
            tasks=tasks,
            observations=observations,
            absent=absent,
            activity=is_activity,
        )

    def _too_deep(self, event: RoomEvent) -> Observation:
        return Observation(
            id=f"obs_{event.id}",
            room_id=event.room_id,
            channel_id=event.source.channel_id,
            content="an answer was too deep in a chain of answers",
            category="event_chain_depth_exceeded",
            created_at=self._parts.clock.now(),
            metadata={
                "chain_depth": event.chain_depth,
                "max_chain_depth": self._parts.settings.max_chain_depth,
                "source_channel": event.source.channel_id,
            },
        )

    def _follow(
        self,
        record: RoomRecord,
        draft: Draft,
        commit: Commit,
        committed: Committed,
        block: _Block | None,
        targets: Sequence[Target],
        injected: Sequence[InjectedEvent],
        after: _After,
        span: str | None,
    ) -> Written:
        """Queue what follows from a commit; still under the lock, so that lanes keep its order."""
        if commit.bindings or commit.unbind or commit.room_changes:
            self._end_turns(commit)
        stored, elsewhere = committed.events, committed.elsewhere
        place = len(stored) - 1 - len(injected)
        event = stored[place]
        runs = [
            self._queue(draft.cascade, record, event, targets, draft.streamed, committed, commit.worker_id)
        ]
        runs[0][0].span = span
        for entry, extra in zip(commit.entries[place + 1 :], stored[place + 1 :], strict=True):
            found = [_target(record, self._parts, channel_id) for channel_id in entry.targets]
            runs.append(self._queue(draft.cascade, record, extra, found, None, committed, commit.worker_id))
        if commit.alarms:
            set_ones = {alarm.id for alarm in commit.alarms}
            for run, _ in runs:
                alarm_id = after_broadcast_id(run.event.id)
                run.alarm_id = alarm_id if alarm_id in set_ones else None
        if elsewhere:
            after.append(partial(self.takeover.wake, record.room_id, _claimers(committed, commit.absent)))
        if commit.completed or commit.alarms_done:
            after.append(partial(self._parts.ledger.written, committed.completed))
        written = Written(
            event, block is not None, block.reason if block is not None else None, run=runs[0][0]
        )
        after.append(partial(self._launch, written, draft, commit, record, runs))
        return written

    def _end_turns(self, commit: Commit) -> None:
        """End the turns of those who lost their voice, or the room, by a commit."""
        room_id, status = commit.room_id, (commit.room_changes or {}).get("status")
        if status is not None and not status.is_open:
            self._lanes.end_turns(room_id, f"room_{status}")
        for channel_id in commit.unbind:
            self._lanes.end_turns(room_id, "detached", of=channel_id)
        for binding in commit.bindings:
            if may_answer(binding) is not None:
                self._lanes.end_turns(room_id, binding.mute_reason or "muted", of=binding.channel_id)
            else:
                self._lanes.narrow(binding)

    def _queue(
        self,
        cascade: Cascade,
        record: RoomRecord,
        event: RoomEvent,
        targets: Sequence[Target],
        streamed: Mapping[str, Recipient] | None,
        committed: Committed,
        worker_id: str | None,
    ) -> _Queued:
        elsewhere = committed.elsewhere
        every = len(targets)
        if elsewhere:
            targets = [
                target for target in targets if f"{event.id}:{target.binding.channel_id}" not in elsewhere
            ]
        run = Run(cascade, event, record, [target.binding.channel_id for target in targets])
        run.elsewhere = len(targets) < every
        cascade.hold()
        jobs: list[tuple[Job, Lane]] = []  # bound: the targets
        for target in targets:
            recipient = streamed.get(target.binding.channel_id) if streamed else None
            job = Job(run, target, recipient)
            job.worker_id = worker_id
            jobs.append((job, self._lanes.enqueue(job)))
        return run, jobs

    # -- after the lock -----------------------------------------------------------------------

    def _launch(
        self,
        written: Written,
        draft: Draft,
        commit: Commit,
        record: RoomRecord,
        runs: Sequence[_Queued],
    ) -> None:
        event = written.event
        assert event is not None
        for _, jobs in runs:
            if jobs:
                self._lanes.start(event.room_id, jobs)
        cascade, settling = draft.cascade, self._settling
        if commit.tasks or commit.observations:
            settling.side_effects(event, commit.tasks, commit.observations, record, cascade)
        if written.blocked:
            self._tell_blocked(event)
        elif not draft.lifecycle and (commit.room_changes or {}).get("status") is RoomStatus.ACTIVE:
            self._parts.events.emit("room_resumed", room_id=event.room_id)
        for run, _ in runs:
            settling.launched(run)

    def _tell_blocked(self, event: RoomEvent) -> None:
        details = {"room_id": event.room_id, "channel_id": event.source.channel_id, "event_id": event.id}
        self._parts.events.emit(
            "event_blocked", **details, reason=event.block_reason, blocked_by=event.blocked_by
        )
        if event.blocked_by == "event_chain_depth_limit":
            self._parts.events.emit(
                "chain_depth_exceeded",
                **details,
                chain_depth=event.chain_depth,
                max_chain_depth=self._parts.settings.max_chain_depth,
            )

    @staticmethod
    def _duplicated(duplicate: DuplicateEventError, draft: Draft) -> Written:
        first, event = duplicate.event, draft.event
        key = event.idempotency_key
        same_key = key is not None and first.idempotency_key == key
        if first.room_id == event.room_id and (first.id == event.id or same_key):
            return repeated(first)
        if same_key and key == draft.channel_key and first.id != event.id:
            return repeated(first)
        if first.id == event.id:
            raise InvalidInputError(
                f"the event id {event.id!r} is taken in another room: ids are unique over all rooms, "
                "so let RoomEvent make them"
            ) from duplicate
        raise InvalidInputError(
            f"a hook injected the event {first.id!r}, which the timeline holds already: "
            "make a new RoomEvent for each injection"
        ) from duplicate


def repeated(first: RoomEvent) -> Written:
    """Return the first result for a message that came again."""
    return Written(first, first.status is EventStatus.BLOCKED, first.block_reason, duplicate=True)


def _amend(event: RoomEvent) -> Amend | None:
    content = event.content
    by = event.source.participant_id or event.source.channel_id
    if isinstance(content, EditContent):
        return Amend(content.target_event_id, content.new_content, by)
    if isinstance(content, DeleteContent):
        return Amend(content.target_event_id, None, by)
    return None


def injected_entry(record: RoomRecord, room_id: str, injection: InjectedEvent) -> Entry:
    """Return what a hook adds, to be committed for the transports it names. Raises InvalidInputError."""
    event = injection.event
    if event.room_id != room_id:
        raise InvalidInputError(
            f"a hook of room {room_id!r} injected an event for room {event.room_id!r}: "
            "a hook adds only to the room it was called for; use send_event for others"
        )
    wanted = [record.bindings.get(channel_id) for channel_id in injection.target_channel_ids or ()]
    return Entry(
        event,
        [
            binding.channel_id
            for binding in wanted
            if binding is not None and binding.category is not ChannelCategory.INTELLIGENCE
        ],
    )


def _broadcast(
    tracing: ConfiguredTelemetry, event: RoomEvent, injected: Sequence[InjectedEvent]
) -> tuple[str, RoomEvent, Sequence[InjectedEvent]]:
    """Open the span of an event's commit and all that follows; name it in what is to be stored."""
    span, below = tracing.open(
        SpanKind.BROADCAST,
        SpanKind.BROADCAST.value,
        room_id=event.room_id,
        channel_id=event.source.channel_id,
    )
    place = {"trace_parent": below.trace_parent}
    with_place = [replace(each, event=each.event.replace(**place)) for each in injected]
    return span, event.replace(**place), with_place


async def _traced_commit(
    tracing: ConfiguredTelemetry, event: RoomEvent, work: Awaitable[Committed]
) -> Committed:
    if event.trace_parent is None:  # a note of the framework's own: it is part of what made it
        return await tracing.stored("commit", "events", work)
    with under(event.trace_parent):
        return await tracing.stored("commit", "events", work)


def _is_broadcast(event: RoomEvent) -> bool:
    return event.status is not EventStatus.BLOCKED and event.visibility != "internal"


def _timers_again(record: RoomRecord, at: datetime) -> Sequence[Alarm]:
    """Return the alarm of a paused room that somebody writes to: it may be idle again before long."""
    room = record.room
    active = room.replace(status=RoomStatus.ACTIVE, timers=room.timers.replace(last_activity_at=at))
    alarm = timers_alarm(room, active.next_due)
    return () if alarm is None else (alarm,)


def _claimers(committed: Committed, absent: Collection[str]) -> set[str | None]:
    """Return the workers that are to claim what a commit left to others; None is any worker.

    Nobody is called for what waits for a worker that has its channel.
    """
    missing = {f"{event.id}:{channel_id}" for event in committed.events for channel_id in absent}
    return {
        holder
        for delivery_id, holder in committed.elsewhere.items()
        if holder is not None or delivery_id not in missing
    }


def _target(record: RoomRecord, parts: Parts, channel_id: str) -> Target:
    return Target(record.bindings[channel_id], parts.channels.get(channel_id))


async def _end(work: Work) -> None:
    """Take a gate's right to write away, after whoever is using it just now.

    Not even a cancellation comes between: a child would go on writing under a lock that is free.
    """
    assert work.turn is not None
    cancelled: asyncio.CancelledError | None = None
    while work.turn.locked():
        try:
            async with work.turn:
                break
        except asyncio.CancelledError as error:
            cancelled = error
    work.active = False
    if cancelled is not None:
        raise cancelled
