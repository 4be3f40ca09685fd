"""Rewrites the file without removed data."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from roomkit.abc.errors import StoreLockedError

__all__ = ["compact"]


def compact(connection: sqlite3.Connection, path: Path) -> None:
    """Leave nothing of removed data: in the search index, in free space, in the log beside."""
    connection.execute("INSERT INTO search (search) VALUES ('optimize')")
    connection.execute("VACUUM")
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint (TRUNCATE)").fetchone()
    if busy:
        raise StoreLockedError(
            f"{str(path)!r} is compact, but a reader still uses its former state, so its log still holds "
            "removed data: compact it again when readers are done, or raise busy_timeout"
        )
