"""Every file that was ever written opens, and no rows are lost on the way."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from roomkit.abc.errors import LockLostError, StoreLockedError, StoreSchemaError, StoreUnavailableError
from roomkit.abc.store import Commit, HomeRecord, MediaUse
from roomkit.models.content import TextContent
from roomkit.models.delivery import DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState, RoomStatus, TaskStatus
from roomkit.models.room import Room, RoomTimers
from roomkit.models.timer import Timer
from roomkit_plugins.sqlite import SQLiteMediaStore, SQLiteStore
from roomkit_plugins.sqlite.rows import dump, micros
from roomkit_plugins.sqlite.schema import STEPS, Step, migrate, plan
from roomkit_plugins.testing.contracts.base import NOW, event

from .conftest import Opener, say

MUSEUM = Path(__file__).parent / "museum"
NEXT = Step(
    STEPS[-1].version + 1,
    "moods",
    ("ALTER TABLE rooms ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'", "CREATE INDEX moods ON rooms (mood)"),
)
BROKEN = Step(NEXT.version, "a mistake", (*NEXT.statements, "CREATE TABLE rooms (id TEXT)"))


def _told(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(f"{step.version}: {step.summary}" for step in steps)


def _exhibit(version: int, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((MUSEUM / f"version_{version}.sql").read_text(encoding="utf-8"))


def test_the_museum_has_every_version() -> None:
    assert {each.name for each in MUSEUM.glob("*.sql")} == {f"version_{step.version}.sql" for step in STEPS}
    assert [step.version for step in STEPS] == list(range(1, len(STEPS) + 1))


def test_a_released_step_is_never_changed(tmp_path: Path) -> None:
    """The tables of the newest exhibit are those that a new file gets: a change of them is a new step."""

    def tables(path: Path) -> dict[str, str]:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
            return {name: re.sub(r"\s+", " ", sql) for name, sql in found}

    _exhibit(STEPS[-1].version, tmp_path / "old.db")
    with closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as connection:
        migrate(connection, tmp_path / "new.db")
    assert tables(tmp_path / "old.db") == tables(tmp_path / "new.db")


@pytest.mark.parametrize("version", [step.version for step in STEPS])
async def test_a_file_of_every_version_opens_and_is_whole(opener: Opener, path: Path, version: int) -> None:
    """Everything that was written to it is read from it, and it goes on."""
    _exhibit(version, path)
    store = opener()
    room = await store.get_room("museum")
    assert room is not None
    assert (room.status, room.organization_id, room.event_count) == (RoomStatus.PAUSED, "acme", 4)
    assert room.metadata == {"tier": "gold", "nested": {"a": [1, None]}}
    events = await store.list_events("museum")
    assert [each.id for each in events] == ["e0", "e1", "e2", "e3"]
    assert events[0].content == TextContent(body="edited")
    assert events[0].edited
    assert events[1].deleted
    assert await store.find_event_by_key("museum", "key") == events[2]
    assert [each.id for each in await store.search_events("museum", "found again")] == ["e2"]
    assert [each.channel_id for each in await store.list_bindings("museum")] == ["sms", "ai"]
    assert [each.id for each in await store.list_participants("museum")] == ["ann"]
    assert await store.find_sender_room_ids("sms", "ann") == ["museum"]
    assert [each.status for each in await store.list_tasks("museum")] == [TaskStatus.IN_PROGRESS]
    assert [each.content for each in await store.list_observations("museum")] == ["seemed happy"]
    assert await store.list_read_marks("museum") == {"sms": 2}
    states = {each.channel_id: each.state for each in await store.list_deliveries("museum")}
    assert states == {"sms": DeliveryState.SENT, "ai": DeliveryState.PENDING}
    read = DeliveryStatus(provider="acme", message_id="vendor-1", status="read")
    row = await store.record_receipt(read, ReceiptState.READ)
    assert row is not None
    assert row.receipt is ReceiptState.READ
    worker = await store.open_lease(60)
    assert await store.find_claimable(worker) == ["museum"]
    (claimed,) = await store.claim("museum", worker)
    assert (claimed.delivery.id, claimed.event) == ("e2:ai", events[2])
    identity = await store.resolve_identity("sms", "+15550001", organization_id="acme")
    assert identity is not None
    assert identity.id == "ann@acme"
    assert [each.id for each in await store.find_rooms("acme", "paused", {"tier": "gold"})] == ["museum"]
    (stored,) = await say(store, event("museum", "next"))
    assert stored.index == 4


async def test_what_version_2_added_is_whole(opener: Opener, path: Path) -> None:
    """Holders, timers, early receipts and the fence of a file of that version."""
    _exhibit(2, path)
    store = opener()
    timers = {each.id: each for each in await store.list_timers("museum")}
    assert list(timers) == ["after:e2", "timers:museum"]
    assert timers["after:e2"].data == {"event_id": "e2"}
    assert timers["timers:museum"].due_at == NOW + timedelta(hours=1)
    (row,) = await store.list_deliveries("museum", state=DeliveryState.PENDING)
    assert row.holder == "worker"
    late = Commit(room_id="museum", entries=(), at=NOW, fence=6)
    with pytest.raises(LockLostError, match="lock 7, after lock 6"):
        await store.commit(late)
    worker = await store.open_lease(60)
    (claimed,) = await store.claim("museum", worker)
    assert (claimed.delivery.holder, claimed.delivery.claims) == (worker, 1)
    ended = claimed.delivery.replace(
        state=DeliveryState.SENT, provider="acme", provider_message_id="vendor-2"
    )
    ((after, status),) = (await store.complete([ended.outcome()], worker_id=worker)).receipts
    assert (after.receipt, status.message_id) == (ReceiptState.DELIVERED, "vendor-2")
    taken = await store.claim_timers(worker, NOW + timedelta(hours=2))
    assert {each.id: each.claims for each in taken} == {"after:e2": 1, "timers:museum": 0}


async def test_what_version_9_added_is_whole(opener: Opener, path: Path) -> None:
    """Files, and the events that refer to them."""
    _exhibit(9, path)
    store = opener()
    assert await store.find_media_rooms(["f1", "f2"]) == {"f1": {"museum"}, "f2": {"museum"}}
    assert await store.list_event_media(["e0"]) == [MediaUse("f1", "e0")]
    assert await store.list_unused_media(NOW + timedelta(hours=1)) == [("museum", "f2")]
    media = await SQLiteMediaStore(path).start()
    assert b"".join([piece async for piece in media.open("f1", start=1)]) == b"i"
    found = await media.find("f1")
    assert found is not None
    assert (found.filename, found.created_at) == ("a.txt", NOW)
    await media.close()


async def test_what_version_8_added_is_whole(opener: Opener, path: Path) -> None:
    """Homes: of a channel in a room, and elected ones."""
    _exhibit(8, path)
    store = opener()
    home = await store.get_home("museum", "voice")
    assert home == HomeRecord("museum", "voice", "gone", 3, url="http://a", lost_at=NOW)
    worker = await store.open_lease(60)
    assert (await store.take_home("museum", "voice", worker)).token == 4
    assert (await store.take_home(None, "bot", worker)).token == 3


async def test_what_version_7_added_is_whole(opener: Opener, path: Path) -> None:
    """Bindings by address, timers of no room, about a person and of kinds of their own."""
    _exhibit(7, path)
    store = opener()
    assert await store.find_address_room_ids("sms", "+15550001") == ["museum"]
    bound = await store.get_binding("museum", "sms")
    assert bound is not None
    assert bound.state == {"conversation": "c"}
    worker = await store.open_lease(60)
    (timer,) = await store.claim_timers(worker, NOW, ["acme.call"])
    assert (timer.id, timer.room_id, timer.subject, timer.due_at) == ("acme.call", None, "ann", NOW)
    assert await store.delete_timers_of("ann") == 1


async def test_events_of_earlier_versions_are_found_by_their_vendors_ids(opener: Opener, path: Path) -> None:
    """And an erasure by a worker of an earlier version, which does not know of the column, takes it too."""
    _exhibit(6, path)
    known = "json_set(data, '$.source.external_id', 'v-' || id)"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE events SET data = {known} WHERE id IN ('e0', 'e2')")
    store = opener()
    found = await store.find_event("alice", "v-e2")
    assert found is not None
    assert found.id == "e2"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        erased = "json_remove(data, '$.source.external_id')"
        connection.execute(f"UPDATE events SET data = {erased}, deleted = 1 WHERE id = 'e2'")
    assert await store.find_event("alice", "v-e2") is None
    assert await store.find_event("alice", "v-e0") is not None


async def test_a_worker_of_an_earlier_version_is_not_given_timers_that_it_would_drop(
    opener: Opener, path: Path
) -> None:
    """It claims timers by `due_at`, whatever the kind."""
    store = opener()
    await store.create_room(Room(id="r"))
    for kind in ("acme.call", "retention"):
        await store.set_timer(Timer(id=kind, room_id="r", kind=kind, due_at=NOW))
    assert [each.id for each in await store.list_timers("r")] == ["acme.call", "retention"]
    with closing(sqlite3.connect(path)) as connection:
        now = connection.execute("SELECT id FROM alarms WHERE due_at <= 2000000000000000").fetchall()
    assert now == [("retention",)]


@pytest.mark.parametrize("was_spoken_in", [True, False], ids=["an idle room", "an empty room"])
@pytest.mark.parametrize(
    ("status", "timers"),
    [
        (RoomStatus.ACTIVE, RoomTimers(inactive_after_seconds=1.5, closed_after_seconds=60)),
        (RoomStatus.PAUSED, RoomTimers(inactive_after_seconds=1.5, closed_after_seconds=60)),
        (RoomStatus.ACTIVE, RoomTimers(closed_after_seconds=1e300)),
        (RoomStatus.ACTIVE, RoomTimers()),
    ],
    ids=["active", "paused", "for ever", "no timers"],
)
async def test_room_timers_of_a_version_1_file_become_timers(
    opener: Opener, path: Path, status: RoomStatus, timers: RoomTimers, was_spoken_in: bool
) -> None:
    """Due when the room says so; no later than a time can be."""
    _exhibit(1, path)
    spoken = NOW + timedelta(microseconds=1) if was_spoken_in else None
    room = Room(id="idle", status=status, timers=timers, created_at=NOW - timedelta(days=1))
    waits = [
        timers.closed_after_seconds,
        timers.inactive_after_seconds if status is RoomStatus.ACTIVE else None,
    ]
    due_after = [min(int(wait * 1_000_000), 2**60) for wait in waits if wait is not None]
    with closing(sqlite3.connect(path)) as connection:  # as version 1 wrote it
        connection.execute(
            "INSERT INTO rooms (id, status, created_at, last_activity, due_after, data) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                room.id,
                status.value,
                micros(room.created_at),
                None if spoken is None else micros(spoken),
                min(due_after, default=None),
                dump(room),
            ),
        )
        connection.commit()
    store = opener()
    stored = await store.get_room("idle")
    assert stored is not None
    found = await store.list_timers("idle")
    if timers.closed_after_seconds == 1e300:
        assert [each.due_at.year for each in found] == [9999]
    elif not due_after:
        assert found == []
    else:
        assert stored.next_due is not None
        assert found == [Timer(id="timers:idle", room_id="idle", kind="room_timers", due_at=stored.next_due)]


def test_a_step_brings_a_file_forward_once(path: Path) -> None:
    """Doing it again does nothing, and rows stay."""
    _exhibit(1, path)
    steps = (*STEPS, NEXT)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        before = plan(connection, path, steps)
        migrate(connection, path, steps)
        migrate(connection, path, steps)
        after = plan(connection, path, steps)
        assert connection.execute("SELECT mood FROM rooms").fetchall() == [("calm",)]
    assert before.steps == (*_told(STEPS[1:]), f"{NEXT.version}: moods")
    assert (after.found, after.steps) == (NEXT.version, ())
    kept = before.rows.keys() - {"schema_version"}
    assert {name: after.rows[name] for name in kept} == {name: before.rows[name] for name in kept}
    assert before.rows["events"] == 4


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    """All of a migration, or nothing of it."""
    _exhibit(1, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        before = list(connection.iterdump())
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrate(connection, path, (*STEPS, BROKEN))
        assert list(connection.iterdump()) == before


async def test_a_plan_changes_nothing(path: Path) -> None:
    """It reports the versions and the steps to do."""
    _exhibit(1, path)
    contents = path.read_bytes()
    planned = await SQLiteStore.plan_migration(path)
    assert (planned.found, planned.wanted, planned.steps) == (1, STEPS[-1].version, _told(STEPS[1:]))
    assert planned.rows["events"] == 4
    assert planned.rows["rooms"] == 1
    assert path.read_bytes() == contents


async def test_a_plan_for_a_file_that_is_not_there_makes_none(path: Path) -> None:
    """It would be made, by all steps."""
    planned = await SQLiteStore.plan_migration(path)
    assert (planned.found, planned.rows) == (0, {})
    assert [each.partition(":")[0] for each in planned.steps] == [str(step.version) for step in STEPS]
    assert not path.exists()
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        await SQLiteStore.plan_migration(path.parent / "nowhere" / "rooms.db")


async def test_a_plan_refuses_what_opening_refuses(path: Path) -> None:
    """Files of others, and of the future."""
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(StoreSchemaError):
        await SQLiteStore.plan_migration(path)
    path.unlink()
    _exhibit(1, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, '2099-01-01')")
    with pytest.raises(StoreSchemaError, match="99"):
        await SQLiteStore.plan_migration(path)


async def test_a_new_file_is_waited_for(opener: Opener, path: Path) -> None:
    """SQLite itself fails immediately where the journal mode of a locked file is to change."""
    with closing(sqlite3.connect(path, isolation_level=None)) as maker:
        maker.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.2, maker.execute, "COMMIT")
        await opener(busy_timeout=30).create_room(Room())
    assert len(await opener().list_rooms()) == 1


async def test_a_new_file_that_stays_locked_is_an_error(opener: Opener, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as maker:
        maker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLockedError, match="busy_timeout"):
            await opener(busy_timeout=0.1).create_room(Room())


async def test_many_may_make_the_file_at_once(opener: Opener, path: Path) -> None:
    """Four processes and four stores of this one: all of them open it, and it is made once."""
    code = (
        "import asyncio, sys\n"
        "from roomkit_plugins.sqlite import SQLiteStore\n"
        "from roomkit.models.room import Room\n"
        "async def main():\n"
        "    async with SQLiteStore(sys.argv[1]) as store:\n"
        "        await store.create_room(Room())\n"
        "asyncio.run(main())\n"
    )
    others = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(path), stderr=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    await asyncio.gather(*(opener(busy_timeout=30).create_room(Room()) for _ in range(4)))
    for other in others:
        _, errors = await other.communicate()
        assert (other.returncode, errors) == (0, b"")
    assert len(await opener().list_rooms()) == 8
    with closing(sqlite3.connect(path)) as connection:
        versions = connection.execute("SELECT version FROM schema_version ORDER BY version").fetchall()
        assert versions == [(step.version,) for step in STEPS]
