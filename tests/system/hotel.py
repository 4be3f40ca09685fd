"""Rooms in which people and agents talk, over workers that come and go on one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AIToolCall,
    ChannelType,
    ConversationState,
    HandoffMemoryProvider,
    HookExecution,
    HookTrigger,
    InboundMessage,
    InboundResult,
    MockAIProvider,
    MockSMSProvider,
    RoomKit,
    SlidingWindowMemory,
    TextContent,
    TransportChannel,
    WebSocketChannel,
    get_conversation_state,
    text_of,
)
from roomkit.abc.channel import Channel
from roomkit.abc.clock import Clock
from roomkit.models.delivery import Delivery
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing import VirtualClock
from roomkit_plugins.websocket import StreamMessage

__all__ = ["Hotel", "agent", "asked", "calls", "hands_to", "model", "spoken"]

type Parts = Mapping[str, Any]


def calls(name: str, text: str = "", *, call_id: str = "c1", **arguments: Any) -> AIResponse:
    """Return what a model says that calls a tool."""
    return AIResponse(content=text, tool_calls=[AIToolCall(id=call_id, name=name, arguments=arguments)])


def hands_to(target: str, text: str = "") -> AIResponse:
    """Return what a model says that hands the conversation over."""
    return calls("handoff_conversation", text, target=target, reason="theirs", summary=f"for {target}")


def spoken(event: RoomEvent) -> str:
    """Return who said what."""
    return f"{event.source.participant_id or event.source.channel_id}: {text_of(event.content)}"


class Hotel:
    """One worker: a kit with a web channel, a carrier, and agents; people read what they are shown.

    `parts` are what the workers of a store share. `seen` has what each socket was sent, and `streams` the
    pieces of answers that it was shown while they were made; `carrier.sent` is what went to phones. All
    survive the worker, as people do.
    """

    def __init__(self, parts: Callable[[], Parts], clock: Clock | None = None) -> None:
        self._parts = parts
        self._clock = clock or VirtualClock()
        self.seen: dict[str, list[str]] = {}  # bound: the people of a test
        self.streams: dict[str, list[str]] = {}  # bound: the people of a test
        self.carrier = MockSMSProvider()
        self.fired: list[tuple[str, Any]] = []  # bound: a test
        self.kit: RoomKit

    @asynccontextmanager
    async def open(
        self, *agents: Channel, install: Callable[[RoomKit], object] | None = None, **options: Any
    ) -> AsyncIterator[RoomKit]:
        """Start a worker on the store; when it is left, the worker is gone."""
        self.kit = RoomKit(clock=self._clock, **self._parts(), **options)
        sms = TransportChannel("sms", ChannelType.SMS, provider=self.carrier)
        for channel in (WebSocketChannel("web"), sms, *agents):
            self.kit.register_channel(channel)
        if install is not None:
            install(self.kit)
        for trigger in ("ON_HANDOFF", "ON_HANDOFF_REJECTED", "ON_PHASE_TRANSITION"):
            self._observe(HookTrigger[trigger])
        async with self.kit:
            yield self.kit

    def _observe(self, trigger: HookTrigger) -> None:
        @self.kit.hook(trigger, HookExecution.ASYNC, name=f"seen {trigger}")
        async def seen(payload: Any, context: Any) -> None:
            self.fired.append((str(trigger), payload))

    async def room(self, room_id: str, *agents: str, phone: str | None = None, **binding: Any) -> None:
        """Make a room with a web channel, agents, and a phone if there is one."""
        await self.kit.create_room(room_id)
        await self.kit.attach_channel(room_id, "web")
        if phone is not None:
            await self.kit.attach_channel(room_id, "sms", metadata={"recipient_id": phone})
        for each in agents:
            await self.kit.attach_channel(room_id, each, **binding)

    async def sits(self, person: str, room_id: str = "r1") -> None:
        """Connect a person's socket."""
        seen, pieces = self.seen.setdefault(person, []), self.streams.setdefault(person, [])

        async def send(connection_id: str, event: RoomEvent) -> None:
            seen.append(spoken(event))

        async def stream(connection_id: str, frame: StreamMessage) -> None:
            kind = type(frame).__name__
            if kind == "StreamChunk":
                pieces.append(frame.delta)
            elif kind == "StreamEnd":
                seen.append(spoken(frame.event))

        await self.kit.connect_websocket(
            "web", f"{person}@{room_id}", send, stream_send_fn=stream, room_id=room_id, participant_id=person
        )

    async def says(self, person: str, text: str, room_id: str = "r1", **message: Any) -> InboundResult:
        """Have a person say something at their socket, and wait for all that follows."""
        said = InboundMessage(
            channel_id="web",
            sender_id=person,
            connection_id=f"{person}@{room_id}" if person in self.seen else None,
            content=TextContent(body=text),
            **message,
        )
        return await self.kit.process_inbound(said, room_id=room_id)

    async def texts(self, number: str, text: str, **message: Any) -> InboundResult:
        """Have a phone send a text message."""
        said = InboundMessage(channel_id="sms", sender_id=number, content=TextContent(body=text), **message)
        return await self.kit.process_inbound(said)

    async def burst(self, person: str, *texts: str, pause: float = 1, room_id: str = "r1") -> None:
        """Have a person say several things, `pause` seconds apart, and wait for all that follows."""
        async with asyncio.TaskGroup() as saying:
            for number, text in enumerate(texts):
                if number:
                    await asyncio.sleep(pause)  # virtual time
                saying.create_task(self.says(person, text, room_id))

    async def until(self, reached: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for what follows from something that was only committed."""
        async with asyncio.timeout(seconds):
            while not reached():  # noqa: ASYNC110  # it ends by the clock of the loop
                await asyncio.sleep(0.05)  # virtual time

    async def state(self, room_id: str = "r1") -> ConversationState:
        """Return where a conversation stands."""
        return get_conversation_state(await self.kit.get_room(room_id))

    async def timeline(self, room_id: str = "r1") -> list[str]:
        """Return a room's messages that everyone may see."""
        events = await self.kit.get_timeline(room_id)
        return [spoken(each) for each in events if each.type == "message" and each.visibility == "all"]

    async def rows(self, channel_id: str, room_id: str = "r1") -> Sequence[Delivery]:
        """Return the deliveries to a channel."""
        return [row for row in await self.kit.list_deliveries(room_id) if row.channel_id == channel_id]

    async def unanswered(self, room_id: str = "r1") -> list[str]:
        """Return why agents did not answer."""
        found = await self.kit.list_observations(room_id)
        return [each.content for each in found if each.category == "unanswered"]

    def phone(self, number: str) -> list[str]:
        """Return what a phone got."""
        return [spoken(each["event"]) for each in self.carrier.sent if each["to"] == number]


def model(*answers: Any, **options: Any) -> MockAIProvider:
    """Return a model that answers by script."""
    return MockAIProvider(list(answers) or None, **options)


def agent(name: str, *answers: Any, streaming: bool = False, **options: Any) -> Agent:
    """Return an agent whose model answers by script, at the pace of `delay`, `chunk_delay`, `chunk_size`."""
    options.setdefault("memory", HandoffMemoryProvider(SlidingWindowMemory()))
    paces = {key: options.pop(key) for key in ("delay", "chunk_delay", "chunk_size") if key in options}
    return Agent(name, model(*answers, streaming=streaming, **paces), **options)


def asked(agent: Agent) -> list[AIContext]:
    """Return the requests to the model of an agent."""
    provider = agent.provider
    assert isinstance(provider, MockAIProvider)
    return provider.calls
