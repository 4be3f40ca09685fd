"""Rooms by Twilio: the real SDK, real connections, and telephones at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit import HookResult, HookTrigger, MediaContent, RoomKit, TemplateContent, TextContent
from roomkit.kernel.delivery.breaker import CircuitBreaker
from roomkit.models import CompositeContent, Delivery, DeliveryState, ReceiptState, RetryPolicy, WebhookAnswer
from roomkit_plugins.sms import SMSChannel
from roomkit_plugins.testing import MockSMSProvider
from roomkit_plugins.testing.simulators import (
    Drop,
    Failure,
    Malformed,
    NeverAnswer,
    Slow,
    TwilioSimulator,
    WrongShape,
)
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider

ANN = "+14165550123"
ROOMS = ("r1", "r2", "r3")
AT_ONCE = RetryPolicy(base_delay_seconds=0.001, jitter=0)


@pytest.fixture
async def kit(twilio: TwilioSimulator, provider: TwilioSMSProvider) -> AsyncIterator[RoomKit]:
    """Return a kit with the channel `sms` by Twilio, which takes the vendor's webhooks."""
    async with RoomKit(retry_policy=AT_ONCE) as kit:
        kit.register_channel(SMSChannel("sms", provider=provider))
        twilio.connect(lambda request: kit.process_webhook(request, "sms"))
        yield kit


async def room_with(kit: RoomKit, channel_id: str = "sms", **fields: Any) -> str:
    await kit.create_room("r1")
    await kit.attach_channel("r1", channel_id, metadata={"phone_number": ANN}, **fields)
    return "r1"


async def sent(kit: RoomKit, room: str, content: Any) -> Delivery:
    event = await kit.send_event(room, "system", content)
    return next(row for row in await kit.list_deliveries(room) if row.event_id == event.id)


# -- in and out ---------------------------------------------------------------------------------


async def test_a_stranger_writes_and_is_answered(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """In one room, whatever they write, from the number they wrote to."""
    ann = twilio.phone(ANN)
    for text in ("Hello", "Anyone there? 👋"):
        assert (await ann.write(text)).status == 200
    (room,) = await kit.store.list_rooms()
    row = await sent(kit, room.id, TextContent(body="Good morning, Ann. €5 [off]"))
    assert (row.state, row.provider) == (DeliveryState.SENT, "twilio")
    assert ann.texts == ["Good morning, Ann. €5 [off]"]
    assert twilio.messages[0].sender == twilio.numbers[0]
    assert row.provider_message_id == twilio.messages[0].id
    texts = [each.content.body for each in await kit.get_timeline(room.id) if each.type == "message"]
    assert texts == ["Hello", "Anyone there? 👋", "Good morning, Ann. €5 [off]"]


async def test_receipts_move_the_ledger_forward_only(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """In any order, twice each."""
    room = await room_with(kit)
    row = await sent(kit, room, TextContent(body="hello"))
    twilio.duplicating = True
    for words, state in (
        (("sent",), ReceiptState.SENT),
        (("delivered", "queued", "sending"), ReceiptState.DELIVERED),
        (("sent", "accepted"), ReceiptState.DELIVERED),
    ):
        assert {each.status for each in await twilio.report(*words)} == {200}
        assert (await kit.store.get_delivery(row.id)).receipt is state


async def test_a_receipt_says_why_a_message_did_not_arrive(kit: RoomKit, twilio: TwilioSimulator) -> None:
    seen: list[Any] = []
    room = await room_with(kit)

    @kit.hook(HookTrigger.ON_DELIVERY_STATUS)
    async def note(status: Any, context: Any) -> None:
        seen.append(status)

    row = await sent(kit, room, TextContent(body="hello"))
    await twilio.report("undelivered", error_code="30005")
    assert (await kit.store.get_delivery(row.id)).receipt is ReceiptState.UNDELIVERED
    assert [(each.event_id, each.error_code) for each in seen] == [(row.event_id, "30005")]


async def test_a_receipt_that_comes_before_the_answer_is_not_lost(
    twilio: TwilioSimulator, configure: Any
) -> None:
    """Twilio may call before the request for the message has returned; the simulator's next id is known."""
    async with RoomKit() as kit:
        kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(configure())))
        twilio.connect(lambda request: kit.process_webhook(request, "sms"))
        room = await room_with(kit)
        form = {"MessageSid": f"SM{2:032x}", "MessageStatus": "delivered", "AccountSid": twilio.account_sid}
        assert (await twilio.post(form)).status == 200
        row = await sent(kit, room, TextContent(body="hello"))
        assert (await kit.store.get_delivery(row.id)).receipt is ReceiptState.DELIVERED


