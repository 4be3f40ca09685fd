"""What a room costs to make, to attach a channel to, and to keep."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import make_dataclass
from typing import Any

from benchmarks.harness import Case, contest
from benchmarks.report import Effort, Figure, Findings
from benchmarks.starting import resident
from benchmarks.world import ROOM, SENDER, TEXT, Sink, open_kit
from roomkit.abc.store import Commit, Entry
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import new_id, utcnow
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit_plugins.websocket import WebSocketChannel

__all__ = ["by_hand", "create", "kept", "memory", "talked"]


async def create(effort: Effort) -> Findings:
    """Making rooms, and attaching a channel to them."""
    items = effort.items(300)
    held: dict[str, Any] = {}

    async with open_kit() as kit:
        kit.register_channel(WebSocketChannel("ws0"))
        names: list[str] = []  # bound: items

        async def make(items: int) -> None:
            for _ in range(items):
                await kit.create_room()

        async def by_hand(items: int) -> None:
            for _ in range(items):
                room = Room()
                held[room.id] = room

        async def rooms_first() -> None:
            names[:] = [(await kit.create_room()).id for _ in range(items)]

        async def attach(items: int) -> None:
            for name in names:
                await kit.attach_channel(name, "ws0")

        async def attach_by_hand(items: int) -> None:
            for name in names:
                binding = ChannelBinding(channel_id="ws0", room_id=name, channel_type=ChannelType.WEBSOCKET)
                source = EventSource(channel_id="system", channel_type=ChannelType.SYSTEM)
                note = RoomEvent(room_id=name, source=source, content=TextContent(body="attached"), index=0)
                held[name] = (binding, note)

        found = await contest(
            {
                "create": Case(make, items),
                "create floor": Case(by_hand, items),
                "attach": Case(attach, items, rooms_first),
                "attach floor": Case(attach_by_hand, items),
            },
            effort.rounds(40),
        )
    return Findings(
        [
            Figure("create_room", found["create"].best, "µs", found["create floor"].best, 15.0),
            Figure("attach_channel", found["attach"].best, "µs", found["attach floor"].best, 40.0),
        ]
    )


async def memory(effort: Effort) -> Findings:
    """What an idle room keeps: with a binding, a participant and one event; and after one message."""
    rooms = effort.items(3000)
    least = await kept(by_hand, rooms)
    stored = await kept(_stored, rooms)
    spoken = await kept(talked, rooms)
    figures = [
        Figure("idle room with binding, participant and one event", stored, "bytes", least, 2500.0),
        Figure("idle room after attach_channel and one message", spoken, "bytes", least),
    ]
    if not effort.quick:
        figures.append(Figure("the same by resident memory, 20,000 rooms", _resident(20_000), "bytes"))
    return Findings(figures)


async def kept(build: Callable[[int], Awaitable[object]], rooms: int) -> float:
    """Return the bytes that each of `rooms` keeps, by what Python allocates."""
    warm = await build(100)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        built = await build(rooms)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    del warm, built
    return (after - before) / rooms


async def by_hand(rooms: int) -> object:
    """Keep the same values in plain objects with slots, by room."""
    kinds = {
        kind: make_dataclass(kind.__name__, list(kind.model_fields), slots=True)
        for kind in (Room, ChannelBinding, Participant, RoomEvent, EventSource, TextContent)
    }
    held: dict[str, tuple[Any, ...]] = {}
    for number in range(rooms):
        room, binding, person, event = _records(f"{ROOM}-{number}", f"{SENDER}-{number}")
        event = event.replace(
            source=kinds[EventSource](*event.source.__dict__.values()),
            content=kinds[TextContent](*event.content.__dict__.values()),
        )
        records = (room, binding, person, event)
        held[room.id] = tuple(kinds[type(each)](*each.__dict__.values()) for each in records)
    return held


def _records(room_id: str, sender: str) -> tuple[Room, ChannelBinding, Participant, RoomEvent]:
    source = EventSource(channel_id="ws0", channel_type=ChannelType.WEBSOCKET, participant_id=sender)
    return (
        Room(id=room_id),
        ChannelBinding(channel_id="ws0", room_id=room_id, channel_type=ChannelType.WEBSOCKET),
        Participant(id=sender, room_id=room_id, channel_id="ws0", connected_via=("ws0",)),
        RoomEvent(id=new_id(), room_id=room_id, source=source, content=TextContent(body=TEXT)),
    )


async def _stored(rooms: int) -> object:
    """Keep rooms with exactly a binding, a participant and an event in the store."""
    store = InMemoryStore()
    for number in range(rooms):
        room, binding, person, event = _records(f"{ROOM}-{number}", f"{SENDER}-{number}")
        await store.create_room(room)
        await store.commit(
            Commit(
                room_id=room.id,
                entries=[Entry(event)],
                at=utcnow(),
                bindings=(binding,),
                participants=(person,),
            )
        )
    return store


async def talked(rooms: int) -> object:
    """Keep rooms with one message: two events, the attached channel's and the message."""
    sink = Sink()
    async with open_kit() as kit:
        channel = WebSocketChannel("ws0")
        kit.register_channel(channel)
        for number in range(rooms):
            room_id = f"{ROOM}-{number}"
            await kit.create_room(room_id=room_id)
            await kit.attach_channel(room_id, "ws0")
            await kit.process_inbound(
                InboundMessage(
                    channel_id="ws0", sender_id=f"{SENDER}-{number}", content=TextContent(body=TEXT)
                ),
                room_id=room_id,
            )
        del sink
        return kit.store


def _resident(rooms: int) -> float:
    """Return the resident bytes that each of `rooms` adds to a process of its own."""
    code = "import asyncio; from benchmarks.rooms import talked; kept = asyncio.run(talked({}))"
    few, many = (min(resident(code.format(count)) for _ in range(2)) for count in (100, rooms))
    return (many - few) / (rooms - 100)
