"""Files in a folder."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self, override

from pydantic import ValidationError

from roomkit.abc.errors import (
    InvalidInputError,
    MediaNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
)
from roomkit.abc.media import MediaStore
from roomkit.authoring.intake import PIECE, Intake
from roomkit.models.base import new_id
from roomkit.models.media import MediaRef
from roomkit_plugins.media.config import DiskMediaConfig

__all__ = ["DiskMediaStore"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_TRIES = 100


class DiskMediaStore(MediaStore):
    """Keeps each file in a file of its own, and its description in another.

    `files/<room>/<id>` and `about/<id>`: digests, so that no id or file name becomes a path. A file is there
    once its second one is; both are flushed to the disk before a put returns.
    """

    def __init__(self, config: DiskMediaConfig | str | os.PathLike[str] | None = None) -> None:
        given = config if isinstance(config, DiskMediaConfig) else None
        if given is None:
            given = (
                DiskMediaConfig() if config is None else DiskMediaConfig.model_validate({"folder": config})
            )
        self.config = given
        self.shared = self.config.shared

    @override
    async def start(self) -> Self:
        def prepare() -> None:
            self.config.folder.mkdir(mode=0o700, exist_ok=True)
            for name in ("files", "about"):
                (self.config.folder / name).mkdir(mode=0o700, exist_ok=True)
            probe = self.config.folder / f"probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()

        await self._run(prepare)
        return self

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
        intake, name = Intake(data, limit=limit), media_id or new_id()
        part = _Part(self._path(room_id, name))
        try:
            await self._run(part.begin)
            async for piece in intake:
                await self._run(partial(part.write, piece))
            await self._run(part.flush)
            ref = intake.ref(mime_type=mime_type, room_id=room_id, filename=filename, media_id=name)
            about = _Part(self._about(name).with_suffix(".part"))
            text = ref.model_dump_json(exclude_none=True).encode()
            await self._run(partial(about.publish, text, self._about(name)))
        except BaseException:
            await self._run(partial(self._take_back, part, room_id, name))
            raise
        return ref

    @override
    async def find(self, media_id: str) -> MediaRef | None:
        path = self._about(media_id)
        text = await self._run(partial(_read, path))
        if text is None:
            return None
        try:
            return MediaRef.from_stored(text)
        except ValidationError:
            raise StoreError(
                f"the description of file {media_id!r} cannot be read from {str(path)!r}: restore it from "
                "a backup, or delete it"
            ) from None

    @override
    async def open(self, media_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        if start < 0:
            raise InvalidInputError(f"cannot read from byte {start}: give a start from 0 on")
        ref = await self.find(media_id)
        path = None if ref is None else self._path(ref.room_id, media_id)
        file = None if path is None else await self._run(partial(_opened, path))
        if file is None:
            raise MediaNotFoundError(f"no file {media_id!r} is kept: it was deleted, or never stored")
        try:
            await self._run(lambda: file.seek(start))
            while piece := await self._run(lambda: file.read(PIECE)):
                yield piece
        finally:
            file.close()

    @override
    async def delete(self, room_id: str, media_ids: Collection[str] | None = None) -> int:
        if media_ids is None:
            return await self._run(lambda: self._remove_room(room_id))
        named = set(media_ids)
        return sum([await self._run(partial(self._remove, room_id, each)) for each in named])

    def _about(self, media_id: str) -> Path:
        digest = _digest(media_id)
        return self.config.folder / "about" / digest[:2] / digest

    def _path(self, room_id: str, media_id: str) -> Path:
        return self.config.folder / "files" / _digest(room_id) / _digest(media_id)

    def _take_back(self, part: _Part, room_id: str, media_id: str) -> None:
        part.close()
        if part.is_begun:
            self._remove(room_id, media_id)

    def _remove(self, room_id: str, media_id: str) -> bool:
        """Remove a file of the room: first its description, so that it is gone at once."""
        path, about = self._path(room_id, media_id), self._about(media_id)
        was_whole = path.exists()
        if not was_whole and _room_of(about) != room_id:
            return False
        was_whole = was_whole and about.exists()
        about.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            path.parent.rmdir()
        return was_whole

    def _remove_room(self, room_id: str) -> int:
        folder, removed = self.config.folder / "files" / _digest(room_id), 0
        for path in [*folder.iterdir()] if folder.is_dir() else ():
            about = self.config.folder / "about" / path.name[:2] / path.name
            removed += about.exists()
            about.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
        return removed

    async def _run[T](self, work: Callable[[], T]) -> T:
        """Run work on the disk in a thread, to its end even if the caller is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait((future,))
            raise
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> StoreError:
        where = f"files cannot be kept in {str(self.config.folder)!r}: {error.strerror or error}"
        if error.errno in _FULL:
            return StoreFullError(f"{where}; free some space")
        return StoreAccessError(f"{where}; correct the folder's path or its rights")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _opened(path: Path) -> BinaryIO | None:
    with suppress(FileNotFoundError):
        return path.open("rb")
    return None


def _room_of(about: Path) -> str | None:
    text = _read(about)
    with suppress(ValidationError):
        return None if text is None else MediaRef.from_stored(text).room_id
    return None


class _Part:
    """A file that is being written; its calls run in threads, one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.is_begun = False

    def begin(self) -> None:
        for _ in range(_TRIES):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(
                FileNotFoundError
            ):  # the last file of the folder was deleted, and the folder with it
                self._file = os.fdopen(os.open(self._path, _NEW, 0o600), "wb")
                self.is_begun = True
                return
        raise FileNotFoundError(errno.ENOENT, "the folder is deleted all the time", str(self._path.parent))

    def write(self, piece: bytes) -> None:
        assert self._file is not None
        self._file.write(piece)

    def flush(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        _flush_folder(self._path.parent)

    def publish(self, text: bytes, path: Path) -> None:
        """Write a small file at `path` at once: whole or not at all."""
        self._path.unlink(missing_ok=True)
        self.begin()
        self.write(text)
        self.flush()
        self._path.replace(path)
        _flush_folder(path.parent)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _flush_folder(path: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened, and needs no flush
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
