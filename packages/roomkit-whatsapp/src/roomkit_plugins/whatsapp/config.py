"""Which WhatsApp Business number to send by, and how its webhooks are recognised."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from roomkit_plugins.wire.connection import check_key, check_secure_url
from roomkit_plugins.wire.graph import GRAPH
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["WhatsAppChannelConfig", "WhatsAppCloudConfig"]


def _secret(variable: str) -> Any:
    """Return the field of a secret that the environment may hold."""

    def read() -> SecretStr | None:
        value = os.environ.get(variable)
        return SecretStr(value) if value else None

    return Field(default_factory=read)


class WhatsAppCloudConfig(VendorConfig):
    """The settings of `WhatsAppCloudProvider`."""

    access_token: SecretStr = Field(
        default_factory=lambda: SecretStr(os.environ.get("WHATSAPP_ACCESS_TOKEN", ""))
    )
    """A system user's token with `whatsapp_business_messaging`. `WHATSAPP_ACCESS_TOKEN` without it."""
    phone_number_id: str = Field(min_length=1, max_length=40, pattern=r"^[0-9]+$")
    """The id of the number that sends, from WhatsApp > API Setup; not the number itself."""
    app_secret: SecretStr | None = _secret("WHATSAPP_APP_SECRET")
    """The app's secret, which verifies webhooks and proves calls. `WHATSAPP_APP_SECRET` without it."""
    verify_token: SecretStr | None = _secret("WHATSAPP_VERIFY_TOKEN")
    """What Meta's console is given to confirm the webhook's URL. `WHATSAPP_VERIFY_TOKEN` without it."""
    waba_id: str | None = Field(default=None, min_length=1, max_length=40)
    """The WhatsApp Business Account; with it, webhooks of other accounts are not read."""
    api_version: str = Field(default="v25.0", pattern=r"^v[0-9]{1,3}\.[0-9]$")
    """The version of the Graph API."""
    auto_upload: bool = True
    """Whether files without an http(s) URL are uploaded to WhatsApp; refused without it."""
    timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds for one request to the API."""
    base_url: str = GRAPH
    """Where the Graph API is, without its version: another host, or a simulator."""

    _check_key = field_validator("access_token", "app_secret", "verify_token")(check_key)
    _check_url = field_validator("base_url")(check_secure_url)

    @property
    def api_url(self) -> str:
        """The URL of the API, with its version."""
        return f"{self.base_url.rstrip('/')}/{self.api_version}"


class WhatsAppChannelConfig(BaseModel):
    """The options of `WhatsAppChannel` in a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str | None = Field(
        None,
        min_length=1,
        description="An approved template that goes out in place of free content after the window.",
    )
    template_language: str = Field("en", min_length=2, description="The language of that template.")
    window_seconds: float | None = Field(
        86_400.0, gt=0, description="Seconds after a person's message in which free content is taken."
    )
    purpose: str | None = Field(
        None, min_length=1, description="What deliveries need consent for, unless their event says."
    )
