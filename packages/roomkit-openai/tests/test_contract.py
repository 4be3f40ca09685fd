"""The contract of AI providers, kept by each way to ask, with the real SDK over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal

import pytest

from roomkit_plugins.openai import (
    OpenAIAIProvider,
    OpenAIConfig,
    VLLMConfig,
    create_vllm_provider,
)
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.simulators import AISimulator, OpenAISimulator, VLLMSimulator


class OpenAIContract(AIProviderContract):
    api: Literal["responses", "chat"]
    model: str
    sdk = "openai"

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[AISimulator]:
        async with OpenAISimulator() as simulator:
            yield simulator

    @pytest.fixture
    def factory(self, simulator: AISimulator) -> Callable[..., OpenAIAIProvider]:
        def make(*, timeout: float = 10.0) -> OpenAIAIProvider:
            config = OpenAIConfig(
                model=self.model,
                api=self.api,
                api_key=simulator.api_key,
                base_url=simulator.base_url,
                timeout=timeout,
            )
            return OpenAIAIProvider(config)

        return make


class TestOpenAIResponses(OpenAIContract):
    api = "responses"
    model = "gpt-5.5"


class TestOpenAIChatReasoning(OpenAIContract):
    api = "chat"
    model = "gpt-5.5"
    thinks = False
    passed_on = ("stop",)


class TestOpenAIChat(OpenAIContract):
    api = "chat"
    model = "gpt-4.1"
    thinks = False
    passed_on = ("reasoning_effort",)


class TestVLLM(AIProviderContract):
    thinks = False
    sdk = "openai"
    secrets = ("sk-simulated",)

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[VLLMSimulator]:
        async with VLLMSimulator(api_key="sk-simulated") as simulator:
            yield simulator

    @pytest.fixture
    def factory(self, simulator: VLLMSimulator) -> Callable[..., OpenAIAIProvider]:
        def make(*, timeout: float = 10.0) -> OpenAIAIProvider:
            config = VLLMConfig(
                model=simulator.models[0],
                api_key=simulator.api_key,
                base_url=simulator.base_url,
                timeout=timeout,
                think_tags="inline",
                vision=True,
            )
            return create_vllm_provider(config)

        return make
