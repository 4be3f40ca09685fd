"""The channel in rooms: the 24-hour window, its template, purposes, addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit import InboundMessage, RoomKit, TemplateContent, TextContent
from roomkit.abc import InvalidInputError
from roomkit.models import DeliveryState
from roomkit_plugins.testing import MockWhatsAppProvider, VirtualClock
from roomkit_plugins.whatsapp import WhatsAppChannel

pytestmark = pytest.mark.virtual_time
ANN, ANN_ID = "+14165550123", "CA.13491208655302741918"
HOUR = 3600.0


@pytest.fixture
async def kit(virtual_clock: VirtualClock) -> AsyncIterator[RoomKit]:
    async with RoomKit(clock=virtual_clock) as kit:
        yield kit


async def attached(kit: RoomKit, **options: Any) -> MockWhatsAppProvider:
    """Register the channel and attach it to a room; return its provider."""
    provider = MockWhatsAppProvider()
    kit.register_channel(WhatsAppChannel("whatsapp", provider=provider, **options))
    await kit.create_room("r1")
    await kit.attach_channel("r1", "whatsapp", metadata={"phone_number": ANN})
    return provider


async def writes(kit: RoomKit) -> None:
    message = InboundMessage(channel_id="whatsapp", sender_id=ANN, content=TextContent(body="Hello"))
    assert not (await kit.process_inbound(message)).blocked


async def says(kit: RoomKit, content: Any) -> Any:
    content = TextContent(body=content) if isinstance(content, str) else content
    event = await kit.send_event("r1", "system", content)
    return next(row for row in await kit.list_deliveries("r1") if row.event_id == event.id)


async def test_free_text_goes_out_for_a_day_after_the_person_wrote(kit: RoomKit) -> None:
    """Then it is refused with the reason, and a template goes out all the same; a message opens it again."""
    provider = await attached(kit)
    await writes(kit)
    await asyncio.sleep(23.9 * HOUR)
    assert (await says(kit, "in time")).state is DeliveryState.SENT
    await asyncio.sleep(0.2 * HOUR)
    late = await says(kit, "too late")
    assert (late.state, late.error.code) == (DeliveryState.FAILED, "window_closed")
    assert "24 h after the recipient last wrote" in late.error.message
    template = TemplateContent(template_id="follow_up", body="We have news.")
    assert (await says(kit, template)).state is DeliveryState.SENT
    await writes(kit)
    assert (await says(kit, "again")).state is DeliveryState.SENT
    assert provider.texts == ["in time", "We have news.", "again"]


async def test_a_person_who_never_wrote_gets_templates_only(kit: RoomKit) -> None:
    provider = await attached(kit)
    assert (await says(kit, "hello")).error.code == "window_closed"
    assert provider.attempts == []


@pytest.mark.parametrize(
    ("template", "language"),
    [("follow_up", "de"), (TemplateContent(template_id="follow_up", language="de"), "de")],
)
async def test_a_template_goes_out_in_place_of_what_is_late(
    kit: RoomKit, template: TemplateContent | str, language: str
) -> None:
    """The ledger says so."""
    provider = await attached(kit, template=template, template_language="de")
    row = await says(kit, "hello")
    (send,) = provider.sent
    assert (send["event"].content.template_id, send["event"].content.language) == ("follow_up", language)
    assert row.rendered == send["event"].content


async def test_the_window_may_be_shorter_or_the_vendors_alone(kit: RoomKit) -> None:
    provider = await attached(kit, window_seconds=HOUR)
    await writes(kit)
    await asyncio.sleep(2 * HOUR)
    assert (await says(kit, "late")).error.code == "window_closed"
    kit.register_channel(WhatsAppChannel("plain", provider=provider, window_seconds=None))
    await kit.create_room("r2")
    await kit.attach_channel("r2", "plain", metadata={"phone_number": ANN})
    await kit.send_event("r2", "system", TextContent(body="hello"))
    assert provider.texts == ["hello"]


def test_a_template_needs_a_window() -> None:
    with pytest.raises(InvalidInputError, match="give window_seconds, after which it goes out"):
        WhatsAppChannel("whatsapp", template="follow_up", window_seconds=None)


@pytest.mark.parametrize(
    ("address", "one"),
    [("+1 (416) 555-0123", ANN), ("0014165550123", ANN), (ANN_ID, ANN_ID), ("Y2FwaV9n", "Y2FwaV9n")],
)
def test_a_number_has_one_spelling_and_an_id_its_own(address: str, one: str) -> None:
    channel = WhatsAppChannel("whatsapp", provider=MockWhatsAppProvider())
    assert channel.normalize(address) == one
    assert channel.normalize(one) == one
    assert channel.address_of({"phone_number": address}) == one


@pytest.mark.parametrize(("purpose", "metadata", "expected"), [("all", {}, "all"), (None, {}, None)])
async def test_a_delivery_needs_consent_for_its_purpose(
    kit: RoomKit, purpose: str | None, metadata: dict[str, str], expected: str | None
) -> None:
    await attached(kit, purpose=purpose)
    channel = kit.get_channel("whatsapp")
    assert channel is not None
    binding = await kit.get_binding("r1", "whatsapp")
    event = await kit.send_event("r1", "system", TextContent(body="x"))
    assert channel.consent_purpose(event, binding) == expected
    marketing = event.replace(metadata={"purpose": "marketing"})
    assert channel.consent_purpose(marketing, binding) == "marketing"
