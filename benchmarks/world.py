"""The rooms that are measured: real kits and socket channels, whose sockets swallow what they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from roomkit.abc.store import Commit, ConversationStore, Entry
from roomkit.kernel.kit import RoomKit
from roomkit.models.base import utcnow
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.plugins import PluginManager
from roomkit_plugins.websocket import StreamMessage, WebSocketChannel

__all__ = ["ROOM", "SENDER", "TEXT", "Sink", "fill", "inbound", "kit_of", "open_kit", "seed_rooms", "send"]

ROOM = "support-4711"
SENDER = "alice"
TEXT = "Is my parcel on its way?"


class Sink:
    """The far end of every socket: it has the JSON made, counts it and forgets it."""

    def __init__(self) -> None:
        self.bytes = 0
        self.writes = 0

    async def send(self, connection_id: str, event: RoomEvent) -> None:
        self.writes += 1
        self.bytes += len(event.json_bytes)

    async def send_frame(self, connection_id: str, frame: StreamMessage) -> None:
        self.writes += 1
        self.bytes += len(frame.json_bytes)


def open_kit() -> RoomKit:
    """Return a kit with everything in memory, and none of the plugins that happen to be installed."""
    return RoomKit(plugins=PluginManager(entry_points=()))


@asynccontextmanager
async def kit_of(*sockets: int, sink: Sink | None = None, room_id: str = ROOM) -> AsyncIterator[RoomKit]:
    """Open a kit with one room, and a socket channel in it for each number: that many listen there.

    The first channel, `ws0`, has one socket more, the sender's.
    """
    sink = sink or Sink()
    async with open_kit() as kit:
        await kit.create_room(room_id=room_id)
        for number, listeners in enumerate(sockets):
            channel = WebSocketChannel(f"ws{number}")
            kit.register_channel(channel)
            await kit.attach_channel(room_id, channel.channel_id)
            for listener in range(listeners):
                name = f"ws{number}-{listener}"
                channel.register_connection(name, sink.send, room_id=room_id, participant_id=name)
            if number == 0:
                channel.register_connection("sender", sink.send, room_id=room_id, participant_id=SENDER)
        yield kit


def inbound(channel_id: str = "ws0") -> InboundMessage:
    """Return what the socket of the sender brings in."""
    return InboundMessage(
        channel_id=channel_id, sender_id=SENDER, connection_id="sender", content=TextContent(body=TEXT)
    )


async def send(kit: RoomKit, items: int, room_id: str = ROOM) -> None:
    """Take `items` messages through a room, one after the other."""
    for _ in range(items):
        await kit.process_inbound(inbound(), room_id=room_id)


async def fill(store: ConversationStore, room_id: str, events: int) -> None:
    """Put messages into a room's timeline, past the kit."""
    source = EventSource(channel_id="ws0", channel_type=ChannelType.WEBSOCKET, participant_id=SENDER)
    entries = [
        Entry(RoomEvent(room_id=room_id, source=source, content=TextContent(body=TEXT)))
        for _ in range(events)
    ]
    await store.commit(Commit(room_id=room_id, entries=entries, at=utcnow()))


async def seed_rooms(store: ConversationStore, room_ids: Iterable[str], channel_ids: Iterable[str]) -> None:
    """Make rooms with these channels and one sender each, past the kit."""
    channels = tuple(channel_ids)
    for room_id in room_ids:
        await store.create_room(Room(id=room_id))
        bindings = [
            ChannelBinding(channel_id=each, room_id=room_id, channel_type=ChannelType.WEBSOCKET)
            for each in channels
        ]
        sender = Participant(
            id=f"sender of {room_id}", room_id=room_id, channel_id="ws0", connected_via=("ws0",)
        )
        await store.commit(
            Commit(room_id=room_id, entries=(), at=utcnow(), bindings=bindings, participants=(sender,))
        )