async def test_a_redelivered_message_is_in_the_room_once(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """A repeated webhook gets the first result."""
    twilio.duplicating = True
    ann = twilio.phone(ANN)
    await ann.write("once")
    (room,) = await kit.store.list_rooms()
    assert [each.content.body for each in await kit.get_timeline(room.id) if each.type == "message"] == [
        "once"
    ]
    assert [webhook.answer.status for webhook in twilio.webhooks] == [200, 200]


async def test_long_text_arrives_whole(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """In as many messages as it takes, each put together from its segments; receipts are of all."""
    text = " ".join(f"{number}€" for number in range(900))
    room = await room_with(kit)
    row = await sent(kit, room, TextContent(body=text))
    ann = twilio.phone(ANN)
    assert " ".join(ann.texts) == text
    assert len(row.message_ids) == len(ann.texts) > 2
    for message in twilio.messages[:-1]:
        await twilio.report("delivered", message=message)
    assert (await kit.store.get_delivery(row.id)).receipt is None
    await twilio.report("delivered")
    assert (await kit.store.get_delivery(row.id)).receipt is ReceiptState.DELIVERED


async def test_files_and_templates_go_out(kit: RoomKit, twilio: TwilioSimulator) -> None:
    room = await room_with(kit)
    picture = MediaContent(url="https://example.com/a.png", mime_type="image/png", caption="the menu")
    both = CompositeContent(parts=(TextContent(body="look"), picture, picture.replace(caption=None)))
    await sent(kit, room, picture)
    await sent(kit, room, both)
    template = TemplateContent(template_id="HX" + "a" * 32, parameters={"1": "Ann"}, body="Welcome, Ann")
    row = await sent(kit, room, template)
    first, second, third = twilio.messages
    assert (first.text, first.media_urls) == ("the menu", ("https://example.com/a.png",))
    assert (second.text, len(second.media_urls)) == ("look\nthe menu", 2)
    assert third.text == "Welcome, Ann"  # the channel claims no templates, so rooms send their words
    assert row.state is DeliveryState.SENT


# -- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Drop(), Malformed(), WrongShape({"sid": None}), WrongShape([])])
async def test_a_message_whose_fate_is_not_known_is_not_sent_again(
    kit: RoomKit, twilio: TwilioSimulator, fault: Any
) -> None:
    """Twilio has no idempotency key: the person got it, and gets it once."""
    room = await room_with(kit)
    twilio.play(fault)
    row = await sent(kit, room, TextContent(body="your code is 1234"))
    assert (row.state, row.error.code, row.attempts) == (DeliveryState.FAILED, "outcome_unknown", 1)
    assert twilio.phone(ANN).texts == ["your code is 1234"]


async def test_an_answer_that_does_not_come_ends_within_the_timeout(
    twilio: TwilioSimulator, configure: Callable[..., TwilioConfig]
) -> None:
    async with RoomKit() as kit:
        kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(configure(timeout=0.2))))
        room = await room_with(kit)
        twilio.play(NeverAnswer())
        row = await sent(kit, room, TextContent(body="hello"))
    assert (row.error.code, len(twilio.messages)) == ("outcome_unknown", 1)


async def test_a_refusal_that_passes_is_retried(kit: RoomKit, twilio: TwilioSimulator) -> None:
    room = await room_with(kit)
    twilio.fail(429, 20429, headers={"Retry-After": "0.01"})
    twilio.fail(503, 20503)
    row = await sent(kit, room, TextContent(body="hello"))
    assert (row.state, row.attempts, twilio.phone(ANN).texts) == (DeliveryState.SENT, 3, ["hello"])


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, 21211, "invalid_recipient"),
        (400, 21408, "invalid_recipient"),
        (401, 20003, "auth"),
        (400, 21606, "invalid_request"),
    ],
)
async def test_a_refusal_for_good_is_not(
    kit: RoomKit, twilio: TwilioSimulator, status: int, code: int, error: str
) -> None:
    """The row has the class of the error and Twilio's code."""
    room = await room_with(kit)
    twilio.fail(status, code)
    row = await sent(kit, room, TextContent(body="hello"))
    assert (row.state, row.attempts) == (DeliveryState.FAILED, 1)
    assert (row.error.code, row.error.vendor_code) == (error, f"twilio_{code}")


# -- opt-out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("advanced", [False, True])
async def test_stop_holds_whatever_a_gate_says(twilio: TwilioSimulator, kit: RoomKit, advanced: bool) -> None:
    """Said by the word, or by the vendor's flag; nothing reaches the vendor after it."""
    twilio.advanced_opt_out = advanced
    room = await room_with(kit)

    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def closed(event: Any, context: Any) -> HookResult:
        return HookResult.block("closed") if event.source.channel_id == "sms" else HookResult.allow()

    ann = twilio.phone(ANN)
    assert (await ann.write("Stop")).status == 200
    row = await sent(kit, room, TextContent(body="and another thing"))
    assert (row.state, row.reason, len(twilio.requests)) == (DeliveryState.SKIPPED, "opted_out", 0)
    await ann.write("START")
    assert (await sent(kit, room, TextContent(body="welcome"))).state is DeliveryState.SENT


