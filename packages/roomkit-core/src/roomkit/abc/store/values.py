"""Values by namespace and key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.abc.store.records import HomeRecord
    from roomkit.models.value import Value

__all__ = ["ValueStore"]


class ValueStore(ABC):
    """Values that plugins keep, by organization, namespace and key."""

    @abstractmethod
    async def get_value(
        self, namespace: str, key: Sequence[str], *, organization_id: str | None = None
    ) -> Value | None:
        """Return a value of the organization, or of none; also one that has expired and is still there."""

    @abstractmethod
    async def put_value(
        self, value: Value, *, if_revision: int | None = None, fence: HomeRecord | None = None
    ) -> Value:
        """Put a value in place of the one under its key; return it with its new revision.

        With `if_revision` only in place of that one, 0 only where there is none. Puts, deletes and reads
        of a key take effect in one order on all workers: a read sees every put that had returned before it
        began. With `fence` only while the token of that home is its newest: in one transaction, so that no
        write of a former holder follows another holder's taking. Raises StaleValueError, HomeLostError.
        """

    @abstractmethod
    async def delete_value(
        self,
        namespace: str,
        key: Sequence[str],
        *,
        organization_id: str | None = None,
        if_revision: int | None = None,
        fence: HomeRecord | None = None,
    ) -> bool:
        """Remove a value; False when there is none. Raises StaleValueError if it is of another revision.

        `fence` is that of `put_value`; raises HomeLostError.
        """

    @abstractmethod
    async def list_values(
        self,
        namespace: str,
        prefix: Sequence[str] = (),
        *,
        organization_id: str | None = None,
        subject: str | None = None,
        after: Sequence[str] | None = None,
        limit: int = 100,
    ) -> list[Value]:
        """Return a page of the organization's values whose keys begin with the parts of `prefix`.

        With a `subject` only those about that person. They are in the order of their keys, encoded as a
        JSON array in ASCII; `after` is the key of the last value of the page before. Expired values that are
        still there are among them.
        """

    @abstractmethod
    async def list_values_of(
        self, subject: str, *, organization_id: str | None = None, after: int = 0, limit: int = 100
    ) -> list[Value]:
        """Return a page of the values about a person, of one organization or of all, in order of revision.

        `after` is the revision of the last value of the page before. Expired ones that are still there are
        among them.
        """

    @abstractmethod
    async def list_room_values(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[Value]:
        """Return a page of the values that go with a room, as `list_values_of` does those about a person."""

    @abstractmethod
    async def delete_values_of(self, subject: str, *, organization_id: str | None = None) -> int:
        """Remove the values about a person, of one organization or of all; return how many there were."""

    @abstractmethod
    async def purge_values(self, before: datetime, *, limit: int = 1000) -> int:
        """Remove values that expired by `before`, at most `limit`; return how many were removed."""
