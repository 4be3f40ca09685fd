"""Rooms that meet: merging two, splitting one, moving a channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.choice import check_choice
from roomkit.abc.errors import (
    EventNotFoundError,
    InvalidInputError,
    RoomBusyError,
    RoomNotFoundError,
    StaleRoomError,
)
from roomkit.abc.log import get_logger
from roomkit.abc.store import Commit, Entry, Move
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.claim_values import lasting_claims
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.merged import MOST_HOPS, followed
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.timers import (
    DUE_AT_ONCE,
    MOVING,
    REST_OF_MOVE,
    RETENTION,
    TimerOutcome,
    moving_timer_id,
    room_of,
    room_timer_id,
)
from roomkit.kernel.meeting.joining import Keep, MergeOf, joined, merged_bindings, merged_state, moved_binding
from roomkit.kernel.rooms.checks import check_open, not_attached
from roomkit.kernel.runtime.scope import working_for
from roomkit.models.base import EMPTY
from roomkit.models.enums import Access, DeliveryState, EventType, HookTrigger, RoomStatus
from roomkit.models.timer import Timer
from roomkit.models.value import Value
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.rooms.changes import RoomChanges
    from roomkit.kernel.rooms.notices import ChannelNotices
    from roomkit.kernel.rooms.rights_signals import RightsSignals
    from roomkit.kernel.rooms.rooms import Rooms
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room

__all__ = ["MOVE_SECONDS", "Moves"]

_log = get_logger("roomkit.kernel")

_AT_ONCE = 5_000
"""How many events one transaction moves at most."""
MOVE_SECONDS = 30.0
"""How long a move waits for deliveries to complete, unless it is said otherwise."""
_NAMES = "core.moves"
_TRIES = 8
_SHORTEST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


@dataclass(slots=True, kw_only=True)
class _Plan:
    """What to write, and what follows once it is written."""

    move: Move
    notes: Mapping[HookTrigger, RoomEvent]
    gone: Sequence[ChannelBinding] = ()
    come: Sequence[ChannelBinding] = ()
    kind: str
    rest: Timer | None = None


@dataclass(slots=True, kw_only=True)
class _Meeting:
    """Two rooms about to meet, the statuses that they had, and until when to wait for them."""

    source: str
    into: str
    until: float
    statuses: dict[str, RoomStatus] = field(default_factory=dict)


type _Planner = Callable[[_Meeting, RoomRecord, RoomRecord], Awaitable[_Plan]]


class Moves:
    """Moves events, people and channels between two rooms of one organization.

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
        hooks: HookEngine,
        events: FrameworkEvents,
        channels: Channels,
        rooms: Rooms,
        changes: RoomChanges,
        writer: Writer,
        observers: Observers,
        notices: ChannelNotices,
        rights_signals: RightsSignals,
        expect: Callable[[datetime], None],
        parked: Callable[[str], Awaitable[Sequence[object]]],
        merge_of: MergeOf,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._ledger = ledger
        self._hooks = hooks
        self._events = events
        self._channels = channels
        self._rooms = rooms
        self._changes = changes
        self._writer = writer
        self._observers = observers
        self._notices = notices
        self._rights_signals = rights_signals
        self._expect = expect
        self._parked = parked
        self._merge_of = merge_of

    # -- operations ---------------------------------------------------------------------------

    async def merge(
        self, source: Room, into: Room, *, keep: Keep | None, timeout: float, by: str | None
    ) -> Room:
        """Move everything of a room into another one, and close it."""
        if keep is not None:
            check_choice(keep, ("source", "into"), "keep")
        if source.merged_into is not None and (await followed(self._store, source)).id == into.id:
            return into
        self._check(source, into)
        await self._check_hops(source)
        await self._check_homes(source.id, None)
        if await self._parked(source.id):
            raise RoomBusyError(
                f"a turn of an agent is parked in room {source.id!r}, and continues there: resume it, or "
                "detach the agent"
            )
        plan = partial(self._merged, keep=keep, by=by)
        await self._meet(self._meeting(source, into, timeout), plan)
        return await self._changes.room(into.id)

    async def split(
        self,
        source: Room,
        into: Room | None,
        *,
        after_index: int | None,
        event_ids: Sequence[str] | None,
        timeout: float,
        by: str | None,
    ) -> Room:
        """Move some events of a room into another one, which is made if none is given."""
        chosen = await self._chosen(source, after_index, event_ids)
        if into is not None:
            self._check(source, into)
        check_open(source, "the room cannot be split")
        made = None if into is not None else await self._made(source)
        target = into or made
        assert target is not None
        plan = partial(self._split, after_index=after_index, event_ids=chosen, by=by)
        try:
            await self._meet(self._meeting(source, target, timeout), plan)
        except BaseException:
            if made is not None:
                await self._store.delete_room(made.id)
            raise
        return await self._changes.room(target.id)

    async def move_channel(
        self, channel_id: str, source: Room, into: Room, *, timeout: float, by: str | None
    ) -> ChannelBinding:
        """Detach a channel from a room, and attach it to another one as it is."""
        self._check(source, into)
        await self._check_homes(source.id, channel_id)
        await self._meet(
            self._meeting(source, into, timeout), partial(self._channel_moved, channel_id=channel_id, by=by)
        )
        binding = await self._store.get_binding(into.id, channel_id)
        if binding is None:
            raise not_attached(into.id, channel_id)
        return binding

    # -- refusals before anything is done -------------------------------------------------------

    def _check(self, source: Room, into: Room) -> None:
        if source.id == into.id:
            raise InvalidInputError(f"room {source.id!r} cannot be moved into itself: name two rooms")
        if source.organization_id != into.organization_id:
            raise InvalidInputError(
                f"rooms {source.id!r} and {into.id!r} belong to different organizations: what is said in one "
                "stays there"
            )
        for room in (source, into):
            check_open(room, "nothing can be moved")

    async def _check_hops(self, source: Room) -> None:
        """Refuse a merge after which a room would be more than the most hops away from its contents."""
        rooms, hops = [source], 0
        while rooms:
            hops += 1
            if hops > MOST_HOPS:
                raise InvalidInputError(
                    f"room {source.id!r} cannot be merged once more: its oldest part would be {hops} rooms "
                    "away; merge the other room into it"
                )
            earlier = [each for room in rooms for each in room.merged_from]
            found = [await self._store.get_room(each) for each in earlier]
            rooms = [room for room in found if room is not None]

    async def _check_homes(self, room_id: str, channel_id: str | None) -> None:
        """Refuse to move a live thing away from its room: a call goes on where it is."""
        found = [each.channel_id for each in await self._store.list_bindings(room_id)]
        for each in found if channel_id is None else [channel_id]:
            home = await self._store.get_home(room_id, each)
            if home is not None and home.is_alive:
                raise RoomBusyError(
                    f"channel {each!r} is live in room {room_id!r}: merge the other room into this one, or "
                    "end the live thing first"
                )

    async def _chosen(
        self, source: Room, after_index: int | None, event_ids: Sequence[str] | None
    ) -> list[str]:
        if (after_index is None) == (event_ids is None):
            raise InvalidInputError("say which events the split takes: either after_index or event_ids")
        if event_ids is None:
            assert after_index is not None
            if source.latest_index <= after_index:
                raise InvalidInputError(
                    f"room {source.id!r} has no event after index {after_index}: its newest is at "
                    f"{source.latest_index}"
                )
            return []
        if not 0 < len(event_ids) <= _AT_ONCE:
            raise InvalidInputError(
                f"{len(event_ids)} events cannot be split off by their ids: give 1 to {_AT_ONCE}, or "
                "after_index"
            )
        events = [await self._store.get_event(each) for each in dict.fromkeys(event_ids)]
        for own_id, event in zip(dict.fromkeys(event_ids), events, strict=True):
            if event is None or event.room_id != source.id:
                raise EventNotFoundError(f"room {source.id!r} has no event {own_id!r} to move")
        found = [event for event in events if event is not None]
        return [event.id for event in sorted(found, key=lambda each: each.index)]

    async def _made(self, source: Room) -> Room:
        return await self._rooms.create(
            organization_id=source.organization_id,
            retention_seconds=source.retention_seconds,
            agent_response_policy=source.agent_response_policy,
            auto_attach=source.auto_attach,
            ai_config=source.ai_config,
        )

    # -- the way of every move ------------------------------------------------------------------

    def _meeting(self, source: Room, into: Room, timeout: float) -> _Meeting:
        for room_id in (source.id, into.id):
            if working_for(room_id):
                raise InvalidInputError(
                    f"room {room_id!r} cannot be moved from inside its own work, which it would wait for: "
                    "do it from a timer, or from a task of your services"
                )
        until = asyncio.get_running_loop().time() + timeout
        return _Meeting(source=source.id, into=into.id, until=until)

    async def _meet(self, meeting: _Meeting, planner: _Planner) -> None:
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

    async def _mark(self, meeting: _Meeting, room_id: str) -> None:
        room = await self._changes.room(room_id)
        check_open(room, "nothing can be moved")
        if room.status is RoomStatus.MOVING:
            raise RoomBusyError(
                f"room {room_id!r} is being merged or split already: try again in some seconds"
            )
        # Held by this worker from the commit on: due for others when its lease ends.
        timer = _mark(room_id, room.status, due_at=DUE_AT_ONCE)
        await self._store.commit(
            Commit(
                room_id=room_id,
                entries=(),
                at=self._clock.now(),
                worker_id=await self._lease.any_worker(),
                expected_version=room.version,
                room_changes={"status": RoomStatus.MOVING, "updated_at": room.updated_at},
                timers=(timer,),
                activity=False,
            )
        )
        meeting.statuses[room_id] = room.status

    async def _unmark(self, room_id: str, status: RoomStatus) -> None:
        async def work() -> None:
            room = await self._store.get_room(room_id)
            if room is None or room.status is not RoomStatus.MOVING:
                return
            await self._store.commit(
                Commit(
                    room_id=room_id,
                    entries=(),
                    at=self._clock.now(),
                    expected_version=room.version,
                    room_changes={"status": status, "updated_at": room.updated_at},
                    timers_done=(moving_timer_id(room_id),),
                    activity=False,
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

    async def _drained(self, meeting: _Meeting, planner: _Planner) -> _Plan:
        """Move what is planned, as soon as no delivery is pending."""
        loop, pause = asyncio.get_running_loop(), _SHORTEST_PAUSE
        while True:
            await self._ledger.flush()
            if not await self._pending(meeting):
                try:
                    return await self._under_both_locks(meeting, partial(self._move, meeting, planner))
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

    async def _pending(self, meeting: _Meeting) -> bool:
        for room_id in (meeting.source, meeting.into):
            if await self._store.list_deliveries(room_id, state=DeliveryState.PENDING, limit=1):
                return True
        return False

    async def _under_both_locks[T](self, meeting: _Meeting, work: Callable[[], Awaitable[T]]) -> T:
        first, second = sorted((meeting.source, meeting.into))
        return await self._writer.exclusively(first, lambda: self._writer.exclusively(second, work))

    async def _move(self, meeting: _Meeting, planner: _Planner) -> _Plan:
        source, into = [await self._loaded(each) for each in (meeting.source, meeting.into)]
        for record in (source, into):
            if record.status is not RoomStatus.MOVING:
                check_open(record.room, "nothing was moved")
        plan = await planner(meeting, source, into)
        await self._store.move(plan.move)
        return plan

    async def _loaded(self, room_id: str) -> RoomRecord:
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is None:
            raise RoomNotFoundError(f"no room {room_id!r}: it was deleted in between; nothing was moved")
        return record

    async def _follow(self, meeting: _Meeting, plan: _Plan) -> None:
        """Notify channels and observers of what was moved; nothing is taken back any more."""
        if plan.rest is not None:
            self._expect(plan.rest.due_at)
        self._events.emit(
            plan.kind, room_id=meeting.into, source=meeting.source, events=len(plan.move.events)
        )
        notices = [each.replace(access=Access.NONE) for each in plan.gone]
        found = [(self._channels.get(each.channel_id), each) for each in (*notices, *plan.come)]
        await self._notices.send(
            [
                (
                    f"update_binding of channel {each.channel_id}",
                    partial(channel.update_binding, each.room_id, each),
                )
                for channel, each in found
                if channel is not None
            ]
        )
        for room_id in (meeting.source, meeting.into):
            self._rights_signals.announce(room_id)
        for trigger, event in plan.notes.items():
            if self._hooks.has_hooks(trigger, event.room_id):
                show = partial(self._show, trigger, event)
                await self._observers.afterwards(show, f"observers of {trigger}")

    async def _show(self, trigger: HookTrigger, event: RoomEvent) -> None:
        record = await self._store.load(event.room_id, recent=RECENT_EVENTS)
        if record is not None:
            await self._observers.observe(trigger, event, record, Cascade(), event.source)

    # -- merging ------------------------------------------------------------------------------

    async def _merged(
        self, meeting: _Meeting, source: RoomRecord, into: RoomRecord, *, keep: Keep | None, by: str | None
    ) -> _Plan:
        people = joined(source.participants.values(), source, into)
        bindings = merged_bindings(source, into, people.names, keep)
        state, dropped = merged_state(source, into, self._merge_of)
        ids, is_whole = await self._first_events(source, None)
        now = self._clock.now()
        event = note(
            into.room_id,
            EventType.SYSTEM,
            "rooms_merged",
            f"room {source.room_id} was merged into this one",
            participant_id=by,
            source=source.room_id,
            into=into.room_id,
            events=source.room.event_count,
            kept=keep,
            state_dropped=dropped,
        )
        rest, values = self._rest(source, into, people.names, None, is_whole=is_whole)
        move = Move(
            source=self._commit(
                source,
                unbind=tuple(source.bindings),
                remove_participants=tuple(source.participants),
                room_changes={
                    "status": RoomStatus.CLOSED,
                    "closed_at": now,
                    "merged_into": into.room_id,
                    "state": EMPTY,
                },
                timers_done=(room_timer_id(source.room_id), f"{RETENTION}:{source.room_id}"),
            ),
            into=self._commit(
                into,
                entries=(Entry(event),),
                participants=people.people,
                bindings=bindings,
                room_changes={
                    "status": meeting.statuses[into.room_id],
                    "merged_from": (*into.room.merged_from, source.room_id),
                    "is_interleaved": True,
                    "state": state,
                },
                timers=self._into_timers(into, rest),
                values=(*values, *_addresses_of(bindings, into)),
            ),
            events=ids,
            authors=people.names,
            channels=tuple(source.bindings),
            everything=True,
        )
        return _Plan(
            move=move,
            notes={HookTrigger.ON_ROOMS_MERGED: event},
            gone=tuple(source.bindings.values()),
            come=bindings,
            kind="rooms_merged",
            rest=rest,
        )

    # -- splitting ----------------------------------------------------------------------------

    async def _split(
        self,
        meeting: _Meeting,
        source: RoomRecord,
        into: RoomRecord,
        *,
        after_index: int | None,
        event_ids: Sequence[str],
        by: str | None,
    ) -> _Plan:
        ids, is_whole = list(event_ids), True
        if after_index is not None:
            ids, is_whole = await self._first_events(source, after_index)
        authors = await self._authors(ids, source)
        people = joined(authors, source, into)
        events = [
            note(
                room_id,
                EventType.SYSTEM,
                "room_split",
                f"events of room {source.room_id} were moved to room {into.room_id}",
                participant_id=by,
                source=source.room_id,
                into=into.room_id,
                after_index=after_index,
                events=len(ids) if is_whole else None,
            )
            for room_id in (source.room_id, into.room_id)
        ]
        rest, values = self._rest(source, into, people.names, after_index, is_whole=is_whole)
        statuses = meeting.statuses
        changes = {"status": statuses[into.room_id], "is_interleaved": into.room.latest_index >= 0}
        if into.room.is_interleaved or source.room.is_interleaved:
            changes["is_interleaved"] = True
        move = Move(
            source=self._commit(
                source, entries=(Entry(events[0]),), room_changes={"status": statuses[source.room_id]}
            ),
            into=self._commit(
                into,
                entries=(Entry(events[1]),),
                participants=people.people,
                room_changes=changes,
                timers=self._into_timers(into, rest),
                values=values,
            ),
            events=ids,
            authors=people.names,
        )
        return _Plan(move=move, notes={HookTrigger.ON_ROOM_SPLIT: events[0]}, kind="room_split", rest=rest)

    async def _authors(self, event_ids: Sequence[str], source: RoomRecord) -> list[Participant]:
        names: dict[str, None] = {}  # bound: the participants of the room
        for own_id in event_ids:
            event = await self._store.get_event(own_id)
            if event is not None:
                names |= dict.fromkeys(filter(None, (event.source.participant_id, event.source.on_behalf_of)))
        return [source.participants[each] for each in names if each in source.participants]

    # -- moving a channel ---------------------------------------------------------------------

    async def _channel_moved(
        self, meeting: _Meeting, source: RoomRecord, into: RoomRecord, *, channel_id: str, by: str | None
    ) -> _Plan:
        before = source.bindings.get(channel_id)
        if before is None:
            raise not_attached(source.room_id, channel_id)
        if channel_id in into.bindings:
            raise InvalidInputError(
                f"channel {channel_id!r} is attached to room {into.room_id!r} already: merge_rooms joins two "
                "bindings, with keep="
            )
        own = [
            person
            for person in source.participants.values()
            if person.id == before.participant_id or any(channel_id == each for each, _ in person.senders)
        ]
        people = joined(own, source, into)
        binding = moved_binding(before, into, people.names)
        data = {"channel_id": channel_id, "source": source.room_id, "into": into.room_id}
        gone = note(
            source.room_id,
            EventType.CHANNEL_DETACHED,
            "channel_moved",
            f"channel {channel_id} was moved to room {into.room_id}",
            participant_id=by,
            **data,
        )
        come = note(
            into.room_id,
            EventType.CHANNEL_ATTACHED,
            "channel_moved",
            f"channel {channel_id} was moved here from room {source.room_id}",
            participant_id=by,
            **data,
        )
        detached = source.room.detached_channels
        kept = tuple(each for each in into.room.detached_channels if each != channel_id)
        move = Move(
            source=self._commit(
                source,
                entries=(Entry(gone),),
                unbind=(channel_id,),
                room_changes={
                    "status": meeting.statuses[source.room_id],
                    "detached_channels": (*(each for each in detached if each != channel_id), channel_id),
                },
            ),
            into=self._commit(
                into,
                entries=(Entry(come),),
                participants=people.people,
                bindings=(binding,),
                room_changes={"status": meeting.statuses[into.room_id], "detached_channels": kept},
            ),
            channels=(channel_id,),
        )
        return _Plan(
            move=move,
            notes={HookTrigger.ON_CHANNEL_DETACHED: gone, HookTrigger.ON_CHANNEL_ATTACHED: come},
            gone=(before,),
            come=(binding,),
            kind="channel_moved",
        )

    # -- the rest of a long room ----------------------------------------------------------------

    async def _first_events(self, source: RoomRecord, after_index: int | None) -> tuple[list[str], bool]:
        """Return the events that are moved at once, and whether they are all."""
        events = await self._store.list_events(source.room_id, limit=_AT_ONCE + 1, after_index=after_index)
        return [event.id for event in events[:_AT_ONCE]], len(events) <= _AT_ONCE

    def _rest(
        self,
        source: RoomRecord,
        into: RoomRecord,
        names: Mapping[str, str],
        after_index: int | None,
        *,
        is_whole: bool,
    ) -> tuple[Timer | None, Sequence[Value]]:
        """Return the timer that moves what is left, and the value with the participants' names for it."""
        if is_whole:
            return None, ()
        until = source.room.latest_index
        timer = Timer(
            id=f"{REST_OF_MOVE}:{source.room_id}:{until}",
            room_id=into.room_id,
            kind=REST_OF_MOVE,
            due_at=DUE_AT_ONCE,
            data={"source": source.room_id, "after_index": after_index, "until_index": until},
        )
        value = Value(
            namespace=_NAMES,
            key=(source.room_id, str(until)),
            organization_id=into.room.organization_id,
            room_id=into.room_id,
            data=dict(names),
        )
        return timer, (value,)

    async def fire_rest(self, timer: Timer) -> TimerOutcome:
        """Move the next events of a long room; those that were moved before are in the source no more."""
        into, source_id = await self._changes.room(room_of(timer)), str(timer.data["source"])
        into = await followed(self._store, into)
        meeting = _Meeting(source=source_id, into=into.id, until=0.0)
        if await self._under_both_locks(meeting, partial(self._move_rest, meeting, timer)):
            return TimerOutcome(DUE_AT_ONCE, changed=True)
        return TimerOutcome(None, changed=True)

    async def _move_rest(self, meeting: _Meeting, timer: Timer) -> bool:
        """Move a batch; return whether more is left."""
        after, until = timer.data["after_index"], timer.data["until_index"]
        source, into = [await self._loaded(each) for each in (meeting.source, meeting.into)]
        events = await self._store.list_events(
            source.room_id, limit=_AT_ONCE + 1, after_index=after, before_index=until + 1
        )
        names = await self._store.get_value(
            _NAMES, (source.room_id, str(until)), organization_id=into.room.organization_id
        )
        if events:
            move = Move(
                source=self._commit(source, unmarks=False),  # a mark is of another move
                into=self._commit(into, unmarks=False),
                events=[event.id for event in events[:_AT_ONCE]],
                authors={} if names is None else dict(names.data),
            )
            await self._store.move(move)
        if len(events) > _AT_ONCE:
            return True
        await self._store.delete_value(
            _NAMES, (source.room_id, str(until)), organization_id=into.room.organization_id
        )
        return False

    # -- shared -------------------------------------------------------------------------------

    def _commit(self, record: RoomRecord, *, unmarks: bool = True, **given: Any) -> Commit:
        """Return a commit to a room as it was loaded, which takes its mark away."""
        notes = given.pop("entries", ())
        mark = (moving_timer_id(record.room_id),) if unmarks else ()
        done = (*given.pop("timers_done", ()), *mark)
        commit = Commit(
            room_id=record.room_id,
            entries=(),
            at=self._clock.now(),
            expected_version=record.version,
            timers_done=done,
            activity=False,
            **given,
        )
        commit.entries = notes  # the framework's own, of what is moved in the same transaction
        return commit

    def _into_timers(self, into: RoomRecord, rest: Timer | None) -> list[Timer]:
        """Return the timers that the other room gets: what came may be older than it keeps events."""
        timers = [] if rest is None else [rest]
        if into.room.retention_seconds is not None:
            timers.append(
                Timer(
                    id=f"{RETENTION}:{into.room_id}",
                    room_id=into.room_id,
                    kind=RETENTION,
                    due_at=self._clock.now(),
                )
            )
        return timers


def _mark(room_id: str, status: RoomStatus, *, due_at: datetime) -> Timer:
    """Return the timer that opens a room again, with the status that it had."""
    data = {"status": str(status)}
    return Timer(id=moving_timer_id(room_id), room_id=room_id, kind=MOVING, due_at=due_at, data=data)


def _addresses_of(bindings: Sequence[ChannelBinding], into: RoomRecord) -> list[Value]:
    """Return what has the further addresses of bindings lead to their room."""
    own = into.room.organization_id
    return [value for each in bindings if each.also for value in lasting_claims(each, own)]
