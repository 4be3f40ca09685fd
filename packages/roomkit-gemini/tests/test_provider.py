"""The provider beside its contract: what it says once, what it needs, what it leaves alone."""

from __future__ import annotations

import traceback

import httpx2
import pytest
from pydantic import SecretStr

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIMessage, AITool
from roomkit.models.generation import AIContext
from roomkit_plugins.gemini import GeminiAIProvider, GeminiConfig
from roomkit_plugins.testing.contracts.ai.asking import answered
from roomkit_plugins.testing.simulators import Failure, GeminiSimulator, ScriptedThinking, ScriptedToolCall

HELLO = [AIMessage(role="user", content="Hello")]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def make(simulator: GeminiSimulator, **fields: object) -> GeminiAIProvider:
    base = {"model": simulator.models[0], "api_key": simulator.api_key, "base_url": simulator.base_url}
    return GeminiAIProvider(GeminiConfig.model_validate({**base, **fields}))


async def test_without_a_key_it_says_where_to_put_one() -> None:
    provider = GeminiAIProvider(GeminiConfig(model="gemini-3.8-flash"))
    with pytest.raises(ProviderError, match="set GEMINI_API_KEY") as caught:
        await provider.generate(AIContext(messages=HELLO))
    assert caught.value.error_code is ErrorCode.AUTH


async def test_an_address_from_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would show in logs, as one in the configuration would."""
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://ann:SECRET@host")
    provider = GeminiAIProvider(GeminiConfig(model="m", api_key=SecretStr("sk-simulated")))
    with pytest.raises(ProviderError, match="GOOGLE_GEMINI_BASE_URL: base_url holds a user name") as caught:
        await provider.generate(AIContext(messages=HELLO))
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("variable", ["GOOGLE_API_KEY", "GEMINI_API_KEY"])
async def test_a_key_from_the_environment_is_used_and_does_not_show(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """No variable sends it to another cloud, and a vendor that echoes it does not show it."""
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    async with GeminiSimulator() as simulator:
        monkeypatch.setenv(variable, simulator.api_key)
        simulator.reply("Hi")
        message = {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": simulator.api_key}}
        simulator.reply(fault=Failure(403, message))
        provider = make(simulator, api_key=None)
        assert (await provider.generate(AIContext(messages=HELLO))).content == "Hi"
        with pytest.raises(ProviderError) as caught:
            await provider.generate(AIContext(messages=HELLO))
        await provider.close()
    told = "".join(traceback.format_exception(caught.value))
    assert "PERMISSION_DENIED): ***" in told
    assert simulator.api_key not in told


async def test_a_client_of_the_user_stays_the_users() -> None:
    """An injected HTTP client is used with its own headers, and not closed."""
    seen: list[str] = []

    async def note(request: httpx2.Request) -> None:
        seen.append(f"{request.url.path} {request.headers['x-mine']} {request.headers['x-theirs']}")

    async with GeminiSimulator() as simulator, httpx2.AsyncClient(headers={"x-mine": "1"}) as client:
        client.event_hooks = {"request": [note]}
        simulator.reply("Hi")
        config = GeminiConfig(
            model="gemini-3.8-flash",
            api_key=SecretStr(simulator.api_key),
            base_url=simulator.base_url,
            extra_headers={"x-theirs": SecretStr("2")},
        )
        provider = GeminiAIProvider(config, http_client=client)
        await provider.generate(AIContext(messages=HELLO))
        await provider.close()
        assert not client.is_closed
    assert seen == ["/v1beta/models/gemini-3.8-flash:streamGenerateContent 1 2"]


async def test_settings_without_a_field_go_out_as_they_are() -> None:
    async with GeminiSimulator() as simulator:
        simulator.reply("Hi")
        provider = make(simulator, extra_body={"labels": {"team": "a"}})
        await provider.generate(AIContext(messages=HELLO))
        await provider.close()
        assert simulator.requests[0].json()["labels"] == {"team": "a"}


async def test_what_the_sdk_refuses_is_a_typed_error() -> None:
    """Nothing is sent, and its own error does not come through."""
    async with GeminiSimulator() as simulator:
        provider = make(simulator, api_key="auth_tokens/of-the-live-api")
        with pytest.raises(ProviderError, match="the Gemini SDK refuses") as caught:
            await provider.generate(AIContext(messages=HELLO))
        await provider.close()
        assert (caught.value.error_code, simulator.requests) == (ErrorCode.INVALID_REQUEST, [])


async def test_a_tool_loop_keeps_every_signature() -> None:
    """Three rounds of one turn: the vendor finds each call signed as it was given out."""
    async with GeminiSimulator() as simulator:
        context = AIContext(messages=list(HELLO), tools=[AITool(name="now")])
        provider = make(simulator, include_thoughts=True)
        for round_ in range(3):
            calls = [ScriptedToolCall("now"), ScriptedToolCall("now", {"zone": "CET"})]
            simulator.reply("Let me look.", tool_calls=calls, thinking=[ScriptedThinking(f"Round {round_}")])
            context.messages += answered(await provider.generate(context), "12:00")
        simulator.reply("Noon.")
        assert (await provider.generate(context)).content == "Noon."
        await provider.close()
        parts = [part for each in simulator.requests[-1].json()["contents"] for part in each["parts"]]
    assert len([part for part in parts if "thoughtSignature" in part]) == 3
