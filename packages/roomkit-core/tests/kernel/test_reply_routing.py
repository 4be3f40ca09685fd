"""Where a message belongs: by the address that was written to, by what it answers, by its session."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from roomkit.abc.errors import ForeignCodeError, InvalidInputError
from roomkit.abc.router import InboundRoomRouter
from roomkit.authoring.transport import TransportChannel
from roomkit.models import (
    ChannelType,
    EventType,
    HookResult,
    HookTrigger,
    Identity,
    InboundMessage,
    TextContent,
)
from roomkit.models.content import text_of
from roomkit.models.delivery import MOST_REPLIED_TO
from roomkit_plugins.testing import MockEmailProvider, MockIdentityResolver, MockSMSProvider, RecordingChannel

ANN, BEN = "+14165550001", "+14165550002"


def sms(channel_id: str = "sms", **options: Any) -> TransportChannel:
    return TransportChannel(channel_id, ChannelType.SMS, provider=MockSMSProvider(name="acme"), **options)


async def room_of(stage: Any, sender: str, channel: str = "sms", **fields: Any) -> str:
    result = await stage.say(channel=channel, by=sender, room=None, **fields)
    return str(result.event.room_id)


async def texted(stage: Any, room_id: str, to: str, channel: str = "sms", **options: Any) -> str:
    """Open a room that writes first; return the vendor's id of the message."""
    await stage.open(room_id, **options)
    await stage.kit.attach_channel(room_id, channel, metadata={"recipient_id": to})
    event = await stage.kit.send_event(room_id, "system", TextContent(body="hello"))
    (row,) = await stage.kit.list_deliveries(room_id, event_id=event.id)
    return str(row.provider_message_id)


# -- by the address -------------------------------------------------------------------------------


async def test_who_was_written_to_answers_in_that_room(staging: Any, store: Any) -> None:
    """However the host spelled the number, over each store."""
    async with staging(store=store, single_process=True) as stage:
        stage.kit.register_channel(sms())
        await texted(stage, "ann", "+1 (416) 555-0001")
        await texted(stage, "ben", BEN)

        assert await room_of(stage, ANN) == "ann"
        assert await room_of(stage, BEN) == "ben"
        assert await room_of(stage, "+14165550003") not in ("r1", "ann", "ben")
        assert (await stage.kit.get_binding("ann", "sms")).address == ANN


@pytest.mark.virtual_time
async def test_of_several_rooms_that_wrote_the_last_active_has_the_answer(stage: Any) -> None:
    """Also if the sender has been in another one before."""
    stage.kit.register_channel(sms())
    await texted(stage, "first", ANN)
    assert await room_of(stage, ANN) == "first"
    await asyncio.sleep(1)
    await texted(stage, "second", ANN)

    assert await room_of(stage, ANN) == "second"


@pytest.mark.virtual_time
@pytest.mark.parametrize("why", ["closed", "detached", "another recipient"])
async def test_a_room_that_is_over_for_the_address_is_passed_over(stage: Any, why: str) -> None:
    stage.kit.register_channel(sms())
    await texted(stage, "ann", ANN)
    if why == "closed":
        await stage.kit.close_room("ann")
    elif why == "detached":
        await stage.kit.detach_channel("ann", "sms")
    else:
        await stage.kit.update_binding_metadata("ann", "sms", {"recipient_id": BEN})
        assert (await stage.kit.get_binding("ann", "sms")).address == BEN

    assert await room_of(stage, ANN) != "ann"


@pytest.mark.virtual_time
async def test_an_address_that_the_host_gives_is_spelled_the_channels_way(stage: Any) -> None:
    stage.kit.register_channel(sms())
    bound = await stage.kit.attach_channel("r1", "sms", address="001 416 555 0001")
    assert bound.address == ANN
    assert await room_of(stage, ANN) == "r1"


