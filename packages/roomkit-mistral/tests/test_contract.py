"""The contract of AI providers, kept by `MistralAIProvider` with the real SDK over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomkit_plugins.mistral import MistralAIProvider, MistralConfig
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.simulators import MistralSimulator


class TestMistralAIProvider(AIProviderContract):
    model = "magistral-medium-latest"
    sdk = "mistralai"
    finishes = ("stop", "length")
    counts_cache_writes = False

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[MistralSimulator]:
        async with MistralSimulator() as simulator:
            yield simulator

    @pytest.fixture
    def factory(self, simulator: MistralSimulator) -> Callable[..., MistralAIProvider]:
        def make(*, timeout: float = 10.0) -> MistralAIProvider:
            config = MistralConfig(
                model=self.model,
                api_key=simulator.api_key,
                base_url=simulator.base_url,
                timeout=timeout,
            )
            return MistralAIProvider(config)

        return make
