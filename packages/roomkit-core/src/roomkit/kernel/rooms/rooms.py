"""The life of rooms and of the channels in them. Every change is a note in the timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import StaleRoomError
from roomkit.abc.store import Commit
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.timers import (
    RETENTION,
    ROOM_TIMERS,
    TimerOutcome,
    room_of,
    room_timer,
    room_timer_id,
    timers_of,
)
from roomkit.kernel.rooms.checks import check_id, check_open, check_timers
from roomkit.models.base import new_id
from roomkit.models.content import SystemContent
from roomkit.models.enums import EventType, HookTrigger, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.room import AIConfig, Room, RoomTimers

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.rooms.changes import RoomChanges
    from roomkit.kernel.rooms.rights_signals import RightsSignals
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.models.options import KitOptions
    from roomkit.models.timer import Timer

__all__ = ["Rooms"]

_TRIES = 8
_RETENTION_PAUSE = timedelta(minutes=10)


_NO_TIMERS = RoomTimers()


class Rooms:
    """Creates, changes and closes rooms; attaches channels and sets what they may do.

    With an `organization_id`, rooms are made for that organization.
    """

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        clock: Clock,
        hooks: HookEngine,
        events: FrameworkEvents,
        writer: Writer,
        lanes: Lanes,
        changes: RoomChanges,
        rights_signals: RightsSignals,
        organization_id: str | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._hooks = hooks
        self._events = events
        self._writer = writer
        self._lanes = lanes
        self._changes = changes
        self._rights_signals = rights_signals
        self._organization_id = organization_id

    async def create(
        self,
        room_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        timers: RoomTimers | None = None,
        ai_config: AIConfig | None = None,
        organization_id: str | None = None,
        **fields: Any,
    ) -> Room:
        """Create a room, and say so."""
        fields.setdefault("retention_seconds", self._settings.retention)
        now = self._clock.now()
        if timers is not None:
            check_timers(timers)
            # The idle clock starts with the room: one without any message is idle too.
            timers = timers.replace(last_activity_at=timers.last_activity_at or now)
        room = Room(
            id=check_id(room_id, "room") if room_id is not None else new_id(),
            organization_id=self._organization_id or organization_id,
            metadata=metadata or {},
            ai_config=ai_config,
            created_at=now,
            updated_at=now,
            timers=timers or _NO_TIMERS,
            **fields,
        )
        room = await self._store.create_room(room, timers=timers_of(room))
        self._events.emit("room_created", room_id=room.id)
        if self._hooks.has_hooks(HookTrigger.ON_ROOM_CREATED, room.id):
            await self._changes.observe(
                HookTrigger.ON_ROOM_CREATED,
                note(room.id, EventType.SYSTEM, "room_created", "the room was created").replace(
                    content=SystemContent(
                        body="the room was created", code="room_created", data={"room_id": room.id}
                    )
                ),
            )
        return room

    async def close(self, room_id: str) -> Room:
        """Close a room, once."""

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            return self._with_status(draft, RoomStatus.CLOSED) if record.status.is_open else None

        event = note(room_id, EventType.SYSTEM, "room_closed", "the room was closed")
        await self._lanes.end_answers(room_id, "room_closed")
        written = await self._changes.write(event, plan)
        if written.event is not None:
            await self._closed(room_id, written.event, "closed")
        return await self._changes.room(room_id)

    async def archive(self, room_id: str) -> Room:
        """Put a room away, once."""

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            return (
                None
                if record.status is RoomStatus.ARCHIVED
                else self._with_status(draft, RoomStatus.ARCHIVED)
            )

        event = note(room_id, EventType.SYSTEM, "room_archived", "the room was archived")
        await self._lanes.end_answers(room_id, "room_archived")
        written = await self._changes.write(event, plan)
        if written.event is not None:
            self._events.emit("room_archived", room_id=room_id)
            await self._changes.release(await self._store.list_bindings(room_id))
            self._rights_signals.announce(room_id)
        return await self._changes.room(room_id)

    async def delete(self, room_id: str) -> bool:
        """Remove a room with everything in it."""
        bindings = await self._store.list_bindings(room_id)
        room = await self._store.get_room(room_id)
        deleted = await self._writer.exclusively(room_id, lambda: self._store.delete_room(room_id))
        if deleted:
            for each in () if room is None else room.merged_from:
                await self._delete_merged(each, room_id)
            self._lanes.end_turns(room_id, "room_deleted")
            await self._changes.release(bindings)
            self._rights_signals.announce(room_id)
            self._hooks.forget_room(room_id)
            self._events.emit("room_deleted", room_id=room_id)
        return deleted

    async def _delete_merged(self, room_id: str, into: str) -> None:
        """Remove the rest of a room that was merged into a deleted one."""
        room = await self._store.get_room(room_id)
        if room is not None and room.merged_into == into:
            await self.delete(room_id)

    async def check_timers(self, room_id: str) -> tuple[Room, bool]:
        """Pause or close one room if its time has come; return it, and whether it changed."""
        room, now = await self._changes.room(room_id), self._clock.now()
        if (expected := room.due(now)) is not None and expected[0] is RoomStatus.CLOSED:
            await self._lanes.end_answers(room_id, "room_closed")

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            due = record.room.due(now)
            if due is None:
                return None
            status, elapsed, threshold = due
            code = "room_closed_by_timer" if status is RoomStatus.CLOSED else "room_paused_by_timer"
            event = note(
                room_id,
                EventType.SYSTEM,
                code,
                f"no message for {elapsed:.0f} s",
                elapsed_seconds=elapsed,
                threshold=threshold,
            )
            return self._with_status(replace(draft, event=event), status)

        written = await self._changes.write(note(room_id, EventType.SYSTEM, "room_timer", ""), plan)
        if written.event is None or written.draft is None:
            return await self._changes.room(room_id), False
        if (written.draft.room_changes or {})["status"] is RoomStatus.CLOSED:
            await self._closed(room_id, written.event, "timer")
        else:
            self._events.emit("room_paused", room_id=room_id, reason="timer")
            await self._changes.observe(HookTrigger.ON_ROOM_PAUSED, written.event)
        return await self._changes.room(room_id), True

    async def changed_by(self, timers: Sequence[Timer]) -> list[Room]:
        """Return the rooms that these timers paused or closed, as they are now."""
        room_ids = dict.fromkeys(room_of(timer) for timer in timers if timer.kind == ROOM_TIMERS)
        rooms = [await self._store.get_room(room_id) for room_id in room_ids]
        return [room for room in rooms if room is not None]

    async def fire_timers(self, timer: Timer) -> TimerOutcome:
        """Pause or close the room a timer is for, if its time has come."""
        room, changed = await self.check_timers(room_of(timer))
        return TimerOutcome(room.next_due, changed)

    async def fire_retention(self, timer: Timer) -> TimerOutcome:
        """Remove what a room keeps no longer."""
        room = await self._changes.room(room_of(timer))
        if room.retention_seconds is None:
            return TimerOutcome(None)
        store, now = self._store, self._clock.now()
        kept_for = timedelta(seconds=room.retention_seconds)
        removed = 0
        before, scattered = now - kept_for, room.is_interleaved
        while pruned := await store.prune_events(room.id, before, interleaved=scattered):
            removed += pruned
        if removed:
            self._events.emit("events_pruned", room_id=room.id, count=removed)
        oldest = await store.list_events(room.id, limit=1, by_time=scattered)
        due_at = (oldest[0].created_at if oldest else now) + kept_for
        return TimerOutcome(max(due_at, now + _RETENTION_PAUSE), removed > 0)

    async def set_retention(self, room_id: str, seconds: float | None) -> Room:
        """Keep the room's events for so long from now on."""
        room = await self._changes.room(room_id)
        changed = room.replace(retention_seconds=seconds)
        timers = [timer for timer in timers_of(changed) if timer.kind == RETENTION]
        commit = QuietCommit(
            room_id=room_id,
            at=self._clock.now(),
            room_changes={"retention_seconds": seconds},
            timers=timers,
            timers_done=() if timers else (f"{RETENTION}:{room_id}",),
        )
        await self._store.commit(commit)
        return await self._changes.room(room_id)

    async def set_timers(self, room_id: str, timers: RoomTimers) -> Room:
        """Replace a room's timers, and reschedule the timer for them in the same transaction."""
        check_timers(timers)
        for _ in range(_TRIES):
            room = await self._changes.room(room_id)
            check_open(room, "timers cannot be set")
            try:
                await self._store.commit(self._timers_commit(room, timers))
            except StaleRoomError:  # its status may have changed, and with it the next due time
                continue
            return await self._changes.room(room_id)
        raise StaleRoomError(
            f"timers of room {room_id!r} were not set: the room changed {_TRIES} times in between; try again"
        )

    def _timers_commit(self, room: Room, timers: RoomTimers) -> Commit:
        now, moved = self._clock.now(), timers.last_activity_at
        kept = timers if moved is not None else timers.replace(last_activity_at=room.timers.last_activity_at)
        changed = room.replace(timers=kept)
        timer = room_timer(changed, changed.next_due)
        return Commit(
            room_id=room.id,
            entries=(),
            at=moved or now,  # of a commit without entries it is nothing but when the activity was
            activity=moved is not None,
            expected_version=room.version,
            room_changes={"timers": kept, "updated_at": now},
            timers=() if timer is None else (timer,),
            timers_done=(room_timer_id(room.id),) if timer is None else (),
        )

    def _with_status(self, draft: Draft, status: RoomStatus) -> Draft:
        changes: dict[str, object] = {"status": status}
        if status is RoomStatus.CLOSED:
            changes["closed_at"] = self._clock.now()
        return replace(draft, room_changes=changes)

    async def _closed(self, room_id: str, event: RoomEvent, reason: str) -> None:
        self._events.emit("room_closed", room_id=room_id, reason=reason)
        await self._changes.release(await self._store.list_bindings(room_id))
        self._rights_signals.announce(room_id)
        await self._changes.observe(HookTrigger.ON_ROOM_CLOSED, event, last=True)

    async def update_metadata(self, room_id: str, metadata: Mapping[str, Any]) -> Room:
        """Merge `metadata` into the room's."""
        frozen = Room(metadata=metadata).metadata

        async def work() -> None:
            check_open(await self._changes.room(room_id), "metadata cannot be changed")
            at = self._clock.now()
            commit = QuietCommit(room_id=room_id, at=at, metadata=frozen)
            await self._store.commit(commit)

        await self._writer.exclusively(room_id, work)
        return await self._changes.room(room_id)
