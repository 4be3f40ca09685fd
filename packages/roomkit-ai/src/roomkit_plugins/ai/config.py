"""The settings of an agent and of its memories in a configuration file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from roomkit.models.ai import AITool
from roomkit.models.channel import RetryPolicy
from roomkit_plugins.ai.policy import ToolPolicy
from roomkit_plugins.ai.prices import ModelPrice

__all__ = [
    "AIChannelConfig",
    "BudgetAwareMemoryConfig",
    "CompactingMemoryConfig",
    "RemoteModelConfig",
    "RetrievalMemoryConfig",
    "SlidingWindowMemoryConfig",
]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class AIChannelConfig(_Config):
    """The options of `AIChannel`, with their defaults and bounds."""

    system_prompt: str | None = Field(None, description="The agent's instructions.")
    temperature: float | None = Field(None, ge=0, allow_inf_nan=False, description="None: the provider's.")
    max_tokens: int | None = Field(None, gt=0, description="Longest answer; None: the provider's.")
    thinking_budget: int | None = Field(None, ge=0, description="Tokens for reasoning.")
    max_context_events: int = Field(50, ge=0, description="How many events the default memory shows.")
    tools: tuple[AITool, ...] = Field((), description="Tools that the code's tool_handler answers.")
    response_schema: dict[str, Any] | None = Field(
        None, description="The JSON Schema that answers fit, of type object; None: prose."
    )
    tool_policy: ToolPolicy | None = Field(None, description="Which tools may be used, by whom.")
    max_tool_rounds: int = Field(200, ge=0, description="After these rounds the model must answer.")
    max_tool_calls: int = Field(500, ge=1, description="After so many calls the model must answer.")
    max_answer_chars: int = Field(200_000, ge=1, description="Longest answer, reasoning included.")
    answer_idle_seconds: float | None = Field(
        120.0, ge=0, description="Longest pause in an answer that has begun; 0: none."
    )
    max_identical_calls: int = Field(3, ge=1, description="How often one result may come again.")
    tool_timeout_seconds: float | None = Field(60.0, ge=0, description="Deadline of one call; 0: none.")
    tool_loop_timeout_seconds: float | None = Field(300.0, ge=0, description="Deadline of a turn; 0: none.")
    tool_loop_warn_after: int = Field(50, ge=0, description="Log a warning at this round.")
    retry_policy: RetryPolicy | None = Field(None, description="None: a failure is not tried again.")
    prices: dict[str, ModelPrice] = Field({}, description="What each model costs, by its name.")
    max_turn_cost: float | None = Field(None, gt=0, description="Money after which a turn ends; None: any.")
    max_room_cost: float | None = Field(None, gt=0, description="Money that all turns of a room may cost.")
    error_reply: str | None = Field(None, description="Text that is sent when an answer failed.")


class SlidingWindowMemoryConfig(_Config):
    """The settings of `SlidingWindowMemory`."""

    max_events: int = Field(50, ge=0, description="How many of the newest events are shown.")


class BudgetAwareMemoryConfig(_Config):
    """The settings of `BudgetAwareMemory`, beside its part `inner`."""

    max_context_tokens: int = Field(gt=0, description="The model's context window.")
    safety_margin_ratio: float = Field(0.15, ge=0, lt=1, description="The share of it that stays free.")
    min_events: int = Field(3, ge=0, description="The newest events that are always shown.")
    reserve_tokens: int = Field(0, ge=0, description="Tokens kept free for the answer.")


class CompactingMemoryConfig(BudgetAwareMemoryConfig):
    """The settings of `CompactingMemory`, beside its parts `inner` and `provider`."""

    min_events: int = Field(5, ge=0, description="The newest events that are always shown.")
    summary_ratio: float = Field(0.10, gt=0, lt=1, description="The share that a summary may have.")
    summary_cache_ttl_seconds: float = Field(300.0, ge=0, description="How long a summary is used again.")


class RetrievalMemoryConfig(_Config):
    """The settings of `RetrievalMemory`, beside its part `inner`."""

    max_events: int = Field(5, ge=1, description="How many earlier messages are shown at most.")
    max_tokens: int = Field(1000, ge=1, description="How many tokens they have at most, all together.")
    min_word_length: int = Field(4, ge=1, description="Shorter words without a digit are not looked for.")


class RemoteModelConfig(_Config):
    """The settings of `RemoteModel`."""

    model: str = Field(min_length=1, description="The name of the model that executor processes ask.")
    vision: bool = Field(False, description="Whether it sees pictures.")
    streaming: bool = Field(True, description="Whether the served provider streams.")
    response_schema: bool = Field(False, description="Whether it answers in a shape that is asked for.")
