"""One session of the server: connected, set up, and checked before anything relies on it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed

from roomkit.abc.errors import StoreAccessError, StoreSchemaError
from roomkit.models.base import new_id
from roomkit_plugins.postgres.config import PostgresConnectionConfig, PostgresSchemaConfig
from roomkit_plugins.postgres.errors import FAILURES, NO_SESSION, translated

__all__ = ["OURS", "SESSION", "answering", "check_ours", "connect", "shared_session"]

_OLDEST = 15
_PROBE_SECONDS = 2.0

# Plans are made before the tables are full, and kept. So they are not left to statistics: tables are joined
# in the order in which a query names them, by their indexes.
SESSION = {
    "timezone": "UTC",
    "plan_cache_mode": "force_generic_plan",
    "join_collapse_limit": "1",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}

# Each client writes a mark of its own into its session. A pooler that hands one session to several clients
# shows by it: the mark is another client's, or it is gone. The process id alone would not do, as two clients
# that take turns on one session both see the same one.
_MARK = "roomkit.session"
OURS = f"current_setting('{_MARK}', true) = "
"""The start of a condition that holds on the session with the mark that follows."""

# The mark comes last: a session that has one already is left as it is, and no row comes back.
_SET = f"""
SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS asked (name, value)
WHERE coalesce(current_setting('{_MARK}', true), '') = ''
"""
_LOOK = f"""
SELECT pg_backend_pid() AS pid, current_schema() AS schema, current_setting('{_MARK}', true) AS mark, ARRAY(
    SELECT current_setting(name, true) FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, place)
    ORDER BY place
) AS settings
"""
_NO_STATEMENT = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What a statement meets that was prepared in another session."""

_STATEMENT_MODE = "statement pooling mode"
"""PgBouncer's words when a transaction begins; it has no code of its own for them."""

type Connection = Any  # asyncpg.Connection: the driver has no types


async def connect(
    config: PostgresConnectionConfig,
    settings: Mapping[str, str],
    mark: str | None = None,
    *,
    command_timeout: float | None = None,
    suspects_pooler: bool = True,
) -> Connection:
    """Return a new connection with a session of its own, in which `settings` and the schema are in effect.

    Settings are made by SET, as poolers refuse or ignore them at the start of a connection, and then read
    back. `mark` is what the session is known by, for `check_ours`; by default it is a new one. Behind a
    pooler a second connection is made and closed, unless `suspects_pooler` is false: for a later one of
    several.

    Raises what the driver raises, StoreSchemaError for a server or a schema that cannot be used, and
    StoreAccessError behind a pooler that does not give each client a session.
    """
    options = config.connection_options()
    if command_timeout is not None:
        options["command_timeout"] = command_timeout
    connection = await asyncpg.connect(**options)
    try:
        async with asyncio.timeout(config.connect_timeout):
            mark = mark or new_id()
            pid = await _set_up(config, connection, settings, mark)
            # A pooler gives its clients process ids of its own at the start.
            if suspects_pooler and connection.get_server_pid() != pid:
                await _check_pooler(config, mark)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def answering(config: PostgresConnectionConfig) -> str:
    """Return in one line that the server gives a session, as `SupportsProbe` says; nothing is made.

    Raises StoreError, as `connect` and the translation of the driver's failures say.
    """
    try:
        async with asyncio.timeout(config.acquire_timeout):
            connection = await connect(config, {})
        version = connection.get_server_version()
        connection.terminate()
    except FAILURES as error:
        raise translated(error, config.where) from error
    return f"{config.where} answers as PostgreSQL {version.major}.{version.minor}, and keeps a session"


async def check_ours(config: PostgresConnectionConfig, connection: Connection, mark: str) -> None:
    """Raise StoreAccessError unless the server answers in the session with this mark."""
    if not await connection.fetchval(f"SELECT {OURS} $1", mark):
        raise shared_session(config.where)


def shared_session(where: str) -> StoreAccessError:
    """Return the error for a session that other clients use too."""
    return StoreAccessError(f"PostgreSQL at {where} cannot be used: {NO_SESSION}")


async def _set_up(
    config: PostgresConnectionConfig, connection: Connection, settings: Mapping[str, str], mark: str
) -> int:
    """Make the session ours, and return its process id."""
    _check_version(config, connection)
    schema = config.schema_name if isinstance(config, PostgresSchemaConfig) else None
    asked = {**({} if schema is None else {"search_path": schema}), **settings}
    names = list(asked)
    try:
        made = await connection.fetch(_SET, [*names, _MARK], [*asked.values(), mark])
        now = await connection.fetchrow(_LOOK, names)
    except _NO_STATEMENT as error:
        raise shared_session(config.where) from error
    if not made or now["mark"] != mark:
        raise shared_session(config.where)
    if schema is not None and now["schema"] != schema:
        raise StoreSchemaError(
            f"{config.where} has no such schema as schema_name says, {schema!r}, or this user "
            "may not use it: create it, grant USAGE on it, or correct the name"
        )
    _check_settings(config.where, names, [value for (value,) in made], now["settings"])
    return int(now["pid"])


def _check_version(config: PostgresConnectionConfig, connection: Connection) -> None:
    version = connection.get_server_version()
    if version.major < _OLDEST:
        raise StoreSchemaError(
            f"{config.where} runs PostgreSQL {version.major}, and this roomkit-postgres needs {_OLDEST} or "
            "newer: nothing was changed; upgrade the server"
        )


def _check_settings(where: str, names: Sequence[str], made: Sequence[str], now: Sequence[str]) -> None:
    for name, wanted, value in zip(names, made, now, strict=False):  # `made` ends with the mark
        if value != wanted:
            raise StoreAccessError(
                f"{where} keeps {name} at {value!r} where {wanted!r} was asked for: a pooler that "
                "resets settings between statements cannot be used; connect to PostgreSQL directly"
            )


async def _check_pooler(config: PostgresConnectionConfig, mark: str) -> None:
    """Raise StoreAccessError if the pooler lends the session with this mark to another client.

    In a transaction of its own the other client gets the session that was free last: that one, if it is
    free although its client is connected. A pooler that has no session to give keeps each to its client.
    """
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            other = await asyncpg.connect(**config.connection_options())
            try:
                async with other.transaction():
                    is_shared = await other.fetchval(f"SELECT {OURS} $1", mark)
            finally:
                other.terminate()
    except _NO_STATEMENT as error:
        raise shared_session(config.where) from error
    except FAILURES as error:  # no second session within the time, so nothing is known against the first
        is_shared = _STATEMENT_MODE in str(error)
    if is_shared:
        raise shared_session(config.where)
