"""The provider beside its contract: what it says once, what it needs, what it leaves alone."""

from __future__ import annotations

import httpx2
import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIMessage
from roomkit.models.generation import AIContext
from roomkit_plugins.openai import OpenAIAIProvider, OpenAIConfig, VLLMConfig, create_vllm_provider
from roomkit_plugins.testing.contracts.ai_provider import listen, response_of
from roomkit_plugins.testing.simulators import ScriptedThinking, VLLMSimulator

HELLO = [AIMessage(role="user", content="Hello")]


async def test_without_a_key_it_says_where_to_put_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key is an `auth` error before anything is sent."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    provider = OpenAIAIProvider(OpenAIConfig(model="gpt-5.5"))
    with pytest.raises(ProviderError, match="set OPENAI_API_KEY") as caught:
        await provider.generate(AIContext(messages=HELLO))
    assert caught.value.error_code is ErrorCode.AUTH


async def test_a_client_of_the_user_stays_the_users() -> None:
    """An injected HTTP client is used, and not closed."""
    seen: list[str] = []

    async def note(request: httpx2.Request) -> None:
        seen.append(request.url.path)

    async with VLLMSimulator() as simulator, httpx2.AsyncClient() as client:
        client.event_hooks = {"request": [note]}
        simulator.reply("Hi")
        config = VLLMConfig(model=simulator.models[0], base_url=simulator.base_url)
        provider = create_vllm_provider(config, http_client=client)
        await provider.generate(AIContext(messages=HELLO))
        await provider.close()
        assert not client.is_closed
    assert seen == ["/v1/chat/completions"]


async def test_vllm_reasons_in_its_own_field() -> None:
    """What the server's reasoning parser found is thinking, whole and streamed, under its own name."""
    async with VLLMSimulator() as simulator:
        config = VLLMConfig(model=simulator.models[0], base_url=simulator.base_url)
        provider = create_vllm_provider(config)
        assert provider.name == "vllm"
        for _ in range(2):
            simulator.reply("Yes.", thinking=[ScriptedThinking("Hm.")])
        whole = await provider.generate(AIContext(messages=HELLO))
        streamed = response_of(await listen(provider, AIContext(messages=HELLO)))
        simulator.fail(ErrorCode.SERVER)
        with pytest.raises(ProviderError) as caught:
            await provider.generate(AIContext(messages=HELLO))
        await provider.close()
    assert (whole.thinking, whole.content) == ("Hm.", "Yes.")
    assert (streamed.thinking, streamed.content) == ("Hm.", "Yes.")
    assert caught.value.provider == "vllm"
