"""Completed deliveries: the ledger, the observers, and the end of the cascade."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError, RoomNotFoundError
from roomkit.kernel.flow.timers import after_broadcast_timer
from roomkit.kernel.runtime.tracing import under
from roomkit.models.enums import (
    DeliveryState,
    EventStatus,
    HookTrigger,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.flow.draft import Run
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.tracing import ConfiguredTelemetry
    from roomkit.models.delivery import DeliveryOutcome
    from roomkit.models.timer import Timer

__all__ = ["Settling"]

_FRAMEWORK_EVENT_OF = {
    DeliveryState.SENT: "delivery_succeeded",
    DeliveryState.SKIPPED: "delivery_skipped",
    DeliveryState.FAILED: "delivery_failed",
}

_DEEPEST_NESTING = 20


class Settling:
    """Brings runs to their end. Nothing here holds a lock."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        tracing: ConfiguredTelemetry | None,
        supervisor: Supervisor,
        hooks: HookEngine,
        events: FrameworkEvents,
        ledger: OutcomeWriter,
        observers: Observers,
        fallback: Callable[[Timer], Awaitable[None]],
    ) -> None:
        self._fallback = fallback
        self._store = store
        self._tracing = tracing
        self._supervisor = supervisor
        self._hooks = hooks
        self._events = events
        self._ledger = ledger
        self._observers = observers
        self._nesting = 0

    def launched(self, run: Run) -> None:
        """Note that every delivery of the run was started; outcomes so far are recorded."""
        run.launched = True
        if run.pending == 0:
            self._finish(run)
        elif run.unrecorded:
            self._record_soon(run)

    def ended(self, run: Run, outcome: DeliveryOutcome) -> None:
        """Note the outcome of one delivery."""
        run.finished.append(outcome)
        run.unrecorded.append(outcome)
        run.pending -= 1
        if _FRAMEWORK_EVENT_OF[outcome.state] in self._events.wanted:
            self._tell(run, outcome)
        if not run.launched:
            return
        if run.pending == 0:
            self._finish(run)
        else:
            self._record_soon(run)

    def abandoned(self, run: Run) -> None:
        """Note that a delivery was released; its row stays pending in the ledger."""
        run.abandoned = True
        run.pending -= 1
        if run.launched and run.pending == 0:
            self._finish(run)

    def _finish(self, run: Run) -> None:
        if self._settles_at_once(run) and self._finish_at_once(run):
            return
        # An observer's message settles inside the settling of the one it observed, for as long as
        # nothing waits; the stack is not to grow with that.
        self._nesting += 1
        try:
            tracing = self._tracing
            self._supervisor.start(
                self._settle(run) if tracing is None else self._traced(run, tracing),
                f"settling of event {run.event.id}",
                eager=self._nesting <= _DEEPEST_NESTING,
            )
        finally:
            self._nesting -= 1

    def _settles_at_once(self, run: Run) -> bool:
        """Whether nothing that a run is settled by can wait, but perhaps the store."""
        if self._tracing is not None or run.fallbacks or run.elsewhere or run.timer_id is not None:
            return False
        if run.remainder is not None:
            return False
        trigger, event = HookTrigger.AFTER_BROADCAST, run.event
        return not self._hooks.has_hooks(trigger, event.room_id) or (
            self._nesting < _DEEPEST_NESTING and self._hooks.never_waits(trigger, event.room_id, event.source)
        )

    def _finish_at_once(self, run: Run) -> bool:
        """Settle a run in this step; False, with nothing done, if its outcomes may have to wait."""
        if run.unrecorded:
            try:
                if not self._ledger.ended_at_once(run.unrecorded):
                    return False
            except InvalidInputError:
                return False  # each is written by itself
            except Exception as error:  # noqa: BLE001  # as in `_settle`; the task of that would report it
                self._supervisor.report(f"settling of event {run.event.id}", error)
            run.unrecorded = []  # bound: as at first
        event = run.event
        is_shown = event.status is not EventStatus.BLOCKED and event.visibility != "internal"
        self._nesting += 1
        try:
            if is_shown and not run.abandoned and not run.resumed:
                if self._hooks.has_hooks(HookTrigger.AFTER_BROADCAST, event.room_id):
                    trigger = HookTrigger.AFTER_BROADCAST
                    self._observers.observe_at_once(trigger, event, run.record, run.cascade)
                self._tell_processed(run)
        finally:
            self._nesting -= 1
            run.cascade.release()
        return True

    def _record_soon(self, run: Run) -> None:
        """Record the outcomes so far beside the work under way; the cascade waits for it."""
        run.cascade.hold()
        self._supervisor.start(self._record_early(run), f"ledger of event {run.event.id}")

    async def _record_early(self, run: Run) -> None:
        try:
            await self._record(run)
        finally:
            run.cascade.release()

    async def _record(self, run: Run) -> None:
        rows, run.unrecorded = run.unrecorded, []
        await self._ledger.ended(rows)
        if run.fallbacks:
            due, run.fallbacks = run.fallbacks, ()
            for timer in due:
                run.cascade.hold()
                self._supervisor.start(self._fall_back(timer, run), f"fallback {timer.id}")

    async def _fall_back(self, timer: Timer, run: Run) -> None:
        try:
            await self._fallback(timer)
        finally:
            run.cascade.release()

    async def _traced(self, run: Run, tracing: ConfiguredTelemetry) -> None:
        """Settle at the event's place in its trace, and end its broadcast."""
        with under(run.event.trace_parent):
            try:
                await self._settle(run)
            finally:
                if run.span is not None:
                    tracing.end_span(run.span)

    async def _settle(self, run: Run) -> None:
        event = run.event
        failure: Exception | None = None
        try:
            if run.unrecorded:
                try:
                    await self._record(run)
                except Exception as error:  # noqa: BLE001  # raised below, once the observers have seen the event
                    failure = error
            if run.remainder is not None and not run.remainder.ended(run):
                return  # not yet: it settles with the last of its deferred deliveries
            if event.status is EventStatus.BLOCKED or event.visibility == "internal":
                return  # not broadcast
            if run.abandoned or run.resumed:
                return  # not yet: the timer that was set with the event has its observers run
            if run.elsewhere and run.timer_id is not None:
                # Others have still to end: the next sweep of any worker looks again.
                with suppress(RoomNotFoundError):  # deleted in between, and the timer with it
                    await self._store.set_timer(after_broadcast_timer(event))
                return
            done = True
            if self._hooks.has_hooks(HookTrigger.AFTER_BROADCAST, event.room_id):
                trigger = HookTrigger.AFTER_BROADCAST
                done = await self._observers.observe(trigger, event, run.record, run.cascade, event.source)
            if run.timer_id is not None and done:
                await self._ledger.ended((), (run.timer_id,))
            self._tell_processed(run)
        finally:
            run.cascade.release()
            if failure is not None:
                raise failure

    def _tell_processed(self, run: Run) -> None:
        event, wanted = run.event, self._events.wanted
        if "broadcast_partial_failure" in wanted:
            self._tell_failures(run)
        if "event_processed" in wanted:
            self._events.emit(
                "event_processed",
                room_id=event.room_id,
                channel_id=event.source.channel_id,
                event_id=event.id,
            )

    def _tell(self, run: Run, outcome: DeliveryOutcome) -> None:
        data: dict[str, object] = {"duration_ms": outcome.duration_ms}
        if outcome.reason is not None:
            data["reason"] = outcome.reason
        if outcome.error is not None:
            data |= {"code": outcome.error.code, "error": outcome.error.message}
        self._events.emit(
            _FRAMEWORK_EVENT_OF[outcome.state],
            room_id=outcome.room_id,
            channel_id=outcome.channel_id,
            event_id=outcome.event_id,
            **data,
        )

    def _tell_failures(self, run: Run) -> None:
        failed: Sequence[DeliveryOutcome] = [row for row in run.finished if row.state is DeliveryState.FAILED]
        total = len(run.targets)
        if run.remainder is not None:
            failed, total = run.remainder.failed, run.remainder.total
        if failed:
            self._events.emit(
                "broadcast_partial_failure",
                room_id=run.event.room_id,
                event_id=run.event.id,
                failed=len(failed),
                total=total,
                errors={row.channel_id: row.error.code for row in failed if row.error is not None},
            )
