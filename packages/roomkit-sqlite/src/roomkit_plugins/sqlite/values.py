"""Values by organization, namespace and key.

A row's `seq` is its revision: every put is a new row in place of the former, and AUTOINCREMENT gives no
number again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from roomkit.abc.errors import StaleValueError
from roomkit.abc.store import HomeRecord
from roomkit.models.value import Value, encoded_key
from roomkit_plugins.sql.damaged import stored_value
from roomkit_plugins.sql.filters import clamp, key_range
from roomkit_plugins.sqlite.homes import check_fence
from roomkit_plugins.sqlite.rows import dump, micros, moment
from roomkit_plugins.sqlite.sql import Row, one

__all__ = [
    "PreparedValue",
    "delete_derived_values",
    "delete_room_values",
    "delete_value",
    "delete_values_of",
    "get_value",
    "list_room_values",
    "list_values",
    "list_values_of",
    "prepare_value",
    "purge_values",
    "put_value",
]

_VALUE = "data, seq, organization_id, namespace, key, subject, room_id, expires_at"
"""The columns that `_value_of` takes."""
_WHERE = "organization_id = ? AND namespace = ? AND key = ?"
_PUT = """
INSERT OR REPLACE INTO kept_values
    (organization_id, namespace, key, subject, room_id, expires_at, derived, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq
"""


class PreparedValue(NamedTuple):
    """A value with everything encoded."""

    value: Value
    place: Row
    rest: Row


def prepare_value(value: Value) -> PreparedValue:
    """Return a value as it is to be kept. Raises ValueError for what JSON cannot carry."""
    expires = None if value.expires_at is None else micros(value.expires_at)
    place = _place(value.namespace, value.key, value.organization_id)
    return PreparedValue(value, place, (value.subject, value.room_id, expires, value.derived, dump(value)))


def _place(namespace: str, key: Sequence[str], organization_id: str | None) -> Row:
    return (organization_id or "", namespace, encoded_key(key))


def get_value(
    connection: sqlite3.Connection, namespace: str, key: Sequence[str], organization_id: str | None
) -> Value | None:
    """Return a value."""
    place = _place(namespace, key, organization_id)
    row = one(connection, f"SELECT {_VALUE} FROM kept_values WHERE {_WHERE}", place)
    return None if row is None else _value_of(row)


def _value_of(row: Row) -> Value:
    data, revision, organization_id, namespace, key, subject, room_id, expires_at = row
    return stored_value(data, revision, organization_id, namespace, key, subject, room_id, moment(expires_at))


def put_value(
    connection: sqlite3.Connection,
    prepared: PreparedValue,
    if_revision: int | None,
    fence: HomeRecord | None = None,
) -> Value:
    """Put a value in place of the one under its key, if that is of the revision."""
    check_fence(connection, fence)
    value = prepared.value
    if if_revision is not None:
        _check(connection, prepared.place, if_revision, value.namespace, value.key)
    (revision,) = connection.execute(_PUT, (*prepared.place, *prepared.rest)).fetchone()
    return value.replace(revision=revision)


def delete_value(
    connection: sqlite3.Connection,
    namespace: str,
    key: Sequence[str],
    organization_id: str | None,
    if_revision: int | None,
    fence: HomeRecord | None,
) -> bool:
    """Remove a value, if it is of the revision; False when there is none."""
    check_fence(connection, fence)
    place = _place(namespace, key, organization_id)
    if if_revision is not None and one(connection, f"SELECT 1 FROM kept_values WHERE {_WHERE}", place):
        _check(connection, place, if_revision, namespace, key)
    return connection.execute(f"DELETE FROM kept_values WHERE {_WHERE}", place).rowcount > 0


def _check(
    connection: sqlite3.Connection, place: Row, if_revision: int, namespace: str, key: Sequence[str]
) -> None:
    row = one(connection, f"SELECT seq FROM kept_values WHERE {_WHERE}", place)
    if (0 if row is None else row[0]) != if_revision:
        raise StaleValueError.at(namespace, key, if_revision)


def delete_room_values(connection: sqlite3.Connection, room_id: str) -> None:
    """Remove the values of a room."""
    connection.execute("DELETE FROM kept_values WHERE room_id = ?", (room_id,))


def delete_derived_values(connection: sqlite3.Connection, room_id: str) -> None:
    """Remove the values of a room that were made from what it holds."""
    connection.execute("DELETE FROM kept_values WHERE room_id = ? AND derived", (room_id,))


def list_values(
    connection: sqlite3.Connection,
    namespace: str,
    prefix: Sequence[str],
    organization_id: str | None,
    subject: str | None,
    after: Sequence[str] | None,
    limit: int,
) -> list[Value]:
    """Return a page of the values whose keys begin with some parts, in order of their keys."""
    whole, first, end = key_range(prefix)
    rows = connection.execute(
        f"SELECT {_VALUE} FROM kept_values WHERE organization_id = ? AND namespace = ? AND key > ? "
        "AND (key = ? OR (key >= ? AND key < ?)) AND (? IS NULL OR subject = ?) ORDER BY key LIMIT ?",
        (
            organization_id or "",
            namespace,
            max("" if after is None else encoded_key(after), whole[:-1]),
            *(whole, first, end),
            *(subject, subject),
            clamp(limit),
        ),
    )
    return list(map(_value_of, rows))


def list_values_of(
    connection: sqlite3.Connection, subject: str, organization_id: str | None, after: int, limit: int
) -> list[Value]:
    """Return a page of the values about a person, in order of revision."""
    rows = connection.execute(
        f"SELECT {_VALUE} FROM kept_values WHERE subject = ? AND (? IS NULL OR organization_id = ?) "
        "AND seq > ? ORDER BY seq LIMIT ?",
        (subject, organization_id, organization_id, clamp(after), clamp(limit)),
    )
    return list(map(_value_of, rows))


def list_room_values(connection: sqlite3.Connection, room_id: str, after: int, limit: int) -> list[Value]:
    """Return a page of the values of a room, in order of revision."""
    rows = connection.execute(
        f"SELECT {_VALUE} FROM kept_values WHERE room_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        (room_id, clamp(after), clamp(limit)),
    )
    return list(map(_value_of, rows))


def delete_values_of(connection: sqlite3.Connection, subject: str, organization_id: str | None) -> int:
    """Remove the values about a person; return how many there were."""
    return connection.execute(
        "DELETE FROM kept_values WHERE subject = ? AND (? IS NULL OR organization_id = ?)",
        (subject, organization_id, organization_id),
    ).rowcount


def purge_values(connection: sqlite3.Connection, before: int, limit: int) -> int:
    """Remove expired values; return how many there were."""
    return connection.execute(
        "DELETE FROM kept_values WHERE seq IN (SELECT seq FROM kept_values WHERE expires_at <= ? "
        "ORDER BY expires_at LIMIT ?)",
        (before, clamp(limit)),
    ).rowcount
