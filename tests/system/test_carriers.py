"""Rooms by each carrier: one conversation, over real connections, with telephones at the other end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from roomkit import MediaContent, RoomKit, TextContent
from roomkit.models import CompositeContent, Delivery, DeliveryState, ReceiptState, RetryPolicy, text_of
from roomkit_plugins.sinch import SinchConfig, SinchSMSProvider
from roomkit_plugins.sms import SMSChannel, extract_sms_meta
from roomkit_plugins.telnyx import TelnyxConfig, TelnyxSMSProvider
from roomkit_plugins.testing.simulators import (
    Drop,
    SinchSimulator,
    TelnyxSimulator,
    TwilioSimulator,
    VoiceMeUpSimulator,
)
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider
from roomkit_plugins.voicemeup import VoiceMeUpConfig, VoiceMeUpSMSProvider

ANN = "+14165550123"
AT_ONCE = RetryPolicy(base_delay_seconds=0.001, jitter=0)
PICTURE = "https://example.com/a.png"


@dataclass(frozen=True)
class Carrier:
    """What the tests have to know of a carrier besides its simulator."""

    simulator: Callable[[], Any]
    provider: Callable[[Any], Any]
    undelivered: str
    refused: tuple[int, int] | None
    """The status and the code of a number that it cannot reach, if it has one."""
    has_keys: bool
    """Whether it takes idempotency keys."""
    marks_opt_out: bool = True
    """Whether it refuses who said STOP to it."""
    sent: str = "sent"
    lost: ReceiptState = ReceiptState.UNDELIVERED
    """What `undelivered` means."""
    has_receipts: bool = True
    joins_parts: bool = False
    """Whether an MMS comes in parts, which are joined some seconds later."""
    payload: Callable[[Any], Any] = lambda request: request.json()


CARRIERS = {
    "twilio": Carrier(
        simulator=lambda: TwilioSimulator(advanced_opt_out=True),
        provider=lambda twilio: TwilioSMSProvider(
            TwilioConfig(
                account_sid=twilio.account_sid,
                auth_token=twilio.auth_token,
                from_number=twilio.numbers[0],
                status_callback_url=twilio.webhook_url,
                base_url=twilio.origin,
            )
        ),
        undelivered="undelivered",
        refused=(400, 21211),
        has_keys=False,
        payload=lambda request: {name: values[0] for name, values in request.form().items()},
    ),
    "sinch": Carrier(
        simulator=SinchSimulator,
        provider=lambda sinch: SinchSMSProvider(
            SinchConfig(
                service_plan_id=sinch.service_plan_id,
                api_token=sinch.api_token,
                webhook_secret=sinch.webhook_secret,
                from_number=sinch.numbers[0],
                base_url=sinch.origin,
            )
        ),
        sent="dispatched",
        undelivered="failed",
        lost=ReceiptState.FAILED,
        refused=None,
        has_keys=False,
        marks_opt_out=False,
    ),
    "voicemeup": Carrier(
        simulator=VoiceMeUpSimulator,
        provider=lambda vendor: VoiceMeUpSMSProvider(
            VoiceMeUpConfig(
                username=vendor.username,
                auth_token=vendor.auth_token,
                webhook_token=vendor.webhook_token,
                from_number=vendor.numbers[0],
                base_url=vendor.origin,
            )
        ),
        undelivered="",
        refused=None,
        has_keys=False,
        marks_opt_out=False,
        has_receipts=False,
        joins_parts=True,
    ),
    "telnyx": Carrier(
        simulator=TelnyxSimulator,
        provider=lambda telnyx: TelnyxSMSProvider(
            TelnyxConfig(
                api_key=telnyx.api_key,
                public_key=telnyx.public_key,
                from_number=telnyx.numbers[0],
                webhook_url=telnyx.webhook_url,
                base_url=telnyx.origin,
            )
        ),
        undelivered="delivery_failed",
        refused=(400, 40310),
        has_keys=True,
    ),
}


@pytest.fixture(params=CARRIERS)
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """Return each carrier in turn."""
    return CARRIERS[request.param]


@pytest.fixture
async def vendor(carrier: Carrier) -> AsyncIterator[Any]:
    """Return the carrier's simulator, running."""
    async with carrier.simulator() as simulator:
        yield simulator


