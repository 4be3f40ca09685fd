"""Every column of every table is damaged in a room of its own: all the other rooms, and every read, go on."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit import RoomKit
from roomkit.abc.errors import ChannelNotFoundError, RoomNotFoundError, StoreError
from roomkit.abc.store import Commit, ConversationStore, Entry
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery, DeliveryStatus, InboundMessage
from roomkit.models.enums import ChannelType, DeliveryState, ReceiptState
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit.models.value import Value
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sql import damaged
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import RecordingChannel

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = ("good 1", "good 2")
LONG = "1" + "0" * 4300
NO_WORD = "NO WORD: "


class Damage(NamedTuple):
    """The damage to a column; its text is also the id of the damaged room."""

    table: str
    column: str
    how: str

    @property
    def room_id(self) -> str:
        """The room of the record."""
        return f"{self.table}.{self.column} {self.how}"


# -- rooms with one of everything -------------------------------------------------------------------


def said(room_id: str, name: str) -> RoomEvent:
    return RoomEvent(
        id=f"{name}:{room_id}",
        room_id=room_id,
        source=EventSource(channel_id="web", channel_type=ChannelType.WEBSOCKET, participant_id="ann"),
        content=TextContent(body=f"cheese {name}"),
        idempotency_key=f"key {name}:{room_id}",
        metadata={"a": 1},
    )


async def fill(store: ConversationStore, room_id: str) -> None:
    """Make a room with a record in every table: a delivery that is pending, one that is sent in two parts."""
    timer = Timer(id=f"a:{room_id}", room_id=room_id, kind="k", due_at=datetime(2100, 1, 1, tzinfo=UTC))
    await store.create_room(Room(id=room_id, organization_id="org", metadata={"k": "v"}), timers=[timer])
    kept = Value(
        namespace="n", key=(room_id,), subject=f"s:{room_id}", room_id=room_id, organization_id="org"
    )
    await store.commit(
        Commit(
            room_id=room_id,
            at=NOW,
            entries=[Entry(said(room_id, "sent"), ("sms",)), Entry(said(room_id, "pending"), ("sms",))],
            bindings=[
                ChannelBinding(room_id=room_id, channel_id="web", channel_type=ChannelType.WEBSOCKET),
                ChannelBinding(room_id=room_id, channel_id="sms", channel_type=ChannelType.SMS),
            ],
            participants=[
                Participant(id="ann", room_id=room_id, channel_id="web", identity_id=f"i:{room_id}")
            ],
            tasks=[Task(id=f"t:{room_id}", room_id=room_id, title="call")],
            observations=[Observation(id="o", room_id=room_id, channel_id="web", content="angry")],
            values=[kept.replace(data={"a": 1})],
        )
    )
    sent = Delivery.planned(said(room_id, "sent").replace(index=0, created_at=NOW), "sms").replace(
        state=DeliveryState.SENT,
        provider="p",
        provider_message_id=f"1:{room_id}",
        parts=(f"1:{room_id}", f"2:{room_id}"),
        attempts=1,
    )
    await store.complete([sent.outcome()])
    await store.record_receipt(receipt(f"1:{room_id}"), ReceiptState.SENT)
    await store.record_receipt(receipt(f"early:{room_id}"), ReceiptState.SENT)
    await store.mark_read(room_id, "sms", f"sent:{room_id}")
    await store.create_identity(
        Identity(id=f"i:{room_id}", organization_id="org", channel_addresses={"sms": (f"address {room_id}",)})
    )


def receipt(message_id: str) -> DeliveryStatus:
    return DeliveryStatus(provider="p", message_id=message_id, status="sent", raw={"a": 1})


# -- the two databases ------------------------------------------------------------------------------


class Database(NamedTuple):
    """How a store is opened, which damages there are, and how they are done."""

    open: Callable[[], ConversationStore]
    damages: list[Damage]
    damage: Callable[[Iterable[Damage]], Awaitable[None]]


BY_ROOM = {
    "rooms": "id = {}",
    "identities": "id = 'i:' || {}",
    "identity_addresses": "identity = 'i:' || {}",
    "addresses": "identity = 'i:' || {}",
    "kept_values": "subject = 's:' || {}",
    "values": "subject = 's:' || {}",
    "early_receipts": "message_id = 'early:' || {}",
    "receipts": "message_id = 'early:' || {}",
    "delivery_messages": "message_id = '2:' || {}",
    "messages": "message_id = '2:' || {}",
}
IN_ROOM = "room = (SELECT seq FROM {prefix}rooms WHERE id = {{}})"
ONE_OF = {"bindings": " AND channel_id = 'sms'", "events": " AND id LIKE 'sent:%'"}
FOREIGN_KEYS = {("addresses", "identity"), ("identities", "id")}
NOT_OF_ROOMS = {"schema_version", "schema", "leases", "writers", "sqlite_sequence", "heads"} | {
    "media",  # files and their register are read by their own ids alone, never with rooms or events
    "media_files",
    "media_pieces",
    "media_uses",
}


def where(table: str, prefix: str, room: str) -> str:
    by_room = BY_ROOM.get(table, IN_ROOM.format(prefix=prefix)).format(room)
    return f"{by_room}{ONE_OF.get(table, '')}"


def wrong(data: str | None) -> str | None:
    """Return a record as JSON with every field of a type that it has not."""
    if data is None:
        return None
    return json.dumps({name: {"no": ["field"]} for name in json.loads(data)})


def in_sqlite(path: Path) -> Database:
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c "
        "WHERE m.type = 'table' AND c.type = 'TEXT' AND m.name NOT LIKE 'search%' ORDER BY 1, 2"
    ).fetchall()
    connection.close()
    damages = [
        Damage(table, column, how)
        for table, column in found
        if table not in NOT_OF_ROOMS
        for how in (("cut", "list", "types", "long") if column == "data" else ("text",))
        if (table, how) != ("participants", "cut")  # an index refuses text that is not JSON
    ]

    async def damage(all_of_them: Iterable[Damage]) -> None:
        connection = sqlite3.connect(path)
        connection.create_function("wrong", 1, wrong)
        changes = {
            "cut": "substr(data, 1, 20)",
            "list": "'[]'",
            "types": "wrong(data)",
            "long": f"substr(data, 1, length(data) - 1) || ',\"more\":{LONG}}}'",
        }
        for each in all_of_them:
            change = changes.get(each.how, f"'{NO_WORD}{each.room_id}'")
            connection.execute(
                f"UPDATE {each.table} SET {each.column} = {change} WHERE {where(each.table, '', '?')}",
                (each.room_id,),
            )
        connection.commit()
        connection.close()

    return Database(lambda: SQLiteStore(str(path)), damages, damage)


async def in_postgres(dsn: str) -> Database:
    connection = await asyncpg.connect(dsn)
    found = await connection.fetch(
        "SELECT substr(table_name, 9), column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type IN ('text', 'json') ORDER BY 1, 2"
    )
    await connection.close()
    damages = [
        Damage(table, column, how)
        for table, column, kind in found
        if table not in NOT_OF_ROOMS and (table, column) not in FOREIGN_KEYS
        for how in (("number", "long") if kind == "json" else ("text",))
    ]

    async def damage(all_of_them: Iterable[Damage]) -> None:
        connection = await asyncpg.connect(dsn)
        changes = {"number": "'5'", "long": f"'{{\"n\": {LONG}}}'"}
        for each in all_of_them:
            change = changes.get(each.how, f"'{NO_WORD}{each.room_id}'")
            await connection.execute(
                f"UPDATE roomkit_{each.table} SET {each.column} = {change} "
                f"WHERE {where(each.table, 'roomkit_', '$1::text')}",
                each.room_id,
            )
        await connection.close()

    return Database(lambda: PostgresStore(dsn), damages, damage)


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Return a database with a damaged room for each damage, between two that are not."""
    if request.param == "sqlite":
        store: ConversationStore = SQLiteStore(str(tmp_path / "rooms.db"))
    else:
        store = PostgresStore(request.getfixturevalue("postgres_dsn"))
    await fill(store, GOOD[0])
    path, dsn = tmp_path / "rooms.db", request.param == "postgres" and request.getfixturevalue("postgres_dsn")
    made = await in_postgres(dsn) if dsn else in_sqlite(path)
    for each in made.damages:
        await fill(store, each.room_id)
    await fill(store, GOOD[1])
    await store.close()
    await made.damage(made.damages)
    damaged._reported.clear()
    return made


