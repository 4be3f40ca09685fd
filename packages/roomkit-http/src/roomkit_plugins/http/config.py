"""Where an HTTP channel posts to, and how both sides sign."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from roomkit.abc.errors import FetchRefusedError
from roomkit.models.enums import ChannelMediaType
from roomkit_plugins.wire.connection import check_headers
from roomkit_plugins.wire.guard import AddressGuard
from roomkit_plugins.wire.location import Location, refused

__all__ = ["CARRIED", "HTTPChannelConfig", "HTTPProviderConfig"]

CARRIED = (ChannelMediaType.TEXT, ChannelMediaType.RICH)
REMEDY = "for a host of your own network set allow_private_hosts of HTTPProviderConfig"

_ORIGIN = re.compile(r"(?i:https?)://[^/?#\\]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RESERVED = frozenset(
    {
        *("host", "connection", "content-length", "content-type", "transfer-encoding", "te", "upgrade"),
        *("accept-encoding", "idempotency-key"),
    }
)


class HTTPChannelConfig(BaseModel):
    """The options of `HTTPChannel` in a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    media_types: tuple[ChannelMediaType, ...] = Field(
        CARRIED, min_length=1, description="The kinds of content the other side reads; others become text."
    )


class HTTPProviderConfig(BaseModel):
    """The settings of `WebhookHTTPProvider`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    webhook_url: str = Field(repr=False)
    """Where every message is posted. Its path or query may hold a key, so it is not shown."""
    secret: SecretStr | None = None
    """What both sides sign with. Without it nothing is signed, and every inbound webhook is refused."""
    previous_secret: SecretStr | None = None
    """The one before, while the other side changes: messages are signed with both, and either is taken."""
    timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds for one request, resolving the host included."""
    headers: Mapping[str, str | SecretStr] = Field(default_factory=dict)
    """Further headers of each request; secret ones as `SecretStr`."""
    allow_private_hosts: bool = Field(default=False, strict=True)
    """Whether the URL may lead to an address that is not public, as on this machine or in your network."""
    tolerance: float = Field(default=300.0, gt=0, le=3600)
    """The most seconds between the time that an inbound webhook was signed for and its arrival."""
    idempotent: bool = Field(default=False, strict=True)
    """Whether the other side takes several requests with one `Idempotency-Key` as one message."""
    name: str = Field(default="webhook", pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    """The provider's name in the ledger; each provider of a channel has its own."""

    @field_validator("secret", "previous_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        text = None if secret is None else secret.get_secret_value()
        if text is not None and (not text or text.strip() != text):
            raise ValueError("the secret is empty, or has spaces around it: pass the secret alone")
        return secret

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: Mapping[str, str | SecretStr]) -> Mapping[str, str | SecretStr]:
        for name, value in headers.items():
            if (
                not _HEADER.fullmatch(name)
                or name.lower() in _RESERVED
                or name.lower().startswith("x-roomkit-")
            ):
                raise ValueError(
                    f"the header {name[:40]!r} is the provider's own, or is no name: leave it out"
                )
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            if not (text.isascii() and text.isprintable()):
                raise ValueError(f"the header {name!r} has a line break or other than ASCII text")
        return check_headers(headers)

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        try:
            location = _read(self.webhook_url)
            if location.host == "localhost" and not self.allow_private_hosts:
                raise ValueError(f"webhook_url leads to this machine: {REMEDY}")
            AddressGuard(remedy=REMEDY, any_address=self.allow_private_hosts).check(location)
        except FetchRefusedError as error:
            raise ValueError(f"webhook_url cannot be used: {error}") from None
        if self.previous_secret is not None and self.secret is None:
            raise ValueError("previous_secret needs secret, the one that replaces it")
        return self

    @property
    def location(self) -> Location:
        """Where `webhook_url` leads."""
        return Location.of(self.webhook_url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What messages are signed with, the current secret first."""
        given = (self.secret, self.previous_secret)
        return tuple(each.get_secret_value() for each in given if each is not None)


def _read(url: str) -> Location:
    """Return where a URL leads, without its path, which may hold a key and is in no error.

    Raises FetchRefusedError.
    """
    origin = _ORIGIN.match(url)
    location = Location.of(origin[0] if origin is not None else "")
    try:
        Location.of(url)
    except FetchRefusedError:
        raise refused(location.url, "it is not a plain http:// or https:// URL") from None
    return location
