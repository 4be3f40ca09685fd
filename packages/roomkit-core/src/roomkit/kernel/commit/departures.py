"""What follows from a commit: deliveries into their lanes, observers, and calls to other workers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from roomkit.kernel.commit.attempt import TOO_DEEP, Attempt
from roomkit.kernel.flow.draft import Run, Written
from roomkit.kernel.flow.job import Job
from roomkit.kernel.flow.recipients import Target, named_targets
from roomkit.kernel.flow.timers import after_broadcast_id
from roomkit.models.base import EMPTY
from roomkit.models.enums import RoomStatus

if TYPE_CHECKING:
    from roomkit.abc.store import Commit, Committed
    from roomkit.kernel.commit.dispatcher import Dispatcher
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.commit.speculations import Speculations
    from roomkit.kernel.flow.draft import TimelineWriter
    from roomkit.kernel.flow.live_answer import LiveRecipient
    from roomkit.kernel.flow.speculation import Prepared
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.models.event import RoomEvent
    from roomkit.models.options import KitOptions
    from roomkit.models.timer import Timer


__all__ = ["After", "Departures"]

type After = list[Callable[[], None]]
"""What to start once the room's lock is free, in order."""


class Departures:
    """Puts committed events on their way; the lanes keep the order of the commits."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        events: FrameworkEvents,
        ledger: OutcomeWriter,
        channels: Channels,
        observers: Observers,
        dispatcher: Dispatcher,
        expect: Callable[[Iterable[Timer]], None],
        speculations: Speculations,
    ) -> None:
        self._settings = settings
        self._events = events
        self._ledger = ledger
        self._channels = channels
        self._observers = observers
        self._dispatcher = dispatcher
        self._expect = expect
        self._speculations = speculations

    def follow(
        self,
        attempt: Attempt,
        commit: Commit,
        committed: Committed,
        after: After,
        timeline: TimelineWriter,
    ) -> Written:
        """Queue the deliveries of a commit; still under the lock, so that lanes keep its order."""
        if commit.bindings or commit.unbind or commit.room_changes:
            self._dispatcher.rights_changed(commit)
        draft, record, block = attempt.draft, attempt.record, attempt.block
        if draft.timers or (attempt.verdict is not None and attempt.verdict.timers):
            self._expect(commit.timers)
        stored = committed.events
        position = len(stored) - 1 - len(attempt.injected)
        held: Mapping[str, Prepared] = EMPTY
        if self._speculations.open:
            held = self._speculations.committed(stored[position], draft.speculated, attempt.version)
        run, start = self._depart(
            attempt, commit, committed, stored[position], attempt.targets, draft.streamed, timeline, held
        )
        if held and draft.speculated is not None:
            self._speculations.taken(draft.speculated, run.targets)
        run.span = attempt.span
        runs, starts = [run], [start]
        for entry, event in zip(commit.entries[position + 1 :], stored[position + 1 :], strict=True):
            targets = named_targets(record, self._channels, entry.targets)
            further, start = self._depart(attempt, commit, committed, event, targets, None, timeline)
            runs.append(further)
            starts.append(start)
        if committed.elsewhere:
            claimers = _claimers(committed, commit.absent)
            if any(claimers - {commit.worker_id, None}):
                self._ledger.handed_over(record.room_id)
            after.append(partial(self._dispatcher.wake, record.room_id, claimers))
        if commit.completed or commit.timers_done:
            after.append(partial(self._ledger.written, committed.completed))
        reason = None if block is None else block.reason
        written = Written(run.event, block is not None, reason, False, False, run, draft)
        after.append(partial(self._launch, written, commit, runs, starts))
        return written

    def _depart(
        self,
        attempt: Attempt,
        commit: Commit,
        committed: Committed,
        event: RoomEvent,
        targets: Sequence[Target],
        streamed: Mapping[str, LiveRecipient] | None,
        timeline: TimelineWriter,
        held: Mapping[str, Prepared] = EMPTY,
    ) -> tuple[Run, Callable[[], None]]:
        """Put one committed event on its way; return it, and what starts it once the lock is free."""
        elsewhere, here = committed.elsewhere, targets
        if elsewhere:
            here = [each for each in targets if f"{event.id}:{each.binding.channel_id}" not in elsewhere]
        run = Run(
            attempt.draft.cascade,
            event,
            attempt.record,
            [target.binding.channel_id for target in here],
            timeline,
        )
        run.elsewhere = len(here) < len(targets)
        if commit.timers and any(timer.id == after_broadcast_id(event.id) for timer in commit.timers):
            run.timer_id = after_broadcast_id(event.id)
        jobs: list[Job] = []  # bound: the targets
        for target in here:
            job = Job(run, target, streamed.get(target.binding.channel_id) if streamed else None)
            if commit.worker_id is not None:
                job.worker_id = commit.worker_id
            if held:
                job.held = held.get(target.binding.channel_id)
            jobs.append(job)
        return run, self._dispatcher.enqueue(run, jobs)

    def _launch(
        self, written: Written, commit: Commit, runs: Sequence[Run], starts: Sequence[Callable[[], None]]
    ) -> None:
        """Start everything that follows from a commit, once the room's lock is free."""
        event, draft, run = written.event, written.draft, runs[0]
        assert event is not None
        assert draft is not None
        for start in starts:
            start()
        if commit.tasks or commit.observations:
            self._observers.side_effects(event, commit.tasks, commit.observations, run.record, run.cascade)
        if written.blocked:
            self._tell_blocked(event)
        elif not draft.lifecycle and (commit.room_changes or {}).get("status") is RoomStatus.ACTIVE:
            self._events.emit("room_resumed", room_id=event.room_id)
        for each in runs:
            self._dispatcher.launched(each)

    def _tell_blocked(self, event: RoomEvent) -> None:
        details = {"room_id": event.room_id, "channel_id": event.source.channel_id, "event_id": event.id}
        self._events.emit("event_blocked", **details, reason=event.block_reason, blocked_by=event.blocked_by)
        if event.blocked_by == TOO_DEEP:
            self._events.emit(
                "chain_depth_exceeded",
                **details,
                chain_depth=event.chain_depth,
                max_chain_depth=self._settings.max_chain_depth,
            )


def _claimers(committed: Committed, absent: Collection[str]) -> set[str | None]:
    """Return the workers that are to claim the deliveries left to others; None is any worker.

    No worker is called for a delivery that waits for its channel to be registered.
    """
    missing = {f"{event.id}:{channel_id}" for event in committed.events for channel_id in absent}
    return {
        holder
        for delivery_id, holder in committed.elsewhere.items()
        if holder is not None or delivery_id not in missing
    }
