"""The channel in rooms: what it carries, and how a message falls back to SMS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit import ChannelType, InboundMessage, RichContent, RoomKit, TextContent
from roomkit.authoring.transport import TransportChannel
from roomkit.models import ChannelCapabilities
from roomkit_plugins.rcs import RCSChannel
from roomkit_plugins.testing import MockRCSProvider, MockSMSProvider, VirtualClock

pytestmark = pytest.mark.virtual_time
ANN = "+14165550123"


@pytest.fixture
async def kit(virtual_clock: VirtualClock) -> AsyncIterator[RoomKit]:
    async with RoomKit(clock=virtual_clock) as kit:
        yield kit


async def room_with(
    kit: RoomKit, channel: RCSChannel, sms: MockSMSProvider | None = None, **fields: Any
) -> None:
    kit.register_channel(channel)
    await kit.create_room("r")
    if sms is not None:
        kit.register_channel(
            TransportChannel("sms", ChannelType.SMS, provider=sms, recipient_key="phone_number")
        )
        await kit.attach_channel("r", "sms", metadata={"phone_number": ANN})
    await kit.attach_channel("r", "rcs", metadata={"phone_number": ANN}, **fields)


@pytest.mark.parametrize("fallback", [True, False])
async def test_the_vendors_fallback_is_the_channels_to_allow(kit: RoomKit, fallback: bool) -> None:
    carrier = MockRCSProvider()
    await room_with(kit, RCSChannel("rcs", provider=carrier, fallback=fallback))
    await kit.send_event("r", "system", TextContent(body="hello"))
    assert [call["fallback"] for call in carrier.calls] == [fallback]


async def test_buttons_become_words_where_the_vendor_has_none(kit: RoomKit) -> None:
    """Nothing of a rich message is lost."""
    carrier = MockRCSProvider()
    carrier.capabilities = ChannelCapabilities(max_length=1600)
    await room_with(kit, RCSChannel("rcs", provider=carrier))
    await kit.send_event("r", "system", RichContent(body="**Tonight?**", quick_replies=("Yes", "No")))
    assert carrier.texts == ["Tonight?\n- Yes\n- No"]


async def test_a_refused_message_goes_out_as_an_sms(kit: RoomKit) -> None:
    """Once, by the kit's own channel."""
    sms = MockSMSProvider()
    carrier = MockRCSProvider(simulate_fallback=True)
    await room_with(kit, RCSChannel("rcs", provider=carrier, fallback=False), sms, fallback="sms")
    event = await kit.send_event("r", "system", TextContent(body="hello"), visibility="rcs,sms")
    rows = {row.channel_id: row for row in await kit.list_deliveries("r") if row.event_id == event.id}
    assert str(rows["rcs"].state) == "failed"
    assert sms.texts == ["hello"]


async def test_stop_said_by_rcs_holds_for_sms(kit: RoomKit) -> None:
    """Both write to the same number."""
    await room_with(kit, RCSChannel("rcs", provider=MockRCSProvider(), stop_words=["ruhe"]))
    message = InboundMessage(channel_id="rcs", sender_id=ANN, content=TextContent(body="Ruhe!"))
    await kit.process_inbound(message)
    consent = await kit.consent("phone", ANN)
    assert consent is not None
    assert str(consent.state) == "revoked"
