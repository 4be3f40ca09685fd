"""The signals to one binding: what is shown, what is to be shown next, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock

__all__ = ["SignalLine"]

_PATIENCE = 0.25
"""Seconds for which an agent works before that is shown: an answer that is there at once needs no typing."""
_RENEWED = 0.8
"""The share of the vendor's time after which typing is shown again."""
_LONGEST = 3_600.0
_LONGEST_PAUSE = 60.0
"""Seconds for which a read mark waits; in a longer pause it is dropped, and a later mark covers it."""


class SignalLine:
    """What one binding is shown. Of each kind only the newest signal is kept, so that it never grows."""

    def __init__(self, room_id: str, channel_id: str, typing_seconds: float | None, clock: Clock) -> None:
        self.room_id = room_id
        self.channel_id = channel_id
        self.changed = asyncio.Event()
        self.read_to: int | None = None
        """The index up to which messages were read."""
        self._period = min(typing_seconds or 0.0, _LONGEST)
        self._clock = clock
        self._typing: EphemeralEvent | None = None
        self._read: EphemeralEvent | None = None
        self._agents: dict[str, float] = {}  # bound: the agents of the room
        """From when their work is shown, by the loop's clock."""
        self._shown_until = 0.0
        """Until when the vendor shows that someone types."""
        self._paused_until = 0.0
        self._is_closing = False

    def take(self, signal: EphemeralEvent, read_to: int | None) -> None:
        """Keep a signal as the newest of its kind; one that was read before the last changes nothing."""
        if read_to is None:
            self._typing = signal
        elif self.read_to is None or read_to > self.read_to:
            self._read, self.read_to = signal, read_to
        self.changed.set()

    def begin(self, agent_id: str) -> None:
        """Show that an agent works, unless it ends soon."""
        self._agents[agent_id] = asyncio.get_running_loop().time() + _PATIENCE
        self.changed.set()

    def end(self, agent_id: str) -> None:
        """Show no longer that an agent works."""
        if self._agents.pop(agent_id, None) is not None and not self._agents:
            self._typing = self._signal(agent_id, EphemeralEventType.TYPING_STOP)
            self.changed.set()

    def put_back(self, signal: EphemeralEvent) -> None:
        """Show a read mark later that could not be shown now."""
        if signal.type is EphemeralEventType.READ_RECEIPT and self._read is None:
            self._read = signal

    def failed(self, until: float) -> None:
        """Show nothing until then; what could not be shown is not repeated."""
        self._shown_until, self._paused_until = 0.0, max(until, self._paused_until)

    def close(self) -> None:
        """Wait for nothing but the agents that work."""
        self._is_closing = True
        self.changed.set()

    def step(self, paused_until: float) -> EphemeralEvent | float | None:
        """Return the signal to show now, else the seconds until there may be one; None if none is to come."""
        now = asyncio.get_running_loop().time()
        paused = max(paused_until, self._paused_until) - now
        if paused > 0:
            return self._paused(paused)
        read, self._read = self._read, None
        if read is not None:
            return read
        typing, self._typing = self._typing, None
        if self._agents:
            return self._working(now)
        if typing is not None and typing.type is EphemeralEventType.TYPING_START:
            if now >= self._renewed_at:
                return self._shown(typing, now)
        elif typing is not None and now < self._shown_until:
            self._shown_until = 0.0
            return typing
        return None if self._is_closing or now >= self._shown_until else self._shown_until - now

    @property
    def _renewed_at(self) -> float:
        return self._shown_until - self._period * (1 - _RENEWED)

    def _paused(self, seconds: float) -> float | None:
        """Return for how long to wait in a pause: only agents, and marks in a short one, are waited for."""
        self._typing = None
        if seconds > _LONGEST_PAUSE or self._is_closing:
            self._read = None
        return seconds if self._agents or self._read is not None else None

    def _working(self, now: float) -> EphemeralEvent | float:
        """Return that an agent works, if it is to be shown now, else the seconds until then."""
        agent_id, since = min(self._agents.items(), key=lambda each: each[1])
        due = max(since, self._renewed_at)
        if now < due:
            return due - now
        return self._shown(self._signal(agent_id, EphemeralEventType.TYPING_START), now)

    def _shown(self, signal: EphemeralEvent, now: float) -> EphemeralEvent:
        self._shown_until = now + self._period
        return signal

    def _signal(self, agent_id: str, kind: EphemeralEventType) -> EphemeralEvent:
        return EphemeralEvent(
            room_id=self.room_id,
            type=kind,
            user_id=agent_id,
            channel_id=agent_id,
            timestamp=self._clock.now(),
        )
