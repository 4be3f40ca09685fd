"""The contract of AI providers, kept by `AnthropicAIProvider` with the real SDK over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomkit_plugins.anthropic import AnthropicAIProvider, AnthropicConfig
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.contracts.conversations import REDACTED, SIGNED
from roomkit_plugins.testing.simulators import AnthropicSimulator, ScriptedThinking


class TestAnthropicAIProvider(AIProviderContract):
    model = "claude-sonnet-5-5"
    sdk = "anthropic"
    counts_tokens = True

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[AnthropicSimulator]:
        async with AnthropicSimulator() as simulator:
            simulator.accept_thinking(
                ScriptedThinking(SIGNED.thinking, SIGNED.signature),
                ScriptedThinking(redacted_data=REDACTED.redacted_data),
            )
            yield simulator

    @pytest.fixture
    def factory(self, simulator: AnthropicSimulator) -> Callable[..., AnthropicAIProvider]:
        def make(*, timeout: float = 10.0) -> AnthropicAIProvider:
            config = AnthropicConfig(
                model=self.model,
                api_key=simulator.api_key,
                base_url=simulator.base_url,
                timeout=timeout,
            )
            return AnthropicAIProvider(config)

        return make


class TestOlderModel(TestAnthropicAIProvider):
    model = "claude-haiku-4-5"
    passed_on = ("thinking_budget",)  # refused together with a forced tool call
