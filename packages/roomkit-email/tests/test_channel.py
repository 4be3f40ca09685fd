"""Mail in rooms: threads, addresses of rooms, opt-outs, programs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit import (
    ChannelBinding,
    InboundMessage,
    InvalidInputError,
    ProviderResult,
    RoomKit,
    TextContent,
    WebhookRequest,
)
from roomkit.models.content import EventContent
from roomkit.models.enums import DeliveryState
from roomkit.testing import MockEmailProvider, ScriptedIntelligence
from roomkit_plugins.email import EmailChannel

URL = "https://shop.example/webhooks/email/unsubscribe"


class Office:
    """A kit with a mail channel, and people who write to it."""

    def __init__(self, kit: RoomKit, **options: Any) -> None:
        self.kit = kit
        self.vendor = MockEmailProvider(name="smtp")
        self.channel = EmailChannel("email", provider=self.vendor, **options)
        kit.register_channel(self.channel)

    async def receive(self, content: EventContent | str, number: int = 1, **fields: Any) -> Any:
        said = TextContent(body=content) if isinstance(content, str) else content
        identity = f"<in{number}@example.com>"
        message = InboundMessage(
            **{
                "channel_id": "email",
                "sender_id": "Ann@Example.com",
                "content": said,
                "external_id": identity,
                "idempotency_key": identity,
                **fields,
            }
        )
        return await self.kit.process_inbound(message)

    async def room(self) -> str:
        (room,) = await self.kit.store.list_rooms()
        return room.id

    async def binding(self, room_id: str) -> ChannelBinding:
        binding = await self.kit.get_binding(room_id, "email")
        assert binding is not None
        return binding

    async def follow(self, url: str, method: str) -> Any:
        body = b"List-Unsubscribe=One-Click" if method == "POST" else b""
        request = WebhookRequest(method=method, url=url, headers={}, body=body)
        return await self.kit.process_webhook(request, "email", "unsubscribe")

    async def answer(self, room_id: str, text: str = "yes", **fields: Any) -> Any:
        await self.kit.send_event(room_id, "system", TextContent(body=text), **fields)
        return self.vendor.sent[-1]["hints"]


@pytest.fixture
async def kit(virtual_clock: Any) -> AsyncIterator[RoomKit]:
    async with RoomKit(clock=virtual_clock) as made:
        yield made


@pytest.mark.virtual_time
async def test_an_answer_is_in_the_thread_of_the_persons_mail(kit: RoomKit) -> None:
    office = Office(kit, from_address="desk@shop.example")
    extra = {"subject": "Order  42", "references": ["<m0@shop.example>", "bad", "<m1@shop.example>"]}
    await office.receive("where is it?", extra=extra)
    room_id = await office.room()

    hints = await office.answer(room_id)

    assert office.vendor.sent[-1]["to"] == "ann@example.com"
    assert (hints.from_, hints.subject) == ("desk@shop.example", "Re: Order 42")
    assert hints.references == ("<m0@shop.example>", "<m1@shop.example>", "<in1@example.com>")
    await office.receive("thanks", 2, extra={"subject": "RE: Order 42", "references": ["<in1@example.com>"]})
    hints = await office.answer(room_id)
    assert (hints.subject, hints.references) == ("RE: Order 42", ("<in1@example.com>", "<in2@example.com>"))


@pytest.mark.virtual_time
async def test_an_answer_to_an_older_mail_names_that_one_last(kit: RoomKit) -> None:
    office = Office(kit)
    first = await office.receive("one", 1, extra={"subject": "x"})
    await office.receive("two", 2, extra={"subject": "x", "references": ["<in1@example.com>"]})
    hints = await office.answer(await office.room(), parent_event_id=first.event.id)
    assert hints.references == ("<in2@example.com>", "<in1@example.com>")


@pytest.mark.virtual_time
async def test_a_thread_begun_here_goes_on_in_the_first_mail(kit: RoomKit) -> None:
    office = Office(kit, subject="Your order")
    await kit.create_room("r")
    await kit.attach_channel("r", "email", metadata={"email_address": "ann@example.com"})
    sent = ProviderResult(success=True, provider_message_id="v1", parts=("<m1@shop.example>",))
    office.vendor.fail_with = sent
    first = await office.answer("r")
    second = await office.answer("r")

    assert (first.subject, first.references) == ("Your order", ())
    assert (second.subject, second.references) == ("Your order", ("<m1@shop.example>",))


@pytest.mark.virtual_time
async def test_the_subject_of_the_event_and_of_the_binding_go_first(kit: RoomKit) -> None:
    office = Office(kit, subject="channel's")
    await kit.create_room("r")
    metadata = {"email_address": "ann@example.com", "subject": "binding's"}
    await kit.attach_channel("r", "email", metadata=metadata)
    assert (await office.answer("r")).subject == "binding's"


@pytest.mark.virtual_time
async def test_a_long_thread_fits_into_the_binding(kit: RoomKit) -> None:
    office = Office(kit)
    ids = [f"<{'x' * 90}{number}@example.com>" for number in range(60)]
    await office.receive("hi", extra={"subject": "s" * 900, "references": ids})
    room_id = await office.room()

    hints = await office.answer(room_id)

    assert (hints.references[0], hints.references[-2:]) == (ids[0], (ids[-1], "<in1@example.com>"))
    assert 10 < len(hints.references) < 25
    assert len(hints.subject) == 304


@pytest.mark.virtual_time
async def test_an_answer_to_the_rooms_own_address_is_routed_to_it(kit: RoomKit) -> None:
    """Whoever sends it: a colleague whom the person forwarded the mail to."""
    office = Office(kit, reply_address="reply@in.shop.example", secret="s")
    await office.receive("hello")
    room_id = await office.room()
    address = (await office.answer(room_id)).reply_to
    assert address.startswith("reply+")
    assert address.endswith("@in.shop.example")

    result = await office.receive(
        "I can help", 2, sender_id="ben@example.com", extra={"envelope_to": [address.upper()]}
    )

    assert result.event.room_id == room_id
    assert (await office.answer(room_id)).reply_to == address


@pytest.mark.virtual_time
async def test_a_guessed_address_is_not_taken(kit: RoomKit) -> None:
    office = Office(kit, reply_address="reply@in.shop.example", secret="s")
    await office.receive("hello")
    room_id = await office.room()
    await office.answer(room_id)
    for number, to in enumerate(("reply+" + "a" * 26, "reply+x", "reply", "other+" + "a" * 26), 2):
        extra = {"to": [f"{to}@in.shop.example"]}
        result = await office.receive("hi", number, sender_id=f"p{number}@example.com", extra=extra)
        assert result.event.room_id != room_id


@pytest.mark.parametrize(
    "options",
    [
        {"reply_address": "reply@a.example"},
        {"unsubscribe_url": URL},
        {"reply_address": "reply+x@a.example", "secret": "s"},
        {"reply_address": "reply", "secret": "s"},
        {"reply_address": "x" * 38 + "@a.example", "secret": "s"},
    ],
)
def test_settings_that_make_no_safe_address_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="channel 'email'"):
        EmailChannel("email", **options)


@pytest.mark.virtual_time
async def test_one_click_revokes_consent_to_the_purpose(kit: RoomKit) -> None:
    office = Office(kit, unsubscribe_url=URL, secret="s")
    await office.receive("hello")
    room_id = await office.room()
    link = (await office.answer(room_id, metadata={"purpose": "marketing"})).unsubscribe_url
    assert link.startswith(f"{URL}?t=")

    page = await office.follow(link, "GET")
    assert (page.status, "<form method" in str(page.answer.body)) == (200, True)
    await office.answer(room_id, metadata={"purpose": "marketing"})
    done = await office.follow(link, "POST")

    assert done.status == 200
    await kit.send_event(room_id, "system", TextContent(body="offer"), metadata={"purpose": "marketing"})
    await office.answer(room_id, "your order", metadata={"purpose": "service"})
    rows = await kit.list_deliveries(room_id, channel_id="email")
    assert [row.reason for row in rows if row.state is DeliveryState.SKIPPED] == ["opted_out"]
    assert office.vendor.texts == ["yes", "yes", "your order"]


@pytest.mark.virtual_time
async def test_a_forged_link_is_refused(kit: RoomKit) -> None:
    office = Office(kit, unsubscribe_url=URL, secret="s")
    await office.receive("hello")
    link = (await office.answer(await office.room())).unsubscribe_url
    for url in (URL, f"{URL}?t=x", link[:-3] + "AAA", link.replace("?t=", "?t=A"), f"{URL}?t={'A' * 9000}"):
        assert (await office.follow(url, "POST")).status == 401


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("text", "subject"), [("STOP", "Re: x"), ("Unsubscribe.", ""), ("", "unsubscribe"), ("  ", "Stop!")]
)
async def test_a_mail_that_says_stop_opts_out(kit: RoomKit, text: str, subject: str) -> None:
    office = Office(kit)
    await office.receive("hello")
    room_id = await office.room()
    await office.receive(text, 2, extra={"subject": subject})
    await kit.send_event(room_id, "system", TextContent(body="offer"))
    assert office.vendor.sent == []
    (row,) = await kit.list_deliveries(room_id, channel_id="email")
    assert row.reason == "opted_out"


@pytest.mark.virtual_time
async def test_a_subject_alone_is_no_opt_out(kit: RoomKit) -> None:
    office = Office(kit)
    await office.receive("not yet", extra={"subject": "stop"})
    await office.answer(await office.room())
    assert office.vendor.texts == ["yes"]


@pytest.mark.virtual_time
async def test_what_a_program_wrote_asks_no_agent(kit: RoomKit) -> None:
    """It is in the timeline, and no answer of an agent goes back to it."""
    office = Office(kit)
    agent = ScriptedIntelligence("ai", ["hello, human"])
    kit.register_channel(agent)
    await kit.create_room("r")
    await kit.attach_channel("r", "email", metadata={"email_address": "ann@example.com"})
    await kit.attach_channel("r", "ai", category="intelligence")
    result = await office.receive("I am away", addressed_to=())
    assert result.event.content == TextContent(body="I am away")
    assert (agent.seen, office.vendor.sent) == ([], [])
    await office.receive("hello", 2)
    assert office.vendor.texts == ["hello, human"]
