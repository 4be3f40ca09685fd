"""A copy can be made while the store is in use."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roomkit.abc.errors import StoreError, StoreUnavailableError
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.contracts.base import event

from .conftest import Opener, say


async def test_a_backup_is_a_store_of_its_own(
    store: SQLiteStore, room: Room, opener: Opener, tmp_path: Path
) -> None:
    stored = await say(store, event(room.id, "kept"), targets=("sms",))
    await store.backup(tmp_path / "copy.db")
    assert sorted(each.name for each in tmp_path.iterdir() if "copy" in each.name) == ["copy.db"]
    copy = opener(path=tmp_path / "copy.db")
    assert await copy.list_events(room.id) == stored
    assert await copy.search_events(room.id, "kept") == stored
    assert len(await copy.list_deliveries(room.id)) == 1
    await say(copy, event(room.id))
    assert await store.get_event_count(room.id) == 1


async def test_a_backup_under_load_is_one_moment(
    store: SQLiteStore, room: Room, opener: Opener, tmp_path: Path
) -> None:
    async def write() -> None:
        for number in range(50):
            await say(store, event(room.id, str(number)), targets=("sms",))

    await asyncio.gather(write(), *(store.backup(tmp_path / f"{number}.db") for number in range(3)))
    for number in range(3):
        copy = opener(path=tmp_path / f"{number}.db")
        kept = await copy.get_room(room.id)
        assert kept is not None
        events = await copy.list_events(room.id, limit=100)
        assert [each.index for each in events] == list(range(kept.event_count))
        assert len(await copy.list_deliveries(room.id)) == kept.event_count


async def test_a_backup_replaces_nothing(store: SQLiteStore, room: Room, tmp_path: Path) -> None:
    """Neither a file that is there, nor is a folder made."""
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        await store.backup(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        await store.backup(tmp_path / "nowhere" / "copy.db")
