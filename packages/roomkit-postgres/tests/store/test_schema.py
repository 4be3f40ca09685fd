"""Every database that was ever made opens, also for several at once, and foreign tables are not touched."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from roomkit.abc.errors import StoreSchemaError
from roomkit.abc.store import Commit, HomeRecord, MediaUse
from roomkit.models.content import TextContent
from roomkit.models.enums import DeliveryState, RoomStatus
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit_plugins.postgres import PostgresMediaStore, PostgresStore
from roomkit_plugins.postgres.schema import STEPS, Step, migrate, plan
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import snapshot

from .conftest import StoreMaker, ask, configured, send

MUSEUM = Path(__file__).parent / "museum"
MOODS = "ALTER TABLE roomkit_rooms ADD COLUMN mood text NOT NULL DEFAULT 'calm'"
NEXT = Step(STEPS[-1].version + 1, "moods", (MOODS,))
BROKEN = Step(NEXT.version, "a mistake", (*NEXT.statements, "CREATE TABLE roomkit_rooms (id text)"))
SHAPE = r"""
SELECT 'column ' || table_name || '.' || column_name, data_type || is_nullable || coalesce(collation_name, '')
    || coalesce(column_default, '') FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'function ' || proname, regexp_replace(prosrc, '\s+', '', 'g') FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'constraint ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
