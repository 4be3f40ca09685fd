"""An AI channel with an identity, which shares its rooms with other agents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack, override

from roomkit.abc.errors import InvalidInputError
from roomkit.models.ai import StreamDone
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelDirection, EventType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.task import Observation
from roomkit_plugins.agents.config_only import ConfigOnly
from roomkit_plugins.agents.handler import Duty
from roomkit_plugins.agents.handoff import HANDS_OVER
from roomkit_plugins.agents.identity import identity_block
from roomkit_plugins.agents.state import HUMAN, NAMESPACE, conversation_of
from roomkit_plugins.ai.channel import AIChannel

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider, ToolHandler
    from roomkit.abc.memory import MemoryProvider
    from roomkit.abc.tools import ToolProvider
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.ai import StreamEvent
    from roomkit.models.channel import ChannelBinding, RetryPolicy
    from roomkit.models.context import RoomContext
    from roomkit.models.parking import ParkedRound
    from roomkit.models.room import Room
    from roomkit_plugins.agents.installed import InstalledStrategy
    from roomkit_plugins.agents.state import ConversationState
    from roomkit_plugins.ai.policy import ToolPolicy
    from roomkit_plugins.ai.tools import ToolLike

__all__ = ["Agent", "AgentOptions"]

_NO_WORDS = f"{HANDS_OVER}: go on with it.]"


class AgentOptions(TypedDict, total=False):
    """What an agent takes beside its identity: the options of `AIChannel`."""

    system_prompt: str | None
    temperature: float | None
    max_tokens: int | None
    max_context_events: int
    tool_handler: ToolHandler | None
    max_tool_rounds: int
    tool_loop_timeout_seconds: float | None
    tool_loop_warn_after: int
    retry_policy: RetryPolicy | None
    fallback_provider: AIProvider | None
    memory: MemoryProvider | None
    tool_policy: ToolPolicy | None
    thinking_budget: int | None
    tools: Iterable[ToolLike]
    tool_providers: Iterable[ToolProvider]
    tool_timeout_seconds: float | None
    max_identical_calls: int
    max_tool_calls: int
    max_answer_chars: int
    answer_idle_seconds: float | None
    error_reply: str | None


class Agent(AIChannel):
    """An AI channel that knows its role, and can hand the conversation to other agents.

    `role`, `description`, `scope` and `language` are added to its instructions; the language of a room
    (`HandoffHandler.set_language`) has precedence over its own. `voice` names its voice in a call, and
    `greeting` is how it is to greet when the conversation is handed to it. `description` is also what other
    agents read of it. Without a `provider` it only configures a speech-to-speech channel: it is never asked
    to answer. `options` are those of `AIChannel`. One object serves any number of rooms at once, and what
    belongs to a room is kept with the room.
    """

    def __init__(
        self,
        channel_id: str,
        provider: AIProvider | None = None,
        *,
        role: str | None = None,
        description: str | None = None,
        scope: str | None = None,
        voice: str | None = None,
        greeting: str | None = None,
        language: str | None = None,
        **options: Unpack[AgentOptions],
    ) -> None:
        super().__init__(channel_id, provider or ConfigOnly(channel_id), **options)
        self.role = role
        self.description = description
        self.scope = scope
        self.voice = voice
        self.greeting = greeting
        self.language = language
        self.is_config_only = provider is None
        if self.is_config_only:
            self.responds_to: frozenset[EventType] = frozenset()
        self._strategies: list[tuple[RoomKit, InstalledStrategy]] = []  # bound: those that a program installs
        self._duties: dict[str, Duty] = {}  # bound: the turns under way

    # -- identity -----------------------------------------------------------------------------

    def build_identity_block(self, language: str | None = None) -> str | None:
        """Return what is added to the instructions, None if no part of the identity is set.

        `language` takes the place of the agent's own.
        """
        return identity_block(self.role, self.description, self.scope, language or self.language)

    @override
    def instructions(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Sequence[str]:
        """Return the identity, and the greeting for a conversation that was just handed over."""
        state = _conversation(context.room)
        block = self.build_identity_block(None if state is None else state.language)
        greeting = self._greeting(event, context.room, state)
        return [each for each in (block, greeting) if each]

    def _greeting(self, event: RoomEvent, room: Room, state: ConversationState | None) -> str | None:
        installed = self._strategy_of(room)
        if installed is None or installed.handler is None or not installed.handler.greeting.is_wanted:
            return None
        if state is None or not state.phase_history or event.addressed_to != (self.channel_id,):
            return None
        last = state.phase_history[-1]
        if last.to_agent != self.channel_id or event.source.channel_id != last.from_agent:
            return None
        greeting = installed.handler.greeting.prompt or self.greeting
        return f"The conversation was just handed to you. {greeting}" if greeting else None

    # -- strategies ---------------------------------------------------------------------------

    def join(self, kit: RoomKit, installed: InstalledStrategy) -> None:
        """Take part in a strategy of a kit. Raises InvalidInputError for a second one of that name."""
        if any(known is kit and other.name == installed.name for known, other in self._strategies):
            where = "all its rooms" if installed.name is None else f"the rooms of strategy {installed.name!r}"
            raise InvalidInputError(
                f"agent {self.channel_id!r} has a strategy for {where} already: install a strategy once, or "
                "give the second one a name of its own"
            )
        self._strategies.append((kit, installed))

    def duty_in(self, room_id: str) -> Duty | None:
        """Return the turn under way in a room."""
        return self._duties.get(room_id)

    @override
    def tools_for(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> Iterable[ToolLike]:
        """Return the handoff tool of the room's strategy."""
        installed = self._strategy_of(context.room)
        tool = None if installed is None else installed.tool_for(self.channel_id, self.duty_in)
        return () if tool is None else (tool,)

    def _strategy_of(self, room: Room) -> InstalledStrategy | None:
        return next((installed for _, installed in self._strategies if installed.is_of(room)), None)

    # -- turns --------------------------------------------------------------------------------

    @override
    async def on_event(
        self,
        event: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        parked: ParkedRound | None = None,
    ) -> ChannelOutput:
        """Answer as `AIChannel.on_event` does.

        A message that waited for this agent while it handed the conversation over goes to the one that has
        it; if a person has it, the agent says nothing, and an observation says why.
        """
        if parked is None and self._is_late(event, context.room):
            return self._passed_on(event, context.room)
        return await self._on_duty(event, binding, context, parked)

    @override
    async def on_resume(
        self, parked: ParkedRound, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Continue a turn that a tool parked."""
        return await self._on_duty(event, binding, context, parked)

    async def _on_duty(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext, parked: ParkedRound | None
    ) -> ChannelOutput:
        room_id = binding.room_id
        duty = self._duties[room_id] = Duty(event)
        output = ChannelOutput.empty()
        try:
            output = await super().on_event(event, binding, context, parked)
        finally:
            if output.response_stream is None:
                self._duties.pop(room_id, None)
        if output.response_stream is not None:
            return replace(output, response_stream=self._until_handed(output.response_stream, duty, room_id))
        if duty.is_handed and not output.response_events:
            return replace(output, responded=True, response_events=[self._wordless(room_id)])
        return output

    async def _until_handed(
        self, stream: AsyncIterator[str | StreamEvent], duty: Duty, room_id: str
    ) -> AsyncGenerator[str | StreamEvent]:
        """Yield an answer; one that hands over without a word says so to the next agent."""
        said = False
        try:
            async for item in stream:
                if isinstance(item, StreamDone):
                    if duty.is_handed and not said:
                        yield _NO_WORDS
                elif isinstance(item, str):
                    said = said or bool(item.strip())
                yield item
        finally:
            if self._duties.get(room_id) is duty:
                del self._duties[room_id]
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def _is_late(self, event: RoomEvent, room: Room) -> bool:
        """Whether the event was put to the agent before it handed the conversation over."""
        state = _conversation(room)
        if state is None or event.addressed_to != (self.channel_id,) or not state.phase_history:
            return False
        last = state.phase_history[-1]
        return (
            state.active_agent_id not in (None, self.channel_id)
            and last.from_agent == self.channel_id
            and event.created_at <= last.timestamp
            and self._strategy_of(room) is not None
        )

    def _passed_on(self, event: RoomEvent, room: Room) -> ChannelOutput:
        state = _conversation(room)
        if state is None or state.active_agent_id != HUMAN:
            return ChannelOutput(responded=True, response_events=[self._wordless(room.id)])
        reason = f"a person has the conversation: {self.channel_id} does not answer"
        silent = Observation(
            id=new_id(),
            room_id=room.id,
            channel_id=self.channel_id,
            content=reason,
            category="unanswered",
            metadata={"event_id": event.id},
        )
        return ChannelOutput(observations=[silent])

    def _wordless(self, room_id: str) -> RoomEvent:
        source = EventSource(
            channel_id=self.channel_id, channel_type=self.channel_type, direction=ChannelDirection.OUTBOUND
        )
        return RoomEvent(room_id=room_id, source=source, content=TextContent(body=_NO_WORDS))


def _conversation(room: Room) -> ConversationState | None:
    return conversation_of(room.state.get(NAMESPACE))
