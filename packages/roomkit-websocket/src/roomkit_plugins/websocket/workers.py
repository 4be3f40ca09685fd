"""The other workers, as a channel sees them: messages to them and from them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.log import get_logger
from roomkit.models.base import new_id
from roomkit.models.visibility import admits
from roomkit_plugins.websocket.bus import Broken, Bus, BusMessage, CommittedSignal, Growing, NotOurs, Rebound
from roomkit_plugins.websocket.feed import RoomFeed, may_show
from roomkit_plugins.websocket.frames import StreamChunk, StreamError, StreamErrorCode
from roomkit_plugins.websocket.live import LiveAnswers, ShownAnswer
from roomkit_plugins.websocket.outbox import LONGEST_TEXT, Outboxes

if TYPE_CHECKING:
    from roomkit.abc.services import Excerpt, Services
    from roomkit.models.event import RoomEvent
    from roomkit.models.realtime import EphemeralEvent
    from roomkit_plugins.websocket.frames import StreamMessage

__all__ = ["Workers"]

_log = get_logger("roomkit.websocket")

_PATIENCE = 2.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 15.0
_ANNOUNCE = 2.0
_ANNOUNCED_PER_SECOND = 4096
_SILENCE = 10.0
_GRACE = 20.0
_FAREWELL = 1.0
_RECHECKS_PER_SECOND = 50

type ShowEvent = Callable[[str, RoomEvent, Collection[str]], int]
"""`(room_id, event, sender_names)`: hands an event to this worker's connections; returns how many took it."""

type Judge = Callable[[str, Excerpt | None], None]
"""Drops the connections here that have no right to a room, as it was just read; None: it is gone."""

type ShowFrame = Callable[[str, StreamMessage], None]
"""Hands a frame of a stream to those of this worker's connections that see answers grow."""


class _Watch:
    """A room with connections here: its feed, the task that listens for it, and when it listens."""

    __slots__ = ("feed", "listening", "subscription", "task")

    def __init__(self, feed: RoomFeed) -> None:
        self.feed = feed
        self.listening = asyncio.Event()
        self.subscription: str | None = None
        self.task: asyncio.Task[None] | None = None


