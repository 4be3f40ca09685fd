"""A feed of pages that keeps unacknowledged ones: in memory, in place of Beacon's queue."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from pydantic import BaseModel, Field

from roomkit import BaseSourceProvider
from roomkit.abc import EmitCallback
from roomkit.models import InboundMessage, InboundResult, SourceStatus, TextContent


class FeedConfig(BaseModel):
    """Which queue to read."""

    queue: str = Field(description="The name of the queue.")
    channel: str = Field(description="The id of the channel that its pages belong to.")


class Queue:
    """A queue at Beacon."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.changed = asyncio.Event()

    def put(self, *texts: str) -> None:
        """Add pages."""
        self.items.extend(texts)
        self.changed.set()


class PagerFeed(BaseSourceProvider):
    """Reads a queue, one page after the other."""

    queues: ClassVar[dict[str, Queue]] = {}

    def __init__(self, queue: str, channel: str) -> None:
        super().__init__()
        self._queue = queue
        self._channel = channel
        self.queue = self.queues.setdefault(queue, Queue())

    @property
    def name(self) -> str:
        return f"pager-feed {self._queue}"

    async def start(self, emit: EmitCallback) -> None:
        self._reset_stop()
        self._set_status(SourceStatus.CONNECTED)
        items, position = self.queue.items, 0
        while not self._should_stop():
            if position == len(items):
                self.queue.changed.clear()
                await self.queue.changed.wait()
                continue
            text = items[position]
            self._record_message()
            result = await emit(self.message(text))
            if isinstance(result, InboundResult) and result.stored:
                items.remove(text)
            else:
                position += 1

    async def stop(self) -> None:
        await super().stop()
        self.queue.changed.set()

    def message(self, text: str) -> InboundMessage:
        """Return a page as a message."""
        return InboundMessage(
            channel_id=self._channel,
            sender_id="2000",
            content=TextContent(body=text),
            idempotency_key=f"{self._queue}:{text}",
        )
