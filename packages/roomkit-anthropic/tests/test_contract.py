"""The contract of AI providers, kept by `AnthropicAIProvider` with the real SDK over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomkit_plugins.anthropic import AnthropicAIProvider, AnthropicConfig
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.simulators import AnthropicSimulator


class TestAnthropicAIProvider(AIProviderContract):
    @pytest.fixture
    async def simulator(self) -> AsyncIterator[AnthropicSimulator]:
        async with AnthropicSimulator() as simulator:
            yield simulator

    @pytest.fixture
    def factory(self, simulator: AnthropicSimulator) -> Callable[..., AnthropicAIProvider]:
        def make(*, timeout: float = 10.0) -> AnthropicAIProvider:
            config = AnthropicConfig(
                model="claude-sonnet-5-5",
                api_key=simulator.api_key,
                base_url=simulator.base_url,
                timeout=timeout,
            )
            return AnthropicAIProvider(config)

        return make
