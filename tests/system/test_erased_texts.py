"""After the erasure of a person no table, and no object of a store in memory, holds a word of theirs."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit import RoomKit
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.store import ConversationStore
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import EditContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType, EventType, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.models.task import Observation, Task
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()
SECRET = "pomegranate"
OTHERS = "quince"

type Traces = Callable[[str], Awaitable[list[str]]]


class Stored(NamedTuple):
    """A kit, and what finds a text in all that its store keeps."""

    kit: RoomKit
    find: Traces


# -- looking into the stores ------------------------------------------------------------------------


def texts_in(root: object) -> Iterator[str]:
    """Yield every text that an object leads to."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif id(each) not in seen and not isinstance(each, type | ModuleType | FunctionType | asyncio.Future):
            seen.add(id(each))
            waiting += gc.get_referents(each)


def in_memory(_: Path, __: Callable[[], str]) -> tuple[ConversationStore, Traces]:
    store = InMemoryStore()

    async def find(text: str) -> list[str]:
        return sorted({each for each in texts_in(store) if text in each})

    return store, find


def on_sqlite(folder: Path, _: Callable[[], str]) -> tuple[ConversationStore, Traces]:
    store = SQLiteStore(folder / "rooms.db")

    async def find(text: str) -> list[str]:
        await store.compact()  # until then, the index of the search keeps words of what was redacted
        with sqlite3.connect(store.config.path) as database:
            tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            rows = [(table, database.execute(f"SELECT * FROM {table}").fetchall()) for (table,) in tables]
        return [f"{table}: {row}" for table, all_rows in rows for row in all_rows if text in repr(row)]

    return store, find


def on_postgres(_: Path, dsn: Callable[[], str]) -> tuple[ConversationStore, Traces]:
    url = dsn()

    async def find(text: str) -> list[str]:
        database = await asyncpg.connect(url)
        try:
            tables = await database.fetch("SELECT tablename FROM pg_tables WHERE tablename ~ '^roomkit_'")
            rows = [
                (table, await database.fetch(f"SELECT row_to_json(t)::text FROM {table} t"))
                for (table,) in tables
            ]
        finally:
            await database.close()
        return [f"{table}: {row}" for table, all_rows in rows for (row,) in all_rows if text in row]

    return PostgresStore(url), find


@pytest.fixture(params=[in_memory, on_sqlite, on_postgres])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stored]:
    """A started kit."""
    store, find = request.param(tmp_path, lambda: request.getfixturevalue("postgres_dsn"))
    parts: Any = (
        {}
        if request.param is on_postgres
        else {"lock_manager": InMemoryLockManager(), "single_process": True}
    )
    async with RoomKit(store, plugins=PLUGINS, **parts) as kit:
        yield Stored(kit, find)


# -- a room in which everything quotes what is said --------------------------------------------------


class Refusing(RecordingChannel):
    """A channel whose vendor quotes each message as it refuses it."""

    async def deliver(self, event: RoomEvent, *_: Any) -> ChannelOutput:
        raise ProviderError(f"refused {event.content}", error_code=ErrorCode.INVALID_RECIPIENT)


class Quoting(ScriptedIntelligence):
    """An agent that answers, leaves tasks and observations, and breaks, each with the words it was asked."""

    async def on_event(self, event: RoomEvent, binding: Any, context: Any) -> ChannelOutput:
        asked = f"{event.content}"
        if "break" in asked:
            raise RuntimeError(f"no idea what to do with {asked}")
        about = {"event": event.id}
        return ChannelOutput(
            responded=True,
            response_events=[event.replace(id=f"re-{event.id}", content=TextContent(body=asked))],
            tasks=[Task(id=f"t-{event.id}", room_id="r", title=asked, metadata=about)],
            observations=[
                Observation(id=f"o-{event.id}", room_id="r", channel_id="bot", content=asked, metadata=about)
            ],
        )


async def refuse_rude(event: RoomEvent, context: Any) -> HookResult:
    return HookResult.block(f"{event.content}") if "rude" in f"{event.content}" else HookResult.allow()


async def say(kit: RoomKit, who: str, content: str | EditContent, kind: EventType = EventType.MESSAGE) -> str:
    said = TextContent(body=content) if isinstance(content, str) else content
    message = InboundMessage(
        channel_id="web",
        sender_id=who,
        content=said,
        event_type=kind,
        metadata={"note": f"{said}"},
        raw_payload={"body": f"{said}"},
    )
    result = await kit.process_inbound(message, room_id="r")
    assert result.event is not None
    return result.event.id


async def test_no_word_of_an_erased_person_is_left(stored: Stored) -> None:
    """Not in what failed, was refused, edited, or left by agents either; what others said stays."""
    kit, find = stored
    kit.register_channel(RecordingChannel("web", channel_type=ChannelType.WEBSOCKET))
    kit.register_channel(Refusing("sms", channel_type=ChannelType.SMS))
    kit.register_channel(Quoting("bot"))
    kit.hook(HookTrigger.BEFORE_BROADCAST)(refuse_rude)
    await kit.create_room("r")
    for channel in ("web", "sms", "bot"):
        await kit.attach_channel("r", channel)
    for who, word in (("ann", SECRET), ("bob", OTHERS)):
        said = await say(kit, who, f"a {word}")
        await say(kit, who, f"break {word}")
        await say(kit, who, f"rude {word}")
        edit = EditContent(target_event_id=said, new_content=TextContent(body=f"new {word}"))
        await say(kit, who, edit, EventType.EDIT)
    tables_before = await find(SECRET)
    assert len(tables_before) > 5
    await kit.erase_person(participant_id="ann")
    assert await find(SECRET) == []
    assert len(await find(OTHERS)) == len(tables_before)
