"""A stage for the kernel: a kit on virtual time, one room, channels that remember, and who told what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from roomkit.abc.channel import Channel
from roomkit.abc.store import ConversationStore
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelBinding, ChannelCapabilities
from roomkit.models.content import EventContent, TextContent, text_of
from roomkit.models.delivery import Delivery, InboundMessage, InboundResult
from roomkit.models.enums import ChannelDirection, ChannelType, EventStatus, EventType, HookTrigger
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.framework_event import FrameworkEvent
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, VirtualClock

from .house import House, add

ROOM = "r1"
NO_PLUGINS = PluginManager(entry_points=())
NO_PLUGINS.scan()  # here, so that no kit starts a thread for it


class Stage:
    """A kit with the room `r1`, and short words for what a test does with it."""

    def __init__(self, **options: Any) -> None:
        self.seen_by_store = options.setdefault("store", InMemoryStore())
        options.setdefault("clock", VirtualClock())
        options.setdefault("plugins", NO_PLUGINS)
        self.kit = RoomKit(**options)
        self.told: list[FrameworkEvent] = []
        self.kit.on("*")(self._hear)

    async def _hear(self, event: FrameworkEvent) -> None:
        self.told.append(event)

    async def open(self, room_id: str = ROOM, **options: Any) -> Stage:
        await self.kit.create_room(room_id, **options)
        return self

    # -- who takes part -----------------------------------------------------------------------

    async def join[C: Channel](self, channel: C, *room_ids: str, **binding: Any) -> C:
        """Register a channel and attach it, to `r1` unless told otherwise."""
        self.kit.register_channel(channel)
        for room_id in room_ids or (ROOM,):
            await self.kit.attach_channel(room_id, channel.channel_id, **binding)
        return channel

    async def socket(self, channel_id: str, **options: Any) -> RecordingChannel:
        """Add a transport; `script`, `delay`, `streaming`, `capabilities` are the mock's own."""
        names = ("script", "delay", "streaming", "capabilities", "channel_type")
        made = {name: options.pop(name) for name in names if name in options}
        return await self.join(RecordingChannel(channel_id, **made), **options)

    async def agent(
        self, channel_id: str, answers: Iterable[Any] = (), **options: Any
    ) -> ScriptedIntelligence:
        """Add an agent; `delay`, `streaming`, `word_delay` are the mock's own."""
        names = ("delay", "streaming", "word_delay")
        made = {name: options.pop(name) for name in names if name in options}
        return await self.join(ScriptedIntelligence(channel_id, answers, **made), **options)

    # -- what happens -------------------------------------------------------------------------

    async def say(
        self,
        content: str | EventContent = "hello",
        *,
        channel: str = "alice",
        by: str | None = None,
        room: str | None = ROOM,
        wait: Any = "settled",
        **fields: Any,
    ) -> InboundResult:
        """Have a person say something; the sender is named as the channel unless told otherwise."""
        body = TextContent(body=content) if isinstance(content, str) else content
        message = InboundMessage(channel_id=channel, sender_id=by or channel, content=body, **fields)
        return await self.kit.process_inbound(message, room_id=room, wait=wait)

    def saying(self, *args: Any, **fields: Any) -> asyncio.Task[InboundResult]:
        """Have a person say something while the test goes on."""
        return asyncio.create_task(self.say(*args, **fields))

    def event(self, text: str = "note", *, channel: str = "system", **fields: Any) -> RoomEvent:
        """Make an event that a hook could inject."""
        kind = ChannelType.SYSTEM if channel == "system" else ChannelType.WEBSOCKET
        source = EventSource(channel_id=channel, channel_type=kind, direction=ChannelDirection.OUTBOUND)
        fields.setdefault("room_id", ROOM)
        return RoomEvent(source=source, content=TextContent(body=text), **fields)

    # -- outcomes ------------------------------------------------------------------------------

    async def timeline(self, room: str = ROOM, *, messages: bool = True) -> list[RoomEvent]:
        """Return the messages of a room, or with `messages=False` all of its entries."""
        events = await self.kit.get_timeline(room, limit=100_000)
        return [event for event in events if event.type is EventType.MESSAGE or not messages]

    async def texts(self, room: str = ROOM) -> list[str]:
        """Return the messages that were not refused."""
        timeline = await self.timeline(room)
        return [text_of(event.content) for event in timeline if event.status is not EventStatus.BLOCKED]

    async def refused(self, room: str = ROOM) -> list[tuple[str | None, str | None]]:
        """Return by whom and why entries were blocked."""
        return [
            (event.blocked_by, event.block_reason)
            for event in await self.timeline(room, messages=False)
            if event.status is EventStatus.BLOCKED
        ]

    async def ledger(self, event: RoomEvent | None = None, room: str = ROOM) -> dict[str, Delivery]:
        """Return the ledger's rows by channel, of one event or of the room's newest for each."""
        rows = await self.kit.list_deliveries(
            room, event_id=event.id if event is not None else None, limit=100_000
        )
        return {row.channel_id: row for row in rows}

    def kinds(self) -> list[str]:
        """Return the types of the framework events so far."""
        return [event.type for event in self.told]

    def facts(self, kind: str) -> list[Mapping[str, Any]]:
        """Return what the framework events of a type said."""
        return [event.data for event in self.told if event.type == kind]

    async def idle(self) -> None:
        """Let everything under way end, with any amount of virtual time."""
        assert await self.kit._kernel.ground.supervisor.drain(86_400)

    async def idle_or(self, seconds: float) -> None:
        """Let work under way end, for so long and no longer."""
        await self.kit._kernel.ground.supervisor.drain(seconds)

    def leftovers(self) -> dict[str, int]:
        """Count what an idle kit must not hold."""
        parts = self.kit._kernel
        locks = parts.ground.locks
        held = 0
        if isinstance(locks, InMemoryLockManager):
            held = sum(lock.held for lock in locks._known.values())
        return {
            "tasks": len(parts.ground.supervisor),
            "lanes": len(parts.work.lanes),
            "locks held": held,
            "in flight": len(parts.entry.inbound._in_flight),
        }

    def observe(self, trigger: HookTrigger, **options: Any) -> list[Any]:
        """Return the list that fills with what the observers of a trigger are shown."""
        seen: list[Any] = []

        async def observer(payload: Any, _context: object) -> None:
            seen.append(payload)

        self.kit.hook(trigger, **options)(observer)
        return seen


