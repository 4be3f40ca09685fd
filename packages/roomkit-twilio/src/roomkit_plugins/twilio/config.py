"""Which Twilio account to send by, and how its requests are recognised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from roomkit_plugins.wire.connection import check_secure_url
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["TwilioConfig", "TwilioRCSConfig"]

API = "https://api.twilio.com"

type WebhookKeys = Mapping[str, SecretStr]


def _is_sid(prefix: str, what: str) -> BeforeValidator:
    """Return a check for an id of Twilio's: two letters and 32 hexadecimal digits."""

    def check(value: object) -> object:
        if value is None:
            return None
        text = value if isinstance(value, str) else ""
        digits = text.removeprefix(prefix)
        if len(digits) != 32 or digits == text or not set(digits) <= set("0123456789abcdef"):
            raise ValueError(f"{what}: it is {prefix} and 32 hexadecimal digits, as the console shows it")
        return value

    return BeforeValidator(check)


class TwilioConfig(VendorConfig):
    """The settings of `TwilioSMSProvider`."""

    account_sid: Annotated[
        str, _is_sid("AC", "account_sid is missing or wrong; TWILIO_ACCOUNT_SID is read without it")
    ] = Field(default_factory=lambda: os.environ.get("TWILIO_ACCOUNT_SID", ""))
    """The account. `TWILIO_ACCOUNT_SID` without it."""
    auth_token: SecretStr = Field(default_factory=lambda: SecretStr(os.environ.get("TWILIO_AUTH_TOKEN", "")))
    """The account's auth token, which also signs webhooks. `TWILIO_AUTH_TOKEN` without it."""
    from_number: str | None = Field(default=None, min_length=1, max_length=40)
    """The sender: a number in E.164, a short code, or an alphanumeric sender id."""
    messaging_service_sid: Annotated[str | None, _is_sid("MG", "messaging_service_sid")] = None
    """The messaging service that chooses the sender where a message names none; before `from_number`."""
    api_key_sid: Annotated[str | None, _is_sid("SK", "api_key_sid")] = None
    """An API key to send with in place of the auth token."""
    api_key_secret: SecretStr | None = None
    """The secret of that key."""
    public_url: str | None = None
    """What the URLs begin with that Twilio calls, such as `https://chat.example.org`, if it is another.

    Behind a proxy, signatures are checked for this and the path and query of the request.
    """
    status_callback_url: str | None = None
    """Where Twilio reports what becomes of a message; the messaging service's own setting without it."""
    webhook_keys: WebhookKeys = Field(default_factory=dict)
    """Secrets of shared keys that sign webhooks, by key id; the auth token signs those without a key."""
    base_url: str = API
    """Where the API is: another edge of Twilio's, or a simulator."""

    _check_urls = field_validator("base_url", "public_url", "status_callback_url")(check_secure_url)

    @field_validator("auth_token")
    @classmethod
    def _check_token(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value()
        if not text or text.strip() != text or not text.isascii():
            raise ValueError(
                "auth_token is missing, or has spaces around it; TWILIO_AUTH_TOKEN is read without it"
            )
        return token

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if (self.api_key_sid is None) != (self.api_key_secret is None):
            raise ValueError("an API key needs both api_key_sid and api_key_secret, or neither")
        return self

    @property
    def api_url(self) -> str:
        """The URL that messages are posted to."""
        return f"{self.base_url.rstrip('/')}/2010-04-01/Accounts/{self.account_sid}/Messages.json"

    @property
    def credentials(self) -> tuple[str, str]:
        """The user and the password of the API: the key's, else the account's."""
        if self.api_key_sid is not None and self.api_key_secret is not None:
            return self.api_key_sid, self.api_key_secret.get_secret_value()
        return self.account_credentials

    @property
    def account_credentials(self) -> tuple[str, str]:
        """The user and the password of the account itself, which may ask what an API key may not."""
        return self.account_sid, self.auth_token.get_secret_value()


class TwilioRCSConfig(TwilioConfig):
    """The settings of `TwilioRCSProvider`: those of the account, and the agent.

    `from_number` is the number of the service that an SMS in the place of a message is sent from.
    """

    messaging_service_sid: Annotated[str, _is_sid("MG", "messaging_service_sid")]
    """The messaging service with the RCS sender."""
    sender_id: str | None = Field(default=None, min_length=1, max_length=100)
    """The RCS sender, such as `acme_agent`; needed for messages that may not become an SMS."""
