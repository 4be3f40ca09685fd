"""Agents that share a conversation: identity, routing, handoff."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.agents.agent import Agent as Agent
    from roomkit_plugins.agents.agent import AgentOptions as AgentOptions
    from roomkit_plugins.agents.config import AgentConfig as AgentConfig
    from roomkit_plugins.agents.config import HandoffMemoryConfig as HandoffMemoryConfig
    from roomkit_plugins.agents.handler import HandoffHandler as HandoffHandler
    from roomkit_plugins.agents.handler import setup_handoff as setup_handoff
    from roomkit_plugins.agents.handoff import HANDOFF_TOOL as HANDOFF_TOOL
    from roomkit_plugins.agents.handoff import Handoff as Handoff
    from roomkit_plugins.agents.handoff import HandoffRequest as HandoffRequest
    from roomkit_plugins.agents.handoff import HandoffResult as HandoffResult
    from roomkit_plugins.agents.handoff import build_handoff_tool as build_handoff_tool
    from roomkit_plugins.agents.memory import HandoffMemoryProvider as HandoffMemoryProvider
    from roomkit_plugins.agents.pipeline import ConversationPipeline as ConversationPipeline
    from roomkit_plugins.agents.pipeline import PipelineStage as PipelineStage
    from roomkit_plugins.agents.routing import ConversationRouter as ConversationRouter
    from roomkit_plugins.agents.routing import RoutingConditions as RoutingConditions
    from roomkit_plugins.agents.routing import RoutingRule as RoutingRule
    from roomkit_plugins.agents.state import ConversationPhase as ConversationPhase
    from roomkit_plugins.agents.state import ConversationState as ConversationState
    from roomkit_plugins.agents.state import PhaseTransition as PhaseTransition
    from roomkit_plugins.agents.state import get_conversation_state as get_conversation_state
    from roomkit_plugins.agents.state import set_conversation_state as set_conversation_state
    from roomkit_plugins.agents.strategy import Decision as Decision
    from roomkit_plugins.agents.strategy import Strategy as Strategy
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "Agent": "agent",
            "AgentConfig": "config",
            "AgentOptions": "agent",
            "ConversationPhase": "state",
            "ConversationPipeline": "pipeline",
            "ConversationRouter": "routing",
            "ConversationState": "state",
            "Decision": "strategy",
            "HANDOFF_TOOL": "handoff",
            "Handoff": "handoff",
            "HandoffHandler": "handler",
            "HandoffMemoryConfig": "config",
            "HandoffMemoryProvider": "memory",
            "HandoffRequest": "handoff",
            "HandoffResult": "handoff",
            "PhaseTransition": "state",
            "PipelineStage": "pipeline",
            "RoutingConditions": "routing",
            "RoutingRule": "routing",
            "Strategy": "strategy",
            "build_handoff_tool": "handoff",
            "get_conversation_state": "state",
            "set_conversation_state": "state",
            "setup_handoff": "handler",
        },
    )
