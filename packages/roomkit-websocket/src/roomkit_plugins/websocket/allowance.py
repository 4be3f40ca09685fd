"""How many frames a client may send: a token bucket for each connection, and one for each participant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError

if TYPE_CHECKING:
    from roomkit.models.channel import RateLimit

__all__ = ["Allowance", "Allowances", "ClientLimits", "Limits"]

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
            self.spend()
        return seconds

    def spend(self) -> None:
        """Take the token that `wait` found."""
        self._level -= 1.0


@dataclass(slots=True, frozen=True)
class Limits:
    """What one connection may send: a token of each of `frames` for a frame, one of `refusals` if refused."""

    frames: Sequence[Allowance]
    refusals: Allowance

    def wait(self, now: float) -> float:
        """Return the seconds until each has a token, 0 when they have."""
        return max(allowance.wait(now) for allowance in self.frames)

    def take(self, now: float) -> float:
        """Take a token of each if all have one, and return 0; else the seconds until they have."""
        seconds = max(allowance.wait(now) for allowance in self.frames)
        if not seconds:
            for allowance in self.frames:
                allowance.spend()
        return seconds


class Allowances:
    """The allowance of each participant, over all their connections; the longest unused is dropped.

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


class ClientLimits:
    """What clients may send: each connection its own allowance, those of a participant twice that together.

    Of the rate limit of all that comes in, `whole`, one client gets half at most. Raises InvalidInputError
    for numbers that are not positive.
    """

    def __init__(
        self, frames_per_second: float, frame_burst: int, max_refused: int, whole: RateLimit | None
    ) -> None:
        if not (frames_per_second > 0 and frame_burst >= 1 and max_refused >= 1):
            raise InvalidInputError(
                f"frames_per_second is {frames_per_second}, frame_burst {frame_burst} and max_refused "
                f"{max_refused}: give positive numbers; float('inf') frames per second means no limit"
            )
        self._pace = _share(frames_per_second, frame_burst, whole)
        per_second, burst = self._pace
        self._participants = Allowances(*_share(per_second * 2, burst * 2, whole))
        self._max_refused = max_refused

    def wait(self, participant_id: str, now: float) -> float:
        """Return the seconds until a participant may connect, 0 at once."""
        return self._participants.of(participant_id, now).wait(now)

    def of(self, participant_id: str | None, now: float) -> Limits:
        """Return the limits of a new connection."""
        frames = [Allowance(*self._pace, now)]
        if participant_id is not None:
            frames.append(self._participants.of(participant_id, now))
        return Limits(frames, Allowance(1.0, self._max_refused, now))


def _share(per_second: float, burst: float, whole: RateLimit | None) -> tuple[float, float]:
    """Return what one client may send: its own limit, and half of what the whole channel may at most."""
    if whole is None:
        return per_second, burst
    windows = ((whole.max_per_second, 1), (whole.max_per_minute, 60), (whole.max_per_hour, 3600))
    rates = [most / seconds for most, seconds in windows if most is not None]
    at_once = whole.burst or max(1.0, *rates) if rates else burst
    return min([per_second, *(rate / 2 for rate in rates)]), max(1.0, min(burst, at_once / 2))
