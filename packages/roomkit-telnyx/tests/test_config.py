"""The settings: what may not stand in them, and where they come from."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from roomkit_plugins.telnyx import TelnyxConfig, TelnyxRCSConfig
from roomkit_plugins.testing.simulators import TelnyxSimulator


def test_the_environment_has_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    key = TelnyxSimulator().public_key
    monkeypatch.setenv("TELNYX_API_KEY", "KEY1")
    monkeypatch.setenv("TELNYX_PUBLIC_KEY", key)
    config = TelnyxConfig(from_number="+14375550999")
    assert (config.api_key.get_secret_value(), config.public_key) == ("KEY1", key)
    assert config.api_url == "https://api.telnyx.com/v2"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"api_key": ""}, "api_key is empty"),
        ({"public_key": "short"}, "not 32 bytes of base64"),
        ({"public_key": "ä"}, "not 32 bytes of base64"),
        ({"base_url": "http://api.telnyx.com"}, "http"),
        ({"webhook_url": "ftp://example.org"}, "https"),
        ({"webhook_failover_url": "https://example.org"}, "needs webhook_url"),
        ({"timeout": 0}, "greater than 0"),
        ({"form_number": "+1"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(fields: dict[str, object], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        TelnyxConfig(**{"api_key": "k", **fields})  # type: ignore[arg-type]


def test_an_agent_needs_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="messaging_profile_id"):
        TelnyxRCSConfig(api_key="k", agent_id="acme")  # type: ignore[call-arg, arg-type]


def test_no_secret_shows_in_the_settings() -> None:
    config = TelnyxConfig(api_key="canary-key")  # type: ignore[arg-type]
    assert "canary-key" not in repr(config)
