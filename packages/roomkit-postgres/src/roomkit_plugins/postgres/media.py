"""Files in PostgreSQL, their bytes in pieces of 1 MiB."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection
from typing import Self, override

from roomkit.abc.errors import InvalidInputError, MediaNotFoundError
from roomkit.abc.media import MediaStore
from roomkit.authoring.intake import PIECE, Intake
from roomkit.models.base import new_id
from roomkit.models.media import MediaRef
from roomkit.models.values import findable
from roomkit_plugins.postgres.config import PostgresMediaConfig
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.session import answering

__all__ = ["PostgresMediaStore"]

_PUT_PIECE = """
INSERT INTO roomkit_media_pieces (file, number, data) VALUES ($1, $2, $3)
ON CONFLICT (file, number) DO UPDATE SET data = excluded.data
"""
_PUT_FILE = """
INSERT INTO roomkit_media_files (id, room_id, data) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING
"""
_DELETE = """
WITH gone AS (
    DELETE FROM roomkit_media_files WHERE room_id = $1 AND ($2::text[] IS NULL OR id = ANY($2)) RETURNING id
), pieces AS (
    DELETE FROM roomkit_media_pieces p WHERE p.file IN (SELECT id FROM gone)
    OR (p.file = ANY($2) AND NOT EXISTS (SELECT FROM roomkit_media_files f WHERE f.id = p.file))
)
SELECT count(*) FROM gone
"""


class PostgresMediaStore(MediaStore):
    """Keeps files in the database of a `PostgresStore`, or in one of their own.

    Give it a DSN, or a `PostgresMediaConfig`. A file is there once the row that describes it is; its pieces
    are written before. Each statement may be made twice when its connection breaks, to the same effect.
    """

    shared = True

    def __init__(self, config: PostgresMediaConfig | str) -> None:
        self.config = PostgresMediaConfig.of(config)
        self._database = Database(self.config)

    def __repr__(self) -> str:
        return f"PostgresMediaStore({self.config.where!r})"

    async def probe(self) -> str:
        """Return that the server gives a session, as `SupportsProbe` says. Raises StoreError."""
        return await answering(self.config)

    @override
    async def start(self) -> Self:
        await self._database.open()
        return self

    @override
    async def close(self) -> None:
        await self._database.close()

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
        intake, name, number = Intake(data, limit=limit), media_id or new_id(), 0
        try:
            async for piece in intake:
                await self._database.fetch(_PUT_PIECE, name, number, piece)
                number += 1
            ref = intake.ref(mime_type=mime_type, room_id=room_id, filename=filename, media_id=name)
            text = ref.model_dump_json(exclude_none=True)
            await self._database.fetch(_PUT_FILE, ref.id, room_id, text)
        except BaseException:
            await self._database.supervise(self._removed(room_id, (name,)))
            raise
        return ref

    async def _removed(self, room_id: str, media_ids: Collection[str] | None) -> int:
        named = None if media_ids is None else findable([*media_ids])
        ((deleted,),) = await self._database.fetch(_DELETE, findable(room_id), named)
        return int(deleted)

    @override
    async def find(self, media_id: str) -> MediaRef | None:
        query = "SELECT data FROM roomkit_media_files WHERE id = $1"
        row = await self._database.fetchrow(query, findable(media_id))
        return None if row is None else MediaRef.from_stored(row[0])

    @override
    async def open(self, media_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        if start < 0:
            raise InvalidInputError(f"cannot read from byte {start}: give a start from 0 on")
        ref = await self.find(media_id)
        if ref is None:
            raise MediaNotFoundError(f"no file {media_id!r} is kept: it was deleted, or never stored")
        query = "SELECT substr(data, $3) FROM roomkit_media_pieces WHERE file = $1 AND number = $2"
        for first in range(start - start % PIECE, ref.size_bytes, PIECE):
            row = await self._database.fetchrow(query, media_id, first // PIECE, max(0, start - first) + 1)
            if row is None:
                raise MediaNotFoundError(f"the file {media_id!r} was deleted while it was read")
            if row[0]:
                yield row[0]

    @override
    async def delete(self, room_id: str, media_ids: Collection[str] | None = None) -> int:
        return await self._removed(room_id, media_ids)
