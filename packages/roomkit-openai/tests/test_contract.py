"""The contract of AI providers, kept by each way to ask, with the real SDK over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal

import pytest

from roomkit_plugins.openai import (
    AzureAIConfig,
    AzureAIProvider,
    OpenAIAIProvider,
    OpenAIConfig,
    VLLMConfig,
    create_vllm_provider,
)
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.simulators import AISimulator, AzureSimulator, OpenAISimulator, VLLMSimulator


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
    counts_tokens = True
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


class TestAzure(AIProviderContract):
    """A deployment over the v1 API, signed with a key."""

    thinks = False
    sdk = "openai"
    passed_on = ("reasoning_effort",)
    api: Literal["responses", "chat"] = "chat"
    model = "gpt-4.1"
    api_version: str | None = None

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[AzureSimulator]:
        async with AzureSimulator() as simulator:
            yield simulator

    @pytest.fixture
    def factory(self, simulator: AzureSimulator) -> Callable[..., AzureAIProvider]:
        def make(*, timeout: float = 10.0) -> AzureAIProvider:
            config = AzureAIConfig(
                model=self.model,
                api=self.api,
                api_version=self.api_version,
                api_key=simulator.api_key,
                azure_endpoint=simulator.base_url,
                timeout=timeout,
            )
            return AzureAIProvider(config)

        return make


class TestAzureResponses(TestAzure):
    thinks = True
    passed_on = ()
    api = "responses"
    model = "gpt-5.5"


class TestAzureDated(TestAzure):
    """A dated version of the API, signed with tokens."""

    api_version = "2024-10-21"
    secrets = ("entra-simulated",)

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[AzureSimulator]:
        async with AzureSimulator(api_key="entra-simulated") as simulator:
            yield simulator

    @pytest.fixture
    def factory(self, simulator: AzureSimulator) -> Callable[..., AzureAIProvider]:
        async def token() -> str:
            return simulator.api_key

        def make(*, timeout: float = 10.0) -> AzureAIProvider:
            config = AzureAIConfig(
                model=self.model,
                api_version=self.api_version,
                azure_endpoint=simulator.base_url,
                timeout=timeout,
            )
            return AzureAIProvider(config, token_provider=token)

        return make
