"""The file as the operating system sees it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from roomkit.abc.errors import StoreUnavailableError

if sys.platform != "win32":
    import fcntl

__all__ = ["lock_whole", "make_private", "sync"]


def make_private(path: Path) -> None:
    """Make a file that only its owner may read, if there is none: SQLite's own would be for everybody.

    What SQLite puts beside it has the same rights.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailableError(
            f"{str(path)!r} cannot be made: {error.strerror}; give this process the right to write its folder"
        ) from error


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_whole(descriptor: int) -> bool:
    """Lock an open file for this descriptor alone; return False when another has it, or none can."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
