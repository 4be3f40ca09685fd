"""The contract of media stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Collection
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import timedelta

    from roomkit.models.media import MediaRef

__all__ = ["MediaStore"]


class MediaStore(ABC):
    """Keeps files apart from the events that refer to them by `media:<id>`.

    Ids cannot be guessed and are never used again. A file belongs to one room, is written once and does not
    change. Which events refer to it is the conversation store's to know; the kit deletes a file once none
    does. All methods may be called concurrently, for one file too. Failures of the storage itself raise
    StoreError.
    """

    shared: bool = False
    """Whether each process that uses the same conversation store sees the same files."""

    async def start(self) -> Self:
        """Connect, and check that files can be kept. A kit calls it when it starts; idempotent.

        Raises a RoomKitError that names what failed and what to do. The default does nothing.
        """
        return self

    @abstractmethod
    async def put(
        self,
        data: AsyncIterable[bytes],
        *,
        mime_type: str,
        room_id: str,
        limit: int,
        filename: str | None = None,
        media_id: str | None = None,
    ) -> MediaRef:
        """Store a file, durable on return; `roomkit.authoring.Intake` hashes, sniffs and counts.

        `mime_type` is what its sender says; the result has what the first bytes show. `media_id` is the id
        to store it under, a new one without. Raises MediaTooLargeError as soon as more than `limit` bytes
        have come, without reading the rest, and what `data` raises. A failed or cancelled put leaves nothing.
        """

    @abstractmethod
    async def find(self, media_id: str) -> MediaRef | None:
        """Return the description of a file; None without such a file, for any text as id."""

    @abstractmethod
    def open(self, media_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield a file's bytes in order, from the byte `start` on; nothing from its end on.

        Chunks are at most 1 MiB. Raises MediaNotFoundError at the first one when there is no such file, and
        InvalidInputError for a negative `start`.
        """

    @abstractmethod
    async def delete(self, room_id: str, media_ids: Collection[str] | None = None) -> int:
        """Delete a room's files, those named or all; return how many there were.

        Ids of other rooms' files and of none are passed over.
        """

    def signed_url(self, ref: MediaRef, *, expires_in: timedelta) -> str | None:
        """Return a URL under which the storage itself serves a file for that long; None if it serves none.

        Without one the kit serves the file (`RoomKit(media_url=...)`).
        """
        return None

    async def close(self) -> None:
        """Release what the store holds. Idempotent."""
