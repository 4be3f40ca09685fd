"""A row that cannot be read is shown as such, and its room goes on: over the stores that have rows."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit import RoomKit
from roomkit.abc.errors import StoreError
from roomkit.abc.store import ConversationStore
from roomkit.models.base import Record
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent, UnknownContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.participant import Participant, banned_senders
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sql import damaged
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import RecordingChannel

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()
LONG = "1" + "0" * 4300

SQLITE = {
    "no JSON": "UPDATE events SET data = substr(data, 1, 40) WHERE id = ?",
    "no object": "UPDATE events SET data = '[]' WHERE id = ?",
    "long number": f"UPDATE events SET data = replace(data, ':1}}', ':{LONG}}}') WHERE id = ?",
    "flipped type": "UPDATE events SET data = json_set(data, '$.source', 5) WHERE id = ?",
    "flipped time": "UPDATE events SET data = json_set(data, '$.created_at', 'soon') WHERE id = ?",
    "content": "UPDATE events SET data = json_set(data, '$.content', 'x') WHERE id = ?",
}
POSTGRES = {
    "long number": f"UPDATE roomkit_events SET metadata = '{{\"n\": {LONG}}}' WHERE id = $1",
    "flipped type": "UPDATE roomkit_events SET source = '5' WHERE id = $1",
    "flipped word": "UPDATE roomkit_events SET status = 'NO WORD' WHERE id = $1",
    "flipped number": "UPDATE roomkit_events SET chain_depth = -5 WHERE id = $1",
    "content": "UPDATE roomkit_events SET content = '\"x\"' WHERE id = $1",
}

type Storage = tuple[Callable[[], ConversationStore], Callable[[str], Awaitable[None]]]


@pytest.fixture(params=[*(("sqlite", each) for each in SQLITE), *(("postgres", each) for each in POSTGRES)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Return what opens the store, and what damages an event in it."""
    kind, what = request.param
    path = tmp_path / "rooms.db"

    async def in_sqlite(event_id: str) -> None:
        with sqlite3.connect(path) as connection:
            assert connection.execute(SQLITE[what], (event_id,)).rowcount == 1
        connection.close()

    if kind == "sqlite":
        return lambda: SQLiteStore(str(path)), in_sqlite
    dsn = request.getfixturevalue("postgres_store_dsn")

    async def in_postgres(event_id: str) -> None:
        connection = await asyncpg.connect(dsn)
        assert await connection.execute(POSTGRES[what], event_id) == "UPDATE 1"
        await connection.close()

    return lambda: PostgresStore(dsn), in_postgres


def opened(store: ConversationStore) -> RoomKit:
    kit = RoomKit(store=store, plugins=PLUGINS, single_process=True)
    kit.register_channel(RecordingChannel("web"))
    kit.register_channel(RecordingChannel("sms"))
    return kit


def said(text: str) -> InboundMessage:
    return InboundMessage(
        channel_id="web", sender_id="ann", content=TextContent(body=text), metadata={"a": 1}
    )


