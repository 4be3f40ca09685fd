"""Which VoiceMeUp account to send by, and how its requests are recognised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from roomkit_plugins.wire.connection import check_key, check_secure_url
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["VoiceMeUpConfig"]

_HOSTS: Mapping[str, str] = {
    "production": "https://clients.voicemeup.com",
    "sandbox": "https://dev-clients.voicemeup.com",
}


class VoiceMeUpConfig(VendorConfig):
    """The settings of `VoiceMeUpSMSProvider`."""

    username: str = Field(
        default_factory=lambda: os.environ.get("VOICEMEUP_USERNAME", ""), min_length=1, max_length=200
    )
    """The user with API access. `VOICEMEUP_USERNAME` without it."""
    auth_token: SecretStr = Field(
        default_factory=lambda: SecretStr(os.environ.get("VOICEMEUP_AUTH_TOKEN", ""))
    )
    """The user's auth token. `VOICEMEUP_AUTH_TOKEN` without it."""
    from_number: str | None = Field(default=None, min_length=1, max_length=40)
    """The number to send from where the message and the channel name none."""
    webhook_token: SecretStr | None = None
    """The `token` in the callback URL's query: VoiceMeUp signs nothing. Without it no callback is taken."""
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """The networks that callbacks come from, such as `203.0.113.0/24`; empty for any."""
    mms_timeout: float = Field(default=5.0, gt=0, le=300)
    """Seconds that the words of an MMS wait for its file."""
    mms_quiet: float = Field(default=1.0, gt=0, le=60)
    """Seconds after a file of an MMS in which its words and further files are waited for."""
    environment: Literal["production", "sandbox"] = "production"
    """Which of VoiceMeUp's systems."""
    base_url: str | None = None
    """Where the API is, in place of the environment's host: a simulator, say."""

    _check_token = field_validator("auth_token", "webhook_token")(check_key)
    _check_url = field_validator("base_url")(check_secure_url)

    @property
    def api_url(self) -> str:
        """The URL that messages are posted to."""
        base = self.base_url or _HOSTS[self.environment]
        return f"{base.rstrip('/')}/api/v1.1/json/queue_sms"
