"""Changes of what connections may do, announced between workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.channel import Channel
from roomkit.abc.errors import RoomKitError
from roomkit.abc.log import get_logger
from roomkit.models.base import new_id
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.options import KitOptions

__all__ = ["RightsSignals"]

_TOPIC = "rights-changed"
_log = get_logger("roomkit.kernel")


class RightsSignals:
    """Publishes that rights in a room changed; passes on to the channels here what other workers publish.

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
        realtime: RealtimeBackend,
        clock: Clock,
        supervisor: Supervisor,
        channels: Channels,
    ) -> None:
        self._settings = settings
        self._store = store
        self._realtime = realtime
        self._clock = clock
        self._supervisor = supervisor
        self._channels = channels
        self._own_id = new_id()
        self._is_on = False

    async def begin(self) -> None:
        """Subscribe to the other workers' changes, if there can be other workers."""
        if self._is_on or self._store.is_process_local or self._realtime.is_process_local:
            return
        self._is_on = True
        try:
            await self._realtime.subscribe(_TOPIC, self._received)
        except RoomKitError:
            _log.warning("changes of rights on other workers are not received at once", exc_info=True)

    def announce(self, room_id: str) -> None:
        """Publish, in the background, that rights in a room changed."""
        if self._is_on:
            name = f"announcement of changed rights in room {room_id}"
            self._supervisor.start(self._publish(room_id), name, eager=False)

    async def _publish(self, room_id: str) -> None:
        signal = EphemeralEvent(
            room_id=room_id,
            type=EphemeralEventType.CUSTOM,
            user_id=self._own_id,
            timestamp=self._clock.now(),
        )
        try:
            await self._realtime.publish(_TOPIC, signal)
        except Exception as error:  # noqa: BLE001  # a backend may raise anything: the change is stored
            _log.warning(
                "changed rights in room %r could not be announced to other workers (%s); they notice at the "
                "next frame, or when they next compare the room with the store",
                room_id,
                type(error).__name__,
            )

    async def _received(self, signal: EphemeralEvent) -> None:
        if signal.user_id == self._own_id:
            return
        for channel_id, channel in tuple(self._channels.items()):
            if type(channel).update_rights is not Channel.update_rights:
                name = f"update_rights of channel {channel_id}"
                self._supervisor.start(self._notify(channel, signal.room_id, name), name)

    async def _notify(self, channel: Channel, room_id: str, name: str) -> None:
        seconds = self._settings.delivery_timeout
        await self._supervisor.call(channel.update_rights(room_id), name, seconds)
