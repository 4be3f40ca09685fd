"""Agents for RoomKit: the AI channel with its tool loop, memory and tool policy."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.ai.channel import AIChannel as AIChannel
    from roomkit_plugins.ai.config import AIChannelConfig as AIChannelConfig
    from roomkit_plugins.ai.config import BudgetAwareMemoryConfig as BudgetAwareMemoryConfig
    from roomkit_plugins.ai.config import CompactingMemoryConfig as CompactingMemoryConfig
    from roomkit_plugins.ai.config import RemoteModelConfig as RemoteModelConfig
    from roomkit_plugins.ai.config import RetrievalMemoryConfig as RetrievalMemoryConfig
    from roomkit_plugins.ai.config import SlidingWindowMemoryConfig as SlidingWindowMemoryConfig
    from roomkit_plugins.ai.errors import AnswerTooLongError as AnswerTooLongError
    from roomkit_plugins.ai.errors import BudgetError as BudgetError
    from roomkit_plugins.ai.errors import StalledAnswerError as StalledAnswerError
    from roomkit_plugins.ai.errors import ToolLoopError as ToolLoopError
    from roomkit_plugins.ai.errors import ToolsBusyError as ToolsBusyError
    from roomkit_plugins.ai.errors import TurnTimeoutError as TurnTimeoutError
    from roomkit_plugins.ai.executed import RemoteModel as RemoteModel
    from roomkit_plugins.ai.functions import FunctionTool as FunctionTool
    from roomkit_plugins.ai.functions import tool as tool
    from roomkit_plugins.ai.memory import BudgetAwareMemory as BudgetAwareMemory
    from roomkit_plugins.ai.memory import SlidingWindowMemory as SlidingWindowMemory
    from roomkit_plugins.ai.policy import RoleOverride as RoleOverride
    from roomkit_plugins.ai.policy import ToolPolicy as ToolPolicy
    from roomkit_plugins.ai.prices import ModelPrice as ModelPrice
    from roomkit_plugins.ai.retrieval import RetrievalMemory as RetrievalMemory
    from roomkit_plugins.ai.running import current_tool_call as current_tool_call
    from roomkit_plugins.ai.spending import cost_of_room as cost_of_room
    from roomkit_plugins.ai.summary import CompactingMemory as CompactingMemory
    from roomkit_plugins.ai.tokens import estimate_context_tokens as estimate_context_tokens
    from roomkit_plugins.ai.tokens import estimate_tokens as estimate_tokens
    from roomkit_plugins.ai.tools import EndTurn as EndTurn
    from roomkit_plugins.ai.tools import RunnableTool as RunnableTool
    from roomkit_plugins.ai.tools import compose_tool_handlers as compose_tool_handlers
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "AIChannel": "channel",
            "AIChannelConfig": "config",
            "AnswerTooLongError": "errors",
            "BudgetAwareMemory": "memory",
            "BudgetError": "errors",
            "ModelPrice": "prices",
            "cost_of_room": "spending",
            "BudgetAwareMemoryConfig": "config",
            "CompactingMemory": "summary",
            "CompactingMemoryConfig": "config",
            "EndTurn": "tools",
            "RemoteModel": "executed",
            "RemoteModelConfig": "config",
            "RetrievalMemory": "retrieval",
            "RetrievalMemoryConfig": "config",
            "RoleOverride": "policy",
            "RunnableTool": "tools",
            "FunctionTool": "functions",
            "tool": "functions",
            "SlidingWindowMemory": "memory",
            "SlidingWindowMemoryConfig": "config",
            "StalledAnswerError": "errors",
            "ToolLoopError": "errors",
            "ToolPolicy": "policy",
            "ToolsBusyError": "errors",
            "TurnTimeoutError": "errors",
            "compose_tool_handlers": "tools",
            "current_tool_call": "running",
            "estimate_context_tokens": "tokens",
            "estimate_tokens": "tokens",
        },
    )
