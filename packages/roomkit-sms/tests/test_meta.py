"""Webhooks of every carrier in one shape: messages, receipts and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit import InboundMessage, MockSMSProvider, RoomKit, SMSChannel, TextContent
from roomkit.abc import InvalidInputError
from roomkit.models import (
    CompositeContent,
    ConsentState,
    EventType,
    MediaContent,
    ReceiptState,
)
from roomkit_plugins.sms import WebhookMeta, extract_sms_meta

ANN, SHOP = "+14165550123", "+14375550999"
PICTURE = "https://files.example/a.jpg"


def twilio(**fields: str) -> dict[str, str]:
    return {"MessageSid": "SM1", "From": ANN, "To": SHOP, **fields}


def telnyx(kind: str, **fields: Any) -> dict[str, Any]:
    said = {
        "id": "tx1",
        "direction": "inbound" if kind == "message.received" else "outbound",
        "from": {"phone_number": ANN if kind == "message.received" else SHOP},
        "to": [{"phone_number": SHOP if kind == "message.received" else ANN, "status": "webhook_delivered"}],
        **fields,
    }
    return {"data": {"event_type": kind, "occurred_at": "2026-11-22T15:04:05+00:00", "payload": said}}


def sinch(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": "sx1", "from": ANN[1:], "to": SHOP[1:], **fields}


def voicemeup(**fields: Any) -> dict[str, Any]:
    return {"sms_hash": "vx1", "source_number": ANN[1:], "destination_number": SHOP[1:], **fields}


MESSAGES: dict[str, tuple[Mapping[str, Any], str]] = {
    "twilio": (twilio(Body="hello", NumMedia="0", SmsStatus="received"), "SM1"),
    "telnyx": (telnyx("message.received", text="hello", received_at="2026-11-22T15:04:04+00:00"), "tx1"),
    "sinch": (sinch("mo_text", body="hello", received_at="2026-11-22T15:04:04Z"), "sx1"),
    "voicemeup": (voicemeup(message="hello", datetime_transmission="2026-11-22 10:04:05"), "vx1"),
}
RECEIPTS: list[tuple[str, Mapping[str, Any], str, ReceiptState, str | None]] = [
    ("twilio", twilio(MessageStatus="delivered"), "SM1", ReceiptState.DELIVERED, None),
    ("twilio", twilio(SmsStatus="sent"), "SM1", ReceiptState.SENT, None),
    ("twilio", twilio(MessageStatus="delivered", EventType="READ"), "SM1", ReceiptState.READ, None),
    (
        "twilio",
        twilio(MessageStatus="undelivered", ErrorCode="30005"),
        "SM1",
        ReceiptState.UNDELIVERED,
        "30005",
    ),
    (
        "telnyx",
        telnyx(
            "message.finalized",
            to=[{"phone_number": ANN, "status": "delivery_failed"}],
            errors=[{"code": "40008", "title": "Undeliverable", "detail": "Handset is off"}],
        ),
        "tx1",
        ReceiptState.UNDELIVERED,
        "40008",
    ),
    (
        "telnyx",
        telnyx("message.sent", to=[{"phone_number": ANN, "status": "sent"}]),
        "tx1",
        ReceiptState.SENT,
        None,
    ),
    (
        "sinch",
        {
            "type": "recipient_delivery_report_sms",
            "batch_id": "b1",
            "recipient": ANN[1:],
            "code": 405,
            "status": "FAILED",
        },
        "b1",
        ReceiptState.FAILED,
        "405",
    ),
    (
        "sinch",
        {
            "type": "delivery_report_sms",
            "batch_id": "b1",
            "statuses": [{"code": 0, "status": "Delivered", "count": 1}],
        },
        "b1",
        ReceiptState.DELIVERED,
        None,
    ),
]


@pytest.mark.parametrize("provider", MESSAGES)
def test_a_message_is_one_of_a_person(provider: str) -> None:
    payload, identity = MESSAGES[provider]
    meta = extract_sms_meta(provider.upper(), payload)

    assert (meta.provider, meta.sender, meta.recipient, meta.body) == (provider, ANN, SHOP, "hello")
    assert (meta.is_inbound, meta.is_status, meta.external_id) == (True, False, identity)
    assert meta.raw == payload
    message = meta.to_inbound("sms")
    assert (message.channel_id, message.sender_id, message.content) == ("sms", ANN, TextContent(body="hello"))
    assert message.idempotency_key == message.external_id == message.provider_message_id == identity
    assert (message.extra, message.metadata["provider"]) == ({"to": SHOP}, provider)
    with pytest.raises(ValueError, match=f"the webhook of {provider} is not a receipt"):
        meta.to_status()


@pytest.mark.parametrize(("provider", "payload", "identity", "state", "code"), RECEIPTS)
def test_a_receipt_is_never_a_message(
    provider: str, payload: Mapping[str, Any], identity: str, state: ReceiptState, code: str | None
) -> None:
    meta = extract_sms_meta(provider, payload)

    assert (meta.is_inbound, meta.is_status) == (False, True)
    status = meta.to_status("sms")
    assert (status.provider, status.channel_id, status.message_id) == (provider, "sms", identity)
    assert (ReceiptState.of_word(status.status), status.error_code) == (state, code)
    with pytest.raises(ValueError, match=f"the webhook of {provider} is not a message"):
        meta.to_inbound("sms")


def test_the_times_of_carriers_have_their_zone() -> None:
    """One without a zone is not guessed; it stays in `raw`."""
    times = {name: extract_sms_meta(name, payload).timestamp for name, (payload, _) in MESSAGES.items()}
    said = datetime(2026, 11, 22, 15, 4, 4, tzinfo=UTC)
    assert times == {"twilio": None, "telnyx": said, "sinch": said, "voicemeup": None}


FILES: list[tuple[str, Mapping[str, Any]]] = [
    (
        "twilio",
        twilio(Body="look", NumMedia="1", MediaUrl0=PICTURE, MediaContentType0="image/jpeg"),
    ),
    (
        "telnyx",
        telnyx("message.received", text="look", media=[{"url": PICTURE, "content_type": "image/jpeg"}]),
    ),
    (
        "sinch",
        sinch(
            "mo_media",
            body={
                "message": "look",
                "media": [{"url": PICTURE, "content_type": "image/jpeg", "status": "Uploaded"}],
            },
        ),
    ),
    ("voicemeup", voicemeup(message="look", attachment=PICTURE, attachment_mime_type="image/jpeg")),
]


@pytest.mark.parametrize(("provider", "payload"), FILES)
def test_a_file_has_its_text_as_caption(provider: str, payload: Mapping[str, Any]) -> None:
    meta = extract_sms_meta(provider, payload)
    assert [dict(each) for each in meta.media_urls] == [{"url": PICTURE, "mime_type": "image/jpeg"}]
    assert meta.to_inbound("sms").content == MediaContent(url=PICTURE, mime_type="image/jpeg", caption="look")


def test_several_files_are_parts_after_their_text() -> None:
    payload = twilio(Body="both", NumMedia="2", MediaUrl0=PICTURE, MediaUrl1=PICTURE)
    content = extract_sms_meta("twilio", payload).to_inbound("sms").content
    assert isinstance(content, CompositeContent)
    assert [part.type for part in content.parts] == ["text", "media", "media"]


def test_a_file_that_the_carrier_lost_is_counted() -> None:
    body = {"subject": "hi", "message": "see", "media": [{"status": "Failed", "code": 1}]}
    message = extract_sms_meta("sinch", sinch("mo_media", body=body)).to_inbound("sms")
    assert (message.content, message.metadata["missing_files"]) == (TextContent(body="hi\nsee"), 1)


def test_a_binary_message_is_a_file_of_its_octets() -> None:
    message = extract_sms_meta("sinch", sinch("mo_binary", body="AAEC", udh="0605")).to_inbound("sms")
    assert message.content.url == "data:application/octet-stream;base64,AAEC"


def test_the_page_in_place_of_a_file_is_no_file() -> None:
    meta = extract_sms_meta("voicemeup", voicemeup(message="hi", attachment="https://x.example/1.mms.html"))
    assert (meta.media_urls, meta.body) == ((), "hi")


@pytest.mark.parametrize(
    ("provider", "payload"),
    [
        ("twilio", twilio(Body="STOP", NumMedia="0", OptOutType="STOP")),
        ("telnyx", telnyx("message.received", text="STOP", autoresponse_type="STOP")),
    ],
)
def test_what_the_carrier_took_for_an_opt_out_is_one(provider: str, payload: Mapping[str, Any]) -> None:
    message = extract_sms_meta(provider, payload).to_inbound("sms")
    assert message.event_type is EventType.CONSENT
    assert (message.content.state, message.content.address) == (ConsentState.REVOKED, ANN)


@pytest.mark.parametrize(
    ("provider", "payload", "says"),
    [
        ("acme", {}, "SMS webhooks of 'acme' cannot be read; supported are sinch, telnyx, twilio, voicemeup"),
        ("twilio", {}, "one of twilio: SmsSid is not there"),
        ("twilio", twilio(), "one of twilio: Body is not there, nor is MessageStatus"),
        ("twilio", twilio(Body="x", NumMedia="many"), "NumMedia is not a number"),
        ("twilio", twilio(Body="x", NumMedia="1"), "MediaUrl0 is not there"),
        ("telnyx", {"data": []}, "data is not an object"),
        ("telnyx", {"data": {"event_type": "message.received"}}, "data.payload.id is not there"),
        ("telnyx", telnyx("message.received", direction="up"), "direction is not inbound or outbound"),
        ("telnyx", telnyx("message.sent", to=[]), "to is not one recipient's outcome, but 0"),
        ("sinch", sinch("mo_video"), "type is not mo_text, mo_binary, mo_media or a delivery report"),
        ("sinch", sinch("mo_text", body={"a": 1}), "body is not a text"),
        ("sinch", {"type": "delivery_report_sms", "batch_id": "b", "statuses": []}, "per_recipient"),
        ("voicemeup", {"message": "x"}, "sms_hash is not there"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(provider: str, payload: Any, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        extract_sms_meta(provider, payload)
    assert says in str(caught.value)


def test_what_has_no_direction_is_neither() -> None:
    """A default of either would make receipts into messages."""
    meta = WebhookMeta(provider="acme", sender=ANN, body="x", external_id="1")
    assert (meta.is_inbound, meta.is_status) == (False, False)
    assert meta.model_copy(update={"event_type": "message.received"}).is_inbound


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        (WebhookMeta(provider="acme", direction="inbound"), "the message of acme has no sender"),
        (
            WebhookMeta(provider="acme", direction="outbound", event_type="message.sent"),
            "the receipt of acme has no message id",
        ),
        (
            WebhookMeta(provider="acme", direction="inbound", sender="x" * 900),
            "the message of acme makes no event: sender_id:",
        ),
    ],
)
def test_what_makes_no_record_says_why(meta: WebhookMeta, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        meta.to_inbound("sms") if meta.is_inbound else meta.to_status()
    assert says in str(caught.value)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    provider=st.sampled_from(sorted(MESSAGES)),
    changes=st.dictionaries(
        st.sampled_from(
            (
                "Body",
                "MessageStatus",
                "NumMedia",
                "type",
                "body",
                "id",
                "from",
                "to",
                "data",
                "message",
                "direction",
            )
        ),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
            lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=4), each, max_size=2),
            max_leaves=4,
        ),
    ),
)
def test_any_payload_is_read_or_refused(provider: str, changes: dict[str, Any]) -> None:
    """With one error, whatever the shape."""
    payload = {**MESSAGES[provider][0], **changes}
    try:
        meta = extract_sms_meta(provider, payload)
    except InvalidInputError:
        return
    assert not (meta.is_inbound and meta.is_status)
    if meta.is_inbound:
        try:
            assert isinstance(meta.to_inbound("sms"), InboundMessage)
        except InvalidInputError:
            return


@pytest.mark.virtual_time
async def test_both_ways_into_a_room(virtual_clock: Any) -> None:
    """A redelivery is one message; a receipt finds its delivery."""
    carrier = MockSMSProvider(name="twilio")
    async with RoomKit(clock=virtual_clock) as kit:
        kit.register_channel(SMSChannel("sms", provider=carrier))
        message = extract_sms_meta("twilio", MESSAGES["twilio"][0]).to_inbound("sms")
        await kit.process_inbound(message)
        await kit.process_inbound(message)
        (room,) = await kit.store.list_rooms()
        texts = [each.content.body for each in await kit.get_timeline(room.id) if each.type == "message"]
        assert texts == ["hello"]
        await kit.send_event(room.id, "system", TextContent(body="welcome"))
        (row,) = await kit.list_deliveries(room.id, channel_id="sms")
        receipt = twilio(MessageSid=row.provider_message_id or "", MessageStatus="delivered")
        found = await kit.process_delivery_status(extract_sms_meta("twilio", receipt).to_status("sms"))
        assert (found and found.id, found and found.receipt) == (row.id, ReceiptState.DELIVERED)
