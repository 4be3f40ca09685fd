"""The life of rooms and of the channels in them. Every change is a note in the timeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.attributes import read
from roomkit.abc.channel import Channel
from roomkit.abc.errors import (
    ChannelNotFoundError,
    ChannelNotRegisteredError,
    InvalidInputError,
    RoomClosedError,
    RoomNotFoundError,
    StaleRoomError,
    TaskNotFoundError,
)
from roomkit.abc.records import checked
from roomkit.abc.store import Commit
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.contract import OPTIONAL_TEXT, check_channel, owner_of
from roomkit.kernel.flow.draft import Draft, Written
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.state import with_binding_state
from roomkit.kernel.flow.timers import (
    RETENTION,
    ROOM_TIMERS,
    TimerOutcome,
    room_of,
    room_timer,
    room_timer_id,
    timers_of,
)
from roomkit.kernel.runtime.scope import working_for
from roomkit.models.base import FrozenDict, new_id
from roomkit.models.channel import ChannelBinding, default_address_type
from roomkit.models.content import SystemContent
from roomkit.models.duration import LONGEST
from roomkit.models.enums import Access, ChannelCategory, ChannelType, EventType, HookTrigger, RoomStatus
from roomkit.models.event import SYSTEM_CHANNEL_ID, RoomEvent
from roomkit.models.room import AIConfig, Room, RoomTimers
from roomkit.models.task import Task
from roomkit.models.values import LONGEST_KEY, is_key

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.delivery.parked_rounds import ParkedRounds
    from roomkit.kernel.rooms.notices import ChannelNotices, Notice
    from roomkit.kernel.rooms.rights_signals import RightsSignals
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.models.options import KitOptions
    from roomkit.models.timer import Timer

__all__ = ["Rooms", "check_channel_id", "check_id", "check_open", "check_registered", "not_attached"]

_KEYWORDS = frozenset({"all", "none", "transport", "intelligence", "internal", SYSTEM_CHANNEL_ID})
_LONGEST_ID = 512
_TRIES = 8
_OWN_FIELDS = frozenset({"metadata", "state", "participant_id", "capabilities"})
"""What a channel may change of its binding."""
_RETENTION_PAUSE = timedelta(minutes=10)


def check_id(value: object, what: str) -> str:
    """Return `value` when it can be an id. Raises InvalidInputError."""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_ID or "\0" in value:
        shown = repr(value) if isinstance(value, str) else type(value).__name__
        raise InvalidInputError(f"{shown} cannot be a {what} id: use 1 to {_LONGEST_ID} characters of text")
    if not value.isascii() and not is_key(value):
        raise InvalidInputError(
            f"{value!r} cannot be a {what} id: use valid Unicode, of at most {LONGEST_KEY} bytes in UTF-8"
        )
    return value


def check_channel_id(value: object) -> str:
    """Return `value` when it can be a channel id. Raises InvalidInputError."""
    channel_id = check_id(value, "channel")
    if (
        channel_id in _KEYWORDS
        or any(mark in channel_id for mark in ",&")
        or channel_id != channel_id.strip()
    ):
        raise InvalidInputError(
            f"{channel_id!r} cannot be a channel id: it has a meaning in `visibility` "
            f"(not {', '.join(sorted(_KEYWORDS))}; no comma, no ampersand, no spaces around)"
        )
    return channel_id


def check_open(room: Room, what: str) -> None:
    """Refuse a change of a room that is closed or archived. Raises RoomClosedError."""
    if not room.status.is_open:
        raise RoomClosedError(f"{what}: room {room.id!r} is {room.status}")


def check_registered(channel: Channel, channel_id: str) -> None:
    """Check what a channel says of itself before it is registered.

    Raises ForeignCodeError for a property that raises or has another type, and InvalidInputError for a
    provider's name, which every event and delivery of the channel holds, that no store can hold.
    """
    name = check_channel(channel, channel_id)["provider_name"]
    if name is not None and not is_key(name):
        raise InvalidInputError(
            f"channel {channel_id!r} cannot be registered: its provider_name {name[:50]!r} cannot be "
            f"stored; use valid Unicode without NUL, of at most {LONGEST_KEY} bytes in UTF-8"
        )


def _check_timers(timers: RoomTimers) -> None:
    """Refuse lengths beyond the calendar, and a last activity without a zone. Raises InvalidInputError."""
    for name in ("inactive_after_seconds", "closed_after_seconds"):
        length = getattr(timers, name)
        if length is not None and not (isinstance(length, int | float) and 0 <= length <= LONGEST):
            raise InvalidInputError(f"timers.{name} cannot be {length!r}: give seconds, at most 1000 years")
    moved = timers.last_activity_at
    if moved is not None and moved.tzinfo is None:
        raise InvalidInputError(
            f"timers.last_activity_at {moved.isoformat()} has no time zone: use datetime.now(UTC)"
        )
    if moved is not None and not _is_in_calendar(moved):
        raise InvalidInputError(
            f"timers.last_activity_at {moved} is a time that no calendar has in UTC: use datetime.now(UTC)"
        )


def _is_in_calendar(at: datetime) -> bool:
    try:
        at.astimezone(UTC)
    except OverflowError:
        return False
    return True


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
        notices: ChannelNotices,
        hooks: HookEngine,
        events: FrameworkEvents,
        channels: Channels,
        writer: Writer,
        observers: Observers,
        lanes: Lanes,
        rights_signals: RightsSignals,
        rounds: ParkedRounds,
        organization_id: str | None = None,
    ) -> None:
        self._organization_id = organization_id
        self._rounds = rounds
        self._settings = settings
        self._store = store
        self._clock = clock
        self._notices = notices
        self._hooks = hooks
        self._events = events
        self._channels = channels
        self._writer = writer
        self._observers = observers
        self._lanes = lanes
        self._rights_signals = rights_signals

    # -- rooms --------------------------------------------------------------------------------

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
            _check_timers(timers)
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
            await self._observe(
                HookTrigger.ON_ROOM_CREATED,
                note(room.id, EventType.SYSTEM, "room_created", "the room was created").replace(
                    content=SystemContent(
                        body="the room was created", code="room_created", data={"room_id": room.id}
                    )
                ),
            )
        return room

    async def get(self, room_id: str) -> Room:
        """Return a room. Raises RoomNotFoundError."""
        room = await self._store.get_room(room_id)
        if room is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        return room

    async def close(self, room_id: str) -> Room:
        """Close a room, once."""

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            return self._with_status(draft, RoomStatus.CLOSED) if record.status.is_open else None

        event = note(room_id, EventType.SYSTEM, "room_closed", "the room was closed")
        await self._lanes.end_answers(room_id, "room_closed")
        written = await self._write(event, plan)
        if written.event is not None:
            await self._closed(room_id, written.event, "closed")
        return await self.get(room_id)

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
        written = await self._write(event, plan)
        if written.event is not None:
            self._events.emit("room_archived", room_id=room_id)
            await self._release(await self._store.list_bindings(room_id))
            self._rights_signals.announce(room_id)
        return await self.get(room_id)

    async def delete(self, room_id: str) -> bool:
        """Remove a room with everything in it."""
        bindings = await self._store.list_bindings(room_id)
        room = await self._store.get_room(room_id)
        deleted = await self._writer.exclusively(room_id, lambda: self._store.delete_room(room_id))
        if deleted:
            for each in () if room is None else room.merged_from:
                await self._delete_merged(each, room_id)
            self._lanes.end_turns(room_id, "room_deleted")
            await self._release(bindings)
            self._rights_signals.announce(room_id)
            self._hooks.forget_room(room_id)
            self._events.emit("room_deleted", room_id=room_id)
        return deleted

    async def _delete_merged(self, room_id: str, into: str) -> None:
        """Remove what is left of a room that was merged into a deleted one."""
        room = await self._store.get_room(room_id)
        if room is not None and room.merged_into == into:
            await self.delete(room_id)

    async def check_timers(self, room_id: str) -> tuple[Room, bool]:
        """Pause or close one room if its time has come; return it, and whether it changed."""
        room, now = await self.get(room_id), self._clock.now()
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

        written = await self._write(note(room_id, EventType.SYSTEM, "room_timer", ""), plan)
        if written.event is None or written.draft is None:
            return await self.get(room_id), False
        if (written.draft.room_changes or {})["status"] is RoomStatus.CLOSED:
            await self._closed(room_id, written.event, "timer")
        else:
            self._events.emit("room_paused", room_id=room_id, reason="timer")
            await self._observe(HookTrigger.ON_ROOM_PAUSED, written.event)
        return await self.get(room_id), True

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
        room = await self.get(room_of(timer))
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
        room = await self.get(room_id)
        changed = room.replace(retention_seconds=seconds)
        timers = [timer for timer in timers_of(changed) if timer.kind == RETENTION]
        commit = Commit(
            room_id=room_id,
            entries=(),
            at=self._clock.now(),
            room_changes={"retention_seconds": seconds},
            timers=timers,
            timers_done=() if timers else (f"{RETENTION}:{room_id}",),
            activity=False,
        )
        await self._store.commit(commit)
        return await self.get(room_id)

    async def set_timers(self, room_id: str, timers: RoomTimers) -> Room:
        """Replace a room's timers, and reschedule the timer for them in the same transaction."""
        _check_timers(timers)
        for _ in range(_TRIES):
            room = await self.get(room_id)
            check_open(room, "timers cannot be set")
            try:
                await self._store.commit(self._timers_commit(room, timers))
            except StaleRoomError:  # its status may have changed, and with it the next due time
                continue
            return await self.get(room_id)
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
        await self._release(await self._store.list_bindings(room_id))
        self._rights_signals.announce(room_id)
        await self._observe(HookTrigger.ON_ROOM_CLOSED, event, last=True)

    async def update_metadata(self, room_id: str, metadata: Mapping[str, Any]) -> Room:
        """Merge `metadata` into the room's."""
        frozen = Room(metadata=metadata).metadata

        async def work() -> None:
            check_open(await self.get(room_id), "metadata cannot be changed")
            at = self._clock.now()
            commit = Commit(room_id=room_id, entries=(), at=at, metadata=frozen, activity=False)
            await self._store.commit(commit)

        await self._writer.exclusively(room_id, work)
        return await self.get(room_id)

    # -- bindings -----------------------------------------------------------------------------

    def channel(self, channel_id: str) -> Channel:
        """Return a registered channel. Raises ChannelNotRegisteredError."""
        try:
            return self._channels[channel_id]
        except KeyError:
            known = ", ".join(sorted(self._channels)) or "none"
            raise ChannelNotRegisteredError(
                f"no channel {channel_id!r} is registered (there are: {known}): register_channel first"
            ) from None

    async def attach(
        self,
        room_id: str,
        channel_id: str,
        channel_type: ChannelType | None = None,
        category: ChannelCategory | None = None,
        *,
        unasked: bool = False,
        **fields: Any,
    ) -> ChannelBinding:
        """Attach a channel; a binding it had is replaced.

        Fields that are not given are the channel's defaults, else those of `ChannelBinding`.

        `unasked` is for a message that comes by a channel the room does not have: it overrides
        no decision about the channel or the room, not even a concurrent one.
        """
        channel = self.channel(channel_id)
        said = check_channel(channel, channel_id)
        fields = self._channels.binding_fields(channel_id, fields)
        fields.setdefault("direction", said["direction"])
        fields["address"] = _address(channel, channel_id, fields)
        if fields.get("fallback") == channel_id:
            raise InvalidInputError(
                f"channel {channel_id!r} cannot be its own fallback: name another channel"
            )
        binding = ChannelBinding(
            channel_id=channel_id,
            room_id=room_id,
            channel_type=channel_type or said["channel_type"],
            address_type=_own_address_type(said["address_type"], channel_type or said["channel_type"]),
            category=category if category is not None else said["category"],
            capabilities=said["capabilities"],
            attached_at=self._clock.now(),
            **fields,
        )

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            detached = record.room.detached_channels
            if unasked and (
                channel_id in record.bindings or channel_id in detached or not record.status.is_open
            ):
                return None
            check_open(record.room, f"channel {channel_id!r} cannot be attached")
            draft = replace(draft, bindings=(binding,), replaces=record.bindings.get(channel_id))
            if channel_id not in detached:
                return draft
            kept = tuple(each for each in detached if each != channel_id)
            return replace(draft, room_changes={"detached_channels": kept})

        event = note(
            room_id,
            EventType.CHANNEL_ATTACHED,
            "channel_attached",
            f"channel {channel_id} was attached",
            channel_id=channel_id,
            access=binding.access,
            visibility=binding.visibility,
        )
        written = await self._write(event, plan)
        if written.event is None:
            return binding
        self._events.emit(
            "room_channel_attached",
            room_id=room_id,
            channel_id=channel_id,
            access=binding.access,
            visibility=binding.visibility,
        )
        await self._notify(channel, binding)
        if written.draft is not None and written.draft.replaces is not None:
            self._rights_signals.announce(room_id)
        await self._observe(HookTrigger.ON_CHANNEL_ATTACHED, written.event)
        return binding

    async def detach(self, room_id: str, channel_id: str) -> bool:
        """Detach a channel and remember that it was done on purpose."""

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            binding = record.bindings.get(channel_id)
            if binding is None:
                return None
            check_open(record.room, f"channel {channel_id!r} cannot be detached")
            kept = tuple(each for each in record.room.detached_channels if each != channel_id)
            changes = {"detached_channels": (*kept, channel_id)}
            return replace(draft, unbind=(channel_id,), replaces=binding, room_changes=changes)

        event = note(
            room_id,
            EventType.CHANNEL_DETACHED,
            "channel_detached",
            f"channel {channel_id} was detached",
            channel_id=channel_id,
        )
        written = await self._write(event, plan)
        if written.event is None or written.draft is None:
            return False
        self._events.emit("room_channel_detached", room_id=room_id, channel_id=channel_id)
        channel = self._channels.get(channel_id)
        if channel is not None:
            assert written.draft.replaces is not None
            await self._notify(channel, written.draft.replaces.replace(access=Access.NONE))
        if (
            written.draft.replaces is not None
            and written.draft.replaces.category is ChannelCategory.INTELLIGENCE
        ):
            await self._rounds.drop(room_id, channel_id)
        self._rights_signals.announce(room_id)
        await self._observe(HookTrigger.ON_CHANNEL_DETACHED, written.event)
        return True

    async def mute(
        self,
        room_id: str,
        channel_id: str,
        *,
        muted: bool,
        why: str | None = None,
        by: str | None = None,
    ) -> ChannelBinding:
        """Mute or unmute a channel; an answer that a muted one is giving ends, `why` is its reason."""
        kind = EventType.CHANNEL_MUTED if muted else EventType.CHANNEL_UNMUTED
        trigger = HookTrigger.ON_CHANNEL_MUTED if muted else HookTrigger.ON_CHANNEL_UNMUTED
        return await self._change(
            room_id,
            channel_id,
            kind,
            str(kind),
            lambda binding: {"muted": muted, "mute_reason": why},
            trigger=trigger,
            noted={"muted": muted},
            by=by,
        )

    async def take_over(self, room_id: str, by: str | None) -> list[ChannelBinding]:
        """Mute every intelligence of a room."""
        return [
            binding
            if binding.muted
            else await self.mute(room_id, binding.channel_id, muted=True, why="taken_over", by=by)
            for binding in await self._intelligences(room_id)
        ]

    async def give_back(self, room_id: str, by: str | None) -> list[ChannelBinding]:
        """Unmute every intelligence of a room."""
        return [
            await self.mute(room_id, binding.channel_id, muted=False, by=by) if binding.muted else binding
            for binding in await self._intelligences(room_id)
        ]

    async def _intelligences(self, room_id: str) -> list[ChannelBinding]:
        await self.get(room_id)
        bindings = await self._store.list_bindings(room_id)
        return [binding for binding in bindings if binding.category is ChannelCategory.INTELLIGENCE]

    async def set_access(self, room_id: str, channel_id: str, access: Access) -> ChannelBinding:
        """Change what a channel may do."""
        access = Access(access)
        return await self._change(
            room_id,
            channel_id,
            EventType.CHANNEL_UPDATED,
            "channel_access_changed",
            lambda binding: {"access": access},
        )

    async def set_visibility(self, room_id: str, channel_id: str, visibility: str) -> ChannelBinding:
        """Change who sees what a channel says."""
        return await self._change(
            room_id,
            channel_id,
            EventType.CHANNEL_UPDATED,
            "channel_visibility_changed",
            lambda binding: {"visibility": visibility},
        )

    async def update_binding_metadata(
        self, room_id: str, channel_id: str, metadata: Mapping[str, Any]
    ) -> ChannelBinding:
        """Merge into a binding's metadata."""
        frozen = Room(metadata=metadata).metadata
        return await self._change(
            room_id,
            channel_id,
            EventType.CHANNEL_UPDATED,
            "channel_metadata_updated",
            lambda binding: self._readdressed(binding, FrozenDict({**binding.metadata, **frozen})),
            noted={"keys": sorted(frozen)},
        )

    def _readdressed(self, binding: ChannelBinding, metadata: FrozenDict) -> dict[str, Any]:
        """Return the changes of a binding that new metadata makes: its recipient may be another."""
        channel = self._channels.get(binding.channel_id)
        if channel is None or metadata == binding.metadata:
            return {"metadata": metadata}
        address = _address(channel, binding.channel_id, {"metadata": metadata})
        return {"metadata": metadata, "address": address or binding.address}

    async def change_binding(
        self, room_id: str, channel_id: str, fn: Callable[[ChannelBinding], ChannelBinding]
    ) -> ChannelBinding:
        """Replace what a channel may change of its binding, without an entry in the timeline."""
        for _ in range(_TRIES):
            try:
                return await self._writer.exclusively(
                    room_id, partial(self._replace_binding, room_id, channel_id, fn)
                )
            except StaleRoomError:  # a lock was lost, or a gate of the room wrote in between
                continue
        raise StaleRoomError(
            f"the binding of channel {channel_id!r} was not changed: room {room_id!r} changed {_TRIES} times "
            "in between; try again"
        )

    async def _replace_binding(
        self, room_id: str, channel_id: str, fn: Callable[[ChannelBinding], ChannelBinding]
    ) -> ChannelBinding:
        room = await self.get(room_id)  # before the binding, whose later changes make this version stale
        before = await self._store.get_binding(room_id, channel_id)
        if before is None:
            raise not_attached(room_id, channel_id)
        check_open(room, f"the binding of channel {channel_id!r} cannot be changed")
        binding = _own_change(before, fn(before))
        if binding.metadata != before.metadata:
            binding = binding.replace(**self._readdressed(before, FrozenDict(binding.metadata)))
        if binding != before:
            commit = Commit(
                room_id=room_id,
                entries=(),
                at=self._clock.now(),
                expected_version=room.version,
                bindings=(binding,),
                activity=False,
            )
            await self._store.commit(commit)
        return binding

    async def _change(
        self,
        room_id: str,
        channel_id: str,
        kind: EventType,
        code: str,
        changes: Callable[[ChannelBinding], Mapping[str, Any]],
        *,
        trigger: HookTrigger | None = None,
        noted: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> ChannelBinding:
        """Change a binding, note it, notify the channel and the observers."""

        def plan(draft: Draft, record: RoomRecord) -> Draft:
            before = record.bindings.get(channel_id)
            if before is None:
                raise not_attached(room_id, channel_id)
            check_open(record.room, f"the binding of channel {channel_id!r} cannot be changed")
            values = changes(before)
            data = dict(noted) if noted is not None else _noted(before, values)
            event = note(
                room_id,
                kind,
                code,
                f"channel {channel_id}: {code}",
                participant_id=by,
                channel_id=channel_id,
                **data,
            )
            return replace(draft, event=event, bindings=(before.model_copy(update=values),))

        written = await self._write(note(room_id, kind, code, ""), plan)
        assert written.event is not None
        assert written.draft is not None
        (binding,) = written.draft.bindings
        channel = self._channels.get(channel_id)
        if channel is not None:
            await self._notify(channel, binding)
        self._rights_signals.announce(room_id)
        if trigger is not None:
            await self._observe(trigger, written.event)
        return binding

    # -- tasks --------------------------------------------------------------------------------

    async def add_task(self, task: Task) -> Task:
        """Add a task to an open room, and show it to the observers."""

        async def work() -> None:
            check_open(await self.get(task.room_id), f"task {task.id!r} cannot be added")
            if await self._store.get_task(task.id) is not None:
                raise InvalidInputError(f"task {task.id!r} exists already: update_task changes it")
            await self._put_task(task, None)

        await self._writer.exclusively(task.room_id, work)
        await self._observe(HookTrigger.ON_TASK_CREATED, _task_note(task, EventType.TASK_CREATED))
        return task

    async def update_task(self, task_id: str, fn: Callable[[Task], Task]) -> Task:
        """Replace a task by what `fn` makes of it, and show it to the observers if it changed."""
        known = await self._task(task_id)
        for _ in range(_TRIES):
            try:
                before, after = await self._writer.exclusively(
                    known.room_id, partial(self._replace_task, known, fn)
                )
            except StaleRoomError:  # a lock was lost, or a gate of the room wrote in between
                continue
            if after != before:
                await self._observe(HookTrigger.ON_TASK_UPDATED, _task_note(after, EventType.TASK_UPDATED))
            return after
        raise StaleRoomError(
            f"task {task_id!r} was not changed: room {known.room_id!r} changed {_TRIES} times in between; "
            "try again"
        )

    async def _task(self, task_id: str) -> Task:
        found = await self._store.get_task(task_id)
        if found is None:
            raise TaskNotFoundError(f"no task {task_id!r}: list_tasks shows those of a room")
        return found

    async def _replace_task(self, known: Task, fn: Callable[[Task], Task]) -> tuple[Task, Task]:
        room = await self.get(known.room_id)  # before the task, whose later changes make this version stale
        before = await self._task(known.id)
        after = checked(fn(before), Task, f"made of task {known.id!r} by update_task")
        if (after.id, after.room_id) != (before.id, before.room_id):
            raise InvalidInputError(f"task {known.id!r} cannot get another id or room: add_task adds another")
        if after != before:
            await self._put_task(after, room.version)
        return before, after

    async def _put_task(self, task: Task, version: int | None) -> None:
        commit = Commit(
            room_id=task.room_id,
            entries=(),
            at=self._clock.now(),
            expected_version=version,
            tasks=(task,),
            activity=False,
        )
        await self._store.commit(commit)

    # -- shared -------------------------------------------------------------------------------

    async def _write(self, event: RoomEvent, plan: Callable[[Draft, RoomRecord], Draft | None]) -> Written:
        """Commit a note as planned, and wait for its cascade; no event if nothing was to be done."""
        draft = Draft(event=event, cascade=Cascade(), lifecycle=True, plan=plan)
        written = await self._writer.write(draft)
        if not working_for(event.room_id):
            await self._lanes.waits.settled(draft.cascade)
        return written

    async def _notify(self, channel: Channel, binding: ChannelBinding) -> None:
        """Notify a channel of its binding."""
        await self._notices.send([_notice(channel, binding)])

    async def _release(self, bindings: Sequence[ChannelBinding]) -> None:
        """Notify the channels of a room that has ended."""
        found = [(self._channels.get(binding.channel_id), binding) for binding in bindings]
        await self._notices.send(
            [
                _notice(channel, binding.replace(access=Access.NONE))
                for channel, binding in found
                if channel is not None
            ]
        )

    async def _observe(self, trigger: HookTrigger, event: RoomEvent, *, last: bool = False) -> None:
        """Show a note to its observers; `last`, forget the room's own hooks then."""
        if self._hooks.has_hooks(trigger, event.room_id):
            show = partial(self._show, trigger, event, last)
            await self._observers.afterwards(show, f"observers of {trigger}")
        elif last:
            self._hooks.forget_room(event.room_id)

    async def _show(self, trigger: HookTrigger, event: RoomEvent, last: bool) -> None:
        try:
            record = await self._store.load(event.room_id, recent=RECENT_EVENTS)
            if record is not None:
                await self._observers.observe(trigger, event, record, Cascade(), event.source)
        finally:
            if last:
                self._hooks.forget_room(event.room_id)


def _notice(channel: Channel, binding: ChannelBinding) -> Notice:
    update = partial(channel.update_binding, binding.room_id, binding)
    return f"update_binding of channel {channel.channel_id}", update


def _task_note(task: Task, kind: EventType) -> RoomEvent:
    """Return the event that observers of tasks are shown; it is not stored."""
    return note(task.room_id, kind, str(kind), task.title, task_id=task.id, task_title=task.title)


def not_attached(room_id: str, channel_id: str) -> ChannelNotFoundError:
    """Return the error for a channel without a binding in a room."""
    return ChannelNotFoundError(
        f"channel {channel_id!r} is not attached to room {room_id!r}: attach_channel first"
    )


def _own_change(before: ChannelBinding, after: object) -> ChannelBinding:
    """Return a binding as its own channel changed it. Raises InvalidInputError for what is the host's."""
    origin = f"made for channel {before.channel_id!r} by change_binding"
    binding = checked(after, ChannelBinding, origin)
    if binding.state != before.state:
        binding = with_binding_state(binding, binding.state)
    for name in ChannelBinding.model_fields:
        if name not in _OWN_FIELDS and getattr(binding, name) != getattr(before, name):
            raise InvalidInputError(
                f"channel {before.channel_id!r} cannot change {name!r} of its binding: a channel changes "
                f"{', '.join(sorted(_OWN_FIELDS))}; the rest is the host's"
            )
    return binding


def _noted(before: ChannelBinding, values: Mapping[str, Any]) -> dict[str, Any]:
    noted: dict[str, Any] = {}
    for name, value in values.items():
        noted[name] = value
        noted[f"old_{name}"] = getattr(before, name)
    return noted


def _address(channel: Channel, channel_id: str, fields: Mapping[str, Any]) -> str | None:
    """Return the address of a binding with these fields: the given one in its spelling, or the recipient's.

    Raises ForeignCodeError.
    """
    owner, given = owner_of(channel_id), fields.get("address")
    if isinstance(given, str):
        spelled: str = read(owner, "normalize()", lambda: channel.normalize(given), str)
        return spelled
    if given is not None or type(channel).address_of is Channel.address_of:
        found: str | None = given
        return found
    metadata = fields.get("metadata") or {}
    found = read(owner, "address_of()", lambda: channel.address_of(metadata), OPTIONAL_TEXT)
    return found


def _own_address_type(found: str, channel_type: ChannelType) -> str | None:
    """Return the channel's kind of addresses, None where it is the usual one of the type."""
    return None if found == default_address_type(channel_type) else found
