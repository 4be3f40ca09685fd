"""Registers what `roomkit-agents` brings; imports nothing but the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.kernel.kit import RoomKit
    from roomkit.plugins import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the agent and its memory."""
    registry.add(
        "channel",
        "agent",
        "roomkit_plugins.agents:Agent",
        config="roomkit_plugins.agents.config:AgentConfig",
        summary="An agent with a role, which can hand the conversation to others.",
        parts={
            "provider": "ai",
            "fallback_provider": "ai",
            "fallback_providers": ["ai"],
            "memory": "memory",
            "tool_providers": ["tools"],
            "executor": "executor",
        },
    )
    registry.add(
        "memory",
        "handoff",
        "roomkit_plugins.agents:HandoffMemoryProvider",
        config="roomkit_plugins.agents.config:HandoffMemoryConfig",
        summary="What the agent before left, and what another memory remembers.",
        parts={"inner": "memory"},
    )
    registry.add_channel_type("agents")
    registry.add_trigger(
        "on_verification", payload="roomkit_plugins.agents.verification.standing:Verification"
    )
    registry.add_method("delegate", "roomkit_plugins.agents.delegation:delegate")


@hookimpl
def roomkit_configure(kit: RoomKit, services: Services, settings: Mapping[str, object]) -> None:
    """Register the channel of delegated tasks, and their deadline."""
    from roomkit_plugins.agents.desk import TaskDesk

    desk = TaskDesk(kit)
    kit.register_channel(desk)
    services.timers.on("overdue", desk.overdue)
