"""Failures of a file have names, and acknowledged writes stay. Every failure here is a real one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from roomkit.abc.errors import (
    InvalidInputError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreSchemaError,
    StoreUnavailableError,
)
from roomkit.abc.store import Commit, Entry
from roomkit.models.enums import DeliveryState
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.contracts.base import NOW, event

from .conftest import Opener, on_writer, plan_sms, say


def _limit_pages(connection: sqlite3.Connection, spare: int) -> None:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + spare}")


async def test_a_full_disk_is_named_and_loses_nothing(store: SQLiteStore, room: Room) -> None:
    kept = await say(store, event(room.id, "kept"))
    await on_writer(store, lambda connection: _limit_pages(connection, 4))
    with pytest.raises(StoreFullError, match=r"rooms\.db.*make room"):
        await say(store, event(room.id, "x" * 100_000), targets=("sms",))
    assert await store.list_events(room.id) == kept
    assert await store.list_deliveries(room.id) == []
    await on_writer(store, lambda connection: _limit_pages(connection, 1000))
    (later,) = await say(store, event(room.id, "later"))
    assert later.index == kept[-1].index + 1


async def test_a_locked_file_is_named_after_the_timeout(opener: Opener, path: Path) -> None:
    store = opener(busy_timeout=0.02)
    room = await store.create_room(Room())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLockedError, match="busy_timeout"):
            await say(store, event(room.id))
        assert await store.get_room(room.id) is not None
        other.execute("ROLLBACK")
    assert len(await say(store, event(room.id))) == 1


async def test_a_full_disk_ends_no_delivery_by_half(store: SQLiteStore, room: Room) -> None:
    """Neither alone nor riding along with a commit; the row is as pending as before, and its worker's."""
    worker = await store.open_lease(60)
    await plan_sms(store, room.id, worker)
    (row,) = await store.list_deliveries(room.id)
    ended = row.replace(state=DeliveryState.SENT, reason="x" * 100_000)
    await on_writer(store, lambda connection: _limit_pages(connection, 4))
    with pytest.raises(StoreFullError):
        await store.complete([ended.outcome()], worker_id=worker)
    riding = Commit(room_id=room.id, entries=(), at=NOW, worker_id=worker, completed=[ended.outcome()])
    with pytest.raises(StoreFullError):
        await store.commit(riding)
    assert await store.list_deliveries(room.id) == [row]
    await on_writer(store, lambda connection: _limit_pages(connection, 1000))
    assert (await store.commit(riding)).completed.refused == []
    (after,) = await store.list_deliveries(room.id)
    assert (after.state, after.holder) == (DeliveryState.SENT, None)


async def test_a_worker_that_cannot_write_hears_why_and_keeps_what_it_holds(
    opener: Opener, path: Path
) -> None:
    """Each call of a worker's names the lock; when it is gone, the lease is still in force."""
    store = opener(busy_timeout=0.02)
    room = await store.create_room(Room())
    worker = await store.open_lease(60)
    await plan_sms(store, room.id, worker)
    (row,) = await store.list_deliveries(room.id)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for call in (
            store.renew_lease(worker, 60),
            store.open_lease(60),
            store.claim(room.id, worker),
            store.claim_timers(worker, NOW),
            store.complete([row.outcome(state=DeliveryState.SENT)], worker_id=worker),
            store.close_lease(worker),
        ):
            with pytest.raises(StoreLockedError, match="busy_timeout"):
                await call
        assert await store.find_claimable(worker) == []  # it only reads
        other.execute("ROLLBACK")
    assert await store.renew_lease(worker, 60)
    assert await store.list_deliveries(room.id) == [row]


async def test_a_damaged_file_is_named(opener: Opener, path: Path) -> None:
    store = opener()
    room = await store.create_room(Room())
    for number in range(50):
        await say(store, event(room.id, f"{number} " + "x" * 1000))
    await store.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096 * 20)
        file.write(os.urandom(size - 4096 * 20))
    damaged = path.read_bytes()
    again = opener()
    with pytest.raises(StoreCorruptError, match=r"\.recover"):
        await again.list_events(room.id, limit=100)
    await again.close()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("contents", [b"Dear diary, today I was no database. " * 100, b"{}" * 4000])
async def test_a_file_that_is_no_database_is_not_touched(opener: Opener, path: Path, contents: bytes) -> None:
    """It is named, and stays what it is."""
    path.write_bytes(contents)
    with pytest.raises(StoreSchemaError, match="not a SQLite database"):
        await opener().open()
    assert path.read_bytes() == contents


