"""Changes of what connections may do, announced between workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.channel import Channel
from roomkit.abc.store import Commit
from roomkit.kernel.flow.contract import type_of
from roomkit.models.base import EMPTY
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import Access, ParticipantStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.delivery.dispatch import LaneDispatcher
    from roomkit.kernel.delivery.homes import HeldHomes
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.following.follows import Follows
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.worker_signals import WorkerSignals
    from roomkit.models.options import KitOptions
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["RightsSignals"]

_TOPIC = "rights-changed"


class RightsSignals:
    """Publishes that rights in a room changed; passes on to the channels here what other workers publish.

    Channels with a live thing of the room here get their binding as it is now, and turns under way here end
    if their agent may no longer answer: both happen on the worker that has them, not on the one that made
    the change.

    A signal names the room and nothing else: the worker that receives it asks the store. It is published
    after the change is stored, also by a worker that has none of the room's channels. One that is lost
    leaves a connection as it is until its next frame, or until its channel compares the room with the
    store. Nothing is published or subscribed where other processes would not receive it.
    """

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        signals: WorkerSignals,
        clock: Clock,
        supervisor: Supervisor,
        channels: Channels,
        homes: HeldHomes,
        lanes: Lanes,
        dispatcher: LaneDispatcher,
        follows: Follows,
    ) -> None:
        self._settings = settings
        self._store = store
        self._signals = signals
        self._clock = clock
        self._supervisor = supervisor
        self._channels = channels
        self._homes = homes
        self._lanes = lanes
        self._dispatcher = dispatcher
        self._follows = follows

    async def begin(self) -> None:
        """Subscribe to the other workers' changes, if there can be other workers."""
        if self._signals.has_others:
            await self._signals.listen(_TOPIC, self._received)

    def announce(self, room_id: str) -> None:
        """Publish, in the background, that rights in a room changed; followers here read it at once."""
        self._follows.renew(room_id)
        self._signals.announce(_TOPIC, EMPTY, room_id)

    async def _received(self, signal: EphemeralEvent) -> None:
        room_id = signal.room_id
        self._follows.renew(room_id)
        if live := self._homes.of_room(room_id):
            self._supervisor.start(self._rebind(room_id, live), f"bindings of live things of room {room_id}")
        if turns := self._lanes.of_room(room_id):
            self._supervisor.start(self._end_turns(room_id, turns), f"turns under way in room {room_id}")
        for channel_id, channel in tuple(self._channels.items()):
            if type(channel).update_rights is not Channel.update_rights:
                name = f"update_rights of channel {channel_id}"
                self._supervisor.start(self._notify(channel, signal.room_id, name), name)

    async def _rebind(self, room_id: str, channel_ids: Sequence[str]) -> None:
        """Notify channels with a live thing of their binding; one that is over has no access."""
        record = await self._store.load(room_id)
        for channel_id in channel_ids:
            channel = self._channels.get(channel_id)
            binding = None if record is None else record.bindings.get(channel_id)
            if channel is None:
                continue
            if record is None or binding is None or not record.status.is_open:
                binding = _over(room_id, channel_id, channel, binding)
            name = f"update_binding of channel {channel_id}"
            work = self._supervisor.call(
                channel.update_binding(room_id, binding), name, self._settings.delivery_timeout
            )
            self._supervisor.start(work, name)

    async def _end_turns(self, room_id: str, channel_ids: Sequence[str]) -> None:
        """End turns of agents that may no longer answer, as the change itself does where it is made."""
        record = await self._store.load(room_id)
        if record is None:
            self._lanes.end_turns(room_id, "room_deleted")
            return
        bindings = record.bindings
        self._dispatcher.rights_changed(
            Commit(
                room_id=room_id,
                entries=(),
                at=self._clock.now(),
                bindings=[bindings[each] for each in channel_ids if each in bindings],
                unbind=[each for each in channel_ids if each not in bindings],
                room_changes={"status": record.status},
            )
        )
        for each in record.participants.values():
            if each.status is ParticipantStatus.BANNED:
                self._lanes.end_turns(room_id, "interrupted", for_whom=each.id)

    async def _notify(self, channel: Channel, room_id: str, name: str) -> None:
        seconds = self._settings.delivery_timeout
        await self._supervisor.call(channel.update_rights(room_id), name, seconds)


def _over(room_id: str, channel_id: str, channel: Channel, binding: ChannelBinding | None) -> ChannelBinding:
    """Return the binding of a channel that was detached, or whose room has ended."""
    if binding is None:
        kind = type_of(channel, channel_id)
        binding = ChannelBinding(room_id=room_id, channel_id=channel_id, channel_type=kind)
    return binding.replace(access=Access.NONE)
