"""Configuration: every setting reaches the wire or is refused, and no secret shows."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import AIImagePart, AIMessage, AITool
from roomkit.models.generation import AIContext
from roomkit_plugins.anthropic import AnthropicAIProvider, AnthropicConfig
from roomkit_plugins.testing.simulators import AnthropicSimulator

MODELS = ("claude-sonnet-5-5", "claude-haiku-4-5")
BASE: dict[str, Any] = {"model": "claude-sonnet-5-5"}
OLD: dict[str, Any] = {"model": "claude-haiku-4-5", "api_version": "2023-06-01"}

# A change of each field, and what else must be set for it to mean something.
CHANGES: dict[str, tuple[dict[str, Any], object]] = {
    "model": (BASE, "claude-haiku-4-5"),
    "api_key": (BASE, "sk-other"),
    "base_url": (BASE, "{origin}/proxy"),
    "api_version": (BASE, "2023-06-01"),
    "timeout": (BASE, 33.0),
    "max_tokens": (BASE, 77),
    "temperature": (OLD, 0.5),
    "thinking": (BASE, "adaptive"),
    "thinking_budget": (BASE, 2000),
    "thinking_display": ({**BASE, "thinking": "adaptive"}, "summarized"),
    "effort": (BASE, "low"),
    "cache_ttl": (BASE, "1h"),
    "service_tier": (BASE, "standard_only"),
    "user_id": (BASE, "u-1"),
    "parallel_tool_calls": (BASE, False),
    "extra_headers": (BASE, {"x-extra": "1"}),
    "extra_body": (BASE, {"speed": "fast"}),
}
SEEN_OTHERWISE = {"vision"}

CONTEXT = AIContext(messages=[AIMessage(role="user", content="Hi")], tools=[AITool(name="now")])


async def recorded(simulator: AnthropicSimulator, fields: dict[str, Any]) -> object:
    """Ask with a configuration, and return the requests on the wire."""
    provider = AnthropicAIProvider(
        AnthropicConfig(
            **{"api_key": simulator.api_key, "base_url": simulator.base_url, **fields}  # type: ignore[arg-type]
        )
    )
    simulator.reply("Hi")
    try:
        await provider.generate(CONTEXT)
    except ProviderError:
        simulator._script.clear()  # the request was refused, and is recorded all the same
    await provider.close()
    request = simulator.requests[-1]
    noise = {"host", "content-length"}
    headers = {name: value for name, value in request.headers.items() if name not in noise}
    return request.path, headers, request.body


def test_every_field_is_changed() -> None:
    """A new setting is not forgotten here."""
    assert set(AnthropicConfig.model_fields) == set(CHANGES) | SEEN_OTHERWISE


@pytest.mark.parametrize("field", CHANGES)
async def test_every_setting_reaches_the_wire(field: str) -> None:
    """Changing a setting changes the bytes of the request."""
    base, value = CHANGES[field]
    async with AnthropicSimulator(models=MODELS) as simulator:
        if isinstance(value, str):
            value = value.replace("{origin}", simulator.origin)
        before = await recorded(simulator, base)
        after = await recorded(simulator, {**base, field: value})
    assert before != after


async def test_vision_decides_on_images() -> None:
    """Without vision an image is refused, not left out."""
    provider = AnthropicAIProvider(AnthropicConfig(**BASE, vision=False))
    image = AIMessage(role="user", content=(AIImagePart(url="https://example.com/a.png"),))
    assert not provider.supports_vision
    with pytest.raises(ProviderError) as caught:
        await provider.generate(AIContext(messages=[image]))
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"modle": "x"}, "modle"),
        ({"temperature": 0.5}, "not part of API version 2026-10-21"),
        ({"temperature": 0.5, "api_version": "2023-06-01"}, "takes no temperature"),
        ({"thinking": "adaptive", "model": "claude-haiku-4-5"}, "set thinking_budget instead"),
        ({"thinking": "adaptive", "thinking_budget": 2000}, "set one of them"),
        ({"thinking_display": "omitted"}, 'thinking="adaptive"'),
        ({"max_tokens": 0}, "max_tokens"),
        ({"timeout": 0}, "timeout"),
        ({"model": ""}, "model"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    """A configuration that could only fail later fails now, and says what to do."""
    with pytest.raises(ValidationError, match=said):
        AnthropicConfig(**{**BASE, **fields})


@pytest.mark.parametrize("key", ["", "sk ant", "sk-ant\n"])
def test_a_key_with_a_line_break_is_refused_and_not_shown(key: str) -> None:
    """A key read from a file with its line break is the user's slip, and still a secret."""
    with pytest.raises(ValidationError, match="spaces or line breaks") as caught:
        AnthropicConfig(**BASE, api_key=SecretStr(key))
    assert not key or key not in str(caught.value)


def test_the_key_does_not_show() -> None:
    """Neither the configuration nor its dump shows the key."""
    config = AnthropicConfig(**BASE, api_key=SecretStr("sk-canary"))
    assert "sk-canary" not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"


def test_a_base_url_with_a_password_is_refused() -> None:
    """It would show in logs; the error does not repeat it."""
    with pytest.raises(ValidationError, match="base_url holds a user name") as caught:
        AnthropicConfig(model="m", base_url="http://ann:SECRET@host/v1")
    assert "SECRET" not in str(caught.value)


async def test_a_secret_header_is_sent_and_does_not_show() -> None:
    """Given as a secret; in plain text it is refused."""
    with pytest.raises(ValidationError, match="'cf-aig-authorization' is a secret by its name") as caught:
        AnthropicConfig(model="claude-sonnet-5-5", extra_headers={"cf-aig-authorization": "SECRET"})
    assert "SECRET" not in str(caught.value)
    async with AnthropicSimulator() as simulator:
        config = AnthropicConfig(
            model="claude-sonnet-5-5",
            api_key=SecretStr(simulator.api_key),
            base_url=simulator.base_url,
            extra_headers={"cf-aig-authorization": SecretStr("SECRET")},
        )
        assert "SECRET" not in repr(config)
        simulator.reply("Hi")
        provider = AnthropicAIProvider(config)
        await provider.generate(CONTEXT)
        await provider.close()
        assert simulator.requests[0].headers["cf-aig-authorization"] == "SECRET"
