"""Pauses of sending, announced between workers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from roomkit.abc.errors import RoomKitError
from roomkit.abc.log import get_logger
from roomkit.models.base import new_id
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent

if TYPE_CHECKING:
    from roomkit.kernel.parts import Parts

__all__ = ["PauseSignals"]

_TOPIC = "sending-paused"
_log = get_logger("roomkit.kernel")


class PauseSignals:
    """Publishes the pauses that vendors ask this worker for, and keeps those that others publish.

    A signal that is lost costs one refused send on each of the other workers. Nothing is published or
    subscribed where other processes would not receive it.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._own_id = new_id()

    async def begin(self) -> None:
        """Subscribe to the other workers' pauses, if there can be other workers."""
        parts = self._parts
        if parts.store.is_process_local or parts.realtime.is_process_local:
            return
        parts.pacing.on_paused = self._announce
        try:
            await parts.realtime.subscribe(_TOPIC, self._received)
        except RoomKitError:
            _log.warning("pauses that other workers announce are not received", exc_info=True)

    def _announce(self, key: str, seconds: float) -> None:
        self._parts.supervisor.start(self._publish(key, seconds), "announcement of a pause", eager=False)

    async def _publish(self, key: str, seconds: float) -> None:
        signal = EphemeralEvent(
            room_id=_TOPIC,
            type=EphemeralEventType.CUSTOM,
            user_id=self._own_id,
            timestamp=self._parts.clock.now(),
            data={"key": key, "seconds": seconds},
        )
        try:
            await self._parts.realtime.publish(_TOPIC, signal)
        except RoomKitError:
            _log.warning("a pause of %r could not be announced to other workers", key, exc_info=True)

    async def _received(self, signal: EphemeralEvent) -> None:
        key, seconds = signal.data.get("key"), signal.data.get("seconds")
        if signal.user_id == self._own_id or not isinstance(key, str):
            return
        if isinstance(seconds, int | float) and 0 < seconds < math.inf:
            self._parts.pacing.pause(key, seconds)
