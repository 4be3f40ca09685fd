"""The settings: what is refused, what comes from the environment, and whose files get the token."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from roomkit_plugins.whatsapp import WhatsAppCloudConfig, WhatsAppCloudProvider

GIVEN: dict[str, Any] = {"access_token": "t", "phone_number_id": "106540352242922"}


@pytest.mark.parametrize(
    "fields",
    [
        {"access_token": ""},
        {"access_token": "a b"},
        {"app_secret": ""},
        {"phone_number_id": "+14375550999"},
        {"api_version": "25"},
        {"base_url": "http://graph.facebook.com"},
        {"timeout": 0},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        WhatsAppCloudConfig(**{**GIVEN, **fields})


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_TOKEN", "APP_SECRET", "VERIFY_TOKEN"):
        monkeypatch.setenv(f"WHATSAPP_{name}", f"canary-{name}")
    config = WhatsAppCloudConfig(phone_number_id="1")
    assert set(config.secrets) == {"canary-ACCESS_TOKEN", "canary-APP_SECRET", "canary-VERIFY_TOKEN"}
    assert "canary" not in repr(config)
    monkeypatch.delenv("WHATSAPP_APP_SECRET")
    assert WhatsAppCloudConfig(phone_number_id="1").app_secret is None


@pytest.mark.parametrize(
    ("url", "is_metas"),
    [
        ("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1", True),
        ("https://scontent.xx.fbcdn.net/v/a.jpg", True),
        ("https://graph.facebook.com/v25.0/1", True),
        ("https://mmg.whatsapp.net/a", True),
        ("https://fbsbx.com.evil.example/x", False),
        ("https://evilfbsbx.com/x", False),
        ("https://evil.example/https://lookaside.fbsbx.com/x", False),
        ("https://lookaside.fbsbx.com@evil.example/x", False),
        ("http://lookaside.fbsbx.com/x", False),
        ("https://lookaside.fbsbx.com:8443/x", False),
        ("https://graph.facebook.com.evil.example/x", False),
        ("//lookaside.fbsbx.com/x", False),
        ("https://[", False),
        ("https://lookaside.fbsbx.com:x/", False),
    ],
)
def test_the_token_is_for_metas_hosts_alone(url: str, is_metas: bool) -> None:
    """A webhook can name any URL: another host, port or scheme gets none."""
    provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**GIVEN))
    assert provider.file_headers(url) == ({"Authorization": "Bearer t"} if is_metas else {})


async def test_only_a_file_of_whatsapp_is_asked_for() -> None:
    provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**GIVEN))
    assert await provider.locate_file("https://files.example.org/a.png") is None
    assert await provider.locate_file("https://graph.facebook.com.evil.example/v25.0/1") is None
