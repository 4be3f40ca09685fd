"""What every media store does with the bytes that it is given."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime

from roomkit.abc.errors import InvalidInputError, MediaTooLargeError
from roomkit.authoring.sniffing import SNIFFED_BYTES, sniffed_type
from roomkit.models.base import new_id, utcnow
from roomkit.models.media import MediaRef

__all__ = ["Intake"]

PIECE = 1024 * 1024


class Intake:
    """Counts, hashes and sniffs a file on its way into a store; iterate over it once.

    It yields pieces of 1 MiB, the last one shorter, and never an empty one. It raises MediaTooLargeError
    instead of the piece that would exceed the limit, without reading on.
    """

    def __init__(self, data: AsyncIterable[bytes], *, limit: int) -> None:
        if limit < 0:
            raise InvalidInputError(f"a file cannot have {limit} bytes at most: give a limit from 0 on")
        self._data = data
        self._limit = limit
        self._hash = hashlib.sha256()
        self._head = b""
        self.size = 0
        """How many bytes have come."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        waiting = bytearray()
        async for chunk in self._data:
            self._take(chunk)
            waiting += chunk
            while len(waiting) >= PIECE:
                yield bytes(waiting[:PIECE])
                del waiting[:PIECE]
        if waiting:
            yield bytes(waiting)

    def _take(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._limit:
            raise MediaTooLargeError(
                f"the file has more than {self._limit} bytes, nothing of it was kept: send a smaller one, or "
                "raise the limit (media_limit of the kit)"
            )
        self._hash.update(chunk)
        if len(self._head) < SNIFFED_BYTES:
            self._head += bytes(chunk[: SNIFFED_BYTES - len(self._head)])

    def ref(
        self,
        *,
        mime_type: str,
        room_id: str,
        filename: str | None,
        media_id: str | None,
        created_at: datetime | None = None,
    ) -> MediaRef:
        """Return the description of the file, once all of it has arrived."""
        return MediaRef(
            id=media_id or new_id(),
            room_id=room_id,
            mime_type=sniffed_type(mime_type, self._head),
            size_bytes=self.size,
            sha256=self._hash.hexdigest(),
            filename=filename,
            created_at=created_at or utcnow(),
        )
