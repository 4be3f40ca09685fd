"""Where the database is, and how patient to be with it."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

__all__ = [
    "PostgresConfig",
    "PostgresConnectionConfig",
    "PostgresLockConfig",
    "PostgresMediaConfig",
    "PostgresRealtimeConfig",
    "PostgresSchemaConfig",
]

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^@/?#\[\],:]*)(?::\d+)?"
_OPTION = r"[^=&?#@/]+=[^&#]*"
_DSN = re.compile(
    rf"(?:postgresql|postgres)://(?:[^@/?#]*@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    rf"(?:/(?P<database>[^?#/]*))?(?:\?(?:{_OPTION}(?:&{_OPTION})*)?)?"
)


class PostgresConnectionConfig(BaseModel):
    """Where the server is, for all that uses it. Times are seconds.

    Nothing of the DSN but the servers' addresses and the database's name ever shows, not in the error of a
    DSN that cannot be read either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    dsn: SecretStr
    """`postgresql://user:password@host:5432/database`; a password is percent-encoded."""
    application_name: str = "roomkit"
    """What the connections are called in `pg_stat_activity`."""
    connect_timeout: float = Field(default=10.0, gt=0, le=3600, allow_inf_nan=False)
    """How long making a connection may take."""
    command_timeout: float = Field(default=30.0, gt=0, le=3600, allow_inf_nan=False)
    """How long a statement may take."""
    acquire_timeout: float = Field(default=5.0, gt=0, le=3600, allow_inf_nan=False)
    """How long to wait for a connection: for a free one of the store's, or for a server that is gone."""
    statement_cache_size: int = Field(default=100, ge=0)
    """Prepared statements a connection keeps; 0 behind a pooler that does not know them."""

    @field_validator("dsn")
    @classmethod
    def _check_dsn(cls, dsn: SecretStr) -> SecretStr:
        # An unescaped @ / : ? of a password would become a part of the address, and show.
        if _DSN.fullmatch(dsn.get_secret_value()) is None:
            raise ValueError(
                "the DSN cannot be read: it must be postgresql://user:password@host:port/database, with "
                "special characters of the password percent-encoded (urllib.parse.quote(password, safe=''))"
            )
        return dsn

    @classmethod
    def of(cls, given: Self | str) -> Self:
        """Return a configuration as it is, or one for a DSN. Raises pydantic.ValidationError."""
        return cls(dsn=SecretStr(given)) if isinstance(given, str) else given

    @property
    def where(self) -> str:
        """The servers and the database, for messages: `host:port/database`."""
        match = _DSN.fullmatch(self.dsn.get_secret_value())
        if match is None:  # a copy made past the validation
            return "PostgreSQL"
        return f"{match['hosts'] or 'localhost'}/{match['database'] or ''}"

    def connection_options(self) -> dict[str, Any]:
        """Return the keywords of `asyncpg.connect`. Settings of the session are made later, by SET."""
        return {
            "dsn": self.dsn.get_secret_value(),
            "timeout": self.connect_timeout,
            "command_timeout": self.command_timeout,
            "statement_cache_size": self.statement_cache_size,
            "server_settings": {"application_name": self.application_name},
        }


class PostgresSchemaConfig(PostgresConnectionConfig):
    """Where the tables are, for all that has tables."""

    schema_name: str = Field(default="public", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    """The schema that holds RoomKit's tables; it must be there."""


class PostgresRealtimeConfig(PostgresConnectionConfig):
    """The settings of `PostgresRealtime`."""

    namespace: str = "roomkit"
    """Locks, signals and turns of different namespaces do not meet, in one database."""


class PostgresLockConfig(PostgresRealtimeConfig, PostgresSchemaConfig):
    """The settings of `PostgresLockManager`."""


class PostgresMediaConfig(PostgresSchemaConfig):
    """The settings of `PostgresMediaStore`."""

    min_size: int = Field(default=2, ge=0, le=1000)
    """Connections that are kept open."""
    max_size: int = Field(default=10, ge=1, le=1000)
    """Connections at most; the locks, the signals and the turn executor have one of their own each."""

    @field_validator("max_size")
    @classmethod
    def _check_max_size(cls, max_size: int, info: Any) -> int:
        if max_size < info.data.get("min_size", 0):
            raise ValueError(f"max_size is {max_size}, below min_size {info.data['min_size']}")
        return max_size


class PostgresConfig(PostgresMediaConfig, PostgresLockConfig):
    """The settings of `PostgresStore`, and of all in one, for a program that gives one object to all.

    `namespace` is for the locks and the signals that the store makes for a kit.
    """
