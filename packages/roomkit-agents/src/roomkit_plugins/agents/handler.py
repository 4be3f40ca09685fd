"""Performs handoffs: checks who may get the conversation, changes the room's state, and notifies."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import problems_of
from roomkit.models.enums import ChannelCategory, HookTrigger
from roomkit.models.event import SYSTEM_CHANNEL_ID, RoomEvent
from roomkit_plugins.agents.handoff import HANDOFF_TOOL, NAME, Handoff, HandoffRequest, HandoffResult
from roomkit_plugins.agents.notes import note_to
from roomkit_plugins.agents.state import (
    HUMAN,
    NAMESPACE,
    ConversationState,
    OwnState,
    conversation_of,
    stored,
)
from roomkit_plugins.agents.voices import Greeting
from roomkit_plugins.ai.running import current_tool_call
from roomkit_plugins.ai.tools import EndTurn, RunnableTool

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.ai import AITool
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.task import Observation
    from roomkit_plugins.agents.strategy import Strategy
    from roomkit_plugins.ai.channel import AIChannel

__all__ = ["Duty", "HandoffHandler", "handoff_tool", "setup_handoff"]

type OnHandoff = Callable[[str, HandoffResult], Awaitable[None]]
MAX_SUMMARY = 4_000
"""The longest summary that is kept for the next agent, in characters; a longer one is refused."""


@dataclass(slots=True, frozen=True)
class _Asked:
    """One request as it is decided about: who asks for whom, and the event whose turn it is, if it is one."""

    room_id: str
    caller: str
    target: str
    request: HandoffRequest
    turn: RoomEvent | None
    present: frozenset[str]

    @property
    def root(self) -> str | None:
        """What set off the chain of answers that the turn is in."""
        return None if self.turn is None else self.turn.correlation_id or self.turn.id


@dataclass(slots=True)
class Duty:
    """A turn of an agent under way: what it answers, and whether it handed the conversation over."""

    event: RoomEvent
    is_handed: bool = False
    found: list[Observation] = field(default_factory=list)
    """What it leaves behind beside its words."""


class _Refused(Exception):
    """The handoff is refused; the text says why."""


class HandoffHandler:
    """Hands conversations from one agent to another, or to a person (`human`).

    An agent is asked for by its channel id or by one of `agent_aliases`; it must be attached to the room,
    or be one of `known_agents`. `phase_map` gives the phase in which an agent has the conversation, and
    `allowed_transitions` the phases that may follow each; by default the `router` says both. `agents` are
    those whose `voice` and `greeting` it knows, `name` the strategy's (see `assign`).
    `on_handoff_complete(room_id, result)` is awaited after each accepted handoff, and what it raises is
    raised. All methods may be called concurrently.
    """

    def __init__(
        self,
        kit: RoomKit,
        router: Strategy,
        agent_aliases: Mapping[str, str] | None = None,
        phase_map: Mapping[str, str] | None = None,
        allowed_transitions: Mapping[str, set[str]] | None = None,
        known_agents: set[str] | None = None,
        on_handoff_complete: OnHandoff | None = None,
        *,
        agents: Sequence[AIChannel] = (),
        greeting: Greeting | None = None,
        name: str | None = None,
    ) -> None:
        self.kit = kit
        self.name = name
        self.router = router
        self.agent_aliases = dict(agent_aliases or {})
        self.phase_map = dict(phase_map or {})
        self.allowed_transitions = allowed_transitions
        self.known_agents = {*(known_agents or ())}
        self.on_handoff_complete = on_handoff_complete
        self.agents = {agent.channel_id: agent for agent in agents}
        self.greeting = greeting or Greeting()

    @property
    def _services(self) -> Services:
        return self.kit.services_of(NAMESPACE)

    # -- handoffs -----------------------------------------------------------------------------

    async def handle(
        self,
        room_id: str,
        calling_agent_id: str,
        arguments: Mapping[str, Any],
        *,
        on_behalf_of: str | None = None,
    ) -> HandoffResult:
        """Hand the conversation over as the arguments of the handoff tool say.

        The agent that gets it is asked at once, by a note that no person sees, to answer the participant
        `on_behalf_of`. A request that is refused
        changes nothing; its result says why. ON_HANDOFF, ON_HANDOFF_REJECTED and, if the phase changes,
        ON_PHASE_TRANSITION are observed. Raises RoomNotFoundError, RoomClosedError.
        """
        result = await self.perform(room_id, calling_agent_id, arguments)
        if result.accepted and result.new_agent_id not in (None, HUMAN):
            await self._ask(room_id, result, on_behalf_of)
        return result

    async def perform(
        self,
        room_id: str,
        calling_agent_id: str,
        arguments: Mapping[str, Any],
        turn: RoomEvent | None = None,
    ) -> HandoffResult:
        """Do what `handle` does, but do not ask the agent: the words of the `turn` it is done in do that."""
        try:
            request = HandoffRequest.from_arguments(arguments)
        except ValidationError as error:
            return HandoffResult(accepted=False, reason=f"invalid arguments: {problems_of(error)}")
        bindings = await self.kit.list_bindings(room_id)
        target = self.agent_aliases.get(request.target_agent_id, request.target_agent_id)
        asked = _Asked(room_id, calling_agent_id, target, request, turn, _intelligences(bindings))
        try:
            before, after = await self._change(asked)
        except _Refused as refusal:
            return await self._reject(asked, str(refusal))
        return await self._complete(asked, before, after, bindings)

    async def _change(self, asked: _Asked) -> tuple[ConversationState, ConversationState]:
        """Change the room's state; return what it was and what it is. Raises _Refused."""
        self._check(asked)
        if asked.request.summary and asked.target != HUMAN:
            await self._keep_summary(asked)
        now = self.kit.clock.now()
        states: list[ConversationState] = []

        def decide(own: OwnState) -> OwnState:
            before = conversation_of(own) or self.router.first() or ConversationState()
            states[:] = [before]
            if self._is_repeated(asked, own, before):
                states.append(before)
                return own
            after = before.transition(
                self._phase(asked, before), asked.target, asked.request.reason, at=now
            ).with_context(**asked.request.context)
            states.append(after)
            return stored(
                own,
                after,
                pending=asked.caller if asked.turn else None,
                chain=self._chain(asked, own, before),
                told=asked.request.context,
            )

        await self._services.rooms.change_state(asked.room_id, decide)
        before, after = states
        return before, after

    def _check(self, asked: _Asked) -> None:
        """Refuse what the room's state need not be read for."""
        if asked.target == asked.caller:
            raise _Refused(f"{asked.target} asks for itself: answer, or name another agent")
        if asked.target != HUMAN and asked.target not in asked.present | self.known_agents:
            raise _Refused(f"Agent {asked.target} not found in room")
        named = self.router.targets(asked.caller)
        if named and asked.target != HUMAN and asked.target not in named:
            raise _Refused(f"{asked.caller} may hand over to: {', '.join(named)}")
        if len(asked.request.summary) > MAX_SUMMARY:
            raise _Refused(f"the summary has more than {MAX_SUMMARY} characters: shorten it")
        deepest = self.kit.settings.max_chain_depth
        if asked.turn is not None and asked.target != HUMAN and asked.turn.chain_depth + 2 >= deepest:
            # The words that hand over are one deeper than the turn, and the next agent's answer is two.
            raise _Refused(
                f"the answer of {asked.target} would be number {asked.turn.chain_depth + 2} in a chain of "
                f"answers, of which max_chain_depth allows {deepest - 1}: answer the person"
            )

    @staticmethod
    def _is_repeated(asked: _Asked, own: OwnState, state: ConversationState) -> bool:
        """Whether the same turn asks again: a worker died between the handoff and the turn's end."""
        pending = None if own is None else own.get("pending")
        return asked.turn is not None and pending == asked.caller and state.active_agent_id == asked.target

    def _phase(self, asked: _Asked, state: ConversationState) -> str:
        """Return the phase that follows. Raises _Refused for an agent or a phase that is not to follow."""
        owner = state.active_agent_id
        if owner == asked.target:
            raise _Refused(f"{asked.target} has the conversation already")
        if owner not in (None, asked.caller) and asked.caller not in (HUMAN, *self.router.watchers()):
            raise _Refused(f"{asked.caller} does not have the conversation, {owner} has it")
        phase = asked.request.next_phase or self._usual_phase(asked.target, state)
        if phase != state.phase and not self._permits(state.phase, phase):
            raise _Refused(f"phase {phase!r} cannot follow {state.phase!r}")
        return phase

    def _usual_phase(self, target: str, state: ConversationState) -> str:
        if target == HUMAN:
            return state.phase
        if target in self.phase_map:
            return self.phase_map[target]
        phases = self.router.phases(target)
        return next((phase for phase in phases if self._permits(state.phase, phase)), phases[0])

    def _permits(self, from_phase: str, to_phase: str) -> bool:
        if self.allowed_transitions is None:
            return self.router.permits(from_phase, to_phase)
        allowed = self.allowed_transitions.get(from_phase)
        return allowed is None or to_phase in allowed

    @staticmethod
    def _chain(asked: _Asked, own: OwnState, state: ConversationState) -> Mapping[str, Any] | None:
        """Return which agents have had the conversation since a person spoke, to be kept with the room.

        Raises _Refused if the one asked for is among them: two agents would hand it to and fro for ever.
        """
        if asked.root is None:
            return None
        kept = (own or {}).get("chain") or {}
        had = [*kept["had"]] if kept.get("root") == asked.root else []
        if asked.target in had:
            raise _Refused(
                f"{asked.target} has had the conversation since the person spoke last: answer the person, or "
                "name another agent"
            )
        return {"root": asked.root, "had": [*had, asked.caller]}

    async def _keep_summary(self, asked: _Asked) -> None:
        """Keep the summary for the next agent; erasing a person who spoke in the room removes it."""
        room = await self._services.rooms.read_room(asked.room_id)
        data = {
            "from": asked.caller,
            "to": asked.target,
            "reason": asked.request.reason[:MAX_SUMMARY],
            "summary": asked.request.summary,
        }
        values = self._services.values.of(room.organization_id)
        await values.put("summary", asked.room_id, data=data, room_id=asked.room_id, derived=True)

    async def _reject(self, asked: _Asked, reason: str) -> HandoffResult:
        result = HandoffResult(accepted=False, reason=reason)
        await self._observe(HookTrigger.ON_HANDOFF_REJECTED, asked, result)
        return result

    async def _complete(
        self,
        asked: _Asked,
        before: ConversationState,
        after: ConversationState,
        bindings: Sequence[ChannelBinding],
    ) -> HandoffResult:
        result = HandoffResult(
            new_agent_id=asked.target,
            new_phase=after.phase,
            message=f"The conversation was handed to {asked.target}.",
        )
        if after is before:
            return result
        if asked.target == HUMAN:
            await self._services.turns.interrupt(asked.room_id, reason="taken_over")
        await self._change_voice(asked, bindings)
        await self._observe(HookTrigger.ON_HANDOFF, asked, result)
        if after.phase != before.phase:
            await self._services.turns.observe(
                HookTrigger.ON_PHASE_TRANSITION, after.phase_history[-1], room_id=asked.room_id
            )
        if self.on_handoff_complete is not None:
            await self.on_handoff_complete(asked.room_id, result)
        return result

    async def _observe(self, trigger: HookTrigger, asked: _Asked, result: HandoffResult) -> None:
        handoff = Handoff(
            room_id=asked.room_id, calling_agent_id=asked.caller, request=asked.request, result=result
        )
        await self._services.turns.observe(trigger, handoff, room_id=asked.room_id)

    async def _change_voice(self, asked: _Asked, bindings: Sequence[ChannelBinding]) -> None:
        """Let the channel that speaks for the agents know whose voice it has now, by its binding."""
        channel_id = self.greeting.voice_channel_id
        if channel_id is None or channel_id not in {each.channel_id for each in bindings}:
            return
        voice = getattr(self.agents.get(asked.target), "voice", None)
        patch = {"agent": asked.target, "voice": voice}
        await self.kit.update_binding_metadata(asked.room_id, channel_id, patch)

    async def _ask(self, room_id: str, result: HandoffResult, person: str | None) -> None:
        assert result.new_agent_id is not None
        words = "The conversation was handed to you. Go on with it."
        await self._post(room_id, result.new_agent_id, words, person)

    async def _post(self, room_id: str, agent_id: str, words: str, person: str | None = None) -> RoomEvent:
        """Ask an agent by a note that only it sees; everyone sees its answer."""
        note = note_to(agent_id, room_id, words, on_behalf_of=person)
        return await self.kit.send_event(room_id, SYSTEM_CHANNEL_ID, note)

    # -- owner, greeting, language ------------------------------------------------------------

    async def assign(self, room_id: str) -> ConversationState:
        """Have this strategy decide in a room from now on; return the state of the conversation.

        For one that was installed with a name, which decides in no other rooms; for one without, it takes a
        room back. The conversation begins again as the strategy says. Raises RoomNotFoundError,
        RoomClosedError.
        """
        first = self.router.first() or ConversationState()

        def change(own: OwnState) -> OwnState:
            return stored(own, first, strategy=self.name, pending=None, chain=None)

        await self._services.rooms.change_state(room_id, change)
        return first

    async def release(
        self, room_id: str, to: str | None = None, *, reason: str = "released"
    ) -> ConversationState:
        """Take the conversation from the agent or the person that has it; return the state after it.

        `to` has it then; without, the agent that had it before a person did, else the strategy's first.
        No agent is asked by it: the next message is put to that one. Raises RoomNotFoundError,
        RoomClosedError.
        """
        now = self.kit.clock.now()
        states: list[ConversationState] = []

        def decide(own: OwnState) -> OwnState:
            before = conversation_of(own) or self.router.first() or ConversationState()
            first = self.router.first()
            back = to or (before.previous_agent_id if before.active_agent_id == HUMAN else None)
            back = back or (None if first is None else first.active_agent_id)
            phase = before.phase if to is None else self._usual_phase(to, before)
            states[:] = [before, before.transition(phase, back, reason, at=now)]
            return stored(own, states[1])

        await self._services.rooms.change_state(room_id, decide)
        before, after = states
        if after.phase != before.phase:
            await self._services.turns.observe(
                HookTrigger.ON_PHASE_TRANSITION, after.phase_history[-1], room_id=room_id
            )
        return after

    async def send_greeting(self, room_id: str, *, channel_id: str | None = None) -> RoomEvent | None:
        """Have the agent that has the conversation greet, as its `greeting` says; None if it has none.

        `channel_id` names another agent than that one. No person sees the note that asks for it.
        """
        agent_id = channel_id or (await self._conversation(room_id)).active_agent_id
        words = self.greeting.prompt or getattr(self.agents.get(agent_id or ""), "greeting", None)
        return None if agent_id is None or words is None else await self._post(room_id, agent_id, words)

    async def set_language(self, room_id: str, language: str, *, channel_id: str | None = None) -> None:
        """Have the agents of a room answer in `language` from the next turn on.

        `channel_id` is a channel that speaks for them, such as a call: the metadata of its binding gets the
        `language`. Raises RoomNotFoundError, and ChannelNotFoundError for a channel that is not attached.
        """
        if channel_id is not None:
            await self.kit.update_binding_metadata(room_id, channel_id, {"language": language})

        def change(own: OwnState) -> OwnState:
            state = conversation_of(own) or self.router.first() or ConversationState()
            return stored(own, state.with_context(language=language))

        await self._services.rooms.change_state(room_id, change)

    async def get_room_language(self, room_id: str, agent_id: str) -> str | None:
        """Return the language in which an agent answers in a room: the room's, else its own."""
        own = getattr(self.agents.get(agent_id), "language", None)
        return (await self._conversation(room_id)).language or own

    async def _conversation(self, room_id: str) -> ConversationState:
        room = await self._services.rooms.read_room(room_id)
        return conversation_of(room.state.get(NAMESPACE)) or self.router.first() or ConversationState()


