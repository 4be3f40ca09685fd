"""SQLite's failures, as the errors of stores."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from roomkit.abc.errors import (
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreSchemaError,
    StoreUnavailableError,
)

__all__ = ["translated"]

_BY_CODE: Mapping[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_FULL: (StoreFullError, "the disk is full: make room, then try again"),
    sqlite3.SQLITE_READONLY: (
        StoreReadOnlyError,
        "it is read-only: give this process the right to write the file and its folder",
    ),
    sqlite3.SQLITE_BUSY: (
        StoreLockedError,
        "another process holds it locked: end that process, or raise busy_timeout",
    ),
    sqlite3.SQLITE_LOCKED: (
        StoreLockedError,
        "another connection holds it locked: end that process, or raise busy_timeout",
    ),
    sqlite3.SQLITE_CORRUPT: (
        StoreCorruptError,
        "it is damaged: restore a backup, or save the readable rows with `sqlite3 FILE .recover`",
    ),
    sqlite3.SQLITE_NOTADB: (StoreSchemaError, "it is not a SQLite database: choose another path"),
    sqlite3.SQLITE_CANTOPEN: (
        StoreUnavailableError,
        "it cannot be opened: check that its folder exists and that this process may use it",
    ),
    sqlite3.SQLITE_PERM: (StoreUnavailableError, "access is denied: check the rights of the file"),
    sqlite3.SQLITE_IOERR: (StoreUnavailableError, "the disk fails: look at the system's log"),
}


def translated(error: sqlite3.Error, path: Path) -> StoreError:
    """Return the store's error for one of SQLite's, to be raised from it."""
    code = getattr(error, "sqlite_errorcode", None)
    kind, advice = _BY_CODE.get((code or 0) & 0xFF, (StoreError, "see the cause"))
    return kind(f"the store {str(path)!r} could not carry out the request: {advice} ({error})")
