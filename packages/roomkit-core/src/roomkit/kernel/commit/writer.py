"""The one way to write to a timeline: gates, permission, commit; a dispatcher takes it from there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import (
    DuplicateEventError,
    InvalidInputError,
    LockLostError,
    ProcessTimeoutError,
    RoomNotFoundError,
    StaleRoomError,
)
from roomkit.kernel.commit.attempt import assemble
from roomkit.kernel.commit.gate_waits import GateWaits
from roomkit.kernel.flow.context import RECENT_EVENTS, RecordContext
from roomkit.kernel.flow.draft import Written, repeated
from roomkit.kernel.flow.permissions import amends, newcomer
from roomkit.kernel.runtime.deadline import Cause, Deadline, Expiry, cause_of
from roomkit.kernel.runtime.scope import Work, check_committed, gate_of, origin, present, working_for
from roomkit.kernel.runtime.supervisor import Interrupted
from roomkit.kernel.runtime.tracing import under
from roomkit.models.enums import HookTrigger
from roomkit.models.media import MEDIA_TYPES
from roomkit.models.telemetry import SpanKind

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from roomkit.abc.clock import Clock
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.store import Commit, Committed, ConversationStore, RoomRecord
    from roomkit.kernel.commit.attempt import Attempt
    from roomkit.kernel.commit.departures import After, Departures
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.planner import CommitPlanner
    from roomkit.kernel.commit.registrations import HookRegistration
    from roomkit.kernel.commit.verdicts import GateVerdict
    from roomkit.kernel.flow.draft import Draft
    from roomkit.kernel.media.files import Files
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.tracing import ConfiguredTelemetry
    from roomkit.models.base import Json
    from roomkit.models.event import EventSource, RoomEvent
    from roomkit.models.options import KitOptions

__all__ = ["Writer"]

_MAX_REPLANS = 8
_MAX_LOST_LOCKS = 3
_MAX_GATE_DEPTH = 8


@dataclass(slots=True)
class _Tenure:
    """One holding of a room's lock: by when to commit, what to start after it, and the lock's fence.

    `is_turn`: it is the turn of this process only, and other workers may write to the room as well.
    """

    deadline: Deadline
    after: After
    fence: int | None
    is_turn: bool = False


class _NeedsLock(Exception):  # no error: the draft is written again, under the lock
    """A draft that was begun in the turn of this process has to exclude the other workers."""


class Writer:
    """Commits drafts, one at a time per room, and hands committed events on to the dispatcher."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        locks: RoomLockManager,
        tracing: ConfiguredTelemetry | None,
        clock: Clock,
        supervisor: Supervisor,
        hooks: HookEngine,
        events: FrameworkEvents,
        lease: Lease,
        ledger: OutcomeWriter,
        channels: Channels,
        planner: CommitPlanner,
        departures: Departures,
        files: Files,
    ) -> None:
        self._settings = settings
        self._store = store
        self._locks = locks
        self._tracing = tracing
        self._clock = clock
        self._supervisor = supervisor
        self._hooks = hooks
        self._events = events
        self._lease = lease
        self._ledger = ledger
        self._channels = channels
        self._planner = planner
        self._departures = departures
        self._files = files
        self._gate_waits = GateWaits()
        self._expiry = Expiry()
        self._is_shared = not locks.is_process_local

    async def write(self, draft: Draft, deadline: Deadline | None = None) -> Written:
        """Take a draft through gates, permission and commit, and start its deliveries.

        Returns once it is committed or refused; what it set going is counted in `draft.cascade`.
        Raises RoomNotFoundError, ProcessTimeoutError (nothing was stored), and what the store raises.
        A cancellation that comes before the commit leaves nothing behind; one that comes during it
        is raised after everything that follows from the commit was started.
        """
        work = present()
        if work is not None and work.cascade is not draft.cascade:
            check_committed("an event")
            self._inherit(draft)
        in_gate = work is not None and work.in_gate
        write = self._write_in_gate if in_gate else self._write_outside
        if draft.event.content.type in MEDIA_TYPES:
            write = partial(self._write_with_files, write)
        if deadline is not None:
            return await write(draft, deadline)
        seconds = self._settings.process_timeout
        with Deadline(seconds, self._expiry) as deadline:
            try:
                return await write(draft, deadline)
            except (asyncio.CancelledError, TimeoutError) as error:
                if cause_of(error, deadline) is not Cause.LATE:
                    raise
                raise ProcessTimeoutError(
                    f"an event for room {draft.event.room_id!r} was not committed within {seconds} s; "
                    "nothing was stored"
                ) from None

    async def _write_with_files(
        self, write: Callable[[Draft, Deadline], Awaitable[Written]], draft: Draft, deadline: Deadline
    ) -> Written:
        """Write a draft once its files are stored; before the room's lock is taken."""
        draft.event = await self._files.taken_in(draft.event)
        return await write(draft, deadline)

    def _inherit(self, draft: Draft) -> None:
        """Make an event written from inside a room's work part of its chain, and of its cascade."""
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

    async def _write_in_gate(self, draft: Draft, deadline: Deadline) -> Written:
        """Write for a caller that a gate may be waiting for: of this room, or of another one."""
        room_id = draft.event.room_id
        gate = gate_of(room_id)
        if gate is not None:
            return await self._write_inside(gate, draft, deadline)
        with self._gate_waits.waiting(room_id) as got_lock:
            return await self._write_outside(draft, deadline, got_lock)

    async def _write_outside(
        self, draft: Draft, deadline: Deadline, got_lock: Callable[[], None] | None = None
    ) -> Written:
        """Write under the room's lock, or in its turn where that is enough."""
        room_id = draft.event.room_id
        if self._is_shared and got_lock is None and self._is_plain(draft):
            try:
                return await self._write_in_turn(draft, deadline)
            except (_NeedsLock, LockLostError):
                draft.record = None
        for attempt in count(1):
            after: After = []  # bound: the drafts of one lock tenure
            try:
                async with self._locks.locked(room_id) as fence:
                    if got_lock is not None:
                        got_lock()
                    return await self._write_locked(draft, _Tenure(deadline, after, fence))
            except LockLostError:
                # Another holder had the lock in between, so nothing was committed: run it all again.
                if attempt == _MAX_LOST_LOCKS:
                    raise
                draft.record = None
            finally:
                for start in after:
                    start()
        raise AssertionError("unreachable")

    def _is_plain(self, draft: Draft) -> bool:
        """Whether the store's commit alone orders a draft among those of other workers."""
        return not (
            draft.lifecycle
            or draft.plan is not None
            or draft.bindings
            or draft.unbind
            or draft.room_changes
            or draft.metadata
            or draft.state
            or draft.binding_state
            or draft.readdressed
            or draft.participant is not None
            or amends(draft.event)
            or self._hooks.has_hooks(HookTrigger.BEFORE_BROADCAST, draft.event.room_id)
        )

    async def _write_in_turn(self, draft: Draft, deadline: Deadline) -> Written:
        """Write while other workers may write to the room as well; no lock service is asked.

        Raises _NeedsLock, and nothing was stored, if the room has changed since it was loaded, or the
        commit would do more than add the event.
        """
        after: After = []  # bound: one draft
        try:
            async with self._locks.turn(draft.event.room_id) as fence:
                return await self._write_locked(draft, _Tenure(deadline, after, fence, is_turn=True))
        finally:
            for start in after:
                start()

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
                return await self._write_locked(draft, _Tenure(deadline, gate.after, gate.fence))
        return await self._write_in_gate(draft, deadline)

    async def exclusively[T](self, room_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run the kit's own `work` under the room's lock, or in its turn inside the room's gate."""
        return await self._alone(room_id, work, self._locks.locked)

    async def in_turn[T](self, room_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run the kit's own `work` as `exclusively` does, but exclude no other worker."""
        return await self._alone(room_id, work, self._locks.turn)

    async def _alone[T](
        self,
        room_id: str,
        work: Callable[[], Awaitable[T]],
        locked: Callable[[str], AbstractAsyncContextManager[int | None]],
    ) -> T:
        check_committed("a change")
        gate = gate_of(room_id)
        if gate is not None and gate.turn is not None:
            async with gate.turn:
                if gate.active:
                    return await work()
        with self._gate_waits.waiting(room_id) as got_lock:
            async with locked(room_id):
                got_lock()
                return await work()

    async def rehearse(self, draft: Draft, version: int) -> Attempt | None:
        """Judge a draft as `write` would, and store nothing; None if that would refuse or add to it.

        Not under the room's lock: it may change during the call. `version` is the one of the draft's record.
        """
        record = draft.record
        assert record is not None
        planned = await self._planner.planned(record, draft)
        if isinstance(planned, Written):
            return None
        event = planned.event
        binding = record.bindings.get(event.source.channel_id)
        if newcomer(record, event, binding, self._clock.now(), draft.address) is not None:
            return None
        hooks = self._hooks.select(HookTrigger.BEFORE_BROADCAST, event.room_id, event.source)
        verdict = None
        if hooks:
            with Deadline(self._settings.process_timeout) as deadline:
                try:
                    verdict = await self._hooks.rehearse(hooks, event, RecordContext(record), deadline)
                except (asyncio.CancelledError, TimeoutError) as error:
                    if cause_of(error, deadline) is not Cause.LATE:
                        raise
                    return None
            verdict.payload = _as_written(verdict.payload, event)
        attempt = self._planner.attempt(record, version, planned, verdict)
        return None if attempt.block is not None else attempt

    async def _write_locked(self, draft: Draft, tenure: _Tenure) -> Written:
        event = draft.event
        hooks: tuple[HookRegistration, ...] = ()
        if draft.gated and not draft.lifecycle:
            hooks = self._hooks.select(HookTrigger.BEFORE_BROADCAST, event.room_id, event.source)
        key = event.idempotency_key
        record, is_recalled = draft.record, draft.recalled is not None
        if record is None or hooks or (key is not None and key != draft.channel_key):
            record, is_recalled = await self._load(event.room_id, key), False
        if key is not None and (first := record.keyed(key)) is not None:
            return repeated(first)
        version = record.version  # before the gates: a change that they make is planned for again
        if draft.recalled is not None and draft.recalled != version:
            raise _outdated(event.room_id)
        planned = await self._planner.planned(record, draft)
        if isinstance(planned, Written):
            if is_recalled:
                raise _outdated(event.room_id)
            return planned
        verdict = await self._gate(record, planned, hooks, tenure) if hooks else None
        seen = _seen(record, version) if verdict is not None and verdict.state else None
        for _ in range(_MAX_REPLANS):
            try:
                attempt = self._planner.attempt(record, version, planned, verdict)
                if tenure.is_turn and self._planner.exceeds_turn(attempt):
                    raise _NeedsLock
                return await self._commit(attempt, tenure)
            except DuplicateEventError as duplicate:
                return _duplicated(duplicate, draft)
            except StaleRoomError:
                if is_recalled:
                    raise
                if tenure.is_turn:
                    raise _NeedsLock from None
                record = await self._load(event.room_id, None)
                version = record.version
                planned = await self._planner.planned(record, draft)
                if isinstance(planned, Written):
                    return planned
                if verdict is not None and verdict.state and verdict.is_outdated(seen, record.room.state):
                    verdict = await self._gate(record, planned, hooks, tenure)
                    seen = _seen(record, version)
                elif verdict is not None and verdict.payload.source is not planned.event.source:
                    source = _source_as_judged(verdict.payload, planned.event)
                    verdict.payload = verdict.payload.replace(source=source)
        raise StaleRoomError(
            f"room {event.room_id!r} changed {_MAX_REPLANS} times while an event was being committed: "
            "try again"
        )

    async def _load(self, room_id: str, key: str | None) -> RoomRecord:
        loading = self._store.load(room_id, recent=RECENT_EVENTS, key=key)
        if self._tracing is not None:
            loading = self._tracing.stored("load", "rooms", loading)
        record = await loading
        if record is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        return record

    async def _gate(
        self, record: RoomRecord, draft: Draft, hooks: Sequence[HookRegistration], tenure: _Tenure
    ) -> GateVerdict:
        event, after = draft.event, tenure.after
        with Work(
            event.room_id, is_gate=True, after=after, fence=tenure.fence, event=event, cascade=draft.cascade
        ) as work:
            try:
                context = RecordContext(record)
                if draft.participant is not None:
                    context.joining = draft.participant
                verdict = await self._hooks.run_gates(hooks, event, context, tenure.deadline)
            finally:
                await _end(work)
        if self._events.wants("event_gated"):
            after.append(partial(self._tell_gated, event, verdict))
        if verdict.payload is not event:
            verdict.payload = _as_written(verdict.payload, event)
        return verdict

    async def _commit(self, attempt: Attempt, tenure: _Tenure) -> Written:
        if self._tracing is not None and not attempt.draft.lifecycle:
            _open_broadcast(self._tracing, attempt)
        room_id, lease = attempt.event.room_id, self._lease
        try:
            commit = assemble(
                attempt,
                at=self._clock.now(),
                worker_id=lease.worker_id,
                channels=self._channels.working if self._channels.starts else self._channels,
                observed=lease.worker_id is not None
                and self._hooks.has_hooks(HookTrigger.AFTER_BROADCAST, room_id),
                max_chain_depth=self._settings.max_chain_depth,
            )
        except Exception as error:
            self._broken_off(attempt, error)
            raise
        commit.fence = tenure.fence
        for entry in commit.entries:
            if entry.event.content.type in MEDIA_TYPES:
                await self._prepare_files(attempt, commit)
                break
        # From here on nothing is taken back: neither the deadline nor a cancellation may cut it.
        if tenure.deadline.close():
            raise TimeoutError
        self._ledger.ride(commit)
        while True:
            work = self._store.commit(commit)
            if self._tracing is not None:
                work = _traced_commit(self._tracing, attempt.event, work)
            try:
                committed = await self._supervisor.complete(work, "commit")
                break
            except Interrupted as interrupted:
                self._departures.follow(attempt, commit, interrupted.result, tenure.after, self)
                raise
            except InvalidInputError as error:
                # Nothing was written. It may be about other rooms' outcomes that rode along.
                if self._ledger.let_off(commit):
                    continue
                self._broken_off(attempt, error)
                raise
            except BaseException as error:
                self._broken_off(attempt, error)
                self._ledger.put_back(commit)
                self._lease.check_write(error)
                raise
        return self._departures.follow(attempt, commit, committed, tenure.after, self)

    async def _prepare_files(self, attempt: Attempt, commit: Commit) -> None:
        try:
            await self._files.prepare(commit)
        except BaseException as error:
            self._broken_off(attempt, error)
            raise

    def _broken_off(self, attempt: Attempt, error: BaseException) -> None:
        """End the span of a broadcast that does not come about."""
        if self._tracing is not None and attempt.span is not None:
            self._tracing.end_span(attempt.span, status="error", error_message=type(error).__name__)

    def _tell_gated(self, event: RoomEvent, verdict: GateVerdict) -> None:
        self._events.emit(
            "event_gated",
            room_id=event.room_id,
            channel_id=event.source.channel_id,
            event_id=event.id,
            verdicts=[
                {"hook": hook, "verdict": action, "duration_ms": milliseconds}
                for hook, action, milliseconds in verdict.ran
            ],
        )


def _outdated(room_id: str) -> StaleRoomError:
    return StaleRoomError(
        f"room {room_id!r} may have changed since it was in memory: load it and decide again"
    )


def _seen(record: RoomRecord, version: int) -> Json | None:
    """Return the state of the room that gates decided on; None when it may have changed while they ran."""
    return record.room.state if record.version == version else None


def _as_written(judged: RoomEvent, event: RoomEvent) -> RoomEvent:
    """Return what gates made of an event: they rewrite the content, not its author, room, or depth."""
    return judged.replace(
        id=event.id,
        room_id=event.room_id,
        source=_source_as_judged(judged, event),
        index=event.index,
        status=event.status,
        chain_depth=event.chain_depth,
        idempotency_key=event.idempotency_key,
    )


def _source_as_judged(judged: RoomEvent, event: RoomEvent) -> EventSource:
    """Return an event's own source, with the vendor's payload as gates left it: it repeats the content."""
    payload = judged.source.raw_payload
    return event.source if payload == event.source.raw_payload else event.source.replace(raw_payload=payload)


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


def _open_broadcast(tracing: ConfiguredTelemetry, attempt: Attempt) -> None:
    """Open the span of an event's commit and all that follows; name it in the stored event."""
    event = attempt.event
    attempt.span, below = tracing.open(
        SpanKind.BROADCAST,
        SpanKind.BROADCAST.value,
        room_id=event.room_id,
        channel_id=event.source.channel_id,
    )
    parent = {"trace_parent": below.trace_parent}
    attempt.event = event.replace(**parent)
    attempt.injected = [replace(each, event=each.event.replace(**parent)) for each in attempt.injected]


async def _traced_commit(
    tracing: ConfiguredTelemetry, event: RoomEvent, work: Awaitable[Committed]
) -> Committed:
    if event.trace_parent is None:  # a note of the framework's own: it is part of what made it
        return await tracing.stored("commit", "events", work)
    with under(event.trace_parent):
        return await tracing.stored("commit", "events", work)


async def _end(work: Work) -> None:
    """Revoke the gate's write access once any nested write in flight has finished.

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
