"""A stage for agents: a room with people and sockets, and a kit's services, without a kit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from roomkit.abc.clock import SystemClock
from roomkit.abc.services import GateOutcome, Services, Speculation, Turns
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.ai import AIMessage, AITool, AIToolCall, AIToolCallPart, AIToolResultPart, StreamDone
from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import (
    ChannelCategory,
    ChannelDirection,
    ChannelType,
    HookTrigger,
    ParticipantRole,
)
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.participant import Participant
from roomkit.models.realtime import EphemeralEvent
from roomkit.models.room import AIConfig, Room
from roomkit.models.trace import ProtocolTrace
from roomkit_plugins.ai import AIChannel
from roomkit_plugins.testing import MockAIProvider, MockTelemetryProvider

type Gate = Callable[[Any], Awaitable[GateOutcome[Any]]]


class ScriptedTurns(Turns):
    """Gates are scripted, and what observers would be shown is kept."""

    def __init__(self) -> None:
        self.gate: Gate | None = None
        self.observed: list[tuple[HookTrigger, str | None, Any]] = []

    async def run_gate(
        self,
        trigger: HookTrigger,
        payload: Any,
        *,
        room_id: str | None,
        channel_id: str | None = None,
        direction: ChannelDirection = ChannelDirection.OUTBOUND,
        speculative: bool = False,
    ) -> GateOutcome[Any]:
        assert trigger is HookTrigger.BEFORE_TOOL_USE
        return await self.gate(payload) if self.gate else GateOutcome(True, payload)

    async def observe(
        self,
        trigger: HookTrigger,
        payload: object,
        *,
        room_id: str | None,
        channel_id: str | None = None,
        direction: ChannelDirection = ChannelDirection.OUTBOUND,
    ) -> None:
        await asyncio.sleep(0)
        self.observed.append((trigger, room_id, payload))

    async def speculate(self, room_id: str, message: InboundMessage) -> Speculation:
        raise NotImplementedError

    async def interrupt(
        self, room_id: str, *, stream_id: str | None = None, reason: str = "interrupted"
    ) -> int:
        raise NotImplementedError

    async def resume(self, room_id: str, turn_id: str, results: Any) -> bool:
        raise NotImplementedError

    async def parked(self, room_id: str) -> Any:
        raise NotImplementedError

    async def asked(self, event: RoomEvent) -> Any:
        raise NotImplementedError


class ScriptedServices(Services):
    """The kit as a channel sees it, without a kit: reports are kept."""

    turns: ScriptedTurns

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.realtime = InMemoryRealtime()
        self.telemetry: MockTelemetryProvider = MockTelemetryProvider()
        self.turns = ScriptedTurns()
        self.signals: list[EphemeralEvent] = []
        self.reported: list[tuple[str, dict[str, Any]]] = []

    def report(self, kind: str, **details: Any) -> None:
        self.reported.append((kind, details))

    def trace(self, trace: ProtocolTrace) -> None: ...

    async def listen(self, room_id: str = "r1") -> None:
        """Keep every ephemeral event of a room in `signals`."""

        async def keep(event: EphemeralEvent) -> None:
            self.signals.append(event)

        await self.realtime.subscribe_to_room(room_id, keep)

    def calls(self, trigger: HookTrigger = HookTrigger.ON_TOOL_CALL) -> list[Any]:
        """Return what the observers of a trigger were shown."""
        return [payload for seen, _, payload in self.turns.observed if seen is trigger]


class CheckedProvider(MockAIProvider):
    """A scripted model that refuses what a vendor would refuse."""

    async def generate(self, context: AIContext) -> AIResponse:
        check_shape(context.messages)
        names = [tool.name for tool in context.tools]
        assert len(names) == len(set(names)), f"tools offered twice: {names}"
        return await super().generate(context)


def check_shape(messages: Sequence[AIMessage]) -> None:
    """Assert what every vendor asks of a conversation."""
    roles = [message.role for message in messages]
    assert roles, "an empty conversation"
    assert roles[0] == "user", roles
    assert roles[-1] in ("user", "tool"), roles
    assert "system" not in roles, roles
    assert all(one != other for one, other in pairwise(roles)), roles
    ids: list[str] = []
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        assert message.content, "an empty message"
        parts = () if isinstance(message.content, str) else message.content
        called = [part.id for part in parts if isinstance(part, AIToolCallPart)]
        results = [part.tool_call_id for part in parts if isinstance(part, AIToolResultPart)]
        assert not (results and message.role != "tool")
        assert not (called and message.role != "assistant")
        if called:
            assert following is not None, "a call without its result"
            assert not isinstance(following.content, str), "a call without its result"
            answers = [part.tool_call_id for part in following.content if part.type == "tool_result"]
            assert sorted(answers) == sorted(called)
        ids += called
    assert len(ids) == len(set(ids)), f"tool ids used twice: {ids}"


@dataclass
class Heard:
    """The outcome of one turn."""

    text: str = ""
    pieces: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    tool_rounds: int = 0
    cost: float | None = None
    output: ChannelOutput = field(default_factory=ChannelOutput)
    error: Exception | None = None


class Stage:
    """One room, `r1` unless told otherwise, with Alice and Bob on sockets and an agent."""

    def __init__(self, room_id: str = "r1", *, streaming: bool = False) -> None:
        self.streaming = streaming
        self.room = Room(id=room_id)
        self.services = ScriptedServices()
        self.events: list[RoomEvent] = []
        self.people = [
            Participant(id="alice", room_id=room_id, channel_id="ws", display_name="Alice"),
        ]
        self.binding = ChannelBinding(
            channel_id="agent",
            room_id=room_id,
            channel_type=ChannelType.AI,
            category=ChannelCategory.INTELLIGENCE,
        )
        self.others = [self.socket("ws", supports_rich_text=True)]

    def socket(self, channel_id: str, **capabilities: Any) -> ChannelBinding:
        return ChannelBinding(
            channel_id=channel_id,
            room_id=self.room.id,
            channel_type=ChannelType.WEBSOCKET,
            capabilities=ChannelCapabilities(**capabilities),
        )

    def person(
        self, name: str, role: ParticipantRole = ParticipantRole.MEMBER, display: str | None = ""
    ) -> None:
        shown = name.title() if display == "" else display
        known = [one for one in self.people if one.id != name]
        newcomer = Participant(id=name, room_id=self.room.id, channel_id="ws", display_name=shown, role=role)
        self.people = [*known, newcomer]

    def configure(self, **settings: Any) -> None:
        """Set the room's AI settings."""
        self.room = self.room.model_copy(update={"ai_config": AIConfig(**settings)})

    def bind(self, **metadata: Any) -> None:
        """Set the metadata of the agent's binding."""
        self.binding = self.binding.model_copy(update={"metadata": metadata})

    def event(self, content: Any, by: str | None = "alice", channel: str = "ws", **fields: Any) -> RoomEvent:
        """Add an event to the timeline, as its newest."""
        kind = {"ws": ChannelType.WEBSOCKET, "system": ChannelType.SYSTEM}.get(channel, ChannelType.AI)
        body = TextContent(body=content) if isinstance(content, str) else content
        source = EventSource(
            channel_id=channel,
            channel_type=kind,
            direction=ChannelDirection.INBOUND,
            participant_id=by if channel == "ws" else None,
        )
        event = RoomEvent(room_id=self.room.id, source=source, content=body, index=len(self.events), **fields)
        self.events.append(event)
        return event

    def context(self, *, reader: bool = True) -> RoomContext:
        return RoomContext(
            self.room,
            [self.binding, *self.others],
            self.people,
            list(self.events),
            reader=self.binding if reader else None,
        )

    def provider(self, *answers: Any, **options: Any) -> CheckedProvider:
        """Return a model that gives these answers in turn."""
        return CheckedProvider(list(answers) or None, streaming=self.streaming, **options)

    def agent(self, provider: MockAIProvider, *, unregistered: bool = False, **options: Any) -> AIChannel:
        agent = AIChannel("agent", provider, **options)
        if not unregistered:
            agent.bind(self.services)
        return agent

    async def ask(self, agent: AIChannel, event: RoomEvent | str, *, catch: bool = False) -> Heard:
        """Put an event to the agent and take the whole of its answer."""
        current = self.event(event) if isinstance(event, str) else event
        heard = Heard()
        try:
            heard.output = await agent.on_event(current, self.binding, self.context())
            await self._take(heard)
        except Exception as error:
            if not catch:
                raise
            heard.error = error
        heard.text = "".join(heard.pieces)
        return heard

    async def _take(self, heard: Heard) -> None:
        for event in heard.output.response_events:
            heard.pieces.append(event.content.body)
            made = event.generation
            heard.finish_reason, heard.tool_rounds = made.finish_reason, made.tool_rounds
            heard.usage = dict(made.usage)
        ended = False
        async for item in heard.output.response_stream or _nothing():
            assert not ended, "StreamDone is the last item"
            if isinstance(item, StreamDone):
                ended = True
                heard.finish_reason, heard.usage = item.finish_reason, item.usage
                heard.tool_rounds, heard.cost = item.metadata["tool_rounds"], item.metadata["cost"]
            else:
                heard.pieces.append(item)


