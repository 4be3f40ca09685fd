"""The server's errors, as typed errors."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed

from roomkit.abc.errors import (
    InvalidInputError,
    StoreAccessError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreSchemaError,
    StoreUnavailableError,
)

__all__ = ["FAILURES", "NO_SESSION", "refusal", "translated"]

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What the driver raises when the server, the network or the database fails.

The internal error is what asyncpg 0.32 raises between the server's last words and the end of the connection.
"""

_PERMANENT = ("22", "23", "54")
"""Classes of refusals that a statement meets each time: bad data, broken constraints, limits of a value."""
_FULL_QUEUE = frozenset({"PreCommit_Notify", "Async_Notify"})
"""The server's functions that say 54000 for its queue of notifications, which empties again."""

type _Meaning = tuple[type[StoreError], str]

NO_SESSION = (
    "a pooler between gives one session to several clients; in PgBouncer set pool_mode = session and leave "
    "server_reset_query = DISCARD ALL for this database, or connect to PostgreSQL directly"
)

_GONE: _Meaning = (
    StoreUnavailableError,
    "the server ended the connection or does not answer: check that it runs and can be reached",
)
_SLOW: _Meaning = (
    StoreUnavailableError,
    "it did not answer in time: check the server's load and the network, or raise the timeouts",
)
_REFUSED: _Meaning = (
    StoreAccessError,
    "it refuses this user: check user and password in the DSN, and pg_hba.conf",
)
_SCHEMA: _Meaning = (
    StoreSchemaError,
    "the schema there is not one this version works with: check database and schema_name, and migrate",
)
_DAMAGED: _Meaning = (
    StoreCorruptError,
    "what it holds is damaged: look at the server's log, restore a backup",
)

# PostgreSQL, Appendix A: the first two characters are the class of an error.
_BY_STATE: Mapping[str, _Meaning] = {
    "3D000": (StoreAccessError, "the database does not exist: create it, or correct the DSN"),
    "42501": (StoreAccessError, "this user has too few rights: grant them, or use another user"),
    "53100": (StoreFullError, "the server's disk is full: make room, then try again"),
    "25006": (StoreReadOnlyError, "it takes no writes: connect to the primary, not to a standby"),
    "53300": (StoreBusyError, "it has no connection left: raise its max_connections, or lower max_size"),
    "53200": (
        StoreBusyError,
        "it is out of memory or of locks: raise its max_locks_per_transaction, or hold fewer rooms at once",
    ),
    "54000": (StoreBusyError, "one of its queues is full, or one of its limits is reached: look at its log"),
    "55P03": (StoreLockedError, "another transaction keeps it locked: try again, or end that transaction"),
    "40P01": (StoreLockedError, "two transactions waited for each other: try again"),
    "40001": (StoreLockedError, "another transaction was faster: try again"),
    "57014": _SLOW,
    "26000": (StoreAccessError, NO_SESSION),
    "42P05": (StoreAccessError, NO_SESSION),
    "3F000": _SCHEMA,
    "42P01": _SCHEMA,
    "42703": _SCHEMA,
    "42883": _SCHEMA,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
_BY_CLASS: Mapping[str, _Meaning] = {
    "08": _GONE,
    "28": _REFUSED,
    "53": (StoreBusyError, "it is at one of its limits: look at the server's log"),
    "57": _GONE,
    "58": (StoreUnavailableError, "its disk or its system fails: look at the server's log"),
}
_OTHER: _Meaning = (StoreError, "see the cause")


def refusal(error: BaseException) -> InvalidInputError | None:
    """Return the error of a value that PostgreSQL will never take; None for every other failure."""
    if not isinstance(error, asyncpg.PostgresError | asyncpg.DataError):
        return None
    state = getattr(error, "sqlstate", None) or "22000"
    if state[:2] not in _PERMANENT or getattr(error, "server_source_function", None) in _FULL_QUEUE:
        return None
    said = error.args[0] if error.args else ""
    return InvalidInputError(f"PostgreSQL cannot hold a value: {said} ({state}); nothing was stored")


def translated(error: BaseException, where: str) -> StoreError:
    """Return the store's error for one of the driver's or the system's, to be raised from it.

    `where` names the server and the database. Of the server's words only the message is quoted:
    details may hold rows, and what the client says may hold the DSN.
    """
    if isinstance(error, StoreError):
        return error
    kind, advice = _meaning(error)
    said = ""
    if isinstance(error, asyncpg.PostgresError) and error.args:
        said = f" ({error.args[0]})"
    elif isinstance(error, OSError) and error.strerror:
        said = f" ({error.strerror})"
    return kind(f"PostgreSQL at {where} could not carry out the request: {advice}{said}")


def _meaning(error: BaseException) -> _Meaning:
    state = getattr(error, "sqlstate", None)
    if state:
        return _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or _OTHER
    if isinstance(error, TimeoutError):
        return _SLOW
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _GONE
    return _OTHER
