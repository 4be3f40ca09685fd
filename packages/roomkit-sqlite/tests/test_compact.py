"""Erased data can be removed from every file."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from roomkit.abc.errors import StoreClosedError, StoreLockedError
from roomkit.abc.store import Commit
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.contracts.base import NOW, event

from .conftest import Opener, say


def _traces(path: Path, word: str) -> list[str]:
    """Return the files, of the store's, that have a word anywhere in them."""
    return [each.name for each in path.parent.glob(f"{path.name}*") if word.encode() in each.read_bytes()]


async def test_nothing_of_what_was_erased_is_left(store: SQLiteStore, room: Room, path: Path) -> None:
    """Neither of a redacted event nor of a room that was deleted, in any file."""
    other = await store.create_room(Room())
    (told,) = await say(store, event(room.id, "cuckoo clocks"))
    await say(store, event(other.id, "nightingale songs"))
    await say(store, event(room.id, "harmless"))
    await store.commit(Commit(room_id=room.id, entries=(), at=NOW, redact=[told.id]))
    await store.delete_room(other.id)
    assert _traces(path, "cuckoo")  # in the log and the index, where no call of the store finds it
    await store.compact()
    for word in ("cuckoo", "clocks", "nightingale", "songs"):
        assert _traces(path, word) == []
    assert len(await store.search_events(room.id, "harmless")) == 1
    assert (await store.get_event_count(room.id), await store.get_room(other.id)) == (2, None)


async def test_a_store_can_be_compacted_while_it_is_in_use(
    store: SQLiteStore, room: Room, opener: Opener
) -> None:
    """Writes wait and go on, here and in another process's store."""
    other = opener()
    await other.open()

    async def write(by: SQLiteStore) -> None:
        for number in range(20):
            await say(by, event(room.id, str(number)))

    await asyncio.gather(write(store), store.compact(), write(other), store.compact())
    events = await other.list_events(room.id, limit=100)
    assert [each.index for each in events] == list(range(40))
    assert len(await store.search_events(room.id, "7")) == 2


async def test_who_reads_old_contents_keeps_them_in_the_log(
    opener: Opener, path: Path, room: Room, store: SQLiteStore
) -> None:
    """It is said, and done when they have finished."""
    hasty = opener(busy_timeout=0.02)
    (told,) = await say(hasty, event(room.id, "cuckoo"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        await hasty.commit(Commit(room_id=room.id, entries=(), at=NOW, redact=[told.id]))
        with pytest.raises(StoreLockedError, match=r"rooms\.db' is compact, but a reader"):
            await hasty.compact()
        reader.execute("ROLLBACK")
    await hasty.compact()
    assert _traces(path, "cuckoo") == []


async def test_a_closed_store_is_not_compacted(store: SQLiteStore) -> None:
    await store.close()
    with pytest.raises(StoreClosedError):
        await store.compact()
