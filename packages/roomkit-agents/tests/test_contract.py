"""An agent keeps the contract of intelligences, and its memory that of memories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from roomkit.models.ai import AITool, AIToolCall
from roomkit.models.generation import AIContext, AIResponse
from roomkit_plugins.agents import Agent, HandoffMemoryProvider
from roomkit_plugins.ai import SlidingWindowMemory
from roomkit_plugins.testing import MockAIProvider
from roomkit_plugins.testing.contracts import IntelligenceContract, MemoryProviderContract


def replying(context: AIContext) -> AIResponse:
    """Look once, then answer; the answer says how long the conversation was."""
    if context.messages[-1].role == "tool":
        return AIResponse(content=f"It is there. I have read {len(context.messages)} messages.")
    return AIResponse(content="Let me see.", tool_calls=[AIToolCall(id="c", name="look", arguments={})])


class Looking(Agent):
    """An agent that keeps account of its calls."""

    def __init__(self, *, streaming: bool) -> None:
        self.looked: list[str] = []

        async def look(name: str, arguments: dict[str, Any]) -> str:
            self.looked.append(name)
            return "there"

        super().__init__(
            "bot",
            MockAIProvider([replying], streaming=streaming, chunk_size=5, delay=1, chunk_delay=0.1),
            role="Lookout",
            tools=[AITool(name="look", description="Look for it.", parameters={"type": "object"})],
            tool_handler=look,
        )


class LookingContract(IntelligenceContract):
    async def acts(self, channel: Any) -> Sequence[object]:
        looked: list[str] = channel.looked
        return looked


class TestStreamed(LookingContract):
    @pytest.fixture
    def factory(self) -> Any:
        return lambda: Looking(streaming=True)


class TestWhole(LookingContract):
    @pytest.fixture
    def factory(self) -> Any:
        return lambda: Looking(streaming=False)


class TestHandoffMemory(MemoryProviderContract):
    @pytest.fixture
    def factory(self) -> Any:
        return lambda: HandoffMemoryProvider(SlidingWindowMemory(50))
