"""The kit as channels see it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.services import ChannelServices, GateOutcome
from roomkit.kernel.cascade import Cascade
from roomkit.kernel.deadline import Deadline
from roomkit.kernel.view import RECENT_EVENTS, RecordContext
from roomkit.models.enums import ChannelDirection, HookTrigger
from roomkit.models.event import EventSource

if TYPE_CHECKING:
    from roomkit.kernel.parts import Parts
    from roomkit.kernel.settling import Settling
    from roomkit.models.trace import ProtocolTrace

__all__ = ["KitServices"]


class KitServices(ChannelServices):
    """Lends the kit's parts; gates and observers run outside every lock."""

    def __init__(self, parts: Parts, settling: Settling) -> None:
        self._parts = parts
        self._settling = settling
        self.clock = parts.clock
        self.realtime = parts.realtime
        self.telemetry = parts.telemetry

    def _source(self, channel_id: str) -> EventSource:
        channel = self._parts.channels[channel_id]
        return EventSource(
            channel_id=channel_id,
            channel_type=channel.channel_type,
            direction=ChannelDirection.OUTBOUND,
        )

    @override
    async def run_gate[P](
        self, trigger: HookTrigger, payload: P, *, room_id: str, channel_id: str
    ) -> GateOutcome[P]:
        hooks = self._parts.hooks
        if not hooks.has_hooks(trigger, room_id):
            return GateOutcome(True, payload)
        selected = hooks.select(trigger, room_id, self._source(channel_id))
        if not selected:
            return GateOutcome(True, payload)
        record = await self._parts.store.load(room_id, recent=RECENT_EVENTS)
        if record is None:
            return GateOutcome(False, payload, "room_not_found", "roomkit")
        with Deadline(None) as deadline:
            verdict = await hooks.run_gates(selected, payload, RecordContext(record), deadline)
        return GateOutcome(verdict.allowed, verdict.payload, verdict.reason, verdict.blocked_by)

    @override
    async def observe(self, trigger: HookTrigger, payload: object, *, room_id: str, channel_id: str) -> None:
        if not self._parts.hooks.has_hooks(trigger, room_id):
            return
        record = await self._parts.store.load(room_id, recent=RECENT_EVENTS)
        if record is not None:
            source = self._source(channel_id)
            await self._settling.observe(trigger, payload, record, Cascade(), source)

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
        self._parts.events.emit(kind, room_id=room_id, channel_id=channel_id, event_id=event_id, **data)

    @override
    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self._parts.supervisor.start(work, name)

    @override
    def trace(self, trace: ProtocolTrace) -> None:
        room_id = trace.room_id
        if room_id is None or not self._parts.hooks.has_hooks(HookTrigger.ON_PROTOCOL_TRACE, room_id):
            return
        self._parts.supervisor.start(
            self.observe(HookTrigger.ON_PROTOCOL_TRACE, trace, room_id=room_id, channel_id=trace.channel_id),
            "observers of a protocol trace",
        )
