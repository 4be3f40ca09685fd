"""Puts a strategy to work on a kit: its gate, and the tools of its agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from roomkit.models.enums import HookTrigger
from roomkit_plugins.agents.agent import Agent
from roomkit_plugins.agents.delegation import build_delegate_tool, setup_delegation
from roomkit_plugins.agents.handler import HandoffHandler, setup_handoff
from roomkit_plugins.agents.handoff import build_handoff_tool
from roomkit_plugins.agents.installed import InstalledStrategy
from roomkit_plugins.agents.kinds import check_kind
from roomkit_plugins.agents.state import NAMESPACE
from roomkit_plugins.ai.channel import AIChannel

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.room import Room
    from roomkit_plugins.agents.strategy import Strategy
    from roomkit_plugins.agents.voices import Greeting

__all__ = ["install"]


def install(
    kit: RoomKit,
    strategy: Strategy,
    agents: Sequence[AIChannel],
    *,
    aliases: Mapping[str, str] | None = None,
    phase_map: Mapping[str, str] | None = None,
    greeting: Greeting | None = None,
    name: str | None = None,
    hook_priority: int = -100,
) -> HandoffHandler:
    """Put a strategy to work on a kit; with a `name`, in the rooms that are assigned to it."""
    for agent in agents:
        check_kind("a strategy", "an agent", agent, AIChannel)
    installed = InstalledStrategy(strategy, [agent.channel_id for agent in agents], name)
    handler = HandoffHandler(kit, strategy, aliases, phase_map, agents=agents, greeting=greeting, name=name)
    installed.handler = handler
    for agent in agents:
        _join(kit, installed, agent)
        _delegates(kit, strategy, agent)
    when: Callable[[Room], bool] | None = None if name is None else installed.is_of
    hook = kit.hook(
        HookTrigger.BEFORE_BROADCAST,
        priority=hook_priority,
        name=f"{NAMESPACE}.{name or 'router'}",
        when=when,
    )
    hook(installed.gate)
    return handler


def _delegates(kit: RoomKit, strategy: Strategy, agent: AIChannel) -> None:
    workers = strategy.workers(agent.channel_id)
    if workers:
        tool = build_delegate_tool([*workers.items()])
        setup_delegation(agent, strategy.delegation(kit, agent.channel_id), tool=tool)


def _join(kit: RoomKit, installed: InstalledStrategy, agent: AIChannel) -> None:
    if isinstance(agent, Agent):
        agent.join(kit, installed)
        return
    assert installed.handler is not None
    named = installed.strategy.targets(agent.channel_id)
    if named is not None:
        setup_handoff(agent, installed.handler, tool=build_handoff_tool([*named.items()]))