@pytest.fixture
async def kit(carrier: Carrier, vendor: Any) -> AsyncIterator[RoomKit]:
    """Return a kit with the channel `sms` by the carrier, which takes its webhooks."""
    async with RoomKit(retry_policy=AT_ONCE) as kit:
        kit.register_channel(SMSChannel("sms", provider=carrier.provider(vendor)))
        vendor.connect(lambda request: kit.process_webhook(request, "sms"))
        yield kit


async def the_room(kit: RoomKit) -> str:
    (room,) = await kit.store.list_rooms()
    return room.id


async def sent(kit: RoomKit, content: Any) -> Delivery:
    content = TextContent(body=content) if isinstance(content, str) else content
    event = await kit.send_event(await the_room(kit), "system", content)
    return next(row for row in await kit.list_deliveries(event.room_id) if row.event_id == event.id)


async def written(kit: RoomKit) -> list[Any]:
    return [each.content for each in await kit.get_timeline(await the_room(kit)) if each.type == "message"]


async def test_a_stranger_writes_and_is_answered(kit: RoomKit, vendor: Any) -> None:
    """In one room, from the number that was written to; each row has the vendor's id."""
    ann = vendor.phone(ANN)
    for text in ("Hello", "Anyone there? 👋"):
        assert (await ann.write(text)).status == 200
    row = await sent(kit, "Good morning, Ann. €5 [off]")
    assert (row.state, row.provider_message_id) == (DeliveryState.SENT, vendor.messages[0].id)
    assert ann.texts == ["Good morning, Ann. €5 [off]"]
    assert vendor.messages[0].sender == vendor.numbers[0]
    assert [text_of(each) for each in await written(kit)] == ["Hello", "Anyone there? 👋", ann.texts[0]]


async def test_receipts_move_the_ledger_forward_only(kit: RoomKit, vendor: Any, carrier: Carrier) -> None:
    if not carrier.has_receipts:
        pytest.skip("the carrier has none")
    await vendor.phone(ANN).write("Hello")
    row = await sent(kit, "hello")
    vendor.duplicating = True
    for word, state in ((carrier.sent, "sent"), ("delivered", "delivered"), (carrier.sent, "delivered")):
        assert {each.status for each in await vendor.report(word)} == {200}
        assert (await kit.store.get_delivery(row.id)).receipt == state
    lost = await sent(kit, "and another")
    await vendor.report(carrier.undelivered, error_code="30005")
    assert (await kit.store.get_delivery(lost.id)).receipt is carrier.lost


async def test_a_redelivered_message_is_in_the_room_once(kit: RoomKit, vendor: Any) -> None:
    vendor.duplicating = True
    await vendor.phone(ANN).write("once")
    assert await written(kit) == [TextContent(body="once")]
    assert [each.answer.status for each in vendor.webhooks] == [200, 200]


async def test_a_text_of_any_length_arrives_whole(kit: RoomKit, vendor: Any, carrier: Carrier) -> None:
    """In as many messages as it takes; the receipt is of all of them."""
    text = " ".join(f"{number}€" for number in range(900))
    ann = vendor.phone(ANN)
    await ann.write("Tell me all")
    row = await sent(kit, text)
    assert " ".join(ann.texts) == text
    assert len(row.message_ids) == len(ann.texts) > 2
    for message in vendor.messages if carrier.has_receipts else ():
        assert (await kit.store.get_delivery(row.id)).receipt is None
        await vendor.report("delivered", message=message)
    delivered = ReceiptState.DELIVERED if carrier.has_receipts else None
    assert (await kit.store.get_delivery(row.id)).receipt is delivered


async def test_files_go_both_ways(kit: RoomKit, vendor: Any, carrier: Carrier) -> None:
    """With their types and the words beside them."""
    if carrier.joins_parts:
        pytest.skip("the parts of an MMS are joined on virtual time, in the carrier's own tests")
    ann = vendor.phone(ANN)
    await ann.write("the meter", files=[("image/jpeg", b"one"), ("image/png", b"two")])
    (said,) = await written(kit)
    assert isinstance(said, CompositeContent)
    assert [getattr(part, "mime_type", None) for part in said.parts] == [None, "image/jpeg", "image/png"]
    picture = MediaContent(url=PICTURE, mime_type="image/png", caption="the menu")
    row = await sent(kit, picture)
    assert (row.state, ann.texts, vendor.messages[-1].media_urls) == (
        DeliveryState.SENT,
        ["the menu"],
        (PICTURE,),
    )


