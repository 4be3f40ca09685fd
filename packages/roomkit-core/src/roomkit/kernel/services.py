"""The kit as channels see it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.services import ChannelServices, Excerpt, GateOutcome
from roomkit.abc.store import Commit
from roomkit.kernel.commit.attempt import injected_entry
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS, RecordContext
from roomkit.kernel.flow.contract import type_of
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.notes import note
from roomkit.kernel.rooms.reading import as_read
from roomkit.kernel.runtime.deadline import Deadline
from roomkit.models.base import new_id
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelDirection, EventType, HookTrigger
from roomkit.models.event import EventSource
from roomkit.models.room import Room

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.kernel.commit.hooks import GateVerdict, HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.inbound.protocol_traces import ProtocolTraces
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.trace import ProtocolTrace

__all__ = ["KitServices"]


class KitServices(ChannelServices):
    """Lends the kit's parts; gates and observers run outside every lock."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        realtime: RealtimeBackend,
        telemetry: TelemetryProvider,
        clock: Clock,
        supervisor: Supervisor,
        hooks: HookEngine,
        events: FrameworkEvents,
        channels: Channels,
        observers: Observers,
        writer: Writer,
        traces: ProtocolTraces,
    ) -> None:
        self._traces = traces
        self._store = store
        self._realtime = realtime
        self._telemetry = telemetry
        self._clock = clock
        self._supervisor = supervisor
        self._hooks = hooks
        self._events = events
        self._channels = channels
        self._writer = writer
        self._observers = observers
        self.clock = self._clock
        self.realtime = self._realtime
        self.telemetry = self._telemetry
        self.has_other_workers = not (self._store.is_process_local or self._realtime.is_process_local)

    def _source(
        self, channel_id: str, direction: ChannelDirection = ChannelDirection.OUTBOUND
    ) -> EventSource:
        channel = self._channels[channel_id]
        return EventSource(
            channel_id=channel_id, channel_type=type_of(channel, channel_id), direction=direction
        )

    @override
    async def run_gate[P](
        self,
        trigger: HookTrigger,
        payload: P,
        *,
        room_id: str | None,
        channel_id: str,
        direction: ChannelDirection = ChannelDirection.OUTBOUND,
    ) -> GateOutcome[P]:
        hooks = self._hooks
        if not hooks.has_hooks(trigger, room_id):
            return GateOutcome(True, payload)
        selected = hooks.select(trigger, room_id, self._source(channel_id, direction))
        if not selected:
            return GateOutcome(True, payload)
        record = None
        context = RoomContext(Room(id=new_id()))
        if room_id is not None:
            record = await self._store.load(room_id, recent=RECENT_EVENTS)
            if record is None:
                return GateOutcome(False, payload, "room_not_found", "roomkit")
            context = RecordContext(record)
        with Deadline(None) as deadline:
            verdict = await hooks.run_gates(selected, payload, context, deadline)
        if record is not None and (verdict.injected_events or verdict.tasks or verdict.observations):
            await self._keep(verdict, trigger, record)
        return GateOutcome(verdict.allowed, verdict.payload, verdict.reason, verdict.blocked_by)

    async def _keep(self, verdict: GateVerdict, trigger: HookTrigger, record: RoomRecord) -> None:
        """Store the effects of a gate, whatever its verdict; its caller does not wait for more."""
        room_id, cascade = record.room_id, Cascade()
        if verdict.tasks or verdict.observations:
            commit = Commit(
                room_id=room_id,
                entries=(),
                at=self.clock.now(),
                tasks=verdict.tasks,
                observations=verdict.observations,
                activity=False,
            )
            await self._store.commit(commit)
            about = note(room_id, EventType.SYSTEM, trigger, f"what a gate of {trigger} left behind")
            self._observers.side_effects(about, commit.tasks, commit.observations, record, cascade)
        for injection in verdict.injected_events:
            entry = injected_entry(record, room_id, injection)
            await self._writer.write(
                Draft(event=entry.event, cascade=cascade, gated=False, targets=entry.targets)
            )

    @override
    async def observe(self, trigger: HookTrigger, payload: object, *, room_id: str, channel_id: str) -> None:
        if not self._hooks.has_hooks(trigger, room_id):
            return
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is not None:
            source = self._source(channel_id)
            await self._observers.observe(trigger, payload, record, Cascade(), source)

    @override
    async def read_timeline(
        self, room_id: str, channel_id: str, *, after_index: int | None = None, limit: int = 100
    ) -> Excerpt | None:
        store = self._store
        record = await store.load(room_id)
        binding = record.bindings.get(channel_id) if record is not None else None
        if record is None or binding is None:
            return None
        room, events = record.room, []  # bound: limit
        if after_index is not None and after_index < room.latest_index:
            events = await store.list_events(room_id, limit=limit, after_index=after_index, reader=binding)
            events = await as_read(store, events)
        return Excerpt(binding, room.latest_index, events, record.participants, room.created_at)

    @override
    def report(
        self,
        kind: str,
        *,
        room_id: str | None = None,
        channel_id: str | None = None,
        event_id: str | None = None,
        **data: Any,
    ) -> None:
        self._events.emit(kind, room_id=room_id, channel_id=channel_id, event_id=event_id, **data)

    @override
    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self._supervisor.start(work, name)

    @override
    def trace(self, trace: ProtocolTrace) -> None:
        self._traces.take(trace)

    @property
    @override
    def traces_are_observed(self) -> bool:
        return self._traces.are_observed
