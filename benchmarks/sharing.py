"""What it costs when workers share rooms: in turns, each with its own, and any worker in any room."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
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
from roomkit_plugins.testing.services.tcp import CutProxy

__all__ = ["sharing"]

_WORKERS = 4
_MIXED, _STICKY = 1.3, 1.1
"""How many times what one worker takes others may take for a message: in any mix, and each in its rooms."""
_COUNTED = 100

type _Next = Callable[[], tuple[RoomKit, str]]
"""Who takes the next message, and in which room."""


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
    """One message after the other, until it is delivered, by one, two and four workers; requests for it."""
    figures: list[Figure] = []
    async with sqlite_folder() as folder:
        locks, realtime = InMemoryLockManager(), InMemoryRealtime()

        def on_sqlite() -> dict[str, Any]:
            store = SQLiteStore(SQLiteConfig(path=folder / "rooms.db"))
            return {"store": store, "lock_manager": locks, "realtime": realtime}

        figures += await _measure("SQLite", on_sqlite, effort)
    async with postgres_server() as server, AsyncExitStack() as stack:
        dsn = await asyncio.to_thread(server.create_database)
        figures += await _measure("PostgreSQL", partial(_on_postgres, dsn, dsn, dsn), effort)
        ways = [await stack.enter_async_context(CutProxy(dsn)) for _ in range(3)]
        figures += await _count(ways, effort)
    return Findings(figures)


def _on_postgres(store: str, locks: str, realtime: str) -> dict[str, Any]:
    return {
        "store": PostgresStore(store),
        "lock_manager": PostgresLockManager(locks),
        "realtime": PostgresRealtime(realtime),
    }


@asynccontextmanager
async def _kit(arrivals: _Arrivals, **backends: Any) -> AsyncIterator[RoomKit]:
    plugins = PluginManager(entry_points=())
    plugins.scan()
    async with RoomKit(plugins=plugins, single_process=True, **backends) as kit:
        for name in PEOPLE:
            kit.register_channel(_Counted(name, arrivals))
        yield kit


@asynccontextmanager
async def _cases(
    backends: Callable[[], dict[str, Any]], arrivals: _Arrivals, effort: Effort
) -> AsyncIterator[dict[str, _Next]]:
    """Start the workers, make the rooms, and give the ways in which messages come."""
    async with AsyncExitStack() as stack:
        kits = [await stack.enter_async_context(_kit(arrivals, **backends())) for _ in range(_WORKERS)]
        one, turns, first, second = await kit_rooms(kits[0], 4)
        many = await kit_rooms(kits[0], effort.items(1000))
        draw = random.Random(20)
        yield {
            "one worker": lambda: (kits[0], one),
            "two workers, each its room": _in_turn([(kits[0], first), (kits[1], second)]),
            "two workers in turns in one room": _in_turn([(kit, turns) for kit in kits[:2]]),
            f"four workers in {len(many)} rooms, each its own": _drawn(draw, kits, many, own=True),
            f"four workers in {len(many)} rooms, any in any": _drawn(draw, kits, many, own=False),
        }


def _in_turn(turns: Sequence[tuple[RoomKit, str]]) -> _Next:
    queue = list(turns)

    def draw() -> tuple[RoomKit, str]:
        queue.append(queue.pop(0))
        return queue[-1]

    return draw


def _drawn(draw: random.Random, kits: Sequence[RoomKit], rooms: Sequence[str], *, own: bool) -> _Next:
    def drawn() -> tuple[RoomKit, str]:
        number = draw.randrange(len(rooms))
        return kits[number % len(kits)] if own else draw.choice(kits), rooms[number]

    return drawn


async def _measure(name: str, backends: Callable[[], dict[str, Any]], effort: Effort) -> list[Figure]:
    arrivals = _Arrivals()
    figures: list[Figure] = []
    async with _cases(backends, arrivals, effort) as cases:
        took: dict[str, list[float]] = {what: [] for what in cases}  # bound: the messages of all rounds
        found = await contest(
            {
                what: Case(partial(_talk, turns, arrivals, took[what]), effort.items(300))
                for what, turns in cases.items()
            },
            effort.rounds(4),
            time.perf_counter,
        )
    alone, middle = found["one worker"].best, statistics.median(took["one worker"]) * 1e6
    for what in cases:
        aim = (_STICKY if "own" in what or "its room" in what else _MIXED) * alone
        is_first = what == "one worker"
        each = None if is_first else alone
        figures += [
            Figure(f"{name}, {what}", found[what].best, "µs", each, None if is_first else aim),
            Figure(
                f"{name}, {what}, p50",
                statistics.median(took[what]) * 1e6,
                "µs",
                None if is_first else middle,
            ),
        ]
    return figures


async def _talk(turns: _Next, arrivals: _Arrivals, took: list[float], items: int) -> None:
    """Say one thing after the other; note how long each took until it was delivered."""
    for _ in range(items):
        kit, room_id = turns()
        due = arrivals.count + len(PEOPLE) - 1
        began = time.perf_counter()
        await kit.process_inbound(said(room_id), room_id=room_id)
        await arrivals.reach(due)
        took.append(time.perf_counter() - began)


async def _count(ways: Sequence[CutProxy], effort: Effort) -> list[Figure]:
    """Count what a message asks the server: of the store, of the locks and of the signals."""
    arrivals, items = _Arrivals(), effort.items(_COUNTED)
    figures: list[Figure] = []
    async with _cases(partial(_on_postgres, *(way.url for way in ways)), arrivals, effort) as cases:
        for what, turns in cases.items():
            await _talk(turns, arrivals, [], items)
            before = [way.requests for way in ways]
            await _talk(turns, arrivals, [], items)
            counts = [(way.requests - count) / items for way, count in zip(ways, before, strict=True)]
            figures += [
                Figure(f"requests of a message, {part}, {what}", count, "")
                for part, count in zip(("store", "locks", "signals"), counts, strict=True)
            ]
    return figures
