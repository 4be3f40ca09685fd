"""Configuration: every setting reaches the wire or is refused, and no secret shows."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIImagePart, AIMessage, AITextPart, AIThinkingPart, AITool
from roomkit.models.generation import AIContext
from roomkit_plugins.openai import (
    OpenAIAIProvider,
    OpenAIConfig,
    VLLMConfig,
    create_vllm_provider,
)
from roomkit_plugins.testing.simulators import OpenAISimulator, VLLMSimulator

MODELS = ("gpt-5.5", "gpt-4.1")
CHAT: dict[str, Any] = {"model": "gpt-4.1", "api": "chat"}
REASONING: dict[str, Any] = {"model": "gpt-5.5", "api": "responses"}

# A change of each field, and what else must be set for it to mean something.
CHANGES: dict[str, list[tuple[dict[str, Any], object]]] = {
    "model": [(CHAT, "gpt-5.5"), (REASONING, "gpt-4.1")],
    "api_key": [(CHAT, "sk-other")],
    "base_url": [(CHAT, "{base_url}/proxy")],
    "api": [(CHAT, "responses")],
    "organization": [(CHAT, "org-1"), (REASONING, "org-1")],
    "project": [(CHAT, "proj-1")],
    "timeout": [(CHAT, 33.0)],
    "max_tokens": [(CHAT, 77), (REASONING, 77)],
    "max_tokens_field": [({**CHAT, "max_tokens": 77}, "max_completion_tokens")],
    "temperature": [(CHAT, 0.5), ({**REASONING, "model": "gpt-4.1"}, 0.5)],
    "reasoning_model": [({**REASONING, "model": "gpt-4.1"}, True)],
    "reasoning_effort": [({**CHAT, "model": "gpt-5.5"}, "low"), (REASONING, "low")],
    "reasoning_summary": [(REASONING, "auto")],
    "reasoning_field": [(CHAT, "reasoning")],
    "think_tags": [(CHAT, "inline")],
    "verbosity": [(CHAT, "low"), (REASONING, "low")],
    "parallel_tool_calls": [(CHAT, False), (REASONING, False)],
    "service_tier": [(CHAT, "flex"), (REASONING, "flex")],
    "safety_identifier": [(CHAT, "u-1"), (REASONING, "u-1")],
    "prompt_cache_key": [(CHAT, "k"), (REASONING, "k")],
    "store": [(CHAT, True), (REASONING, True)],
    "include_usage": [(CHAT, False)],
    "extra_headers": [(CHAT, {"x-extra": "1"})],
    "extra_body": [(CHAT, {"seed": 1}), (REASONING, {"truncation": "auto"})],
}
SEEN_OTHERWISE = {"vision"}

CONTEXT = AIContext(
    messages=[
        AIMessage(role="user", content="Hi"),
        AIMessage(role="assistant", content=(AIThinkingPart(thinking="Hm."), AITextPart(text="Hello"))),
        AIMessage(role="user", content="Well?"),
    ],
    tools=[AITool(name="now")],
)


async def recorded(
    simulator: OpenAISimulator, provider: OpenAIAIProvider
) -> tuple[str, dict[str, str], bytes]:
    """Ask for a stream, and return the requests on the wire."""
    simulator.reply("Hi")
    try:
        async for _ in provider.generate_structured_stream(CONTEXT):
            pass
    except ProviderError:
        simulator._script.clear()  # the request was refused, and is recorded all the same
    await provider.close()
    request = simulator.requests[-1]
    noise = {"host", "content-length"}
    headers = {name: value for name, value in request.headers.items() if name not in noise}
    return request.path, headers, request.body


def test_every_field_is_changed() -> None:
    """A new setting is not forgotten here."""
    assert set(OpenAIConfig.model_fields) == set(CHANGES) | SEEN_OTHERWISE


@pytest.mark.parametrize(
    ("field", "base", "value"),
    [(field, base, value) for field, changes in CHANGES.items() for base, value in changes],
)
async def test_every_setting_reaches_the_wire(field: str, base: dict[str, Any], value: object) -> None:
    """Changing a setting changes the bytes of the request."""
    async with OpenAISimulator(models=MODELS) as simulator:
        if isinstance(value, str):
            value = value.replace("{base_url}", simulator.base_url)
        given = {"api_key": simulator.api_key, "base_url": simulator.base_url, **base}
        one = OpenAIAIProvider(OpenAIConfig.model_validate(given))
        other = OpenAIAIProvider(OpenAIConfig.model_validate({**given, field: value}))
        assert await recorded(simulator, one) != await recorded(simulator, other)


VLLM_CHANGES: dict[str, object] = {
    "model": "other",
    "base_url": "{base_url}/proxy",
    "api_key": "sk-other",
    "timeout": 33.0,
    "max_tokens": 77,
    "temperature": 0.5,
    "enable_thinking": True,
    "think_tags": "prefilled",
    "reasoning_field": "reasoning_content",
    "include_usage": False,
    "extra_body": {"top_k": 5},
}


def test_every_field_of_vllm_is_changed() -> None:
    """A new setting is not forgotten here."""
    assert set(VLLMConfig.model_fields) == set(VLLM_CHANGES) | SEEN_OTHERWISE


@pytest.mark.parametrize("field", VLLM_CHANGES)
async def test_every_setting_of_vllm_reaches_the_wire(field: str) -> None:
    """Changing a setting changes the bytes of the request."""
    value = VLLM_CHANGES[field]
    async with VLLMSimulator() as simulator:
        if isinstance(value, str):
            value = value.replace("{base_url}", simulator.base_url)
        given = {"model": simulator.models[0], "base_url": simulator.base_url}
        one = create_vllm_provider(VLLMConfig.model_validate(given))
        other = create_vllm_provider(VLLMConfig.model_validate({**given, field: value}))
        assert await recorded(simulator, one) != await recorded(simulator, other)


@pytest.mark.parametrize("vision", [True, False])
async def test_vision_decides_on_images(vision: bool) -> None:
    """With vision an image is sent, without it is refused; it is never left out."""
    image = AIImagePart(url="https://example.com/a.png")
    context = AIContext(messages=[AIMessage(role="user", content=(image,))])
    async with VLLMSimulator(allow_unused=True) as simulator:
        simulator.reply("A cat.")
        config = VLLMConfig(model=simulator.models[0], base_url=simulator.base_url, vision=vision)
        provider = create_vllm_provider(config)
        assert provider.supports_vision is vision
        if vision:
            await provider.generate(context)
            assert image.url.encode() in simulator.requests[0].body
        else:
            with pytest.raises(ProviderError) as caught:
                await provider.generate(context)
            assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT
        await provider.close()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"modle": "x"}, "modle"),
        ({"temperature": 0.5}, "takes no temperature"),
        ({"think_tags": "inline"}, "think_tags belongs to the chat API"),
        ({"reasoning_field": "reasoning"}, "reasoning_field belongs to the chat API"),
        ({"include_usage": False}, "include_usage belongs to the chat API"),
        ({"max_tokens_field": "max_tokens"}, "max_tokens_field belongs to the chat API"),
        ({"api": "chat", "reasoning_summary": "auto"}, "belongs to the Responses API"),
        ({"api": "chat", "think_tags": "inline", "reasoning_field": "reasoning"}, "set one"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": ""}, "model"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    """A configuration that could only fail later fails now, and says what to do."""
    with pytest.raises(ValidationError, match=said):
        OpenAIConfig.model_validate({"model": "gpt-5.5", "base_url": None, **fields})


@pytest.mark.parametrize("key", ["", "sk x", "sk-x\n"])
def test_a_key_with_a_line_break_is_refused_and_not_shown(key: str) -> None:
    """A key read from a file with its line break is the user's slip, and still a secret."""
    with pytest.raises(ValidationError, match="spaces or line breaks") as caught:
        OpenAIConfig(model="m", api_key=SecretStr(key))
    assert not key or key not in str(caught.value)


