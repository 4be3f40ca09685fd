"""The contract of AI providers, kept by `PydanticAIProvider` with a real model over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from roomkit_plugins.pydantic_ai import PydanticAIConfig, PydanticAIProvider
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.simulators import OpenAISimulator


class TestPydanticAIProvider(AIProviderContract):
    sdk = "pydantic_ai"
    thinks = False
    reads_the_wire = False
    says_auto = True
    finishes = ("stop", "length", "content_filter")
    passed_on = ("reasoning_effort", "thinking_budget")

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[OpenAISimulator]:
        async with OpenAISimulator() as simulator:
            yield simulator

    @pytest.fixture
    async def http_client(self) -> AsyncIterator[httpx2.AsyncClient]:
        async with httpx2.AsyncClient(follow_redirects=False) as client:
            yield client

    @pytest.fixture
    def factory(
        self, simulator: OpenAISimulator, http_client: httpx2.AsyncClient
    ) -> Callable[..., PydanticAIProvider]:
        def make(*, timeout: float = 10.0) -> PydanticAIProvider:
            provider = OpenAIProvider(
                api_key=simulator.api_key, base_url=simulator.base_url, http_client=http_client
            )
            model = OpenAIChatModel("gpt-4.1", provider=provider)
            return PydanticAIProvider(PydanticAIConfig(timeout=timeout), model=model)

        return make
