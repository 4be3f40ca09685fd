"""Which bot to send as, where its conversations are, and whose requests are believed."""

from __future__ import annotations

import os
import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from roomkit_plugins.wire.connection import check_key, check_secure_url
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["Cloud", "TeamsChannelConfig", "TeamsConfig"]

_SHARED = ("common", "botframework.com")


class Cloud:
    """The addresses of one of Microsoft's clouds."""

    def __init__(self, login: str, scope: str, openid: str, issuer: str, hosts: tuple[str, ...]) -> None:
        self.login, self.scope, self.openid, self.issuer, self.hosts = login, scope, openid, issuer, hosts


_CLOUDS = {
    "public": Cloud(
        "https://login.microsoftonline.com",
        "https://api.botframework.com/.default",
        "https://login.botframework.com/v1/.well-known/openidconfiguration",
        "https://api.botframework.com",
        ("trafficmanager.net", "botframework.com"),
    ),
    "gov": Cloud(
        "https://login.microsoftonline.us",
        "https://api.botframework.us/.default",
        "https://login.botframework.azure.us/v1/.well-known/openidconfiguration",
        "https://api.botframework.us",
        ("trafficmanager.us", "botframework.us", "botframework.azure.us"),
    ),
}


class TeamsConfig(VendorConfig):
    """The settings of a bot: its app, with a secret or a certificate; without one, see `token_provider`."""

    app_id: str = Field(
        default_factory=lambda: os.environ.get("TEAMS_APP_ID", ""), pattern=r"^[0-9A-Za-z-]{1,64}$"
    )
    """The bot's app (client) id. `TEAMS_APP_ID` without it."""
    app_password: SecretStr | None = Field(
        default_factory=lambda: SecretStr(word) if (word := os.environ.get("TEAMS_APP_PASSWORD")) else None
    )
    """The app's client secret. `TEAMS_APP_PASSWORD` without it."""
    tenant_id: str = Field(default="common", pattern=r"^[0-9A-Za-z.-]{1,100}$")
    """The tenant of a single-tenant bot; "common" for one of many tenants."""
    certificate_thumbprint: str | None = Field(default=None, pattern=r"^[0-9A-Fa-f:]{40,95}$")
    """The SHA-1 thumbprint of a certificate in place of the secret."""
    certificate_private_key: SecretStr | None = None
    """The certificate's private key, as PEM."""
    certificate_public: str | None = None
    """The certificate itself, as PEM, where the app trusts its subject and issuer."""
    cloud: Literal["public", "gov"] = "public"
    """Which of Microsoft's clouds the bot is in."""
    service_urls: tuple[str, ...] = ()
    """Further URLs that the bot's token may be sent to, beside Microsoft's own: a simulator, say."""
    login_url: str | None = None
    """Where tokens are got, in place of the cloud's."""
    openid_url: str | None = None
    """Where the keys of Microsoft's requests are found, in place of the cloud's."""

    _check_secrets = field_validator("app_password")(check_key)
    _check_urls = field_validator("login_url", "openid_url")(check_secure_url)

    @field_validator("service_urls")
    @classmethod
    def _check_service_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            check_secure_url(url)
        return urls

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        has_certificate = bool(self.certificate_thumbprint or self.certificate_private_key)
        if self.app_password is not None and has_certificate:
            raise ValueError("a bot signs in by app_password or by a certificate: give one of them")
        if has_certificate and not (self.certificate_thumbprint and self.certificate_private_key):
            raise ValueError("a certificate needs certificate_thumbprint and certificate_private_key")
        if self.certificate_public is not None and not has_certificate:
            raise ValueError("certificate_public belongs to a certificate: give its thumbprint and key")
        return self

    @property
    def has_credentials(self) -> bool:
        """Whether there is a secret or a certificate."""
        return self.app_password is not None or self.uses_certificate_auth

    @property
    def uses_certificate_auth(self) -> bool:
        """Whether the bot signs in by a certificate."""
        return self.certificate_thumbprint is not None

    @property
    def is_single_tenant(self) -> bool:
        """Whether the bot is of one tenant."""
        return self.tenant_id not in _SHARED

    @property
    def addresses(self) -> Cloud:
        """The addresses of the bot's cloud."""
        return _CLOUDS[self.cloud]

    @property
    def token_url(self) -> str:
        """Where tokens are got."""
        tenant = self.tenant_id if self.is_single_tenant else "botframework.com"
        return f"{(self.login_url or self.addresses.login).rstrip('/')}/{tenant}/oauth2/v2.0/token"

    def trusts(self, service_url: str) -> bool:
        """Return whether the bot's token may be sent to a service URL."""
        if any(_within(service_url, each) for each in self.service_urls):
            return True
        found = re.fullmatch(r"https://([0-9a-z.-]+)(?::443)?(?:/.*)?", service_url.lower())
        host = found[1] if found is not None else ""
        return any(host == each or host.endswith(f".{each}") for each in self.addresses.hosts)


class TeamsChannelConfig(BaseModel):
    """The options of `TeamsChannel` in a configuration file: it has none of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _within(url: str, base: str) -> bool:
    trimmed = base.rstrip("/")
    return url == trimmed or url.startswith(f"{trimmed}/")
