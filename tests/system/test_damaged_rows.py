"""A row that cannot be read is shown as such, and its room goes on: over the stores that have rows."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit import RoomKit
from roomkit.abc.store import ConversationStore
from roomkit.memory import damaged
from roomkit.models.content import TextContent, UnknownContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
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
    dsn = request.getfixturevalue("postgres_dsn")

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
