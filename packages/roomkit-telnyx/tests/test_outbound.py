"""What Telnyx is sent: senders, files, RCS cards and suggestions, and the errors it answers with."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit.abc import ErrorCode, ProviderError
from roomkit.abc.provider import MarksRead, ShowsTyping
from roomkit.models import (
    CompositeContent,
    LocationContent,
    MediaContent,
    RCSHints,
    RichContent,
    SMSHints,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.telnyx import TelnyxConfig, TelnyxRCSConfig, TelnyxRCSProvider, TelnyxSMSProvider
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import Failure, TelnyxSimulator

ANN = "+14165550123"
HOOK = "https://chat.example.org/webhooks/sms"
PNG = "https://files.example.org/a.png"


@pytest.fixture
async def send(
    telnyx: TelnyxSimulator, configure: Callable[..., TelnyxConfig]
) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that sends an SMS, with settings in the place of the usual ones."""
    made: list[TelnyxSMSProvider] = []

    async def send(
        content: Any = "hello", hints: SMSHints | None = None, key: str | None = None, **fields: Any
    ) -> Any:
        made.append(TelnyxSMSProvider(configure(**fields)))
        content = TextContent(body=content) if isinstance(content, str) else content
        sent = event("room", content=content)
        return await made[-1].send(sent, ANN, idempotency_key=key, hints=hints)

    yield send
    for provider in made:
        await provider.close()


@pytest.fixture
async def send_rcs(configure_rcs: Callable[..., TelnyxRCSConfig]) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that sends an RCS message, with settings in the place of the usual ones."""
    made: list[TelnyxRCSProvider] = []

    async def send(
        content: Any = "hello", hints: RCSHints | None = None, key: str | None = None, **fields: Any
    ) -> Any:
        made.append(TelnyxRCSProvider(configure_rcs(**fields)))
        content = TextContent(body=content) if isinstance(content, str) else content
        sent = event("room", content=content)
        return await made[-1].send(sent, ANN, idempotency_key=key, hints=hints)

    yield send
    for provider in made:
        await provider.close()


async def test_the_sender_is_named_configured_or_chosen(
    telnyx: TelnyxSimulator, send: Callable[..., Any]
) -> None:
    """By the message, by the configuration, or by the profile."""
    telnyx.numbers = (*telnyx.numbers, "+14375550111")
    await send()
    await send(hints=SMSHints(from_="+14375550111"))
    await send(from_number=None, messaging_profile_id=telnyx.profiles[0])
    bodies = [each.json() for each in telnyx.requests]
    assert [each.get("from") for each in bodies] == [telnyx.numbers[0], "+14375550111", None]
    assert [each.get("messaging_profile_id") for each in bodies] == [None, None, telnyx.profiles[0]]
    with pytest.raises(ProviderError, match="set from_number or messaging_profile_id"):
        await send(from_number=None)


async def test_files_with_their_words_make_an_mms(telnyx: TelnyxSimulator, send: Callable[..., Any]) -> None:
    picture = MediaContent(url=PNG, mime_type="image/png", caption="the meter")
    await send(CompositeContent(parts=(TextContent(body="Look:"), picture, VideoContent(url=f"{PNG}.mp4"))))
    (message,) = telnyx.messages
    assert (message.text, message.media_urls) == ("Look:\nthe meter", (PNG, f"{PNG}.mp4"))
    assert telnyx.requests[-1].json()["type"] == "MMS"


async def test_the_urls_for_webhooks_go_along(
    telnyx: TelnyxSimulator, send: Callable[..., Any], send_rcs: Callable[..., Any]
) -> None:
    """With the key of the message, which comes back in the receipts' URL."""
    await send(webhook_url=HOOK, webhook_failover_url=f"{HOOK}2")
    body = telnyx.requests[-1].json()
    assert (body["webhook_url"], body["webhook_failover_url"]) == (HOOK, f"{HOOK}2")
    await send(webhook_url=HOOK, webhook_failover_url=f"{HOOK}2", key="e1:sms")
    body = telnyx.requests[-1].json()
    urls = [f"{url}?reference=e1%3Asms" for url in (HOOK, f"{HOOK}2")]
    assert [body["webhook_url"], body["webhook_failover_url"]] == urls
    await send_rcs(webhook_url=HOOK, key="e1:rcs")
    assert telnyx.requests[-1].json()["webhook_url"] == f"{HOOK}?reference=e1%3Arcs"


