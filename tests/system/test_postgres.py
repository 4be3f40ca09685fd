"""A kit on PostgreSQL, as a program has it: one argument, and how often it asks the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit import RoomKit
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import ChannelCategory, DeliveryState, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresLockManager, PostgresRealtime, PostgresStore
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence
from roomkit_plugins.testing.services.tcp import CutProxy

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()


@pytest.fixture
async def proxy(postgres_dsn: str) -> AsyncIterator[CutProxy]:
    """Return what counts the round trips of the store."""
    async with CutProxy(postgres_dsn) as proxy:
        yield proxy


class _SlowMachineStore(PostgresStore):
    """Outcomes wait for the next message however long that takes here; the counts do not depend on speed."""

    write_delay = 10.0


@pytest.fixture
async def kit(proxy: CutProxy, postgres_dsn: str) -> AsyncIterator[RoomKit]:
    """Return a kit whose store is seen by the proxy, and whose locks are not."""
    kit = RoomKit(
        store=_SlowMachineStore(proxy.url),
        lock_manager=PostgresLockManager(postgres_dsn),
        realtime=PostgresRealtime(postgres_dsn),
        plugins=PLUGINS,
        lease_seconds=60,
    )
    for name in ("alice", "bob", "carol"):
        kit.register_channel(RecordingChannel(name))
    await kit.create_room("r1")
    for name in ("alice", "bob", "carol"):
        await kit.attach_channel("r1", name)
    yield kit
    await kit.close()


async def say(kit: RoomKit, text: str, *, room_id: str | None = "r1") -> InboundResult:
    message = InboundMessage(channel_id="alice", sender_id="a", content=TextContent(body=text))
    return await kit.process_inbound(message, room_id=room_id)


async def round_trips(kit: RoomKit, proxy: CutProxy, **how: Any) -> float:
    """Return how often the store asked its server for a message, in a room in use."""
    for number in range(5):
        await say(kit, f"before {number}", **how)
    before = proxy.requests
    for number in range(20):
        await say(kit, str(number), **how)
    return (proxy.requests - before) / 20


async def test_a_message_costs_one_round_trip(kit: RoomKit, proxy: CutProxy) -> None:
    """The commit, on the room in memory; the outcomes of the deliveries before ride with it."""
    assert await round_trips(kit, proxy) == 1.0


async def test_a_routed_or_gated_message_costs_one_more(kit: RoomKit, proxy: CutProxy) -> None:
    """To find the sender's room; to see the newest events under the lock."""
    assert await round_trips(kit, proxy, room_id=None) == 2.0

    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: RoomEvent, _context: object) -> HookResult:
        return HookResult.allow()

    assert await round_trips(kit, proxy) == 2.0


async def test_a_room_that_sticks_to_a_worker_costs_no_request_for_its_lock(postgres_dsn: str) -> None:
    """One round trip of the store, also while another worker is alive and busy in a room of its own."""
    async with _Workers(postgres_dsn) as workers:
        await workers.say([(0, "r1"), (1, "r2")] * 5)
        assert await workers.round_trips([(0, "r1"), (1, "r2")] * 20) == {"store": 1.0, "locks": 0.0}


async def test_a_room_in_which_workers_take_turns_costs_one_request_more(postgres_dsn: str) -> None:
    """Outcomes are shown at once; what the other worker added comes with the answer of the commit."""
    async with _Workers(postgres_dsn) as workers:
        turns = [(0, "r1"), (1, "r1")] * 10
        await workers.say(turns)
        # Each connection prepares its statements once, and what is done beside messages asks, too.
        for _ in range(15):
            trips = await workers.round_trips(turns, shown=True)
            if trips["store"] <= 2.2:
                break
        assert trips["store"] <= 2.2
        assert trips["locks"] <= 0.5  # no kept lock is asked for; its connection proves itself


_PENDING = "SELECT count(*) FROM roomkit_deliveries WHERE state = 'pending'"


