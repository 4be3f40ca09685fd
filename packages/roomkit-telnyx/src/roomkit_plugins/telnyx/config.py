"""Which Telnyx account to send by, and how its requests are recognised."""

from __future__ import annotations

import os
from base64 import b64decode
from binascii import Error
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from roomkit_plugins.wire.connection import check_key, check_secure_url
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["TelnyxAccount", "TelnyxConfig", "TelnyxRCSConfig"]

API = "https://api.telnyx.com"
_KEY_BYTES = 32


class TelnyxAccount(VendorConfig):
    """What both products of an account need."""

    api_key: SecretStr = Field(default_factory=lambda: SecretStr(os.environ.get("TELNYX_API_KEY", "")))
    """A V2 API key. `TELNYX_API_KEY` without it."""
    public_key: str | None = Field(default_factory=lambda: os.environ.get("TELNYX_PUBLIC_KEY") or None)
    """The account's public key, base64, which verifies webhooks. `TELNYX_PUBLIC_KEY` without it."""
    messaging_profile_id: str | None = Field(default=None, min_length=1, max_length=100)
    """The messaging profile: needed for an alphanumeric sender, and chooses the sender if there is none."""
    webhook_url: str | None = None
    """Where Telnyx reports what becomes of a message; the messaging profile's own setting without it."""
    base_url: str = API
    """Where the API is, without `/v2`: another host, or a simulator."""

    _check_key = field_validator("api_key")(check_key)
    _check_urls = field_validator("base_url", "webhook_url")(check_secure_url)

    @field_validator("public_key")
    @classmethod
    def _check_public_key(cls, key: str | None) -> str | None:
        try:
            size = _KEY_BYTES if key is None else len(b64decode(key, validate=True))
        except (Error, ValueError):
            size = 0
        if size != _KEY_BYTES:
            raise ValueError(
                "public_key is not 32 bytes of base64: copy it from the portal, Keys & Credentials"
            )
        return key

    @property
    def api_url(self) -> str:
        """The URL of the API, with its version."""
        return f"{self.base_url.rstrip('/')}/v2"


class TelnyxConfig(TelnyxAccount):
    """The settings of `TelnyxSMSProvider`."""

    from_number: str | None = Field(default=None, min_length=1, max_length=40)
    """The sender: a number in E.164, a short code, or an alphanumeric sender id."""
    webhook_failover_url: str | None = None
    """Where Telnyx reports it if `webhook_url` does not answer."""

    _check_failover = field_validator("webhook_failover_url")(check_secure_url)

    @model_validator(mode="after")
    def _check_failover_has_a_first(self) -> Self:
        if self.webhook_failover_url is not None and self.webhook_url is None:
            raise ValueError("webhook_failover_url needs webhook_url, which is tried before it")
        return self


class TelnyxRCSConfig(TelnyxAccount):
    """The settings of `TelnyxRCSProvider`."""

    agent_id: str = Field(min_length=1, max_length=100)
    """The RCS agent that sends."""
    messaging_profile_id: str = Field(min_length=1, max_length=100)
    """The messaging profile, whose webhooks report what becomes of a message."""
    fallback_from: str | None = Field(default=None, min_length=1, max_length=40)
    """The number that an SMS in the place of a message is sent from; without it none is."""
