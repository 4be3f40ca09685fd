"""The settings of agents and their memory in a configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from roomkit_plugins.ai.config import AIChannelConfig

__all__ = ["AgentConfig", "HandoffMemoryConfig"]


class AgentConfig(AIChannelConfig):
    """The options of `Agent`: those of `AIChannel`, and its identity."""

    role: str | None = Field(None, description="What the agent is, in its instructions.")
    description: str | None = Field(None, description="What it does; other agents read it, too.")
    scope: str | None = Field(None, description="What it is limited to.")
    voice: str | None = Field(None, description="Its voice in a call.")
    greeting: str | None = Field(None, description="How it is to greet when it gets the conversation.")
    language: str | None = Field(None, description="The language it answers in.")


class HandoffMemoryConfig(BaseModel):
    """The settings of `HandoffMemoryProvider`: none beside its part `inner`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