async def test_another_programs_database_is_not_touched(opener: Opener, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE diary (entry TEXT)")
    contents = path.read_bytes()
    with pytest.raises(StoreSchemaError, match="not one of RoomKit's"):
        await opener().open()
    assert path.read_bytes() == contents


async def test_a_missing_folder_is_named(opener: Opener, tmp_path: Path) -> None:
    """It is not made: a typing error would move the conversations elsewhere."""
    with pytest.raises(StoreUnavailableError, match=r"nowhere' of the store does not exist"):
        await opener(path=tmp_path / "nowhere" / "rooms.db").open()
    assert not (tmp_path / "nowhere").exists()


async def test_a_folder_is_no_file(opener: Opener, tmp_path: Path) -> None:
    """Its name is refused with what to do."""
    with pytest.raises(StoreUnavailableError, match="name a file in it"):
        await opener(path=tmp_path).open()


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """Return a folder that this process cannot write to, root or not."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("existing", [True, False], ids=["a file", "a folder"])
async def test_what_cannot_be_written_to_is_named(
    opener: Opener, read_only_folder: Path, existing: bool
) -> None:
    """Both a file that may only be read and a folder in which none may be made."""
    path = read_only_folder / "rooms.db"
    if existing:
        first = opener(path=path)
        await first.create_room(Room())
        await first.close()
        path.chmod(0o444)
    read_only_folder.chmod(0o555)
    uid = os.geteuid()
    if uid == 0:  # whom no permission stops
        os.seteuid(65534)
    try:
        with pytest.raises((StoreReadOnlyError, StoreUnavailableError), match=r"rooms\.db") as caught:
            await opener(path=path).create_room(Room())
    finally:
        os.seteuid(uid)
    assert isinstance(caught.value, StoreReadOnlyError) == existing


async def test_a_file_from_the_future_is_refused_with_instructions(opener: Opener, path: Path) -> None:
    first = opener()
    await first.open()
    await first.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as newer:
        newer.execute("INSERT INTO schema_version VALUES (99, '2099-01-01')")
        newer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    contents = path.read_bytes()
    with pytest.raises(StoreSchemaError, match=r"version 99.*upgrade roomkit-sqlite"):
        await opener().open()
    assert path.read_bytes() == contents


async def test_a_record_of_a_newer_core_is_read_and_kept(store: SQLiteStore, room: Room) -> None:
    """A field this core does not know is not dropped in silence."""
    await on_writer(
        store,
        lambda connection: connection.execute("UPDATE rooms SET data = json_set(data, '$.mood', 'private')"),
    )
    await store.patch_room_metadata(room.id, {"a": 1})
    kept: list[str] = []
    await on_writer(
        store,
        lambda connection: kept.extend(connection.execute("SELECT data ->> '$.mood' FROM rooms").fetchone()),
    )
    assert kept == ["private"]


async def test_a_record_that_cannot_be_read_is_refused_with_instructions(
    store: SQLiteStore, room: Room
) -> None:
    await on_writer(
        store,
        lambda connection: connection.execute(
            "UPDATE rooms SET data = json_set(data, '$.timers', 'private')"
        ),
    )
    with pytest.raises(
        StoreError,
        match=rf"stored Room \(id '{room.id}'\) cannot be read.*timers.*upgrade roomkit-core",
    ) as caught:
        await store.get_room(room.id)
    assert "private" not in "".join(traceback.format_exception(caught.value))


async def test_a_closed_store_says_so(store: SQLiteStore, room: Room) -> None:
    """Reading and writing alike; closing again does nothing."""
    await store.close()
    await store.close()
    with pytest.raises(StoreClosedError, match="is closed: make a new one"):
        await store.get_room(room.id)
    with pytest.raises(StoreClosedError, match="is closed: make a new one"):
        await say(store, event(room.id))
    with pytest.raises(StoreClosedError):
        await store.open()


async def test_a_store_that_could_not_open_can_try_again(opener: Opener, tmp_path: Path) -> None:
    store = opener(path=tmp_path / "later" / "rooms.db")
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await store.create_room(Room())
    (tmp_path / "later").mkdir()
    room = await store.create_room(Room())
    assert await store.get_room(room.id) == room


async def test_text_that_is_no_unicode_is_refused(store: SQLiteStore, room: Room) -> None:
    """Before anything is written, and without stopping the others."""
    broken = event(room.id).replace(idempotency_key="\ud800")
    with pytest.raises(InvalidInputError, match=r"a RoomEvent cannot be stored: .*surrogates"):
        await store.commit(Commit(room_id=room.id, entries=[Entry(broken)], at=NOW))
    assert await store.get_room("\ud800") is None
    assert await store.delete_room("\ud800") is False
    assert await store.list_events(room.id) == []


async def test_a_file_is_its_owners(store: SQLiteStore, room: Room, path: Path, tmp_path: Path) -> None:
    await store.backup(tmp_path / "copy.db")
    names = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
    assert names == {"rooms.db": 0o600, "rooms.db-wal": 0o600, "rooms.db-shm": 0o600, "copy.db": 0o600}
