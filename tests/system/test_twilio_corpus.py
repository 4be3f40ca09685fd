"""Twilio's documented webhooks, made by hand: each is in its room exactly once, and no damaged one is.

https://www.twilio.com/docs/messaging/guides/webhook-request (Nov 2026). They come over the kit's whole way:
verified, committed, answered.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from roomkit import RoomKit, WebhookRequest
from roomkit.models import CompositeContent, LocationContent, MediaContent, ReceiptState, TextContent, text_of
from roomkit_plugins.sms import SMSChannel
from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider

ANN, US = "+14165550123", "+14375550999"
FILES = "https://api.twilio.com/2010-04-01/Accounts/AC0011/Messages/MM1/Media"
WHERE = {"FromCity": "TORONTO", "FromState": "ON", "FromZip": "", "FromCountry": "CA", "ToCountry": "CA"}


def incoming(number: int, **fields: str) -> Mapping[str, str]:
    """Return the form of a message; `fields` are what it has besides."""
    sid = f"{'MM' if 'MediaUrl0' in fields else 'SM'}{number:032x}"
    base = {
        "ToCountry": "CA",
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "AccountSid": "AC00112233445566778899aabbccddeeff",
        "MessagingServiceSid": "MG99887766554433221100ffeeddccbbaa",
        "From": ANN,
        "To": US,
        "Body": "",
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
    }
    return {**base, **WHERE, **fields}


def files(*kinds: str) -> dict[str, str]:
    """Return the fields of so many files."""
    named = {f"MediaUrl{place}": f"{FILES}/ME{place}" for place in range(len(kinds))}
    typed = {f"MediaContentType{place}": kind for place, kind in enumerate(kinds) if kind}
    return {"NumMedia": str(len(kinds)), **named, **typed}


MESSAGES: Mapping[str, tuple[Mapping[str, str], Any]] = {
    "text": (incoming(1, Body="Is my table ready?"), TextContent(body="Is my table ready?")),
    "text with marks": (
        incoming(2, Body="50 % off & more = +1?\r\n\u20ac \U0001f44b"),
        TextContent(body="50 % off & more = +1?\r\n\u20ac \U0001f44b"),
    ),
    "blank text": (incoming(3), TextContent(body="")),
    "picture": (incoming(4, **files("image/jpeg")), MediaContent(url=f"{FILES}/ME0", mime_type="image/jpeg")),
    "picture with text": (
        incoming(5, Body="Here is the label", **files("image/jpeg")),
        MediaContent(url=f"{FILES}/ME0", mime_type="image/jpeg", caption="Here is the label"),
    ),
    "file without a type": (
        incoming(6, **files("")),
        MediaContent(url=f"{FILES}/ME0", mime_type="application/octet-stream"),
    ),
    "ten files with text": (
        incoming(7, Body="all of them", **files(*["image/png"] * 10)),
        CompositeContent(
            parts=(
                TextContent(body="all of them"),
                *(MediaContent(url=f"{FILES}/ME{place}", mime_type="image/png") for place in range(10)),
            )
        ),
    ),
    "rcs button": (
        incoming(
            8, From=f"rcs:{ANN}", To="rcs:acme_agent", ButtonText="Track order", ButtonPayload="track_42"
        ),
        TextContent(body="Track order"),
    ),
    "rcs place": (
        incoming(
            9, From=f"rcs:{ANN}", Latitude="43.65", Longitude="-79.38", Label="Office", Address="1 King St"
        ),
        LocationContent(latitude=43.65, longitude=-79.38, label="Office", address="1 King St"),
    ),
    "a field of tomorrow": (incoming(10, Body="hi", Sentiment="\u00fcber"), TextContent(body="hi")),
    "to the fallback URL": (
        incoming(11, Body="hi", ErrorCode="11200", ErrorUrl="https://chat.example.org/webhooks/sms"),
        TextContent(body="hi"),
    ),
}


@pytest.fixture
async def twilio() -> AsyncIterator[TwilioSimulator]:
    async with TwilioSimulator() as simulator:
        yield simulator


@pytest.fixture
async def kit(twilio: TwilioSimulator) -> AsyncIterator[RoomKit]:
    config = TwilioConfig(
        account_sid=twilio.account_sid, auth_token=twilio.auth_token, from_number=US, base_url=twilio.origin
    )
    async with RoomKit() as kit:
        kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(config)))
        twilio.connect(lambda request: kit.process_webhook(request, "sms"))
        yield kit


async def told(kit: RoomKit) -> list[Any]:
    """Return every message of every room."""
    rooms = await kit.store.list_rooms()
    return [each for room in rooms for each in await kit.get_timeline(room.id) if each.type == "message"]


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_message_is_in_the_timeline_once(kit: RoomKit, twilio: TwilioSimulator, name: str) -> None:
    """With everything it says, and the form as it came; a replay changes nothing."""
    form, content = MESSAGES[name]
    for _ in range(3):
        assert (await twilio.post(form)).status == 200
    (event,) = await told(kit)
    assert event.content == content
    assert event.source.participant_id == ANN
    assert (event.source.external_id, event.source.provider_message_id) == (
        form["MessageSid"],
        form["MessageSid"],
    )
    assert dict(event.source.raw_payload) == form
    assert event.metadata.get("postback") == form.get("ButtonPayload")


async def test_all_of_them_in_any_order_and_twice(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """Of one person in one room."""
    twilio.duplicating = True
    forms = [form for form, _ in MESSAGES.values()]
    for form in random.Random(7).sample(forms, len(forms)) + forms[::-1]:
        assert (await twilio.post(form)).status == 200
    found = await told(kit)
    assert sorted(text_of(each.content) for each in found) == sorted(
        text_of(said) for _, said in MESSAGES.values()
    )
    assert len({each.room_id for each in found}) == 1


async def test_a_reply_names_what_it_answers(kit: RoomKit, twilio: TwilioSimulator) -> None:
    await twilio.post(incoming(1, Body="question"))
    (asked,) = await told(kit)
    await twilio.post(incoming(2, Body="answer", OriginalRepliedMessageSid=asked.source.external_id))
    assert [each.parent_event_id for each in await told(kit)] == [None, asked.id]


async def test_receipts_of_every_kind_in_every_order(kit: RoomKit, twilio: TwilioSimulator) -> None:
    """The furthest one stands."""
    await twilio.post(incoming(1, Body="hello"))
    (room,) = await kit.store.list_rooms()
    words = ("queued", "sent", "delivered")
    for order in itertools.permutations(words):
        event = await kit.send_event(room.id, "system", TextContent(body=f"{order}"))
        await twilio.report(*order, RawDlrDoneDate="2611221504")
        row = await kit.store.get_delivery(f"{event.id}:sms")
        assert row.receipt is ReceiptState.DELIVERED
    await twilio.report("sent", EventType="READ", ChannelPrefix="rcs", ChannelInstallSid="XE1")
    assert (await kit.store.get_delivery(row.id)).receipt is ReceiptState.READ


# -- damaged ones -------------------------------------------------------------------------------


async def refused(kit: RoomKit, request: WebhookRequest) -> bool:
    """Return whether a request is answered with a client's error, and nothing came of it."""
    outcome = await kit.process_webhook(request, "sms")
    return 400 <= outcome.status < 500 and outcome.results == () and not await kit.store.list_rooms()


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_request_with_a_bit_turned_is_refused(
    kit: RoomKit, twilio: TwilioSimulator, name: str
) -> None:
    """Any bit of any byte of the body, at 200 places; of the URL and of the signature, too."""
    good = twilio.signed(MESSAGES[name][0].items())
    dice = random.Random(name)
    for _ in range(200):
        place, bit = dice.randrange(len(good.body)), 1 << dice.randrange(8)
        body = good.body[:place] + bytes([good.body[place] ^ bit]) + good.body[place + 1 :]
        if _reads_alike(body, good.body):
            continue  # "%2b" for "%2B" is the same form
        assert await refused(kit, replace(good, body=body)), (place, bit)
    signature = good.headers["X-Twilio-Signature"]
    for place in range(len(signature) - 2):
        turned = signature[:place] + chr(ord(signature[place]) ^ 1) + signature[place + 1 :]
        assert await refused(kit, replace(good, headers={**good.headers, "X-Twilio-Signature": turned}))
    for place in range(8, len(good.url)):
        turned = good.url[:place] + chr(ord(good.url[place]) ^ 1) + good.url[place + 1 :]
        assert await refused(kit, replace(good, url=turned))


