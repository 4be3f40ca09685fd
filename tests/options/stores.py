"""Stores of one machine, and telemetry: the files on the disk, and the behaviour of a busy or full one."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, override
from unittest.mock import patch

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from roomkit import Attr, InMemoryLockManager, Room, RoomKit, SpanKind
from roomkit.abc.errors import RoomKitError, StoreBusyError
from roomkit.plugins import PluginManager, default_manager
from roomkit_plugins.testing import SharedStore
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["STORES"]

type Write = Callable[[Any, str], Awaitable[object]]


async def _make_room(store: Any, name: str) -> object:
    return await store.create_room(Room(id=name))


async def _put_file(media: Any, name: str) -> object:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"hello"

    return await media.put(pieces(), mime_type="text/plain", room_id="r", limit=100, media_id=name)


_WRITES: dict[str, Write] = {"store": _make_room, "media": _put_file}


@asynccontextmanager
async def _made(kind: str, name: str, settings: Settings) -> AsyncIterator[tuple[Any, Path]]:
    """Make a store in a folder of its own, write to it once, and yield both."""
    with tempfile.TemporaryDirectory() as folder:
        given = {
            key: value.format(folder=folder) if isinstance(value, str) else value
            for key, value in settings.items()
        }
        store: Any = await default_manager().acreate(kind, name, given)
        await (store.open() if kind == "store" else store.start())
        try:
            await _WRITES[kind](store, "first")
            yield store, Path(folder)
        finally:
            await store.close()


def _on_disk(kind: str, name: str) -> Observe:
    """Return an observation of where a store has its files."""

    async def observe(settings: Settings) -> object:
        async with _made(kind, name, settings) as (_, folder):
            return sorted(each for each in os.listdir(folder) if "-" not in each)  # names

    return observe


def _locked(kind: str) -> Observe:
    """Return an observation of a write while another process is writing."""

    async def observe(settings: Settings) -> object:
        async with _made(kind, "sqlite", settings) as (store, folder):
            with closing(sqlite3.connect(folder / "a.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                write = asyncio.ensure_future(_WRITES[kind](store, "second"))
                await asyncio.wait((write,), timeout=60 if settings["busy_timeout"] < 1 else 0.2)
                seen = type(write.exception()).__name__ if write.done() else "still waiting"
                other.execute("ROLLBACK")
                await asyncio.gather(write, return_exceptions=True)
                return seen

    return observe


def _piled_up(kind: str) -> Observe:
    """Return an observation of whether any of ten writes at once is refused."""

    async def observe(settings: Settings) -> object:
        async with _made(kind, "sqlite", settings) as (store, folder):
            with closing(sqlite3.connect(folder / "a.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                writes = [asyncio.ensure_future(_WRITES[kind](store, f"w{number}")) for number in range(10)]
                await asyncio.sleep(0)
                other.execute("ROLLBACK")
                results = await asyncio.gather(*writes, return_exceptions=True)
        return any(isinstance(result, StoreBusyError) for result in results)

    return observe


def _threads(kind: str) -> Observe:
    """Return an observation of how many threads a store has."""

    async def observe(settings: Settings) -> object:
        before = {*threading.enumerate()}
        async with _made(kind, "sqlite", settings):
            return len([each for each in {*threading.enumerate()} - before if "asyncio" not in each.name])

    return observe


@contextmanager
def _statements() -> Iterator[list[str]]:
    """Note what SQLite is asked on connections that are made from now on."""
    seen: list[str] = []  # bound: one observation
    connect = sqlite3.connect

    def watched(*given: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*given, **options)
        connection.set_trace_callback(seen.append)
        return connection

    with patch.object(sqlite3, "connect", watched):
        yield seen


def _durability(kind: str) -> Observe:
    """Return an observation of what SQLite is asked about waiting for the disk."""

    async def observe(settings: Settings) -> object:
        with _statements() as statements:
            async with _made(kind, "sqlite", settings):
                pass
        return sorted({each.lower() for each in statements if "synchronous" in each.lower()})

    return observe


async def _rooms_in_turn(settings: Settings) -> object:
    """Return how often SQLite is asked when two rooms are loaded in turn that were loaded before."""
    with _statements() as statements:
        async with _made("store", "sqlite", settings) as (store, _):
            await _make_room(store, "second")
            await _read_rooms(store)
            before = len(statements)
            await _read_rooms(store)
            return len(statements) - before


async def _read_rooms(store: Any) -> None:
    for room in ("first", "second"):
        await store.load(room, recent=10)


def _sqlite(kind: str) -> Subject:
    return Subject(
        f"{kind}:sqlite",
        {
            "synchronous": Change("normal", observe=_durability(kind)),
            **({"cached_rooms": Change(1, observe=_rooms_in_turn)} if kind == "store" else {}),
            "path": Change("{folder}/b.db", observe=_on_disk(kind, "sqlite")),
            "busy_timeout": Change(0.05, {"busy_timeout": 60.0}, _locked(kind)),
            "readers": Change(5, observe=_threads(kind)),
            "max_waiting_writes": Change(1, observe=_piled_up(kind)),
        },
        base={"path": "{folder}/a.db"},
        real_time=True,
    )


class _SharedLocks(InMemoryLockManager):
    """Locks that say that other processes respect them."""

    @property
    @override
    def is_process_local(self) -> bool:
        return False


async def _beside_others(settings: Settings) -> object:
    """Return whether a kit whose rooms other workers have, too, takes a folder for their files."""
    media: Any = await default_manager().acreate("media", "disk", settings)
    try:
        kit = RoomKit(
            SharedStore(), media=media, lock_manager=_SharedLocks(), plugins=PluginManager(entry_points=())
        )
    except RoomKitError as error:
        return type(error).__name__
    await kit.close()
    return "made"


async def _traced(settings: Settings) -> object:
    """Return the attributes of a transcript's span."""
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry: Any = await default_manager().acreate(
        "telemetry", "opentelemetry", settings, tracer_provider=tracers
    )
    span = telemetry.start_span(SpanKind.STT_TRANSCRIBE, "stt")
    telemetry.end_span(span, attributes={Attr.STT_TEXT: "hello"})
    return [dict(each.attributes or {}) for each in exporter.get_finished_spans()]


STORES = (
    _sqlite("store"),
    _sqlite("media"),
    Subject(
        "media:disk",
        {
            "folder": Change("{folder}/others", {"folder": "{folder}/files"}, _on_disk("media", "disk")),
            "shared": Change(True, observe=_beside_others),
        },
        real_time=True,
    ),
    Subject("telemetry:opentelemetry", {"record_text": Change(True)}, _traced, real_time=True),
)
