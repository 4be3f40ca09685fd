"""What a merge, a split or a moved channel writes to the two rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.store import Commit, Entry, Move
from roomkit.kernel.flow.claim_values import lasting_claims
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.timers import DUE_AT_ONCE, REST_OF_MOVE, RETENTION, moving_timer_id, room_timer_id
from roomkit.kernel.meeting.joining import Keep, MergeOf, joined, merged_bindings, merged_state, moved_binding
from roomkit.kernel.meeting.meetings import Meeting, Plan
from roomkit.kernel.rooms.checks import not_attached
from roomkit.models.base import EMPTY
from roomkit.models.enums import EventType, HookTrigger, RoomStatus
from roomkit.models.timer import Timer
from roomkit.models.value import Value

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.participant import Participant


__all__ = ["AT_ONCE", "NAMES", "MovePlans"]

AT_ONCE = 5_000
"""How many events one transaction moves at most."""
NAMES = "core.moves"


class MovePlans:
    """Plans moves from the records of both rooms; nothing is written."""

    def __init__(
        self, *, store: ConversationStore, clock: Clock, channels: Channels, merge_of: MergeOf
    ) -> None:
        self._store = store
        self._channels = channels
        self._clock = clock
        self._merge_of = merge_of

    async def merged(
        self, meeting: Meeting, source: RoomRecord, into: RoomRecord, *, keep: Keep | None, by: str | None
    ) -> Plan:
        """Plan to move everything, and to close the source."""
        people = joined(source.participants.values(), source, into)
        bindings = merged_bindings(source, into, people.names, keep, self._channels)
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
            source=self.commit(
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
            into=self.commit(
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
        return Plan(
            move=move,
            notes={HookTrigger.ON_ROOMS_MERGED: event},
            gone=tuple(source.bindings.values()),
            come=bindings,
            kind="rooms_merged",
            rest=rest,
        )

    async def split(
        self,
        meeting: Meeting,
        source: RoomRecord,
        into: RoomRecord,
        *,
        after_index: int | None,
        event_ids: Sequence[str],
        by: str | None,
    ) -> Plan:
        """Plan to move some events, and the people who wrote them."""
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
            source=self.commit(
                source, entries=(Entry(events[0]),), room_changes={"status": statuses[source.room_id]}
            ),
            into=self.commit(
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
        return Plan(move=move, notes={HookTrigger.ON_ROOM_SPLIT: events[0]}, kind="room_split", rest=rest)

    async def _authors(self, event_ids: Sequence[str], source: RoomRecord) -> list[Participant]:
        names: dict[str, None] = {}  # bound: the participants of the room
        for own_id in event_ids:
            event = await self._store.get_event(own_id)
            if event is not None:
                names |= dict.fromkeys(filter(None, (event.source.participant_id, event.source.on_behalf_of)))
        return [source.participants[each] for each in names if each in source.participants]

    async def channel_moved(
        self, meeting: Meeting, source: RoomRecord, into: RoomRecord, *, channel_id: str, by: str | None
    ) -> Plan:
        """Plan to move a binding, and the people who came by it."""
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
            source=self.commit(
                source,
                entries=(Entry(gone),),
                unbind=(channel_id,),
                room_changes={
                    "status": meeting.statuses[source.room_id],
                    "detached_channels": (*(each for each in detached if each != channel_id), channel_id),
                },
            ),
            into=self.commit(
                into,
                entries=(Entry(come),),
                participants=people.people,
                bindings=(binding,),
                room_changes={"status": meeting.statuses[into.room_id], "detached_channels": kept},
            ),
            channels=(channel_id,),
        )
        return Plan(
            move=move,
            notes={HookTrigger.ON_CHANNEL_DETACHED: gone, HookTrigger.ON_CHANNEL_ATTACHED: come},
            gone=(before,),
            come=(binding,),
            kind="channel_moved",
        )

    async def _first_events(self, source: RoomRecord, after_index: int | None) -> tuple[list[str], bool]:
        """Return the events that are moved at once, and whether they are all."""
        events = await self._store.list_events(source.room_id, limit=AT_ONCE + 1, after_index=after_index)
        return [event.id for event in events[:AT_ONCE]], len(events) <= AT_ONCE

    def _rest(
        self,
        source: RoomRecord,
        into: RoomRecord,
        names: Mapping[str, str],
        after_index: int | None,
        *,
        is_whole: bool,
    ) -> tuple[Timer | None, Sequence[Value]]:
        """Return the timer that moves the rest, and the value with the participants' names for it."""
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
            namespace=NAMES,
            key=(source.room_id, str(until)),
            organization_id=into.room.organization_id,
            room_id=into.room_id,
            data=dict(names),
        )
        return timer, (value,)

    def commit(self, record: RoomRecord, *, unmarks: bool = True, **given: Any) -> Commit:
        """Return a commit to a room as it was loaded, which takes its mark away."""
        notes = given.pop("entries", ())
        mark = (moving_timer_id(record.room_id),) if unmarks else ()
        done = (*given.pop("timers_done", ()), *mark)
        commit = QuietCommit(
            room_id=record.room_id,
            at=self._clock.now(),
            expected_version=record.version,
            timers_done=done,
            **given,
        )
        commit.entries = notes  # the framework's own, about the move in the same transaction
        return commit

    def _into_timers(self, into: RoomRecord, rest: Timer | None) -> list[Timer]:
        """Return the timers that the other room gets: moved events may be older than it keeps events."""
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


def _addresses_of(bindings: Sequence[ChannelBinding], into: RoomRecord) -> list[Value]:
    """Return the values by which further addresses of bindings lead to their room."""
    own = into.room.organization_id
    return [value for each in bindings if each.also for value in lasting_claims(each, own)]
