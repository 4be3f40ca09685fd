"""Gates and observers of owners' triggers; they run outside every lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from roomkit.abc.errors import InvalidInputError, RoomNotFoundError, StaleRoomError
from roomkit.abc.records import checked
from roomkit.abc.services.turns import GateOutcome, Speculation, Turns
from roomkit.kernel.commit.attempt import changed_by_gates, injected_entry
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS, RecordContext, RoomlessContext
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.runtime.deadline import Deadline
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelDirection, EventType, HookTrigger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from roomkit.abc.clock import Clock
    from roomkit.abc.errors import RoomKitError
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.commit.verdicts import GateVerdict
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.delivery.interruptions import Interruptions
    from roomkit.kernel.delivery.parked_turns import ParkedTurns
    from roomkit.kernel.services.owner import Owner
    from roomkit.kernel.services.speculation import Speculator
    from roomkit.models.event import RoomEvent
    from roomkit.models.parking import ParkedCall, ParkedTurn
    from roomkit.models.timer import Timer

__all__ = ["KitTurns"]


_TRIES = 8


@checks_arguments(but=("run_gate", "observe"), of_services=True)
class KitTurns(Turns):
    """Runs the hooks of the kit."""

    def __init__(
        self,
        owner: Owner,
        *,
        store: ConversationStore,
        clock: Clock,
        hooks: HookEngine,
        observers: Observers,
        writer: Writer,
        interruptions: Interruptions,
        expect: Callable[[Iterable[Timer]], None],
        parked: ParkedTurns,
        speculator: Speculator,
        enter: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._owner = owner
        self._store = store
        self._clock = clock
        self._hooks = hooks
        self._observers = observers
        self._writer = writer
        self._interruptions = interruptions
        self._expect = expect
        self._speculator = speculator
        self._enter = enter
        self._parked = parked

    @override
    async def run_gate[P](
        self,
        trigger: HookTrigger,
        payload: P,
        *,
        room_id: str | None,
        channel_id: str | None = None,
        direction: ChannelDirection = ChannelDirection.OUTBOUND,
        speculative: bool = False,
    ) -> GateOutcome[P]:
        name: object = trigger
        if not isinstance(name, str) or not (room_id is None or isinstance(room_id, str)):
            raise _wrong(trigger, room_id)
        hooks = self._hooks
        if not hooks.has_hooks(trigger, room_id):
            return GateOutcome(True, payload)
        selected = hooks.select(trigger, room_id, self._owner.source(channel_id, direction))
        if not selected:
            return GateOutcome(True, payload)
        for _ in range(_TRIES):
            record = None if room_id is None else await self._store.load(room_id, recent=RECENT_EVENTS)
            if record is None and room_id is not None:
                return GateOutcome(False, payload, "room_not_found", "roomkit")
            context = RoomlessContext() if record is None else RecordContext(record)
            version = None if record is None else record.version
            with Deadline(None) as deadline:
                if speculative:
                    verdict = await hooks.rehearse(selected, payload, context, deadline)
                    return GateOutcome(verdict.allowed, verdict.payload, verdict.reason, verdict.blocked_by)
                verdict = await hooks.run_gates(selected, payload, context, deadline)
            if verdict.injected_events or verdict.tasks or verdict.observations or verdict.keeps:
                if record is None:
                    return GateOutcome(False, payload, "room_not_found", verdict.ran[-1][0])
                if not await self._keep(verdict, trigger, record, version):
                    continue
            return GateOutcome(verdict.allowed, verdict.payload, verdict.reason, verdict.blocked_by)
        raise StaleRoomError(
            f"the gates of {trigger} decided {_TRIES} times on a state of room {room_id!r} that had changed: "
            "try again"
        )

    async def _keep(
        self, verdict: GateVerdict, trigger: HookTrigger, record: RoomRecord, version: int | None
    ) -> bool:
        """Store the effects of a gate, whatever its verdict; False if it decided on an outdated state."""
        room_id, cascade = record.room_id, Cascade()
        seen = record.room.state if record.version == version else None
        while verdict.tasks or verdict.observations or verdict.keeps:
            commit = QuietCommit(
                room_id=room_id,
                at=self._clock.now(),
                tasks=verdict.tasks,
                observations=verdict.observations,
                values=verdict.values,
                timers=verdict.timers,
            )
            if verdict.state:
                if verdict.is_outdated(seen, record.room.state):
                    return False
                commit.expected_version = record.version
                commit.room_changes = {"state": changed_by_gates(record, verdict.state)}
            try:
                await self._store.commit(commit)
            except StaleRoomError:
                found = await self._store.load(room_id, recent=RECENT_EVENTS)
                if found is None:
                    raise RoomNotFoundError(f"no room {room_id!r}: it was deleted in between") from None
                record = found
                continue
            self._expect(verdict.timers)
            about = note(room_id, EventType.SYSTEM, trigger, f"what a gate of {trigger} left behind")
            self._observers.side_effects(about, commit.tasks, commit.observations, record, cascade)
            break
        for injection in verdict.injected_events:
            entry = injected_entry(record, room_id, injection)
            await self._writer.write(
                Draft(event=entry.event, cascade=cascade, gated=False, targets=entry.targets)
            )
        return True

    @override
    async def observe(
        self,
        trigger: HookTrigger,
        payload: object,
        *,
        room_id: str | None,
        channel_id: str | None = None,
        direction: ChannelDirection = ChannelDirection.OUTBOUND,
    ) -> None:
        name: object = trigger
        if not isinstance(name, str) or not (room_id is None or isinstance(room_id, str)):
            raise _wrong(trigger, room_id)
        if not self._hooks.has_hooks(trigger, room_id):
            return
        source = self._owner.source(channel_id, direction)
        if room_id is None:
            await self._hooks.observe(trigger, payload, RoomlessContext(), source)
            return
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is not None:
            await self._observers.observe(trigger, payload, record, Cascade(), source)

    @override
    async def speculate(self, room_id: str, message: InboundMessage) -> Speculation:
        message = checked(message, InboundMessage, "given to turns.speculate()")
        self._owner.channel(message.channel_id)
        if self._enter is not None:
            await self._enter()
        return await self._speculator.speculate(room_id, message)

    @override
    async def interrupt(
        self, room_id: str, *, stream_id: str | None = None, reason: str = "interrupted"
    ) -> int:
        return await self._interruptions.interrupt(room_id, stream_id, reason)

    @override
    async def resume(self, room_id: str, turn_id: str, results: Mapping[str, str | RoomKitError]) -> bool:
        return await self._parked.resume(room_id, turn_id, results)

    @override
    async def parked(self, room_id: str) -> Sequence[ParkedTurn]:
        return await self._parked.list(room_id)

    @override
    async def asked(self, event: RoomEvent) -> Sequence[tuple[ParkedTurn, ParkedCall]]:
        return await self._parked.asked(event)


def _wrong(trigger: object, room_id: object) -> InvalidInputError:
    return InvalidInputError(
        f"no hooks are called for a trigger of type {type(trigger).__name__} in a room of type "
        f"{type(room_id).__name__}: give a HookTrigger, and the room's id or None"
    )
