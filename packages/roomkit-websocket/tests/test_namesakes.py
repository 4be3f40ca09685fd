"""A client is known by its own participant ids, also where people of other channels have its name."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.asyncio.client import connect

from roomkit.kernel.kit import RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType
from roomkit.models.participant import Participant
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.websocket import WebSocketChannel
from roomkit_plugins.websocket.namesakes import participant_ids

NAME = "ann"
LAST = "last"
OTHERS_FIRST = ["the other first", "the client first", "alone"]
SIGNALS = {
    "typing": {"type": "typing"},
    "read": {"type": "read", "event_id": "e"},
}


class Client:
    """A person at a socket."""

    def __init__(self, socket):
        self.socket = socket

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame))

    async def next(self, *kinds):
        async with asyncio.timeout(20):
            while True:
                frame = json.loads(await self.socket.recv())
                if frame["type"] in kinds:
                    return frame

    async def texts(self, last):
        """The words of the events before the last one."""
        found = []
        while (text := (await self.next("event"))["event"]["content"]["body"]) != last:
            found.append(text)
        return found

    async def signals(self):
        """Whose signals came before that of `LAST`."""
        found = []
        while (user_id := (await self.next("ephemeral"))["event"]["user_id"]) != LAST:
            found.append(user_id)
        return found


class House:
    """A kit with a room that has a server and a text channel; its people are called alike on both."""

    def __init__(self, kit, server, stack):
        self.kit = kit
        self.server = server
        self.stack = stack
        self.own_id = self.other_id = NAME

    async def client(self, name, after=None):
        url = self.server.url("room", name, after=after)
        client = Client(await self.stack.enter_async_context(connect(url, max_queue=None)))
        await client.next("ready")
        return client

    async def say(self, channel, text, **fields):
        message = InboundMessage(
            channel_id=channel, content=TextContent(body=text), **{"sender_id": NAME, **fields}
        )
        result = await self.kit.process_inbound(message, room_id="room")
        assert result.event is not None, result.reason
        return result.event.source.participant_id

    async def type(self, *user_ids):
        """Publish as the host that participants are typing, and at last `LAST`."""
        for user_id in (*user_ids, LAST):
            await self.kit.publish_typing("room", user_id)

    async def introduce(self, order):
        """Let those with the name be participants, in an order."""
        if order == "the other first":
            self.other_id = await self.say("sms", "I am first")
            self.own_id = await self.say("ws", "and I second")
            assert (self.own_id, self.other_id) == (f"websocket:{NAME}", NAME)
        elif order == "the client first":
            self.own_id = await self.say("ws", "I am first")
            self.other_id = await self.say("sms", "and I second")
            assert (self.own_id, self.other_id) == (NAME, f"phone:{NAME}")


@asynccontextmanager
async def a_house():
    async with RoomKit(store=InMemoryStore(), single_process=True) as kit, AsyncExitStack() as stack:
        channel = WebSocketChannel("ws")
        kit.register_channel(channel)
        kit.register_channel(RecordingChannel("sms", channel_type=ChannelType.SMS))
        await kit.create_room("room")
        for each in ("ws", "sms"):
            await kit.attach_channel("room", each)
        server = await stack.enter_async_context(channel.serve(kit))
        yield House(kit, server, stack)


@pytest.mark.parametrize("order", OTHERS_FIRST)
async def test_own_whispers_are_replayed_and_the_namesakes_are_not(order):
    async with a_house() as house:
        await house.introduce(order)
        await house.say("ws", "my whisper", visibility="intelligence")
        await house.say("sms", "the other's whisper", visibility="intelligence")
        await house.say("ws", "bob's whisper", visibility="intelligence", sender_id="bob")
        await house.say("sms", "to all")
        for name, words in ((NAME, "my whisper"), ("bob", "bob's whisper")):
            seen = await (await house.client(name, after=-1)).texts("to all")
            assert [text for text in seen if "whisper" in text] == [words]


@pytest.mark.parametrize("order", OTHERS_FIRST)
@pytest.mark.parametrize("kind", SIGNALS)
async def test_own_signals_are_not_shown_and_the_namesakes_are(order, kind):
    """Typing and read marks: by the client's own socket, and by the host for either participant."""
    async with a_house() as house:
        await house.introduce(order)
        ann, bob = await house.client(NAME), await house.client("bob")
        await ann.send(**SIGNALS[kind])
        assert (await bob.next("ephemeral"))["event"]["user_id"] == house.own_id
        people = sorted({house.own_id, house.other_id})
        await house.type(*people)
        assert await ann.signals() == ([] if order == "alone" else [house.other_id])
        assert await bob.signals() == people


