"""The pace of sending: limits per channel and per recipient, and the pauses that vendors ask for."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from roomkit.abc.attributes import read
from roomkit.abc.errors import LONGEST_PAUSE
from roomkit.kernel.flow.contract import limit_of, owner_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.abc.channel import Channel
    from roomkit.authoring.limits import TokenBucketRateLimiter
    from roomkit.models.channel import ChannelBinding, RateLimit
    from roomkit.models.event import RoomEvent

__all__ = ["PacedTurn", "Pacing"]

_PROOF = 4
"""After a pause the number of sends at a time doubles once four times that number went well."""
_WIDE_OPEN = 64
"""From so many at a time on, the bound is lifted."""
_MEMORY = 60.0
"""So many seconds after its end a pause no longer matters to a key that nothing waits for."""

type _Limits = tuple[RateLimit, ...]


class Pacing:
    """Lets deliveries through by pace key: in order of arrival, within every limit, outside every pause.

    A binding waits in its lane, so the line of a key holds at most one delivery for each binding, and the
    rooms behind it take turns. Keys without waiting deliveries and without a recent pause have no line.
    """

    def __init__(
        self, limiter: TokenBucketRateLimiter, on_paused: Callable[[str, float], None] | None = None
    ) -> None:
        self._limiter = limiter
        self._on_paused = on_paused
        """Called with the key and the seconds when a vendor asks this worker for a pause."""
        self.lines: dict[str, Pace] = {}  # bound: keys with waiting deliveries or a recent pause
        """While there are any, every delivery has to `enter`; else only those with a limit."""
        self._out: dict[tuple[str, str], PacedTurn] = {}  # bound: the lanes
        self.waiting: set[tuple[str, str]] = set()  # bound: the lanes
        """The lanes, by room and channel, whose next delivery waits: for its pace, or to be retried."""

    async def enter(
        self, channel: Channel, binding: ChannelBinding, event: RoomEvent, before: PacedTurn | None
    ) -> PacedTurn | None:
        """Wait until the delivery may go out; return its turn. Call `leave` when the send has ended.

        `before` is the turn of the attempt before: a delivery keeps its place over its attempts.
        """
        to = (binding.room_id, binding.channel_id)
        self.waiting.add(to)
        try:
            turn = await self._turn_of(to, channel, binding, event, before)
        finally:
            self.waiting.discard(to)
        if turn is not None:
            self._out[to] = turn
        return turn

    def leave(self, turn: PacedTurn, binding: ChannelBinding, *, went_well: bool) -> None:
        """Note the end of a send; that of one that was abandoned before does not count again."""
        to = (binding.room_id, binding.channel_id)
        if self._out.get(to) is turn:
            del self._out[to]
            turn.line.leave(went_well=went_well)

    def abandon(self, binding: ChannelBinding) -> None:
        """Note that the send to a binding will not end: its turn is free."""
        turn = self._out.get((binding.room_id, binding.channel_id))
        if turn is not None:
            self.leave(turn, binding, went_well=False)

    async def sit_out(
        self, binding: ChannelBinding, seconds: float, until: asyncio.Event | None = None
    ) -> bool:
        """Wait between two attempts of a delivery; return whether `until` was set by then, which ends it."""
        to = (binding.room_id, binding.channel_id)
        self.waiting.add(to)
        try:
            if until is None:
                await asyncio.sleep(seconds)
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await until.wait()
            return until.is_set()
        finally:
            self.waiting.discard(to)

    async def _turn_of(
        self,
        to: tuple[str, str],
        channel: Channel,
        binding: ChannelBinding,
        event: RoomEvent,
        before: PacedTurn | None,
    ) -> PacedTurn | None:
        recipient = binding.recipient_rate_limit
        if recipient is not None:
            # Looked at now and taken when it goes out: its lane is serial, so nothing comes in between.
            seconds = self._limiter.delay(to, recipient)
            if seconds > 0:
                await asyncio.sleep(seconds)
        own = limit_of(channel, to[1])
        limits = tuple(dict.fromkeys(each for each in (binding.rate_limit, own) if each))
        turn = None
        if limits or self.lines:
            key = _key(channel, binding, event)
            line = self.lines.get(key)
            if line is None and limits:
                line = Pace(key, self._limiter, self.lines)
            if line is not None:
                turn = line.place(before)
                await line.wait(turn, limits)
        if recipient is not None:
            self._limiter.take(to, recipient)
        return turn

    def throttled(self, channel: Channel, binding: ChannelBinding, event: RoomEvent, seconds: float) -> Pace:
        """Pause the key of a delivery because the vendor asked for it; return its line."""
        line = self.pause(_key(channel, binding, event), seconds)
        if self._on_paused is not None:
            self._on_paused(line.key, seconds)
        return line

    def seconds_paused(self, channel: Channel, binding: ChannelBinding, event: RoomEvent) -> float:
        """Return for how long the key of a delivery is paused still."""
        line = self.lines.get(_key(channel, binding, event))
        return 0.0 if line is None else line.seconds_paused

    def pause(self, key: str, seconds: float) -> Pace:
        """Let nothing out under the key for so long; pauses do not add up, the longest counts."""
        line = self.lines.get(key)
        if line is None:
            line = Pace(key, self._limiter, self.lines)
        line.pause(min(seconds, LONGEST_PAUSE))
        return line


def _key(channel: Channel, binding: ChannelBinding, event: RoomEvent) -> str:
    """Return what the vendor counts a delivery against. Raises ForeignCodeError."""
    found: str = read(
        owner_of(binding.channel_id), "pace_key()", lambda: channel.pace_key(binding, event), str
    )
    return found


class PacedTurn:
    """The place of one delivery in a line."""

    __slots__ = ("line", "number", "ready")

    def __init__(self, line: Pace, number: int) -> None:
        self.line = line
        self.number = number
        self.ready: asyncio.Future[None] | None = None


class Pace:
    """The deliveries that wait under one pace key, with one timer for all of them.

    After a pause sends are let out one at a time, and more as they go well: if all that waited went
    out at once, most of it would be refused again.
    """

    def __init__(self, key: str, limiter: TokenBucketRateLimiter, lines: dict[str, Pace]) -> None:
        self.key = key
        self.successes = 0
        """How many sends of this line went well."""
        self._limiter = limiter
        self._lines = lines
        self._queues: dict[_Limits, deque[PacedTurn]] = {}  # bound: one for each binding of the channel
        self._arrivals = 0
        self._paused_until = -math.inf
        self._width = math.inf
        self._proven = 0
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds_paused(self) -> float:
        """For how long nothing goes out yet."""
        return max(0.0, self._paused_until - asyncio.get_running_loop().time())

    def place(self, before: PacedTurn | None) -> PacedTurn:
        """Return the place of a delivery: the one it had, or behind all others."""
        if before is not None and before.line is self:
            return before
        self._arrivals += 1
        return PacedTurn(self, self._arrivals)

    async def wait(self, turn: PacedTurn, limits: _Limits) -> None:
        """Wait for a turn and take it; a delivery that is cancelled while it waits gives it back."""
        if not self._queues and self._delay(limits, asyncio.get_running_loop().time()) <= 0:
            self._take(limits)
            return
        turn.ready = asyncio.get_running_loop().create_future()
        self._insert(turn, limits)
        self._serve()
        try:
            await turn.ready
        except asyncio.CancelledError:
            if turn.ready.cancelled():
                self._remove(turn, limits)
            else:
                self._take(limits, tokens=-1.0)
            self._serve()
            raise

    def _insert(self, turn: PacedTurn, limits: _Limits) -> None:
        queue = self._queues.setdefault(limits, deque())  # bound: one for each binding
        if not queue or queue[-1].number < turn.number:
            queue.append(turn)
            return
        later = next(place for place, other in enumerate(queue) if other.number > turn.number)
        queue.insert(later, turn)

    def _remove(self, turn: PacedTurn, limits: _Limits) -> None:
        queue = self._queues.get(limits)
        if queue is not None and turn in queue:
            queue.remove(turn)
            self._drop_empty(limits)

    def _drop_empty(self, limits: _Limits) -> None:
        if not self._queues[limits]:
            del self._queues[limits]

    def pause(self, seconds: float) -> None:
        """Begin a pause, or lengthen the one under way."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)
        self._width, self._proven = 1, 0
        self._serve()

    def leave(self, *, went_well: bool) -> None:
        """Note the end of a send that took a turn."""
        self._under_way -= 1
        self.successes += went_well
        if self._width == math.inf:
            return
        self._proven += went_well
        if self._proven >= self._width * _PROOF:
            self._width, self._proven = self._width * 2, 0
        if self._width >= _WIDE_OPEN:
            self._width = math.inf
        self._serve()

    def _serve(self) -> None:
        """Release the sends that may go now, and set the timer for the next."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        now = asyncio.get_running_loop().time()
        delay = 0.0
        while self._queues and delay <= 0:
            delay, _, limits = min(
                (self._delay(limits, now), queue[0].number, limits) for limits, queue in self._queues.items()
            )
            if delay <= 0:
                self._let_out(limits)
        if not self._queues and self._width < math.inf:
            delay = self._paused_until + _MEMORY - now
            if delay <= 0:
                self._width = math.inf
        if self._queues or self._width < math.inf:
            self._lines[self.key] = self
            if delay < math.inf:
                self._timer = asyncio.get_running_loop().call_later(delay, self._serve)
        elif self._lines.get(self.key) is self:
            del self._lines[self.key]

    def _let_out(self, limits: _Limits) -> None:
        turn = self._queues[limits].popleft()
        self._drop_empty(limits)
        if turn.ready is not None and not turn.ready.done():
            self._take(limits)
            turn.ready.set_result(None)

    def _delay(self, limits: _Limits, now: float) -> float:
        """Return the seconds until a turn within these limits; endless until a send under way ends."""
        if self._under_way >= self._width:
            return math.inf
        delay = max(0.0, self._paused_until - now)
        for limit in limits:
            delay = max(delay, self._limiter.delay((self.key, limit), limit))
        return delay

    def _take(self, limits: _Limits, tokens: float = 1.0) -> None:
        self._under_way += 1 if tokens > 0 else -1
        for limit in limits:
            self._limiter.take((self.key, limit), limit, tokens)
