"""The one way into a timeline, and the operations on rooms over it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.kernel.commit.departures import Departures
from roomkit.kernel.commit.planner import CommitPlanner
from roomkit.kernel.commit.writer import Writer
from roomkit.kernel.delivery.parked_rounds import PARKED
from roomkit.kernel.delivery.parked_turns import ParkedTurns
from roomkit.kernel.flow.timers import MOVING, REST_OF_MOVE, RETENTION, ROOM_TIMERS
from roomkit.kernel.media.sweeper import MEDIA_IMPORT, MEDIA_SWEEP, MediaImports, MediaSweeper
from roomkit.kernel.meeting.meetings import Meetings
from roomkit.kernel.meeting.moves import Moves
from roomkit.kernel.meeting.plans import MovePlans
from roomkit.kernel.rooms.bindings import Bindings
from roomkit.kernel.rooms.changes import RoomChanges
from roomkit.kernel.rooms.notices import ChannelNotices
from roomkit.kernel.rooms.participants import Participants
from roomkit.kernel.rooms.rights_signals import RightsSignals
from roomkit.kernel.rooms.rooms import Rooms
from roomkit.kernel.rooms.state import RoomStates
from roomkit.kernel.rooms.tasks import RoomTasks
from roomkit.kernel.schedule.sends import SCHEDULED, ScheduledSends

if TYPE_CHECKING:
    from roomkit.kernel.assembly.ground import GroundParts
    from roomkit.kernel.assembly.outbound import OutcomeParts, SendingParts, WorkParts
    from roomkit.kernel.meeting.joining import MergeOf
    from roomkit.kernel.privacy.requests import DataSubjectRequests

__all__ = ["OperationParts", "TimelineParts", "build_operations", "build_timeline"]


@dataclass(slots=True, frozen=True, kw_only=True)
class TimelineParts:
    """The writer, and what changes a room with it."""

    writer: Writer
    rights_signals: RightsSignals
    rooms_of: Callable[[str | None], Rooms]
    """Makes the rooms as one organization creates them."""
    rooms: Rooms
    changes: RoomChanges
    bindings: Bindings
    tasks: RoomTasks
    states: RoomStates
    participants: Participants


def build_timeline(
    ground: GroundParts, outcomes: OutcomeParts, sending: SendingParts, work: WorkParts
) -> TimelineParts:
    """Build the writer over the lanes, and rooms and participants over it."""
    writer = _writer(ground, outcomes, work)
    notices = ChannelNotices(
        settings=ground.settings, supervisor=ground.supervisor, observers=outcomes.observers
    )
    rights_signals = _rights_signals(ground, sending, work)

    changes = RoomChanges(
        store=ground.store,
        notices=notices,
        hooks=ground.hooks,
        channels=ground.channels,
        writer=writer,
        observers=outcomes.observers,
        lanes=work.lanes,
    )

    def rooms_of(organization_id: str | None) -> Rooms:
        return Rooms(
            settings=ground.settings,
            store=ground.store,
            clock=ground.clock,
            hooks=ground.hooks,
            events=ground.events,
            writer=writer,
            lanes=work.lanes,
            changes=changes,
            rights_signals=rights_signals,
            organization_id=organization_id,
        )

    rooms = rooms_of(None)
    ground.timers.register(ROOM_TIMERS, rooms.fire_timers)
    ground.timers.register(RETENTION, rooms.fire_retention)
    return TimelineParts(
        writer=writer,
        rights_signals=rights_signals,
        rooms_of=rooms_of,
        rooms=rooms,
        changes=changes,
        bindings=Bindings(
            store=ground.store,
            clock=ground.clock,
            events=ground.events,
            channels=ground.channels,
            changes=changes,
            rights_signals=rights_signals,
            rounds=work.rounds,
        ),
        tasks=RoomTasks(store=ground.store, clock=ground.clock, writer=writer, changes=changes),
        states=RoomStates(store=ground.store, clock=ground.clock, changes=changes),
        participants=Participants(
            store=ground.store,
            clock=ground.clock,
            channels=ground.channels,
            notices=notices,
            writer=writer,
            observers=outcomes.observers,
            lanes=work.lanes,
            rights_signals=rights_signals,
        ),
    )


def _writer(ground: GroundParts, outcomes: OutcomeParts, work: WorkParts) -> Writer:
    departures = Departures(
        settings=ground.settings,
        events=ground.events,
        ledger=outcomes.ledger,
        channels=ground.channels,
        observers=outcomes.observers,
        dispatcher=work.dispatcher,
        expect=ground.timers.expect_set,
        speculations=work.speculations,
    )
    return Writer(
        settings=ground.settings,
        store=ground.store,
        locks=ground.locks,
        tracing=ground.tracing,
        clock=ground.clock,
        supervisor=ground.supervisor,
        hooks=ground.hooks,
        events=ground.events,
        lease=ground.lease,
        ledger=outcomes.ledger,
        channels=ground.channels,
        planner=CommitPlanner(
            settings=ground.settings, store=ground.store, clock=ground.clock, channels=ground.channels
        ),
        departures=departures,
        files=ground.files,
    )


def _rights_signals(ground: GroundParts, sending: SendingParts, work: WorkParts) -> RightsSignals:
    return RightsSignals(
        settings=ground.settings,
        store=ground.store,
        signals=ground.signals,
        clock=ground.clock,
        supervisor=ground.supervisor,
        channels=ground.channels,
        homes=sending.homes,
        lanes=work.lanes,
        dispatcher=work.dispatcher,
        follows=sending.follows,
    )


@dataclass(slots=True, frozen=True, kw_only=True)
class OperationParts:
    """What lies beside a message's path: later sends, parked turns, moves, data rights, files."""

    parked: ParkedTurns
    scheduled: ScheduledSends
    moves: Moves
    privacy: Callable[[], DataSubjectRequests]
    """Data rights, whose modules are imported when they are first asked for."""
    imports: MediaImports
    sweeper: MediaSweeper


