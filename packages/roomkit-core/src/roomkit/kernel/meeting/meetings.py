"""Two rooms that meet: marked as moving, drained, changed under both locks, and opened again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import RoomBusyError, RoomNotFoundError, StaleRoomError
from roomkit.abc.log import get_logger
from roomkit.abc.store import Move
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.timers import DUE_AT_ONCE, MOVING, TimerOutcome, moving_timer_id, room_of
from roomkit.kernel.rooms.checks import check_open
from roomkit.models.enums import Access, DeliveryState, HookTrigger, RoomStatus
from roomkit.models.timer import Timer
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.rooms.changes import RoomChanges
    from roomkit.kernel.rooms.rights_signals import RightsSignals
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent


__all__ = ["Meeting", "Meetings", "Plan"]

_log = get_logger("roomkit.kernel")
_TRIES = 8
_SHORTEST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


@dataclass(slots=True, kw_only=True)
class Plan:
    """What to write, and what follows once it is written."""

    move: Move
    notes: Mapping[HookTrigger, RoomEvent]
    gone: Sequence[ChannelBinding] = ()
    come: Sequence[ChannelBinding] = ()
    kind: str
    rest: Timer | None = None


@dataclass(slots=True, kw_only=True)
class Meeting:
    """Two rooms about to meet, the statuses that they had, and until when to wait for them."""

    source: str
    into: str
    until: float
    statuses: dict[str, RoomStatus] = field(default_factory=dict)


type Planner = Callable[[Meeting, RoomRecord, RoomRecord], Awaitable[Plan]]


class Meetings:
    """Brings two rooms together for one transaction.

    Both rooms are marked as moving: new messages are refused while their lanes drain. Then everything is
    written in one transaction, under both locks, taken in the order of the rooms' ids.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        lease: Lease,
        ledger: OutcomeWriter,
        events: FrameworkEvents,
        changes: RoomChanges,
        writer: Writer,
        rights_signals: RightsSignals,
        expect: Callable[[datetime], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._ledger = ledger
        self._events = events
        self._changes = changes
        self._writer = writer
        self._rights_signals = rights_signals
        self._expect = expect

    async def meet(self, meeting: Meeting, planner: Planner) -> None:
        """Write the plan once both rooms are idle; if that fails, they take messages again."""
        try:
            for room_id in sorted((meeting.source, meeting.into)):
                await self._writer.exclusively(room_id, partial(self._mark, meeting, room_id))
            plan = await self._drained(meeting, planner)
        except BaseException:  # whatever ended it, the rooms take messages again
            for room_id, status in meeting.statuses.items():
                await self._opened(room_id, status)
            raise
        await self._follow(meeting, plan)

    async def _opened(self, room_id: str, status: RoomStatus) -> None:
        """Have a room take messages again: now, or by its mark, which any worker then fires."""
        try:
            await self._unmark(room_id, status)
        except Exception as error:  # noqa: BLE001  # a store may raise anything: the mark's timer opens the room
            _log.warning("room %r is opened a little later: %s", room_id, error_text(error))
            mark = _mark(room_id, status, due_at=self._clock.now())
            try:
                await self._store.set_timer(mark)
            except Exception:  # noqa: BLE001  # likewise: this worker's lease holds the first mark's timer
                _log.exception("room %r takes no messages until the lease of this worker ends", room_id)
            self._expect(mark.due_at)

    async def _mark(self, meeting: Meeting, room_id: str) -> None:
        room = await self._changes.room(room_id)
        check_open(room, "nothing can be moved")
        if room.status is RoomStatus.MOVING:
            raise RoomBusyError(
                f"room {room_id!r} is being merged or split already: try again in some seconds"
            )
        # Held by this worker from the commit on: due for others when its lease ends.
        timer = _mark(room_id, room.status, due_at=DUE_AT_ONCE)
        await self._store.commit(
            QuietCommit(
                room_id=room_id,
                at=self._clock.now(),
                worker_id=await self._lease.any_worker(),
                expected_version=room.version,
                room_changes={"status": RoomStatus.MOVING, "updated_at": room.updated_at},
                timers=(timer,),
            )
        )
        meeting.statuses[room_id] = room.status

    async def _unmark(self, room_id: str, status: RoomStatus) -> None:
        async def work() -> None:
            room = await self._store.get_room(room_id)
            if room is None or room.status is not RoomStatus.MOVING:
                return
            await self._store.commit(
                QuietCommit(
                    room_id=room_id,
                    at=self._clock.now(),
                    expected_version=room.version,
                    room_changes={"status": status, "updated_at": room.updated_at},
                    timers_done=(moving_timer_id(room_id),),
                )
            )

        for attempt in range(_TRIES):
            try:
                return await self._writer.exclusively(room_id, work)
            except StaleRoomError:  # a lock was lost in between
                if attempt == _TRIES - 1:
                    raise

    async def fire_mark(self, timer: Timer) -> TimerOutcome:
        """Let a room take messages again whose worker was lost while it moved."""
        status = RoomStatus(str(timer.data.get("status", RoomStatus.ACTIVE)))
        await self._unmark(room_of(timer), status)
        return TimerOutcome(None, changed=True)

    async def _drained(self, meeting: Meeting, planner: Planner) -> Plan:
        """Move as planned, as soon as no delivery is pending."""
        loop, pause = asyncio.get_running_loop(), _SHORTEST_PAUSE
        while True:
            await self._ledger.flush()
            if not await self._pending(meeting):
                try:
                    return await self.under_both_locks(meeting, partial(self._move, meeting, planner))
                except (RoomBusyError, StaleRoomError):  # an observer wrote in between
                    if loop.time() >= meeting.until:
                        raise
            if loop.time() >= meeting.until:
                raise RoomBusyError(
                    f"nothing was moved from room {meeting.source!r} to {meeting.into!r}: deliveries were "
                    "still pending at the timeout; list_deliveries shows them; try again later"
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _pending(self, meeting: Meeting) -> bool:
        for room_id in (meeting.source, meeting.into):
            if await self._store.list_deliveries(room_id, state=DeliveryState.PENDING, limit=1):
                return True
        return False

    async def under_both_locks[T](self, meeting: Meeting, work: Callable[[], Awaitable[T]]) -> T:
        """Do work under the locks of both rooms."""
        first, second = sorted((meeting.source, meeting.into))
        return await self._writer.exclusively(first, lambda: self._writer.exclusively(second, work))

    async def _move(self, meeting: Meeting, planner: Planner) -> Plan:
        source, into = [await self.loaded(each) for each in (meeting.source, meeting.into)]
        for record in (source, into):
            if record.status is not RoomStatus.MOVING:
                check_open(record.room, "nothing was moved")
        plan = await planner(meeting, source, into)
        await self._store.move(plan.move)
        return plan

    async def loaded(self, room_id: str) -> RoomRecord:
        """Return a room with its newest events. Raises RoomNotFoundError."""
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is None:
            raise RoomNotFoundError(f"no room {room_id!r}: it was deleted in between; nothing was moved")
        return record

    async def _follow(self, meeting: Meeting, plan: Plan) -> None:
        """Notify channels and observers of the move, which is final."""
        if plan.rest is not None:
            self._expect(plan.rest.due_at)
        self._events.emit(
            plan.kind, room_id=meeting.into, source=meeting.source, events=len(plan.move.events)
        )
        gone = [each.replace(access=Access.NONE) for each in plan.gone]
        await self._changes.notify(*gone, *plan.come)
        for room_id in (meeting.source, meeting.into):
            self._rights_signals.announce(room_id)
        for trigger, event in plan.notes.items():
            await self._changes.observe(trigger, event)


def _mark(room_id: str, status: RoomStatus, *, due_at: datetime) -> Timer:
    """Return the timer that opens a room again, with the status that it had."""
    data = {"status": str(status)}
    return Timer(id=moving_timer_id(room_id), room_id=room_id, kind=MOVING, due_at=due_at, data=data)