async def test_a_message_whose_fate_is_not_known_arrives_once(
    kit: RoomKit, vendor: Any, carrier: Carrier
) -> None:
    """Sent again where the vendor knows it by its key, and not at all where it would be a second message."""
    await vendor.phone(ANN).write("Hello")
    vendor.play(Drop())
    row = await sent(kit, "your code is 1234")
    assert vendor.phone(ANN).texts == ["your code is 1234"]
    if carrier.has_keys:
        assert (row.state, row.attempts) == (DeliveryState.SENT, 2)
    else:
        assert (row.state, row.error and row.error.code) == (DeliveryState.FAILED, "outcome_unknown")


async def test_a_late_receipt_finds_a_message_whose_answer_was_lost(
    kit: RoomKit, vendor: Any, carrier: Carrier
) -> None:
    """By the key of the message, which each carrier brings back in its own way."""
    if not carrier.has_receipts:
        pytest.skip("the carrier has none")
    await vendor.phone(ANN).write("Hello")
    vendor.play(Drop())
    row = await sent(kit, "your code is 1234")
    await vendor.report("delivered", message=vendor.messages[0])
    found = await kit.store.get_delivery(row.id)
    assert (found.state, found.receipt) == (row.state, ReceiptState.DELIVERED)


async def test_a_refusal_for_good_is_not_repeated(kit: RoomKit, vendor: Any, carrier: Carrier) -> None:
    if carrier.refused is None:
        pytest.skip("the carrier has no code for it")
    await vendor.phone(ANN).write("Hello")
    vendor.fail(*carrier.refused)
    row = await sent(kit, "hello")
    assert (row.state, row.attempts, row.error and row.error.code) == (
        DeliveryState.FAILED,
        1,
        "invalid_recipient",
    )


async def test_a_refusal_that_passes_is_retried(kit: RoomKit, vendor: Any) -> None:
    await vendor.phone(ANN).write("Hello")
    vendor.fail(429, headers={"Retry-After": "0.01"})
    vendor.fail(503)
    row = await sent(kit, "hello")
    assert (row.state, row.attempts, vendor.phone(ANN).texts) == (DeliveryState.SENT, 3, ["hello"])


async def test_a_stop_holds_until_the_person_says_start(kit: RoomKit, vendor: Any) -> None:
    """By the person's word and by the vendor's mark; nothing reaches the vendor after it."""
    ann = vendor.phone(ANN)
    await ann.write("Hello")
    await ann.write("STOP")
    row = await sent(kit, "and another thing")
    assert (row.state, row.reason, vendor.messages) == (DeliveryState.SKIPPED, "opted_out", [])
    await ann.write("START")
    assert (await sent(kit, "welcome")).state is DeliveryState.SENT


async def test_who_said_stop_to_the_vendor_alone_is_skipped(
    kit: RoomKit, vendor: Any, carrier: Carrier
) -> None:
    if not carrier.marks_opt_out:
        pytest.skip("the carrier does not say it")
    ann = vendor.phone(ANN)
    await ann.write("Hello")
    vendor.opt(ANN, vendor.numbers[0], "STOP")
    row = await sent(kit, "hello")
    assert (row.state, row.reason, row.attempts) == (DeliveryState.SKIPPED, "opted_out", 1)


async def test_the_neutral_reading_of_a_webhook_agrees(vendor: Any, carrier: Carrier, kit: RoomKit) -> None:
    """`extract_sms_meta` reads the same payload without the carrier's distribution."""
    if carrier.joins_parts:
        pytest.skip("a file comes without its words")
    await vendor.phone(ANN).write("Hello", files=[("image/jpeg", b"one")])
    (webhook,) = vendor.webhooks
    provider: Any = kit.get_channel("sms").provider  # type: ignore[union-attr]
    (message,) = await provider.webhook(webhook.request, channel_id="sms")
    meta = extract_sms_meta(provider.name, carrier.payload(webhook.request))
    assert (meta.sender, meta.recipient, meta.external_id, meta.body) == (
        message.sender_id,
        message.extra["to"],
        message.external_id,
        text_of(message.content),
    )
    assert [each["url"] for each in meta.media_urls] == [message.content.url]
