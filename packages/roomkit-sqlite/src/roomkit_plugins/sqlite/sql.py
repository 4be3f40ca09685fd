"""Short words for asking a connection something.

No query is left half read: while one is, its connection does not see later writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Conditions", "Row", "column", "marks", "one", "snapshot"]

type Row = tuple[Any, ...]


class Conditions:
    """The conditions of a query, all of which must hold, and their values."""

    def __init__(self) -> None:
        self._parts: list[str] = []  # bound: one query
        self.values: list[Any] = []  # bound: one query

    def all(self, part: str, *values: object) -> None:
        """Add a condition."""
        self._parts.append(part)
        self.values += values

    def given(self, part: str, value: object) -> None:
        """Add a condition on a value, if there is one."""
        if value is not None:
            self.all(part, value)

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._parts)}" if self._parts else ""


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let several queries see the file as it was at one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def one(connection: sqlite3.Connection, query: str, values: Sequence[Any] = ()) -> Row | None:
    """Return the first row, None when there is none."""
    rows = connection.execute(query, values).fetchall()
    return rows[0] if rows else None


def column(connection: sqlite3.Connection, query: str, values: Sequence[Any] = ()) -> list[Any]:
    """Return the only column of every row."""
    return [value for (value,) in connection.execute(query, values).fetchall()]


def marks(values: Iterable[object]) -> str:
    """Return a question mark for each value."""
    return ", ".join("?" for _ in values)
