"""Registers what `roomkit-agents` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
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
            "memory": "memory",
            "tool_providers": ["tools"],
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
