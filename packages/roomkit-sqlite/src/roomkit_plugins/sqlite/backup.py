"""A copy of the whole file while it is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from roomkit.abc.errors import StoreError, StoreUnavailableError
from roomkit_plugins.sqlite.errors import translated
from roomkit_plugins.sqlite.files import make_private, sync

__all__ = ["write"]


def write(source: Path, target: Path, timeout: float) -> None:
    """Copy `source`, as of one moment, to the new file `target`; it appears when it is complete."""
    if target.exists():
        raise StoreError(f"the backup {str(target)!r} exists already: choose another name, or move it away")
    if not target.parent.is_dir():
        raise StoreUnavailableError(f"the folder {str(target.parent)!r} does not exist: make it first")
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    make_private(partial)
    try:
        _copy(source, partial, timeout)
        sync(partial)
        os.link(partial, target)  # unlike a rename, it never replaces a file that has just appeared
        sync(target.parent)
    except FileExistsError as error:
        raise StoreError(f"the backup {str(target)!r} exists already: choose another name") from error
    except sqlite3.Error as error:
        raise translated(error, target) from error
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: Path, target: Path, timeout: float) -> None:
    with (
        closing(sqlite3.connect(source, timeout=timeout, isolation_level=None)) as connection,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        connection.execute("PRAGMA query_only = ON")
        connection.backup(copy)  # in one step: a snapshot, which in WAL mode blocks no writer
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