@asynccontextmanager
async def staged(**options: Any) -> AsyncIterator[Stage]:
    stage = Stage(**options)
    try:
        yield await stage.open()
        await stage.idle()
        assert not any(stage.leftovers().values()), stage.leftovers()
    finally:
        await stage.kit.close()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Return a kit with the room `r1`; at the end it must hold nothing any more."""
    async with staged() as made:
        yield made


@pytest.fixture
def staging() -> Callable[..., Any]:
    """Return what makes a stage with options of the kit: `async with staging(...) as stage`."""
    return staged


@pytest.fixture
def bare_stage() -> type[Stage]:
    """Return the class, for a test that closes the kit itself."""
    return Stage


@pytest.fixture
def capable() -> type[ChannelCapabilities]:
    """Return the class of capabilities."""
    return ChannelCapabilities


@pytest.fixture
def binding_of() -> Callable[..., ChannelBinding]:
    """Return what makes a binding of `r1`."""

    def make(channel_id: str, **fields: Any) -> ChannelBinding:
        fields.setdefault("channel_type", ChannelType.WEBSOCKET)
        return ChannelBinding(channel_id=channel_id, room_id=ROOM, **fields)

    return make


@pytest.fixture(scope="session")
def installed() -> PluginManager:
    """Return a manager of the plugins that are installed, scanned once: that takes 50 ms of CPU."""
    return PluginManager()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, installed: PluginManager, tmp_path: Path) -> ConversationStore:
    """Return an empty store of each kind; a plugin's only where it is installed."""
    if request.param == "memory":
        return InMemoryStore()
    if all(each.name != request.param for each in installed.components("store")):
        pytest.skip(f"roomkit-{request.param} is not installed")
    settings = {"path": str(tmp_path / "rooms.db")}
    if request.param == "postgres":
        settings = {"dsn": request.getfixturevalue("postgres_store_dsn")}
    made = installed.create("store", request.param, settings)
    assert isinstance(made, ConversationStore)
    return made


@pytest.fixture
async def house(bare_stage: type[Any]) -> AsyncIterator[House]:
    """Return a house without workers."""
    house = House(bare_stage)
    yield house
    house.store.gone = False
    for stage in house.stages:
        await stage.kit.close()


@pytest.fixture
def two(house: House) -> Callable[[], Awaitable[tuple[Any, Any]]]:
    """Return what makes two started workers and the room `r1` with alice and bob.

    The second worker's clock is ahead of the first one's by so many seconds.
    """

    async def make(ahead: float = 0.0, **bob: Any) -> tuple[Any, Any]:
        clock = VirtualClock(VirtualClock().now() + timedelta(seconds=ahead))
        first, second = house.worker(), house.worker(clock=clock)
        await first.open()
        for stage, join in ((first, True), (second, False)):
            for name, options in (("alice", {}), ("bob", bob)):
                await add(stage, name, attach=join, **options)
            await stage.kit.start()
        return first, second

    return make
