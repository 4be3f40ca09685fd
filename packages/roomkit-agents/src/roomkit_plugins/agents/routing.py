"""Rules that choose the agent for a message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, override

from roomkit.models.enums import ChannelCategory
from roomkit_plugins.agents.kinds import check_callable, check_kind, check_names
from roomkit_plugins.agents.state import HUMAN
from roomkit_plugins.agents.strategy import Decision, Strategy

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import HookResult
    from roomkit_plugins.agents.handler import HandoffHandler
    from roomkit_plugins.agents.state import ConversationState
    from roomkit_plugins.ai.channel import AIChannel

__all__ = ["ConversationRouter", "RoutingConditions", "RoutingRule"]

type Gate = Callable[[RoomEvent, RoomContext], Awaitable[HookResult]]
type Custom = Callable[[RoomEvent, RoomContext, ConversationState], bool]


@dataclass(slots=True, frozen=True)
class RoutingConditions:
    """When a rule applies: all that are given must hold, and with none it always does.

    `intents` are compared with `event.metadata["intent"]`. `custom` is pure and quick: it runs under the
    room's lock.
    """

    phases: Collection[str] | None = None
    channel_types: Collection[str] | None = None
    intents: Collection[str] | None = None
    source_channel_ids: Collection[str] | None = None
    custom: Custom | None = None

    def __post_init__(self) -> None:
        for name in ("phases", "channel_types", "intents", "source_channel_ids"):
            values = getattr(self, name)
            if values is not None:
                check_names("RoutingConditions", name, values)
        if self.custom is not None:
            check_callable("RoutingConditions", "custom", self.custom)

    def hold(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> bool:
        """Return whether they all hold for a message."""
        chosen = (
            (self.phases, state.phase),
            (self.channel_types, event.source.channel_type),
            (self.intents, event.metadata.get("intent")),
            (self.source_channel_ids, event.source.channel_id),
        )
        if any(among is not None and value not in among for among, value in chosen):
            return False
        return self.custom is None or self.custom(event, context, state)


@dataclass(slots=True, frozen=True)
class RoutingRule:
    """An agent, and when it is asked; the rule of the lowest `priority` that holds counts."""

    agent_id: str
    conditions: RoutingConditions = field(default_factory=RoutingConditions)
    priority: int = 0

    def __post_init__(self) -> None:
        check_names("RoutingRule", "agent_id", (self.agent_id,))
        check_kind("RoutingRule", "conditions", self.conditions, RoutingConditions)
        check_kind("RoutingRule", "priority", self.priority, int)


class ConversationRouter(Strategy):
    """Chooses the agent for each message: the one that has the conversation, else by rules, else a default.

    While a person has the conversation (`human`), no agent is asked. `supervisor_id` is asked about every
    message as well, also about what the other agents say.
    """

    def __init__(
        self,
        rules: Sequence[RoutingRule] | None = None,
        default_agent_id: str | None = None,
        supervisor_id: str | None = None,
    ) -> None:
        check_kind("a router", "rules", rules, Sequence | None)
        for rule in rules or ():
            check_kind("a router", "a rule", rule, RoutingRule)
        check_kind("a router", "default_agent_id", default_agent_id, str | None)
        check_kind("a router", "supervisor_id", supervisor_id, str | None)
        self.rules = sorted(rules or (), key=lambda rule: rule.priority)
        self.default_agent_id = default_agent_id
        self.supervisor_id = supervisor_id

    @override
    def agents(self) -> Sequence[str]:
        named = (*(rule.agent_id for rule in self.rules), self.default_agent_id, self.supervisor_id)
        return tuple(dict.fromkeys(filter(None, named)))

    @override
    def watchers(self) -> Sequence[str]:
        return () if self.supervisor_id is None else (self.supervisor_id,)

    def select_agent(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> str | None:
        """Return the agent for a message; None for an agent's words, and if none fits."""
        source = context.get_binding(event.source.channel_id)
        if source is not None and source.category is ChannelCategory.INTELLIGENCE:
            return None
        active = state.active_agent_id
        if active == HUMAN:
            return None
        if active is not None and context.get_binding(active) is not None:
            return active
        for rule in self.rules:
            if rule.conditions.hold(event, context, state):
                return rule.agent_id
        return self.default_agent_id

    @override
    def asked(self, event: RoomEvent, context: RoomContext, state: ConversationState) -> Decision:
        if state.active_agent_id == HUMAN:
            return Decision(asked=(), reason="a person has the conversation")
        agent_id = self.select_agent(event, context, state)
        return Decision(asked=None if agent_id is None else (agent_id,))

    def as_hook(self) -> Gate:
        """Return the router as a BEFORE_BROADCAST gate, to be registered by hand with `kit.hook`."""
        from roomkit_plugins.agents.installed import InstalledStrategy

        return InstalledStrategy(self, self.agents()).gate

    def install(
        self,
        kit: RoomKit,
        agents: Sequence[AIChannel],
        *,
        agent_aliases: dict[str, str] | None = None,
        phase_map: dict[str, str] | None = None,
        hook_priority: int = -100,
        name: str | None = None,
    ) -> HandoffHandler:
        """Route the messages of every room of `kit` that has one of `agents`, and let these hand over.

        With a `name`, only of the rooms that `HandoffHandler.assign` gives to it. Raises InvalidInputError
        for an agent that has been given to a strategy of that kit already.
        """
        from roomkit_plugins.agents.installing import install

        return install(
            kit,
            self,
            agents,
            aliases=agent_aliases,
            phase_map=phase_map,
            hook_priority=hook_priority,
            name=name,
        )
