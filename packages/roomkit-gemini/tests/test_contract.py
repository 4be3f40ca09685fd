"""The contract of AI providers, kept by `GeminiAIProvider` with the real SDK over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomkit_plugins.gemini import GeminiAIProvider, GeminiConfig
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.simulators import GeminiSimulator


class TestGeminiAIProvider(AIProviderContract):
    model = "gemini-3.8-flash"
    sdk = "google.genai"
    counts_tokens = True
    finishes = ("stop", "length", "content_filter")
    counts_cache_writes = False

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[GeminiSimulator]:
        async with GeminiSimulator() as simulator:
            yield simulator

    @pytest.fixture
    def factory(self, simulator: GeminiSimulator) -> Callable[..., GeminiAIProvider]:
        def make(*, timeout: float = 10.0) -> GeminiAIProvider:
            config = GeminiConfig(
                model=self.model,
                api_key=simulator.api_key,
                base_url=simulator.base_url,
                timeout=timeout,
            )
            return GeminiAIProvider(config)

        return make
