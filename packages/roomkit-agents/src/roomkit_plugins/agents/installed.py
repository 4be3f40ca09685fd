"""A strategy at work on a kit: the gate that says who is asked, and the tools of its agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from roomkit.models.base import new_id
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import ChannelCategory, EventType
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.models.task import Observation
from roomkit_plugins.agents.handler import Duty, HandoffHandler, handoff_tool
from roomkit_plugins.agents.handoff import HANDS_OVER, build_handoff_tool
from roomkit_plugins.agents.state import (
    HUMAN,
    NAMESPACE,
    ConversationState,
    OwnState,
    conversation_of,
    stored,
)
from roomkit_plugins.agents.strategy import Decision

if TYPE_CHECKING:
    from roomkit.models.ai import AITool
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import StateChange
    from roomkit.models.room import Room
    from roomkit_plugins.agents.strategy import Strategy
    from roomkit_plugins.ai.tools import RunnableTool

__all__ = ["InstalledStrategy"]

TAKEN = "a person has the conversation"
"""Why an answer to an earlier message is refused."""


class InstalledStrategy:
    """A strategy with its agents, for the rooms of a kit that it applies to.

    It applies to a room that has one of the agents; with a `name`, to the rooms that were assigned to it.
    """

    def __init__(self, strategy: Strategy, agents: Sequence[str], name: str | None = None) -> None:
        self.strategy = strategy
        self.name = name
        self.agents = frozenset((*strategy.agents(), *agents))
        self.handler: HandoffHandler | None = None
        self._tools: dict[str, AITool] = {}  # bound: the agents

    def is_of(self, room: Room) -> bool:
        """Return whether the room was assigned to this strategy, or to none, as this one is."""
        own: OwnState = room.state.get(NAMESPACE)
        assigned = None if own is None else own.get("strategy")
        return bool(assigned == self.name)

    def applies(self, room: Room, bindings: Sequence[ChannelBinding]) -> bool:
        """Return whether the strategy decides in a room."""
        return self.is_of(room) and any(each.channel_id in self.agents for each in bindings)

    def conversation(self, room: Room) -> ConversationState:
        """Return where the room's conversation stands, also before it has begun."""
        return conversation_of(room.state.get(NAMESPACE)) or self.strategy.first() or ConversationState()

    def tool_for(self, agent_id: str, duty_in: Callable[[str], Duty | None]) -> RunnableTool | None:
        """Return the handoff tool as one agent is offered it; `duty_in` gives its turn in a room."""
        definition = self._definition(agent_id)
        if definition is None or self.handler is None:
            return None
        return handoff_tool(self.handler, definition, duty_in)

    def _definition(self, agent_id: str) -> AITool | None:
        if agent_id not in self._tools:
            named = self.strategy.targets(agent_id)
            if named is None or self.handler is None:
                return None
            described = [(each, about or self._about(each)) for each, about in named.items()]
            tool = build_handoff_tool(described, farewell=self.handler.greeting.farewell)
            self._tools[agent_id] = tool
        return self._tools[agent_id]

    def _about(self, agent_id: str) -> str | None:
        assert self.handler is not None
        return getattr(self.handler.agents.get(agent_id), "description", None)

    # -- the gate -----------------------------------------------------------------------------

    async def gate(self, event: RoomEvent, context: RoomContext) -> HookResult:
        """Say which agents are asked about an event; a BEFORE_BROADCAST gate."""
        if event.type is not EventType.MESSAGE or not self.applies(context.room, context.bindings):
            return HookResult.allow()
        if event.source.channel_id in self.agents:
            return self._of_agent(event, context)
        if event.addressed_to is not None:
            return HookResult.allow()
        return self._of_others(event, context)

    def _of_others(self, event: RoomEvent, context: RoomContext) -> HookResult:
        own = context.room.state.get(NAMESPACE)
        decision = self.strategy.asked(event, context, self.conversation(context.room))
        begun = decision.conversation or (None if conversation_of(own) else self.strategy.first())
        if begun is not None:
            return self._verdict(event, context, decision, stored(own, begun, pending=None))
        return self._verdict(event, context, decision, _not_pending if own and "pending" in own else None)

    def _of_agent(self, event: RoomEvent, context: RoomContext) -> HookResult:
        own, state = context.room.state.get(NAMESPACE), self.conversation(context.room)
        source, active = event.source.channel_id, state.active_agent_id
        if text_of(event.content).startswith(HANDS_OVER):
            return HookResult.modify(_handed(event, active, visibility=active or "none"))
        if source != (own or {}).get("pending") and self._is_overtaken(event, context, state):
            return HookResult.block(TAKEN)
        if _is_segment(event):
            decision = self.strategy.answered(event, context, state)
            return _shown(event, decision)
        if own is not None and own.get("pending") == source:
            return HookResult.modify(_handed(event, active), state={NAMESPACE: _not_pending})
        if event.addressed_to is not None:
            return HookResult.allow()
        decision = self.strategy.answered(event, context, state)
        after = None if decision.conversation is None else stored(own, decision.conversation)
        return self._verdict(event, context, decision, after)

    def _is_overtaken(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> bool:
        """Whether an agent answers a message from before a person got the conversation.

        Its turn is interrupted then, by a signal that may come late or be lost; this holds on every worker.
        The text of a stream is what people have seen, and is kept: further segments of it are refused.
        """
        if state.active_agent_id != HUMAN or event.source.channel_id in self.strategy.watchers():
            return False
        if event.generation is not None and event.generation.stream_id and not _is_segment(event):
            return False
        since = state.phase_history[-1].timestamp if state.phase_history else None
        return since is not None and any(
            each.id == event.correlation_id and each.created_at <= since for each in context.recent_events
        )

    def _verdict(
        self, event: RoomEvent, context: RoomContext, decision: Decision, change: StateChange
    ) -> HookResult:
        asked = decision.asked
        source = event.source.channel_id
        watchers = [each for each in self.strategy.watchers() if each != source]
        if asked is not None or watchers:
            asked = tuple(dict.fromkeys((*(asked or ()), *watchers)))
        after = event.replace(addressed_to=asked)
        if decision.visibility is not None:
            after = after.replace(visibility=decision.visibility)
        if decision.response_visibility is not None:
            after = after.replace(response_visibility=decision.response_visibility)
        return HookResult(
            "modify",
            event=after,
            state={} if change is None else {NAMESPACE: change},
            observations=[_recorded(event, decision)] if decision.reason and not asked else (),
            injected_events=_published(event, decision, context),
        )


def _not_pending(own: OwnState) -> OwnState:
    """Return what a room keeps without the note that an agent's words are still to hand over."""
    return {key: value for key, value in (own or {}).items() if key != "pending"}


def _is_segment(event: RoomEvent) -> bool:
    return event.generation is not None and event.generation.segment is not None


def _shown(event: RoomEvent, decision: Decision) -> HookResult:
    if decision.visibility is None:
        return HookResult.allow()
    return HookResult.modify(event.replace(visibility=decision.visibility))


def _handed(event: RoomEvent, active: str | None, **changes: str) -> RoomEvent:
    """Return the words by which an agent hands over: the one that has the conversation now is asked."""
    asked = () if active in (None, HUMAN) else (active,)
    return event.replace(addressed_to=asked, response_visibility="all", **changes)


def _recorded(event: RoomEvent, decision: Decision) -> Observation:
    return Observation(
        id=new_id(),
        room_id=event.room_id,
        channel_id=event.source.channel_id,
        content=decision.reason or "",
        category=decision.category,
        metadata={"event_id": event.id},
    )


def _published(event: RoomEvent, decision: Decision, context: RoomContext) -> Sequence[InjectedEvent]:
    if decision.publishes is None:
        return ()
    speaker = decision.speaker or event.source.channel_id
    said = event.replace(
        id=new_id(),
        source=event.source.replace(channel_id=speaker),
        content=TextContent(body=decision.publishes),
        visibility="all",
        response_visibility=None,
        addressed_to=(),
        idempotency_key=None,
        generation=None,
    )
    people = [each.channel_id for each in context.bindings if each.category is ChannelCategory.TRANSPORT]
    return (InjectedEvent(said, people),)
