"""The channels of a room: attached, changed and detached. Every change but a channel's own is noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.attributes import read
from roomkit.abc.channel import Channel
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import checked
from roomkit.kernel.flow.contract import OPTIONAL_TEXT, check_channel, owner_of
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.state import with_binding_state
from roomkit.kernel.rooms.checks import check_open, not_attached
from roomkit.models.base import FrozenDict
from roomkit.models.channel import ChannelBinding, default_address_type
from roomkit.models.enums import Access, ChannelCategory, ChannelType, EventType, HookTrigger
from roomkit.models.room import Room

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.delivery.parked_rounds import ParkedRounds
    from roomkit.kernel.rooms.changes import RoomChanges
    from roomkit.kernel.rooms.rights_signals import RightsSignals
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents


__all__ = ["Bindings"]

_OWN_FIELDS = frozenset({"metadata", "state", "participant_id", "capabilities"})
"""What a channel may change of its binding."""


class Bindings:
    """Attaches channels to rooms, and sets what they may do there."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        events: FrameworkEvents,
        channels: Channels,
        changes: RoomChanges,
        rights_signals: RightsSignals,
        rounds: ParkedRounds,
    ) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._channels = channels
        self._changes = changes
        self._rights_signals = rights_signals
        self._rounds = rounds

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
        channel = self._channels.known(channel_id)
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
            draft = copy(draft)
            draft.bindings, draft.replaces = (binding,), record.bindings.get(channel_id)
            if channel_id in detached:
                kept = tuple(each for each in detached if each != channel_id)
                draft.room_changes = {"detached_channels": kept}
            return draft

        event = note(
            room_id,
            EventType.CHANNEL_ATTACHED,
            "channel_attached",
            f"channel {channel_id} was attached",
            channel_id=channel_id,
            access=binding.access,
            visibility=binding.visibility,
        )
        written = await self._changes.write(event, plan)
        if written.event is None:
            return binding
        self._events.emit(
            "room_channel_attached",
            room_id=room_id,
            channel_id=channel_id,
            access=binding.access,
            visibility=binding.visibility,
        )
        await self._changes.notify(binding)
        if written.draft is not None and written.draft.replaces is not None:
            self._rights_signals.announce(room_id)
        await self._changes.observe(HookTrigger.ON_CHANNEL_ATTACHED, written.event)
        return binding

    async def detach(self, room_id: str, channel_id: str) -> bool:
        """Detach a channel and remember that it was done on purpose."""

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            binding = record.bindings.get(channel_id)
            if binding is None:
                return None
            check_open(record.room, f"channel {channel_id!r} cannot be detached")
            kept = tuple(each for each in record.room.detached_channels if each != channel_id)
            draft = copy(draft)
            draft.unbind, draft.replaces = (channel_id,), binding
            draft.room_changes = {"detached_channels": (*kept, channel_id)}
            return draft

        event = note(
            room_id,
            EventType.CHANNEL_DETACHED,
            "channel_detached",
            f"channel {channel_id} was detached",
            channel_id=channel_id,
        )
        written = await self._changes.write(event, plan)
        if written.event is None or written.draft is None:
            return False
        self._events.emit("room_channel_detached", room_id=room_id, channel_id=channel_id)
        replaced = written.draft.replaces
        assert replaced is not None
        await self._changes.notify(replaced.replace(access=Access.NONE))
        if replaced.category is ChannelCategory.INTELLIGENCE:
            await self._rounds.drop(room_id, channel_id)
        self._rights_signals.announce(room_id)
        await self._changes.observe(HookTrigger.ON_CHANNEL_DETACHED, written.event)
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
        await self._changes.room(room_id)
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
        work = partial(self._replace_binding, room_id, channel_id, fn)
        return await self._changes.retried(room_id, work, f"the binding of channel {channel_id!r}")

    async def _replace_binding(
        self, room_id: str, channel_id: str, fn: Callable[[ChannelBinding], ChannelBinding]
    ) -> ChannelBinding:
        room = await self._changes.room(
            room_id
        )  # before the binding, whose later changes make this version stale
        before = await self._store.get_binding(room_id, channel_id)
        if before is None:
            raise not_attached(room_id, channel_id)
        check_open(room, f"the binding of channel {channel_id!r} cannot be changed")
        binding = _own_change(before, fn(before))
        if binding.metadata != before.metadata:
            binding = binding.replace(**self._readdressed(before, FrozenDict(binding.metadata)))
        if binding != before:
            commit = QuietCommit(
                room_id=room_id, at=self._clock.now(), expected_version=room.version, bindings=(binding,)
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
            draft = copy(draft)
            draft.event, draft.bindings = event, (before.model_copy(update=values),)
            return draft

        written = await self._changes.write(note(room_id, kind, code, ""), plan)
        assert written.event is not None
        assert written.draft is not None
        (binding,) = written.draft.bindings
        await self._changes.notify(binding)
        self._rights_signals.announce(room_id)
        if trigger is not None:
            await self._changes.observe(trigger, written.event)
        return binding


def _own_change(before: ChannelBinding, after: object) -> ChannelBinding:
    """Return a binding as its own channel changed it. Raises InvalidInputError for the host's fields."""
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
