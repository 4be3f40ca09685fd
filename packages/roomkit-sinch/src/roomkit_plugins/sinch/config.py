"""Which Sinch account to send by, and how its requests are recognised."""

from __future__ import annotations

import os
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from roomkit_plugins.wire.connection import check_key, check_secure_url
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["SinchConfig"]

AUTH = "https://auth.sinch.com"


class SinchConfig(VendorConfig):
    """The settings of `SinchSMSProvider`: of a service plan with its token, or of a project with a key."""

    service_plan_id: str | None = Field(
        default_factory=lambda: os.environ.get("SINCH_SERVICE_PLAN_ID") or None, min_length=1, max_length=100
    )
    """The service plan. `SINCH_SERVICE_PLAN_ID` without it."""
    api_token: SecretStr | None = Field(
        default_factory=lambda: SecretStr(token) if (token := os.environ.get("SINCH_API_TOKEN")) else None
    )
    """The API token of the plan. `SINCH_API_TOKEN` without it."""
    project_id: str | None = Field(default=None, min_length=1, max_length=100)
    """The project, in place of a service plan; access keys are a project's."""
    key_id: str | None = Field(default=None, min_length=1, max_length=200)
    """An access key of the project."""
    key_secret: SecretStr | None = None
    """The secret of that key."""
    from_number: str | None = Field(default=None, min_length=1, max_length=40)
    """The sender: a number in E.164, a short code, or an alphanumeric sender id; Sinch chooses without it."""
    region: Literal["us", "eu", "au", "br", "ca"] = "us"
    """Where the service plan is."""
    webhook_secret: SecretStr | None = None
    """The secret that signs callbacks; without it none is taken."""
    callback_url: str | None = None
    """Where Sinch reports what becomes of a message; the plan's own setting without it."""
    base_url: str | None = None
    """Where the API is, in place of the region's host: a simulator, say."""
    auth_url: str = AUTH
    """Where an access key is exchanged for a token."""

    _check_token = field_validator("api_token", "key_secret", "webhook_secret")(check_key)
    _check_urls = field_validator("base_url", "callback_url", "auth_url")(check_secure_url)

    @model_validator(mode="after")
    def _check_account(self) -> Self:
        if self.project_id is not None:
            if self.key_id is None or self.key_secret is None:
                raise ValueError("a project needs key_id and key_secret, an access key of it")
        elif self.key_id is not None or self.key_secret is not None:
            raise ValueError("an access key is a project's: set project_id")
        elif self.service_plan_id is None or self.api_token is None:
            raise ValueError(
                "set service_plan_id and api_token, which SINCH_SERVICE_PLAN_ID and SINCH_API_TOKEN are read "
                "for, or project_id, key_id and key_secret"
            )
        return self

    @property
    def account_id(self) -> str:
        """The project, else the service plan."""
        return self.project_id or self.service_plan_id or ""

    @property
    def api_url(self) -> str:
        """The URL of the account's messages."""
        zone = "zt." if self.project_id is not None else ""
        base = self.base_url or f"https://{zone}{self.region}.sms.api.sinch.com"
        return f"{base.rstrip('/')}/xms/v1/{self.account_id}/batches"