def _reads_alike(one: bytes, other: bytes) -> bool:
    """Whether two bodies are one form in two spellings: the digits of a %-escape have no case."""
    return one.lower() == other.lower() and _escapes_lowered(one) == _escapes_lowered(other)


def _escapes_lowered(body: bytes) -> bytes:
    head, *rest = body.split(b"%")
    return b"%".join([head, *(each[:2].lower() + each[2:] for each in rest)])


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_request_that_lacks_or_repeats_something_is_refused(
    kit: RoomKit, twilio: TwilioSimulator, name: str
) -> None:
    """A header, a field, the end of the body; another account, another method of signing."""
    form = MESSAGES[name][0]
    good = twilio.signed(form.items())
    for header in ("X-Twilio-Signature",):
        rest = {key: value for key, value in good.headers.items() if key != header}
        assert await refused(kit, replace(good, headers=rest))
        assert await refused(kit, replace(good, headers={**rest, header: ""}))
    for cut in range(1, len(good.body), 7):
        assert await refused(kit, replace(good, body=good.body[:-cut]))
    for missing in form:
        left = {key: value for key, value in form.items() if key != missing}
        assert await refused(kit, replace(twilio.signed(left.items()), headers=good.headers))
    for missing in ("From", "To"):
        left = {key: value for key, value in form.items() if key != missing}
        assert await refused(kit, twilio.signed(left.items()))
    assert await refused(kit, twilio.signed([*form.items(), ("From", "+15550000000")]))
    assert await refused(kit, twilio.signed({**form, "AccountSid": "AC" + "f" * 32}.items()))
    stranger = TwilioSimulator(auth_token="stranger")
    assert await refused(kit, stranger.signed(form.items()))