def test_the_key_does_not_show() -> None:
    """Neither the configuration nor its dump shows the key."""
    key = SecretStr("sk-canary")
    for config in (OpenAIConfig(model="m", api_key=key), VLLMConfig(model="m", api_key=key)):
        shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
        assert "sk-canary" not in shown


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OPENAI_BASE_URL` is the server, and decides on the API spoken."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    assert OpenAIConfig(model="m").spoken_api == "chat"


def test_a_base_url_with_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would show in logs; the error does not repeat it."""
    with pytest.raises(ValidationError, match="base_url holds a user name") as caught:
        OpenAIConfig(model="m", base_url="http://ann:SECRET@host/v1")
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ValidationError, match="base_url holds a user name") as also:
        VLLMConfig(model="m", base_url="http://ann:SECRET@host/v1")
    assert "SECRET" not in str(also.value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://ann:SECRET@host/v1")
    with pytest.raises(ValidationError, match="base_url holds a user name"):
        OpenAIConfig(model="m")


async def test_a_secret_header_is_sent_and_does_not_show() -> None:
    """Given as a secret; in plain text it is refused."""
    with pytest.raises(ValidationError, match="'cf-aig-authorization' is a secret by its name") as caught:
        OpenAIConfig(model="gpt-4.1", extra_headers={"cf-aig-authorization": "SECRET"})
    assert "SECRET" not in str(caught.value)
    async with OpenAISimulator() as simulator:
        config = OpenAIConfig(
            model="gpt-4.1",
            api_key=SecretStr(simulator.api_key),
            base_url=simulator.base_url,
            extra_headers={"cf-aig-authorization": SecretStr("SECRET")},
        )
        assert "SECRET" not in repr(config)
        simulator.reply("Hi")
        provider = OpenAIAIProvider(config)
        await provider.generate(CONTEXT)
        await provider.close()
        assert simulator.requests[0].headers["cf-aig-authorization"] == "SECRET"
