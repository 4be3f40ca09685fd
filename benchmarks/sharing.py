"""What it costs when two workers have one room: in turns, or each with its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, override

from benchmarks.durable import postgres_server, sqlite_folder
from benchmarks.harness import Case, contest
from benchmarks.report import Effort, Figure, Findings
from benchmarks.storing import PEOPLE, kit_rooms, said
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.context import RoomContext
from roomkit.models.event import RoomEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresLockManager, PostgresRealtime, PostgresStore
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing import RecordingChannel

__all__ = ["sharing"]

_MIXED, _STICKY = 1.3, 1.1
"""How many times what one worker takes for a message two may take: in turns, and each in its own room."""


class _Arrivals:
    """How many deliveries have arrived, at any worker."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def add(self) -> None:
        self.count += 1
        self._changed.set()

    async def reach(self, count: int) -> None:
        while self.count < count:
            self._changed.clear()
            await self._changed.wait()


class _Counted(RecordingChannel):
    """A transport that counts what arrives and keeps nothing."""

    def __init__(self, channel_id: str, arrivals: _Arrivals) -> None:
        super().__init__(channel_id)
        self._arrivals = arrivals

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        self._arrivals.add()
        return ChannelOutput.empty()


async def sharing(effort: Effort) -> Findings:
    """One message after the other, until it is delivered: by one worker, by two in turns, by two apart."""
    items = effort.items(300)
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(sqlite_folder())
        server = await stack.enter_async_context(postgres_server())
        dsn = await asyncio.to_thread(server.create_database)
        locks, realtime = InMemoryLockManager(), InMemoryRealtime()
        figures: list[Figure] = []
        for name in ("SQLite", "PostgreSQL"):
            arrivals = _Arrivals()
            kits: list[RoomKit] = []  # bound: two
            for _ in range(2):
                if name == "SQLite":
                    store = SQLiteStore(SQLiteConfig(path=folder / "rooms.db"))
                    opening = _kit(arrivals, store=store, lock_manager=locks, realtime=realtime)
                else:
                    opening = _kit(
                        arrivals,
                        store=PostgresStore(dsn),
                        lock_manager=PostgresLockManager(dsn),
                        realtime=PostgresRealtime(dsn),
                    )
                kits.append(await stack.enter_async_context(opening))
            figures += await _measure(name, kits, arrivals, items, effort.rounds(4))
    return Findings(figures)


@asynccontextmanager
async def _kit(arrivals: _Arrivals, **backends: Any) -> AsyncIterator[RoomKit]:
    plugins = PluginManager(entry_points=())
    plugins.scan()
    async with RoomKit(plugins=plugins, single_process=True, **backends) as kit:
        for name in PEOPLE:
            kit.register_channel(_Counted(name, arrivals))
        yield kit


async def _measure(
    name: str, kits: Sequence[RoomKit], arrivals: _Arrivals, items: int, rounds: int
) -> list[Figure]:
    one, mixed, first, second = await kit_rooms(kits[0], 4)
    found = await contest(
        {
            "one": Case(partial(_talk, [(kits[0], one)], arrivals), items),
            "mixed": Case(partial(_talk, [(kit, mixed) for kit in kits], arrivals), items),
            "sticky": Case(partial(_talk, list(zip(kits, (first, second), strict=True)), arrivals), items),
        },
        rounds,
        time.perf_counter,
    )
    alone = found["one"].best
    return [
        Figure(f"{name} message until delivered, one worker", alone),
        Figure(f"{name}, two workers in turns in one room", found["mixed"].best, "µs", alone, _MIXED * alone),
        Figure(f"{name}, two workers, each its room", found["sticky"].best, "µs", alone, _STICKY * alone),
    ]


async def _talk(turns: Sequence[tuple[RoomKit, str]], arrivals: _Arrivals, items: int) -> None:
    """Say one thing after the other, each by the next of the workers, in its room."""
    for number in range(items):
        kit, room_id = turns[number % len(turns)]
        due = arrivals.count + len(PEOPLE) - 1
        await kit.process_inbound(said(room_id), room_id=room_id)
        await arrivals.reach(due)