def build_operations(
    ground: GroundParts,
    outcomes: OutcomeParts,
    sending: SendingParts,
    work: WorkParts,
    timeline: TimelineParts,
    merge_of: MergeOf,
) -> OperationParts:
    """Build what writes to timelines at other times than a message does, and register its timers."""
    timers, writer = ground.timers, timeline.writer
    store, clock, events = ground.store, ground.clock, ground.events
    parked = ParkedTurns(
        store=store,
        clock=clock,
        writer=writer,
        rounds=work.rounds,
        events=events,
        expect=timers.expect,
        retry_seconds=ground.settings.lease_seconds,
    )
    timers.register(PARKED, parked.fire)
    scheduled = ScheduledSends(
        settings=ground.settings,
        store=store,
        clock=clock,
        writer=writer,
        events=events,
        expect=timers.expect,
    )
    timers.register(SCHEDULED, scheduled.fire)
    moves = _moves(ground, outcomes, timeline, parked, merge_of)
    timers.register(REST_OF_MOVE, moves.fire_rest)
    imports = MediaImports(
        store=store,
        clock=clock,
        files=ground.files,
        fetch=ground.fetch,
        exclusively=writer.exclusively,
        events=events,
        channels=ground.channels,
        supervisor=ground.supervisor,
    )
    sweeper = MediaSweeper(store=store, clock=clock, files=ground.files, events=events)
    if ground.files.are_kept:  # else they are left to workers that have the files
        timers.register(MEDIA_SWEEP, sweeper.fire)
        timers.register(MEDIA_IMPORT, imports.fire)
    return OperationParts(
        parked=parked,
        scheduled=scheduled,
        moves=moves,
        privacy=cache(partial(_privacy, ground, outcomes, sending, work, timeline)),  # bound: one
        imports=imports,
        sweeper=sweeper,
    )


def _moves(
    ground: GroundParts,
    outcomes: OutcomeParts,
    timeline: TimelineParts,
    parked: ParkedTurns,
    merge_of: MergeOf,
) -> Moves:
    meetings = Meetings(
        store=ground.store,
        clock=ground.clock,
        lease=ground.lease,
        ledger=outcomes.ledger,
        events=ground.events,
        changes=timeline.changes,
        writer=timeline.writer,
        rights_signals=timeline.rights_signals,
        expect=ground.timers.expect,
    )
    ground.timers.register(MOVING, meetings.fire_mark)
    return Moves(
        store=ground.store,
        rooms=timeline.rooms,
        changes=timeline.changes,
        meetings=meetings,
        plans=MovePlans(store=ground.store, clock=ground.clock, channels=ground.channels, merge_of=merge_of),
        parked=parked.list,
    )


def _privacy(
    ground: GroundParts,
    outcomes: OutcomeParts,
    sending: SendingParts,
    work: WorkParts,
    timeline: TimelineParts,
) -> DataSubjectRequests:
    from roomkit.kernel.privacy.exports import Exports
    from roomkit.kernel.privacy.requests import DataSubjectRequests

    store, clock, ledger, consents = ground.store, ground.clock, outcomes.ledger, sending.consents
    return DataSubjectRequests(
        store=store,
        clock=clock,
        supervisor=ground.supervisor,
        hooks=ground.hooks,
        events=ground.events,
        ledger=ledger,
        channels=ground.channels,
        rooms=timeline.rooms,
        changes=timeline.changes,
        writer=timeline.writer,
        lanes=work.lanes,
        observers=outcomes.observers,
        exports=Exports(store=store, clock=clock, ledger=ledger, consents=consents, files=ground.files),
        consents=consents,
        rights_signals=timeline.rights_signals,
    )