async def test_a_client_who_becomes_a_namesake_while_connected_is_known_by_what_it_says():
    """The other came by another channel after the client connected."""
    async with a_house() as house:
        ann = await house.client(NAME)
        assert await house.say("sms", "I was faster") == NAME
        await ann.send(type="message", text="hello", client_id="m1")
        await ann.next("ack")
        await house.type(NAME, f"websocket:{NAME}")
        assert await ann.signals() == [NAME]


async def test_who_is_named_like_a_namesakes_id_is_not_the_namesake():
    """A name is what its sign-in says: nothing keeps it from looking like an id."""
    async with a_house() as house:
        await house.introduce("the other first")
        await house.say("ws", "my whisper", visibility="intelligence")
        intruder = await house.client(f"websocket:{NAME}", after=-1)
        await house.say("sms", "to all")
        assert "my whisper" not in await intruder.texts("to all")
        await house.type(house.own_id)
        assert await intruder.signals() == [house.own_id]


async def test_a_client_without_a_name_does_not_see_its_own_signals():
    async with a_house() as house:
        nameless, bob = await house.client(None), await house.client("bob")
        await nameless.send(**SIGNALS["typing"])
        await bob.next("ephemeral")
        await house.type()
        assert await nameless.signals() == []


@pytest.mark.parametrize("order", OTHERS_FIRST)
async def test_what_came_by_no_known_connection_is_not_shown_to_its_sender(stage, order):
    """It is known by the sender's name, and shown to all with other names, however like an id they look."""
    kit = stage.kit
    kit.register_channel(RecordingChannel("sms", channel_type=ChannelType.SMS))
    await kit.create_room("room")
    for each in ("ws", "sms"):
        await kit.attach_channel("room", each)
    house = House(kit, None, None)
    await house.introduce(order)
    own, other, bob = (stage.join(name, participant_id=name) for name in (NAME, f"websocket:{NAME}", "bob"))
    await house.say("ws", "hello")
    await stage.turns()
    assert (own.texts, other.texts, bob.texts) == ([], ["hello"], ["hello"])


@pytest.mark.virtual_time
@pytest.mark.parametrize("order", [*OTHERS_FIRST, "the other first, the client on another worker"])
async def test_with_other_workers_its_sender_is_known_too(town, order):
    """Also for the first message of a namesake, whose record no worker has read before."""
    first, second = await town.populate(2)
    for worker in (first, second):
        worker.kit.register_channel(RecordingChannel("sms", channel_type=ChannelType.SMS))
    await first.kit.attach_channel("room", "sms")
    if order == "the client first":
        await House(first.kit, None, None).say("ws", "before")
    own = [await worker.join(f"own {worker is first}", participant_id=NAME) for worker in (first, second)]
    other = [
        await worker.join(f"other {worker is first}", participant_id=f"websocket:{NAME}")
        for worker in (first, second)
    ]
    if order != "alone":
        await House(first.kit, None, None).say("sms", "by text")
    speaks = first if "another" not in order else second
    for text in ("one", "two"):
        await House(speaks.kit, None, None).say("ws", text)
    await town.until(lambda: all("two" in wire.texts for wire in other))
    assert [[text for text in wire.texts if text != "by text"] for wire in other] == [["one", "two"]] * 2
    assert [[text for text in wire.texts if text != "by text"] for wire in own] == [[], []]


def someone(participant_id, **fields):
    return Participant(
        **{"id": participant_id, "room_id": "room", "channel_id": "ws", "address_type": "websocket", **fields}
    )


@pytest.mark.parametrize(
    ("people", "ids"),
    [
        ([], {"ann"}),
        ([someone("ann")], {"ann"}),
        ([someone("ann", channel_id="sms", address_type="phone")], {"websocket:ann"}),
        ([someone("ann", channel_id="web2")], {"ann"}),
        ([someone("ann", channel_id="system", address_type=None)], {"ann"}),
        ([someone("c1", identity_id="c1", external_id="ann")], {"ann", "c1"}),
        (
            [
                someone("ann", channel_id="sms", address_type="phone"),
                someone("c1", identity_id="c1", external_id="ann"),
            ],
            {"websocket:ann", "c1"},
        ),
        (
            [
                someone("ann", channel_id="sms", address_type="phone"),
                someone("websocket:ann", external_id="ann"),
            ],
            {"websocket:ann"},
        ),
        (
            [someone("ann", channel_id="sms", address_type="phone"), someone("websocket:ann")],
            {"websocket:websocket:ann"},
        ),
    ],
)
def test_the_ids_of_a_name_are_those_the_room_knows_it_by(people, ids):
    assert participant_ids(NAME, {one.id: one for one in people}, "ws", "websocket") == ids
