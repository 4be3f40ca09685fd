"""Azure: where requests go, how they are signed, and its settings."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIMessage, AITool
from roomkit.models.generation import AIContext
from roomkit_plugins.openai import AzureAIConfig, AzureAIProvider
from roomkit_plugins.testing.simulators import AzureSimulator

CONTEXT = AIContext(messages=[AIMessage(role="user", content="Hi")], tools=[AITool(name="now")])
MODELS = ("gpt-4.1", "gpt-5.5")
BASE: dict[str, Any] = {"model": "gpt-4.1"}
REASONING: dict[str, Any] = {"model": "gpt-5.5"}

# A change of each field, and what else must be set for it to mean something.
CHANGES: dict[str, tuple[dict[str, Any], object]] = {
    "model": (BASE, "gpt-5.5"),
    "azure_endpoint": (BASE, "{endpoint}/proxy"),
    "api_key": (BASE, "sk-other"),
    "api_version": (BASE, "2024-10-21"),
    "api": (BASE, "responses"),
    "timeout": (BASE, 33.0),
    "max_tokens": (BASE, 77),
    "temperature": (BASE, 0.5),
    "reasoning_model": ({"model": "gpt-5.5", "api": "responses"}, False),
    "reasoning_effort": (REASONING, "low"),
    "verbosity": (BASE, "low"),
    "parallel_tool_calls": (BASE, False),
    "prompt_cache_key": (BASE, "k"),
    "include_usage": (BASE, False),
    "extra_headers": (BASE, {"x-extra": "1"}),
    "extra_body": (BASE, {"seed": 1}),
}
SEEN_OTHERWISE = {"vision"}


def make(simulator: AzureSimulator, **fields: Any) -> AzureAIProvider:
    given = {"azure_endpoint": simulator.base_url, "api_key": simulator.api_key, **BASE, **fields}
    return AzureAIProvider(AzureAIConfig.model_validate(given))


async def recorded(simulator: AzureSimulator, provider: AzureAIProvider) -> tuple[object, ...]:
    simulator.reply("Hi")
    try:
        async for _ in provider.generate_structured_stream(CONTEXT):
            pass
    except ProviderError:
        simulator._script.clear()  # the request was refused, and is recorded all the same
    await provider.close()
    request = simulator.requests[-1]
    headers = {
        name: value for name, value in request.headers.items() if name not in ("host", "content-length")
    }
    return request.path, dict(request.query), headers, request.body


def test_every_field_is_changed() -> None:
    """A new setting is not forgotten here."""
    assert set(AzureAIConfig.model_fields) == set(CHANGES) | SEEN_OTHERWISE


@pytest.mark.parametrize("field", CHANGES)
async def test_every_setting_reaches_the_wire(field: str) -> None:
    base, value = CHANGES[field]
    async with AzureSimulator(models=MODELS) as simulator:
        if isinstance(value, str):
            value = value.replace("{endpoint}", simulator.base_url)
        one = await recorded(simulator, make(simulator, **base))
        other = await recorded(simulator, make(simulator, **{**base, field: value}))
        assert one != other


async def test_the_v1_api_has_no_version() -> None:
    async with AzureSimulator() as simulator:
        path, query, _, _ = await recorded(simulator, make(simulator))
        assert (path, query) == ("/openai/v1/chat/completions", {})


async def test_a_dated_version_has_the_deployment_in_its_path() -> None:
    """The key goes in Azure's own header there."""
    async with AzureSimulator() as simulator:
        path, query, headers, _ = await recorded(simulator, make(simulator, api_version="2024-10-21"))
        assert path == "/openai/deployments/gpt-4.1/chat/completions"
        assert query == {"api-version": "2024-10-21"}
        assert isinstance(headers, dict)
        assert headers["api-key"] == simulator.api_key


@pytest.mark.parametrize("version", [None, "2024-10-21"])
async def test_each_request_is_signed_with_a_fresh_token(version: str | None) -> None:
    """The token provider is asked again for each request; no key is looked for."""
    async with AzureSimulator() as simulator:
        tokens = iter(["entra-1", simulator.token])

        async def token() -> str:
            return next(tokens)

        config = AzureAIConfig(azure_endpoint=simulator.base_url, api_version=version, **BASE)
        provider = AzureAIProvider(config, token_provider=token)
        with pytest.raises(ProviderError, match="Access denied") as caught:
            await provider.generate(CONTEXT)
        assert caught.value.error_code is ErrorCode.AUTH
        simulator.reply("Hello!")
        assert (await provider.generate(CONTEXT)).content == "Hello!"
        await provider.close()
        signed = [request.headers["authorization"] for request in simulator.requests]
        assert signed == ["Bearer entra-1", f"Bearer {simulator.token}"]


async def test_a_failing_token_provider_is_a_typed_error() -> None:
    async def token() -> str:
        raise LookupError("no identity")

    config = AzureAIConfig(azure_endpoint="http://127.0.0.1:9", **BASE)
    provider = AzureAIProvider(config, token_provider=token)
    with pytest.raises(
        ProviderError, match=r"token_provider of AzureAIProvider failed \(LookupError\)"
    ) as caught:
        await provider.generate(CONTEXT)
    assert caught.value.error_code is ErrorCode.AUTH
    await provider.close()


async def test_the_environment_has_the_resource_and_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AzureSimulator() as simulator:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{simulator.base_url}/")
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", simulator.api_key)
        provider = AzureAIProvider(AzureAIConfig(**BASE))
        simulator.reply("Hello!")
        assert (await provider.generate(CONTEXT)).content == "Hello!"
        await provider.close()


async def test_a_missing_key_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    provider = AzureAIProvider(AzureAIConfig(azure_endpoint="http://127.0.0.1:9", **BASE))
    with pytest.raises(ProviderError, match="set AZURE_OPENAI_API_KEY") as caught:
        await provider.generate(CONTEXT)
    assert caught.value.error_code is ErrorCode.AUTH


def test_a_missing_resource_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    with pytest.raises(ValidationError, match="set azure_endpoint, or AZURE_OPENAI_ENDPOINT"):
        AzureAIConfig(**BASE)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": ""}, "model"),
        ({"azure_endpoint": "https://ann:SECRET@host"}, "base_url holds a user name"),
        ({"api_version": "latest"}, "api_version"),
        ({"model": "gpt-5.5", "temperature": 0.5}, "takes no temperature"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    given = {"azure_endpoint": "https://acme.openai.azure.com", **BASE, **fields}
    with pytest.raises(ValidationError, match=said) as caught:
        AzureAIConfig.model_validate(given)
    assert "SECRET" not in str(caught.value)


def test_one_way_to_sign_is_enough() -> None:
    async def token() -> str:
        return "t"

    config = AzureAIConfig(azure_endpoint="https://host", api_key=SecretStr("sk-1"), **BASE)
    with pytest.raises(ValueError, match="pass one of them"):
        AzureAIProvider(config, token_provider=token)
    assert "sk-1" not in f"{config!r} {config.model_dump()}"
