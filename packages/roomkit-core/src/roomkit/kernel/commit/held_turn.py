"""The turn of an intelligence on a message that is not committed yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, override

from roomkit.kernel.flow.context import RecordContext
from roomkit.kernel.flow.contract import check_output
from roomkit.kernel.flow.speculation import Prepared
from roomkit.kernel.runtime.deadline import ends_task
from roomkit.kernel.runtime.scope import Work, outside
from roomkit.models.ai import StreamDone

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.ai import StreamEvent
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.event import RoomEvent

__all__ = ["HeldTurn", "SpeculativeContext"]


class SpeculativeContext(RecordContext):
    """The context of a turn on a message that may yet be committed: the room as it would be then."""

    def __init__(
        self, record: RoomRecord, binding: ChannelBinding, event: RoomEvent, store: ConversationStore
    ) -> None:
        super().__init__(record, reader=binding, event=event, target=binding.channel_id, store=store)
        self.speculative = True
        self._committed = asyncio.Event()

    async def prepare(self, event: RoomEvent) -> None:
        """Fix the history as it is, with the event as its last entry."""
        if self.fix():
            await self.fill()
        self._seen = (*(self._seen or ()), event)

    def confirm(self) -> None:
        """Let the turn have its effects: its message is committed."""
        self.speculative = False
        self._committed.set()

    @override
    async def confirmed(self) -> None:
        await self._committed.wait()


class HeldTurn(Prepared):
    """One intelligence's turn on such a message; its output is kept until a lane takes it."""

    def __init__(
        self,
        channel: Channel,
        binding: ChannelBinding,
        event: RoomEvent,
        context: SpeculativeContext,
        supervisor: Supervisor,
    ) -> None:
        self.channel = channel
        self.error: BaseException | None = None
        self.usage: dict[str, int] = {}
        self.characters = 0
        self._binding = binding
        self._event = event
        self._supervisor = supervisor
        self._context = context
        self._work = Work(event.room_id, speculative=True)
        self._task: asyncio.Task[None] | None = None
        self._output: ChannelOutput | None = None
        self._items: deque[str | StreamEvent] = deque()  # bound: one answer
        self._moved = asyncio.Event()

    def begin(self) -> None:
        """Have the answer prepared, in a task that belongs to no other work."""
        name = f"answer of {self._binding.channel_id} prepared in room {self._binding.room_id}"
        self._task = self._supervisor.start(self._run(), name, outside())

    async def _run(self) -> None:
        try:
            with self._work:
                output = await self.channel.on_event(self._event, self._binding, self._context)
                check_output(output, self._binding.channel_id)
                stream = output.response_stream
                if stream is None:
                    self._output = output
                    self._count(output)
                else:
                    self._output = replace(output, response_stream=self._read())
                    await self._fill(stream)
        except BaseException as error:  # a channel may raise anything: it is raised where the turn is taken
            if ends_task(error) and not isinstance(error, asyncio.CancelledError):
                raise
            self.error = error
        finally:
            self._moved.set()

    async def _fill(self, stream: AsyncIterator[str | StreamEvent]) -> None:
        self._moved.set()
        try:
            async for item in stream:
                if isinstance(item, StreamDone):
                    self._used(item.usage)
                elif isinstance(item, str):
                    self.characters += len(item)
                self._items.append(item)
                self._moved.set()
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def _count(self, output: ChannelOutput) -> None:
        for event in output.response_events:
            if event.generation is not None:
                self._used(event.generation.usage)

    def _used(self, usage: object) -> None:
        if isinstance(usage, Mapping):
            for key, tokens in usage.items():
                if isinstance(tokens, int):
                    self.usage[str(key)] = self.usage.get(str(key), 0) + tokens

    def drop(self) -> None:
        """End the turn, unless it has ended."""
        if self._task is not None and not self._task.done():
            self._supervisor.start(self._supervisor.stop(self._task), f"end of {self._task.get_name()}")

    async def over(self) -> None:
        """Wait until the turn has ended, or was abandoned."""
        if self._task is not None and not self._task.done():
            await self._supervisor.stop(self._task)

    async def output(self, lane: Work) -> ChannelOutput:
        """Let the turn go on as part of a lane's work; return what it gave. Raises what it raised."""
        assert self._task is not None
        self._work.parent, self._work.speculative = lane, False
        self._context.confirm()
        try:
            while self._output is None and not self._task.done():
                await self._more()
        except BaseException:  # the lane's own end: the turn ends with it
            await self._supervisor.stop(self._task)
            raise
        if self._output is None:
            raise self._failure()
        return self._output

    async def _read(self) -> AsyncGenerator[str | StreamEvent]:
        """Yield what the turn has said and will say."""
        assert self._task is not None
        try:
            while True:
                if self._items:
                    yield self._items.popleft()
                elif self._task.done():
                    break
                else:
                    await self._more()
            if self.error is not None:
                raise self.error
        finally:
            if not self._task.done():
                await self._supervisor.stop(self._task)

    async def _more(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def _failure(self) -> BaseException:
        return asyncio.CancelledError() if self.error is None else self.error
