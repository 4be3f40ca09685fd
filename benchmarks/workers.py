"""The gain of more workers: processes of their own on one PostgreSQL, each with its share of the messages."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed

from benchmarks.durable import PostgresDisk, postgres_server
from benchmarks.report import Curve, Effort, Figure, Findings
from benchmarks.storing import kit_rooms, said, talking_kit
from roomkit.kernel.kit import RoomKit
from roomkit_plugins.testing.services.postgres import PostgresServer
from roomkit_plugins.testing.services.tcp import CutProxy

__all__ = ["cpu_of", "workers"]

_SPAWN = multiprocessing.get_context("spawn")
_WORKERS = (1, 2, 4)
_LEAST = {1: 1.0, 2: 1.0, 4: 0.9}
"""How many times what one worker does so many are to do together, on two cores."""
_ROOMS = 40
_PEOPLE = 20
"""Who speaks at the same time, over all workers."""
_WAYS = ("each room to its worker", "in turns to any worker", "all at once to any worker")
"""A room goes to one worker; to any, one message after the other; to any, also while others are under way."""
_LOOK = 0.02
_SESSIONS = """
SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock'),
    coalesce(max(extract(epoch FROM clock_timestamp() - state_change))
        FILTER (WHERE wait_event_type = 'Lock'), 0)::float8,
    coalesce(max(extract(epoch FROM clock_timestamp() - state_change))
        FILTER (WHERE state LIKE 'idle in transaction%'), 0)::float8
FROM pg_stat_activity WHERE application_name = 'roomkit' AND datname = current_database()
"""


type _Flags = SynchronizedArray[int]
"""For each room whether a message is under way, for all workers to see."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What a worker is to do: for so many seconds, have people speak, each in any of their rooms.

    Rooms are numbers. `in_turns`: no one speaks where another one's message is under way.
    """

    seconds: float
    people: Sequence[Sequence[int]]
    in_turns: bool


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What a worker did: messages it committed, what they cost it, and the longest that one took."""

    messages: int
    cpu: float
    slowest: float


@dataclass(frozen=True, slots=True)
class _Round:
    """What all workers did together, per message in seconds; and what their sessions waited for."""

    each: float
    worker_cpu: float
    server_cpu: float
    slowest: float
    seen: _Seen


@dataclass(slots=True)
class _Seen:
    """The highest figures of the workers' sessions, in numbers or seconds."""

    looks: int = 0
    sessions: int = 0
    looks_with_a_wait: int = 0
    lock_wait: float = 0.0
    idle_in_transaction: float = 0.0


async def workers(effort: Effort) -> Findings:
    """One, two and four workers share forty rooms, and twenty people who speak in them."""
    seconds = 0.1 if effort.quick else 3.0
    found: dict[tuple[str, int], list[_Round]] = defaultdict(list)  # bound: the scenarios
    async with postgres_server() as server, AsyncExitStack() as stack:
        disk = PostgresDisk(await asyncio.to_thread(server.create_database))
        async with talking_kit(disk.dsn) as kit:
            rooms = await kit_rooms(kit, _ROOMS)
        under_way = _SPAWN.Array("b", _ROOMS)
        pipes = [
            await stack.enter_async_context(_worker(disk.dsn, rooms, under_way)) for _ in range(max(_WORKERS))
        ]
        for pipe in pipes:
            await _ask(pipe, _Order(seconds / 4, [range(_ROOMS)] * _PEOPLE, in_turns=True))
        for _ in range(effort.rounds(4)):
            for way in _WAYS:
                for count in _WORKERS:
                    orders = [_order(way, number, count, seconds) for number in range(count)]
                    found[way, count].append(await _measure(server, disk, pipes, orders))
        idle = await _idle(disk.dsn, 0.2 if effort.quick else 15.0)
    lines = {
        way: [(float(count), min(each.each for each in found[way, count]) * 1e6) for count in _WORKERS]
        for way in _WAYS
    }
    curve = Curve("workers", "workers", "µs per message", lines, log=False)
    return Findings([*_figures(found), idle], [curve])


def _order(way: str, number: int, count: int, seconds: float) -> _Order:
    """Return the share of one of `count` workers: the same number of people in all, however many they are."""
    people = range(number, _PEOPLE, count)
    if way == _WAYS[0]:
        return _Order(seconds, [range(person, _ROOMS, _PEOPLE) for person in people], in_turns=False)
    return _Order(seconds, [range(_ROOMS)] * len(people), in_turns=way == _WAYS[1])


def _figures(found: dict[tuple[str, int], list[_Round]]) -> list[Figure]:
    figures: list[Figure] = []  # bound: a few for each that was measured
    for (way, count), rounds in found.items():
        best = min(rounds, key=lambda each: each.each)
        alone = min(each.each for each in found[way, _WORKERS[0]]) * 1e6
        what = f"{way}, {count}"
        aim = alone / _LEAST[count] if count > 1 else None
        figures += [
            Figure(f"message, {what} at work", best.each * 1e6, "µs", alone, aim),
            Figure(f"CPU of the workers for it, {what}", best.worker_cpu * 1e6, "µs"),
            Figure(f"CPU of the server for it, {what}", best.server_cpu * 1e6, "µs"),
            Figure(f"slowest message, {what}", best.slowest * 1e3, "ms"),
        ]
    every = [each.seen for rounds in found.values() for each in rounds]
    most = max(_WORKERS)
    looks = sum(seen.looks for seen in every)
    waits = sum(seen.looks_with_a_wait for seen in every)
    return [
        *figures,
        Figure("sessions of a worker", max(seen.sessions for seen in every) / most, ""),
        Figure("looks at which a session waited for a lock", 100 * waits / looks, "%"),
        Figure("longest wait of a session for a lock", max(seen.lock_wait for seen in every) * 1e3, "ms"),
        Figure("longest idle in a transaction", max(seen.idle_in_transaction for seen in every) * 1e3, "ms"),
    ]


