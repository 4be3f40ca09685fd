"""Rooms that meet: merging two, splitting one, moving a channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.choice import check_choice
from roomkit.abc.errors import EventNotFoundError, InvalidInputError, RoomBusyError
from roomkit.abc.store import Move
from roomkit.kernel.flow.merged import MOST_HOPS, followed
from roomkit.kernel.flow.timers import DUE_AT_ONCE, TimerOutcome, room_of
from roomkit.kernel.meeting.joining import Keep
from roomkit.kernel.meeting.meetings import Meeting, Meetings
from roomkit.kernel.meeting.plans import AT_ONCE, NAMES, MovePlans
from roomkit.kernel.rooms.checks import check_open, not_attached
from roomkit.kernel.runtime.scope import working_for
from roomkit.models.timer import Timer

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.rooms.changes import RoomChanges
    from roomkit.kernel.rooms.rooms import Rooms
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.room import Room

__all__ = ["MOVE_SECONDS", "Moves"]


MOVE_SECONDS = 30.0
"""How long a move waits for deliveries to complete, unless it is said otherwise."""


class Moves:
    """Moves events, people and channels between two rooms of one organization."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        rooms: Rooms,
        changes: RoomChanges,
        meetings: Meetings,
        plans: MovePlans,
        parked: Callable[[str], Awaitable[Sequence[object]]],
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._changes = changes
        self._meetings = meetings
        self._plans = plans
        self._parked = parked

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
        plan = partial(self._plans.merged, keep=keep, by=by)
        await self._meetings.meet(self._meeting(source, into, timeout), plan)
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
        plan = partial(self._plans.split, after_index=after_index, event_ids=chosen, by=by)
        try:
            await self._meetings.meet(self._meeting(source, target, timeout), plan)
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
        await self._meetings.meet(
            self._meeting(source, into, timeout),
            partial(self._plans.channel_moved, channel_id=channel_id, by=by),
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
                f"rooms {source.id!r} and {into.id!r} belong to different organizations: events never "
                "leave their organization"
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
                    f"room {source.id!r} cannot be merged again: its oldest part would be {hops} rooms "
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
        if not 0 < len(event_ids) <= AT_ONCE:
            raise InvalidInputError(
                f"{len(event_ids)} events cannot be split off by their ids: give 1 to {AT_ONCE}, or "
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

    def _meeting(self, source: Room, into: Room, timeout: float) -> Meeting:
        for room_id in (source.id, into.id):
            if working_for(room_id):
                raise InvalidInputError(
                    f"room {room_id!r} cannot be moved from inside its own work, which it would wait for: "
                    "do it from a timer, or from a task of your services"
                )
        until = asyncio.get_running_loop().time() + timeout
        return Meeting(source=source.id, into=into.id, until=until)

    # -- the rest of a long room ----------------------------------------------------------------

    async def fire_rest(self, timer: Timer) -> TimerOutcome:
        """Move the next events of a long room; those that were moved before are in the source no more."""
        into, source_id = await self._changes.room(room_of(timer)), str(timer.data["source"])
        into = await followed(self._store, into)
        meeting = Meeting(source=source_id, into=into.id, until=0.0)
        if await self._meetings.under_both_locks(meeting, partial(self._move_rest, meeting, timer)):
            return TimerOutcome(DUE_AT_ONCE, changed=True)
        return TimerOutcome(None, changed=True)

    async def _move_rest(self, meeting: Meeting, timer: Timer) -> bool:
        """Move a batch; return whether more is left."""
        after, until = timer.data["after_index"], timer.data["until_index"]
        source, into = [await self._meetings.loaded(each) for each in (meeting.source, meeting.into)]
        events = await self._store.list_events(
            source.room_id, limit=AT_ONCE + 1, after_index=after, before_index=until + 1
        )
        names = await self._store.get_value(
            NAMES, (source.room_id, str(until)), organization_id=into.room.organization_id
        )
        if events:
            move = Move(
                source=self._plans.commit(source, unmarks=False),  # a mark is of another move
                into=self._plans.commit(into, unmarks=False),
                events=[event.id for event in events[:AT_ONCE]],
                authors={} if names is None else dict(names.data),
            )
            await self._store.move(move)
        if len(events) > AT_ONCE:
            return True
        await self._store.delete_value(
            NAMES, (source.room_id, str(until)), organization_id=into.room.organization_id
        )
        return False