async def test_the_result_says_how_many_segments(send: Callable[..., Any]) -> None:
    result = await send("x" * 161)
    assert result.metadata == {"segments": "2"}


# -- RCS ----------------------------------------------------------------------------------------


async def content_of(telnyx: TelnyxSimulator, sending: Any) -> Any:
    await sending
    return telnyx.messages[-1].content


async def test_text_goes_out_without_marks_and_with_its_suggestions(
    telnyx: TelnyxSimulator, send_rcs: Callable[..., Any]
) -> None:
    rich = RichContent(
        body="**Your order** is ready",
        buttons=(
            {"type": "reply", "text": "Thanks", "payload": "thx"},
            {"type": "url", "text": "Track", "url": "https://example.org/42"},
            {"type": "call", "text": "Call us", "phone_number": "+14375550999"},
            {"type": "location_request", "text": "Where are you?"},
        ),
        quick_replies=("Later",),
    )
    content = await content_of(telnyx, send_rcs(rich))
    assert content["text"] == "Your order is ready"
    reply, link, call, place, later = content["suggestions"]
    assert (reply["reply"]["text"], b64decode(reply["reply"]["postback_data"])) == ("Thanks", b"thx")
    assert link["action"]["open_url_action"]["url"] == "https://example.org/42"
    assert call["action"]["dial_action"] == {"phone_number": "+14375550999"}
    assert place["action"]["share_location_action"] == {}
    assert b64decode(later["reply"]["postback_data"]) == b"Later"


async def test_suggestions_open_a_calendar_and_a_map(
    telnyx: TelnyxSimulator, send_rcs: Callable[..., Any]
) -> None:
    when = {"start_time": "2026-12-24T18:00:00Z", "end_time": "2026-12-24T20:00:00Z"}
    buttons = (
        {"type": "calendar", "text": "Save it", **when, "title": "Dinner", "description": "At eight"},
        {"type": "calendar", "text": "Save it", **when},
        {"type": "location", "text": "Where?", "latitude": 45.5, "longitude": -73, "label": "Office"},
    )
    content = await content_of(telnyx, send_rcs(RichContent(body="See you", buttons=buttons)))
    dinner, plain, place = (each["action"] for each in content["suggestions"])
    wanted = {**when, "title": "Dinner", "description": "At eight"}
    assert dinner["create_calendar_event_action"] == wanted
    assert plain["create_calendar_event_action"] == {**when, "title": "Save it"}
    assert place["view_location_action"] == {
        "lat_long": {"latitude": 45.5, "longitude": -73},
        "label": "Office",
    }


async def test_suggestions_without_a_place_are_lines(
    telnyx: TelnyxSimulator, send_rcs: Callable[..., Any]
) -> None:
    """Buttons and quick replies have eleven places together."""
    buttons = tuple({"text": f"Button {number}"} for number in range(10))
    content = await content_of(
        telnyx, send_rcs(RichContent(body="x", buttons=buttons, quick_replies=("Yes", "No")))
    )
    assert len(content["suggestions"]) == 11
    assert content["text"] == "x\n1. No"


async def test_typing_and_read_marks_are_shown(
    telnyx: TelnyxSimulator, configure_rcs: Callable[..., TelnyxRCSConfig]
) -> None:
    provider = TelnyxRCSProvider(configure_rcs())
    assert isinstance(provider, ShowsTyping)
    assert isinstance(provider, MarksRead)
    await provider.show_typing(ANN, True, answering=None)
    await provider.show_typing(ANN, False, answering=None)
    await provider.mark_read(ANN, ["m1", "m2"])
    assert telnyx.signals == [(ANN, "IS_TYPING"), (ANN, "READ")]
    assert telnyx.messages == []
    telnyx.fail(429, 10011, headers={"Retry-After": "7"})
    with pytest.raises(ProviderError) as caught:
        await provider.mark_read(ANN, ["m3"])
    assert caught.value.retry_after == 7
    await provider.close()


