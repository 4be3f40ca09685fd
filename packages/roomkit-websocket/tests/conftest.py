"""What the tests of live connections share."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, override

import pytest

from roomkit.abc.store import ConversationStore
from roomkit.abc.text_stream import TextStream
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.enums import Access, ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.framework_event import FrameworkEvent
from roomkit.models.realtime import EphemeralEvent
from roomkit.models.room import Room
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import VirtualClock
from roomkit_plugins.websocket import WebSocketChannel
from roomkit_plugins.websocket.frames import Frame, StreamChunk, StreamMessage


class Wire:
    """The other end of a connection: remembers what came, and can be made slow, or broken."""

    def __init__(self, connection_id: str = "c") -> None:
        self.id = connection_id
        self.frames: list[Frame] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False
        self.cancelled = 0
        self.closed: list[str] = []

    async def close(self, connection_id: str, reason: str) -> None:
        assert connection_id == self.id
        self.closed.append(reason)

    async def send(self, connection_id: str, frame: Frame) -> None:
        assert connection_id == self.id
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.broken:
            raise ConnectionError("the socket is broken")
        self.frames.append(frame)

    @property
    def texts(self) -> list[str]:
        """The words of the events that came."""
        return [text_of(frame.content) for frame in self.frames if isinstance(frame, RoomEvent)]

    @property
    def stream(self) -> list[StreamMessage]:
        return [frame for frame in self.frames if not isinstance(frame, RoomEvent)]

    @property
    def kinds(self) -> list[str]:
        return [str(frame.type) for frame in self.frames]

    @property
    def streamed_text(self) -> str:
        return "".join(frame.delta for frame in self.frames if isinstance(frame, StreamChunk))

    def join(
        self,
        channel: WebSocketChannel,
        room_id: str | None = None,
        participant_id: str | None = None,
        *,
        streaming: bool = False,
    ) -> Wire:
        channel.register_connection(
            self.id,
            self.send,
            stream_send_fn=self.send if streaming else None,
            close_fn=self.close,
            room_id=room_id,
            participant_id=participant_id,
        )
        return self


class WritingWire(Wire):
    """One that writes at once while it is not slow; see `WritesAtOnce`."""

    @property
    @override
    def send(self) -> WritingWire:  # type: ignore[override]  # it is the function itself
        return self

    async def __call__(self, connection_id: str, frame: Frame) -> None:
        await Wire.send(self, connection_id, frame)

    def write(self, connection_id: str, frame: Frame) -> bool:
        assert connection_id == self.id
        if not self.open.is_set():
            return False
        if self.broken:
            raise ConnectionError("the socket is broken")
        self.frames.append(frame)
        return True


class Words(TextStream):
    """An answer that is generated as the test says."""

    def __init__(self, event: RoomEvent, error: Exception | None = None) -> None:
        self.id = event.id
        self.event = None
        self.committed: RoomEvent | None = event
        self.error = error
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue(100)
        self.ended = asyncio.Event()

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)

    def finish(self) -> None:
        self.pieces.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[str]:
        while (piece := await self.pieces.get()) is not None:
            yield piece
        self.ended.set()
        if self.error is not None:
            raise self.error

    async def complete(self) -> None:
        await self.ended.wait()

    async def turn(self) -> RoomEvent | None:
        await self.ended.wait()
        self.event = self.committed
        return self.event

    def heard(self, chars: int, *, estimated: bool = False) -> None:
        raise AssertionError("a socket does not know the heard text")


def said(text: str = "hello", room_id: str = "room", **source: str | None) -> RoomEvent:
    """An event, by an agent unless `source` says otherwise."""
    return RoomEvent(
        room_id=room_id,
        source=EventSource.model_validate({"channel_id": "agent", "channel_type": ChannelType.AI, **source}),
        content=TextContent(body=text),
    )


def bound(channel: WebSocketChannel, room_id: str = "room", **fields: object) -> ChannelBinding:
    return ChannelBinding.model_validate(
        {
            "channel_id": channel.channel_id,
            "room_id": room_id,
            "channel_type": ChannelType.WEBSOCKET,
            **fields,
        }
    )


async def deliver(channel: WebSocketChannel, event: RoomEvent) -> ChannelOutput:
    return await channel.deliver(event, bound(channel, event.room_id), RoomContext(Room(id=event.room_id)))


async def show(channel: WebSocketChannel, words: Words, event: RoomEvent) -> ChannelOutput:
    return await channel.deliver_stream(
        words, event, bound(channel, event.room_id), RoomContext(Room(id=event.room_id))
    )


async def turns(number: int = 10) -> None:
    """Let the loop run all ready callbacks."""
    for _ in range(number):
        await asyncio.sleep(0)


class Told:
    """The framework events of a kit."""

    def __init__(self, kit: RoomKit, kinds: Sequence[str]) -> None:
        self.events: list[FrameworkEvent] = []
        for kind in kinds:
            kit.subscribe_events(kind, self._note)

    async def _note(self, event: FrameworkEvent) -> None:
        self.events.append(event)

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(event.data["connection_id"], event.data["reason"]) for event in self.events]


class Stage:
    """A channel that a kit knows, its connections, and a way to make things happen."""

    def __init__(self, kit: RoomKit, wire: type[Wire] = Wire) -> None:
        self.kit = kit
        self.wire = wire
        self.channel = WebSocketChannel("ws", send_timeout=5.0, backlog=10, max_failures=3)
        kit.register_channel(self.channel)
        self.evicted = Told(kit, ["channel_disconnected"])
        self.unrouted = Told(kit, ["connection_unrouted"])

    turns = staticmethod(turns)
    said = staticmethod(said)

    def join(self, connection_id: str, room_id: str | None = "room", **options: Any) -> Wire:
        return self.wire(connection_id).join(self.channel, room_id, **options)

    async def attach(self, *room_ids: str) -> None:
        for room_id in room_ids:
            await self.channel.update_binding(room_id, self.bound(room_id))

    async def detach(self, room_id: str) -> None:
        await self.channel.update_binding(room_id, self.bound(room_id, access=Access.NONE))

    def bound(self, room_id: str = "room", **fields: object) -> ChannelBinding:
        return bound(self.channel, room_id, **fields)

    async def deliver(self, event: RoomEvent) -> ChannelOutput:
        return await deliver(self.channel, event)

    async def say(self, text: str, room_id: str = "room", **source: str | None) -> ChannelOutput:
        return await self.deliver(said(text, room_id, **source))

    def answer(self, text: str = "", room_id: str = "room", error: Exception | None = None) -> Answer:
        return Answer(self, said(text, room_id), error)


class Answer:
    """An answer that the test generates; `output` is what the channel made of it."""

    def __init__(self, stage: Stage, event: RoomEvent, error: Exception | None) -> None:
        self.event = event
        self.words = Words(event, error)
        self.task = asyncio.create_task(show(stage.channel, self.words, event))

    async def say(self, *pieces: str) -> None:
        for piece in pieces:
            self.words.say(piece)
            await turns()

    async def finish(self) -> ChannelOutput:
        self.words.finish()
        return await self.task


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ConversationStore:
    """An empty store of each kind; a plugin's only where it is installed."""
    if request.param == "memory":
        return InMemoryStore()
    manager = PluginManager()
    if all(each.name != request.param for each in manager.components("store")):
        pytest.skip(f"roomkit-{request.param} is not installed")
    settings = {"path": str(tmp_path / "rooms.db")}
    if request.param == "postgres":
        settings = {"dsn": request.getfixturevalue("postgres_store_dsn")}
    made = manager.create("store", request.param, settings)
    assert isinstance(made, ConversationStore)
    return made


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A kit on the test's own clock, with a channel whose rooms the test attaches."""
    kit = RoomKit()
    yield Stage(kit)
    await kit.close()


