"""Rooms by WhatsApp: conversations over real connections, with people at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit import MediaContent, RichContent, RoomKit, TemplateContent, TextContent
from roomkit.models import (
    CompositeContent,
    Delivery,
    DeliveryState,
    EventType,
    LocationContent,
    ReceiptState,
    RetryPolicy,
    RoomEvent,
    text_of,
)
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.simulators import Drop, Slow, WhatsAppSimulator
from roomkit_plugins.whatsapp import WhatsAppChannel, WhatsAppCloudConfig, WhatsAppCloudProvider

ANN, BEN = "+14165550123", "+14165550124"
AT_ONCE = RetryPolicy(base_delay_seconds=0.001, jitter=0)
PNG = "https://files.example.org/a.png"
PATIENCE = 10.0

type Configure = Callable[..., WhatsAppCloudConfig]


@pytest.fixture
async def kit(whatsapp: WhatsAppSimulator, configure: Configure) -> AsyncIterator[RoomKit]:
    """Return a kit with the channel `whatsapp`, which takes the simulator's webhooks."""
    async with RoomKit(retry_policy=AT_ONCE) as kit:
        provider = WhatsAppCloudProvider(configure())
        kit.register_channel(WhatsAppChannel("whatsapp", provider=provider))
        whatsapp.connect(lambda request: kit.process_webhook(request, "whatsapp"))
        yield kit


async def the_room(kit: RoomKit) -> str:
    (room,) = await kit.store.list_rooms()
    return room.id


async def sent(kit: RoomKit, content: Any, **fields: Any) -> Delivery:
    content = TextContent(body=content) if isinstance(content, str) else content
    event = await kit.send_event(await the_room(kit), "system", content, **fields)
    return next(row for row in await kit.list_deliveries(event.room_id) if row.event_id == event.id)


async def written(kit: RoomKit, kind: str = "message") -> list[RoomEvent]:
    return [each for each in await kit.get_timeline(await the_room(kit)) if each.type == kind]


