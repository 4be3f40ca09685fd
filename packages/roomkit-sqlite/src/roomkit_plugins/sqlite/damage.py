"""Damage of the file and its log that SQLite itself does not report when it opens them.

Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log (section 4), and for the header of the
shared memory https://www.sqlite.org/walformat.html (section 2.1).
"""

from __future__ import annotations

import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from roomkit.abc.errors import StoreCorruptError

__all__ = ["check_structure", "dropped_commits"]

_HEADER = struct.Struct(">IIIIIIII")
_FRAME = struct.Struct(">IIIIII")
_BIG_ENDIAN = 0x377F0683
_LITTLE_ENDIAN = 0x377F0682
_VALID_FRAMES = slice(16, 20)
"""Where the shared memory says how many frames of the log SQLite goes by."""
_MOST_NAMED = 10

type Sums = tuple[int, int]


class _Log(NamedTuple):
    """What the header of a log says."""

    page_size: int
    salts: bytes
    order: str
    """How the words that are summed up are stored: `>` or `<`."""


def check_structure(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page; raise StoreCorruptError with the first things that are wrong."""
    found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_MOST_NAMED})")]
    if found != ["ok"]:
        raise StoreCorruptError(
            f"the store {str(path)!r} is damaged: {'; '.join(found)}; restore a backup, or save "
            "the readable rows with `sqlite3 FILE .recover`"
        )


def dropped_commits(path: Path) -> int:
    """Return how many whole commits of a database's log SQLite leaves out; more than one means damage.

    SQLite reads the log up to the first frame that does not match its checksum, and takes it for the end.
    After a loss of power that is right: at most one commit follows, which was not acknowledged. Where more
    follow, frames that had been on the disk have changed. Call it while a connection is open that has read.
    """
    while True:
        valid = _valid_frames(path)
        if valid is None:
            return 0
        dropped = _commits_after(path, valid)
        if not dropped or _valid_frames(path) == valid:  # else another process has just written
            return dropped


def _valid_frames(path: Path) -> int | None:
    try:
        with _beside(path, "-shm").open("rb") as file:
            return int.from_bytes(file.read(20)[_VALID_FRAMES], sys.byteorder)
    except OSError:
        return None


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _commits_after(path: Path, valid: int) -> int:
    """Count the whole commits in the log after the frames that SQLite reads."""
    try:
        with _beside(path, "-wal").open("rb") as file:
            log = _header(file)
            return 0 if log is None else sum(_commits(file, log, valid))
    except OSError:
        return 0


def _header(file: BinaryIO) -> _Log | None:
    data = file.read(_HEADER.size)
    if len(data) < _HEADER.size:
        return None
    magic, _version, page_size, *_rest = _HEADER.unpack(data)
    if magic not in (_BIG_ENDIAN, _LITTLE_ENDIAN):
        return None
    return _Log(page_size, data[16:24], ">" if magic == _BIG_ENDIAN else "<")


def _commits(file: BinaryIO, log: _Log, valid: int) -> Iterator[bool]:
    """Yield for each frame after the valid ones whether it is whole, of this log, and ends a transaction.

    A frame's sums continue from those stored in the frame before, so one is judged though others are damaged.
    """
    size = _FRAME.size + log.page_size
    file.seek(_HEADER.size + valid * size)
    before: Sums | None = None
    while len(frame := file.read(size)) == size:
        _page, pages_after_commit, *_salts, first, second = _FRAME.unpack(frame[: _FRAME.size])
        is_ours = frame[8:16] == log.salts
        if is_ours and pages_after_commit and before is not None:
            yield _sums(frame[:8] + frame[_FRAME.size :], before, log.order) == (first, second)
        before = (first, second) if is_ours else None


def _sums(data: bytes, before: Sums, order: str) -> Sums:
    """Return the two running sums over pairs of 32-bit words."""
    first, second = before
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
