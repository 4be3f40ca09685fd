"""What it costs when workers share rooms: in turns, each with its own, and any worker in any room.

Two loads are measured. Under the steady one, one message is under way for each worker, and the ratio to one
worker says what sharing costs. Under the other, twenty are: the base then writes ten messages with one
request, more workers have fewer to write together, and the ratio says what that costs besides.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, override

from benchmarks.durable import postgres_server, sqlite_folder
from benchmarks.harness import Case, contest
from benchmarks.report import Effort, Figure, Findings
from benchmarks.storing import PEOPLE, kit_rooms, said, say
from benchmarks.workers import cpu_of
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
_COUNTED = 200
_AT_ONCE = 20
"""Messages that are under way at each worker, where many rooms are busy: fewer share fewer requests."""

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
    """What a message costs one, two and four workers: CPU of them all and the server's, and requests."""
    figures: list[Figure] = []
    async with sqlite_folder() as folder:
        locks, realtime = InMemoryLockManager(), InMemoryRealtime()

        def on_sqlite() -> dict[str, Any]:
            store = SQLiteStore(SQLiteConfig(path=folder / "rooms.db"))
            return {"store": store, "lock_manager": locks, "realtime": realtime}

        figures += await _measure("SQLite", on_sqlite, time.process_time, effort)
    async with postgres_server() as server, AsyncExitStack() as stack:
        dsn = await asyncio.to_thread(server.create_database)

        def cpu() -> float:
            return time.process_time() + cpu_of(server.pid)

        figures += await _measure("PostgreSQL", partial(_on_postgres, dsn, dsn, dsn), cpu, effort)
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


@dataclass(frozen=True, slots=True)
class _Way:
    """How messages come: `at_once` so many under way; compared with another way, whose cost it may exceed.

    Under a steady load, the next message comes when those before it were delivered.
    """

    draw: _Next
    at_once: int = 1
    is_steady: bool = True
    than: str | None = None
    aim: float = _MIXED


@asynccontextmanager
async def _ways(
    backends: Callable[[], dict[str, Any]], arrivals: _Arrivals, effort: Effort
) -> AsyncIterator[dict[str, _Way]]:
    """Start the workers, make the rooms, and give the ways in which messages come."""
    async with AsyncExitStack() as stack:
        kits = [await stack.enter_async_context(_kit(arrivals, **backends())) for _ in range(_WORKERS)]
        one, turns, first, second = await kit_rooms(kits[0], 4)
        many = await kit_rooms(kits[0], effort.items(1000))
        await say(kits[0], many, len(many))  # from then on their people are known
        draw = random.Random(20)
        alone = "one worker, one room"
        ways = {
            alone: _Way(lambda: (kits[0], one)),
            "two workers, each its room": _Way(
                _in_turn([(kits[0], first), (kits[1], second)]), than=alone, aim=_STICKY
            ),
            "two workers in turns, one room": _Way(_in_turn([(kit, turns) for kit in kits[:2]]), than=alone),
        }
        for load, at_once in (("one each", 1), ("twenty each", _AT_ONCE)):
            mixed = f"one worker, {len(many)} rooms, {load}"
            steady = at_once == 1
            ways[mixed] = _Way(_drawn(draw, kits[:1], many, own=True), at_once, steady)
            for number, name in ((2, "two"), (_WORKERS, "four")):
                for own, aim in ((True, _STICKY), (False, _MIXED)):
                    whose = "each its own" if own else "any in any"
                    drawn = _drawn(draw, kits[:number], many, own=own)
                    ways[f"{name} workers, {len(many)} rooms, {whose}, {load}"] = _Way(
                        drawn, at_once * number, steady, mixed, aim
                    )
        yield ways


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


async def _measure(
    name: str, backends: Callable[[], dict[str, Any]], cpu: Callable[[], float], effort: Effort
) -> list[Figure]:
    arrivals = _Arrivals()
    async with _ways(backends, arrivals, effort) as ways:
        took: dict[str, list[float]] = {what: [] for what in ways}  # bound: the messages of all rounds
        found = await contest(
            {
                what: Case(partial(_talk, way, arrivals, took[what]), effort.items(400))
                for what, way in ways.items()
            },
            effort.rounds(4),
            cpu,
        )
    figures: list[Figure] = []
    for what, way in ways.items():
        floor = None if way.than is None else found[way.than].best
        figures += [
            Figure(
                f"CPU of a message, {name}, {what}",
                found[what].best,
                "µs",
                floor,
                None if floor is None else way.aim * floor,
            ),
            Figure(f"slowest message, {name}, {what}", max(took[what]) * 1e3, "ms"),
        ]
    return figures


async def _talk(way: _Way, arrivals: _Arrivals, took: list[float], items: int) -> None:
    """Say so many things; note how long each took until it was settled, and wait for all deliveries.

    Under a steady load each is delivered before the next.
    """
    before, each = arrivals.count, len(PEOPLE) - 1
    places = iter(range(1, items + 1))

    async def person() -> None:
        for place in places:
            kit, room_id = way.draw()
            began = time.perf_counter()
            await kit.process_inbound(said(room_id), room_id=room_id)
            took.append(time.perf_counter() - began)
            if way.is_steady:
                await arrivals.reach(before + place * each)

    await asyncio.gather(*(person() for _ in range(way.at_once)))
    await arrivals.reach(before + items * each)


async def _count(proxies: Sequence[CutProxy], effort: Effort) -> list[Figure]:
    """Count what a message asks the server: of the store, of the locks and of the signals."""
    arrivals, items = _Arrivals(), effort.items(_COUNTED)
    figures: list[Figure] = []
    async with _ways(partial(_on_postgres, *(proxy.url for proxy in proxies)), arrivals, effort) as ways:
        for what, way in ways.items():
            await _talk(way, arrivals, [], items)
            before = [proxy.requests for proxy in proxies]
            await _talk(way, arrivals, [], items)
            counts = [(proxy.requests - count) / items for proxy, count in zip(proxies, before, strict=True)]
            figures += [
                Figure(f"requests of a message, {part}, {what}", count, "")
                for part, count in zip(("store", "locks", "signals"), counts, strict=True)
            ]
    return figures
