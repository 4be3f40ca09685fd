"""What happens when deliveries end: the ledger, the observers, and the end of the cascade."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import KitClosedError
from roomkit.kernel.alarms import DUE_AT_ONCE, Answer
from roomkit.kernel.cascade import Cascade
from roomkit.kernel.scope import Work, innermost_gate
from roomkit.kernel.tracing import under
from roomkit.kernel.view import RECENT_EVENTS, RecordContext
from roomkit.models.content import SystemContent
from roomkit.models.enums import (
    ChannelDirection,
    ChannelType,
    DeliveryState,
    EventStatus,
    EventType,
    HookTrigger,
)
from roomkit.models.event import SYSTEM_CHANNEL_ID, EventSource, RoomEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from roomkit.abc.store import RoomRecord
    from roomkit.kernel.cascade import Run
    from roomkit.kernel.parts import Parts
    from roomkit.kernel.tracing import ConfiguredTelemetry
    from roomkit.models.alarm import Alarm
    from roomkit.models.delivery import Delivery
    from roomkit.models.task import Observation, Task

__all__ = ["Settling", "note"]

_FRAMEWORK_EVENT_OF = {
    DeliveryState.SENT: "delivery_succeeded",
    DeliveryState.SKIPPED: "delivery_skipped",
    DeliveryState.FAILED: "delivery_failed",
}

_SYSTEM = EventSource(
    channel_id=SYSTEM_CHANNEL_ID, channel_type=ChannelType.SYSTEM, direction=ChannelDirection.OUTBOUND
)

_DEEPEST_NESTING = 20


class Settling:
    """Brings runs to their end. Nothing here holds a lock."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._nesting = 0

    def launched(self, run: Run) -> None:
        """Note that every delivery of the run was started; those that already ended are written down."""
        run.launched = True
        if run.pending == 0:
            self._finish(run)
        elif run.unrecorded:
            self._write_down(run)

    def ended(self, run: Run, delivery: Delivery) -> None:
        """Note how one delivery ended."""
        run.finished.append(delivery)
        run.unrecorded.append(delivery)
        run.pending -= 1
        if self._parts.events.wants(_FRAMEWORK_EVENT_OF[delivery.state]):
            self._tell(run, delivery)
        if not run.launched:
            return
        if run.pending == 0:
            self._finish(run)
        else:
            self._write_down(run)

    def abandoned(self, run: Run) -> None:
        """Note that a delivery was let go of; its row stays pending in the ledger."""
        run.abandoned = True
        run.pending -= 1
        if run.launched and run.pending == 0:
            self._finish(run)

    def _finish(self, run: Run) -> None:
        # An observer's message settles inside the settling of the one it observed, for as long as
        # nothing waits; the stack is not to grow with that.
        self._nesting += 1
        try:
            tracing = self._parts.tracing
            self._parts.supervisor.start(
                self._settle(run) if tracing is None else self._traced(run, tracing),
                f"settling of event {run.event.id}",
                eager=self._nesting <= _DEEPEST_NESTING,
            )
        finally:
            self._nesting -= 1

    def start(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Start what calls foreign code: at once, or from inside a gate when the room's lock is free."""
        gate = innermost_gate()
        if gate is None or gate.after is None:
            self._parts.supervisor.start(work(), name)
        else:
            gate.after.append(partial(self.start, work, name))

    async def afterwards(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Do what calls foreign code before returning, or from inside a gate as `start` does."""
        if innermost_gate() is None:
            await work()
        else:
            self.start(work, name)

    def _write_down(self, run: Run) -> None:
        """Write what has ended so far beside what goes on; the cascade waits for it."""
        run.cascade.hold()
        self._parts.supervisor.start(self._record_early(run), f"ledger of event {run.event.id}")

    async def _record_early(self, run: Run) -> None:
        try:
            await self._record(run)
        finally:
            run.cascade.release()

    async def _record(self, run: Run) -> None:
        rows, run.unrecorded = run.unrecorded, []
        await self._parts.ledger.ended(rows)

    async def _traced(self, run: Run, tracing: ConfiguredTelemetry) -> None:
        """Settle at the event's place in its trace, and end its broadcast."""
        with under(run.event.trace_parent):
            try:
                await self._settle(run)
            finally:
                if run.span is not None:
                    tracing.end_span(run.span)

    async def _settle(self, run: Run) -> None:
        parts, event = self._parts, run.event
        failure: Exception | None = None
        try:
            if run.unrecorded:
                try:
                    await self._record(run)
                except Exception as error:  # noqa: BLE001  # raised below, once the observers have seen the event
                    failure = error
            if event.status is EventStatus.BLOCKED or event.visibility == "internal":
                return  # not broadcast
            if run.abandoned or run.resumed:
                return  # not yet: the alarm that was set with the event has its observers run
            if run.elsewhere and run.alarm_id is not None:
                # Others have still to end: the next sweep of any worker looks again.
                await parts.alarms.look_later(event)
                return
            done = True
            if parts.hooks.has_hooks(HookTrigger.AFTER_BROADCAST, event.room_id):
                trigger = HookTrigger.AFTER_BROADCAST
                done = await self.observe(trigger, event, run.record, run.cascade, event.source)
            if run.alarm_id is not None and done:
                await parts.ledger.ended((), (run.alarm_id,))
            if parts.events.wants("broadcast_partial_failure"):
                self._tell_failures(run)
            parts.events.emit(
                "event_processed",
                room_id=event.room_id,
                channel_id=event.source.channel_id,
                event_id=event.id,
            )
        finally:
            run.cascade.release()
            if failure is not None:
                raise failure

    async def answer_alarm(self, alarm: Alarm) -> Answer:
        """Run the observers of an event whose worker did not come to it, once its deliveries have ended."""
        store = self._parts.store
        event = await store.get_event(str(alarm.data.get("event_id")))
        if event is None or event.room_id != alarm.room_id:
            return Answer(None)
        if await store.list_deliveries(
            event.room_id, event_id=event.id, state=DeliveryState.PENDING, limit=1
        ):
            return Answer(DUE_AT_ONCE)
        record = await store.load(event.room_id, recent=RECENT_EVENTS)
        if record is not None and self._parts.hooks.has_hooks(HookTrigger.AFTER_BROADCAST, event.room_id):
            shown = event.without_former_contents()
            with under(event.trace_parent):
                await self.observe(HookTrigger.AFTER_BROADCAST, shown, record, Cascade(), event.source)
        return Answer(None, changed=True)

    async def observe(
        self,
        trigger: HookTrigger,
        payload: object,
        record: RoomRecord,
        cascade: Cascade,
        source: EventSource | None = None,
    ) -> bool:
        """Show `payload` to the observers of a trigger and keep their first failure.

        Return whether all could do their work: not when the kit closed under them.
        """
        event = payload if type(payload) is RoomEvent else None
        with Work(record.room_id, event=event, cascade=cascade):
            failures = await self._parts.hooks.observe(trigger, payload, RecordContext(record), source)
        done = True
        for failure in failures:
            if failure.cause is not None:
                cascade.failed(failure.cause)
            if isinstance(failure.cause, KitClosedError):
                done = False
        return done

    def show(
        self,
        trigger: HookTrigger,
        payload: object,
        record: RoomRecord,
        cascade: Cascade,
        source: EventSource | None = None,
    ) -> None:
        """Show `payload` to the observers beside everything else; the cascade waits for them."""
        if not self._parts.hooks.has_hooks(trigger, record.room_id):
            return
        cascade.hold()
        self._parts.supervisor.start(
            self._show(trigger, payload, record, cascade, source), f"observers of {trigger}"
        )

    async def _show(
        self,
        trigger: HookTrigger,
        payload: object,
        record: RoomRecord,
        cascade: Cascade,
        source: EventSource | None,
    ) -> None:
        try:
            await self.observe(trigger, payload, record, cascade, source)
        finally:
            cascade.release()

    def side_effects(
        self,
        event: RoomEvent,
        tasks: Sequence[Task],
        observations: Sequence[Observation],
        record: RoomRecord,
        cascade: Cascade,
    ) -> None:
        """Show stored tasks and observations to their observers, as events that mirror the trigger's."""
        for task in tasks:
            payload = event.replace(
                type=EventType.TASK_CREATED,
                content=SystemContent(
                    body=task.title, code="task_created", data={"task_id": task.id, "task_title": task.title}
                ),
            )
            self.show(HookTrigger.ON_TASK_CREATED, payload, record, cascade, event.source)
        for observation in observations:
            payload = event.replace(
                type=EventType.OBSERVATION,
                content=SystemContent(
                    body=observation.content,
                    code="observation",
                    data={"observation_id": observation.id, "category": observation.category},
                ),
            )
            self.show(HookTrigger.ON_OBSERVATION, payload, record, cascade, event.source)

    def _tell(self, run: Run, delivery: Delivery) -> None:
        data: dict[str, object] = {"duration_ms": delivery.duration_ms}
        if delivery.reason is not None:
            data["reason"] = delivery.reason
        if delivery.error is not None:
            data |= {"code": delivery.error.code, "error": delivery.error.message}
        self._parts.events.emit(
            _FRAMEWORK_EVENT_OF[delivery.state],
            room_id=delivery.room_id,
            channel_id=delivery.channel_id,
            event_id=delivery.event_id,
            **data,
        )

    def _tell_failures(self, run: Run) -> None:
        failed = [row for row in run.finished if row.state is DeliveryState.FAILED]
        if failed:
            self._parts.events.emit(
                "broadcast_partial_failure",
                room_id=run.event.room_id,
                event_id=run.event.id,
                failed=len(failed),
                total=len(run.targets),
                errors={row.channel_id: row.error.code for row in failed if row.error is not None},
            )


def note(
    room_id: str,
    kind: EventType,
    code: str,
    body: str,
    *,
    participant_id: str | None = None,
    **data: object,
) -> RoomEvent:
    """Return the framework's own note on a room: from the system, seen by no channel."""
    return RoomEvent(
        room_id=room_id,
        type=kind,
        source=_SYSTEM if participant_id is None else _SYSTEM.replace(participant_id=participant_id),
        content=SystemContent(body=body, code=code, data=data),
        visibility="internal",
    )
