"""Where the server is, and how long to wait for it."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

__all__ = ["RedisConfig", "RedisConnectionConfig", "RedisLockConfig", "RedisRealtimeConfig"]

_SCHEMES = ("redis", "rediss", "unix")


class RedisConnectionConfig(BaseModel):
    """Where the server is, for all that uses it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: SecretStr = SecretStr("redis://localhost:6379/0")
    """`redis://[user:password@]host[:port]/number`, `rediss://` with TLS, or `unix://path`."""
    prefix: str = Field(default="roomkit", pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    """What keys and channels begin with; programs that share a database need different ones."""
    connect_timeout: float = Field(default=5.0, gt=0, le=300, allow_inf_nan=False)
    """Seconds that connecting may take, and one exchange with the server."""

    @classmethod
    def of(cls, config: Self | str | None) -> Self:
        """Return the settings that were given, or those of a bare url."""
        if isinstance(config, str):
            return cls(url=SecretStr(config))
        return cls() if config is None else config

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if urlsplit(url.get_secret_value()).scheme not in _SCHEMES:
            raise ValueError(
                "url names a Redis server: redis://user:password@host:port/0, rediss:// or unix://"
            )
        return url


class RedisLockConfig(RedisConnectionConfig):
    """The settings of `RedisLockManager`."""

    lock_seconds: float = Field(default=30.0, ge=0.2, le=3600, allow_inf_nan=False)
    """How long a lock outlives a worker that died, in seconds; it is renewed while it is held."""
    acquire_timeout: float = Field(default=10.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds without an answer from the server before a lock counts as lost (LockLostError)."""


class RedisRealtimeConfig(RedisConnectionConfig):
    """The settings of `RedisRealtime`."""

    max_queue_size: int = Field(default=100, ge=1)
    """Signals that wait for one slow subscriber; beyond it the oldest is dropped and counted."""
    max_outbox: int = Field(default=10_000, ge=1)
    """Signals that wait to be sent; beyond it the oldest is dropped and counted."""


class RedisConfig(RedisRealtimeConfig, RedisLockConfig):
    """The settings of both, for a program that gives one object to all that uses Redis."""
