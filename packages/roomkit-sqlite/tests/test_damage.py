"""A file that was damaged on its disk: refused by name, never served as if it were whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from roomkit.abc.errors import StoreCorruptError
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing.contracts.base import event

from .conftest import say

MESSAGES = 40
TRIALS = 30

type Copier = Callable[[], Path]


@pytest.fixture
async def synced(tmp_path: Path) -> Copier:
    """Return what copies a store that was in use, with its log, as a machine that stopped leaves it."""
    original = tmp_path / "original.db"
    store = SQLiteStore(SQLiteConfig(path=original, synchronous="full"))
    await store.create_room(Room(id="room"))
    for number in range(MESSAGES):
        await say(store, event("room", f"message {number}"))
    for ending in ("", "-wal"):
        shutil.copy(f"{original}{ending}", tmp_path / f"kept.db{ending}")
    await store.close()

    def copy() -> Path:
        for ending in ("", "-wal", "-shm"):
            (tmp_path / f"copy.db{ending}").unlink(missing_ok=True)
        for ending in ("", "-wal"):
            shutil.copy(tmp_path / f"kept.db{ending}", tmp_path / f"copy.db{ending}")
        return tmp_path / "copy.db"

    return copy


async def messages(path: Path) -> int:
    """Open a store and return how many messages it serves."""
    store = SQLiteStore(SQLiteConfig(path=path, synchronous="full"))
    try:
        return len(await store.list_events("room", limit=2 * MESSAGES))
    finally:
        await store.close()


def flip_bit(path: Path, position: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)


async def test_a_log_that_is_whole_is_served(synced: Copier) -> None:
    assert await messages(synced()) == MESSAGES


async def test_a_flipped_bit_in_the_log_is_refused_and_nothing_is_dropped(synced: Copier) -> None:
    """SQLite alone would end the log there, without a word; a second attempt is refused as well."""
    chance = Random(1)
    refused = 0
    for _ in range(TRIALS):
        path = synced()
        log = path.with_name("copy.db-wal")
        before = log.read_bytes()
        flip_bit(log, chance.randrange(32, len(before) * 3 // 4))
        damaged = log.read_bytes()
        try:
            assert await messages(path) == MESSAGES
        except StoreCorruptError as error:
            refused += 1
            assert "copy.db" in str(error)
            assert log.read_bytes() == damaged
            with pytest.raises(StoreCorruptError):
                await messages(path)
    assert refused > TRIALS / 2


async def test_a_commit_that_was_torn_by_a_loss_of_power_is_no_damage(synced: Copier) -> None:
    whole = synced().with_name("copy.db-wal").read_bytes()
    chance = Random(2)
    for _ in range(TRIALS):
        path = synced()
        log = path.with_name("copy.db-wal")
        torn = len(whole) - chance.randrange(1, 4096)
        log.write_bytes(whole[:torn] + bytes(chance.randrange(0, 8192)))
        assert await messages(path) in (MESSAGES - 1, MESSAGES)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.99])
async def test_a_truncated_file_is_refused_when_it_is_opened(synced: Copier, part: float) -> None:
    path = synced()
    assert await messages(path) == MESSAGES  # and the log is in the file now
    cut = path.read_bytes()[: int(path.stat().st_size * part)]
    path.write_bytes(cut)
    with pytest.raises(StoreCorruptError, match="it is damaged"):
        await messages(path)
    assert path.read_bytes() == cut


async def test_a_full_check_finds_what_opening_does_not_look_at(synced: Copier) -> None:
    """Whatever is wrong with the structure of the file, and says what; a whole file passes."""
    path = synced()
    assert await messages(path) == MESSAGES
    async with SQLiteStore(path) as store:
        await store.check()
    size = path.stat().st_size
    found = 0
    for page in range(1, size // 4096):
        whole = path.read_bytes()
        path.write_bytes(whole[: page * 4096] + bytes(64) + whole[page * 4096 + 64 :])
        try:
            async with SQLiteStore(path) as store:
                await store.check()
        except StoreCorruptError as error:
            found += 1
            assert "restore a backup" in str(error)
        path.write_bytes(whole)
    assert found > size // 4096 // 2