async def test_cards_are_one_card_or_a_carousel(
    telnyx: TelnyxSimulator, send_rcs: Callable[..., Any]
) -> None:
    card = {"title": "A", "description": "of sorts", "media_url": PNG, "buttons": [{"text": "Take it"}]}
    content = await content_of(telnyx, send_rcs(RichContent(body="", cards=(card,))))
    one = content["rich_card"]["standalone_card"]["card_content"]
    assert (one["title"], one["media"]["content_info"]["file_url"]) == ("A", PNG)
    assert one["suggestions"][0]["reply"]["text"] == "Take it"
    content = await content_of(telnyx, send_rcs(RichContent(body="Choose:", cards=(card, {"title": "B"}))))
    cards = content["rich_card"]["carousel_card"]["card_contents"]
    assert [each.get("title", each.get("description")) for each in cards] == ["Choose:", "A", "B"]


async def test_files_go_alone_or_as_cards_with_their_words(
    telnyx: TelnyxSimulator, send_rcs: Callable[..., Any]
) -> None:
    plain = MediaContent(url=PNG, mime_type="image/png")
    assert await content_of(telnyx, send_rcs(plain)) == {"content_info": {"file_url": PNG}}
    content = await content_of(telnyx, send_rcs(plain.replace(caption="the meter")))
    assert content["rich_card"]["standalone_card"]["card_content"]["description"] == "the meter"
    several = CompositeContent(parts=(TextContent(body="Look:"), plain, plain))
    cards = (await content_of(telnyx, send_rcs(several)))["rich_card"]["carousel_card"]["card_contents"]
    assert [("media" in each, each.get("description")) for each in cards] == [
        (False, "Look:"),
        (True, None),
        (True, None),
    ]


