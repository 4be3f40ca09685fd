"""RCS, and SMS in its place: by receipt, by deadline, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit import RCSChannel, RoomKit, SMSChannel, TextContent
from roomkit.models import Delivery, DeliveryState, ReceiptState
from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.twilio import TwilioConfig, TwilioRCSConfig, TwilioRCSProvider, TwilioSMSProvider

ANN = "+14165550123"


@pytest.fixture
async def kit(twilio: TwilioSimulator) -> AsyncIterator[RoomKit]:
    """Return a kit with one person on both channels, of one account."""
    account: dict[str, Any] = {
        "account_sid": twilio.account_sid,
        "auth_token": twilio.auth_token,
        "from_number": twilio.numbers[0],
        "base_url": twilio.origin,
    }
    agent = TwilioRCSConfig(
        **account, messaging_service_sid=twilio.messaging_services[0], sender_id="acme_agent"
    )
    async with RoomKit() as kit:
        kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(TwilioConfig(**account))))
        kit.register_channel(RCSChannel("rcs", provider=TwilioRCSProvider(agent), fallback=False))
        twilio.connect(lambda request: kit.process_webhook(request, "rcs"))
        await kit.create_room("r")
        await kit.attach_channel("r", "sms", metadata={"phone_number": ANN})
        yield kit


async def rows(kit: RoomKit) -> dict[str, Delivery]:
    return {row.channel_id: row for row in await kit.list_deliveries("r")}


async def attach(kit: RoomKit, **fields: Any) -> None:
    await kit.attach_channel("r", "rcs", metadata={"phone_number": ANN}, fallback="sms", **fields)


async def until_sent(kit: RoomKit) -> dict[str, Delivery]:
    """Wait until the row of the SMS is there and sent."""
    async with asyncio.timeout(10):
        while True:
            found = await rows(kit)
            if "sms" in found and found["sms"].state is not DeliveryState.PENDING:
                return found
            await asyncio.sleep(0)


async def test_a_delivered_message_stays_rcs(kit: RoomKit, twilio: TwilioSimulator) -> None:
    await attach(kit, fallback_after=60)
    await kit.send_event("r", "system", TextContent(body="hello"))
    await twilio.report("sent", "delivered", "read")
    found = await rows(kit)
    assert found["rcs"].receipt is ReceiptState.READ
    assert [message.sender for message in twilio.messages] == ["rcs:acme_agent"]


async def test_a_receipt_of_a_failure_sends_an_sms(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """Once, however often the receipt comes; the row says in whose place."""
    await attach(kit)
    await kit.send_event("r", "system", TextContent(body="hello"))
    first = twilio.messages[0]
    twilio.duplicating = True
    await twilio.report("undelivered", message=first, error_code="63036")
    found = await until_sent(kit)
    await twilio.report("undelivered", message=first, error_code="63036")
    assert found["sms"].fallback_of == found["rcs"].id
    assert [message.sender for message in twilio.messages] == ["rcs:acme_agent", twilio.numbers[0]]
    assert twilio.phone(ANN).texts == ["hello", "hello"]


async def test_without_a_receipt_in_time_an_sms_is_sent(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """A late receipt of the first message still finds its row."""
    await attach(kit, fallback_after=0.05)
    await kit.send_event("r", "system", TextContent(body="hello"))
    first = twilio.messages[0]
    await until_sent(kit)
    await twilio.report("delivered", message=first)
    found = await rows(kit)
    assert found["rcs"].receipt is ReceiptState.DELIVERED
    assert len(twilio.messages) == 2


async def test_a_refusal_sends_an_sms_and_an_opt_out_none(kit: RoomKit, twilio: TwilioSimulator) -> None:
    await attach(kit)
    twilio.fail(400, 21211)
    await kit.send_event("r", "system", TextContent(body="one"))
    await until_sent(kit)
    assert [message.sender for message in twilio.messages] == [twilio.numbers[0]]
    twilio.fail(400, 21610)
    await kit.send_event("r", "system", TextContent(body="two"))
    assert (await rows(kit))["rcs"].reason == "opted_out"
    assert twilio.phone(ANN).texts == ["one"]
