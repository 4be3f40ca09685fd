"""One follower of a room: it is shown every event once, in order of index."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import FollowEndedError
from roomkit.abc.log import get_logger
from roomkit.abc.services.homes import Follow, Piece
from roomkit.kernel.following.pauses import may_retry
from roomkit.models.values import error_text
from roomkit.models.visibility import admits, is_shown

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.services.homes import PieceError, RoomChanged, ShowEvent, ShowPiece
    from roomkit.abc.services.rooms import Excerpt
    from roomkit.abc.store import RoomRecord
    from roomkit.kernel.following.growth import Growth
    from roomkit.models.event import RoomEvent

__all__ = ["Follower", "Read"]

_log = get_logger("roomkit.kernel")

_PAGE = 100
_MOST_AHEAD = 100
_WITHHELD = -1
_UNSEEN: tuple[Growth | None, int] = (None, _WITHHELD)

type Read = Callable[[int | None, int], Awaitable[Excerpt | None]]
"""`async (after_index, limit)`: what the store has of the room."""


class Follower(Follow):
    """Events come from commits here, other workers and the store; `index` says which are duplicates.

    The event after `index` is shown at once. A later one, and one that the room as it was last read does not
    admit, is left to the store: it is read from `index` on, with the binding as it is then.
    """

    def __init__(
        self,
        room_id: str,
        channel_id: str,
        *,
        listening: asyncio.Event,
        closing: asyncio.Event,
        read: Read,
        growths: Mapping[str, Growth],
        passed: Callable[[RoomEvent], None],
        leave: Callable[[Follower], None],
        show: ShowEvent,
        after: int | None,
        pieces: ShowPiece | None,
        changed: RoomChanged | None,
        seconds: float,
        run: Callable[[Follower], asyncio.Task[None]],
    ) -> None:
        self.room_id = room_id
        self.channel_id = channel_id
        self.participants = {}
        self._listening = listening
        self._closing = closing
        self._read_page = read
        self._growths = growths
        self._passed = passed
        self._leave = leave
        self._show = show
        self._after = after
        self._pieces = pieces
        self._changed = changed
        self._seconds = seconds
        self._run = run
        self._created_at: datetime | None = None
        self._ahead: dict[int, tuple[RoomEvent, RoomRecord | None]] = {}  # bound: _MOST_AHEAD, kept by offer
        self._belated: deque[RoomEvent] = deque()  # bound: answers shown
        self._target = -1
        self._first: int | None = None
        self._stale = False
        """Whether the room has to be read, because rights in it may have changed."""
        self._shown: dict[str, tuple[Growth, int]] = {}  # bound: answers under way, and pieces shown of them
        self._broken: deque[Piece] = deque()  # bound: answers shown
        self._task: asyncio.Task[None] | None = None
        self._has_begun = asyncio.Event()
        self._over = asyncio.Event()
        self._error: FollowEndedError | None = None

    # -- from its feed --------------------------------------------------------------------------

    def offer(self, index: int, event: RoomEvent | None, record: RoomRecord | None) -> None:
        """Show everything up to `index`; `record` is the room as the event was committed to it, here."""
        if not self._has_begun.is_set():
            self._first = index if self._first is None else min(self._first, index)
        elif index <= self.index:
            if event is None or event.id not in self._growths:
                return
            self._belated.append(event)  # its words came after it was passed
        if event is not None and index > self.index and len(self._ahead) < _MOST_AHEAD:
            self._ahead[index] = (event, record)
        self._target = max(self._target, index)
        self.wake()

    def renew(self) -> None:
        """Read the room again, and the events after `index`; also if a read is under way."""
        self._stale = True
        self.wake()

    def wake(self) -> None:
        """Go to work, unless that is under way."""
        if self._task is None and not self._over.is_set():
            self._task = self._run(self)

    def growth_ended(self, growth: Growth, error: PieceError | None) -> None:
        """Note that nothing more comes of an answer; without an error, its event does."""
        is_withheld = self._shown.get(growth.stream_id, _UNSEEN)[1] == _WITHHELD
        if error is not None or is_withheld:
            self._shown.pop(growth.stream_id, None)
        if error is not None and not is_withheld:
            self._broken.append(Piece(growth.stream_id, growth.source, error=error))
            self.wake()

    # -- its work -------------------------------------------------------------------------------

    async def work(self) -> None:
        """Show what there is to show; ends when nothing is left."""
        try:
            if not self._has_begun.is_set():
                await self._begin()
            while not self._over.is_set() and await self._step():
                pass
        except FollowEndedError as error:
            self.end(error)
        except Exception as error:  # noqa: BLE001  # show and changed may raise anything: it ends this follower
            self.end(self._failure("show_failed", f"it raised {error_text(error)}", error))
        finally:
            self._task = None

    async def _step(self) -> bool:
        """Show the next thing; return whether there was one."""
        if self._belated:
            await self._put(self._belated.popleft())
        elif self._stale or self._target > self.index:
            ready = None if self._stale else self._ahead.pop(self.index + 1, None)
            if ready is not None and self._may_put(*ready):
                await self._put(ready[0])
            else:
                await self._catch_up()
        else:
            return self._pieces is not None and await self._show_pieces(self._pieces)
        return True

    async def _begin(self) -> None:
        """Find the place in the timeline to begin at."""
        await self._listening.wait()
        excerpt = self._judged(await self._read(None))
        latest = -1 if excerpt is None else excerpt.latest_index
        if self._after is not None:
            self.index = min(self._after, latest)
            self._target = max(self._target, latest)
        else:  # committed here in between, it is shown
            self.index = latest if self._first is None else min(latest, self._first - 1)
        self._forget_passed()
        self._has_begun.set()

    def _may_put(self, event: RoomEvent, record: RoomRecord | None) -> bool:
        """Whether an event can be judged without reading the room again.

        The first event of a namesake cannot: which of the channel's people sent it, their record says.
        """
        if record is not None and record.room.created_at == self._created_at:
            self.binding = record.bindings.get(self.channel_id)
            self.participants = record.participants
        binding = self.binding
        if binding is None or (record is None and not is_shown(event, binding)):
            return False
        person = event.source.participant_id or ""
        return person in self.participants or not person.startswith(f"{binding.addresses}:")

    async def _put(self, event: RoomEvent) -> None:
        """Show an event, after the rest of its signals."""
        growth = self._shown.get(event.id, _UNSEEN)[0] or self._growths.get(event.id)
        if growth is not None and self._pieces is not None:
            await self._show_growth(growth, self._pieces)
            self._shown.pop(event.id, None)
        if self.binding is not None and is_shown(event, self.binding):
            await self._call(self._show(event))
        self.index = max(self.index, event.index)
        self._passed(event)

    async def _catch_up(self) -> None:
        """Show the events after `index` as the store has them."""
        while not self._over.is_set():
            wanted, self._target, self._stale = self._target, -1, False
            excerpt = self._judged(await self._read(self.index))
            if excerpt is None:  # not there yet
                self.index = max(self.index, wanted)
                return
            for event in excerpt.events:
                await self._put(event)
            if len(excerpt.events) < _PAGE:
                self._caught_up(excerpt.latest_index, wanted)
                return

    def _caught_up(self, latest: int, wanted: int) -> None:
        self.index = max(self.index, latest)
        self._forget_passed()
        if self._target <= self.index:  # of a finished answer, no event comes that the channel may see
            self._shown = {name: seen for name, seen in self._shown.items() if name in self._growths}
        if wanted > self.index:
            _log.warning(
                "room %r was said to have an event %d, but the store has none beyond %d",
                self.room_id,
                wanted,
                self.index,
            )

    def _forget_passed(self) -> None:
        self._ahead = {index: ready for index, ready in self._ahead.items() if index > self.index}

    async def _read(self, after: int | None) -> Excerpt | None:
        """Read the room, until that succeeds. Raises FollowEndedError if the kit closes before."""
        failures = 0
        while True:
            try:
                return await self._read_page(after, _PAGE)
            except Exception as error:  # noqa: BLE001  # a store may raise anything: it is asked again
                _log.warning(
                    "the timeline of room %r could not be read (%s); it is tried again",
                    self.room_id,
                    type(error).__name__,
                )
            if not await may_retry(self._closing, failures):
                raise self._failure("kit_closed", "the kit closed")
            failures += 1

    def _judged(self, excerpt: Excerpt | None) -> Excerpt | None:
        """Return the room as it was just read, None if it is not there yet. Raises FollowEndedError.

        A room that was deleted and made again under its id is not the one that was followed.
        """
        before = self._created_at
        if excerpt is None and before is None:
            return None
        is_same = excerpt is not None and before in (None, excerpt.room_created_at)
        if excerpt is None or not is_same or excerpt.latest_index < self.index:
            raise self._failure("room_not_found", "the room was deleted, or the channel detached from it")
        self._created_at = excerpt.room_created_at
        self.binding, self.participants = excerpt.binding, excerpt.participants
        if self._changed is not None:
            self._changed(excerpt)
        return excerpt

    # -- answers while they are generated -------------------------------------------------------

    async def _show_pieces(self, show: ShowPiece) -> bool:
        """Show how answers grew; return whether any did."""
        if self._broken:
            await self._call(show(self._broken.popleft()))
            return True
        for growth in tuple(self._growths.values()):
            if await self._show_growth(growth, show):
                return True
        return False

    async def _show_growth(self, growth: Growth, show: ShowPiece) -> bool:
        binding, is_new = self.binding, growth.stream_id not in self._shown
        seen = 0 if is_new else self._shown[growth.stream_id][1]
        if binding is None or seen == _WITHHELD or (seen == len(growth.pieces) and not is_new):
            return False
        if not (binding.can_read and admits(growth.visibility, binding.channel_id, binding.category)):
            self._shown[growth.stream_id] = growth, _WITHHELD
            if not is_new:
                await self._call(show(Piece(growth.stream_id, growth.source, error="answer_withheld")))
            return not is_new
        text = "".join(growth.pieces[seen:])
        self._shown[growth.stream_id] = growth, len(growth.pieces)
        await self._call(show(Piece(growth.stream_id, growth.source, text)))
        return True

    async def _call(self, work: Awaitable[None]) -> None:
        """Await a call of the follower's. Raises FollowEndedError when it is late, and what it raises."""
        try:
            async with asyncio.timeout(self._seconds) as limit:
                await work
        except TimeoutError as late:
            if not limit.expired():
                raise
            raise self._failure(
                "too_slow", f"it took longer than {self._seconds:g} s to show", late
            ) from late

    # -- its end --------------------------------------------------------------------------------

    def _failure(self, reason: str, why: str, cause: Exception | None = None) -> FollowEndedError:
        error = FollowEndedError(
            f"a follower of channel {self.channel_id!r} in room {self.room_id!r} is shown no more: {why}; "
            f"follow again with after={self.index}",
            reason=reason,
            index=self.index,
        )
        error.__cause__ = cause
        return error

    def end(self, error: FollowEndedError) -> None:
        """End it with an error. Idempotent."""
        if self._over.is_set():
            return
        self._error = error
        self.stop()
        if self._changed is not None and error.reason == "room_not_found":
            self._changed(None)

    def close(self) -> None:
        """End it, because the kit is closing."""
        self.end(self._failure("kit_closed", "the kit closed"))

    @override
    async def begun(self) -> None:
        await self._has_begun.wait()

    @override
    async def wait(self) -> None:
        await self._over.wait()
        if self._error is not None:
            raise self._error

    @override
    def stop(self) -> None:
        if self._over.is_set():
            return
        self._over.set()
        self._has_begun.set()
        self._leave(self)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
