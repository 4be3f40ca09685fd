"""The contract suite of media stores."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from roomkit.abc.errors import InvalidInputError, MediaNotFoundError, MediaTooLargeError
from roomkit.abc.media import MediaStore
from roomkit.models.base import new_id
from roomkit.models.media import MediaRef
from roomkit_plugins.testing.contracts.base import ContractSuite, close, make

__all__ = ["MediaStoreContract"]

MIB = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PATHS = (
    *("../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "C:\\Windows\\x", "a/b", ".", "..", "", "a\nb"),
    *("con", "x" * 800, "\u2024\u2024\uff0fetc", "%2e%2e%2f", "'; DROP TABLE media; --"),
)
"""Names and ids that must never be paths or statements."""

SNIFFED = (
    ("image/png", PNG, "image/png"),
    ("image/PNG; charset=x", PNG, "image/png"),
    ("image/jpeg", PNG, "image/png"),
    ("image/png", b"<!DOCTYPE html><script>alert(1)</script>", "text/html"),
    ("image/png", b"<svg onload='x'>", "image/svg+xml"),
    ("image/png", b"MZ\x90\x00", "application/x-msdownload"),
    ("image/png", b"nothing known", "application/octet-stream"),
    ("application/pdf", b"%PDF-1.7", "application/pdf"),
    ("application/vnd.oasis.opendocument.text", b"PK\x03\x04...", "application/vnd.oasis.opendocument.text"),
    ("text/plain", b"PK\x03\x04...", "application/zip"),
    ("audio/mp4", b"\x00\x00\x00\x20ftypisom", "audio/mp4"),
    ("audio/ogg", b"OggS\x00", "audio/ogg"),
    ("text/csv", b"a,b\n1,2\n", "text/csv"),
    ("no type", b"a", "application/octet-stream"),
    ("image/gif", b"", "application/octet-stream"),
)
"""The declared type, the file's first bytes, and its real type."""


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield the chunks of a file."""
    for chunk in chunks:
        yield chunk


class MediaStoreContract(ContractSuite):
    """Files: whole or not there, counted and hashed on their way, under ids that are not paths."""

    @pytest.fixture
    async def media(self, factory: object) -> AsyncIterator[MediaStore]:
        """Return a started store."""
        made: MediaStore = await make(factory)  # type: ignore[arg-type]  # what the subclass gives
        await made.start()
        yield made
        await close(made)

    @property
    def reopens(self) -> bool:
        """Whether the factory's next store has the files of the one before."""
        return True

    async def left_behind(self, media: MediaStore) -> Sequence[object]:
        """Return what the storage holds although no file does: parts, rows, temporary files."""
        return ()

    async def put(
        self, media: MediaStore, *chunks: bytes, room_id: str = "room", **fields: object
    ) -> MediaRef:
        """Put a file."""
        given = {"mime_type": "image/png", "limit": 10 * MIB, **fields}
        return await media.put(pieces(*chunks), room_id=room_id, **given)  # type: ignore[arg-type]  # by name

    async def read(self, media: MediaStore, media_id: str, start: int = 0) -> bytes:
        """Read a file."""
        return b"".join([piece async for piece in media.open(media_id, start=start)])

    @pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 17])
    async def test_what_is_put_is_what_is_read(self, media: MediaStore, size: int) -> None:
        """Whatever the size of the chunks that it comes in; known by size and hash."""
        content = (PNG * (size // len(PNG) + 1))[:size]
        chunks = [content[first : first + 70_001] for first in range(0, size, 70_001)]
        ref = await self.put(media, *chunks, b"", filename="a.png")
        assert await self.read(media, ref.id) == content
        assert (ref.size_bytes, ref.sha256) == (size, hashlib.sha256(content).hexdigest())
        assert (ref.room_id, ref.filename) == ("room", "a.png")
        assert await media.find(ref.id) == ref
        assert ref.url == f"media:{ref.id}"

    async def test_the_id_may_be_given(self, media: MediaStore) -> None:
        """Else it is new each time."""
        assert (await self.put(media, PNG, media_id="mine")).id == "mine"
        assert await self.read(media, "mine") == PNG
        assert (await self.put(media, PNG)).id != (await self.put(media, PNG)).id

    @pytest.mark.parametrize("start", [1, MIB - 1, MIB, MIB + 1, 2 * MIB + 4, 2 * MIB + 5, 9 * MIB])
    async def test_reading_begins_anywhere(self, media: MediaStore, start: int) -> None:
        """From the end on there is nothing, and chunks stay small."""
        content = bytes(MIB) + PNG[:5] + bytes(MIB)
        ref = await self.put(media, content)
        found = [piece async for piece in media.open(ref.id, start=start)]
        assert b"".join(found) == content[start:]
        assert all(0 < len(piece) <= MIB for piece in found)

    async def test_a_negative_start_is_refused(self, media: MediaStore) -> None:
        """Rather than read from the end."""
        ref = await self.put(media, PNG)
        with pytest.raises(InvalidInputError, match="from 0 on"):
            await self.read(media, ref.id, start=-1)

    async def test_a_file_that_is_not_there_is_an_error(self, media: MediaStore) -> None:
        """At the first chunk, with the id."""
        assert await media.find("absent") is None
        with pytest.raises(MediaNotFoundError, match="absent"):
            await self.read(media, "absent")

    @pytest.mark.parametrize(
        ("declared", "head", "found"), SNIFFED, ids=[str(at) for at in range(len(SNIFFED))]
    )
    async def test_the_type_is_what_the_bytes_show(
        self, media: MediaStore, declared: str, head: bytes, found: str
    ) -> None:
        """What a sender declares counts only where the bytes allow it, byte by byte as they come."""
        ref = await self.put(media, *(head[at : at + 1] for at in range(len(head))), mime_type=declared)
        assert ref.mime_type == found
        kept = await media.find(ref.id)
        assert kept is not None
        assert kept.mime_type == found

    async def test_the_limit_holds_before_all_bytes_came(self, media: MediaStore) -> None:
        """Reading stops with the chunk that exceeds it; nothing is left."""
        asked = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal asked
            while True:
                asked += 1
                yield bytes(MIB)

        with pytest.raises(MediaTooLargeError, match=f"more than {2 * MIB} bytes"):
            await media.put(endless(), mime_type="image/png", room_id="room", limit=2 * MIB, media_id="big")
        assert asked == 3
        await self._is_absent(media, "big")
        exact = await self.put(media, bytes(MIB), bytes(MIB), limit=2 * MIB)
        assert exact.size_bytes == 2 * MIB

    async def _is_absent(self, media: MediaStore, media_id: str) -> None:
        assert await media.find(media_id) is None
        with pytest.raises(MediaNotFoundError):
            await self.read(media, media_id)
        assert not await self.left_behind(media)

    async def test_a_put_whose_data_fail_leaves_nothing(self, media: MediaStore) -> None:
        """And raises what they raised; the same id can be put after it."""

        async def breaking() -> AsyncIterator[bytes]:
            yield bytes(2 * MIB)
            raise ConnectionResetError("the sender went away")

        with pytest.raises(ConnectionResetError):
            await media.put(breaking(), mime_type="image/png", room_id="room", limit=9 * MIB, media_id="cut")
        await self._is_absent(media, "cut")
        await self.put(media, PNG, media_id="cut")
        assert await self.read(media, "cut") == PNG

    @pytest.mark.parametrize("after", [0, 1, 3])
    async def test_a_cancelled_put_leaves_nothing(self, media: MediaStore, after: int) -> None:
        """Wherever it is cancelled."""
        came = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            for _ in range(after):
                yield bytes(MIB)
            came.set()
            await asyncio.Event().wait()

        put = media.put(stalling(), mime_type="image/png", room_id="room", limit=9 * MIB, media_id="cut")
        task = asyncio.ensure_future(put)
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self._is_absent(media, "cut")

    async def test_puts_at_once_do_not_mix(self, media: MediaStore) -> None:
        """Twenty, of several chunks each, in two rooms."""
        contents = [bytes([number]) * (70_000 + number) for number in range(20)]

        async def put(number: int) -> MediaRef:
            content = contents[number]
            room_id = f"room{number % 2}"
            return await self.put(media, content[:30_000], content[30_000:], room_id=room_id)

        refs = await asyncio.gather(*map(put, range(20)))
        assert [await self.read(media, ref.id) for ref in refs] == contents

    async def test_readers_at_once_each_get_all(self, media: MediaStore) -> None:
        """One of them stops early, and holds nothing up."""
        content = bytes(2 * MIB) + PNG
        ref = await self.put(media, content)

        async def begin() -> bytes:
            reading = media.open(ref.id)
            piece = await anext(reading)
            await reading.aclose()  # type: ignore[attr-defined]  # stores write generators
            return piece

        found = await asyncio.gather(self.read(media, ref.id), begin(), self.read(media, ref.id, MIB))
        assert found[0] == content
        assert found[2] == content[MIB:]

    async def test_files_are_deleted_by_id_within_their_room(self, media: MediaStore) -> None:
        """Ids of other rooms' files and of none are passed over; twice is once."""
        one, two = await self.put(media, PNG), await self.put(media, PNG)
        other = await self.put(media, PNG, room_id="other")
        assert await media.delete("room", [one.id, one.id, other.id, "absent"]) == 1
        assert await media.delete("room", [one.id]) == 0
        assert await media.find(one.id) is None
        assert await self.read(media, two.id) == await self.read(media, other.id) == PNG
        assert await media.delete("room", []) == 0
        assert await media.find(two.id) is not None

    async def test_all_files_of_a_room_are_deleted(self, media: MediaStore) -> None:
        """And none of another, however similar its id; nothing of their bytes is left."""
        refs = [await self.put(media, bytes(MIB + 1)) for _ in range(3)]
        others = [await self.put(media, PNG, room_id=each) for each in ("roo", "room/", "ROOM", "room%", "")]
        assert await media.delete("room") == 3
        for ref in refs:
            await self._is_absent(media, ref.id)
        for other in others:
            assert await self.read(media, other.id) == PNG
        assert await media.delete("room") == 0

    @pytest.mark.parametrize("text", PATHS, ids=[str(at) for at in range(len(PATHS))])
    async def test_no_name_or_id_is_a_path(self, media: MediaStore, text: str) -> None:
        """Neither a file's name, nor an id or room that is looked for."""
        assert await media.find(text) is None
        with pytest.raises(MediaNotFoundError):
            await self.read(media, text)
        assert await media.delete(text) == 0
        ref = await self.put(media, PNG, filename=text, room_id=text)
        assert ref.filename == text
        assert await self.read(media, ref.id) == PNG
        assert await media.delete(text, [text, ref.id]) == 1

    async def test_a_signed_url_is_one_or_none(self, media: MediaStore) -> None:
        """Of the storage's own; without one the kit makes it."""
        ref = await self.put(media, PNG)
        url = media.signed_url(ref, expires_in=timedelta(minutes=5))
        assert url is None or url.startswith("https://")

    async def test_files_outlive_the_store(self, factory: object) -> None:
        """Those of the factory's next store, unless they are kept in this process."""
        first: MediaStore = await make(factory)  # type: ignore[arg-type]  # what the subclass gives
        await first.start()
        ref = await self.put(first, bytes(MIB), PNG, media_id=new_id())
        await close(first)
        second: MediaStore = await make(factory)  # type: ignore[arg-type]  # what the subclass gives
        await second.start()
        assert await second.find(ref.id) == (ref if self.reopens else None)
        if self.reopens:
            assert await self.read(second, ref.id) == bytes(MIB) + PNG
        await close(second)
