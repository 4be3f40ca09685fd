"""Ephemeral signals inside one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.log import get_logger
from roomkit.abc.realtime import EphemeralCallback, RealtimeBackend
from roomkit.models.base import new_id

if TYPE_CHECKING:
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["InMemoryRealtime"]

logger = get_logger("roomkit.realtime")

_FAILED = "A subscriber of %s failed on the %s event %s"


class InMemoryRealtime(RealtimeBackend):
    """Publishes to subscribers of the same event loop.

    Each subscription has a queue of `max_queue_size` events; when it is full the oldest is dropped
    and counted. An event published again under its id takes the place of the one still waiting.
    """

    def __init__(self, max_queue_size: int = 100) -> None:
        if max_queue_size < 1:
            raise InvalidInputError(f"max_queue_size is {max_queue_size}; at least one event must fit")
        self._max_queue_size = max_queue_size
        self._topics: dict[str, dict[str, _Subscription]] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._closed = False

    @property
    def subscription_count(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscriptions)

    def dropped(self, subscription_id: str) -> int:
        """Return how many events the subscription missed because it was slow, 0 when unknown."""
        subscription = self._subscriptions.get(subscription_id)
        return 0 if subscription is None else subscription.dropped

    def has_subscribers(self, channel: str) -> bool:
        """Whether the topic has a subscription; a subclass may show events to others, so it does not know."""
        return channel in self._topics or type(self) is not InMemoryRealtime

    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        """Queue `event` for every subscriber of the topic; does not wait for them."""
        topic = self._topics.get(channel)
        if topic is not None:
            for subscription in topic.values():
                subscription.put(event)

    async def subscribe(self, channel: str, callback: EphemeralCallback) -> str:
        """Call `callback` for each event of the topic from now on.

        On a closed backend the subscription is void: it has an id and never sees anything.
        """
        subscription = _Subscription(channel, callback, self._max_queue_size)
        if not self._closed:
            self._topics.setdefault(channel, {})[subscription.id] = subscription
            self._subscriptions[subscription.id] = subscription
        return subscription.id

    async def unsubscribe(self, subscription_id: str) -> bool:
        """End a subscription; its callback is not called again and, when at work, is cancelled.

        A callback may end its own subscription: it then finishes what it is doing.
        """
        subscription = self._subscriptions.pop(subscription_id, None)
        if subscription is None:
            return False
        topic = self._topics[subscription.channel]
        del topic[subscription_id]
        if not topic:
            del self._topics[subscription.channel]
        await _end([subscription])
        return True

    async def close(self) -> None:
        """End every subscription; publishing afterwards does nothing. Idempotent."""
        self._closed = True
        subscriptions = list(self._subscriptions.values())
        self._subscriptions.clear()
        self._topics.clear()
        await _end(subscriptions)


class _Subscription:
    """One subscriber: its queue, and the task that empties it while there is something in it."""

    __slots__ = ("_callback", "_context", "_limit", "_queue", "_task", "channel", "dropped", "id")

    def __init__(self, channel: str, callback: EphemeralCallback, limit: int) -> None:
        self.id = new_id()
        self.channel = channel
        self.dropped = 0
        self._callback = callback
        self._context = copy_context()  # the subscriber's, not the publisher's
        self._limit = limit
        self._queue: dict[str, EphemeralEvent] = {}  # bound: limit; the oldest is dropped, counted
        self._task: asyncio.Task[None] | None = None

    def put(self, event: EphemeralEvent) -> None:
        queue = self._queue
        if event.id not in queue and len(queue) >= self._limit:
            del queue[next(iter(queue))]
            self.dropped += 1
        queue[event.id] = event
        if self._task is None:
            # Not create_task: an eager task factory would run the callback inside publish().
            self._task = asyncio.Task(self._drain(), name=f"realtime:{self.channel}", context=self._context)

    def cancel(self) -> asyncio.Task[None] | None:
        """Drop the queue; return the task to wait for, if it is at work and not the caller."""
        self._queue.clear()
        task = self._task
        if task is None or task is asyncio.current_task():
            return None
        task.cancel()
        return task

    async def _drain(self) -> None:
        queue = self._queue
        try:
            while queue:
                await self._show(queue.pop(next(iter(queue))))
        finally:
            self._task = None

    async def _show(self, event: EphemeralEvent) -> None:
        try:
            await self._callback(event)
        except asyncio.CancelledError:
            if self._task is not None and self._task.cancelling():
                raise
            logger.exception(_FAILED, self.channel, event.type, event.id)  # what it waited for was cancelled
        except Exception:
            logger.exception(_FAILED, self.channel, event.type, event.id)


async def _end(subscriptions: Iterable[_Subscription]) -> None:
    tasks = [task for subscription in subscriptions if (task := subscription.cancel())]
    if tasks:
        # wait, and not await: their outcome is already reported, and our own cancellation is not theirs.
        await asyncio.wait(tasks)
