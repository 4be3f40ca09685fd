"""Whose message it is: by the adapter, by `admit`, or by the channel; rooms of others are never found."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.transport import TransportChannel
from roomkit.models import ChannelType, InboundMessage
from roomkit_plugins.testing import MockSMSProvider, RecordingChannel

ANN = "+14165550001"


class ByAccount(TransportChannel):
    """Reads the organization in the vendor's account, which the provider verified."""

    def admit(self, message: InboundMessage) -> InboundMessage:
        account = message.extra.get("account")
        return super().admit(message.replace(organization_id=account) if account else message)


def sms(channel_id: str = "sms", organization: str | None = None) -> TransportChannel:
    channel = ByAccount(channel_id, ChannelType.SMS, provider=MockSMSProvider())
    channel.organization = organization
    return channel


async def room_of(stage: Any, **fields: Any) -> Any:
    result = await stage.say(channel=fields.pop("channel", "sms"), by=ANN, room=None, **fields)
    return await stage.kit.get_room(result.event.room_id)


async def test_one_sender_has_a_room_in_each_organization(staging: Any, store: Any) -> None:
    """Over each store: by the message, by what `admit` says, else by the channel."""
    async with staging(store=store, single_process=True) as stage:
        stage.kit.register_channel(sms())
        stage.kit.register_channel(sms("of acme", "acme"))
        rooms = [
            await room_of(stage),
            await room_of(stage, organization_id="acme"),
            await room_of(stage, extra={"account": "globex"}),
            await room_of(stage, channel="of acme"),
            await room_of(stage, channel="of acme", organization_id="globex"),
        ]
        assert [room.organization_id for room in rooms] == [None, "acme", "globex", "acme", "globex"]
        assert len({room.id for room in rooms}) == 5
        assert (await room_of(stage, organization_id="acme")).id == rooms[1].id


@pytest.mark.virtual_time
async def test_a_room_of_another_organization_takes_it_in_no_way(stage: Any) -> None:
    """Neither named by the message, nor answered in, nor by its address, nor as the channel's only one."""
    stage.kit.register_channel(sms())
    theirs = await stage.kit.for_organization("globex").create_room()
    await stage.kit.attach_channel(theirs.id, "sms", metadata={"recipient_id": ANN})
    said = await stage.say(channel="sms", by=ANN, room=theirs.id, external_id="SM1")
    assert said.event.room_id == theirs.id
    for fields in ({"room_id": theirs.id}, {"in_reply_to": ("SM1",)}, {}):
        found = await room_of(stage, organization_id="acme", **fields)
        assert (found.id != theirs.id, found.organization_id) == (True, "acme")


@pytest.mark.virtual_time
async def test_a_room_that_the_caller_names_must_be_the_messages_organizations(stage: Any) -> None:
    stage.kit.register_channel(sms())
    own = await stage.kit.for_organization("acme").create_room()
    there = await stage.say(channel="sms", by=ANN, room=own.id, organization_id="acme")
    elsewhere = await stage.say(channel="sms", by=ANN, room="r1", organization_id="acme")
    made = await stage.say(channel="sms", by=ANN, room="new", organization_id="acme")

    assert (there.event.room_id, elsewhere.reason, elsewhere.event) == (own.id, "room_not_found", None)
    assert (await stage.kit.get_room(made.event.room_id)).organization_id == "acme"


@pytest.mark.virtual_time
async def test_a_message_of_another_organization_is_refused_by_a_view(stage: Any) -> None:
    stage.kit.register_channel(sms())
    message = InboundMessage(
        channel_id="sms", sender_id=ANN, content={"type": "text", "body": "hi"}, organization_id="globex"
    )
    with pytest.raises(InvalidInputError, match="'globex' was given to the view of 'acme'"):
        await stage.kit.for_organization("acme").process_inbound(message)
    result = await stage.kit.for_organization("globex").process_inbound(message)
    assert (await stage.kit.get_room(result.event.room_id)).organization_id == "globex"


@pytest.mark.virtual_time
async def test_first_messages_at_once_of_one_organization_make_one_room(stage: Any) -> None:
    stage.kit.register_channel(RecordingChannel("web"))
    rooms = await asyncio.gather(
        *(room_of(stage, channel="web", organization_id=("acme", "globex")[n % 2]) for n in range(6))
    )
    assert len({room.id for room in rooms}) == 2
    assert {room.organization_id for room in rooms} == {"acme", "globex"}


@pytest.mark.virtual_time
async def test_locating_goes_by_the_organization_too(stage: Any) -> None:
    stage.kit.register_channel(sms())
    own = await room_of(stage, organization_id="acme")
    await room_of(stage)
    message = InboundMessage(
        channel_id="sms", sender_id=ANN, content={"type": "text", "body": "hi"}, organization_id="acme"
    )
    assert await stage.kit._kernel.entry.inbound.locate(message) == own.id
