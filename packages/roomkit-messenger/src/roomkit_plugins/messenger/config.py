"""Which Facebook page to write by, and how its webhooks are recognised."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from roomkit_plugins.wire.connection import check_key, check_secure_url
from roomkit_plugins.wire.graph import GRAPH
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["MessengerChannelConfig", "MessengerConfig"]


def _secret(variable: str) -> Any:
    """Return the field of a secret that the environment may hold."""

    def read() -> SecretStr | None:
        value = os.environ.get(variable)
        return SecretStr(value) if value else None

    return Field(default_factory=read)


class MessengerConfig(VendorConfig):
    """The settings of `FacebookMessengerProvider`."""

    page_access_token: SecretStr = Field(
        default_factory=lambda: SecretStr(os.environ.get("MESSENGER_PAGE_ACCESS_TOKEN", ""))
    )
    """The page's token with `pages_messaging`. `MESSENGER_PAGE_ACCESS_TOKEN` without it."""
    page_id: str | None = Field(default=None, pattern=r"^[0-9]{1,40}$")
    """The page; with it, webhooks of other pages are not read. Without it the token's own page sends."""
    app_secret: SecretStr | None = _secret("MESSENGER_APP_SECRET")
    """The app's secret, which verifies webhooks and proves calls. `MESSENGER_APP_SECRET` without it."""
    verify_token: SecretStr | None = _secret("MESSENGER_VERIFY_TOKEN")
    """What Meta's console is given to confirm the webhook's URL. `MESSENGER_VERIFY_TOKEN` without it."""
    api_version: str = Field(default="v25.0", pattern=r"^v[0-9]{1,3}\.[0-9]$")
    """The version of the Graph API."""
    timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds for one request to the API."""
    base_url: str = GRAPH
    """Where the Graph API is, without its version: another host, or a simulator."""

    _check_key = field_validator("page_access_token", "app_secret", "verify_token")(check_key)
    _check_url = field_validator("base_url")(check_secure_url)

    @property
    def api_url(self) -> str:
        """The URL of the API, with its version."""
        return f"{self.base_url.rstrip('/')}/{self.api_version}"


class MessengerChannelConfig(BaseModel):
    """The options of `MessengerChannel` in a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    human_agent: bool = Field(
        False,
        description="Whether people answer, who may do so for seven days after a person wrote (HUMAN_AGENT).",
    )
    window_seconds: float | None = Field(
        86_400.0, gt=0, description="Seconds after a person's message in which free content is taken."
    )
    purpose: str | None = Field(
        None, min_length=1, description="What deliveries need consent for, unless their event says."
    )
