"""The in-memory store's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from operator import attrgetter, itemgetter

from roomkit.abc.errors import StaleValueError
from roomkit.models.value import Value, encoded_key

__all__ = ["ValueTable"]

type _Place = tuple[str | None, str, tuple[str, ...]]


class ValueTable:
    """Values by organization, namespace and key."""

    def __init__(self) -> None:
        self._values: dict[_Place, Value] = {}  # bound: values put, until deleted or expired
        self._revisions = count(1)

    def get(self, namespace: str, key: Sequence[str], organization_id: str | None) -> Value | None:
        """Return a value."""
        return self._values.get((organization_id, namespace, tuple(key)))

    def put(self, value: Value, if_revision: int | None) -> Value:
        """Put a value in place of the one under its key, if that is of the revision."""
        place = (value.organization_id, value.namespace, value.key)
        self._check(place, if_revision)
        stored = self._values[place] = value.replace(revision=next(self._revisions))
        return stored

    def delete(
        self, namespace: str, key: Sequence[str], organization_id: str | None, if_revision: int | None
    ) -> bool:
        """Remove a value, if it is of the revision."""
        place = (organization_id, namespace, tuple(key))
        if place not in self._values:
            return False
        self._check(place, if_revision)
        del self._values[place]
        return True

    def _check(self, place: _Place, if_revision: int | None) -> None:
        before = self._values.get(place)
        found = 0 if before is None else before.revision
        if if_revision is not None and found != if_revision:
            raise StaleValueError.at(place[1], place[2], if_revision)

    def delete_room(self, room_id: str) -> None:
        """Remove the values of a room."""
        self._delete_where(lambda value: value.room_id == room_id)

    def move_room(self, room_id: str, into: str) -> None:
        """Give the values of a room to another one."""
        for place, value in self._values.items():
            if value.room_id == room_id:
                self._values[place] = value.replace(room_id=into)

    def delete_derived(self, room_id: str) -> None:
        """Remove the values of a room that were made from what it holds."""
        self._delete_where(lambda value: value.derived and value.room_id == room_id)

    def scan(
        self,
        namespace: str,
        prefix: tuple[str, ...],
        organization_id: str | None,
        subject: str | None,
        after: Sequence[str] | None,
        limit: int,
    ) -> list[Value]:
        """Return a page of the values whose keys begin with some parts, in order of their keys as JSON."""
        found = {
            encoded_key(key): value
            for (organization, space, key), value in self._values.items()
            if (organization, space, key[: len(prefix)]) == (organization_id, namespace, prefix)
            and subject in (None, value.subject)
        }
        first = "" if after is None else encoded_key(after)
        return [found[key] for key in sorted(found) if key > first][: max(limit, 0)]

    def of_subject(self, subject: str, organization_id: str | None, after: int, limit: int) -> list[Value]:
        """Return a page of the values about a person, in order of revision."""
        return self._page(
            lambda value: value.subject == subject and organization_id in (None, value.organization_id),
            after,
            limit,
        )

    def of_room(self, room_id: str, after: int, limit: int) -> list[Value]:
        """Return a page of the values of a room, in order of revision."""
        return self._page(lambda value: value.room_id == room_id, after, limit)

    def _page(self, condition: Callable[[Value], bool], after: int, limit: int) -> list[Value]:
        found = [value for value in self._values.values() if value.revision > after and condition(value)]
        return sorted(found, key=attrgetter("revision"))[: max(limit, 0)]

    def delete_subject(self, subject: str, organization_id: str | None) -> int:
        """Remove the values about a person."""
        return self._delete_where(
            lambda value: value.subject == subject and organization_id in (None, value.organization_id)
        )

    def purge(self, before: datetime, limit: int) -> int:
        """Remove expired values, in order of expiry."""
        expiries = [
            (value.expires_at, place)
            for place, value in self._values.items()
            if value.expires_at is not None and value.expires_at <= before
        ]
        return self._delete([place for _, place in sorted(expiries, key=itemgetter(0))[:limit]])

    def _delete_where(self, condition: Callable[[Value], bool]) -> int:
        return self._delete([place for place, value in self._values.items() if condition(value)])

    def _delete(self, places: Sequence[_Place]) -> int:
        for place in places:
            del self._values[place]
        return len(places)
