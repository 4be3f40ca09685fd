"""Settings: wrong ones are refused at construction, and secrets do not show."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from roomkit_plugins.gemini import GeminiConfig

BASE: dict[str, Any] = {"model": "gemini-3.8-flash"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"modle": "x"}, "modle"),
        ({"model": ""}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"thinking_level": "low", "thinking_budget": 100}, "set one of them"),
        ({"thinking_level": "low", "model": "gemini-2.5-flash"}, "set thinking_budget instead"),
        ({"cached_content": "mine"}, "cached_content"),
        ({"safety": {"rudeness": "none"}}, "safety"),
        ({"api_version": "v1/../x"}, "api_version"),
        ({"api_key": SecretStr("a b")}, "spaces or line breaks"),
        ({"base_url": "http://ann:SECRET@host"}, "base_url holds a user name"),
        ({"extra_headers": {"x-auth-token": "SECRET"}}, "secret by its name"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    """A configuration that could only fail later fails now, and shows no secret."""
    with pytest.raises(ValidationError, match=said) as caught:
        GeminiConfig(**{**BASE, **fields})
    assert "SECRET" not in str(caught.value)


def test_the_key_does_not_show() -> None:
    config = GeminiConfig(**BASE, api_key=SecretStr("sk-canary"))
    assert "sk-canary" not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
