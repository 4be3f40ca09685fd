"""Rooms by Messenger: conversations over real connections, and the windows on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit import InboundMessage, MediaContent, RichContent, RoomKit, TemplateContent, TextContent
from roomkit.abc import InvalidInputError
from roomkit.models import (
    CompositeContent,
    Delivery,
    DeliveryState,
    EventType,
    ReceiptState,
    RetryPolicy,
    RoomEvent,
    text_of,
)
from roomkit_plugins.messenger import FacebookMessengerProvider, MessengerChannel, MessengerConfig
from roomkit_plugins.testing import MockMessengerProvider, RecordingChannel, VirtualClock
from roomkit_plugins.testing.simulators import Drop, MessengerSimulator

ANN, BEN = "7012345678901234", "7012345678901235"
AT_ONCE = RetryPolicy(base_delay_seconds=0.001, jitter=0)
PNG = "https://files.example.org/a.png"
PATIENCE = 10.0
HOUR = 3600.0


@pytest.fixture
async def kit(
    messenger: MessengerSimulator, configure: Callable[..., MessengerConfig]
) -> AsyncIterator[RoomKit]:
    """Return a kit with the channel `messenger`, which takes the simulator's webhooks."""
    async with RoomKit(retry_policy=AT_ONCE) as kit:
        kit.register_channel(MessengerChannel("messenger", provider=FacebookMessengerProvider(configure())))
        messenger.connect(lambda request: kit.process_webhook(request, "messenger"))
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


async def receipt_of(kit: RoomKit, row: Delivery) -> ReceiptState | None:
    stored = await kit.store.get_delivery(row.id)
    assert stored is not None
    return stored.receipt


async def test_a_stranger_writes_and_is_answered(kit: RoomKit, messenger: MessengerSimulator) -> None:
    """Once, although each webhook comes twice."""
    messenger.duplicating = True
    ann = messenger.person(ANN)
    assert (await ann.write("Hello")).status == 200
    row = await sent(kit, "Good morning")
    assert (row.state, row.provider_message_id) == (DeliveryState.SENT, messenger.messages[0].id)
    assert [text_of(each.content) for each in await written(kit)] == ["Hello", "Good morning"]


async def test_receipts_come_by_id_and_by_watermark(kit: RoomKit, messenger: MessengerSimulator) -> None:
    ann = messenger.person(ANN)
    await ann.write("Hello")
    rows = [await sent(kit, text) for text in ("one", "two")]
    await messenger.report()
    assert [await receipt_of(kit, row) for row in rows] == [None, ReceiptState.DELIVERED]
    await ann.read()
    assert [await receipt_of(kit, row) for row in rows] == [ReceiptState.READ] * 2


async def test_words_go_before_a_file_and_long_ones_in_parts(
    kit: RoomKit, messenger: MessengerSimulator
) -> None:
    ann = messenger.person(ANN)
    await ann.write("Hello")
    picture = MediaContent(url=PNG, mime_type="image/png", caption="the menu")
    row = await sent(kit, CompositeContent(parts=(TextContent(body="Here:"), picture)))
    assert row.state is DeliveryState.SENT, row.error
    assert "attachment" in ann.received[-1].content
    assert " ".join(filter(None, ann.texts)).split() == ["Here:", "the", "menu"]
    before = len(ann.texts)
    text = " ".join(f"{number}€" for number in range(1000))
    await sent(kit, text)
    assert " ".join(ann.texts[before:]) == text


async def test_a_button_and_a_quick_reply_are_tapped(kit: RoomKit, messenger: MessengerSimulator) -> None:
    ann = messenger.person(ANN)
    await ann.write("Hello")
    rich = RichContent(body="Which?", buttons=({"text": "This", "payload": "t"},), quick_replies=("That",))
    assert (await sent(kit, rich)).state is DeliveryState.SENT
    shown = await ann.receive()
    for label in ("This", "That"):
        await ann.tap(shown, label)
    taps = (await written(kit))[-2:]
    assert [(text_of(each.content), each.metadata["postback"]) for each in taps] == [
        ("This", "t"),
        ("That", "That"),
    ]


async def test_answers_reactions_and_edits_find_their_message(
    kit: RoomKit, messenger: MessengerSimulator
) -> None:
    ann = messenger.person(ANN)
    await ann.write("at 7")
    (question,) = await written(kit)
    row = await sent(kit, "When?", parent_event_id=question.id)
    assert messenger.messages[0].answered == ann.written[0]
    await ann.react(messenger.messages[0].id, "❤️")
    (reaction,) = await written(kit, "reaction")
    assert (text_of(reaction.content), reaction.parent_event_id) == ("❤️", row.event_id)
    await ann.write("soon", answering=messenger.messages[0].id)
    assert (await written(kit))[-1].parent_event_id == row.event_id
    await ann.edit(ann.written[0], "at 8")
    assert text_of((await written(kit))[0].content) == "at 8"
    about = {"event_type": EventType.REACTION, "parent_event_id": question.id}
    await sent(kit, "👍", metadata={"emoji": "👍", "action": "add"}, **about)
    assert ann.reactions == {ann.written[0]: "👍"}


