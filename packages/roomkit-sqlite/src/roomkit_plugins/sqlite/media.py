"""Files in the SQLite file: which events refer to them, and their bytes in pieces of 1 MiB."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Self, override

from roomkit.abc.errors import InvalidInputError, MediaNotFoundError
from roomkit.abc.media import MediaStore
from roomkit.abc.store.media import MediaUse
from roomkit.authoring.intake import PIECE, Intake
from roomkit.models.base import new_id
from roomkit.models.media import MediaRef
from roomkit.models.values import findable
from roomkit_plugins.sql.filters import clamp
from roomkit_plugins.sqlite.config import SQLiteMediaConfig
from roomkit_plugins.sqlite.database import DatabaseFile
from roomkit_plugins.sqlite.rows import dump
from roomkit_plugins.sqlite.sql import column, one

__all__ = [
    "SQLiteMediaStore",
    "event_media",
    "forget_media",
    "media_rooms",
    "register_media",
    "release_media",
    "unused_media",
    "use_media",
]

_USE = """
INSERT INTO media_uses (media, event)
SELECT m.id, e.seq FROM media m, events e WHERE m.id = ? AND e.id = ? AND e.room = ? ON CONFLICT DO NOTHING
"""
_ROOMS = """
SELECT DISTINCT coalesce(r.id, m.room_id) FROM media m LEFT JOIN media_uses u ON u.media = m.id
LEFT JOIN events e ON e.seq = u.event LEFT JOIN rooms r ON r.seq = e.room WHERE m.id = ?
"""
_OF_ROOM = "id = ? AND room_id = ?"


# -- the register -------------------------------------------------------------------------------


def register_media(
    connection: sqlite3.Connection, room_id: str, media_ids: Collection[str], unused_at: int
) -> None:
    """Register files that are about to be stored."""
    connection.executemany(
        "INSERT INTO media (id, room_id, unused_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(media_id, room_id, unused_at) for media_id in media_ids],
    )


def use_media(connection: sqlite3.Connection, room: int, uses: Iterable[MediaUse]) -> None:
    """Add references of a room's events to files that are registered."""
    connection.executemany(_USE, [(media_id, event_id, room) for media_id, event_id in uses])


def release_media(connection: sqlite3.Connection, event: int) -> None:
    """Remove the references of an event."""
    connection.execute("DELETE FROM media_uses WHERE event = ?", (event,))