"""


async def _exhibit(version: int, dsn: str) -> None:
    """Make the tables of a version; an exhibit may have only what its step changed."""
    script = (MUSEUM / f"version_{version}.sql").read_text(encoding="utf-8")
    if script.startswith(f"-- After version_{version - 1}.sql"):
        await _exhibit(version - 1, dsn)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def test_the_museum_has_every_version() -> None:
    assert {each.name for each in MUSEUM.glob("*.sql")} == {f"version_{step.version}.sql" for step in STEPS}
    assert [step.version for step in STEPS] == list(range(1, len(STEPS) + 1))


async def test_a_released_step_is_never_changed(postgres_dsn: str, dsn: str) -> None:
    """What the newest exhibit has is what a new database gets: a change of it is a new step."""
    await _exhibit(STEPS[-1].version, postgres_dsn)
    assert dict(await ask(postgres_dsn, SHAPE)) == dict(await ask(dsn, SHAPE))


@pytest.mark.parametrize("version", [step.version for step in STEPS])
async def test_a_database_of_every_version_opens_and_is_whole(
    stores: StoreMaker, postgres_dsn: str, version: int
) -> None:
    """Everything that was written to it is read from it, and it goes on."""
    await _exhibit(version, postgres_dsn)
    store = stores(postgres_dsn)
    before = await snapshot(store, "museum")
    assert before.room is not None
    assert (before.room.status, before.room.organization_id) == (RoomStatus.PAUSED, "acme")
    assert before.room.metadata == {"tier": "gold", "nested": {"a": [1, None]}}
    assert [each.content for each in before.events[:2]] == [
        TextContent(body="edited"),
        TextContent(body="a\x00b"),
    ]
    assert [each.channel_id for each in before.bindings] == ["sms", "ai"]
    assert [each.id for each in before.participants] == ["ann"]
    assert [each.id for each in before.tasks] == ["t"]
    assert [each.id for each in before.observations] == ["o"]
    assert [each.id for each in before.timers] == ["a"]
    assert before.marks == {"sms": 1}
    assert [each.state for each in before.deliveries] == [DeliveryState.SENT, DeliveryState.PENDING]
    identity = await store.resolve_identity("sms", "+1", organization_id="acme")
    assert identity is not None
    worker = await store.open_lease(60)
    assert [each.delivery.id for each in await store.claim("museum", worker)] == ["e1:ai"]
    (added,) = (await send(store, event("museum"))).events
    assert added.index == before.room.latest_index + 1


async def test_what_version_8_added_is_whole(stores: StoreMaker, postgres_dsn: str) -> None:
    """Files, and the events that refer to them."""
    await _exhibit(8, postgres_dsn)
    store = stores(postgres_dsn)
    assert await store.find_media_rooms(["f1", "f2"]) == {"f1": {"museum"}, "f2": {"museum"}}
    assert await store.list_event_media(["e0"]) == [MediaUse("f1", "e0")]
    assert await store.list_unused_media(NOW + timedelta(hours=1)) == [("museum", "f2")]
    media = await PostgresMediaStore(configured(postgres_dsn)).start()
    assert b"".join([piece async for piece in media.open("f1", start=1)]) == b"i"
    found = await media.find("f1")
    assert found is not None
    assert (found.filename, found.created_at) == ("a.txt", NOW)
    await media.close()


async def test_what_version_7_added_is_whole(stores: StoreMaker, postgres_dsn: str) -> None:
    """Homes: of a channel in a room, and elected ones."""
    await _exhibit(7, postgres_dsn)
    store = stores(postgres_dsn)
    home = await store.get_home("museum", "voice")
    assert home == HomeRecord("museum", "voice", "gone", 3, url="http://a", lost_at=NOW)
    worker = await store.open_lease(60)
    assert (await store.take_home("museum", "voice", worker)).token == 4
    assert (await store.take_home(None, "bot", worker)).token == 3


async def test_what_version_6_added_is_whole(stores: StoreMaker, postgres_dsn: str) -> None:
    """Bindings by address, timers of no room, about a person and of kinds of their own."""
    await _exhibit(6, postgres_dsn)
    store = stores(postgres_dsn)
    assert await store.find_address_room_ids("sms", "+15550001") == ["museum"]
    bound = await store.get_binding("museum", "sms")
    assert bound is not None
    assert bound.state == {"conversation": "c"}
    worker = await store.open_lease(60)
    (timer,) = await store.claim_timers(worker, NOW, ["acme.call"])
    assert (timer.id, timer.room_id, timer.subject, timer.due_at) == ("acme.call", None, "ann", NOW)
    assert await store.delete_timers_of("ann") == 1


async def test_what_earlier_versions_stored_is_found_by_what_version_6_looks_for(
    stores: StoreMaker, postgres_dsn: str
) -> None:
    """Vendors' ids of events, whatever else their sources say; values made from what rooms hold."""
    await _exhibit(5, postgres_dsn)
    source = '{"channel_id":"alice","channel_type":"sms","external_id":"v","raw_payload":{"x":"a\\u0000"}}'
    await ask(postgres_dsn, f"UPDATE roomkit_events SET source = '{source}' WHERE id = 'e1'")
    values = "roomkit_values (organization_id, namespace, key, room_id, data)"
    for key, derived in (("a", "true"), ("b", "false")):
        data = f'{{"namespace":"n","key":["{key}"],"data":{{"x":"\\u0000"}},"derived":{derived}}}'
        await ask(postgres_dsn, f"INSERT INTO {values} VALUES ('', 'n', '[\"{key}\"]', 'museum', '{data}')")
    store = stores(postgres_dsn)
    found = await store.find_event("alice", "v")
    assert found is not None
    assert found.id == "e1"
    await store.commit(Commit(room_id="museum", entries=(), at=NOW, redact=["e1"]))
    assert await store.find_event("alice", "v") is None
    assert [each.key for each in await store.list_values("n")] == [("b",)]


async def test_a_worker_of_an_earlier_version_is_not_given_timers_that_it_would_drop(
    stores: StoreMaker, dsn: str
) -> None:
    store = stores(dsn)
    await store.create_room(Room(id="r"))
    for kind in ("acme.call", "retention"):
        await store.set_timer(Timer(id=kind, room_id="r", kind=kind, due_at=NOW))
    worker = await store.open_lease(60)
    await ask(dsn, f"SELECT roomkit_claim_alarms('{worker}', '2031-01-01', 100)")
    held = await ask(dsn, "SELECT id FROM roomkit_alarms WHERE holder IS NOT NULL")
    assert [tuple(each) for each in held] == [("retention",)]