async def test_a_damaged_event_does_not_take_its_room_with_it(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """Timeline, look-up, search, messages, export, deletion and closing go on; the log says it once."""
    open_store, damage = storage
    kit = opened(open_store())
    await kit.create_room("r")
    await kit.attach_channel("r", "web")
    await kit.attach_channel("r", "sms")
    events = [(await kit.process_inbound(said(f"cheese {number}"), room_id="r")).event for number in range(3)]
    assert all(events)
    bad = events[1]
    assert bad is not None
    await kit.close()
    await damage(bad.id)
    damaged._reported.clear()
    kit = opened(open_store())
    try:
        with caplog.at_level(logging.ERROR, "roomkit.store"):
            timeline = await kit.get_timeline("r", limit=100)
            (shown,) = [each for each in timeline if each.id == bad.id]
            assert (shown.room_id, shown.index) == ("r", bad.index)
            assert isinstance(shown.content, UnknownContent) or shown.content == bad.content
            assert text_of(shown.content)
            store = kit.store
            assert await store.get_event(bad.id) == shown
            assert isinstance(store, SQLiteStore | PostgresStore)
            found = {each.id for each in await store.search_events("r", "cheese")}
            assert found >= {each.id for each in events if each is not None and each is not bad}
            good = [each.id for each in events if each is not None and each is not bad]
            assert [each.id for each in timeline if each.id in good] == good
            again = await kit.process_inbound(said("cheese again"), room_id="r")
            assert again.event is not None
            assert again.delivery_results["sms"].success
            assert bad.id in {each.id for each in (await kit.export_room("r")).events}
            assert [line async for line in kit.export_room_lines("r")]
            await kit.close_room("r")
        told = [record for record in caplog.records if bad.id in record.getMessage()]
        assert len(told) == 1
        assert "cheese" not in caplog.text
    finally:
        await kit.close()


RECORDS: dict[type[Record], str] = {
    ChannelBinding: "bindings",
    Participant: "participants",
    Task: "tasks",
    Observation: "observations",
    Timer: "alarms",
}
IN_PLACE: dict[str, dict[type[Record], str]] = {
    "sqlite": {
        **dict.fromkeys(RECORDS, "data = substr(data, 1, 40)"),
        Participant: "data = '[]'",  # an index refuses text that is not JSON
    },
    "sqlite, wrong type": {
        ChannelBinding: "data = json_set(data, '$.access', 5)",
        Participant: "data = json_set(data, '$.joined_at', 'soon')",
        Task: "data = json_set(data, '$.title', 5)",
        Observation: "data = json_set(data, '$.confidence', 5)",
        Timer: "data = json_set(data, '$.due_at', 'soon')",
    },
    "postgres": {
        ChannelBinding: "access = 'NO WORD'",
        Participant: "status = 'NO WORD'",
        Task: "status = 'NO WORD'",
        Observation: "confidence = 5",
        Timer: f"data = '{{\"n\": {LONG}}}'",
    },
}


@pytest.fixture(params=IN_PLACE)
def damaging(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Return what opens the store, and what damages all records of a kind but those of the channel "web"."""
    changes, path = IN_PLACE[request.param], tmp_path / "rooms.db"

    def statement(table: str, prefix: str) -> str:
        model = next(each for each, name in RECORDS.items() if name == table)
        spared = " WHERE channel_id <> 'web'" if model is ChannelBinding else ""
        return f"UPDATE {prefix}{table} SET {changes[model]}{spared}"

    async def in_sqlite(table: str) -> None:
        with sqlite3.connect(path) as connection:
            assert connection.execute(statement(table, "")).rowcount == 1
        connection.close()

    if request.param != "postgres":
        return lambda: SQLiteStore(str(path)), in_sqlite
    dsn = request.getfixturevalue("postgres_store_dsn")

    async def in_postgres(table: str) -> None:
        connection = await asyncpg.connect(dsn)
        assert await connection.execute(statement(table, "roomkit_")) == "UPDATE 1"
        await connection.close()

    return lambda: PostgresStore(dsn), in_postgres


@pytest.mark.parametrize("model", RECORDS, ids=lambda model: model.__name__)
async def test_a_damaged_record_does_not_take_its_room_with_it(
    damaging: Storage, caplog: pytest.LogCaptureFixture, model: type[Record]
) -> None:
    """Timeline, inbound, export and closing go on; it stands with the least rights, and the log names it."""
    open_store, damage = damaging
    kit = opened(open_store())
    await kit.create_room("r")
    await kit.attach_channel("r", "web")
    await kit.attach_channel("r", "sms")
    await kit.process_inbound(said("hello"), room_id="r")
    store = kit.store
    assert [each.id for each in await store.list_participants("r")] == ["ann"]
    await store.add_task(Task(id="t", room_id="r", title="call"))
    await store.add_observation(Observation(id="o", room_id="r", channel_id="web", content="angry"))
    await store.set_timer(Timer(id="a", room_id="r", kind="k", due_at=datetime(2100, 1, 1, tzinfo=UTC)))
    await kit.close()
    await damage(RECORDS[model])
    damaged._reported.clear()
    kit = opened(open_store())
    try:
        with caplog.at_level(logging.ERROR, "roomkit.store"):
            store = kit.store
            again = await kit.process_inbound(said("again").replace(sender_id="bob"), room_id="r")
            assert again.event is not None
            assert again.delivery_results.keys() == (set() if model is ChannelBinding else {"sms"})
            assert len(await kit.get_timeline("r", limit=100)) >= 2
            bindings = {each.channel_id: each for each in await store.list_bindings("r")}
            assert bindings.keys() == {"web", "sms"}
            assert await store.get_binding("r", "sms") == bindings["sms"]
            closed = model is ChannelBinding
            assert (bindings["sms"].can_read, bindings["sms"].can_write) == (not closed, not closed)
            assert {each.id for each in await store.list_participants("r")} >= {"ann"}
            assert [each.id for each in await store.list_tasks("r")] == ["t"]
            assert await store.get_task("t") is not None
            assert [each.id for each in await store.list_observations("r")] == ["o"]
            assert ("a" in [each.id for each in await store.list_timers("r")]) == (model is not Timer)
            await kit.export_room("r")
            assert [line async for line in kit.export_room_lines("r")]
            await kit.close_room("r")
        told = [record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage()]
        assert len(told) == 1
        assert f"a stored {model.__name__} (" in told[0]
    finally:
        await kit.close()


async def test_a_damaged_row_lifts_no_ban(tmp_path: Path) -> None:
    """Who is banned stays so, when the row no longer says it."""
    store = SQLiteStore(str(tmp_path / "rooms.db"))
    await store.create_room(Room(id="r"))
    await store.add_participant(Participant(id="ann", room_id="r", channel_id="web", status="banned"))
    await store.close()
    with sqlite3.connect(tmp_path / "rooms.db") as connection:
        connection.execute("UPDATE participants SET data = '[]'")
    connection.close()
    store = SQLiteStore(str(tmp_path / "rooms.db"))
    people = {each.id: each for each in await store.list_participants("r")}
    assert banned_senders(people, "web") == {"ann"}
    await store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_damaged_room_is_refused_by_name_and_the_others_go_on(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """Without its row it is not known what a room permits."""
    dsn = request.getfixturevalue("postgres_store_dsn") if kind == "postgres" else ""
    path = tmp_path / "rooms.db"

    def open_store() -> ConversationStore:
        return PostgresStore(dsn) if dsn else SQLiteStore(str(path))

    kit = opened(open_store())
    for room_id in ("bad", "good"):
        await kit.create_room(room_id)
        await kit.attach_channel(room_id, "web")
    await kit.close()
    if dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE roomkit_rooms SET timers = '5' WHERE id = 'bad'")
        await connection.close()
    else:
        with sqlite3.connect(path) as file:
            file.execute("UPDATE rooms SET data = json_set(data, '$.timers', 5) WHERE id = 'bad'")
        file.close()
    kit = opened(open_store())
    try:
        with pytest.raises(StoreError, match=r"a stored Room \(id 'bad'\) cannot be read"):
            await kit.process_inbound(said("hello"), room_id="bad")
        assert (await kit.process_inbound(said("hello"), room_id="good")).event is not None
        await kit.close_room("good")
    finally:
        await kit.close()