@pytest.mark.virtual_time
async def test_another_metadata_leaves_a_given_address(stage: Any) -> None:
    stage.kit.register_channel(sms())
    await stage.kit.attach_channel("r1", "sms", address=ANN)
    await stage.kit.update_binding_metadata("r1", "sms", {"from_": "+1999"})
    assert (await stage.kit.get_binding("r1", "sms")).address == ANN


@pytest.mark.virtual_time
async def test_an_address_that_cannot_be_told_attaches_nothing(stage: Any) -> None:
    class Broken(RecordingChannel):
        def address_of(self, metadata: Any) -> Any:
            return 7

    stage.kit.register_channel(Broken("sms"))
    with pytest.raises(ForeignCodeError, match=r"address_of\(\) of channel 'sms' is int"):
        await stage.kit.attach_channel("r1", "sms")


class Named(RecordingChannel):
    """A channel that has no way to read an address in metadata, and names one for a stranger."""

    def first_binding(self, message: InboundMessage) -> Mapping[str, Any]:
        return {"address": message.sender_id, "participant_id": None}


@pytest.mark.virtual_time
@pytest.mark.parametrize("channel_class", [RecordingChannel, Named])
async def test_an_address_that_was_given_is_found_for_any_channel(
    stage: Any, channel_class: type[RecordingChannel]
) -> None:
    """Also where the channel has no `address_of`: the host knows the address, or a first binding does."""
    stage.kit.register_channel(channel_class("bot"))
    for who in ("ann", "ben"):
        await stage.kit.create_room(f"of {who}")
        await stage.kit.attach_channel(f"of {who}", "bot", address=who)
    assert await room_of(stage, "ben", "bot") == "of ben"
    assert await room_of(stage, "ann", "bot") == "of ann"
    new = await room_of(stage, "eve", "bot")
    assert new not in ("of ann", "of ben")
    assert await room_of(stage, "eve", "bot") == new


@pytest.mark.virtual_time
async def test_the_store_is_not_asked_for_addresses_of_a_known_sender_of_a_plain_channel(stage: Any) -> None:
    asked = []
    find = stage.seen_by_store.find_address_room_ids

    async def counted(channel_id: str, *args: Any, **options: Any) -> Any:
        asked.append(channel_id)
        return await find(channel_id, *args, **options)

    stage.kit.register_channel(sms())
    stage.kit.register_channel(RecordingChannel("web"))
    await room_of(stage, ANN)
    await room_of(stage, "ann", "web")
    stage.seen_by_store.find_address_room_ids = counted
    await room_of(stage, ANN)
    await room_of(stage, "ann", "web")

    assert asked == ["sms"]


# -- by what it answers ---------------------------------------------------------------------------


async def mailed(stage: Any) -> TransportChannel:
    mail = TransportChannel("mail", ChannelType.EMAIL, provider=MockEmailProvider(name="smtp"))
    stage.kit.register_channel(mail)
    return mail


async def test_a_reply_goes_to_the_room_of_what_it_answers(staging: Any, store: Any) -> None:
    """Of a message that we sent, or of one that came in; the event is its parent."""
    async with staging(store=store, single_process=True) as stage:
        await mailed(stage)
        sent = await texted(stage, "one", "ann@example.com", "mail")
        await texted(stage, "two", "ann@example.com", "mail")
        reply = await stage.say(
            channel="mail", by="Ann@Example.com", room=None, in_reply_to=(sent,), external_id="<r1>"
        )
        further = await stage.say(channel="mail", by="ann@example.com", room=None, in_reply_to=("<r1>",))

        assert (reply.event.room_id, further.event.room_id) == ("one", "one")
        assert text_of((await store.get_event(reply.event.parent_event_id)).content) == "hello"
        assert further.event.parent_event_id == reply.event.id


@pytest.mark.virtual_time
async def test_a_stranger_who_names_a_message_gets_a_room_of_their_own(stage: Any) -> None:
    """A References header is content, not authority: nor is the foreign event their parent."""
    await mailed(stage)
    sent = await texted(stage, "one", "ann@example.com", "mail")
    said = await stage.say(channel="mail", by="eve@example.com", room=None, in_reply_to=(sent,))

    assert said.event.room_id not in ("r1", "one")
    assert said.event.parent_event_id is None