@pytest.mark.parametrize(
    "fields",
    [
        {"NumMedia": "many"},
        {"NumMedia": "1"},
        {"NumMedia": "-1"},
        {"NumMedia": "99999999999"},
        {"NumMedia": "1", "MediaUrl0": "file:///etc/passwd"},
        {"NumMedia": "1", "MediaUrl0": "javascript:alert(1)"},
        {"Latitude": "900", "Longitude": "0"},
        {"Latitude": "nan", "Longitude": "0"},
        {"Latitude": "here", "Longitude": "there"},
        {"From": ""},
        {"From": "+1" * 2000},
        {"MessageSid": "", "SmsSid": ""},
    ],
    ids=str,
)
async def test_a_signed_request_that_makes_no_message_is_refused(
    kit: RoomKit, twilio: TwilioSimulator, fields: dict[str, str]
) -> None:
    """With 400: it would be no better the next time."""
    assert await refused(kit, twilio.signed({**incoming(1), **fields}.items()))


async def test_a_request_that_is_too_large_is_refused_unread(twilio: TwilioSimulator) -> None:
    """By the kit's limit, with any signature."""
    config = TwilioConfig(account_sid=twilio.account_sid, auth_token=twilio.auth_token)
    async with RoomKit(max_webhook_bytes=2_000) as kit:
        kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(config)))
        large = twilio.signed(incoming(1, Body="x" * 3_000).items())
        assert (await kit.process_webhook(large, "sms")).status == 413
        assert await kit.store.list_rooms() == []