async def test_typing_and_read_marks_reach_the_person(kit: RoomKit, messenger: MessengerSimulator) -> None:
    await messenger.person(ANN).write("Hello")
    room_id = await the_room(kit)
    (question,) = await written(kit)
    kit.register_channel(RecordingChannel("desk"))
    await kit.attach_channel(room_id, "desk")
    async with asyncio.timeout(PATIENCE):
        await kit.publish_typing(room_id, "desk")
        await messenger.received(1)
        await kit.mark_read(room_id, "desk", question.id)
        await messenger.received(2)
    assert [each.json()["sender_action"] for each in messenger.requests] == ["typing_on", "mark_seen"]


async def test_a_message_whose_fate_is_not_known_is_not_sent_twice(
    kit: RoomKit, messenger: MessengerSimulator
) -> None:
    ann = messenger.person(ANN)
    await ann.write("Hello")
    messenger.play(Drop())
    row = await sent(kit, "your code is 1234")
    assert ann.texts == ["your code is 1234"]
    assert (row.state, row.error and row.error.code) == (DeliveryState.FAILED, "outcome_unknown")


async def test_a_refusal_that_passes_is_retried(kit: RoomKit, messenger: MessengerSimulator) -> None:
    await messenger.person(ANN).write("Hello")
    messenger.fail(400, 613, headers={"Retry-After": "0.01"})
    messenger.fail(503)
    row = await sent(kit, "hello")
    assert (row.state, row.attempts) == (DeliveryState.SENT, 3)


async def test_the_vendor_may_close_the_window_before_we_do(
    kit: RoomKit, messenger: MessengerSimulator
) -> None:
    await messenger.person(ANN).write("Hello")
    messenger.let_pass(25 * HOUR)
    row = await sent(kit, "hello")
    assert (row.state, row.error and row.error.code) == (DeliveryState.FAILED, "window_closed")
    assert (await sent(kit, TemplateContent(template_id="update", body="x"))).state is DeliveryState.SENT


async def test_the_webhooks_url_is_confirmed(kit: RoomKit, messenger: MessengerSimulator) -> None:
    outcome = await kit.process_webhook(messenger.challenge(), "messenger")
    assert (outcome.status, outcome.answer.body) == (200, "1158201444")


# -- windows ------------------------------------------------------------------------------------


async def after(hours: float, clock: VirtualClock, **options: Any) -> tuple[MockMessengerProvider, Delivery]:
    """Have a person write, and answer after some hours; return the provider and the delivery."""
    provider = MockMessengerProvider()
    async with RoomKit(clock=clock) as kit:
        kit.register_channel(MessengerChannel("messenger", provider=provider, **options))
        said = InboundMessage(channel_id="messenger", sender_id=ANN, content=TextContent(body="Hello"))
        assert not (await kit.process_inbound(said)).blocked
        await asyncio.sleep(hours * HOUR)  # virtual time
        return provider, await sent(kit, "hello")


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("hours", "options", "code", "tag"),
    [
        (23, {}, None, None),
        (25, {}, "window_closed", None),
        (23, {"human_agent": True}, None, None),
        (25, {"human_agent": True}, None, "HUMAN_AGENT"),
        (2, {"human_agent": True, "window_seconds": HOUR}, None, "HUMAN_AGENT"),
        (2, {"window_seconds": HOUR}, "window_closed", None),
        (25, {"window_seconds": None}, None, None),
    ],
)
async def test_the_window_is_a_day_and_of_people_a_week(
    virtual_clock: VirtualClock, hours: float, options: dict[str, Any], code: str | None, tag: str | None
) -> None:
    provider, row = await after(hours, virtual_clock, **options)
    assert (row.error and row.error.code) == code
    assert [send["hints"].tag for send in provider.sent] == ([] if code else [tag])


@pytest.mark.virtual_time(horizon=30 * 86_400.0)
@pytest.mark.parametrize(("hours", "code"), [(167, None), (169, "window_closed")])
async def test_a_week_is_the_end_for_people_too(
    virtual_clock: VirtualClock, hours: float, code: str | None
) -> None:
    _, row = await after(hours, virtual_clock, human_agent=True)
    assert (row.error and row.error.code) == code


def test_a_tag_needs_a_window() -> None:
    with pytest.raises(InvalidInputError, match="after which the tag goes along"):
        MessengerChannel("messenger", human_agent=True, window_seconds=None)