async def test_a_place_is_text_with_a_map(telnyx: TelnyxSimulator, send_rcs: Callable[..., Any]) -> None:
    content = await content_of(
        telnyx, send_rcs(LocationContent(latitude=45.5, longitude=-73.6, label="Office", address="1 Main St"))
    )
    assert content["text"] == "Office\n1 Main St"
    shown = content["suggestions"][0]["action"]["view_location_action"]
    assert shown == {"lat_long": {"latitude": 45.5, "longitude": -73.6}, "label": "Office"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (
            RichContent(
                body="x",
                buttons=(
                    {"text": "x", "type": "calendar", "start_time": "s", "end_time": "e", "title": "x" * 101},
                ),
            ),
            "too_long",
        ),
        (RichContent(body="x", buttons=({"text": "x" * 26},)), "too_long"),
        (RichContent(body="x", buttons=({"url": "https://example.org"},)), "unsupported_content"),
        (RichContent(body="x", buttons=({"text": "x", "payload": "x" * 2000},)), "too_long"),
        (RichContent(body="x", cards=({},)), "unsupported_content"),
        (RichContent(body="x", cards=({"title": "x" * 201},)), "too_long"),
        (RichContent(body="x", cards=({"title": "x", "buttons": "no"},)), "unsupported_content"),
        (RichContent(body="", cards=tuple({"title": "x"} for _ in range(11))), "unsupported_content"),
        (TextContent(body="x" * 3073), "too_long"),
        (TextContent(body=" "), "invalid_request"),
        (MediaContent(url="data:text/plain;base64,aGk=", mime_type="text/plain"), "unsupported_content"),
        (TemplateContent(template_id="welcome"), "unsupported_content"),
    ],
)
async def test_what_rcs_has_no_room_for_is_refused_before_it_is_sent(
    telnyx: TelnyxSimulator, send_rcs: Callable[..., Any], content: Any, code: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        await send_rcs(content)
    assert caught.value.error_code == code
    assert telnyx.requests == []


async def test_a_phone_without_rcs_gets_the_words_by_sms(
    telnyx: TelnyxSimulator, send_rcs: Callable[..., Any]
) -> None:
    """With the links of what it cannot show; not if the message forbids it."""
    telnyx.without_rcs.add(ANN)
    rich = RichContent(body="*Ready*", buttons=({"text": "Track", "url": "https://example.org/42"},))
    result = await send_rcs(rich, fallback_from=telnyx.numbers[0])
    assert telnyx.phone(ANN).texts == ["Ready\n1. Track: https://example.org/42"]
    assert (result.channel_used, telnyx.messages[-1].sender) == ("unknown", telnyx.numbers[0])
    result = await send_rcs(rich, RCSHints(fallback=False), fallback_from=telnyx.numbers[0])
    assert "sms_fallback" not in telnyx.requests[-1].json()
    assert result.channel_used == "rcs"


async def test_the_capability_of_a_phone_is_asked(
    telnyx: TelnyxSimulator, configure_rcs: Callable[..., TelnyxRCSConfig]
) -> None:
    provider = TelnyxRCSProvider(configure_rcs())
    assert not provider.supports_fallback
    assert await provider.check_capability(ANN)
    telnyx.without_rcs.add(ANN)
    assert not await provider.check_capability(ANN)
    await provider.close()


# -- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, 10009, ErrorCode.AUTH),
        (403, 10010, ErrorCode.PERMISSION),
        (429, 10011, ErrorCode.RATE_LIMIT),
        (400, 10016, ErrorCode.INVALID_RECIPIENT),
        (402, 20100, ErrorCode.QUOTA),
        (400, 40300, ErrorCode.OPTED_OUT),
        (400, 40302, ErrorCode.TOO_LONG),
        (422, 40310, ErrorCode.INVALID_RECIPIENT),
        (400, 40314, ErrorCode.PERMISSION),
        (400, 40318, ErrorCode.OVERLOADED),
        (500, 10007, ErrorCode.SERVER),
        (422, 99999, ErrorCode.INVALID_REQUEST),
    ],
)
async def test_errors_are_classified_by_the_code(
    telnyx: TelnyxSimulator, send: Callable[..., Any], status: int, code: int, kind: ErrorCode
) -> None:
    telnyx.fail(status, code)
    with pytest.raises(ProviderError) as caught:
        await send()
    error = caught.value
    assert (error.error_code, error.vendor_code, error.status_code) == (kind, f"telnyx_{code}", status)
    assert error.request_id == "R1"


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b'{"errors": 7}', b'{"errors": [7]}', b'{"errors": [{"code": 7, "title": 8}]}'],
)
async def test_an_error_that_is_none_of_telnyx_is_classified_by_its_status(body: bytes) -> None:
    from roomkit_plugins.telnyx.errors import api_error
    from roomkit_plugins.wire.caller import HTTPAnswer

    error = api_error(HTTPAnswer(502, {}, body))
    assert (error.error_code, error.vendor_code) == (ErrorCode.SERVER, None)


async def test_the_pause_that_telnyx_asks_for_is_kept(
    telnyx: TelnyxSimulator, send: Callable[..., Any]
) -> None:
    telnyx.fail(429, 10011, headers={"Retry-After": "7"})
    with pytest.raises(ProviderError) as caught:
        await send()
    assert caught.value.retry_after == 7


async def test_the_key_is_in_no_error(telnyx: TelnyxSimulator, send: Callable[..., Any]) -> None:
    said = {"errors": [{"code": "10009", "title": "x", "detail": f"no such key {telnyx.api_key}"}]}
    telnyx.play(Failure(401, said))
    with pytest.raises(ProviderError) as caught:
        await send()
    assert telnyx.api_key not in str(caught.value)
    assert "no such key ***" in str(caught.value)


async def test_a_person_who_said_stop_is_told_apart(
    telnyx: TelnyxSimulator, send: Callable[..., Any]
) -> None:
    telnyx.opt(ANN, telnyx.numbers[0], "STOP")
    with pytest.raises(ProviderError) as caught:
        await send()
    assert caught.value.error_code is ErrorCode.OPTED_OUT