@pytest.mark.virtual_time
@pytest.mark.parametrize("gone", ["removed", "banned", None])
async def test_who_left_the_room_is_not_known_there(stage: Any, gone: str | None) -> None:
    """Their reply goes to the room that wrote to them; without having left, to the one of its parent."""
    await mailed(stage)
    await stage.open("one")
    await stage.kit.attach_channel("one", "mail")
    first = await stage.say(channel="mail", by="ann@example.com", room="one", external_id="<m1>")
    await texted(stage, "two", "ann@example.com", "mail")
    if gone is not None:
        who = first.event.source.participant_id
        await stage.kit.remove_participant("one", who, banned=gone == "banned")
    said = await stage.say(channel="mail", by="ann@example.com", room=None, in_reply_to=("<m1>",))

    assert said.event.room_id == ("one" if gone is None else "two")


@pytest.mark.virtual_time
@pytest.mark.parametrize("why", ["closed", "detached"])
async def test_a_reply_to_a_room_that_is_over_is_routed_on(stage: Any, why: str) -> None:
    await mailed(stage)
    sent = await texted(stage, "one", "ann@example.com", "mail")
    if why == "closed":
        await stage.kit.close_room("one")
    else:
        await stage.kit.detach_channel("one", "mail")
    said = await stage.say(channel="mail", by="ann@example.com", room=None, in_reply_to=(sent,))

    assert said.event.room_id not in ("r1", "one")
    assert said.event.parent_event_id is None


@pytest.mark.virtual_time
async def test_a_person_known_by_identity_answers_by_another_channel(staging: Any) -> None:
    """The channel is attached first, with the sender as its recipient."""
    ann = Identity(id="ann", channel_addresses={"sms": [ANN], "email": ["ann@example.com"]})
    async with staging(identity_resolver=MockIdentityResolver({ANN: ann})) as stage:
        stage.kit.register_channel(sms())
        await mailed(stage)
        await stage.kit.store.create_identity(ann)
        first = await stage.say(channel="sms", by=ANN, room=None, external_id="SM1")
        event = await stage.kit.send_event(first.event.room_id, "system", TextContent(body="mail us"))
        (row,) = await stage.kit.list_deliveries(event_id=event.id)
        status = await stage.seen_by_store.find_delivery("acme", row.provider_message_id)
        mail = stage.kit.get_channel("mail")
        mail.provider_names = ("smtp", "acme")  # one vendor for both channels
        said = await stage.say(
            channel="mail", by="ann@example.com", room=None, in_reply_to=(row.provider_message_id,)
        )

        assert status.id == row.id
        assert said.event.room_id == first.event.room_id
        bound = await stage.kit.get_binding(first.event.room_id, "mail")
        assert (bound.address, bound.metadata) == (
            "ann@example.com",
            {"recipient_id": "ann@example.com"},
        )


@pytest.mark.virtual_time
async def test_a_room_that_attaches_nothing_by_itself_takes_no_other_channel(staging: Any) -> None:
    async with staging() as stage:
        stage.kit.register_channel(sms())
        stage.kit.register_channel(sms("sms2"))
        sent = await texted(stage, "one", ANN, auto_attach="none")
        elsewhere = await stage.say(channel="sms2", by=ANN, room=None, in_reply_to=(sent,))
        await stage.kit.attach_channel("one", "sms2")
        there = await stage.say(channel="sms2", by=ANN, room=None, in_reply_to=(sent,))

        assert (elsewhere.event.room_id != "one", there.event.room_id) == (True, "one")


