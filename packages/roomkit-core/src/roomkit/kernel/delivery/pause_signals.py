"""Pauses of sending, announced between workers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.errors import RoomKitError
from roomkit.abc.log import get_logger
from roomkit.models.base import new_id
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["PauseSignals"]

_TOPIC = "sending-paused"
_log = get_logger("roomkit.kernel")


class PauseSignals:
    """Publishes the pauses that vendors ask this worker for, and keeps those that others publish.

    A signal that is lost costs one refused send on each of the other workers. Nothing is published or
    subscribed where other processes would not receive it.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        realtime: RealtimeBackend,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._realtime = realtime
        self._clock = clock
        self._supervisor = supervisor
        self._has_others = not (store.is_process_local or realtime.is_process_local)
        self._own_id = new_id()

    async def listen(self, pause: Callable[[str, float], object]) -> None:
        """Have `pause` called with the keys and seconds that other workers announce, if there can be any."""
        if not self._has_others:
            return
        try:
            await self._realtime.subscribe(_TOPIC, partial(self._received, pause))
        except RoomKitError:
            _log.warning("pauses that other workers announce are not received", exc_info=True)

    def announce(self, key: str, seconds: float) -> None:
        """Publish a pause to the other workers."""
        if self._has_others:
            self._supervisor.start(self._publish(key, seconds), "announcement of a pause", eager=False)

    async def _publish(self, key: str, seconds: float) -> None:
        signal = EphemeralEvent(
            room_id=_TOPIC,
            type=EphemeralEventType.CUSTOM,
            user_id=self._own_id,
            timestamp=self._clock.now(),
            data={"key": key, "seconds": seconds},
        )
        try:
            await self._realtime.publish(_TOPIC, signal)
        except RoomKitError:
            _log.warning("a pause of %r could not be announced to other workers", key, exc_info=True)

    async def _received(self, pause: Callable[[str, float], object], signal: EphemeralEvent) -> None:
        key, seconds = signal.data.get("key"), signal.data.get("seconds")
        if signal.user_id == self._own_id or not isinstance(key, str):
            return
        if isinstance(seconds, int | float) and 0 < seconds < math.inf:
            pause(key, seconds)
