"""Ephemeral signals between workers."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from itertools import count
from typing import Any, Self, override

from redis.exceptions import AuthenticationError
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.abc.log import get_logger
from roomkit.abc.realtime import EphemeralCallback, RealtimeBackend
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.base import new_id
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.redis.config import RedisRealtimeConfig
from roomkit_plugins.redis.link import Link, deadline_of_start
from roomkit_plugins.redis.listener import Listener
from roomkit_plugins.redis.server import TROUBLE, Server

__all__ = ["RedisRealtime"]

logger = get_logger("roomkit.redis")

_FRESH = 5.0
"""Seconds after which a signal that could not be sent is not worth sending."""
_KNOWN = 4096
"""Topics, and publishers of a topic, whose last number is remembered."""
_CLOSING = 2.0


class RedisRealtime(RealtimeBackend):
    """Publishes to the subscribers of all processes that use the same server, database and prefix.

    It is Redis' publish and subscribe, and not its streams: a signal is for current subscribers, so
    nothing is to be kept, trimmed or read again. Subscribers of this process see a signal at once
    and once, whether Redis is there or not; a signal for other processes is sent behind the
    publisher's back, again if need be, and is seen there once and in order.

    Signals are lost to other processes, and counted, when they could not be sent for five seconds or
    too many waited (`unsent`), and when they came while the receiver was cut off (`missed`, by the
    publishers' numbers; `interruptions` counts the cuts). `dropped()` counts the losses of slow
    subscribers.

    Subscribing waits until Redis confirms it, for `connect_timeout` at most: beyond, other processes
    are heard as soon as Redis is there. Raises ProviderError when Redis refuses the credentials.
    """

    def __init__(self, config: RedisRealtimeConfig | str | None = None) -> None:
        self.config = RedisRealtimeConfig.of(config)
        self._server = Server(self.config)
        self._local = InMemoryRealtime(self.config.max_queue_size)
        self._stem = f"{self.config.prefix}:{self._server.database}:topic:"
        self._heard: dict[str, _HeardTopic] = {}  # bound: the topics that are subscribed to
        self._by_channel: dict[bytes, _HeardTopic] = {}  # bound: as above
        self._topic_of: dict[str, str] = {}  # bound: the subscriptions
        self._numbers = _Numbers()
        self._outbox = Link(self._server, patience=self.config.connect_timeout, limit=self.config.max_outbox)
        self._listener = Listener(self._server, self._receive)
        self._is_sending = True
        self._closed = False
        self.unsent = 0
        self.missed = 0

    @override
    def __repr__(self) -> str:
        return f"RedisRealtime({self._server})"

    async def probe(self) -> str:
        """Return that the server can be worked with, as `SupportsProbe` says. Raises ProviderError."""
        return await self._server.probe()

    @property
    @override
    def is_process_local(self) -> bool:
        return False

    @property
    def interruptions(self) -> int:
        """How often what other processes published could not be heard for a while."""
        return self._listener.interruptions

    @property
    def subscription_count(self) -> int:
        """How many subscriptions there are."""
        return self._local.subscription_count

    def dropped(self, subscription_id: str) -> int:
        """Return how many events the subscription missed because it was slow, 0 when unknown."""
        return self._local.dropped(subscription_id)

    @override
    async def open(self) -> Self:
        question = self._outbox.ask("PING", deadline=deadline_of_start(self.config))
        try:
            await self._outbox.answer(question)
        except TROUBLE as error:
            code = ErrorCode.AUTH if isinstance(error, AuthenticationError) else ErrorCode.CONNECTION
            raise ProviderError(
                f"no signal reaches another process: {self._server.explain(error)}",
                error_code=code,
                provider="redis",
            ) from error
        return self

    # -- publishing -------------------------------------------------------------------------------

    @override
    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        """Show `event` to the topic's subscribers, here and elsewhere; waits for neither them nor Redis.

        Raises InvalidInputError for an event that has no JSON form; it was not published then.
        """
        if self._closed:
            return
        try:
            body = event.model_dump_json().encode()
        except ValueError as error:
            raise InvalidInputError(
                f"the {event.type} event {event.id} has no JSON form and was not published: {error}"
            ) from None
        await self._local.publish(channel, event)
        deadline = asyncio.get_running_loop().time() + _FRESH
        message = b"%b %b" % (self._numbers.next(channel), body)
        sent = self._outbox.ask("PUBLISH", self._channel_of(channel), message, deadline=deadline)
        sent.answer.add_done_callback(self._sent)

    def _sent(self, answer: asyncio.Future[Any]) -> None:
        error = answer.exception()
        if error is None:
            if not self._is_sending:
                logger.info("Signals reach other processes again; %d were not sent so far", self.unsent)
            self._is_sending = True
            return
        self.unsent += 1
        if self._is_sending:
            self._is_sending = False
            logger.warning("Signals do not reach other processes: %s", self._server.explain(error))

    def _channel_of(self, topic: str) -> bytes:
        digest = blake2b(topic.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return (self._stem + digest).encode()

    # -- subscribing ------------------------------------------------------------------------------

    @override
    async def subscribe(self, channel: str, callback: EphemeralCallback) -> str:
        subscription_id = await self._local.subscribe(channel, callback)
        if self._closed:
            return subscription_id
        topic = self._heard.get(channel)
        if topic is None:
            topic = self._heard[channel] = _HeardTopic(channel, self._channel_of(channel))
            self._by_channel[topic.channel] = topic
        topic.subscriptions += 1
        self._topic_of[subscription_id] = channel
        if self._listener.is_listening(topic.channel):
            return subscription_id
        try:
            heard = await self._listener.listen(topic.channel, self.config.connect_timeout)
        except TROUBLE as error:
            await self.unsubscribe(subscription_id)
            raise ProviderError(
                f"topic {channel!r} cannot be subscribed to: {self._server.explain(error)}",
                error_code=ErrorCode.AUTH,
                provider="redis",
            ) from error
        except BaseException:
            await self.unsubscribe(subscription_id)
            raise
        if not heard and not self._closed:
            logger.warning(
                "What other processes publish on topic %r is not heard yet: %s has not confirmed it; "
                "it will be heard once it does",
                channel,
                self._server,
            )
        return subscription_id

    @override
    async def unsubscribe(self, subscription_id: str) -> bool:
        name = self._topic_of.pop(subscription_id, None)
        if name is not None:
            topic = self._heard[name]
            topic.subscriptions -= 1
            if not topic.subscriptions:
                del self._heard[name], self._by_channel[topic.channel]
                self._listener.forget(topic.channel)
        return await self._local.unsubscribe(subscription_id)

    async def _receive(self, channel: bytes, message: bytes) -> None:
        topic = self._by_channel.get(channel)
        if topic is None:
            return  # no subscriber is left
        try:
            stamp, _, body = message.partition(b" ")
            publisher, run, number = stamp.decode().split(":")
            if publisher == self._numbers.publisher:
                return  # seen already, when it was published
            missed = topic.missed(f"{publisher}:{run}", int(number))
            event = EphemeralEvent.from_stored(body)
        except ValueError:
            # Not the text, which may be a person's; a worker of another version, or a stranger's program.
            logger.warning("A message on topic %r could not be read and was omitted", topic.name)
            return
        if missed is None:
            return  # seen already: it was sent again as its receipt was lost
        if missed:
            self.missed += missed
            logger.warning("%d signals of another process on topic %r were missed", missed, topic.name)
        await self._local.publish(topic.name, event)

    @override
    async def close(self) -> None:
        self._closed = True
        self._heard.clear()
        self._by_channel.clear()
        self._topic_of.clear()
        await self._local.close()
        await self._listener.close()
        await self._outbox.close(_CLOSING)


class _HeardTopic:
    """A topic with subscribers in this process, and how far each publisher was heard."""

    __slots__ = ("_last", "channel", "name", "subscriptions")

    def __init__(self, name: str, channel: bytes) -> None:
        self.name = name
        self.channel = channel
        self.subscriptions = 0
        self._last: dict[str, int] = {}  # bound: _KNOWN publishers, the oldest is forgotten

    def missed(self, publisher: str, number: int) -> int | None:
        """Return how many there were in between, None when the number is not news."""
        last = self._last.pop(publisher, None)
        if last is not None and number <= last:
            self._last[publisher] = last
            return None
        if len(self._last) >= _KNOWN:
            del self._last[next(iter(self._last))]
        self._last[publisher] = number
        return 0 if last is None else number - last - 1


class _Numbers:
    """Numbers what this process publishes, topic by topic: `publisher:run:number`.

    A topic that was forgotten begins a run of its own, so that no subscriber takes that for a gap.
    """

    def __init__(self) -> None:
        self.publisher = new_id()
        self._runs = count(1)
        self._topics: dict[str, _Run] = {}  # bound: _KNOWN topics, the one unused longest is forgotten

    def next(self, topic: str) -> bytes:
        """Return the stamp of the topic's next signal."""
        run = self._topics.pop(topic, None)
        if run is None:
            run = _Run(f"{self.publisher}:{next(self._runs)}:")
            if len(self._topics) >= _KNOWN:
                del self._topics[next(iter(self._topics))]
        self._topics[topic] = run
        run.number += 1
        return f"{run.prefix}{run.number}".encode()


class _Run:
    """The numbers given on one topic since it was last unknown."""

    __slots__ = ("number", "prefix")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.number = 0
