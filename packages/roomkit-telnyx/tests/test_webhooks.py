"""Telnyx's webhooks: the documented bodies, and malformed ones."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError, WebhookRejected
from roomkit.models import (
    CompositeContent,
    ConsentContent,
    ConsentState,
    DeliveryStatus,
    EventType,
    InboundMessage,
    LocationContent,
    MediaContent,
    TextContent,
)
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.telnyx import (
    TelnyxConfig,
    TelnyxSMSProvider,
    parse_telnyx_rcs_webhook,
    parse_telnyx_webhook,
)
from roomkit_plugins.telnyx.webhooks import read_webhook
from roomkit_plugins.testing.simulators import TelnyxSimulator

ANN, OURS = "+14165550123", "+14375550999"


def envelope(event_type: str, **payload: Any) -> dict[str, Any]:
    event = {"record_type": "event", "id": "e1", "event_type": event_type, "payload": payload}
    return {"data": event, "meta": {"attempt": 1, "delivered_to": "https://chat.example.org/hooks"}}


def received(**fields: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "record_type": "message",
        "id": "m1",
        "direction": "inbound",
        "type": "SMS",
        "from": {"phone_number": ANN, "carrier": "Example Mobile", "line_type": "Wireless"},
        "to": [{"phone_number": OURS, "status": "webhook_delivered"}],
        "cc": [],
        "text": "Hello",
        "media": None,
        "received_at": "2026-11-22T15:04:04.900+00:00",
        "errors": [],
    }
    return envelope("message.received", **{**said, **fields})


def rcs(**body: Any) -> dict[str, Any]:
    agent = [{"agent_id": "acme_agent", "agent_name": "ACME Support"}]
    return received(type="RCS", to=agent, text=None, media=None, body=body)


def the_message(payload: object) -> InboundMessage:
    (found,) = read_webhook(payload, "sms")
    assert isinstance(found, InboundMessage)
    return found


def file(number: int, **fields: Any) -> dict[str, Any]:
    url = f"https://media.example-telnyx.net/{number}"
    return {"url": url, "content_type": "image/jpeg", "size": 48211, "hash_sha256": None, **fields}


def image(number: int, **fields: Any) -> MediaContent:
    url = f"https://media.example-telnyx.net/{number}"
    return MediaContent(url=url, mime_type="image/jpeg", size_bytes=48211, **fields)


def test_a_message_has_its_sender_its_number_and_its_id() -> None:
    message = the_message(received())
    assert (message.sender_id, message.content) == (ANN, TextContent(body="Hello"))
    assert {message.external_id, message.provider_message_id, message.idempotency_key} == {"m1"}
    assert message.extra == {"to": OURS}
    assert message.raw_payload["payload"]["received_at"] == "2026-11-22T15:04:04.900+00:00"


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"media": [file(1)], "text": ""}, image(1)),
        ({"media": [file(1)]}, image(1, caption="Hello")),
        (
            {"media": [file(1), file(2)]},
            CompositeContent(parts=(TextContent(body="Hello"), image(1), image(2))),
        ),
        ({"media": [file(1), file(2)], "text": None}, CompositeContent(parts=(image(1), image(2)))),
        ({"subject": "Meter", "media": []}, TextContent(body="Meter\nHello")),
        ({"text": None}, TextContent(body="")),
        (
            {"media": [{"url": "https://media.example-telnyx.net/1"}], "text": ""},
            MediaContent(url="https://media.example-telnyx.net/1", mime_type="application/octet-stream"),
        ),
    ],
)
def test_texts_and_files_are_its_content(fields: dict[str, Any], content: object) -> None:
    assert the_message(received(**fields)).content == content


@pytest.mark.parametrize(("word", "state"), [("STOP", ConsentState.REVOKED), ("START", ConsentState.GRANTED)])
def test_an_opt_out_that_telnyx_handles_is_consent(word: str, state: ConsentState) -> None:
    message = the_message(received(text="stop it", autoresponse_type=word))
    assert message.event_type is EventType.CONSENT
    assert message.content == ConsentContent(
        address_type="phone", address=ANN, state=state, source="vendor", body="stop it"
    )
    assert the_message(received(text="help", autoresponse_type="HELP")).content == TextContent(body="help")


def test_a_message_to_a_group_names_its_first_number() -> None:
    to = [{"phone_number": OURS}, {"phone_number": "+14165550124"}]
    assert the_message(received(to=to)).extra == {"to": OURS}
    assert the_message(received(to=OURS)).extra == {"to": OURS}
    assert the_message(received(to=[])).extra == {"to": ""}


@pytest.mark.parametrize(
    ("body", "content", "postback"),
    [
        ({"text": "Hello"}, TextContent(body="Hello"), None),
        (
            {
                "user_file": {
                    "payload": {
                        "file_name": "a.pdf",
                        "file_size_bytes": 7,
                        "file_uri": "https://rcs.example.net/a.pdf",
                        "mime_type": "application/pdf",
                    },
                    "thumbnail": {"file_uri": "https://rcs.example.net/a.png"},
                }
            },
            MediaContent(
                url="https://rcs.example.net/a.pdf",
                mime_type="application/pdf",
                filename="a.pdf",
                size_bytes=7,
            ),
            None,
        ),
        (
            {"location": {"latitude": 45.5, "longitude": -73.6}},
            LocationContent(latitude=45.5, longitude=-73.6),
            None,
        ),
        (
            {"suggestion_response": {"text": "Track order", "postback_data": "dHJhY2tfNDI="}},
            TextContent(body="Track order"),
            "track_42",
        ),
        (
            {"suggestion_response": {"text": "Track order", "postback_data": "no base64"}},
            TextContent(body="Track order"),
            "no base64",
        ),
    ],
)
def test_rcs_has_its_content_in_the_body(body: dict[str, Any], content: object, postback: str | None) -> None:
    message = the_message(rcs(**body))
    assert (message.content, message.sender_id, message.extra) == (content, ANN, {"to": "acme_agent"})
    assert message.metadata.get("postback") == postback


def test_a_receipt_is_what_became_of_it_for_each_recipient() -> None:
    """And not the name of the event, which is `finalized` whatever happened."""
    statuses = read_webhook(
        envelope(
            "message.finalized",
            id="m9",
            direction="outbound",
            **{"from": {"phone_number": OURS}},
            to=[
                {"phone_number": ANN, "status": "delivered"},
                {"phone_number": "+14165550124", "status": "delivery_failed"},
            ],
            errors=[{"code": "40008", "title": "Undeliverable", "detail": "Handset is unavailable"}],
        ),
        "sms",
    )
    assert [(each.message_id, each.recipient, each.status) for each in statuses] == [  # type: ignore[union-attr]
        ("m9", ANN, "delivered"),
        ("m9", "+14165550124", "delivery_failed"),
    ]
    (_, failed) = statuses
    assert isinstance(failed, DeliveryStatus)
    assert (failed.error_code, failed.error_message) == ("40008", "Handset is unavailable")
    assert (failed.provider, failed.sender, failed.channel_id) == ("telnyx", OURS, "sms")


def test_another_event_is_reported_as_it_came() -> None:
    payload = envelope("10dlc.campaign.update", campaign="C1", status="suspended")
    (found,) = read_webhook(payload, "sms")
    assert isinstance(found, UnparsedPart)
    assert found.reason == "an event of Telnyx, 10dlc.campaign.update"
    assert found.raw == payload["data"]


@pytest.mark.parametrize(
    ("payload", "wrong"),
    [
        ([], "it is not an object"),
        ({}, "data.event_type is not there"),
        ({"data": {"event_type": 7, "payload": []}}, "data.payload is not an object"),
        (received(id=None), "data.payload.id is not there"),
        (received(**{"from": {}}), "data.payload.from.phone_number is not there"),
        (received(media=[{"content_type": "image/png"}]), "data.payload.media[0].url is not there"),
        (received(media="https://x.example"), "data.payload.media is not a list"),
        (rcs(location={"latitude": "north", "longitude": 1}), "location.latitude is not a number"),
        (envelope("message.sent", id="m1"), "to is not a list of recipients"),
        (envelope("message.sent", id="m1", to=[{}]), "to[0].status is not there"),
    ],
)
async def test_what_telnyx_does_not_send_is_refused_by_name(payload: object, wrong: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_webhook(payload, "sms")
    assert wrong in str(caught.value)
    vendor = TelnyxSimulator()
    config = TelnyxConfig(api_key="k", public_key=vendor.public_key)
    with pytest.raises(WebhookRejected) as rejected:
        await TelnyxSMSProvider(config).webhook(vendor.signed(json.dumps(payload).encode()), channel_id="sms")
    assert rejected.value.status_code == 400


async def test_without_a_public_key_nothing_is_believed() -> None:
    vendor = TelnyxSimulator()
    provider = TelnyxSMSProvider(TelnyxConfig(api_key="k"))
    with pytest.raises(WebhookRejected, match="set public_key"):
        await provider.webhook(vendor.signed(json.dumps(received()).encode()), channel_id="sms")


async def test_the_key_of_another_account_verifies_nothing() -> None:
    other = TelnyxSimulator(api_key="another")
    provider = TelnyxSMSProvider(TelnyxConfig(api_key="k", public_key=TelnyxSimulator().public_key))
    with pytest.raises(WebhookRejected, match="public_key"):
        await provider.webhook(other.signed(json.dumps(received()).encode()), channel_id="sms")


@pytest.mark.parametrize("parse", [parse_telnyx_webhook, parse_telnyx_rcs_webhook])
def test_messages_are_parsed_for_those_who_verified_them(parse: Any) -> None:
    assert parse(received(), "sms") == the_message(received())
    receipt = envelope("message.sent", id="m1", direction="outbound", to=[])
    with pytest.raises(ValueError, match="process_webhook"):
        parse(receipt, "sms")
    with pytest.raises(ValueError, match="process_webhook"):
        parse(received(direction="outbound"), "sms")
    assert parse(received(direction="outbound"), "sms", strict=False).sender_id == ANN


def test_data_of_a_suggestion_survives_the_way_there_and_back() -> None:
    data = b64encode('{"ünï": 1}'.encode()).decode()
    message = the_message(rcs(suggestion_response={"text": "Yes", "postback_data": data}))
    assert message.metadata == {"postback": '{"ünï": 1}'}