class _Workers:
    """Two kits on one database, whose stores and locks are seen by a proxy each."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stack = AsyncExitStack()
        self._kits: list[RoomKit] = []
        self._ways: dict[str, CutProxy] = {}

    async def __aenter__(self) -> Self:
        for name in ("store", "locks"):
            self._ways[name] = await self._stack.enter_async_context(CutProxy(self._dsn))
        for _ in range(2):
            kit = RoomKit(
                store=_SlowMachineStore(self._ways["store"].url),
                lock_manager=PostgresLockManager(self._ways["locks"].url),
                realtime=PostgresRealtime(self._dsn),
                plugins=PLUGINS,
                lease_seconds=60,
            )
            for name in ("alice", "bob", "carol"):
                kit.register_channel(RecordingChannel(name))
            self._kits.append(await self._stack.enter_async_context(kit))
        for kit, room_id in zip(self._kits, ("r1", "r2"), strict=True):
            await kit.create_room(room_id)
            for name in ("alice", "bob", "carol"):
                await kit.attach_channel(room_id, name)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def say(self, turns: Sequence[tuple[int, str]], *, shown: bool = False) -> None:
        """Have the kits take messages one after the other, each until it is settled.

        `shown`: until others see that it was delivered, too. Sooner, its lane may look busy to them, and a
        delivery is handed over.
        """
        connection = await asyncpg.connect(self._dsn)
        try:
            for number, (kit, room_id) in enumerate(turns):
                await say(self._kits[kit], str(number), room_id=room_id)
                while shown and await connection.fetchval(_PENDING):
                    pass
        finally:
            await connection.close()

    async def round_trips(self, turns: Sequence[tuple[int, str]], *, shown: bool = False) -> dict[str, float]:
        """Return how often the stores and the locks asked the server for each of these messages."""
        before = {name: way.requests for name, way in self._ways.items()}
        await self.say(turns, shown=shown)
        return {name: (way.requests - before[name]) / len(turns) for name, way in self._ways.items()}


async def test_an_idle_worker_asks_once_a_second_at_most(postgres_dsn: str) -> None:
    """Whatever it waits for; with the shortest lease that makes sense too."""
    async with CutProxy(postgres_dsn) as proxy:
        kit = RoomKit(store=PostgresStore(proxy.url), plugins=PLUGINS, lease_seconds=3)
        await kit.start()
        # Each connection of the pool opens and prepares its statements once, so the first seconds ask more.
        for _ in range(6):
            before, began = proxy.requests, time.monotonic()
            await asyncio.sleep(3)  # other processes
            asked, seconds = proxy.requests - before, time.monotonic() - began
            # The lease, a look for lost holders and for their deliveries, values, the time and timers.
            if asked <= 6 * (seconds + 1):
                break
        assert 3 <= asked <= 6 * (seconds + 1)
        await kit.close()


async def test_the_store_is_all_a_kit_needs(postgres_dsn: str) -> None:
    """Locks and realtime that other workers see come with it; two kits share a room in order."""
    kits = [RoomKit(store=PostgresStore(postgres_dsn), plugins=PLUGINS) for _ in range(2)]
    assert isinstance(kits[0].lock_manager, PostgresLockManager)
    assert isinstance(kits[0].realtime, PostgresRealtime)
    heard: list[RecordingChannel] = []
    for kit in kits:
        kit.register_channel(RecordingChannel("alice"))
        heard.append(RecordingChannel("bob"))
        kit.register_channel(heard[-1])
        kit.register_channel(ScriptedIntelligence("bot", iter(_echo, None)))
    await kits[0].create_room("r1")
    for name in ("alice", "bob"):
        await kits[0].attach_channel("r1", name)
    await kits[0].attach_channel("r1", "bot", category=ChannelCategory.INTELLIGENCE)
    await asyncio.gather(*(say(kits[number % 2], str(number)) for number in range(20)))
    await _settled(postgres_dsn)
    for kit in kits:
        await kit.close()
    timeline = await _timeline(postgres_dsn)
    said = [text_of(event.content) for event in timeline if event.source.channel_id == "alice"]
    answers = [text_of(event.content) for event in timeline if event.source.channel_id == "bot"]
    assert sorted(said, key=int) == [str(number) for number in range(20)]
    assert sorted(answers) == sorted(f"re: {text}" for text in said)
    for channel in heard:
        indexes = [event.index for event in channel.events()]
        assert indexes == sorted(indexes)
    assert sum(len(channel.events()) for channel in heard) == 40


def _echo() -> Callable[[RoomEvent, object], str]:
    return lambda event, _context: f"re: {text_of(event.content)}"


async def _settled(dsn: str) -> None:
    """Wait until nothing is open at any worker: a call waits only for what its own carries out."""
    async with PostgresStore(dsn) as store, asyncio.timeout(30):
        while await store.list_deliveries(state=DeliveryState.PENDING, limit=1):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # other processes


async def _timeline(dsn: str) -> list[RoomEvent]:
    async with PostgresStore(dsn) as store:
        return await store.list_events("r1", limit=1000)
