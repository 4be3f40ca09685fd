"""An AI channel with an identity, which shares its rooms with other agents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, override

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.memory import MemoryProvider
from roomkit.models.ai import StreamDone
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelDirection, EventType
from roomkit.models.event import EventSource, RoomEvent
from roomkit_plugins.agents.config_only import ConfigOnly
from roomkit_plugins.agents.handler import Duty
from roomkit_plugins.agents.handoff import HANDS_OVER
from roomkit_plugins.agents.identity import identity_block
from roomkit_plugins.agents.kinds import check_kind
from roomkit_plugins.agents.speaking import OFFER_TOOL, OFFERED, SILENT_TOOL, SpeakPolicy, unanswered
from roomkit_plugins.agents.state import HUMAN, NAMESPACE, conversation_of
from roomkit_plugins.ai.channel import AIChannel
from roomkit_plugins.ai.running import current_tool_call
from roomkit_plugins.ai.tools import EndTurn, RunnableTool

if TYPE_CHECKING:
    from roomkit.abc.ai import ToolHandler
    from roomkit.abc.executor import TurnExecutor
    from roomkit.abc.tools import ToolProvider
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.ai import StreamEvent
    from roomkit.models.channel import ChannelBinding, RetryPolicy
    from roomkit.models.context import RoomContext
    from roomkit.models.generation import ResponseSchema
    from roomkit.models.parking import ParkedRound
    from roomkit.models.room import Room
    from roomkit.models.task import Observation
    from roomkit_plugins.agents.installed import InstalledStrategy
    from roomkit_plugins.agents.state import ConversationState
    from roomkit_plugins.ai.policy import ToolPolicy
    from roomkit_plugins.ai.prices import ModelPrice
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
    fallback_providers: Iterable[AIProvider]
    memory: MemoryProvider | None
    tool_policy: ToolPolicy | None
    thinking_budget: int | None
    response_schema: ResponseSchema | None
    tools: Iterable[ToolLike]
    tool_providers: Iterable[ToolProvider]
    tool_timeout_seconds: float | None
    max_identical_calls: int
    max_tool_calls: int
    max_answer_chars: int
    answer_idle_seconds: float | None
    error_reply: str | None
    prices: Mapping[str, ModelPrice]
    max_turn_cost: float | None
    max_room_cost: float | None
    executor: TurnExecutor | None


class Agent(AIChannel):
    """An AI channel that knows its role, and can hand the conversation to other agents.

    `role`, `description`, `scope` and `language` are added to its instructions; the language of a room
    (`HandoffHandler.set_language`) has precedence over its own. `voice` names its voice in a call, and
    `greeting` is how it is to greet when the conversation is handed to it. `description` is also what other
    agents read of it. Without a `provider` it only configures a speech-to-speech channel: it is never asked
    to answer. `speak` decides which of the messages that are put to it it answers, by default all of them;
    why it is silent is recorded as an observation of category `unanswered`. `options` are those of
    `AIChannel`. One object serves any number of rooms at once, and what belongs to a room is kept with it.
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
        speak: SpeakPolicy | None = None,
        **options: Unpack[AgentOptions],
    ) -> None:
        check_kind("an agent", "channel_id", channel_id, str)
        who = f"agent {channel_id!r}"
        check_kind(who, "provider", provider, AIProvider | None)
        check_kind(who, "speak", speak, SpeakPolicy | None)
        check_kind(who, "memory", options.get("memory"), MemoryProvider | None)
        given = {"role": role, "description": description, "scope": scope, "voice": voice}
        for name, text in {**given, "greeting": greeting, "language": language}.items():
            check_kind(who, name, text, str | None)
        super().__init__(channel_id, ConfigOnly(channel_id) if provider is None else provider, **options)
        self.role = role
        self.description = description
        self.scope = scope
        self.voice = voice
        self.greeting = greeting
        self.language = language
        self.speak = speak
        self.is_config_only = provider is None
        if self.is_config_only:
            self.responds_to: frozenset[EventType] = frozenset()
        self._strategies: list[tuple[RoomKit, InstalledStrategy]] = []  # bound: those that a program installs
        self._duties: dict[str, Duty] = {}  # bound: the turns under way

    # -- identity -----------------------------------------------------------------------------

    def build_identity_block(self, language: str | None = None) -> str | None:
        """Return the identity block of the instructions, None if no part of the identity is set.

        `language` takes the place of the agent's own.
        """
        return identity_block(self.role, self.description, self.scope, language or self.language)

    @override
    def instructions(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Sequence[str]:
        """Return the identity, and the greeting for a conversation that was just handed over."""
        state = _conversation(context.room)
        block = self.build_identity_block(None if state is None else state.language)
        greeting = self._greeting(event, context.room, state)
        installed = self._strategy_of(context.room)
        briefing = None if installed is None else installed.strategy.briefing(self.channel_id)
        manners = None if self.speak is None else self.speak.instruction
        return [each for each in (block, briefing, manners, greeting) if each]

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
        """Return the handoff tool of the room's strategy, and the one by which the model stays silent."""
        installed = self._strategy_of(context.room)
        tool = None if installed is None else installed.tool_for(self.channel_id, self.duty_in)
        own = [] if tool is None else [tool]
        if self.speak is not None and self.speak.lets_model_decide:
            own.append(RunnableTool(SILENT_TOOL, self._stay_silent))
        if self.speak is not None and self.speak.lets_model_offer:
            own.append(RunnableTool(OFFER_TOOL, self._offer_answer))
        return own

    async def _stay_silent(self, name: str, arguments: dict[str, Any]) -> str:
        """End the turn; the reason is recorded with it."""
        duty = self._duties.get(current_tool_call().room_id)
        if duty is not None:
            duty.found.append(unanswered(duty.event, self.channel_id, str(arguments["reason"])))
        return EndTurn("You stay silent.")

    async def _offer_answer(self, name: str, arguments: dict[str, Any]) -> str:
        """End the turn; what the agent could say is recorded with it."""
        duty = self._duties.get(current_tool_call().room_id)
        if duty is not None:
            duty.found.append(unanswered(duty.event, self.channel_id, str(arguments["offer"]), OFFERED))
        return EndTurn("You are asked if it is wanted.")

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
        if parked is None and self.speak is not None and self._concerned(event, binding):
            reason = await self.speak.silence(self.channel_id, event, context)
            if reason is not None:
                return ChannelOutput(observations=[unanswered(event, self.channel_id, reason)])
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
        # The turn's tools, and so the policy's, add to the list until its stream has ended.
        found = duty.found = _joined(output.observations, duty.found)
        if output.response_stream is not None:
            stream = self._until_handed(output.response_stream, duty, room_id)
            return replace(output, response_stream=stream, observations=found)
        if found:
            output = replace(output, observations=found)
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
        """Whether the event was put to the agent before the conversation went from it to another."""
        state, installed = _conversation(room), self._strategy_of(room)
        if state is None or installed is None or state.active_agent_id in (None, self.channel_id):
            return False
        watchers = installed.strategy.watchers()
        if [each for each in event.addressed_to or () if each not in watchers] != [self.channel_id]:
            return False
        # Another may have passed it on in the meantime: every change counts, not only the last one.
        return any(
            each.from_agent == self.channel_id and event.created_at <= each.timestamp
            for each in state.phase_history
        )

    def _passed_on(self, event: RoomEvent, room: Room) -> ChannelOutput:
        state = _conversation(room)
        if state is None or state.active_agent_id != HUMAN:
            return ChannelOutput(responded=True, response_events=[self._wordless(room.id)])
        reason = f"a person has the conversation: {self.channel_id} does not answer"
        return ChannelOutput(observations=[unanswered(event, self.channel_id, reason)])

    def _wordless(self, room_id: str) -> RoomEvent:
        source = EventSource(
            channel_id=self.channel_id, channel_type=self.channel_type, direction=ChannelDirection.OUTBOUND
        )
        return RoomEvent(room_id=room_id, source=source, content=TextContent(body=_NO_WORDS))


def _conversation(room: Room) -> ConversationState | None:
    return conversation_of(room.state.get(NAMESPACE))


def _joined(kept: list[Observation] | tuple[Observation, ...], own: list[Observation]) -> list[Observation]:
    """Return the list that a turn adds its observations to, with those of its own; it stays the same list."""
    found = kept if isinstance(kept, list) else [*kept]
    found.extend(own)
    return found
