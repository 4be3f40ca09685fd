"""Models that a name says, and thoughts that go back to their vendor."""

from __future__ import annotations

import httpx2
import pytest
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from roomkit.models.ai import AIMessage, AITool
from roomkit.models.generation import AIContext
from roomkit_plugins.pydantic_ai import PydanticAIConfig, PydanticAIProvider
from roomkit_plugins.testing.contracts.ai.asking import answered, ask_streamed, ask_whole
from roomkit_plugins.testing.simulators import (
    AnthropicSimulator,
    OpenAISimulator,
    ScriptedThinking,
    ScriptedToolCall,
)


async def test_a_model_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key and address come from its own variables; its connections are closed with the provider."""
    async with OpenAISimulator() as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", simulator.api_key)
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
        simulator.reply("Hello!")
        provider = PydanticAIProvider(PydanticAIConfig(model="openai-chat:gpt-4.1"))
        answer = await provider.generate(AIContext(messages=[AIMessage(role="user", content="Hi")]))
        assert answer.content == "Hello!"
        await provider.close()


async def test_thoughts_go_back_as_they_came() -> None:
    """With the vendor's signature, whole and streamed; the simulator refuses any other."""
    async with AnthropicSimulator() as simulator, httpx2.AsyncClient() as client:
        library = AnthropicProvider(
            api_key=simulator.api_key, base_url=simulator.base_url, http_client=client
        )
        provider = PydanticAIProvider(model=AnthropicModel("claude-sonnet-5-5", provider=library))
        assert provider.model_name == "claude-sonnet-5-5"
        for generate in (ask_whole, ask_streamed):
            thoughts = [ScriptedThinking("First.", "c2lnLTE="), ScriptedThinking("Then.", "c2lnLTI=")]
            simulator.reply(thinking=thoughts, tool_calls=[ScriptedToolCall("now")])
            simulator.reply("Noon.")
            context = AIContext(
                messages=[AIMessage(role="user", content="What time is it?")], tools=[AITool(name="now")]
            )
            first = await generate(provider, context)
            assert [part.thinking for part in first.thinking_parts] == ["First.", "Then."]
            context.messages += answered(first, "12:00")
            assert (await generate(provider, context)).content == "Noon."
        await provider.close()