def _intelligences(bindings: Sequence[ChannelBinding]) -> frozenset[str]:
    return frozenset(each.channel_id for each in bindings if each.category is ChannelCategory.INTELLIGENCE)


def handoff_tool(
    handler: HandoffHandler, definition: AITool, duty_in: Callable[[str], Duty | None] | None = None
) -> RunnableTool:
    """Return the tool with its handler; an accepted handoff ends the turn.

    `duty_in` gives the turn of the agent in a room, whose words ask the next agent. Without it a note does.
    """

    async def hand_over(name: str, arguments: dict[str, Any]) -> str:
        use = current_tool_call()
        duty = None if duty_in is None else duty_in(use.room_id)
        if duty is None:
            result = await handler.handle(
                use.room_id, use.channel_id, arguments, on_behalf_of=use.participant_id
            )
        else:
            result = await handler.perform(use.room_id, use.channel_id, arguments, duty.event)
            duty.is_handed |= result.accepted
        text = json.dumps(
            result.model_dump(mode="json", exclude_defaults=True) | {"accepted": result.accepted}
        )
        return EndTurn(text) if result.accepted else text

    return RunnableTool(definition, hand_over)


def setup_handoff(channel: AIChannel, handler: HandoffHandler, *, tool: AITool | None = None) -> None:
    """Offer an agent the handoff tool in every room, with `handler` to perform it.

    Raises InvalidInputError if it has one already.
    """
    if any(_name_of(each) == NAME for each in channel.extra_tools):
        raise InvalidInputError(
            f"{channel.channel_id!r} has the handoff tool already: give it to an agent once"
        )
    channel.extra_tools.append(handoff_tool(handler, tool or HANDOFF_TOOL))


def _name_of(tool: object) -> str | None:
    definition = tool[0] if isinstance(tool, tuple) else getattr(tool, "definition", tool)
    return getattr(definition, "name", None)