class SharedStore(InMemoryStore):
    """A store that several kits have open; it counts what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.broken = False

    @property
    @override
    def is_process_local(self) -> bool:
        return False

    @override
    async def list_events(self, *args: Any, **options: Any) -> list[RoomEvent]:
        self.reads["list_events"] += 1
        if self.broken:
            raise ConnectionError("the store is away")
        return await super().list_events(*args, **options)

    @override
    async def close(self) -> None:
        """Stay open for the others."""


class SharedRealtime(InMemoryRealtime):
    """Signals between kits. `way` decides on each that is published on a topic of ours; see `Mean`."""

    def __init__(self) -> None:
        super().__init__(max_queue_size=10_000)
        self.published: list[tuple[str, EphemeralEvent]] = []
        self.down = False
        self.way: Callable[[str, EphemeralEvent], Awaitable[bool]] | None = None

    @property
    @override
    def is_process_local(self) -> bool:
        return False

    @override
    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        if self.down:
            raise ConnectionError("the bus is down")
        if channel.startswith("websocket:"):
            self.published.append((channel, event))
            if self.way is not None and not await self.way(channel, event):
                return
        await super().publish(channel, event)

    @override
    async def subscribe(self, channel: str, callback: Any) -> str:
        if self.down:
            raise ConnectionError("the bus is down")
        return await super().subscribe(channel, callback)

    @override
    async def close(self) -> None:
        """Stay open for the others."""

    async def pass_on(self, channel: str, event: EphemeralEvent) -> None:
        """Publish without asking `way`."""
        await super().publish(channel, event)

    @property
    def topics(self) -> dict[str, int]:
        """The topics of ours with subscribers, and how many each has."""
        return {topic: len(ears) for topic, ears in self._topics.items() if topic.startswith("websocket:")}


class Mean:
    """Loses, doubles and delays signals."""

    def __init__(self, realtime: SharedRealtime, seed: int) -> None:
        self.realtime = realtime
        self.random = random.Random(seed)
        self.late: set[asyncio.Task[None]] = set()

    async def __call__(self, channel: str, event: EphemeralEvent) -> bool:
        mood = self.random.random()
        if mood < 0.2:
            return False
        if mood < 0.6:
            task = asyncio.get_running_loop().create_task(self.later(channel, event))
            self.late.add(task)
            task.add_done_callback(self.late.discard)
        return mood >= 0.4  # between the two it comes twice, below it comes late

    async def later(self, channel: str, event: EphemeralEvent) -> None:
        await asyncio.sleep(self.random.random())  # virtual time
        await self.realtime.pass_on(channel, event.replace(id=f"{event.id} again"))


class Worker:
    """A kit among others over the same rooms."""

    def __init__(self, town: Town) -> None:
        self.kit = RoomKit(
            store=town.store,
            lock_manager=town.locks,
            realtime=town.realtime,
            clock=VirtualClock(),
            single_process=True,
        )
        self.channel = WebSocketChannel("ws")
        self.kit.register_channel(self.channel)

    async def join(self, connection_id: str, room_id: str | None = "room", **options: Any) -> Wire:
        wire = Wire(connection_id).join(self.channel, room_id, **options)
        if room_id is not None:
            await self.channel.listening(room_id)
        return wire

    async def say(self, *texts: str, room_id: str = "room", **options: Any) -> None:
        for text in texts:
            await self.kit.send_event(room_id, "system", TextContent(body=text), **options)


class Town:
    """Workers that share a store, locks and a realtime backend, and a room that all of them serve."""

    def __init__(self) -> None:
        self.store = SharedStore()
        self.locks = InMemoryLockManager()
        self.realtime = SharedRealtime()
        self.workers: list[Worker] = []
        self.turns = turns

    wire = Wire

    def be_mean(self, seed: int) -> None:
        self.realtime.way = Mean(self.realtime, seed)

    async def populate(self, number: int) -> list[Worker]:
        self.workers = [Worker(self) for _ in range(number)]
        for worker in self.workers:
            await worker.kit.start()
        await self.workers[0].kit.create_room("room")
        await self.workers[0].kit.attach_channel("room", "ws")
        return self.workers

    async def until(self, condition: Callable[[], object], seconds: float = 300.0) -> None:
        """Wait for something, looking again whenever the (virtual) time has moved a little."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  # whatever it is, no event tells
                await asyncio.sleep(0.01)  # virtual time


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    """A town without workers; those that settle in it are closed after the test."""
    town = Town()
    yield town
    for worker in town.workers:
        await worker.kit.close()
