"""Settings: wrong ones are refused at construction, and secrets do not show."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from roomkit_plugins.http import HTTPProviderConfig

BASE: dict[str, Any] = {"webhook_url": "https://system.example/hooks"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"webhook_ulr": "x"}, "webhook_ulr"),
        ({"webhook_url": "system.example"}, "not a plain http:// or https:// URL"),
        ({"webhook_url": "ftp://system.example/"}, "not a plain http:// or https:// URL"),
        ({"webhook_url": "https:///path"}, "cannot be read"),
        ({"webhook_url": "https://ann:SECRET@system.example/"}, "user name"),
        ({"webhook_url": "http://localhost:8000/"}, "allow_private_hosts"),
        ({"webhook_url": "http://LOCALHOST./"}, "allow_private_hosts"),
        ({"webhook_url": "http://127.0.0.1/?key=SECRET"}, "allow_private_hosts"),
        ({"webhook_url": "http://10.0.0.5/SECRET/path"}, "10.0.0.5/'.*allow_private_hosts"),
        ({"webhook_url": "https://ann:SECRET@system.example/SECRET"}, "user name"),
        ({"webhook_url": "system.example/SECRET"}, "not a plain http:// or https:// URL"),
        ({"webhook_url": "https://system.example/SECRET path"}, "not a plain http:// or https:// URL"),
        ({"webhook_url": "SECRET://system.example/SECRET"}, "not a plain http:// or https:// URL"),
        ({"webhook_url": "http://[::ffff:7f00:1]/"}, "allow_private_hosts"),
        ({"webhook_url": "http://0x7f.1/"}, "four decimal numbers"),
        ({"secret": ""}, "secret is empty"),
        ({"secret": "SECRET "}, "spaces around it"),
        ({"previous_secret": "SECRET"}, "needs secret"),
        ({"timeout": 0}, "timeout"),
        ({"tolerance": 7200}, "tolerance"),
        ({"name": "Two Words"}, "name"),
        ({"headers": {"Host": "evil.example"}}, "provider's own"),
        ({"headers": {"x-roomkit-signature": "0"}}, "provider's own"),
        ({"headers": {"X-Team\r\nX-Evil": "a"}}, "provider's own, or is no name"),
        ({"headers": {"X-Team": "a\r\nX-Evil: b"}}, "line break"),
        ({"headers": {"Authorization": "Bearer SECRET"}}, "SecretStr"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    """A configuration that could only fail later fails now, and shows no secret."""
    with pytest.raises(ValidationError, match=said) as caught:
        HTTPProviderConfig(**{**BASE, **fields})
    assert "SECRET" not in str(caught.value)


def test_a_private_host_may_be_allowed() -> None:
    config = HTTPProviderConfig(webhook_url="http://localhost:8000/hooks", allow_private_hosts=True)
    assert config.location.url == "http://localhost:8000/hooks"


def test_secrets_do_not_show() -> None:
    """Neither those that sign, nor a key in the URL or in a header."""
    config = HTTPProviderConfig(
        webhook_url="https://system.example/hooks/CANARY-path?key=CANARY-query",
        secret="CANARY-secret",
        previous_secret="CANARY-previous",
        headers={"Authorization": SecretStr("Bearer CANARY-header"), "X-Team": "blue"},
    )
    assert "CANARY" not in f"{config!r} {config}"
    assert config.secrets == ("CANARY-secret", "CANARY-previous")
