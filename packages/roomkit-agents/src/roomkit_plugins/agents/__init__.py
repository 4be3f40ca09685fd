"""Agents that share a conversation: identity, routing, handoff, delegation."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.agents.agent import Agent as Agent
    from roomkit_plugins.agents.agent import AgentOptions as AgentOptions
    from roomkit_plugins.agents.config import AgentConfig as AgentConfig
    from roomkit_plugins.agents.config import HandoffMemoryConfig as HandoffMemoryConfig
    from roomkit_plugins.agents.delegated import ContextOnlyDelivery as ContextOnlyDelivery
    from roomkit_plugins.agents.delegated import DelegatedTaskResult as DelegatedTaskResult
    from roomkit_plugins.agents.delegated import ImmediateDelivery as ImmediateDelivery
    from roomkit_plugins.agents.delegation import DELEGATE_TOOL as DELEGATE_TOOL
    from roomkit_plugins.agents.delegation import DelegatedTask as DelegatedTask
    from roomkit_plugins.agents.delegation import DelegateHandler as DelegateHandler
    from roomkit_plugins.agents.delegation import build_delegate_tool as build_delegate_tool
    from roomkit_plugins.agents.delegation import setup_delegation as setup_delegation
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
    from roomkit_plugins.agents.speaking import ModelDecides as ModelDecides
    from roomkit_plugins.agents.speaking import SpeakAlways as SpeakAlways
    from roomkit_plugins.agents.speaking import SpeakIf as SpeakIf
    from roomkit_plugins.agents.speaking import SpeakPolicy as SpeakPolicy
    from roomkit_plugins.agents.speaking import SpeakWhenAddressed as SpeakWhenAddressed
    from roomkit_plugins.agents.state import ConversationPhase as ConversationPhase
    from roomkit_plugins.agents.state import ConversationState as ConversationState
    from roomkit_plugins.agents.state import PhaseTransition as PhaseTransition
    from roomkit_plugins.agents.state import get_conversation_state as get_conversation_state
    from roomkit_plugins.agents.state import set_conversation_state as set_conversation_state
    from roomkit_plugins.agents.strategies import ReviewLoop as ReviewLoop
    from roomkit_plugins.agents.strategies import Supervision as Supervision
    from roomkit_plugins.agents.strategies import Swarm as Swarm
    from roomkit_plugins.agents.strategy import Decision as Decision
    from roomkit_plugins.agents.strategy import Strategy as Strategy
    from roomkit_plugins.agents.verification.people import PersonVerification as PersonVerification
    from roomkit_plugins.agents.verification.rules import VerificationTexts as VerificationTexts
    from roomkit_plugins.agents.verification.standing import Verification as Verification
    from roomkit_plugins.agents.verification.standing import VerificationStatus as VerificationStatus
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "Agent": "agent",
            "AgentConfig": "config",
            "AgentOptions": "agent",
            "ContextOnlyDelivery": "delegated",
            "ConversationPhase": "state",
            "ConversationPipeline": "pipeline",
            "ConversationRouter": "routing",
            "ConversationState": "state",
            "DELEGATE_TOOL": "delegation",
            "Decision": "strategy",
            "DelegateHandler": "delegation",
            "DelegatedTask": "delegation",
            "DelegatedTaskResult": "delegated",
            "HANDOFF_TOOL": "handoff",
            "Handoff": "handoff",
            "HandoffHandler": "handler",
            "HandoffMemoryConfig": "config",
            "HandoffMemoryProvider": "memory",
            "HandoffRequest": "handoff",
            "HandoffResult": "handoff",
            "ImmediateDelivery": "delegated",
            "ModelDecides": "speaking",
            "PersonVerification": "verification.people",
            "PhaseTransition": "state",
            "PipelineStage": "pipeline",
            "ReviewLoop": "strategies",
            "RoutingConditions": "routing",
            "RoutingRule": "routing",
            "SpeakAlways": "speaking",
            "SpeakIf": "speaking",
            "SpeakPolicy": "speaking",
            "SpeakWhenAddressed": "speaking",
            "Strategy": "strategy",
            "Supervision": "strategies",
            "Swarm": "strategies",
            "Verification": "verification.standing",
            "VerificationStatus": "verification.standing",
            "VerificationTexts": "verification.rules",
            "build_delegate_tool": "delegation",
            "build_handoff_tool": "handoff",
            "get_conversation_state": "state",
            "set_conversation_state": "state",
            "setup_delegation": "delegation",
            "setup_handoff": "handler",
        },
    )
