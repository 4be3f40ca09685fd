"""An export as a ZIP archive, written while it is read."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, override
from urllib.parse import quote
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from roomkit.abc.errors import MediaNotConfiguredError, MediaNotFoundError
from roomkit.models.rights import ExportedMedia

if TYPE_CHECKING:
    from roomkit.kernel.media.files import Files
    from roomkit.models.rights import ExportLine

__all__ = ["archived"]

RECORDS, MANIFEST = "records.jsonl", "media.jsonl"
_PIECE = 256 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)


class _Sink(io.RawIOBase):
    """Collects what the archive writes, until it is taken."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._taken = 0

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: object) -> int:
        before = len(self._waiting)
        self._waiting += memoryview(data)  # type: ignore[arg-type]  # whatever bytes the archive writes
        return len(self._waiting) - before

    @override
    def tell(self) -> int:
        return self._taken + len(self._waiting)

    def take(self, at_least: int = 1) -> bytes:
        """Return the buffered bytes, if there are that many."""
        if len(self._waiting) < at_least:
            return b""
        found = bytes(self._waiting)
        self._taken += len(found)
        self._waiting.clear()
        return found


async def archived(lines: AsyncIterator[ExportLine], files: Files) -> AsyncIterator[bytes]:
    """Yield the archive: the records, each file once under `media/<id>`, and last the list of the files.

    A file that is gone when its turn comes is listed as gone, whatever its record says.
    """
    sink, listed = _Sink(), dict[str, list[ExportedMedia]]()
    with ZipFile(sink, "w") as archive:
        with archive.open(_entry(RECORDS, ZIP_DEFLATED), "w", force_zip64=True) as out:
            async for line in lines:
                if isinstance(line.record, ExportedMedia):
                    listed.setdefault(line.record.id, []).append(line.record)
                out.write(line.model_dump_json().encode() + b"\n")
                if piece := sink.take(_PIECE):
                    yield piece
        there: set[str] = set()
        for media_id in listed:
            reading = files.open(media_id)
            try:
                first = await anext(reading, b"")
            except (MediaNotFoundError, MediaNotConfiguredError):
                continue
            there.add(media_id)
            name = f"media/{quote(media_id, safe='')}"
            with archive.open(_entry(name, ZIP_STORED), "w", force_zip64=True) as out:
                out.write(first)
                async for chunk in reading:
                    out.write(chunk)
                    yield sink.take()
        with archive.open(_entry(MANIFEST, ZIP_DEFLATED), "w", force_zip64=True) as out:
            for media_id, records in listed.items():
                for record in records:
                    kept = record if media_id in there else record.replace(is_gone=True)
                    out.write(kept.model_dump_json(exclude_none=True).encode() + b"\n")
    yield sink.take()


def _entry(name: str, compression: int) -> ZipInfo:
    entry = ZipInfo(name, _EPOCH)
    entry.compress_type = compression
    return entry
