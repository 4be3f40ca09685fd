"""Settings: wrong ones are refused at construction, and secrets do not show."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from roomkit_plugins.twilio import TwilioConfig

BASE: dict[str, Any] = {"account_sid": "AC" + "0" * 32, "auth_token": "SECRET-canary"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"from_numbr": "+1"}, "from_numbr"),
        ({"account_sid": "AC1"}, "TWILIO_ACCOUNT_SID"),
        ({"auth_token": ""}, "TWILIO_AUTH_TOKEN"),
        ({"auth_token": "SECRET "}, "spaces around it"),
        ({"messaging_service_sid": "AC" + "0" * 32}, "messaging_service_sid: it is MG"),
        ({"api_key_sid": "SK" + "0" * 32}, "both api_key_sid and api_key_secret"),
        ({"base_url": "http://api.twilio.com"}, "https"),
        ({"base_url": "https://ann:SECRET@host"}, "user name"),
        ({"public_url": "chat.example.org"}, "has no host"),
        ({"status_callback_url": "ftp://host/x"}, "has no host, or is not of https"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    """A configuration that could only fail later fails now, and shows no secret."""
    with pytest.raises(ValidationError, match=said) as caught:
        TwilioConfig(**{**BASE, **fields})
    assert "SECRET" not in str(caught.value)


def test_the_account_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is given; without either it is said what to set."""
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "1" * 32)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "token")
    assert TwilioConfig().credentials == ("AC" + "1" * 32, "token")
    assert TwilioConfig(**BASE).account_sid == BASE["account_sid"]
    monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    with pytest.raises(ValidationError, match="TWILIO_AUTH_TOKEN"):
        TwilioConfig()


def test_an_api_key_sends_in_place_of_the_token() -> None:
    config = TwilioConfig(**BASE, api_key_sid="SK" + "0" * 32, api_key_secret=SecretStr("key"))
    assert config.credentials == ("SK" + "0" * 32, "key")
    assert config.api_url == f"https://api.twilio.com/2010-04-01/Accounts/{config.account_sid}/Messages.json"


def test_secrets_do_not_show() -> None:
    """Neither in the configuration nor in a dump of it."""
    config = TwilioConfig(
        **BASE, api_key_sid="SK" + "0" * 32, api_key_secret="SECRET-key", webhook_keys={"K1": "SECRET-shared"}
    )
    shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
    assert "SECRET" not in shown
    assert config.secrets == ("SECRET-canary", "SECRET-key", "SECRET-shared")
