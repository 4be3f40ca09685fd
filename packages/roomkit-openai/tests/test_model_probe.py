"""What `roomkit check --live` finds out about a model: a read, which generates nothing."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.openai import (
    AzureAIConfig,
    AzureAIProvider,
    OpenAIAIProvider,
    OpenAIConfig,
    VLLMConfig,
    create_vllm_provider,
)
from roomkit_plugins.testing.contracts import ModelProbeContract
from roomkit_plugins.testing.simulators import AzureSimulator, OpenAISimulator, VLLMSimulator


class TestOpenAIProbe(ModelProbeContract):
    simulator = OpenAISimulator
    path = "/v1/models/{model}"

    def make(self, **settings: Any) -> OpenAIAIProvider:
        return OpenAIAIProvider(OpenAIConfig.model_validate(settings))


# -- servers that have only the list --------------------------------------------------------------


async def test_a_model_of_vllm_is_found_by_its_name_with_a_slash() -> None:
    async with VLLMSimulator() as simulator:
        provider = create_vllm_provider(VLLMConfig(model="qwen/qwen3-8b", base_url=simulator.base_url))
        assert "has model qwen/qwen3-8b" in await provider.probe()
        await provider.close()


async def test_a_server_without_the_model_says_which_it_has() -> None:
    async with VLLMSimulator() as simulator:
        provider = create_vllm_provider(VLLMConfig(model="qwen", base_url=simulator.base_url))
        with pytest.raises(ProviderError, match=r"127\.0\.0\.1 lists 1 models: qwen/qwen3-8b; 127") as caught:
            await provider.probe()
        await provider.close()
    assert caught.value.error_code is ErrorCode.NOT_FOUND


# -- Azure, which has no free look-up of deployments ----------------------------------------------


def made_of_azure(simulator: AzureSimulator, **fields: object) -> AzureAIProvider:
    base = {"model": "gpt-4.1", "api_key": simulator.api_key, "azure_endpoint": simulator.base_url}
    return AzureAIProvider(AzureAIConfig.model_validate({**base, **fields}))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "/openai/v1/models"),
        ({"api_version": "2024-10-21", "api": "chat"}, "/openai/models"),
        ({"api_version": "2025-04-01-preview", "api": "responses"}, "/openai/models"),
    ],
)
async def test_a_probe_of_azure_finds_that_it_takes_the_key(fields: dict[str, str], path: str) -> None:
    async with AzureSimulator() as simulator:
        provider = made_of_azure(simulator, **fields)
        assert await provider.probe() == (
            "127.0.0.1 takes the key; whether it has a deployment gpt-4.1 shows at the first message"
        )
        await provider.close()
        assert [(each.method, each.path) for each in simulator.requests] == [("GET", path)]


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"api_key": "canary-of-a-wrong-key"}, ErrorCode.AUTH, "; set a key that 127.0.0.1 made"),
        ({"azure_endpoint": "http://127.0.0.1:9"}, ErrorCode.CONNECTION, "; check that base_url is the API"),
    ],
)
async def test_a_failing_probe_of_azure_says_what_to_do(
    fields: dict[str, str], code: ErrorCode, says: str
) -> None:
    async with AzureSimulator() as simulator:
        provider = made_of_azure(simulator, **fields)
        with pytest.raises(ProviderError) as caught:
            await provider.probe()
        await provider.close()
    assert caught.value.error_code is code
    assert says in str(caught.value)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
