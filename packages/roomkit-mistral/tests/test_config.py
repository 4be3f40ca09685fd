"""Settings: wrong ones are refused at construction, and secrets do not show."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from roomkit_plugins.mistral import MistralConfig

BASE: dict[str, Any] = {"model": "mistral-large-latest"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"modle": "x"}, "modle"),
        ({"model": ""}, "model"),
        ({"temperature": 1.6}, "temperature"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"timeout": 0}, "timeout"),
        ({"api_key": SecretStr("a b")}, "spaces or line breaks"),
        ({"base_url": "http://ann:SECRET@host"}, "base_url holds a user name"),
        ({"extra_headers": {"x-auth-token": "SECRET"}}, "secret by its name"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    """A configuration that could only fail later fails now, and shows no secret."""
    with pytest.raises(ValidationError, match=said) as caught:
        MistralConfig(**{**BASE, **fields})
    assert "SECRET" not in str(caught.value)


def test_the_key_does_not_show() -> None:
    """Neither in the configuration nor in a dump of it."""
    config = MistralConfig(**BASE, api_key=SecretStr("sk-canary"))
    assert "sk-canary" not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
