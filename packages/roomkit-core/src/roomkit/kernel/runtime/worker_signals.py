"""Signals between the workers of a store, by topic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

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

__all__ = ["WorkerSignals"]

_log = get_logger("roomkit.kernel")

type _Received = Callable[[EphemeralEvent], Awaitable[None]]


class WorkerSignals:
    """Sends signals to the other workers, and receives theirs; never its own.

    A signal may be lost: what it says is in the store, and is found there later.
    """

    def __init__(
        self, *, store: ConversationStore, realtime: RealtimeBackend, clock: Clock, supervisor: Supervisor
    ) -> None:
        self._realtime = realtime
        self._clock = clock
        self._supervisor = supervisor
        self._own_id = new_id()
        self._topics: set[str] = set()  # bound: the kernel's own topics
        self.has_others = not (store.is_process_local or realtime.is_process_local)
        """Whether other processes may serve the same rooms, and receive signals."""

    async def listen(self, topic: str, received: _Received) -> None:
        """Have `received` called with the other workers' signals of a topic. Idempotent.

        A backend that refuses is logged: signals are a shortcut to the store.
        """
        if topic in self._topics:
            return
        self._topics.add(topic)
        try:
            await self._realtime.subscribe(topic, partial(self._receive, received))
        except RoomKitError:
            _log.warning("signals %r of other workers are not received at once", topic, exc_info=True)

    async def _receive(self, received: _Received, signal: EphemeralEvent) -> None:
        if signal.user_id != self._own_id:
            await received(signal)

    def announce(self, topic: str, data: Mapping[str, Any], room_id: str | None = None) -> None:
        """Send a signal in the background, if this worker listens to the topic; a failure is logged."""
        if topic in self._topics:
            name = f"announcement {topic} of room {room_id}" if room_id else f"announcement {topic}"
            self._supervisor.start(
                self._announce(self._signal(topic, data, room_id), topic), name, eager=False
            )

    async def _announce(self, signal: EphemeralEvent, topic: str) -> None:
        try:
            await self._realtime.publish(topic, signal)
        except Exception as error:  # noqa: BLE001  # a backend may raise anything: the change is stored
            _log.warning(
                "%r of %r could not be announced to other workers (%s); they find it in the store, later",
                topic,
                signal.room_id,
                type(error).__name__,
            )

    async def publish(self, topic: str, data: Mapping[str, Any], room_id: str | None = None) -> None:
        """Send a signal. Raises what the backend raises."""
        await self._realtime.publish(topic, self._signal(topic, data, room_id))

    def _signal(self, topic: str, data: Mapping[str, Any], room_id: str | None = None) -> EphemeralEvent:
        return EphemeralEvent(
            room_id=room_id or topic,
            type=EphemeralEventType.CUSTOM,
            user_id=self._own_id,
            data=data,
            timestamp=self._clock.now(),
        )
