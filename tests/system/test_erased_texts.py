"""After the erasure of a person no table, and no object of a store in memory, holds a word of theirs."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit import RoomKit
from roomkit.abc.errors import ErrorCode, ProviderError, StoreError
from roomkit.abc.store import ConversationStore
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import EditContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ChannelType, EventType, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.models.identity import Identity
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
        await store.compact()  # until then, the index of the search keeps words of redacted events
        with closing(sqlite3.connect(store.config.path)) as database:
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
    store, find = request.param(tmp_path, lambda: request.getfixturevalue("postgres_store_dsn"))
    parts: Any = (
        {}
        if request.param is on_postgres
        else {"lock_manager": InMemoryLockManager(), "single_process": True}
    )
    async with RoomKit(store, plugins=PLUGINS, **parts) as kit:
        yield Stored(kit, find)


# -- a room in which everything quotes the messages --------------------------------------------------


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


async def receive(kit: RoomKit, channel_id: str, recipient: str, message_id: str) -> None:
    raw = {"To": recipient, "Body": f"quoted for {recipient}"}
    assert (
        await kit.process_delivery_status(
            DeliveryStatus(
                channel_id=channel_id, message_id=message_id, status="sent", recipient=recipient, raw=raw
            )
        )
        is None
    )


async def test_no_receipt_for_an_erased_person_waits_for_its_delivery(stored: Stored) -> None:
    kit, find = stored
    number, former, others, namesake = f"+1{SECRET}", f"+2{SECRET}", f"+1{OTHERS}", f"+3{SECRET}"
    for name, kind in (("sms", ChannelType.SMS), ("web", ChannelType.WEBSOCKET)):
        kit.register_channel(RecordingChannel(name, channel_type=kind))
    identity = Identity(id="i", phone=former, channel_addresses={"sms": (number,), "websocket": (namesake,)})
    await kit.store.create_identity(identity)
    await kit.create_room("r")
    await kit.attach_channel("r", "sms")
    message = InboundMessage(channel_id="sms", sender_id=number, content=TextContent(body="hi"))
    await kit.process_inbound(message, room_id="r")
    await kit.resolve_participant("r", number, "i")
    for n, recipient in enumerate((number, former, others, namesake)):
        await receive(kit, "sms", recipient, f"m{n}")
    await receive(kit, "sms", number, "m0")
    await receive(kit, "web", namesake, "m4")
    receipt = await kit.erase_person(identity_id="i")
    assert receipt.count("receipt") == 3
    assert SECRET not in receipt.model_dump_json()
    assert all(namesake in each for each in await find(SECRET))
    assert await find(others)
    assert (await kit.erase_person(identity_id="i")).found_nothing


async def test_receipts_for_a_person_are_found_also_after_an_erasure_that_was_cut_off(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit, find = stored
    number = f"+1{SECRET}"
    kit.register_channel(RecordingChannel("sms", channel_type=ChannelType.SMS))
    await kit.store.create_identity(Identity(id="i", channel_addresses={"sms": ("+1",)}))
    await kit.create_room("r")
    await kit.attach_channel("r", "sms")
    message = InboundMessage(channel_id="sms", sender_id=number, content=TextContent(body="hi"))
    await kit.process_inbound(message, room_id="r")
    await kit.resolve_participant("r", number, "i")
    await receive(kit, "sms", number, "m")
    left = 0

    def cut_off(write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def limited(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                raise StoreError("cut off")
            left -= 1
            return await write(*arguments, **options)

        return limited

    for name in ("commit", "delete_identity", "delete_waiting_receipts"):
        monkeypatch.setattr(kit.store, name, cut_off(getattr(kit.store, name)))
    cuts = 0
    for writes in range(100):
        left = writes
        try:
            await kit.erase_person(identity_id="i")
        except StoreError:
            cuts += 1
        else:
            break
    assert 2 < cuts < 50
    assert await find(SECRET) == []
