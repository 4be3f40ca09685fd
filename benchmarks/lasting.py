"""What durable stores cost as they fill: long rooms, what a dead worker leaves, and bytes on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import batched
from typing import Self

from pydantic_core import to_json

from benchmarks.durable import TARGETS, Disk, disks, make_rooms, message, talk
from benchmarks.harness import Case, contest
from benchmarks.report import Curve, Effort, Figure, Findings
from benchmarks.storing import PEOPLE
from roomkit.abc.errors import CloseError
from roomkit.abc.store import Commit, ConversationStore, Entry
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.kit import RoomKit
from roomkit.models.base import utcnow
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import ChannelType
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel

__all__ = ["bytes_on_disk", "length", "recovery"]

_LEASE = 3600.0
_AT_A_TIME = 50
_PATIENCE = 120.0


# -- long rooms ---------------------------------------------------------------------------------


async def length(effort: Effort) -> Findings:
    """A commit and a load in a room that holds more and more events, all of them delivered."""
    sizes = [0, 10] if effort.quick else [0, 1_000, 10_000, 100_000, 1_000_000]
    items = effort.items(300)
    findings = Findings()
    async with disks() as every:
        for disk in every:
            rooms = await _long_rooms(disk, sizes)
            async with disk.store() as store, _Newcomer(disk) as newcomer:
                worker = await store.open_lease(_LEASE)
                cases: dict[str, Case] = {}
                for size, room_id in rooms.items():
                    cases |= {
                        f"commit {size}": Case(partial(talk, store, worker, [room_id]), items),
                        f"load {size}": Case(partial(_load, store, room_id), items),
                        f"first {size}": Case(partial(newcomer.load, room_id), 1, newcomer.arrive),
                    }
                found = await contest(cases, effort.rounds(9), time.perf_counter)
            names = {"commit": "commit", "load": "load of a room in use", "first": "first load in a process"}
            lines = {
                name: [(float(size), found[f"{case} {size}"].best) for size in sizes]
                for case, name in names.items()
            }
            findings.figures += _grown(disk, lines)
            findings.curves.append(
                Curve(f"{disk.name.lower()}-room-length", "events in the room", "µs", lines, log=False)
            )
    return findings


def _grown(disk: Disk, lines: dict[str, list[tuple[float, float]]]) -> list[Figure]:
    figures: list[Figure] = []
    for name, ((_, least), *points) in lines.items():
        figures.append(Figure(f"{disk.name} {name}, empty", least))
        figures += [
            Figure(f"{disk.name} {name}, {size:,.0f} events / empty", value / least, "x", 1.0, 1.2)
            for size, value in points
        ]
    return figures


async def _long_rooms(disk: Disk, sizes: list[int]) -> dict[int, str]:
    """Make a room of each size; the first events of each are committed, and repeated past the store.

    The shortest is not quite empty: as many of the newest events are read as in the others.
    """
    async with disk.store() as store:
        worker = await store.open_lease(_LEASE)
        rooms = dict(zip(sizes, await make_rooms(store, len(sizes)), strict=True))
        for room_id in rooms.values():
            await talk(store, worker, [room_id], RECENT_EVENTS)
    for size, room_id in rooms.items():
        if size:
            await disk.lengthen(room_id, size)
    return rooms


class _Newcomer:
    """A process that has never seen a room, as each is after every restart."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._stack = AsyncExitStack()
        self._store: ConversationStore | None = None

    async def arrive(self) -> None:
        """Open a store, and have it prepare its question."""
        await self._stack.aclose()
        self._store = await self._stack.enter_async_context(self._disk.store())
        await self._store.load("nowhere", recent=RECENT_EVENTS)

    async def load(self, room_id: str, _items: int) -> None:
        assert self._store is not None
        assert await self._store.load(room_id, recent=RECENT_EVENTS) is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_reason: object) -> None:
        await self._stack.aclose()


async def _load(store: ConversationStore, room_id: str, items: int) -> None:
    for _ in range(items):
        await store.load(room_id, recent=RECENT_EVENTS)


# -- what a dead worker leaves ------------------------------------------------------------------


async def recovery(effort: Effort) -> Findings:
    """Deliveries that a dead worker left, all of them handed out by the store; and delivered by a kit."""
    rooms, events = effort.items(1_000), 50 if not effort.quick else 2
    findings = Findings()
    async with disks() as every:
        for disk in every:
            left = rooms * events * len(TARGETS)
            await _leave(disk, rooms, events)
            by_hand = await _seconds(disk.claim_by_hand)
            handing = await _hand_out(disk, left)
            async with disk.store() as store:
                await _end_lease(store, handing.worker_id)
            delivering, forgotten = await _deliver(disk, left)
            what = f"{disk.name}: {left:,} deliveries of a dead worker"
            each = 1e6 / left
            findings.figures += [
                Figure(f"{what}, handed out", handing.seconds, "s", by_hand),
                Figure(f"{disk.name}: handed out, each", handing.seconds * each, "µs", by_hand * each),
                Figure(f"{disk.name}: the longest look for more", handing.longest_look * 1e3, "ms"),
                Figure(f"{what}, ended by a kit", delivering, "s", handing.seconds),
                Figure(f"{disk.name}: ended by a kit, each", delivering * each, "µs", handing.seconds * each),
                Figure(f"{disk.name}: left by a kit after {_PATIENCE:g} s", forgotten, "", aim=0.0),
            ]
    return findings


