"""Calling the observers of a trigger."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import KitClosedError
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS, RecordContext
from roomkit.kernel.flow.timers import DUE_AT_ONCE, TimerOutcome
from roomkit.kernel.runtime.scope import Work, innermost_gate
from roomkit.kernel.runtime.tracing import under
from roomkit.models.content import SystemContent
from roomkit.models.enums import DeliveryState, EventType, HookTrigger
from roomkit.models.event import EventSource, RoomEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence, Set

    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.registrations import HookFailure
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.task import Observation, Task
    from roomkit.models.timer import Timer

__all__ = ["Observers"]


class Observers:
    """Calls observers outside every lock: at once, or from inside a gate when the room's lock is free."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        supervisor: Supervisor,
        hooks: HookEngine,
        missing: Callable[[], Set[str]],
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._hooks = hooks
        self._missing = missing

    def start(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Start work that calls foreign code: at once, or from inside a gate when the room's lock is free."""
        gate = innermost_gate()
        if gate is None or gate.after is None:
            self._supervisor.start(work(), name)
        else:
            gate.after.append(partial(self.start, work, name))

    async def afterwards(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run work that calls foreign code before returning, or from inside a gate as `start` does."""
        if innermost_gate() is None:
            await work()
        else:
            self.start(work, name)

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
        with Work(record.room_id, event, cascade):
            failures = await self._hooks.observe(trigger, payload, RecordContext(record), source)
        return _kept(failures, cascade)

    def observe_at_once(
        self, trigger: HookTrigger, event: RoomEvent, record: RoomRecord, cascade: Cascade
    ) -> bool:
        """Do what `observe` does, for observers that never wait, in a context of their own as a task has."""
        return copy_context().run(self._observe_at_once, trigger, event, record, cascade)

    def _observe_at_once(
        self, trigger: HookTrigger, event: RoomEvent, record: RoomRecord, cascade: Cascade
    ) -> bool:
        with Work(record.room_id, event, cascade):
            failures = self._hooks.observe_at_once(trigger, event, RecordContext(record), event.source)
        return not failures or _kept(failures, cascade)

    def show(
        self,
        trigger: HookTrigger,
        payload: object,
        record: RoomRecord,
        cascade: Cascade,
        source: EventSource | None = None,
    ) -> None:
        """Show `payload` to the observers beside everything else; the cascade waits for them."""
        if not self._hooks.has_hooks(trigger, record.room_id):
            return
        cascade.hold()
        self._supervisor.start(
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

    async def fire_after_broadcast(self, timer: Timer) -> TimerOutcome:
        """Run the observers of an event that were not run with its commit, once its deliveries are completed.

        Those to channels that no worker has are not waited for: they stay pending, which `delivery_unclaimed`
        reports, and another worker may still carry them out.
        """
        store = self._store
        event = await store.get_event(str(timer.data.get("event_id")))
        if event is None or event.room_id != timer.room_id:
            return TimerOutcome(None)
        missing = self._missing()
        pending = await store.list_deliveries(
            event.room_id, event_id=event.id, state=DeliveryState.PENDING, limit=len(missing) + 1
        )
        if any(row.channel_id not in missing for row in pending):
            return TimerOutcome(DUE_AT_ONCE)
        record = await store.load(event.room_id, recent=RECENT_EVENTS)
        if record is not None and self._hooks.has_hooks(HookTrigger.AFTER_BROADCAST, event.room_id):
            shown = event.without_former_contents()
            with under(event.trace_parent):
                await self.observe(HookTrigger.AFTER_BROADCAST, shown, record, Cascade(), event.source)
        return TimerOutcome(None, changed=True)


def _kept(failures: Sequence[HookFailure], cascade: Cascade) -> bool:
    """Keep the first failure; return whether all observers could do their work."""
    done = True
    for failure in failures:
        if failure.cause is not None:
            cascade.failed(failure.cause)
        if isinstance(failure.cause, KitClosedError):
            done = False
    return done