@pytest.mark.virtual_time
async def test_a_parent_that_the_channel_does_not_see_is_left_out(stage: Any) -> None:
    """The message is not refused for what a header names."""
    await stage.socket("web")
    await mailed(stage)
    await stage.kit.attach_channel("r1", "mail", metadata={"recipient_id": "ann@example.com"})
    hidden = await stage.say(channel="web", external_id="m1", visibility="web")
    stage.kit.get_channel("mail").provider_names = ("smtp", "web")
    find = stage.seen_by_store.find_event

    async def of_any_channel(_channel_id: str, external_id: str, **options: Any) -> Any:
        return await find("web", external_id, **options)

    stage.seen_by_store.find_event = of_any_channel
    said = await stage.say(channel="mail", by="ann@example.com", room=None, in_reply_to=("m1",))

    assert (said.event.room_id, said.event.parent_event_id) == ("r1", None)
    assert hidden.event.visibility == "web"


@pytest.mark.virtual_time
async def test_a_long_list_of_references_costs_a_bounded_number_of_look_ups(stage: Any) -> None:
    stage.kit.register_channel(sms())
    asked: list[str] = []
    find = stage.seen_by_store.find_event

    async def counted(channel_id: str, external_id: str, **options: Any) -> Any:
        asked.append(external_id)
        return await find(channel_id, external_id, **options)

    stage.seen_by_store.find_event = counted
    ids = tuple(f"<{number}>" for number in range(500))
    await stage.say(channel="sms", by=ANN, room=None, in_reply_to=ids)

    assert asked == list(ids[:MOST_REPLIED_TO])


# -- the order ------------------------------------------------------------------------------------


@dataclass
class Call:
    """A live session, of which the kit reads the room."""

    room_id: str | None


@pytest.mark.virtual_time
async def test_each_way_to_name_a_room_is_before_the_next(stage: Any) -> None:
    """The argument, the message, its session, its channel, what it answers, and the kit's router."""

    class Routing(TransportChannel):
        room_id: str | None = None

        async def route(self, message: InboundMessage) -> str | None:
            return self.room_id

    channel = Routing("sms", ChannelType.SMS, provider=MockSMSProvider(name="acme"))
    stage.kit.register_channel(channel)
    rooms = ["argument", "message", "session", "channel", "answered", "address"]
    sent = {room: await texted(stage, room, ANN) for room in rooms}
    ways: dict[str, Any] = {
        "room_id": "message",
        "session": Call("session"),
        "in_reply_to": (sent["answered"],),
    }
    channel.room_id = "channel"
    found = [(await stage.say(channel="sms", by=ANN, room="argument", **ways)).event.room_id]
    found.append(await room_of(stage, ANN, **ways))
    del ways["room_id"]
    found.append(await room_of(stage, ANN, **ways))
    del ways["session"]
    found.append(await room_of(stage, ANN, **ways))
    channel.room_id = None
    found.append(await room_of(stage, ANN, **ways))
    await asyncio.sleep(1)
    await stage.kit.send_event("address", "system", TextContent(body="again"))
    found.append(await room_of(stage, ANN))

    assert found == rooms


@pytest.mark.virtual_time
async def test_a_session_whose_room_is_closed_is_routed(stage: Any) -> None:
    await stage.socket("phone")
    await stage.open("r7")
    await stage.kit.close_room("r7")
    said = await stage.say(channel="phone", by=ANN, room=None, session=Call("r7"))

    assert said.event.room_id == "r1"


@pytest.mark.virtual_time
async def test_a_room_that_a_router_finds_lets_in_whom_it_knows(staging: Any) -> None:
    """A stranger's message opens a room of its own, unless the room attaches every channel."""

    class Leading(InboundRoomRouter):
        room_id = "quiet"

        async def route(self, *args: Any, message: Any = None) -> str | None:
            return self.room_id

    router = Leading()
    async with staging(inbound_router=router) as stage:
        await stage.socket("web")
        stage.kit.register_channel(sms())
        await stage.open("quiet")
        await stage.open("open", auto_attach="all")
        assert await room_of(stage, ANN) not in ("quiet", "r1")
        await stage.kit.attach_channel("quiet", "web", address=ANN)
        router.room_id = "open"
        assert await room_of(stage, ANN) == "open"