@pytest.fixture
async def store(database: Database) -> AsyncIterator[ConversationStore]:
    """Return the store on the database."""
    opened = database.open()
    yield opened
    await opened.close()


# -- work that continues ----------------------------------------------------------------------------


def reads(store: ConversationStore, room_id: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return every read of the contract that is about one room and what belongs to it."""
    person = f"i:{room_id}"
    return {
        "load": lambda: store.load(room_id, recent=10, key=f"key sent:{room_id}"),
        "get_room": lambda: store.get_room(room_id),
        "get_event": lambda: store.get_event(f"sent:{room_id}"),
        "list_events": lambda: store.list_events(room_id),
        "find_event_by_key": lambda: store.find_event_by_key(room_id, f"key sent:{room_id}"),
        "find_keyed_event": lambda: store.find_keyed_event(f"key sent:{room_id}"),
        "get_event_count": lambda: store.get_event_count(room_id),
        "get_binding": lambda: store.get_binding(room_id, "sms"),
        "list_bindings": lambda: store.list_bindings(room_id),
        "get_participant": lambda: store.get_participant(room_id, "ann"),
        "list_participants": lambda: store.list_participants(room_id),
        "find_participants": lambda: store.find_participants(identity_id=person),
        "get_identity": lambda: store.get_identity(person),
        "resolve_identity": lambda: store.resolve_identity(
            "sms", f"address {room_id}", organization_id="org"
        ),
        "get_task": lambda: store.get_task(f"t:{room_id}"),
        "list_tasks": lambda: store.list_tasks(room_id),
        "list_observations": lambda: store.list_observations(room_id),
        "get_unread_count": lambda: store.get_unread_count(room_id, "sms"),
        "list_read_marks": lambda: store.list_read_marks(room_id),
        "get_value": lambda: store.get_value("n", (room_id,), organization_id="org"),
        "list_values_of": lambda: store.list_values_of(f"s:{room_id}"),
        "get_delivery": lambda: store.get_delivery(f"sent:{room_id}:sms"),
        "list_deliveries": lambda: store.list_deliveries(room_id),
        "record_receipt": lambda: store.record_receipt(receipt(f"2:{room_id}"), ReceiptState.DELIVERED),
        "list_timers": lambda: store.list_timers(room_id),
        "find_latest_room": lambda: store.find_latest_room("ann"),
        "find_sender_room_ids": lambda: store.find_sender_room_ids("web", "ann"),
        "find_room_ids_by_channel": lambda: store.find_room_ids_by_channel("sms"),
    }


def may_fail(each: Damage | None, error: Exception) -> bool:
    """Whether a damage may have that error: a room's own row is needed, and an id that differs is another."""
    if each is None:
        return False
    if isinstance(error, RoomNotFoundError):
        return (each.table, each.column) == ("rooms", "id")
    if isinstance(error, ChannelNotFoundError):
        return (each.table, each.column) == ("bindings", "channel_id")
    return each.table == "rooms" and isinstance(error, StoreError) and "cannot be read" in str(error)


async def failures(store: ConversationStore, each: Damage | None, room_id: str) -> AsyncIterator[str]:
    for name, read in reads(store, room_id).items():
        try:
            await read()
        except Exception as error:  # noqa: BLE001  # every one that is not allowed is a finding
            if not may_fail(each, error):
                yield f"{name} of {room_id}: {error!r:.300}"


async def check_what_is_shown(store: ConversationStore, damages: Iterable[Damage]) -> None:
    """A delivery is never pending again, and a value keeps its place."""
    for each in damages:
        if each.table == "deliveries":
            shown = await store.list_deliveries(each.room_id, event_id=f"sent:{each.room_id}")
            states = {row.state for row in shown}
            assert states <= {DeliveryState.SENT, DeliveryState.FAILED}, each
            assert DeliveryState.SENT in states or each.column == "state", each
        if (each.table, each.column) in (("kept_values", "data"), ("values", "data")):
            value = await store.get_value("n", (each.room_id,), organization_id="org")
            assert value is not None
            assert (value.room_id, value.subject) == (each.room_id, f"s:{each.room_id}")


async def test_a_damaged_column_fails_no_read_but_those_of_its_rooms_own_row(
    database: Database, store: ConversationStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Every read of the contract, for each damaged room and for those beside it."""
    with caplog.at_level(logging.ERROR, "roomkit.store"):
        found = [text for each in GOOD async for text in failures(store, None, each)]
        for each in database.damages:
            found += [text async for text in failures(store, each, each.room_id)]
        assert not found, "\n".join(found)
        await check_what_is_shown(store, database.damages)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(set(told))
    assert "cheese" not in caplog.text


async def test_damaged_rows_shorten_no_page_and_hold_up_no_claim(
    database: Database, store: ConversationStore
) -> None:
    """Pages by cursor and by offset; then deliveries with the receipts that wait for them, and timers."""
    all_of_them = [room.id for room in await store.find_rooms(limit=1000)]
    assert set(all_of_them) >= set(GOOD)
    assert [room.id for room in await store.list_rooms(limit=1000)] == all_of_them
    assert (await store.find_latest_room("ann")) is not None
    missing = {each.room_id for each in database.damages} - set(all_of_them)
    assert missing
    assert {each.table for each in database.damages if each.room_id in missing} == {"rooms"}
    for metadata in ({}, {"k": "v"}):
        whole = [room.id for room in await store.find_rooms(limit=1000, metadata_filter=metadata)]
        by_cursor: list[str] = []
        by_offset: list[str] = []
        while page := await store.find_rooms(
            limit=7, metadata_filter=metadata, after=by_cursor[-1] if by_cursor else None
        ):
            assert len(page) == 7 or len(by_cursor) + len(page) == len(whole)
            by_cursor += [room.id for room in page]
        while page := await store.find_rooms(limit=7, metadata_filter=metadata, offset=len(by_offset)):
            by_offset += [room.id for room in page]
        assert by_cursor == by_offset == whole
    worker = await store.open_lease(600.0)
    claimable = await store.find_claimable(worker, limit=1000)
    assert set(claimable) >= set(GOOD)
    for room_id in claimable:
        claimed = await store.claim(room_id, worker)
        ended = [
            each.delivery.outcome(
                state=DeliveryState.SENT, provider="p", provider_message_id=f"early:{room_id}"
            )
            for each in claimed
        ]
        completed = await store.complete(ended, worker_id=worker)
        assert not completed.refused
        if room_id in GOOD:
            assert [status for _, status in completed.receipts] == [receipt(f"early:{room_id}")]
    assert await store.count_unclaimed() == {}
    timers = await store.claim_timers(worker, datetime(2101, 1, 1, tzinfo=UTC), limit=1000)
    assert {each.room_id for each in timers} >= set(GOOD)


async def test_a_kit_serves_every_room_beside_damaged_ones(database: Database) -> None:
    """Messages, export, the ledger and closing, in each room that is not damaged itself in its own row."""
    kit = RoomKit(store=database.open(), plugins=PLUGINS, single_process=True)
    for channel_id in ("web", "sms"):
        kit.register_channel(RecordingChannel(channel_id))
    found: list[str] = []
    try:
        await kit.start()
        await kit.sweep_room_timers()
        for each in (None, None, *database.damages):
            room_id = each.room_id if each is not None else GOOD[len(found) % 2]
            message = InboundMessage(channel_id="web", sender_id="bob", content=TextContent(body="hello"))
            for work in (
                lambda room_id=room_id, message=message: kit.process_inbound(message, room_id=room_id),
                lambda room_id=room_id: kit.get_timeline(room_id, limit=100),
                lambda room_id=room_id: kit.list_deliveries(room_id),
                lambda room_id=room_id: kit.export_room(room_id),
                lambda room_id=room_id: kit.close_room(room_id),
            ):
                try:
                    await work()
                except Exception as error:  # noqa: BLE001  # every one that is not allowed is a finding
                    if not may_fail(each, error):
                        found.append(f"{room_id}: {error!r:.300}")
        assert not found, "\n".join(found)
    finally:
        await kit.close()
