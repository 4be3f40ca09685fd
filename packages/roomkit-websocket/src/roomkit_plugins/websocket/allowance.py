"""How many frames a client may send: a token bucket for each connection, and one for each participant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

__all__ = ["Allowance", "Allowances", "Limits"]

_MOST_PARTICIPANTS = 10_000


class Allowance:
    """A token bucket: `per_second` tokens a second, at most `burst` saved up. Times are the loop's."""

    __slots__ = ("_at", "_burst", "_level", "_per_second")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._level = burst
        self._at = now

    def wait(self, now: float) -> float:
        """Return the seconds until a token is there, 0 when one is."""
        if self._per_second == inf:
            return 0.0
        self._level = min(self._burst, self._level + (now - self._at) * self._per_second)
        self._at = now
        # A hair less than one: refilling in many small steps loses the last bits of a whole token.
        return 0.0 if self._level >= 1.0 - 1e-9 else (1.0 - self._level) / self._per_second

    def take(self, now: float) -> float:
        """Take a token if one is there, and return 0; else the seconds until there is one."""
        seconds = self.wait(now)
        if not seconds:
            self._level -= 1.0
        return seconds


@dataclass(slots=True, frozen=True)
class Limits:
    """What one connection may send: a token of each of `frames` for a frame, one of `refusals` if refused."""

    frames: Sequence[Allowance]
    refusals: Allowance

    def take(self, now: float) -> float:
        """Take a token of each if all have one, and return 0; else the seconds until they have."""
        seconds = max(allowance.wait(now) for allowance in self.frames)
        if not seconds:
            for allowance in self.frames:
                allowance.take(now)
        return seconds


class Allowances:
    """The allowance of each participant, whichever connections they use; the longest unused is dropped.

    They outlive connections, so that connecting again gains nothing.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._known: OrderedDict[str, Allowance] = OrderedDict()  # bound: _MOST_PARTICIPANTS

    def of(self, participant_id: str, now: float) -> Allowance:
        """Return a participant's."""
        allowance = self._known.get(participant_id)
        if allowance is None:
            allowance = self._known[participant_id] = Allowance(self._per_second, self._burst, now)
            if len(self._known) > _MOST_PARTICIPANTS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(participant_id)
        return allowance