async def test_who_said_stop_to_the_vendor_alone_is_skipped(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """Before the program used RoomKit, say: 21610 is not a failure of the provider's."""
    room = await room_with(kit)
    twilio.connect(lambda request: _swallow())
    await twilio.phone(ANN).write("STOP")
    row = await sent(kit, room, TextContent(body="hello"))
    assert (row.state, row.reason, row.attempts) == (DeliveryState.SKIPPED, "opted_out", 1)


async def _swallow() -> WebhookAnswer:
    return WebhookAnswer()


# -- failover -----------------------------------------------------------------------------------


async def test_another_provider_takes_over_and_the_first_is_probed_back(
    twilio: TwilioSimulator, provider: TwilioSMSProvider
) -> None:
    """Never both for one message; a late receipt of the first still finds its message."""
    spare = MockSMSProvider(name="spare")
    async with RoomKit(retry_policy=AT_ONCE) as kit:
        kit.register_channel(SMSChannel("sms", providers=[provider, spare]))
        twilio.connect(lambda request: kit.process_webhook(request, "sms", "twilio"))
        room = await room_with(kit)
        first = await sent(kit, room, TextContent(body="0"))
        for number in range(1, 9):
            twilio.fail(503, 20503)
            await sent(kit, room, TextContent(body=str(number)))
        rows = await kit.list_deliveries(room)
        assert [row.provider for row in rows] == ["twilio", *["spare"] * 8]
        assert [*twilio.phone(ANN).texts, *spare.texts] == [str(number) for number in range(9)]
        assert len(twilio.requests) == 6  # five failures, then its circuit is open
        await twilio.report("delivered", message=twilio.messages[0])
        assert (await kit.store.get_delivery(first.id)).receipt is ReceiptState.DELIVERED


async def test_a_message_that_twilio_may_have_is_not_given_to_another(
    twilio: TwilioSimulator, provider: TwilioSMSProvider
) -> None:
    spare = MockSMSProvider(name="spare")
    async with RoomKit() as kit:
        kit.register_channel(SMSChannel("sms", providers=[provider, spare]))
        room = await room_with(kit)
        twilio.play(Drop())
        row = await sent(kit, room, TextContent(body="once"))
    assert (row.error.code, spare.attempts, twilio.phone(ANN).texts) == ("outcome_unknown", [], ["once"])


@pytest.mark.virtual_time
@pytest.mark.parametrize("fault", [None, "the breaker never closes"])
async def test_twilio_is_probed_back_after_a_minute(
    monkeypatch: pytest.MonkeyPatch, virtual_clock: Any, fault: str | None
) -> None:
    """By one message, whatever number of them wait; each goes out once. A planted fault is seen."""
    if fault is not None:
        monkeypatch.setattr(CircuitBreaker, "record_success", lambda self: False)
    spare = MockSMSProvider(name="spare")
    async with TwilioSimulator() as twilio, RoomKit(clock=virtual_clock, retry_policy=AT_ONCE) as kit:
        kit.register_channel(SMSChannel("sms", providers=[TwilioSMSProvider(account_of(twilio)), spare]))
        for room in ROOMS:
            await kit.create_room(room)
            await kit.attach_channel(room, "sms", metadata={"phone_number": ANN})
        twilio.play(*[Failure(503, {"code": 20503, "message": "down"})] * 5)
        texts = [f"{number} while down" for number in range(7)]
        for text in texts:
            await sent(kit, "r1", TextContent(body=text))
        assert (spare.texts, len(twilio.requests)) == (texts, 5)

        await asyncio.sleep(60)
        twilio.play(Slow(8))
        rows = await asyncio.gather(*(sent(kit, room, TextContent(body=room)) for room in ROOMS))
        assert sorted(row.provider or "" for row in rows) == ["spare", "spare", "twilio"]
        assert len(twilio.messages) == 1
        later = await sent(kit, "r1", TextContent(body="later"))
        assert later.provider == ("spare" if fault else "twilio")
        assert sorted([*twilio.phone(ANN).texts, *spare.texts]) == sorted([*texts, *ROOMS, "later"])


@pytest.mark.virtual_time
async def test_a_late_receipt_of_the_provider_that_was_left_finds_its_attempt(virtual_clock: Any) -> None:
    """After Twilio has failed and the spare has taken over; the spare's rows are not touched."""
    spare = MockSMSProvider(name="spare")
    async with TwilioSimulator() as twilio, RoomKit(clock=virtual_clock, retry_policy=AT_ONCE) as kit:
        kit.register_channel(SMSChannel("sms", providers=[TwilioSMSProvider(account_of(twilio)), spare]))
        twilio.connect(lambda request: kit.process_webhook(request, "sms", "twilio"))
        room = await room_with(kit)
        first = await sent(kit, room, TextContent(body="first"))
        twilio.play(*[Failure(503, {"code": 20503, "message": "down"})] * 5)
        for number in range(7):
            await sent(kit, room, TextContent(body=str(number)))
        await asyncio.sleep(3600)
        await twilio.report("undelivered", message=twilio.messages[0], error_code="30003")
        receipts = {row.id: row.receipt for row in await kit.list_deliveries(room)}
        assert receipts.pop(first.id) is ReceiptState.UNDELIVERED
        assert set(receipts.values()) == {None}


def account_of(twilio: TwilioSimulator) -> TwilioConfig:
    return TwilioConfig(
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token,
        from_number=twilio.numbers[0],
        base_url=twilio.origin,
    )
