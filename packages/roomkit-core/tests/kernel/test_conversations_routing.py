"""Routing of conversations that several senders share, such as a group's chat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.authoring.transport import TransportChannel
from roomkit.models import ChannelType, InboundMessage, TextContent
from roomkit_plugins.testing import MockSMSProvider

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def group(stage: Any) -> MockSMSProvider:
    """Register a channel of addresses; return its provider."""
    provider = MockSMSProvider()
    stage.kit.register_channel(TransportChannel("chat", ChannelType.TELEGRAM, provider=provider))
    return provider


async def room_of(stage: Any, sender: str, conversation: str | None = None, **fields: Any) -> str:
    message = InboundMessage(
        channel_id="chat",
        sender_id=sender,
        conversation=conversation,
        content=TextContent(body="hi"),
        **fields,
    )
    result = await stage.kit.process_inbound(message)
    assert not result.blocked, result.reason
    return str(result.event.room_id)


async def test_members_of_a_group_are_in_its_one_room(stage: Any, group: MockSMSProvider) -> None:
    """Also those whose first messages come at once; each is a participant of their own."""
    rooms = await asyncio.gather(*(room_of(stage, sender, "-100") for sender in ("ann", "ben", "ann")))
    assert len(set(rooms)) == 1
    record = await stage.kit.store.load(rooms[0])
    assert {each.external_id or each.id for each in record.participants.values()} == {"ann", "ben"}
    binding = record.bindings["chat"]
    assert (binding.address, binding.participant_id) == ("-100", None)
    await stage.kit.send_event(rooms[0], "system", TextContent(body="welcome"))
    assert [each["to"] for each in group.sent] == ["-100"]


async def test_what_a_member_writes_alone_is_not_for_the_group(stage: Any, group: MockSMSProvider) -> None:
    """Whichever came first, and also if the group's was the last that the person wrote in."""
    shared = await room_of(stage, "ann", "-100")
    own = await room_of(stage, "ann")
    assert own != shared
    assert await room_of(stage, "ann", "-100") == shared
    assert await room_of(stage, "ann") == own
    assert await room_of(stage, "ann", "-200") not in (own, shared)


async def test_an_answer_in_another_conversation_leads_nowhere_else(
    stage: Any, group: MockSMSProvider
) -> None:
    """The id of an answered message is content: a group's message goes to the group's room."""
    own = await room_of(stage, "ann", external_id="m1", provider_message_id="m1")
    shared = await room_of(stage, "ann", "-100", in_reply_to=("m1",))
    assert shared != own
    assert await room_of(stage, "ann", "-100", in_reply_to=("m1",)) == shared


async def test_a_channel_spells_a_conversation_like_an_address(stage: Any) -> None:
    class Shouting(TransportChannel):
        def normalize(self, address: str) -> str:
            return address.upper()

    channel = Shouting("chat", ChannelType.TELEGRAM)
    stage.kit.register_channel(channel)
    assert await room_of(stage, "ann", "team") == await room_of(stage, "ben", "TEAM")
