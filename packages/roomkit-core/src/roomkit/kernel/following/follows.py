"""The followers of this worker, and what it signals to those of the others."""

from __future__ import annotations

import asyncio
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.log import get_logger
from roomkit.abc.text_stream import text_stream_of
from roomkit.kernel.flow.reading import read_excerpt
from roomkit.kernel.following.feed import Feed
from roomkit.kernel.following.growth import Growth
from roomkit.kernel.following.outbox import Outbox
from roomkit.kernel.following.pauses import may_retry
from roomkit.kernel.following.signals import Signal, committed, packed, topic_of
from roomkit.kernel.runtime.scope import outside
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelOutput

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.services.homes import PieceError
    from roomkit.abc.store import ConversationStore
    from roomkit.abc.text_stream import TextStream
    from roomkit.kernel.flow.draft import Run
    from roomkit.kernel.following.follower import Follower
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.event import RoomEvent
    from roomkit.models.options import KitOptions
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["Follows"]

_log = get_logger("roomkit.kernel")

_PATIENCE = 2.0
_RECHECK = 30.0
_RECHECKS_PER_SECOND = 50
_ANNOUNCE = 2.0
_LATEST_ANNOUNCE = 5.0
_ANNOUNCED_PER_SECOND = 4096


class Follows:
    """Shows events to the followers here, and announces them to other workers, if there can be any.

    A room is listened to while it is followed here. Whatever is lost, doubled or overtaken on the way is
    made up for from the store: at the next event, or when the room was quiet for half a minute.
    """

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        realtime: RealtimeBackend,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._settings = settings
        self._store = store
        self._realtime = realtime
        self._clock = clock
        self._supervisor = supervisor
        self._own_id = new_id()
        self._closing = asyncio.Event()
        self.feeds: dict[str, dict[str, Feed]] = {}  # bound: rooms followed here, by room and channel
        self._outboxes: dict[tuple[str, str], Outbox] = {}  # bound: rooms with signals to publish
        self._leaving: set[asyncio.Task[None]] = set()  # bound: rooms that were followed until now
        self._rechecking: asyncio.Task[None] | None = None

    @cached_property
    def _has_others(self) -> bool:
        """Whether other processes may serve the same rooms, and receive published signals."""
        return not (self._store.is_process_local or self._realtime.is_process_local)

    # -- followers ------------------------------------------------------------------------------

    def follow(self, room_id: str, channel_id: str, **options: Any) -> Follower:
        """Show a follower what a channel of a room may see; the options are those of `Homes.follow`."""
        feed = self._feed(room_id, channel_id)
        is_first = not feed.followers
        seconds = self._settings.delivery_timeout
        follower = feed.add(seconds=seconds, run=self._run, closing=self._closing, **options)
        if is_first:
            self._listen(feed)
        follower.wake()
        return follower

    def _run(self, follower: Follower) -> asyncio.Task[None]:
        name = f"follower of channel {follower.channel_id} in room {follower.room_id}"
        # Outside every room's work, and never at once: commits are made under the room's lock.
        return self._supervisor.start(follower.work(), name, outside(), eager=False)

    def _feed(self, room_id: str, channel_id: str) -> Feed:
        feeds = self.feeds.setdefault(room_id, {})
        feed = feeds.get(channel_id)
        if feed is None:
            read = partial(read_excerpt, self._store, room_id, channel_id)
            feed = feeds[channel_id] = Feed(room_id, channel_id, read, self._left)
        return feed

    def _left(self, feed: Feed) -> None:
        """Listen no longer to a room that is not followed any more."""
        feed.listening.clear()
        if feed.subscribing is not None:
            feed.subscribing.cancel()
        if feed.subscription is not None:
            subscription, feed.subscription = feed.subscription, None
            name = f"end of listening to room {feed.room_id}"
            task = self._supervisor.start(self._unsubscribe(subscription, feed.room_id), name, outside())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._drop(feed)

    def _drop(self, feed: Feed) -> None:
        """Forget a feed that is not followed, and in which nothing grows."""
        feeds = self.feeds.get(feed.room_id, {})
        if feed.followers or feed.growths or feeds.get(feed.channel_id) is not feed:
            return
        del feeds[feed.channel_id]
        if not feeds:
            del self.feeds[feed.room_id]
        if not self.feeds and self._rechecking is not None:
            self._rechecking.cancel()
            self._rechecking = None

    # -- events ---------------------------------------------------------------------------------

    def committed(self, run: Run) -> None:
        """Show an event that was committed, or is delivered, by this worker; called under the room's lock."""
        for feed in self.feeds.get(run.event.room_id, {}).values():
            feed.offer(run.event.index, run.event, run.record)

    def announce(self, event: RoomEvent, channel_id: str) -> None:
        """Signal a committed event to the channel's followers on other workers."""
        if self._has_others:
            self._tell(event.room_id, channel_id, committed(event))

    def renew(self, room_id: str) -> None:
        """Have the room read for its followers here: rights in it changed."""
        for feed in self.feeds.get(room_id, {}).values():
            feed.renew()

    # -- answers while they are generated -------------------------------------------------------

    async def relay(self, text_stream: TextStream, event: RoomEvent, channel_id: str) -> ChannelOutput:
        """Show an answer to the channel's followers everywhere while it is generated."""
        stream = text_stream_of(text_stream, event)
        feed = self._feed(event.room_id, channel_id)
        growth = Growth(stream.id, event.source, event.visibility, is_ours=True)
        feed.begin(growth)
        self._announce_growth(feed, growth)
        try:
            async for text in stream:
                feed.grow(growth, text)
                self._tell(feed.room_id, channel_id, growth)
            final = await stream.turn()
        except asyncio.CancelledError:
            self._end(feed, growth, stream.event, "answer_cancelled")
            raise
        except Exception:  # raised again once the followers are notified
            self._end(feed, growth, await stream.turn(), "answer_failed")
            raise
        self._end(feed, growth, final, "answer_withheld")
        return ChannelOutput.skipped("nothing_committed") if final is None else ChannelOutput.empty()

    def _announce_growth(self, feed: Feed, growth: Growth) -> None:
        """Announce all of an answer, now and from time to time, for workers that missed a part."""
        growth.announced = 0
        self._tell(feed.room_id, feed.channel_id, growth)
        delay = min(_ANNOUNCE + growth.length / _ANNOUNCED_PER_SECOND, _LATEST_ANNOUNCE)
        growth.later(delay, self._announce_growth, feed, growth)

    def _end(self, feed: Feed, growth: Growth, event: RoomEvent | None, why_not: PieceError) -> None:
        """End an answer with its event, or with the reason why there is none."""
        growth.is_ours = False
        feed.expect_more(growth)
        if event is not None:
            self.announce(event, feed.channel_id)
            feed.offer(event.index, event)
        else:
            feed.end(growth.stream_id, why_not)
            broken = Signal(kind="broken", stream_id=growth.stream_id, error=why_not)
            self._tell(feed.room_id, feed.channel_id, broken)
        if not feed.followers:
            feed.end(growth.stream_id, None)
            self._drop(feed)

    # -- to other workers -----------------------------------------------------------------------

    def _tell(self, room_id: str, channel_id: str, item: Signal | Growth) -> None:
        """Publish in the background, behind earlier signals of the channel and room."""
        if not self._has_others:
            return
        box = self._outboxes.get((room_id, channel_id))
        if box is None:
            name = f"channel {channel_id!r} in room {room_id!r}"
            box = Outbox(name, partial(self._publish, room_id, channel_id), self._closing)
            self._outboxes[room_id, channel_id] = box
            work = self._work_off(box, (room_id, channel_id))
            self._supervisor.start(work, f"signals for {name}", outside(), eager=False)
        box.put(item)

    async def _work_off(self, box: Outbox, key: tuple[str, str]) -> None:
        try:
            await box.work()
        finally:
            del self._outboxes[key]

    async def _publish(self, room_id: str, channel_id: str, signal: Signal) -> None:
        packet = packed(room_id, channel_id, signal, by=self._own_id, at=self._clock.now())
        await self._realtime.publish(topic_of(room_id, channel_id), packet)

    # -- from other workers ---------------------------------------------------------------------

    def _listen(self, feed: Feed) -> None:
        if not self._has_others:
            feed.listening.set()
            return
        feed.subscribing = self._supervisor.serve(self._listening(feed), f"listening to room {feed.room_id}")
        if self._rechecking is None:
            self._rechecking = self._supervisor.serve(self._recheck(), "look at quiet rooms")

    async def _listening(self, feed: Feed) -> None:
        """Subscribe; without the backend the followers begin all the same, and read what they miss."""
        failures = 0
        try:
            while not await self._subscribe(feed):
                feed.listening.set()
                if not await may_retry(self._closing, failures):
                    return
                failures += 1
        finally:
            feed.listening.set()
        if failures:
            feed.renew()  # events committed in between

    async def _subscribe(self, feed: Feed) -> bool:
        topic = topic_of(feed.room_id, feed.channel_id)
        try:
            async with asyncio.timeout(_PATIENCE):
                feed.subscription = await self._realtime.subscribe(topic, partial(self._receive, feed))
        except Exception as error:  # noqa: BLE001  # a backend may raise anything: it is tried again
            _log.warning(
                "what other workers signal of room %r is not received (%s); it is tried again",
                feed.room_id,
                type(error).__name__,
            )
        return feed.subscription is not None

    async def _receive(self, feed: Feed, signal: EphemeralEvent) -> None:
        if signal.user_id != self._own_id:
            feed.receive(signal)

    async def _unsubscribe(self, subscription: str, room_id: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._realtime.unsubscribe(subscription)
        except Exception as error:  # noqa: BLE001  # no caller is left to handle it
            _log.warning("a subscription to room %r did not end: %s", room_id, type(error).__name__)

    async def _recheck(self) -> None:
        """Look at rooms that have been quiet: the last thing said in them may have been lost."""
        while True:
            await asyncio.sleep(_RECHECK)
            for feed in [feed for feeds in self.feeds.values() for feed in feeds.values()]:
                if feed.is_quiet:
                    feed.renew()
                    await asyncio.sleep(1 / _RECHECKS_PER_SECOND)
                feed.is_quiet = True

    # -- the end --------------------------------------------------------------------------------

    def retry_no_more(self) -> None:
        """Wait no longer for a store or a backend that fails: the kit is closing."""
        self._closing.set()

    async def close(self) -> None:
        """End every follower. Idempotent."""
        for feeds in tuple(self.feeds.values()):
            for feed in tuple(feeds.values()):
                for follower in feed.followers:
                    follower.close()
        if self._leaving:
            await asyncio.wait(self._leaving)
