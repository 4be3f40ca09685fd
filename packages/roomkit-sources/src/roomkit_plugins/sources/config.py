"""What sources are connected to, and how they keep the connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from roomkit.models.channel import RateLimit
from roomkit_plugins.wire.connection import check_headers

__all__ = ["SSESourceConfig", "WebSocketSourceConfig", "shown_url"]

type Headers = Mapping[str, str | SecretStr]


def _of_schemes(*schemes: str) -> AfterValidator:
    """Return a check for the URL of a server."""

    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            is_url = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url or not url.isprintable() or " " in url:
            raise ValueError(f"it is no URL of a server: write it as {schemes[-1]}://host/path")
        return url

    return AfterValidator(check)


def shown_url(url: str) -> str:
    """Return a URL as logs may show it: without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _ConnectionConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    channel_id: str = Field(min_length=1, description="The channel that the messages are for.")
    headers: Annotated[Headers, AfterValidator(check_headers)] = Field(
        default_factory=dict, description="Headers of the request; secret ones as references."
    )
    reconnect: bool = Field(
        False,
        strict=True,
        description="Whether the source connects again by itself, without the kit's restart.",
    )
    max_reconnect_backoff: float = Field(
        30.0, gt=0, le=3600, description="The longest wait before it connects again, in seconds."
    )
    rate_limit: RateLimit | None = Field(
        None, description="How often messages are taken; further ones wait at the server."
    )


class WebSocketSourceConfig(_ConnectionConfig):
    """The settings of `WebSocketSource`."""

    url: Annotated[str, _of_schemes("ws", "wss")] = Field(
        repr=False, description="The server, as wss://host/path."
    )
    subprotocols: tuple[str, ...] = Field((), description="The subprotocols to offer, the preferred first.")
    ping_interval: float | None = Field(20.0, gt=0, description="Seconds between pings; None for none.")
    ping_timeout: float | None = Field(
        20.0, gt=0, description="Seconds without a pong after which the connection counts as broken."
    )
    close_timeout: float | None = Field(10.0, gt=0, description="Seconds that closing may take.")
    max_size: int | None = Field(1_048_576, gt=0, description="The most bytes of a message.")
    origin: str | None = Field(None, min_length=1, description="What the Origin header says.")


class SSESourceConfig(_ConnectionConfig):
    """The settings of `SSESource`."""

    url: Annotated[str, _of_schemes("http", "https")] = Field(
        repr=False, description="The server, as https://host/path."
    )
    params: Mapping[str, str] = Field(
        default_factory=dict, repr=False, description="Parameters of the URL's query."
    )
    timeout: float = Field(
        30.0, gt=0, le=300, description="Seconds until the server answers; events may be any time apart."
    )
    last_event_id: str | None = Field(
        None, min_length=1, description="The event to begin after, where no later one is known."
    )