async def _nothing() -> Any:
    return
    yield


def call(name: str, call_id: str = "c1", /, **arguments: Any) -> AIToolCall:
    return AIToolCall(id=call_id, name=name, arguments=arguments)


class Script:
    """Makes the answers of a model and the tools of an agent."""

    @staticmethod
    def says(text: str, **fields: Any) -> AIResponse:
        usage = fields.pop("usage", {"input_tokens": 10, "output_tokens": 5})
        return AIResponse(content=text, finish_reason="stop", usage=usage, **fields)

    @staticmethod
    def calls(*calls: AIToolCall | str, text: str = "", **fields: Any) -> AIResponse:
        made = [call(one, f"c{number}") if isinstance(one, str) else one for number, one in enumerate(calls)]
        return AIResponse(
            content=text,
            finish_reason="tool_calls",
            usage={"input_tokens": 10, "output_tokens": 5},
            tool_calls=made,
            **fields,
        )

    @staticmethod
    def call(name: str, call_id: str = "c1", /, **arguments: Any) -> AIToolCall:
        return call(name, call_id, **arguments)

    @staticmethod
    def tool(name: str, required: Iterable[str] = (), **properties: Any) -> AITool:
        schema = {"type": "object", "properties": properties, "required": list(required)}
        return AITool(name=name, description=f"The tool {name}.", parameters=schema)

    @staticmethod
    def results(context: AIContext) -> list[AIToolResultPart]:
        """Return every tool result of a request, in order."""
        return [
            part
            for message in context.messages
            if not isinstance(message.content, str)
            for part in message.content
            if isinstance(part, AIToolResultPart)
        ]

    @staticmethod
    def lines(context: AIContext) -> list[tuple[str, Any]]:
        """Return the role and content of each message of a request."""
        return [(message.role, message.content) for message in context.messages]


@pytest.fixture(params=[False, True], ids=["whole", "streaming"])
def streaming(request: pytest.FixtureRequest) -> bool:
    """Run a test with a provider that answers whole, and with one that streams."""
    return bool(request.param)


@pytest.fixture
def stage(streaming: bool) -> Stage:
    """Return a room to play in."""
    return Stage(streaming=streaming)


@pytest.fixture(scope="session")
def new_stage() -> type[Stage]:
    """Return the class, for tests that need several rooms."""
    return Stage


@pytest.fixture(scope="session")
def script() -> type[Script]:
    """Return the makers of answers and tools."""
    return Script


@pytest.fixture(scope="session")
def legal() -> Callable[[Sequence[AIMessage]], None]:
    """Return the check of a conversation's shape."""
    return check_shape
