"""Files in this process."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection
from typing import override

from roomkit.abc.errors import InvalidInputError, MediaNotFoundError
from roomkit.abc.media import MediaStore
from roomkit.authoring.intake import PIECE, Intake
from roomkit.models.media import MediaRef

__all__ = ["InMemoryMediaStore"]


class InMemoryMediaStore(MediaStore):
    """Keeps files in memory until they are deleted; they are gone when the process ends."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[MediaRef, bytes]] = {}  # bound: files put, until deleted

    @override
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
        intake = Intake(data, limit=limit)
        content = b"".join([piece async for piece in intake])
        ref = intake.ref(mime_type=mime_type, room_id=room_id, filename=filename, media_id=media_id)
        self._files[ref.id] = (ref, content)
        return ref

    @override
    async def find(self, media_id: str) -> MediaRef | None:
        found = self._files.get(media_id)
        return None if found is None else found[0]

    @override
    async def open(self, media_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        if start < 0:
            raise InvalidInputError(f"cannot read from byte {start}: give a start from 0 on")
        if media_id not in self._files:
            raise MediaNotFoundError(f"no file {media_id!r} is kept: it was deleted, or never stored")
        content = self._files[media_id][1]
        for first in range(start, len(content), PIECE):
            yield content[first : first + PIECE]

    @override
    async def delete(self, room_id: str, media_ids: Collection[str] | None = None) -> int:
        named = [*self._files] if media_ids is None else media_ids
        own = {each for each in named if each in self._files and self._files[each][0].room_id == room_id}
        for media_id in own:
            del self._files[media_id]
        return len(own)
