"""The values by organization, namespace and key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roomkit.abc.errors import HomeLostError, StaleValueError
from roomkit.abc.store import HomeRecord
from roomkit.models.value import Value, encoded_key
from roomkit.models.values import findable
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.fences import under_token
from roomkit_plugins.postgres.rows import encoded
from roomkit_plugins.postgres.where import Where
from roomkit_plugins.postgres.writing import value_row
from roomkit_plugins.sql.damaged import stored_value
from roomkit_plugins.sql.filters import clamp, key_range

__all__ = ["delete_value", "get_value", "list_room_values", "list_values", "list_values_of", "put_value"]

_VALUE = "v.data, v.revision, v.organization_id, v.namespace, v.key, v.subject, v.room_id, v.expires_at"


async def get_value(
    database: Database, namespace: str, key: Sequence[str], organization_id: str | None
) -> Value | None:
    """Return a value."""
    row = await database.fetchrow(
        f"SELECT {_VALUE} FROM roomkit_values v "
        "WHERE v.organization_id = $1 AND v.namespace = $2 AND v.key = $3",
        organization_id or "",
        namespace,
        encoded_key(key),
    )
    return None if row is None else stored_value(*row)


async def list_values(
    database: Database,
    namespace: str,
    prefix: Sequence[str],
    organization_id: str | None,
    subject: str | None,
    after: Sequence[str] | None,
    limit: int,
) -> list[Value]:
    """Return a page of the values whose keys begin with some parts, in order of their keys."""
    whole, first, end = key_range(prefix)
    where = Where()
    where.all("v.organization_id = {} AND v.namespace = {}", organization_id or "", namespace)
    where.all("v.key > {}", max("" if after is None else encoded_key(after), whole[:-1]))
    where.all("(v.key = {} OR (v.key >= {} AND v.key < {}))", whole, first, end)
    where.given("v.subject = {}", subject)
    rows = await database.fetch(
        f"SELECT {_VALUE} FROM roomkit_values v {where} ORDER BY v.key LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [stored_value(*row) for row in rows]


async def list_values_of(
    database: Database, subject: str, organization_id: str | None, after: int, limit: int
) -> list[Value]:
    """Return a page of the values about a person, in order of revision."""
    where = Where()
    where.all("v.subject = {}", subject)
    where.given("v.organization_id = {}", organization_id)
    return await _page_of_values(database, where, after, limit)


async def list_room_values(database: Database, room_id: str, after: int, limit: int) -> list[Value]:
    """Return a page of the values that go with a room, in order of revision."""
    where = Where()
    where.all("v.room_id = {}", room_id)
    return await _page_of_values(database, where, after, limit)


async def _page_of_values(database: Database, where: Where, after: int, limit: int) -> list[Value]:
    where.all("v.revision > {}", clamp(after))
    rows = await database.fetch(
        f"SELECT {_VALUE} FROM roomkit_values v {where} "
        f"ORDER BY v.revision LIMIT {where.value(clamp(limit))}",
        *where.values,
    )
    return [stored_value(*row) for row in rows]


async def put_value(
    database: Database, value: Value, if_revision: int | None, fence: HomeRecord | None
) -> Value:
    """Put a value; return it with its revision. Raises StaleValueError, HomeLostError."""
    given = encoded(value_row(value)), if_revision
    answer = await _fenced(database, fence, "roomkit_put_value($3, $4)", *given)
    if answer["revision"] is None:
        raise StaleValueError.at(value.namespace, value.key, if_revision or 0)
    return value.replace(revision=answer["revision"])


async def delete_value(
    database: Database,
    namespace: str,
    key: Sequence[str],
    organization_id: str | None,
    if_revision: int | None,
    fence: HomeRecord | None,
) -> bool:
    """Delete a value; False if there is none. Raises StaleValueError, HomeLostError."""
    place = findable(organization_id or ""), findable(namespace), encoded_key(key)
    answer = await _fenced(database, fence, "roomkit_delete_value($3, $4, $5, $6)", *place, if_revision)
    if "stale" in answer:
        raise StaleValueError.at(namespace, key, if_revision or 0)
    return bool(answer["deleted"])


async def _fenced(
    database: Database,
    fence: HomeRecord | None,
    function: str,
    *given: Any,  # Any: a query's parameters
) -> Any:
    """Write while a home has the token of its fence, which no one takes until then."""
    if fence is None:
        return await database.write(function, *given)
    guarded = under_token(function, len(given))
    answer = await database.write(guarded, *given, findable(fence.room_id), findable(fence.name), fence.token)
    if "lost" in answer:
        raise HomeLostError.at(fence.name, fence.token)
    return answer
