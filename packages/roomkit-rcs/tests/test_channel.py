"""The channel in rooms: what it carries, and how a message falls back to SMS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit import ChannelType, InboundMessage, RichContent, RoomKit, TextContent
from roomkit.abc import ErrorCode, ProviderError
from roomkit.authoring.transport import TransportChannel
from roomkit.models import ChannelCapabilities, Delivery, DeliveryState, DeliveryStatus, RoomEvent
from roomkit_plugins.rcs import RCSChannel
from roomkit_plugins.testing import MockRCSProvider, MockSMSProvider, VirtualClock

pytestmark = pytest.mark.virtual_time
ANN = "+14165550123"


class Asked(MockRCSProvider):
    """A vendor that is asked which telephones have RCS."""

    def __init__(self) -> None:
        super().__init__()
        self.without: set[str] = set()
        self.asked: list[str] = []
        self.fails: ProviderError | None = None

    async def check_capability(self, phone_number: str) -> bool:
        self.asked.append(phone_number)
        if self.fails is not None:
            raise self.fails
        return phone_number not in self.without


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


async def rows_of(kit: RoomKit, event: RoomEvent) -> dict[str, Delivery]:
    found = await kit.list_deliveries("r")
    return {row.channel_id: row for row in found if row.event_id == event.id}


async def offered(kit: RoomKit, content: Any = "hello") -> RoomEvent:
    """Send to the telephone, which both channels reach."""
    content = TextContent(body=content) if isinstance(content, str) else content
    return await kit.send_event("r", "system", content, visibility="rcs,sms")


async def test_a_telephone_without_rcs_is_asked_once_and_written_to_by_sms(kit: RoomKit) -> None:
    """Nothing is sent by RCS, and no deadline is waited for; the answer holds for a day."""
    sms, carrier = MockSMSProvider(), Asked()
    carrier.without.add(ANN)
    await room_with(kit, RCSChannel("rcs", provider=carrier, fallback=False), sms, fallback="sms")
    row = (await rows_of(kit, await offered(kit)))["rcs"]
    assert (row.state, row.error and row.error.code) == (DeliveryState.FAILED, "invalid_recipient")
    await offered(kit, "again")
    assert (carrier.calls, carrier.asked, sms.texts) == ([], [ANN], ["hello", "again"])
    await asyncio.sleep(25 * 3600)
    carrier.without.clear()
    await offered(kit, "now by RCS")
    assert (carrier.texts, carrier.asked) == (["now by RCS"], [ANN, ANN])


@pytest.mark.parametrize("options", [{"fallback": True}, {"fallback": False, "check_capability": False}])
async def test_who_need_not_know_does_not_ask(kit: RoomKit, options: dict[str, Any]) -> None:
    carrier = Asked()
    carrier.without.add(ANN)
    await room_with(kit, RCSChannel("rcs", provider=carrier, **options))
    await kit.send_event("r", "system", TextContent(body="hello"))
    assert (carrier.texts, carrier.asked) == (["hello"], [])


async def test_a_vendor_that_does_not_answer_is_tried(kit: RoomKit) -> None:
    """The send will say it; the question is asked again before the next message."""
    carrier = Asked()
    carrier.fails = ProviderError("no answer", error_code=ErrorCode.TIMEOUT)
    await room_with(kit, RCSChannel("rcs", provider=carrier, fallback=False))
    for text in ("one", "two"):
        await kit.send_event("r", "system", TextContent(body=text))
    assert (carrier.texts, carrier.asked) == (["one", "two"], [ANN, ANN])


async def test_a_program_can_ask_which_telephones_have_rcs(kit: RoomKit) -> None:
    """In any spelling of a number; of no kit too, where nothing is kept."""
    carrier = Asked()
    carrier.without.add(ANN)
    channel = RCSChannel("rcs", provider=carrier)
    assert not await channel.is_capable(ANN)
    kit.register_channel(channel)
    assert [await channel.is_capable(number) for number in (ANN, "+1 (416) 555-0123", "+14165550124")] == [
        False,
        False,
        True,
    ]
    assert carrier.asked == [ANN, ANN, "+14165550124"]
    assert await RCSChannel("none").is_capable(ANN)


@pytest.mark.parametrize(
    ("word", "by_sms"), [("failed", True), ("expired", True), ("delivered", False), ("sent", True)]
)
async def test_receipts_and_the_deadline_decide_of_an_sms(kit: RoomKit, word: str, by_sms: bool) -> None:
    """A failure at once, and two minutes without `delivered`; the SMS is sent once."""
    sms, carrier = MockSMSProvider(), MockRCSProvider(name="carrier")
    channel = RCSChannel("rcs", provider=carrier, fallback=False)
    await room_with(kit, channel, sms, fallback="sms", fallback_after=120)
    row = (await rows_of(kit, await offered(kit)))["rcs"]
    receipt = DeliveryStatus(provider="carrier", channel_id="rcs", message_id=row.message_ids[0], status=word)
    for _ in range(2):
        await kit.process_delivery_status(receipt)
    await asyncio.sleep(100)
    assert bool(sms.texts) is (word in ("failed", "expired"))
    await asyncio.sleep(1000)
    assert sms.texts == (["hello"] if by_sms else [])


async def test_suggestions_and_cards_go_out_within_their_lengths(kit: RoomKit) -> None:
    """What is longer, or too many, is words; the text goes before its cards."""
    carrier = MockRCSProvider()
    await room_with(kit, RCSChannel("rcs", provider=carrier))
    replies = ("Yes", "a reply of more than twenty-five characters")
    card = {"title": "Lamp", "description": "Bright", "buttons": [{"text": "Buy"}]}
    offer = RichContent(body="Choose:", quick_replies=replies, cards=(card, {**card, "title": "x" * 201}))
    await kit.send_event("r", "system", offer)
    said, cards = (each["event"].content for each in carrier.sent)
    assert (said.body, said.cards) == (f"Choose:\n{'x' * 201}\nBright\n1. Buy\n- {replies[1]}", ())
    assert [each["title"] for each in cards.cards] == ["Lamp"]
    assert cards.quick_replies == ("Yes",)


async def test_stop_said_by_rcs_holds_for_sms(kit: RoomKit) -> None:
    """Both write to the same number."""
    await room_with(kit, RCSChannel("rcs", provider=MockRCSProvider(), stop_words=["ruhe"]))
    message = InboundMessage(channel_id="rcs", sender_id=ANN, content=TextContent(body="Ruhe!"))
    await kit.process_inbound(message)
    consent = await kit.consent("phone", ANN)
    assert consent is not None
    assert str(consent.state) == "revoked"