class Workers:
    """Announces events to other workers, and shows theirs to the connections here.

    A room is listened to while it has connections here, and no longer. Whatever gets lost, doubled
    or overtaken on the way is put right from the store: at the next event, or when the room has been quiet
    for `recheck_interval` seconds. No call but `listening` and `close` waits for the bus or the store.
    """

    def __init__(
        self,
        channel_id: str,
        services: Services,
        live: LiveAnswers,
        show: ShowEvent,
        show_frame: ShowFrame,
        judge: Judge,
        *,
        recheck_interval: float,
    ) -> None:
        self._channel_id = channel_id
        self._services = services
        self._live = live
        self._show = show
        self._show_frame = show_frame
        self._judge = judge
        self._recheck_interval = recheck_interval
        self._bus = Bus(channel_id, new_id())
        self._outboxes = Outboxes(self._publish)
        self._watched: dict[str, _Watch] = {}  # bound: rooms with connections here
        self._leaving: set[asyncio.Task[None]] = set()  # bound: rooms whose last connection just left
        self._rechecking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def unpublished(self) -> int:
        """How many messages to other workers were replaced by the newest index."""
        return self._outboxes.unpublished

    # -- listening ----------------------------------------------------------------------------

    @property
    def watched(self) -> Sequence[str]:
        """The rooms that are listened to."""
        return tuple(self._watched)

    def watch(self, room_id: str) -> None:
        """Listen to a room. Idempotent."""
        if self._closed or room_id in self._watched:
            return
        read = partial(self._read, room_id)
        watch = self._watched[room_id] = _Watch(
            RoomFeed(room_id, read, partial(self._show, room_id), partial(self._judge, room_id))
        )
        # Contexts of their own: these outlive the first connection.
        watch.task = asyncio.Task(
            self._listen(room_id, watch), name=f"listen to room {room_id}", context=Context()
        )
        if self._rechecking is None:
            self._rechecking = asyncio.Task(
                self._recheck(), name=f"recheck the rooms of {self._channel_id}", context=Context()
            )

    def unwatch(self, room_id: str) -> None:
        """Listen to a room no longer. Idempotent."""
        watch = self._watched.pop(room_id, None)
        if watch is None:
            return
        for live in self._live.of(room_id):
            if not live.is_ours:
                self._live.end(room_id, live.start.stream_id)
        task = asyncio.Task(self._leave(watch), name=f"leave room {room_id}", context=Context())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def unwatch_soon(self, room_ids: Sequence[str], *, unless: Callable[[str], bool]) -> None:
        """Listen no longer to those of the rooms that nothing here sees, in the next step of the loop."""

        def unwatch() -> None:
            for room_id in room_ids:
                if not unless(room_id):
                    self.unwatch(room_id)

        asyncio.get_running_loop().call_soon(unwatch)

    async def listening(self, room_id: str) -> None:
        """Wait until every event that is committed from now on will be shown here."""
        watch = self._watched.get(room_id)
        if watch is not None:
            await watch.listening.wait()

    async def _read(self, room_id: str, after: int | None, limit: int) -> Excerpt | None:
        return await self._services.rooms.read_timeline(room_id, after_index=after, limit=limit)

    async def _listen(self, room_id: str, watch: _Watch) -> None:
        """Subscribe, then find out where the room is; without the bus, the other way round."""
        subscribed = await self._subscribe(room_id, watch)
        await watch.feed.begin()
        watch.listening.set()
        pause = _FIRST_PAUSE
        while not subscribed:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            if subscribed := await self._subscribe(room_id, watch):
                watch.feed.fill()  # events committed in between

    async def _subscribe(self, room_id: str, watch: _Watch) -> bool:
        realtime, hear = self._services.realtime, partial(self._hear, room_id)
        try:
            async with asyncio.timeout(_PATIENCE):
                watch.subscription = await realtime.subscribe(self._bus.topic(room_id), hear)
        except Exception as error:  # noqa: BLE001  # a backend may raise anything: it is tried again
            _log.warning(
                "could not listen to the other workers of room %r (%s); trying again",
                room_id,
                type(error).__name__,
            )
            return False
        return True

    async def _leave(self, watch: _Watch) -> None:
        if watch.task is not None and not watch.task.done():
            watch.task.cancel()
            await asyncio.wait((watch.task,))
        await watch.feed.close()
        if watch.subscription is not None:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._services.realtime.unsubscribe(watch.subscription)
            except Exception as error:  # noqa: BLE001  # no caller is left to handle it
                _log.warning(
                    "a subscription to room %r did not end: %s", watch.feed.room_id, type(error).__name__
                )

    async def _recheck(self) -> None:
        """Look at rooms that have been quiet: the last thing said in them may have been lost."""
        while True:
            feeds = [watch.feed for watch in self._watched.values() if watch.listening.is_set()]
            pause = max(self._recheck_interval / max(len(feeds), 1), 1 / _RECHECKS_PER_SECOND)
            if not feeds:
                await asyncio.sleep(self._recheck_interval)
            for feed in feeds:
                await asyncio.sleep(pause)
                if feed.quiet and feed.room_id in self._watched:
                    feed.fill()
                feed.quiet = True

    # -- telling ------------------------------------------------------------------------------

    def tell(self, room_id: str, message: BusMessage) -> None:
        """Publish `message` in the background, behind earlier messages of the room."""
        if not self._closed:
            self._outboxes.put(room_id, message)

    async def _publish(self, room_id: str, message: BusMessage) -> None:
        signal = self._bus.pack(room_id, message, self._services.clock.now())
        await self._services.realtime.publish(self._bus.topic(room_id), signal)

    def offer(self, event: RoomEvent, *, whole: bool = True) -> int | None:
        """Show an event that is delivered here, and announce it to the others.

        Not `whole`, it is read from the store everywhere. Returns as `RoomFeed.offer`; None, too,
        when there is no connection here.
        """
        room_id = event.room_id
        watch = self._watched.get(room_id)
        self.tell(room_id, CommittedSignal(event.index, event if whole else None))
        if watch is None:
            return None
        if whole:
            return watch.feed.offer(event)
        watch.feed.reach(event.index)
        return None

    def rebound(self, room_id: str) -> None:
        """Announce that rights in a room changed, behind earlier messages, and read them here."""
        self.tell(room_id, Rebound())
        self.renew(room_id)

    def renew(self, room_id: str) -> None:
        """Read again what the connections here may see of a room."""
        if (watch := self._watched.get(room_id)) is not None:
            watch.feed.renew()

    def begin(self, live: ShownAnswer) -> None:
        """Announce an answer of ours, now and from time to time, for workers that missed a piece."""
        if self._closed:
            return
        room_id = live.start.room_id
        text = live.text
        for offset in range(0, max(len(text), 1), LONGEST_TEXT):
            piece = text[offset : offset + LONGEST_TEXT]
            self.tell(room_id, Growing(live.start.stream_id, offset, piece, live.start, live.visibility))
        delay = min(_ANNOUNCE + live.length / _ANNOUNCED_PER_SECOND, _SILENCE / 2)
        live.timer = asyncio.get_running_loop().call_later(delay, self.begin, live)

    def grow(self, live: ShownAnswer, text: str) -> None:
        """Announce more text of an answer of ours."""
        offset = live.length
        live.length += len(text)
        for start in range(0, len(text), LONGEST_TEXT):
            piece = text[start : start + LONGEST_TEXT]
            self.tell(live.start.room_id, Growing(live.start.stream_id, offset + start, piece))

    def finish(self, live: ShownAnswer, event: RoomEvent) -> None:
        """End an answer of ours with its event: here in its place, which may take a moment."""
        live.stop_timer()
        live.is_ours = False  # so that no worker waits for its end for ever
        self.offer(event)
        if not live.over:
            self._expect_more(live)

    def break_off(self, live: ShownAnswer, error: StreamErrorCode) -> None:
        """Announce that an answer of ours failed."""
        self.tell(live.start.room_id, Broken(live.start.stream_id, error))

    # -- hearing ------------------------------------------------------------------------------

    async def _hear(self, room_id: str, signal: EphemeralEvent) -> None:
        watch = self._watched.get(room_id)
        if watch is None:
            return
        try:
            message = self._bus.unpack(room_id, signal)
        except NotOurs as error:
            _log.warning("a signal on the topic of room %r was left alone: %s", room_id, error)
            return
        match message:
            case CommittedSignal(index, event):
                if event is None:
                    watch.feed.reach(index)
                elif watch.feed.offer(event) is None:
                    self._end_belated(watch.feed, event)
            case Growing():
                self._hear_growing(room_id, watch.feed, message)
            case Broken():
                self._break_off(room_id, message.stream_id, message.error)
            case Rebound():
                watch.feed.renew()

    def _hear_growing(self, room_id: str, feed: RoomFeed, message: Growing) -> None:
        live = self._live.get(room_id, message.stream_id)
        if live is None:
            if message.start is None or message.stream_id in feed.shown or not _admitted(feed, message):
                return
            live = ShownAnswer(message.start, message.visibility, is_ours=False)
            self._live.add(live)
            self._show_frame(room_id, live.start)
        if live.is_ours:
            return
        self._expect_more(live)
        text = message.text[live.length - message.offset :] if message.offset <= live.length else ""
        if text:
            live.pieces.append(text)
            live.length += len(text)
            self._show_frame(room_id, StreamChunk(room_id, message.stream_id, text))

    def _end_belated(self, feed: RoomFeed, event: RoomEvent) -> None:
        """End an answer that was heard of only after its event was passed: its words came late."""
        live = self._live.get(feed.room_id, event.id)
        passed = event.index <= feed.cursor and feed.binding is not None and may_show(feed.binding, event)
        if live is not None and not live.is_ours and passed:
            self._show(feed.room_id, event, feed.sender_names(event))

    def _expect_more(self, live: ShownAnswer) -> None:
        """Look for the end of an answer when nothing more of it comes, and then give it up."""
        live.stop_timer()
        live.timer = asyncio.get_running_loop().call_later(_SILENCE, self._look_for_end, live)

    def _look_for_end(self, live: ShownAnswer) -> None:
        room_id, stream_id = live.start.room_id, live.start.stream_id
        if (watch := self._watched.get(room_id)) is not None:
            watch.feed.fill()  # its event may be there, and the word of it lost
        live.timer = asyncio.get_running_loop().call_later(
            _GRACE, self._break_off, room_id, stream_id, "answer_failed"
        )

    def _break_off(self, room_id: str, stream_id: str, error: StreamErrorCode) -> None:
        live = self._live.get(room_id, stream_id)
        if live is not None and not live.is_ours:
            self._live.end(room_id, stream_id)
            self._show_frame(room_id, StreamError(room_id, stream_id, error))

    # -- the end ------------------------------------------------------------------------------

    async def close(self) -> None:
        """Publish queued messages, for a moment, and end every subscription. Idempotent."""
        self._closed = True
        if self._rechecking is not None:
            self._rechecking.cancel()
            await asyncio.wait((self._rechecking,))
            self._rechecking = None
        for live in self._live:
            live.stop_timer()
        for room_id in self.watched:
            self.unwatch(room_id)
        await self._outboxes.close(_FAREWELL)
        while self._leaving:
            await asyncio.wait(self._leaving)


def _admitted(feed: RoomFeed, message: Growing) -> bool:
    """Whether an answer under way may be shown, as far as it is known; its event is judged again."""
    binding = feed.binding
    return (
        binding is not None
        and binding.can_read
        and admits(message.visibility, binding.channel_id, binding.category)
    )