async def test_a_stranger_writes_and_is_answered(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    ann = whatsapp.phone(ANN)
    for text in ("Hello", "Anyone there? 👋"):
        assert (await ann.write(text)).status == 200
    row = await sent(kit, "Good morning, Ann.")
    assert (row.state, row.provider_message_id) == (DeliveryState.SENT, whatsapp.messages[0].id)
    assert (whatsapp.messages[0].to, whatsapp.messages[0].reference) == (ann.user_id, row.id)
    assert [text_of(each.content) for each in await written(kit)] == [
        "Hello",
        "Anyone there? 👋",
        "Good morning, Ann.",
    ]


async def test_receipts_move_the_ledger_forward_only(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """Twice, and in any order."""
    await whatsapp.phone(ANN).write("Hello")
    row = await sent(kit, "hello")
    whatsapp.duplicating = True
    for word, state in (("delivered", "delivered"), ("sent", "delivered"), ("read", "read")):
        await whatsapp.report(word)
        stored = await kit.store.get_delivery(row.id)
        assert stored is not None
        assert stored.receipt == state
    lost = await sent(kit, "and another")
    await whatsapp.report("failed", error_code=131026)
    stored = await kit.store.get_delivery(lost.id)
    assert stored is not None
    assert stored.receipt is ReceiptState.FAILED


async def test_a_redelivered_message_is_in_the_room_once(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    whatsapp.duplicating = True
    await whatsapp.phone(ANN).write("once")
    assert [text_of(each.content) for each in await written(kit)] == ["once"]


# -- what goes out ------------------------------------------------------------------------------


async def test_a_text_of_any_length_arrives_whole(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    ann = whatsapp.phone(ANN)
    await ann.write("Tell me all")
    text = " ".join(f"{number}€" for number in range(2000))
    row = await sent(kit, text)
    assert " ".join(ann.texts) == text
    assert len(row.message_ids) == len(ann.texts) > 1


async def test_parts_go_out_as_messages_and_a_text_as_caption(
    kit: RoomKit, whatsapp: WhatsAppSimulator
) -> None:
    """Each is recorded; WhatsApp takes one part per message."""
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    picture = MediaContent(url=PNG, mime_type="image/png")
    place = LocationContent(latitude=1, longitude=2)
    for parts, expected in (
        ((TextContent(body="Here:"), picture), [("image", "Here:")]),
        ((TextContent(body="Here:"), picture, place), [("text", "Here:"), ("image", ""), ("location", "")]),
    ):
        row = await sent(kit, CompositeContent(parts=parts))
        assert row.state is DeliveryState.SENT, row.error
        assert [(each.type, each.text) for each in ann.received[-len(expected) :]] == expected
        assert len(row.message_ids) == len(expected)


async def test_a_button_is_tapped_and_quotes_its_message(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """More options than WhatsApp shows are lines of text."""
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    options = tuple({"type": "reply", "text": f"Option {at}", "payload": f"o{at}"} for at in range(12))
    row = await sent(kit, RichContent(body="**Which?**", buttons=options))
    assert row.state is DeliveryState.SENT, row.error
    message = await ann.receive()
    assert len(message.options) == 10
    assert "Option 11" in message.text
    await ann.tap(message, "Option 3")
    tap = (await written(kit))[-1]
    assert (text_of(tap.content), tap.metadata["postback"]) == ("Option 3", "o3")
    assert tap.parent_event_id == row.event_id


async def test_long_text_beside_buttons_goes_before_them(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    row = await sent(kit, RichContent(body="word " * 500, buttons=({"text": "Yes", "payload": "y"},)))
    assert row.state is DeliveryState.SENT, row.error
    assert [each.type for each in ann.received][-1] == "interactive"
    assert " ".join(ann.texts).split() == ["word"] * 500


async def test_a_label_that_is_too_long_is_said_in_words(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    long = "A label of more than twenty characters"
    row = await sent(kit, RichContent(body="Which?", buttons=({"text": long, "payload": "y"},)))
    assert row.state is DeliveryState.SENT, row.error
    assert long in (await ann.receive()).text


async def test_an_answer_quotes_the_message_it_answers(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """In either direction."""
    ann = whatsapp.phone(ANN)
    await ann.write("When?")
    (question,) = await written(kit)
    row = await sent(kit, "At eight", parent_event_id=question.id)
    message = await ann.receive()
    assert message.quoted == whatsapp.inbound[0]
    await ann.write("Thanks", quoting=message.id)
    assert (await written(kit))[-1].parent_event_id == row.event_id


# -- reactions, edits, marks --------------------------------------------------------------------


async def test_reactions_go_both_ways(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """About the very message, which the vendor's id names, and are taken back."""
    ann = whatsapp.phone(ANN)
    await ann.write("It works!")
    (question,) = await written(kit)
    row = await sent(kit, "Great")
    await ann.react(whatsapp.messages[0].id, "❤️")
    (reaction,) = await written(kit, "reaction")
    assert (text_of(reaction.content), reaction.parent_event_id) == ("❤️", row.event_id)
    about = {"event_type": EventType.REACTION, "parent_event_id": question.id}
    row = await sent(kit, "👍", metadata={"emoji": "👍", "action": "add"}, **about)
    assert (row.state, ann.reactions) == (DeliveryState.SENT, {whatsapp.inbound[0]: "👍"})
    await sent(kit, "👍", metadata={"emoji": "👍", "action": "remove"}, **about)
    assert ann.reactions == {}
    assert ann.texts == ["Great"]


async def test_a_person_edits_and_revokes_what_they_wrote(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    ann = whatsapp.phone(ANN)
    await ann.write("at 7")
    await ann.edit(whatsapp.inbound[0], "at 8")
    (said,) = await written(kit)
    assert text_of(said.content) == "at 8"
    await ann.revoke(whatsapp.inbound[0])
    assert (await kit.get_timeline(await the_room(kit)))[said.index].deleted


async def test_our_edit_and_deletion_are_said_in_words(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """A business cannot change what it sent."""
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    row = await sent(kit, "at 7")
    await kit.edit_event(row.room_id, row.event_id, TextContent(body="at 8"))
    await kit.delete_event(row.room_id, row.event_id)
    assert ann.texts == ["at 7", "Correction: at 8", "[Message deleted]"]


async def test_typing_and_read_marks_reach_the_person(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    await whatsapp.phone(ANN).write("Hello")
    room_id = await the_room(kit)
    (question,) = await written(kit)
    kit.register_channel(RecordingChannel("desk"))
    await kit.attach_channel(room_id, "desk")
    async with asyncio.timeout(PATIENCE):
        await kit.publish_typing(room_id, "desk")
        await whatsapp.received(1)
        await kit.mark_read(room_id, "desk", question.id)
        await whatsapp.received(2)
    assert [(each.message_id, each.is_typing) for each in whatsapp.acknowledged] == [
        (whatsapp.inbound[0], True),
        (whatsapp.inbound[0], False),
    ]


# -- what fails ---------------------------------------------------------------------------------


async def test_a_message_whose_fate_is_not_known_is_not_sent_twice(
    kit: RoomKit, whatsapp: WhatsAppSimulator
) -> None:
    """The API has no idempotency key; the receipt brings our reference back, and says what became of it."""
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    whatsapp.play(Drop())
    row = await sent(kit, "your code is 1234")
    assert ann.texts == ["your code is 1234"]
    assert (row.state, row.error and row.error.code) == (DeliveryState.FAILED, "outcome_unknown")
    await whatsapp.report("delivered")
    stored = await kit.store.get_delivery(row.id)
    assert stored is not None
    assert stored.receipt is ReceiptState.DELIVERED


async def test_a_refusal_that_passes_is_retried(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    await whatsapp.phone(ANN).write("Hello")
    whatsapp.fail(400, 131056, headers={"Retry-After": "0.01"})
    whatsapp.fail(503)
    whatsapp.play(Slow(0.01))
    row = await sent(kit, "hello")
    assert (row.state, row.attempts, whatsapp.phone(ANN).texts) == (DeliveryState.SENT, 3, ["hello"])


async def test_the_vendor_may_close_the_window_before_we_do(
    kit: RoomKit, whatsapp: WhatsAppSimulator
) -> None:
    await whatsapp.phone(ANN).write("Hello")
    whatsapp.close_windows()
    row = await sent(kit, "are you there?")
    assert row.error is not None
    assert (row.state, row.error.code, row.error.vendor_code) == (
        DeliveryState.FAILED,
        "window_closed",
        "graph_131047",
    )
    row = await sent(kit, TemplateContent(template_id="hello_world", language="en_US", body="Hello!"))
    assert row.state is DeliveryState.SENT


async def test_who_stopped_marketing_gets_none(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """Until they resume it; other messages go out."""
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    await ann.prefer("stop")
    row = await sent(kit, "-20 % today", metadata={"purpose": "marketing"})
    assert (row.state, row.reason) == (DeliveryState.SKIPPED, "opted_out")
    assert (await sent(kit, "your order is ready")).state is DeliveryState.SENT
    await ann.prefer("resume")
    assert (await sent(kit, "-20 % today", metadata={"purpose": "marketing"})).state is DeliveryState.SENT


async def test_who_opted_out_at_whatsapp_is_skipped(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    await whatsapp.phone(ANN).write("Hello")
    whatsapp.fail(400, 131050)
    row = await sent(kit, "hello")
    assert (row.state, row.reason, row.attempts) == (DeliveryState.SKIPPED, "opted_out", 1)


# -- people -------------------------------------------------------------------------------------


async def test_a_person_who_hides_the_number_stays_in_the_room(
    kit: RoomKit, whatsapp: WhatsAppSimulator
) -> None:
    """Who has never shown it is answered by the user id alone."""
    ann, ben = whatsapp.phone(ANN), whatsapp.phone(BEN)
    await ann.write("Hello")
    ann.hides_number = True
    await ann.write("It is me")
    assert len(await written(kit)) == 2
    ben.hides_number = True
    await ben.write("And me")
    assert len(await kit.store.list_rooms()) == 2


async def test_who_was_written_to_by_number_answers_there(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """As one person, whatever WhatsApp calls them: the number, both, and later the user id alone."""
    ann = whatsapp.phone(ANN)
    await kit.create_room("r1")
    await kit.attach_channel("r1", "whatsapp", metadata={"phone_number": "+1 (416) 555-0123"})
    await kit.send_event("r1", "system", TemplateContent(template_id="hello_world", body="Hello!"))
    assert [each.type for each in ann.received] == ["template"]
    await ann.write("Yes?")
    ann.hides_number = True
    await ann.write("Hello?")
    assert [text_of(each.content) for each in await written(kit)][1:] == ["Yes?", "Hello?"]
    assert {each.source.participant_id for each in (await written(kit))[1:]} == {ANN}
    assert (await sent(kit, "Hi")).state is DeliveryState.SENT
    assert whatsapp.messages[-1].to == ANN


async def test_two_first_messages_at_once_are_of_one_person(
    kit: RoomKit, whatsapp: WhatsAppSimulator
) -> None:
    ann = whatsapp.phone(ANN)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(ann.write(f"{number}") for number in range(4)))
    assert len({each.source.participant_id for each in await written(kit)}) == 1


async def test_a_new_number_is_answered_in_the_same_room(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """The timeline says so, once, and what is sent from now on goes to the new address."""
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    whatsapp.duplicating = True
    assert (await ann.change_number(BEN)).status == 200
    (note,) = [each for each in await written(kit, "system") if each.source.channel_id == "whatsapp"]
    assert "changed from 14165550123 to 14165550124" in text_of(note.content)
    ben = whatsapp.phone(BEN)
    await ben.write("My new number")
    assert (await sent(kit, "Noted")).state is DeliveryState.SENT
    assert (ben.texts, ann.texts) == (["Noted"], [])


async def test_a_new_number_of_a_stranger_is_reported(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    """It opens no room."""
    reported: asyncio.Queue[Any] = asyncio.Queue(1)
    kit.on("webhook_unparsed")(reported.put)
    await whatsapp.phone(ANN).change_number(BEN)
    async with asyncio.timeout(PATIENCE):
        report = await reported.get()
    assert report.data["reason"] == "a person without a room has a new number or user id"
    assert await kit.store.list_rooms() == []


async def test_a_call_is_in_the_timeline(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    ann = whatsapp.phone(ANN)
    await ann.write("Hello")
    await ann.call()
    await ann.call("terminate", duration=42)
    notes = [each.content for each in await written(kit, "system") if each.source.channel_id == "whatsapp"]
    assert [text_of(each) for each in notes] == [
        "Call by WhatsApp: connect",
        "Call by WhatsApp: ended after 42 s",
    ]


async def test_the_webhooks_url_is_confirmed(kit: RoomKit, whatsapp: WhatsAppSimulator) -> None:
    outcome = await kit.process_webhook(whatsapp.challenge(), "whatsapp")
    assert (outcome.status, outcome.answer.body) == (200, "1158201444")