class _Handing:
    """How long it took to hand everything out to a worker, and to find out where it is."""

    def __init__(self, worker_id: str, seconds: float, longest_look: float) -> None:
        self.worker_id = worker_id
        self.seconds = seconds
        self.longest_look = longest_look


async def _leave(disk: Disk, rooms: int, events: int) -> None:
    """Have a worker begin deliveries in many rooms, and die."""
    async with disk.store() as store:
        worker = await store.open_lease(_LEASE)

        async def begin(room_id: str) -> None:
            bindings = [
                ChannelBinding(channel_id=each, room_id=room_id, channel_type=ChannelType.WEBSOCKET)
                for each in TARGETS
            ]
            entries = [Entry(message(room_id), TARGETS) for _ in range(events)]
            commit = Commit(
                room_id=room_id, entries=entries, at=utcnow(), worker_id=worker, bindings=bindings
            )
            assert not (await store.commit(commit)).elsewhere

        for some in batched(await make_rooms(store, rooms), _AT_A_TIME):
            await asyncio.gather(*map(begin, some))
        await _end_lease(store, worker)


async def _end_lease(store: ConversationStore, worker_id: str) -> None:
    """Let a lease run out, as that of a worker does that was killed: what it holds stays in its name."""
    assert await store.renew_lease(worker_id, 0.001)
    await asyncio.sleep(0.05)
    assert not await store.renew_lease(worker_id, _LEASE)


async def _hand_out(disk: Disk, left: int) -> _Handing:
    async with disk.store() as store:
        me = await store.open_lease(_LEASE)
        claimed, longest = 0, 0.0
        began = time.perf_counter()
        while True:
            looked = time.perf_counter()
            found = await store.find_claimable(me)
            longest = max(longest, time.perf_counter() - looked)
            if not found:
                break
            for room_id in found:
                claimed += len(await store.claim(room_id, me))
        seconds = time.perf_counter() - began
    assert claimed == left, f"{claimed} of {left} were handed out"
    return _Handing(me, seconds, longest)


async def _deliver(disk: Disk, left: int) -> tuple[float, int]:
    """Return the seconds from a kit's start until none of the deliveries is left, and how many then are."""
    plugins = PluginManager(entry_points=())
    plugins.scan()
    channels = [RecordingChannel(each) for each in TARGETS]
    kit = RoomKit(store=disk.store(), plugins=plugins, single_process=True)
    for channel in channels:
        kit.register_channel(channel)
    began = time.perf_counter()
    await kit.start()
    while pending := await disk.pending():
        if time.perf_counter() - began > _PATIENCE:
            break
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - began
    try:
        await kit.close()
    except CloseError:
        if not pending:
            raise
    delivered = sum(len(channel.delivered) for channel in channels)
    assert pending or delivered == left, f"{delivered} of {left} were delivered"
    return seconds, pending


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


# -- bytes --------------------------------------------------------------------------------------


async def bytes_on_disk(effort: Effort) -> Findings:
    """What an event with two ended deliveries, and an idle room, take on disk."""
    events, rooms = effort.items(20_000), effort.items(5_000)
    findings = Findings()
    async with disks() as every:
        for disk in every:
            async with disk.store() as store:
                await make_rooms(store, 1)
            async with _growing(disk, rooms) as grown, disk.store() as store:
                plain = await _idle_rooms(store, rooms)
            findings.figures.append(
                Figure(f"{disk.name}: an idle room, with a binding and a participant", grown[0], "B", plain)
            )
            async with disk.store() as store:
                worker = await store.open_lease(_LEASE)
                talkative = await make_rooms(store, 20)
                await talk(store, worker, talkative, 20)
                async with _growing(disk, events) as grown:
                    await talk(store, worker, talkative, events)
                newest = (await store.list_events(talkative[0], limit=1))[0]
            own = len(to_json(newest, exclude_none=True))
            findings.figures.append(
                Figure(f"{disk.name}: an event with two ended deliveries", grown[0], "B", own)
            )
    return findings


@asynccontextmanager
async def _growing(disk: Disk, items: int) -> AsyncIterator[list[float]]:
    """Give a list that has, afterwards, the bytes that each of the items made."""
    grown: list[float] = []  # bound: one
    before = await disk.size()
    yield grown
    grown.append((await disk.size() - before) / items)


async def _idle_rooms(store: ConversationStore, rooms: int) -> float:
    """Make rooms without messages; return the bytes of JSON that each of them is."""
    plain = 0

    async def make() -> None:
        nonlocal plain
        room = await store.create_room(Room())
        binding = ChannelBinding(channel_id=PEOPLE[0], room_id=room.id, channel_type=ChannelType.WEBSOCKET)
        person = Participant(
            id=f"ann of {room.id}", room_id=room.id, channel_id=PEOPLE[0], connected_via=(PEOPLE[0],)
        )
        await store.commit(
            Commit(room_id=room.id, entries=(), at=utcnow(), bindings=(binding,), participants=(person,))
        )
        plain += sum(len(to_json(each, exclude_none=True)) for each in (room, binding, person))

    for left in range(rooms, 0, -_AT_A_TIME):
        await asyncio.gather(*(make() for _ in range(min(left, _AT_A_TIME))))
    return plain / rooms