async def _measure(
    server: PostgresServer, disk: PostgresDisk, pipes: Sequence[Connection], orders: Sequence[_Order]
) -> _Round:
    """Have workers do what they are to, and wait until all of it is delivered."""
    seen, before = _Seen(), cpu_of(server.pid)
    async with _watching(disk.dsn, seen):
        spoken = await asyncio.gather(*map(_ask, pipes, orders))
    server_cpu = cpu_of(server.pid) - before
    while await disk.pending():  # noqa: ASYNC110  # a database sends no notification
        await asyncio.sleep(_LOOK)
    messages = sum(each.messages for each in spoken)
    return _Round(
        each=orders[0].seconds / messages,
        worker_cpu=sum(each.cpu for each in spoken) / messages,
        server_cpu=server_cpu / messages,
        slowest=max(each.slowest for each in spoken),
        seen=seen,
    )


@asynccontextmanager
async def _watching(dsn: str, seen: _Seen) -> AsyncIterator[None]:
    """Look at the workers' sessions all the while."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "watching"})

    async def look() -> None:
        while True:
            sessions, waiting, lock_wait, idle = await connection.fetchrow(_SESSIONS)
            seen.looks += 1
            seen.sessions = max(seen.sessions, sessions)
            seen.looks_with_a_wait += bool(waiting)
            seen.lock_wait = max(seen.lock_wait, lock_wait)
            seen.idle_in_transaction = max(seen.idle_in_transaction, idle)
            await asyncio.sleep(_LOOK)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await connection.close()


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a server and its children have taken; nan where it is unknown."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text(errors="replace").rpartition(")")[2].split()  # proc(5), after the name
        except OSError:  # it has ended
            continue
        if int(words[1]) == pid:
            ticks += int(words[11]) + int(words[12])
        elif stat.parent.name == str(pid):
            ticks += sum(map(int, words[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else float("nan")


async def _idle(dsn: str, seconds: float) -> Figure:
    """Count what a worker asks that has nothing to do, over a whole lease."""
    async with CutProxy(dsn) as proxy, talking_kit(proxy.url):
        await asyncio.sleep(min(seconds, 1.0))  # until it has begun
        before = proxy.requests
        await asyncio.sleep(seconds)
        return Figure("statements of an idle worker", (proxy.requests - before) / seconds, "/s")


# -- a worker -----------------------------------------------------------------------------------


@asynccontextmanager
async def _worker(dsn: str, rooms: Sequence[str], under_way: _Flags) -> AsyncIterator[Connection]:
    """Start a worker, give the pipe by which it takes orders, and have it close its kit at the end."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_run, args=(dsn, rooms, under_way, theirs), daemon=True)
    process.start()
    theirs.close()
    await asyncio.to_thread(ours.recv)
    try:
        yield ours
    finally:
        ours.send(None)
        await asyncio.to_thread(process.join, 20.0)
        if process.is_alive():
            process.kill()
        ours.close()


async def _ask(pipe: Connection, order: _Order) -> _Spoken:
    pipe.send(order)
    answer = await asyncio.to_thread(pipe.recv)
    assert isinstance(answer, _Spoken), answer
    return answer


def _run(dsn: str, rooms: Sequence[str], under_way: _Flags, pipe: Connection) -> None:
    asyncio.run(_serve(dsn, rooms, under_way, pipe))


async def _serve(dsn: str, rooms: Sequence[str], under_way: _Flags, pipe: Connection) -> None:
    async with talking_kit(dsn) as kit:
        pipe.send("ready")
        while (order := await asyncio.to_thread(pipe.recv)) is not None:
            pipe.send(await _speak(kit, rooms, under_way, order))


async def _speak(kit: RoomKit, rooms: Sequence[str], under_way: _Flags, order: _Order) -> _Spoken:
    loop = asyncio.get_running_loop()
    until, cpu = loop.time() + order.seconds, time.process_time()
    took: list[float] = []  # bound: the messages of that time

    async def person(own: Sequence[int]) -> None:
        while (began := loop.time()) < until:
            room = _begin(own, under_way) if order.in_turns else random.choice(own)
            result: Any = await kit.process_inbound(said(rooms[room]), room_id=rooms[room], wait="committed")
            assert result.event is not None, result
            if order.in_turns:
                under_way[room] = 0
            took.append(loop.time() - began)

    await asyncio.gather(*map(person, order.people))
    return _Spoken(len(took), time.process_time() - cpu, max(took))


def _begin(own: Sequence[int], under_way: _Flags) -> int:
    """Take a room in which no message is under way, at any worker."""
    with under_way.get_lock():
        room = random.choice([each for each in own if not under_way[each]])
        under_way[room] = 1
    return room