async def test_many_processes_make_the_tables_at_once(stores: StoreMaker, postgres_dsn: str) -> None:
    """Eight workers that start together on an empty database all start."""
    program = (
        "import asyncio, sys\n"
        "from roomkit_plugins.postgres import PostgresStore\n"
        "async def main():\n"
        "    async with PostgresStore(sys.stdin.readline().strip()) as store:\n"
        "        await store.open_lease(60)\n"
        "asyncio.run(main())\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(8)
    ]
    ended = await asyncio.gather(*(each.communicate(f"{postgres_dsn}\n".encode()) for each in processes))
    assert [error.decode() for _, error in ended] == [""] * 8
    assert len(await ask(postgres_dsn, "SELECT FROM roomkit_leases")) == 8
    versions = await ask(postgres_dsn, "SELECT version FROM roomkit_schema ORDER BY version")
    assert [row[0] for row in versions] == [step.version for step in STEPS]


async def test_a_plan_does_nothing(postgres_dsn: str, dsn: str) -> None:
    """It says what would be done, to an empty database and to one that is up to date."""
    told = tuple(f"{step.version}: {step.summary}" for step in STEPS)
    planned = await PostgresStore.plan_migration(postgres_dsn)
    assert (planned.found, planned.wanted, planned.steps, planned.rows) == (0, STEPS[-1].version, told, {})
    assert await ask(postgres_dsn, "SELECT FROM pg_tables WHERE schemaname = 'public'") == []
    planned = await PostgresStore.plan_migration(dsn)
    assert (planned.found, planned.steps) == (STEPS[-1].version, ())
    assert "roomkit_events" in planned.rows
    assert (urlsplit(dsn).password or "no password") not in repr(planned)


async def test_a_step_is_made_whole_or_not_at_all(stores: StoreMaker, dsn: str) -> None:
    store = stores()
    room = await store.create_room(Room(id="kept"))
    connection = await asyncpg.connect(dsn)
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(connection, "here", (*STEPS, BROKEN))
    assert (await plan(connection, "here", (*STEPS, NEXT))).steps == (f"{NEXT.version}: moods",)
    for _ in range(2):
        await migrate(connection, "here", (*STEPS, NEXT))
    assert await connection.fetchval("SELECT mood FROM roomkit_rooms") == "calm"
    await connection.close()
    assert await store.get_room(room.id) == room


async def test_a_newer_schema_is_refused(stores: StoreMaker, dsn: str) -> None:
    """With the way out, and without a change."""
    await ask(dsn, "INSERT INTO roomkit_schema (version) VALUES (1000)")
    with pytest.raises(StoreSchemaError, match=r"1000.*upgrade roomkit-postgres"):
        await stores().open()
    with pytest.raises(StoreSchemaError, match="1000"):
        await PostgresStore.plan_migration(dsn)


async def test_another_programs_tables_are_left_alone(stores: StoreMaker, postgres_dsn: str) -> None:
    """Beside ours they may be whatever they are; of our names, they keep us out."""
    await ask(postgres_dsn, "CREATE TABLE rooms (id int)")
    await ask(postgres_dsn, "CREATE TABLE roomkit_events (mine int)")
    with pytest.raises(StoreSchemaError, match="roomkit_events"):
        await stores(postgres_dsn).open()
    await ask(postgres_dsn, "DROP TABLE roomkit_events")
    await stores(postgres_dsn).open()
    assert await ask(postgres_dsn, "SELECT * FROM rooms") == []


async def test_schemas_of_one_database_are_apart(stores: StoreMaker, postgres_dsn: str) -> None:
    await ask(postgres_dsn, "CREATE SCHEMA one")
    await ask(postgres_dsn, "CREATE SCHEMA two")
    one, two = stores(postgres_dsn, schema_name="one"), stores(postgres_dsn, schema_name="two")
    await asyncio.gather(one.create_room(Room(id="room")), two.create_room(Room(id="other")))
    assert await two.get_room("room") is None
    assert await ask(postgres_dsn, "SELECT FROM pg_tables WHERE schemaname = 'public'") == []
    with pytest.raises(StoreSchemaError, match="schema_name"):
        await PostgresStore(configured(postgres_dsn, schema_name="three")).open()
