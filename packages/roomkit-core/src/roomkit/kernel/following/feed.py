"""What the followers of one channel in a room are shown, on this worker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from roomkit.abc.log import get_logger
from roomkit.kernel.following.follower import Follower, Read
from roomkit.kernel.following.growth import Growth
from roomkit.kernel.following.signals import Signal, unpacked

if TYPE_CHECKING:
    from roomkit.abc.services.homes import PieceError
    from roomkit.abc.store import RoomRecord
    from roomkit.models.event import RoomEvent
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["Feed"]

_log = get_logger("roomkit.kernel")

_REMEMBERED = 64
_SILENCE = 10.0
_GRACE = 20.0


class Feed:
    """The followers, and the answers that are being generated.

    `listening` is set once what other workers commit from then on will be received, or found soon.
    """

    def __init__(self, room_id: str, channel_id: str, read: Read, left: Callable[[Feed], None]) -> None:
        self.room_id = room_id
        self.channel_id = channel_id
        self.followers: tuple[Follower, ...] = ()
        self.growths: dict[str, Growth] = {}  # bound: answers under way
        self.listening = asyncio.Event()
        self.subscribing: asyncio.Task[None] | None = None
        self.subscription: str | None = None
        self.is_quiet = False
        """Whether nothing came since this was set."""
        self._passed: deque[str] = deque(maxlen=_REMEMBERED)
        """Ids of the newest generated events that were shown: words of those come too late."""
        self._read = read
        self._left = left

    def add(self, **options: Any) -> Follower:
        """Return a new follower; the caller wakes it."""
        follower = Follower(
            self.room_id,
            self.channel_id,
            listening=self.listening,
            read=self._read,
            growths=self.growths,
            passed=self._pass,
            leave=self._leave,
            **options,
        )
        self.followers = (*self.followers, follower)
        return follower

    def _leave(self, follower: Follower) -> None:
        self.followers = tuple(one for one in self.followers if one is not follower)
        if not self.followers:
            for growth in tuple(self.growths.values()):
                if not growth.is_ours:
                    self.end(growth.stream_id, None)
            self._left(self)

    def offer(self, index: int, event: RoomEvent | None = None, record: RoomRecord | None = None) -> None:
        """Show everything up to `index`; an answer that grows from here only once all its text is shown."""
        self.is_quiet = False
        growth = None if event is None or record is None else self.growths.get(event.id)
        if growth is None or not growth.is_ours:
            for follower in self.followers:
                follower.offer(index, event, record)

    def renew(self) -> None:
        """Have the room read for all."""
        for follower in self.followers:
            follower.renew()

    def _pass(self, event: RoomEvent) -> None:
        if event.generation is not None and event.id not in self._passed:
            self._passed.append(event.id)
            self.end(event.id, None)

    # -- answers while they are generated -------------------------------------------------------

    def begin(self, growth: Growth) -> None:
        """Show that an answer begins."""
        self.growths[growth.stream_id] = growth
        for follower in self.followers:
            follower.wake()

    def grow(self, growth: Growth, text: str) -> None:
        """Show more text of an answer."""
        growth.add(text)
        for follower in self.followers:
            follower.wake()

    def end(self, stream_id: str, error: PieceError | None) -> None:
        """Note that an answer is over, with an error if nothing of it is in the timeline. Idempotent."""
        growth = self.growths.pop(stream_id, None)
        if growth is not None:
            growth.stop_timer()
            for follower in self.followers:
                follower.growth_ended(growth, error)

    def expect_more(self, growth: Growth) -> None:
        """Look for the end of an answer in the timeline if nothing of it comes for ten seconds."""
        growth.later(_SILENCE, self._look_for_end, growth)

    def _look_for_end(self, growth: Growth) -> None:
        self.renew()  # its event may be there, and the signal of it lost
        growth.later(_GRACE, self.end, growth.stream_id, "answer_failed")

    # -- from other workers -----------------------------------------------------------------------

    def receive(self, received: EphemeralEvent) -> None:
        """Take in a signal of another worker."""
        try:
            signal = unpacked(self.room_id, self.channel_id, received)
            growth = self.growths.get(signal.stream_id)
            if signal.kind == "committed":
                self.offer(signal.index, signal.read_event(self.room_id))
            elif signal.kind == "rebound":
                self.renew()
            elif growth is not None and growth.is_ours:
                return
            elif signal.kind == "growing":
                self._grow_elsewhere(growth, signal)
            else:
                self.end(signal.stream_id, signal.error)
        except ValueError as error:
            _log.warning(
                "a signal on the topic of channel %r in room %r was ignored: %s",
                self.channel_id,
                self.room_id,
                error if type(error) is ValueError else type(error).__name__,
            )

    def _grow_elsewhere(self, growth: Growth | None, signal: Signal) -> None:
        if growth is None:
            source = signal.read_source()
            if source is None or signal.stream_id in self._passed or not self.followers:
                return
            growth = Growth(signal.stream_id, source, signal.visibility, is_ours=False)
            self.begin(growth)
        self.expect_more(growth)
        known = growth.length - signal.offset
        if 0 <= known < len(signal.text):
            self.grow(growth, signal.text[known:])
