"""Channels for tests of what lies between channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from roomkit.abc.channel import Channel
from roomkit.abc.text_stream import TextStream, text_stream_of
from roomkit.models.ai import StreamEvent
from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelCategory, ChannelDirection, ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit_plugins.testing.mocks.script import Hang, Script

__all__ = ["RecordingChannel", "ScriptedIntelligence"]

type Step = ChannelOutput | Exception | Hang | None


@dataclass(slots=True, frozen=True)
class Seen:
    """One call of a channel: what it was handed, and when by the loop's clock."""

    event: RoomEvent
    binding: ChannelBinding
    context: RoomContext
    at: float


class RecordingChannel(Channel):
    """A transport that remembers what it was asked to deliver.

    `script` says what each delivery does, in order: None delivers, an exception is raised, a `Hang`
    waited for, an output returned. `delay` seconds of the loop's clock pass before each.
    `attempts` has every call, `delivered` those that went well, `streams` the pieces of each answer
    shown while it was generated (with `streaming`).
    """

    def __init__(
        self,
        channel_id: str,
        *,
        channel_type: ChannelType = ChannelType.WEBSOCKET,
        capabilities: ChannelCapabilities | None = None,
        script: Iterable[Step] = (),
        delay: float = 0.0,
        streaming: bool = False,
    ) -> None:
        super().__init__(channel_id)
        self.channel_type = channel_type
        self.attempts: list[Seen] = []  # bound: the life of a test
        self.delivered: list[Seen] = []  # bound: the life of a test
        self.streams: list[list[str]] = []  # bound: the life of a test
        self.binding_updates: list[tuple[str, ChannelBinding]] = []  # bound: the life of a test
        self.closed = False
        self._capabilities = capabilities or ChannelCapabilities()
        self._script: Script[ChannelOutput] = Script(script, delay=delay)
        self._streaming = streaming

    @property
    def supports_streaming_delivery(self) -> bool:
        """Whether it was made with `streaming`."""
        return self._streaming

    def capabilities(self) -> ChannelCapabilities:
        """Return what it was made with: text only by default."""
        return self._capabilities

    def texts(self, room_id: str | None = None) -> list[str]:
        """Return the delivered texts, of one room or of all."""
        return [text_of(event.content) for event in self.events(room_id)]

    def events(self, room_id: str | None = None) -> list[RoomEvent]:
        """Return the delivered events, of one room or of all."""
        events = (seen.event for seen in self.delivered)
        return [event for event in events if room_id is None or event.room_id == room_id]

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make the event of a message that came in."""
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Record the event, and play the script."""
        seen = _seen(event, binding, context)
        self.attempts.append(seen)
        output = await self._script.play()
        self.delivered.append(seen)
        return output or ChannelOutput.empty()

    async def deliver_stream(
        self, text_stream: TextStream, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Record the pieces as they come, and the committed event at the end."""
        text_stream = text_stream_of(text_stream, event)
        pieces: list[str] = []  # bound: one answer
        self.streams.append(pieces)
        async for piece in text_stream:
            pieces.append(piece)  # noqa: PERF401  # a test reads them as they come
        event_shown = await text_stream.turn()
        if event_shown is None:
            return ChannelOutput.skipped("nothing_committed")
        return await self.deliver(event_shown, binding, context)

    async def update_binding(self, room_id: str, binding: ChannelBinding) -> None:
        """Record the change."""
        self.binding_updates.append((room_id, binding))

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


type Answer = (
    str | RoomEvent | ChannelOutput | Exception | Hang | Callable[[RoomEvent, RoomContext], str | None]
)


class ScriptedIntelligence(Channel):
    """An intelligence that answers by script: one answer for each event it is shown.

    An answer is the text of an event, an event, a whole output, an exception to raise, a `Hang`
    that ends in silence, or a function of the event and the context that returns a text or None.
    After the script it is silent. With `streaming`, texts come word by word, `word_delay` seconds
    apart. `seen` has every event it was shown; `cancelled` counts the turns it did not finish.
    """

    category = ChannelCategory.INTELLIGENCE
    channel_type = ChannelType.AI

    def __init__(
        self,
        channel_id: str,
        answers: Iterable[Answer | None] = (),
        *,
        delay: float = 0.0,
        streaming: bool = False,
        word_delay: float = 0.0,
    ) -> None:
        super().__init__(channel_id)
        self.seen: list[Seen] = []  # bound: the life of a test
        self.cancelled = 0
        self.closed = False
        self._answers = iter(answers)
        self._delay = delay
        self._streaming = streaming
        self._word_delay = word_delay

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make the event of a message that came in."""
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Do nothing: an intelligence is shown events by `on_event`."""
        return ChannelOutput.empty()

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Answer by script."""
        self.seen.append(_seen(event, binding, context))
        answer = next(self._answers, None)
        try:
            if self._delay:
                await asyncio.sleep(self._delay)
            if isinstance(answer, Hang):
                await answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self._output(answer, event, context)

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def _output(self, answer: Answer | None, event: RoomEvent, context: RoomContext) -> ChannelOutput:
        if callable(answer):
            answer = answer(event, context)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, ChannelOutput):
            return answer
        if isinstance(answer, str):
            if self._streaming:
                return ChannelOutput(responded=True, response_stream=self._words(answer))
            answer = self._said(answer, event)
        if isinstance(answer, RoomEvent):
            return ChannelOutput(responded=True, response_events=[answer])
        return ChannelOutput.empty()

    def _said(self, text: str, event: RoomEvent) -> RoomEvent:
        source = EventSource(
            channel_id=self.channel_id, channel_type=self.channel_type, direction=ChannelDirection.OUTBOUND
        )
        return RoomEvent(room_id=event.room_id, source=source, content=TextContent(body=text))

    async def _words(self, text: str) -> AsyncIterator[str | StreamEvent]:
        try:
            for number, word in enumerate(text.split(" ")):
                if number and self._word_delay:
                    await asyncio.sleep(self._word_delay)
                yield f" {word}" if number else word
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise


def _seen(event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Seen:
    return Seen(event, binding, context, asyncio.get_running_loop().time())
