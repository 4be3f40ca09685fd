"""The provider beside its contract: what it says once, what it needs, what it leaves alone."""

from __future__ import annotations

import logging
import subprocess
import sys

import httpx2
import pytest
from pydantic import SecretStr

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIContext, AIMessage
from roomkit_plugins.openai import OpenAIAIProvider, OpenAIConfig, VLLMConfig, create_vllm_provider
from roomkit_plugins.testing.contracts.ai_provider import listen, response_of
from roomkit_plugins.testing.simulators import OpenAISimulator, ScriptedThinking, VLLMSimulator

HELLO = [AIMessage(role="user", content="Hello")]


async def test_a_left_out_parameter_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning for all requests that carry it."""
    caplog.set_level(logging.WARNING)
    async with OpenAISimulator() as simulator:
        config = OpenAIConfig(
            model="gpt-5.5", api_key=SecretStr(simulator.api_key), base_url=simulator.base_url
        )
        provider = OpenAIAIProvider(config)
        for _ in range(3):
            simulator.reply("Hi")
            await provider.generate(AIContext(messages=HELLO, temperature=0.2))
        await provider.close()
    assert [record.getMessage() for record in caplog.records] == [
        "gpt-5.5 takes no temperature: it is left out of this request and all later ones"
    ]


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


async def test_a_missing_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the distribution."""
    monkeypatch.setitem(sys.modules, "openai", None)
    provider = OpenAIAIProvider(OpenAIConfig(model="gpt-5.5"))
    with pytest.raises(ImportError, match="pip install roomkit-openai"):
        await provider.generate(AIContext(messages=HELLO))


def test_the_sdk_is_imported_at_first_use_only() -> None:
    """Neither the plugin, nor the class, nor an object of it imports the SDK."""
    code = (
        "import sys, roomkit_plugins.openai.plugin\n"
        "assert 'pydantic' not in sys.modules\n"
        "from roomkit_plugins.openai import VLLMConfig, create_vllm_provider\n"
        "create_vllm_provider(VLLMConfig(model='m'))\n"
        "assert not {'openai', 'httpx2'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
