"""The provider beside its contract: what it says once, what it needs, what it leaves alone."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIMessage
from roomkit.models.generation import AIContext
from roomkit_plugins.anthropic import AnthropicAIProvider, AnthropicConfig
from roomkit_plugins.testing.contracts import ModelProbeContract
from roomkit_plugins.testing.simulators import AnthropicSimulator, Failure, ScriptedThinking

HELLO = [AIMessage(role="user", content="Hello")]


def make(simulator: AnthropicSimulator, **fields: object) -> AnthropicAIProvider:
    return AnthropicAIProvider(
        AnthropicConfig.model_validate(
            {
                "model": "claude-sonnet-5-5",
                "api_key": simulator.api_key,
                "base_url": simulator.base_url,
                **fields,
            }
        )
    )


@pytest.mark.parametrize("profile", [None, "none-such"])
async def test_without_a_key_it_says_where_to_put_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str | None
) -> None:
    """A missing key, or a profile that is none, is an `auth` error before anything is sent."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    if profile:
        monkeypatch.setenv("ANTHROPIC_PROFILE", profile)
    provider = AnthropicAIProvider(AnthropicConfig(model="claude-sonnet-5-5"))
    with pytest.raises(ProviderError, match="set ANTHROPIC_API_KEY") as caught:
        await provider.generate(AIContext(messages=HELLO))
    assert caught.value.error_code is ErrorCode.AUTH


async def test_the_environment_gives_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ANTHROPIC_API_KEY` is used when the configuration has none."""
    async with AnthropicSimulator() as simulator:
        monkeypatch.setenv("ANTHROPIC_API_KEY", simulator.api_key)
        simulator.reply("Hi")
        provider = make(simulator, api_key=None)
        assert (await provider.generate(AIContext(messages=HELLO))).content == "Hi"
        await provider.close()


async def test_a_key_from_the_environment_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor that echoes the key does not make it known, wherever the key came from."""
    async with AnthropicSimulator() as simulator:
        monkeypatch.setenv("ANTHROPIC_API_KEY", simulator.api_key)
        error = {"type": "authentication_error", "message": f"bad key {simulator.api_key}"}
        simulator.reply(fault=Failure(401, {"type": "error", "error": error}))
        provider = make(simulator, api_key=None)
        with pytest.raises(ProviderError) as caught:
            await provider.generate(AIContext(messages=HELLO))
        await provider.close()
    told = "".join(traceback.format_exception(caught.value))
    assert "bad key ***" in told
    assert simulator.api_key not in told


async def test_a_client_of_the_user_stays_the_users() -> None:
    """An injected HTTP client is used, and not closed."""
    seen: list[str] = []

    async def note(request: httpx2.Request) -> None:
        seen.append(request.url.path)

    async with AnthropicSimulator() as simulator, httpx2.AsyncClient() as client:
        client.event_hooks = {"request": [note]}
        simulator.reply("Hi")
        config = AnthropicConfig(
            model="claude-sonnet-5-5",
            api_key=SecretStr(simulator.api_key),
            base_url=simulator.base_url,
        )
        provider = AnthropicAIProvider(config, http_client=client)
        await provider.generate(AIContext(messages=HELLO))
        await provider.close()
        assert not client.is_closed
    assert seen == ["/v1/messages"]


async def test_redacted_thinking_comes_back() -> None:
    """A block without text is kept for replay, whole and streamed."""
    async with AnthropicSimulator() as simulator:
        provider = make(simulator)
        simulator.reply("Hi", thinking=[ScriptedThinking(redacted_data="xyz")])
        response = await provider.generate(AIContext(messages=HELLO))
        await provider.close()
    assert [part.redacted_data for part in response.thinking_parts] == ["xyz"]
    assert response.thinking is None


# -- roomkit check --live -------------------------------------------------------------------------


class TestAnthropicProbe(ModelProbeContract):
    simulator = AnthropicSimulator
    path = "/v1/models/{model}"

    def make(self, **settings: Any) -> AnthropicAIProvider:
        return AnthropicAIProvider(AnthropicConfig.model_validate(settings))
