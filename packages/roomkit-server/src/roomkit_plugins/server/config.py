"""The settings of a server: the table `[server]` of roomkit.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from roomkit.models.channel import RateLimit

__all__ = ["KeyConfig", "Scope", "ServerConfig"]

SHORTEST_SECRET = 16
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


@unique
class Scope(StrEnum):
    """What a key may be used for."""

    ROOMS_READ = "rooms:read"
    ROOMS_WRITE = "rooms:write"
    MESSAGES_SEND = "messages:send"
    SOCKETS_CONNECT = "sockets:connect"
    DELIVERIES_WRITE = "deliveries:write"
    METRICS_READ = "metrics:read"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KeyConfig(_Settings):
    """One key of the API: its secret, or the hash of it, and what it is good for."""

    secret: SecretStr | None = Field(
        None, description="The key itself, of 16 characters at least: a reference such as `env:SHOP_KEY`."
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="The SHA-256 of a random key in hexadecimal digits, in place of `secret`.",
    )
    organization: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        description="Whose rooms it sees; every organization's without it.",
    )
    scopes: tuple[Scope, ...] = Field(
        (Scope.ROOMS_READ,), min_length=1, description="What it may be used for; reading rooms by default."
    )
    rate_limit: RateLimit = Field(
        RateLimit(max_per_second=50, burst=100), description="How many requests it may make."
    )
    max_connections: Count = Field(
        2000, description="How many web sockets and event streams may be open with it at once."
    )

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"a key has {SHORTEST_SECRET} characters at least: make a random one")
        return secret

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.secret is None) is (self.sha256 is None):
            raise ValueError("a key needs either `secret` or `sha256`")
        return self


def _origin(text: str) -> str:
    """Return an origin as browsers send it, RFC 6454 section 6.2; another one would never be recognised."""
    if not _ORIGIN.fullmatch(text):
        raise ValueError(
            f"{text!r} is not an origin as browsers send it: write https://shop.example, in small letters "
            "and without a path or final /"
        )
    return text


_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+")


class ServerConfig(_Settings):
    """How a kit is served: where, to whom, and within which limits. Times are in seconds."""

    host: str = Field(
        "127.0.0.1",
        description="The address to listen on; this machine alone by default. `::` is every one of it.",
    )
    port: int = Field(8080, ge=0, le=65535, description="The port; 0 for one that the system chooses.")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#\s]+(/[^?#\s]*[^/?#\s])?$",
        description="Where vendors reach the server, as they sign it; without a final `/`.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses or networks of proxies whose `X-Forwarded-` headers count."
    )
    keys: Mapping[str, KeyConfig] = Field(
        default_factory=dict, description="Keys of the API by name; without any, it refuses every request."
    )
    origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        (), description="Web pages that may use the API and sockets, such as `https://shop.example`."
    )
    insecure_routes: tuple[str, ...] = Field(
        (),
        description="Names of routes that are served although they do not verify the caller.",
        json_schema_extra={"insecure": "it serves routes that verify no caller; remove it"},
    )
    open_metrics: bool = Field(False, description="Whether `/metrics` needs no key.")
    mcp: bool = Field(
        False,
        description="Whether assistants may use the API over MCP at `/mcp`; needs `roomkit-server[mcp]`.",
    )
    address_rate_limit: RateLimit = Field(
        RateLimit(max_per_second=200, burst=400),
        description="How many requests of the API one address may make, whatever its keys.",
    )
    refusal_rate_limit: RateLimit = Field(
        RateLimit(max_per_second=1, burst=20),
        description="How many requests of one address may be refused for want of a valid key.",
    )
    max_body_bytes: Count = Field(
        1024 * 1024,
        description="How large a request of the API may be; `kit.max_webhook_bytes` for webhooks.",
    )
    body_timeout: Seconds = Field(30.0, description="How long the body of a request may take to arrive.")
    head_timeout: Seconds = Field(
        15.0, description="How long a connection may take until the head of its next request has arrived."
    )
    send_timeout: Seconds = Field(
        30.0, description="How long a client may take nothing of an answer or stream."
    )
    max_connections: Count = Field(
        10_000, description="How many connections the server holds at once; further ones get 503."
    )
    max_frame_bytes: Count = Field(65_536, description="How large a frame of a web socket may be.")
    ticket_seconds: Seconds = Field(60.0, description="How long a ticket for a web socket can be used.")
    drain_seconds: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="How long a stopping server reports that it is not ready before it stops listening.",
    )
    stop_timeout: Seconds = Field(
        20.0, description="How long requests under way may take once the server is stopping."
    )
