"""Changes of consent, passed on to the channels that have something live for the person, on any worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roomkit.abc.attributes import read
from roomkit.abc.channel import Channel
from roomkit.kernel.flow.contract import owner_of
from roomkit.models.enums import ConsentState

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.delivery.homes import HeldHomes
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.worker_signals import WorkerSignals
    from roomkit.models.content import ConsentContent
    from roomkit.models.options import KitOptions
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["ConsentSignals"]

_TOPIC = "consents-changed"
_MOST_ROOMS = 1_000


class ConsentSignals:
    """Calls `Channel.consent_changed` here, and has the other workers do so for their channels.

    A signal that is lost delays nothing that is judged before an attempt: only live things miss it.
    """

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        signals: WorkerSignals,
        supervisor: Supervisor,
        channels: Channels,
        homes: HeldHomes,
    ) -> None:
        self._settings = settings
        self._store = store
        self._signals = signals
        self._supervisor = supervisor
        self._channels = channels
        self._homes = homes

    async def begin(self) -> None:
        """Subscribe to the other workers' changes, if there can be other workers."""
        if self._signals.has_others:
            await self._signals.listen(_TOPIC, self._received)

    def announce(self, said: ConsentContent, organization_id: str | None) -> None:
        """Pass on, in the background, that a consent changed."""
        data = {
            "address_type": said.address_type,
            "address": said.address,
            "purpose": said.purpose,
            "state": said.state.value,
            "organization_id": organization_id,
        }
        self._notify_all(data)
        self._signals.announce(_TOPIC, data)

    async def _received(self, signal: EphemeralEvent) -> None:
        self._notify_all(signal.data)

    def _notify_all(self, said: Mapping[str, Any]) -> None:
        for channel_id, channel in tuple(self._channels.items()):
            if type(channel).consent_changed is not Channel.consent_changed:
                name = f"consent_changed of channel {channel_id}"
                self._supervisor.start(self._notify(channel_id, channel, said, name), name)

    async def _notify(self, channel_id: str, channel: Channel, said: Mapping[str, Any], name: str) -> None:
        owner = owner_of(channel_id)
        kind = read(owner, "address_type", lambda: channel.address_type, str)
        if kind != said["address_type"]:
            return
        address: str = read(owner, "normalize()", lambda: channel.normalize(str(said["address"])), str)
        state, seconds = ConsentState(said["state"]), self._settings.delivery_timeout
        for room_id in await self._rooms(channel_id, address, said["organization_id"]):
            if await self._is_elsewhere(room_id, channel_id):
                continue
            work = channel.consent_changed(room_id, address, str(said["purpose"]), state)
            self._supervisor.start(self._supervisor.call(work, name, seconds), name)

    async def _rooms(self, channel_id: str, address: str, organization_id: str | None) -> list[str]:
        """Return the open rooms where the channel reaches an address, or was written to from it."""
        bound = await self._store.find_address_room_ids(
            channel_id, address, limit=_MOST_ROOMS, organization_id=organization_id
        )
        came = await self._store.find_sender_room_ids(
            channel_id, address, limit=_MOST_ROOMS, organization_id=organization_id
        )
        return list(dict.fromkeys((*bound, *came)))

    async def _is_elsewhere(self, room_id: str, channel_id: str) -> bool:
        """Return whether another worker has the channel's live thing of a room."""
        if channel_id in self._homes.of_room(room_id):
            return False
        home = await self._store.get_home(room_id, channel_id)
        return home is not None and home.is_alive
