"""The provider beside its contract: what it says once, what it needs, what it leaves alone."""

from __future__ import annotations

import traceback

import httpx2
import pytest
from pydantic import SecretStr

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIMessage
from roomkit.models.generation import AIContext
from roomkit_plugins.mistral import MistralAIProvider, MistralConfig
from roomkit_plugins.testing.simulators import Failure, MistralSimulator

HELLO = [AIMessage(role="user", content="Hello")]


async def test_without_a_key_it_says_where_to_put_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent."""
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    provider = MistralAIProvider(MistralConfig(model="mistral-large-latest"))
    with pytest.raises(ProviderError, match="set MISTRAL_API_KEY") as caught:
        await provider.generate(AIContext(messages=HELLO))
    assert caught.value.error_code is ErrorCode.AUTH


async def test_a_key_from_the_environment_is_used_and_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the vendor repeats it in an error."""
    async with MistralSimulator() as simulator:
        monkeypatch.setenv("MISTRAL_API_KEY", simulator.api_key)
        simulator.reply("Hi")
        simulator.reply(fault=Failure(403, {"message": f"bad key {simulator.api_key}"}))
        config = MistralConfig(model=simulator.models[0], base_url=simulator.base_url)
        provider = MistralAIProvider(config)
        assert (await provider.generate(AIContext(messages=HELLO))).content == "Hi"
        with pytest.raises(ProviderError) as caught:
            await provider.generate(AIContext(messages=HELLO))
        await provider.close()
    told = "".join(traceback.format_exception(caught.value))
    assert "bad key ***" in told
    assert simulator.api_key not in told


async def test_a_client_of_the_user_stays_the_users() -> None:
    """An injected HTTP client is used with its own headers, and not closed."""
    seen: list[str] = []

    async def note(request: httpx2.Request) -> None:
        seen.append(f"{request.url.path} {request.headers['x-mine']} {request.headers['x-theirs']}")

    async with MistralSimulator() as simulator, httpx2.AsyncClient(headers={"x-mine": "1"}) as client:
        client.event_hooks = {"request": [note]}
        simulator.reply("Hi")
        config = MistralConfig(
            model=simulator.models[0],
            api_key=SecretStr(simulator.api_key),
            base_url=simulator.base_url,
            extra_headers={"x-theirs": SecretStr("2")},
        )
        provider = MistralAIProvider(config, http_client=client)
        await provider.generate(AIContext(messages=HELLO))
        await provider.close()
        assert not client.is_closed
    assert seen == ["/v1/chat/completions 1 2"]