def media_rooms(connection: sqlite3.Connection, media_ids: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the rooms of registered files: of the events that refer to them, else their own."""
    found = {each: frozenset(column(connection, _ROOMS, (each,))) for each in media_ids}
    return {each: rooms for each, rooms in found.items() if rooms}


def unused_media(connection: sqlite3.Connection, before: int, limit: int) -> list[tuple[str, str]]:
    """Return files that no event refers to, oldest first."""
    return [
        (room_id, media_id)
        for room_id, media_id in connection.execute(
            "SELECT room_id, id FROM media WHERE unused_at <= ? ORDER BY unused_at, id LIMIT ?",
            (before, clamp(limit)),
        )
    ]


def forget_media(connection: sqlite3.Connection, media_ids: Collection[str]) -> int:
    """Remove files from the register that no event refers to."""
    statement = "DELETE FROM media WHERE id = ? AND unused_at IS NOT NULL"
    return sum(connection.execute(statement, (each,)).rowcount for each in {*media_ids})


def event_media(connection: sqlite3.Connection, event_ids: Sequence[str]) -> list[MediaUse]:
    """Return what events refer to."""
    statement = (
        "SELECT u.media FROM events e JOIN media_uses u ON u.event = e.seq WHERE e.id = ? ORDER BY u.media"
    )
    return [
        MediaUse(media_id, event_id)
        for event_id in event_ids
        for (media_id,) in connection.execute(statement, (event_id,))
    ]


# -- the files ----------------------------------------------------------------------------------


class SQLiteMediaStore(MediaStore):
    """Keeps files in a SQLite file, that of a `SQLiteStore` or one of their own.

    Give it a path, a `SQLiteMediaConfig`, or the `SQLiteConfig` of the store. A file is there once the row
    that describes it is; its pieces are written before.
    """

    shared = True

    def __init__(
        self,
        config: SQLiteMediaConfig | str | os.PathLike[str] = SQLiteMediaConfig(),  # noqa: B008
    ) -> None:
        given = config if isinstance(config, SQLiteMediaConfig) else SQLiteMediaConfig(path=Path(config))
        self.config = given
        self._database = DatabaseFile(self.config)

    def __repr__(self) -> str:
        return f"SQLiteMediaStore({str(self.config.path)!r})"

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
                await self._database.write(partial(_put_piece, name=name, number=number, piece=piece))
                number += 1
            ref = intake.ref(mime_type=mime_type, room_id=room_id, filename=filename, media_id=name)
            await self._database.write(partial(_put_file, ref=ref, data=dump(ref)))
        except BaseException:
            await self._database.write(partial(_delete_files, room_id=room_id, media_ids=(name,)))
            raise
        return ref

    @override
    async def find(self, media_id: str) -> MediaRef | None:
        data = await self._database.read(partial(_file, media_id=findable(media_id)))
        return None if data is None else MediaRef.from_stored(data)

    @override
    async def open(self, media_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        if start < 0:
            raise InvalidInputError(f"cannot read from byte {start}: give a start from 0 on")
        ref = await self.find(media_id)
        if ref is None:
            raise MediaNotFoundError(f"no file {media_id!r} is kept: it was deleted, or never stored")
        for first in range(start - start % PIECE, ref.size_bytes, PIECE):
            piece = await self._database.read(partial(_piece, media_id=media_id, number=first // PIECE))
            if piece is None:
                raise MediaNotFoundError(f"the file {media_id!r} was deleted while it was read")
            if cut := piece[max(0, start - first) :]:
                yield cut

    @override
    async def delete(self, room_id: str, media_ids: Collection[str] | None = None) -> int:
        named = None if media_ids is None else tuple(findable({*media_ids}))
        return await self._database.write(partial(_delete_files, room_id=findable(room_id), media_ids=named))


def _put_piece(connection: sqlite3.Connection, name: str, number: int, piece: bytes) -> None:
    connection.execute(
        "INSERT INTO media_pieces (file, number, data) VALUES (?, ?, ?)", (name, number, piece)
    )


def _put_file(connection: sqlite3.Connection, ref: MediaRef, data: str) -> None:
    connection.execute(
        "INSERT INTO media_files (id, room_id, data) VALUES (?, ?, ?)", (ref.id, ref.room_id, data)
    )


def _file(connection: sqlite3.Connection, media_id: str) -> str | None:
    row = one(connection, "SELECT data FROM media_files WHERE id = ?", (media_id,))
    return None if row is None else row[0]


def _piece(connection: sqlite3.Connection, media_id: str, number: int) -> bytes | None:
    row = one(connection, "SELECT data FROM media_pieces WHERE file = ? AND number = ?", (media_id, number))
    return None if row is None else row[0]


def _delete_files(connection: sqlite3.Connection, room_id: str, media_ids: Sequence[str] | None) -> int:
    """Delete a room's files, and pieces under the given ids that a killed put left."""
    if media_ids is None:
        found = connection.execute("SELECT id FROM media_files WHERE room_id = ?", (room_id,)).fetchall()
        media_ids = [media_id for (media_id,) in found]
    deleted = 0
    for media_id in media_ids:
        deleted += connection.execute(
            f"DELETE FROM media_files WHERE {_OF_ROOM}", (media_id, room_id)
        ).rowcount
        if one(connection, "SELECT 1 FROM media_files WHERE id = ?", (media_id,)) is None:
            connection.execute("DELETE FROM media_pieces WHERE file = ?", (media_id,))
    return deleted
