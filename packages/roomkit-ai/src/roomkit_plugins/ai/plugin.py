"""Registers what `roomkit-ai` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the AI channel and the memories."""
    registry.add(
        "channel",
        "ai",
        "roomkit_plugins.ai:AIChannel",
        config="roomkit_plugins.ai.config:AIChannelConfig",
        summary="An agent: answers messages by asking a model, with tools.",
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
        "ai",
        "remote",
        "roomkit_plugins.ai:RemoteModel",
        config="roomkit_plugins.ai.config:RemoteModelConfig",
        summary="Describes a model that only other processes have, for an agent with an executor.",
    )
    registry.add(
        "memory",
        "sliding-window",
        "roomkit_plugins.ai:SlidingWindowMemory",
        config="roomkit_plugins.ai.config:SlidingWindowMemoryConfig",
        summary="The newest events.",
    )
    registry.add(
        "memory",
        "budget-aware",
        "roomkit_plugins.ai:BudgetAwareMemory",
        config="roomkit_plugins.ai.config:BudgetAwareMemoryConfig",
        summary="The newest events that fit a number of tokens.",
        parts={"inner": "memory", "counter": "ai"},
    )
    registry.add(
        "memory",
        "compacting",
        "roomkit_plugins.ai:CompactingMemory",
        config="roomkit_plugins.ai.config:CompactingMemoryConfig",
        summary="A model's summary of what no longer fits, and the newest events.",
        parts={"inner": "memory", "provider": "ai", "counter": "ai"},
    )
    registry.add(
        "memory",
        "retrieval",
        "roomkit_plugins.ai:RetrievalMemory",
        config="roomkit_plugins.ai.config:RetrievalMemoryConfig",
        summary="Earlier messages that have words of the current one, and what another memory has.",
        parts={"inner": "memory"},
    )
