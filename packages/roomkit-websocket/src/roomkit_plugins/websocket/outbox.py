"""Publishes for a room, in order and in the background; what could not be said is said again, shortly."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context

from roomkit.abc.log import get_logger
from roomkit_plugins.websocket.bus import Broken, BusMessage, CommittedSignal, Growing, Rebound

__all__ = ["LONGEST_TEXT", "Outboxes"]

_log = get_logger("roomkit.websocket")

LONGEST_TEXT = 1000
"""Characters of an answer that one message carries."""
_MOST = 1000
_BATCH = 0.05
_PATIENCE = 5.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 15.0

type Publish = Callable[[str, BusMessage], Awaitable[None]]


class Outbox:
    """The queue of one room's messages to other workers, and the task that publishes it.

    Text of an answer waits for more of it, up to `_BATCH` seconds; anything else goes at once, behind
    the earlier ones. When the backend fails, or more than `_MOST` messages wait, they are replaced by
    the newest index: a worker that gets that reads the rest from the store. Text is then lost until it
    is announced again, or committed.
    """

    def __init__(self, room_id: str, owner: Outboxes) -> None:
        self._room_id = room_id
        self._owner = owner
        self._waiting: deque[BusMessage] = deque()  # bound: _MOST, kept by put
        self._hurry = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def put(self, message: BusMessage) -> None:
        """Publish `message` in its turn."""
        waiting = self._waiting
        if len(waiting) >= _MOST:
            self._owner.unpublished += len(waiting)
            self._shorten(message)
        elif not _merged(waiting, message):
            waiting.append(message)
        if not isinstance(message, Growing):
            self._hurry.set()
        if self.task is None:
            work = self._work()
            # In a context of its own: it outlives the first delivery.
            self.task = asyncio.Task(work, name=f"publish for room {self._room_id}", context=Context())

    def _shorten(self, last: BusMessage | None = None) -> None:
        """Replace the queue by the newest index, and by what cannot be read from the store."""
        everything = [*self._waiting] if last is None else [*self._waiting, last]
        self._waiting.clear()
        self._waiting.extend([one for one in everything if isinstance(one, Broken)][-_MOST // 10 :])
        if any(isinstance(one, Rebound) for one in everything):
            self._waiting.append(Rebound())
        newest = max((one.index for one in everything if isinstance(one, CommittedSignal)), default=-1)
        if newest >= 0:
            self._waiting.append(CommittedSignal(newest))

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                self._hurry.clear()
                await self._publish_all()
        finally:
            self.task = None
            self._owner.done(self._room_id)

    async def _gather(self) -> None:
        """Wait a moment for more text, unless something else waits too."""
        if all(isinstance(one, Growing) for one in self._waiting):
            try:
                async with asyncio.timeout(_BATCH):
                    await self._hurry.wait()
            except TimeoutError:
                pass

    async def _publish_all(self) -> None:
        pause = _FIRST_PAUSE
        while self._waiting:
            message = self._waiting.popleft()
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._owner.publish(self._room_id, message)
            except Exception as error:  # noqa: BLE001  # a backend may raise anything: it is tried again
                if isinstance(message, CommittedSignal) and message.event is not None:
                    self._waiting.appendleft(
                        CommittedSignal(message.index)
                    )  # it may only have been too large
                    continue
                self._owner.failed(self._room_id, error)
                self._owner.unpublished += 1
                self._waiting.appendleft(message)
                self._shorten()
                if self._waiting:
                    await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE


def _merged(waiting: deque[BusMessage], message: BusMessage) -> bool:
    """Add text to the text that waits, if nothing stands between them."""
    last = waiting[-1] if waiting else None
    if not (isinstance(message, Growing) and isinstance(last, Growing)):
        return False
    follows = last.stream_id == message.stream_id and last.offset + len(last.text) == message.offset
    if not follows or len(last.text) + len(message.text) > LONGEST_TEXT:
        return False
    waiting[-1] = Growing(last.stream_id, last.offset, last.text + message.text, last.start, last.visibility)
    return True


class Outboxes:
    """The outboxes of all rooms with something to say."""

    def __init__(self, publish: Publish) -> None:
        self.publish = publish
        self.unpublished = 0
        """How many messages could not be published as they were."""
        self._boxes: dict[str, Outbox] = {}  # bound: rooms that have something to say

    def put(self, room_id: str, message: BusMessage) -> None:
        """Publish `message` in its turn among those of its room; never waits."""
        box = self._boxes.get(room_id)
        if box is None:
            box = self._boxes[room_id] = Outbox(room_id, self)
        box.put(message)

    def done(self, room_id: str) -> None:
        """Forget a room that has nothing more to say."""
        self._boxes.pop(room_id, None)

    def failed(self, room_id: str, error: Exception) -> None:
        """Log a failure."""
        _log.warning(
            "the realtime backend did not take a signal for room %r (%s); the other workers read what they "
            "missed from the store",
            room_id,
            type(error).__name__,
        )

    async def close(self, seconds: float) -> None:
        """Publish the queue, for up to `seconds`, and stop. Idempotent."""
        tasks = [box.task for box in self._boxes.values() if box.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