@pytest.mark.virtual_time
async def test_a_signal_with_a_parent_opens_nothing(stage: Any) -> None:
    """The look-up for a reply makes no room of a typing signal."""
    stage.kit.register_channel(sms())
    said = await stage.say(channel="sms", by=ANN, room=None, in_reply_to=("x",), event_type=EventType.TYPING)
    assert said.reason == "room_not_found"


# -- look-ups of a channel's own ------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_a_channel_finds_its_events_and_deliveries_by_its_vendors_ids(stage: Any) -> None:
    """In whatever room; what another channel has by that id is not found."""
    mail = await mailed(stage)
    stage.kit.register_channel(sms())
    sent = await texted(stage, "one", "ann@example.com", "mail")
    reply = await stage.say(
        channel="mail", by="ann@example.com", room=None, in_reply_to=(sent,), external_id="<r1>"
    )
    rooms, others = mail.services.rooms, stage.kit.get_channel("sms").services.rooms

    found, row = await rooms.find_event("<r1>"), await rooms.find_delivery(sent)
    assert (found.id, found.room_id) == (reply.event.id, "one")
    assert (row.room_id, row.provider_message_id) == ("one", sent)
    assert await others.find_event("<r1>") is None
    assert await others.find_delivery(sent) is None
    assert await rooms.find_event("<r2>") is None
    assert await stage.kit.services.rooms.find_event("<r1>", channel_id="mail") == found
    for find in (others.find_event, others.find_delivery):
        with pytest.raises(InvalidInputError, match="not one of"):
            await find("<r1>", channel_id="mail")


@pytest.mark.virtual_time
async def test_a_channel_of_an_organization_finds_nothing_of_another(stage: Any) -> None:
    """Nor does a gate in a room of one."""
    mail = await mailed(stage)
    await stage.open("theirs", organization_id="globex")
    await stage.kit.attach_channel("theirs", "mail", metadata={"recipient_id": "bob@example.com"})
    event = await stage.kit.send_event("theirs", "system", TextContent(body="hello"))
    (row,) = await stage.kit.list_deliveries("theirs", event_id=event.id)
    rooms, seen = mail.services.rooms, []
    assert (await rooms.find_delivery(row.provider_message_id)).room_id == "theirs"

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: Any, context: Any) -> HookResult:
        seen.append(await rooms.find_delivery(row.provider_message_id))
        return HookResult.allow()

    await stage.open("ours", organization_id="acme")
    await stage.kit.send_event("ours", "system", TextContent(body="hello"))
    mail.organization = "acme"
    seen.append(await rooms.find_delivery(row.provider_message_id))
    assert seen == [None, None]


@pytest.mark.virtual_time
async def test_a_channel_finds_its_bindings_by_an_address(stage: Any) -> None:
    """The last active first, closed ones too, of its organization if it has one; no other channel's."""
    mail = await mailed(stage)
    stage.kit.register_channel(sms())
    who = {"recipient_id": "ann@example.com"}
    for room, owner in (("one", None), ("two", "acme"), ("three", None)):
        await stage.open(room, organization_id=owner)
        await stage.kit.attach_channel(room, "mail", metadata=who, state={"room": room})
        await stage.kit.send_event(room, "system", TextContent(body="hello"))
        await asyncio.sleep(1)
    await stage.kit.close_room("one")
    rooms, others = mail.services.rooms, stage.kit.get_channel("sms").services.rooms

    async def found(**options: Any) -> list[str]:
        return [each.state["room"] for each in await rooms.find_bindings("ann@example.com", **options)]

    assert sorted(await found()) == ["one", "three", "two"]
    assert len(await found(limit=2)) == 2
    assert await others.find_bindings("ann@example.com") == []
    with pytest.raises(InvalidInputError, match="not one of"):
        await others.find_bindings("ann@example.com", channel_id="mail")
    mail.organization = "acme"
    assert await found() == ["two"]
