"""A stage for agents that share a room: people at a socket, and scripted models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AIToolCall,
    ConversationPipeline,
    ConversationState,
    HandoffMemoryProvider,
    HookExecution,
    HookTrigger,
    InboundMessage,
    Observation,
    PipelineStage,
    RoomKit,
    SlidingWindowMemory,
    TextContent,
    get_conversation_state,
)
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit_plugins.testing import MockAIProvider, RecordingChannel, SharedStore, VirtualClock

PIPELINE = ConversationPipeline(
    [
        PipelineStage("triage", "triage", next="billing"),
        PipelineStage("billing", "billing", can_return_to={"triage"}, description="Invoices."),
    ],
    human="When they ask for a person.",
)


def calls(name: str, text: str = "", **arguments: Any) -> AIResponse:
    """Return what a model says that calls a tool."""
    return AIResponse(content=text, tool_calls=[AIToolCall(id="c", name=name, arguments=arguments)])


def hands_to(target: str, text: str = "", **more: Any) -> AIResponse:
    """Return what a model says that hands the conversation over."""
    given = {"target": target, "reason": "billing", "summary": "An invoice is wrong.", **more}
    return calls("handoff_conversation", text, **given)


def agent(name: str, *answers: Any, streaming: bool = False, delay: float = 0, **options: Any) -> Agent:
    """Return an agent whose model gives these answers, in turn."""
    provider = MockAIProvider(
        list(answers) or None, streaming=streaming, chunk_size=7, delay=delay, chunk_delay=delay / 10
    )
    options.setdefault("memory", HandoffMemoryProvider(SlidingWindowMemory()))
    return Agent(name, provider, **options)


def worker_maker(**options: Any) -> Callable[..., RoomKit]:
    """Return what makes kits that are workers on one store; it takes parts of a worker's own."""
    store, locks, realtime = SharedStore(), InMemoryLockManager(), InMemoryRealtime()
    parts: Any = {"lock_manager": locks, "realtime": realtime, "single_process": True, **options}
    return lambda **own: RoomKit(store, clock=VirtualClock(), **parts | own)


class Stage:
    """A kit with a person, and agents that share their room."""

    def __init__(self, *agents: Agent, kit: RoomKit | None = None, streaming: bool = False) -> None:
        self.kit = kit or RoomKit(clock=VirtualClock())
        self.web = RecordingChannel("web", streaming=streaming)
        self.agents = agents
        for each in (self.web, *agents):
            self.kit.register_channel(each)
        self.fired: list[tuple[str, Any]] = []
        for trigger in (
            HookTrigger.ON_HANDOFF,
            HookTrigger.ON_HANDOFF_REJECTED,
            HookTrigger.ON_PHASE_TRANSITION,
        ):
            self.observe(trigger)

    def observe(self, trigger: HookTrigger) -> None:
        """Keep what the observers of a trigger are shown."""

        @self.kit.hook(trigger, HookExecution.ASYNC, name=f"seen {trigger}")
        async def seen(payload: Any, context: Any) -> None:
            self.fired.append((str(trigger), payload))

    @property
    def triggers(self) -> list[str]:
        """The triggers that were fired, in order."""
        return [trigger for trigger, _ in self.fired]

    async def open(self, room_id: str = "r1") -> None:
        """Make a room with everyone in it."""
        await self.kit.create_room(room_id)
        for each in (self.web, *self.agents):
            await self.kit.attach_channel(room_id, each.channel_id)

    async def says(self, text: str, room_id: str = "r1", **message: Any) -> None:
        """Have the person say something, and wait for all that follows."""
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text), **message)
        await self.kit.process_inbound(said, room_id=room_id)

    async def state(self, room_id: str = "r1") -> ConversationState:
        """Return where the conversation stands."""
        return get_conversation_state(await self.kit.get_room(room_id))

    async def unanswered(self, room_id: str = "r1") -> Sequence[str]:
        """Return why agents did not answer."""
        found: list[Observation] = await self.kit.list_observations(room_id)
        return [each.content for each in found if each.category == "unanswered"]

    def asked(self, name: str) -> list[AIContext]:
        """Return the requests to the model of an agent."""
        provider = next(each.provider for each in self.agents if each.channel_id == name)
        assert isinstance(provider, MockAIProvider)
        return list(provider.calls)
