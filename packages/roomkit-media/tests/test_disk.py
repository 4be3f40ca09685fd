"""What only a folder has: crashes between its two files, damage, full disks, other processes."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomkit.abc.errors import MediaNotFoundError, StoreAccessError, StoreError, StoreFullError
from roomkit_plugins.media import DiskMediaConfig, DiskMediaStore, disk


async def piece() -> AsyncIterator[bytes]:
    yield b"text"


async def put(media: DiskMediaStore, media_id: str = "one") -> None:
    await media.put(piece(), mime_type="text/plain", room_id="room", limit=10, media_id=media_id)


@pytest.fixture
async def media(tmp_path: Path) -> DiskMediaStore:
    return await DiskMediaStore(tmp_path / "media").start()


def files(media: DiskMediaStore) -> list[Path]:
    return [path for path in media.config.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("missing", ["about", "files"])
async def test_half_a_file_is_none_and_is_deleted_by_its_id(media: DiskMediaStore, missing: str) -> None:
    """As a process leaves it that is killed between the two."""
    await put(media)
    for path in (media.config.folder / missing).rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(MediaNotFoundError):
        await anext(media.open("one"))
    await media.delete("room", ["one"])
    assert files(media) == []


async def test_what_a_killed_put_left_does_not_stop_the_next(media: DiskMediaStore) -> None:
    """Of another id; the same id is free again once it was deleted."""
    part = media._path("room", "one")
    part.parent.mkdir()
    part.write_bytes(b"te")
    await put(media, "two")
    assert await media.find("one") is None
    await media.delete("room", ["one"])
    await put(media, "one")
    assert b"".join([each async for each in media.open("one")]) == b"text"


async def test_damage_is_told_with_the_file(media: DiskMediaStore) -> None:
    await put(media)
    media._about("one").write_bytes(b"{")
    with pytest.raises(StoreError, match=r"cannot be read from .*restore it from a backup"):
        await media.find("one")


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, StoreFullError), (errno.EACCES, StoreAccessError)]
)
async def test_a_disk_that_fails_is_told_with_the_folder(
    media: DiskMediaStore, monkeypatch: pytest.MonkeyPatch, number: int, error: type[StoreError]
) -> None:
    """And nothing is left of the put."""

    def fail(descriptor: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(disk.os, "fsync", fail)
    with pytest.raises(error, match=r"files cannot be kept in '.*media'"):
        await put(media)
    monkeypatch.undo()
    assert files(media) == []
    await put(media)


async def test_a_folder_that_cannot_be_made_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StoreAccessError, match="correct the folder's path"):
        await DiskMediaStore(tmp_path / "absent" / "media").start()


async def test_two_processes_may_use_one_folder(media: DiskMediaStore) -> None:
    await put(media)
    other = await DiskMediaStore(DiskMediaConfig(folder=media.config.folder, shared=True)).start()
    assert other.shared
    assert not media.shared
    assert await other.delete("room") == 1
    assert await media.find("one") is None
