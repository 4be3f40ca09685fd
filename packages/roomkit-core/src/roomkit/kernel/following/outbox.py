"""Publishes signals of one channel in a room, in order and in the background."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from roomkit.abc.log import get_logger
from roomkit.kernel.following.growth import Growth
from roomkit.kernel.following.pauses import may_retry
from roomkit.kernel.following.signals import Signal

__all__ = ["Outbox"]

_log = get_logger("roomkit.kernel")

_LONGEST_TEXT = 1000
"""Characters of an answer that one signal carries."""
_MOST = 1000
_BATCH = 0.05
_PATIENCE = 5.0


class Outbox:
    """A queue of signals, and of answers that have grown.

    Text waits for more of it, up to `_BATCH` seconds; anything else is published at once, behind the earlier
    ones. If the backend fails, or more than `_MOST` signals wait, they are replaced by the newest index: a
    worker that receives that reads the rest from the store. Text is then lost until it is announced
    again, or committed.
    """

    def __init__(
        self, name: str, publish: Callable[[Signal], Awaitable[None]], closing: asyncio.Event
    ) -> None:
        self._name = name
        self._publish = publish
        self._closing = closing
        self._waiting: deque[Signal | Growth] = deque()  # bound: _MOST, kept by put
        self._hurry = asyncio.Event()

    def put(self, item: Signal | Growth) -> None:
        """Publish a signal, or an answer's new text, in its turn; never waits."""
        if isinstance(item, Signal):
            self._hurry.set()
        elif item in self._waiting:
            return
        self._waiting.append(item)
        if len(self._waiting) > _MOST:
            self._shorten()

    def _shorten(self) -> None:
        newest = max((one.index for one in self._waiting if isinstance(one, Signal)), default=-1)
        self._waiting.clear()
        if newest >= 0:
            self._waiting.append(Signal(kind="committed", index=newest))

    async def work(self) -> None:
        """Publish until nothing waits."""
        failures = 0
        while self._waiting:
            await self._gather()
            item = self._waiting.popleft()
            try:
                async with asyncio.timeout(_PATIENCE):
                    await (self._publish(item) if isinstance(item, Signal) else self._publish_text(item))
                failures = 0
            except Exception as error:  # noqa: BLE001  # a backend may raise anything: the store has the events
                _log.warning(
                    "the realtime backend did not take a signal for %s (%s); the other workers read what "
                    "they missed from the store",
                    self._name,
                    type(error).__name__,
                )
                self._waiting.appendleft(item)
                self._shorten()
                if self._waiting and not await may_retry(self._closing, failures):
                    return
                failures += 1

    async def _gather(self) -> None:
        """Wait a moment for more text, unless something else waits too."""
        if all(isinstance(one, Growth) for one in self._waiting):
            self._hurry.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_BATCH):
                    await self._hurry.wait()

    async def _publish_text(self, growth: Growth) -> None:
        """Publish how an answer grew; the first signal of it says whose it is."""
        text = growth.text
        while True:
            offset, growth.announced = growth.announced, min(growth.announced + _LONGEST_TEXT, len(text))
            fields: dict[str, Any] = {"stream_id": growth.stream_id, "offset": offset}
            if not offset:
                fields["source"] = growth.source.model_dump_json(exclude={"raw_payload"})
                fields["visibility"] = growth.visibility
            await self._publish(Signal(kind="growing", text=text[offset : growth.announced], **fields))
            if growth.announced == len(text):
                return
