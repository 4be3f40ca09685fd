"""Small data by key, under an owner's namespace."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import timedelta

    from roomkit.abc.services.homes import Home
    from roomkit.models.base import Json
    from roomkit.models.value import Value

__all__ = ["Values"]


class Values(ABC):
    """What an owner keeps outside every timeline: by organization, namespace and key.

    A key is one text or several, of any kind, at most 512 bytes as JSON; `data` is a JSON object of at most
    64 KiB. In a gate, delivery, turn or observer the organization is the room's, elsewhere none: `of` names
    another. Reads and writes of a key take effect in one order on all workers, and a write is durable when it
    returns. A value whose time is over counts as absent at once, and is removed some minutes later: expiry is
    no lock. Raises InvalidInputError for a key or data that cannot be kept, and StoreError.
    """

    @abstractmethod
    def of(self, organization_id: str | None) -> Values:
        """Return the values of one organization, None for those that belong to none."""

    @abstractmethod
    async def get(self, *key: str) -> Value | None:
        """Return the value under a key."""

    @abstractmethod
    async def put(
        self,
        *key: str,
        data: Mapping[str, Any],
        if_revision: int | None = None,
        expires_in: float | timedelta | str | None = None,
        subject: str | None = None,
        room_id: str | None = None,
        derived: bool = False,
        fence: Home | None = None,
    ) -> Value:
        """Put a value in place of the one under the key; return it with its new revision.

        With `if_revision` only in place of that one, 0 only where there is none; else it raises
        StaleValueError. `expires_in` is in seconds, or text such as "36h". The value is removed with the room
        `room_id`, which need not exist yet, and when the person whose address or id is `subject` is erased.
        `derived` says that it was made from what its room holds, such as a summary: it is removed when
        anything of the room is erased. `fence` is a home that this worker has, such as that of a source which
        keeps its offset: once another holder has taken it, nothing is written and HomeLostError is raised.
        """

    @abstractmethod
    async def change(
        self,
        *key: str,
        fn: Callable[[Json | None], Mapping[str, Any] | None],
        expires_in: float | timedelta | str | None = None,
        subject: str | None = None,
        room_id: str | None = None,
        derived: bool | None = None,
        fence: Home | None = None,
    ) -> Value | None:
        """Replace a value's data by `fn(data)`; return the value.

        `fn` gets None for no value, and returns None to remove it. It is synchronous and pure, and is
        called again when the value changed in between: no change is lost. Arguments not given stay as they
        are; `fence` is that of `put`. Raises StaleValueError for a value that changes all the time,
        HomeLostError, and what `fn` raises.
        """

    @abstractmethod
    async def delete(self, *key: str, if_revision: int | None = None, fence: Home | None = None) -> bool:
        """Remove a value; False when there is none. Raises StaleValueError if it is of another revision.

        `fence` is that of `put`; raises HomeLostError.
        """

    @abstractmethod
    def scan(self, *prefix: str, subject: str | None = None) -> AsyncIterator[Value]:
        """Yield the values whose keys begin with these parts, in the order of their encoded keys.

        With a `subject` only those about that person. Read in pages: values that change in between may be
        among them or not.
        """
