"""Every vendor's provider with its simulator, for tests over all of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from roomkit import (
    AnthropicAIProvider,
    AnthropicConfig,
    AzureAIConfig,
    AzureAIProvider,
    GeminiAIProvider,
    GeminiConfig,
    MistralAIProvider,
    MistralConfig,
    OpenAIAIProvider,
    OpenAIConfig,
    PydanticAIConfig,
    PydanticAIProvider,
    VLLMConfig,
    create_vllm_provider,
)
from roomkit.abc import AIProvider
from roomkit_plugins.testing.simulators import (
    AISimulator,
    AnthropicSimulator,
    AzureSimulator,
    GeminiSimulator,
    MistralSimulator,
    OpenAISimulator,
    VLLMSimulator,
)

__all__ = ["VENDORS", "Vendor"]


@dataclass(frozen=True)
class Vendor:
    """How a vendor is simulated, and asked; a stack closes what a provider does not."""

    simulator: Callable[[], AISimulator]
    connect: Callable[[AISimulator, AsyncExitStack], AIProvider]
    signs: bool = True
    """Whether its reasoning has opaque data to send back."""


def _claude(simulator: AISimulator, stack: AsyncExitStack) -> AIProvider:
    return AnthropicAIProvider(
        AnthropicConfig(
            model="claude-sonnet-5-5", api_key=simulator.api_key, base_url=simulator.base_url, timeout=20
        )
    )


def _openai(model: str, api: str) -> Callable[[AISimulator, AsyncExitStack], AIProvider]:
    def connect(simulator: AISimulator, stack: AsyncExitStack) -> AIProvider:
        settings = {"model": model, "api": api, "api_key": simulator.api_key, "base_url": simulator.base_url}
        return OpenAIAIProvider(OpenAIConfig.model_validate({**settings, "timeout": 20}))

    return connect


def _azure(simulator: AISimulator, stack: AsyncExitStack) -> AIProvider:
    return AzureAIProvider(
        AzureAIConfig(
            model="gpt-4.1", api_key=simulator.api_key, azure_endpoint=simulator.base_url, timeout=20
        )
    )


def _vllm(simulator: AISimulator, stack: AsyncExitStack) -> AIProvider:
    return create_vllm_provider(
        VLLMConfig(model="qwen/qwen3-8b", base_url=simulator.base_url, vision=True, timeout=20)
    )


def _gemini(simulator: AISimulator, stack: AsyncExitStack) -> AIProvider:
    return GeminiAIProvider(
        GeminiConfig(
            model="gemini-3.8-flash", api_key=simulator.api_key, base_url=simulator.base_url, timeout=20
        )
    )


def _mistral(simulator: AISimulator, stack: AsyncExitStack) -> AIProvider:
    return MistralAIProvider(
        MistralConfig(
            model="magistral-medium-latest",
            api_key=simulator.api_key,
            base_url=simulator.base_url,
            timeout=20,
        )
    )


def _pydantic_ai(simulator: AISimulator, stack: AsyncExitStack) -> AIProvider:
    client = httpx2.AsyncClient(follow_redirects=False, trust_env=False, verify=False)
    stack.push_async_callback(client.aclose)
    library = OpenAIProvider(api_key=simulator.api_key, base_url=simulator.base_url, http_client=client)
    model = OpenAIChatModel("gpt-4.1", provider=library)
    return PydanticAIProvider(PydanticAIConfig(timeout=20), model=model)


VENDORS: dict[str, Vendor] = {
    "anthropic": Vendor(AnthropicSimulator, _claude),
    "openai": Vendor(OpenAISimulator, _openai("gpt-5.5", "responses")),
    "openai-chat": Vendor(OpenAISimulator, _openai("gpt-4.1", "chat"), signs=False),
    "azure": Vendor(AzureSimulator, _azure, signs=False),
    "vllm": Vendor(VLLMSimulator, _vllm, signs=False),
    "gemini": Vendor(GeminiSimulator, _gemini),
    "mistral": Vendor(MistralSimulator, _mistral),
    "pydantic-ai": Vendor(OpenAISimulator, _pydantic_ai, signs=False),
}
