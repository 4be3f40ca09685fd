"""A source over a queue that keeps unacknowledged messages, as an outsider writes it, and its suite."""

from __future__ import annotations

import asyncio

from roomkit.abc.source import EmitCallback, SourceProvider
from roomkit.authoring.source import BaseSourceProvider
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import SourceStatus
from roomkit_plugins.testing.contracts import SourceProviderContract

__all__ = ["QueueContract", "QueueSource"]


class QueueSource(BaseSourceProvider):
    """Emits the queue's messages, one after the other; stored ones leave it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[str] = []
        self.changed = asyncio.Event()

    @property
    def name(self) -> str:
        return "queue"

    async def start(self, emit: EmitCallback) -> None:
        self._reset_stop()
        self._set_status(SourceStatus.CONNECTED)
        position = 0
        while not self._should_stop():
            if position == len(self.queue):
                self.changed.clear()
                await self.changed.wait()
                continue
            self._record_message()
            position += not await self.hand_over(self.queue[position], emit)

    async def hand_over(self, item: str, emit: EmitCallback) -> bool:
        """Emit one item; return whether it left the queue."""
        result = await emit(self.message(item))
        if isinstance(result, InboundResult) and result.stored:
            self.queue.remove(item)
            return True
        return False

    def message(self, item: str) -> InboundMessage:
        """Return the message of an item."""
        return InboundMessage(
            channel_id="chat", sender_id="bob", content=TextContent(body=item), idempotency_key=item
        )

    async def stop(self) -> None:
        await super().stop()
        self.changed.set()


class QueueContract(SourceProviderContract):
    """The suite of such a source."""

    redelivers = True

    async def bring(self, source: SourceProvider, number: int) -> None:
        assert isinstance(source, QueueSource)
        source.queue += [f"item {len(source.queue) + each}" for each in range(number)]
        source.changed.set()

    async def unacknowledged(self, source: SourceProvider) -> int:
        assert isinstance(source, QueueSource)
        return len(source.queue)
