"""Requests to Sinch, its callbacks, and its credentials."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from roomkit.abc import ErrorCode, ProviderError
from roomkit.abc.errors import InvalidInputError, WebhookRejected
from roomkit.models import (
    CompositeContent,
    DeliveryStatus,
    InboundMessage,
    MediaContent,
    SMSHints,
    SystemContent,
    TextContent,
)
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.sinch import SinchConfig, SinchSMSProvider, parse_sinch_webhook
from roomkit_plugins.sinch.wire import read_webhook
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import Failure, SinchSimulator

ANN = "+14165550123"
PNG = "https://files.example.org/a.png"
PICTURE = MediaContent(url=PNG, mime_type="image/png", caption="the meter")


@pytest.fixture
async def send(configure: Callable[..., SinchConfig]) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that sends an SMS, with settings in the place of the usual ones."""
    made: dict[str, SinchSMSProvider] = {}

    async def send(
        content: Any = "hello", *, key: str | None = None, hints: Any = None, **fields: Any
    ) -> Any:
        named = repr(fields)
        if named not in made:
            made[named] = SinchSMSProvider(configure(**fields))
        content = TextContent(body=content) if isinstance(content, str) else content
        sent = event("room", content=content)
        return await made[named].send(sent, ANN, idempotency_key=key, hints=hints)

    yield send
    for provider in made.values():
        await provider.close()


def project(sinch: SinchSimulator) -> dict[str, Any]:
    """Return the settings of a project's access key."""
    key_id, secret = sinch.access_key
    return {"project_id": sinch.project_id, "key_id": key_id, "key_secret": secret}


# -- outbound -----------------------------------------------------------------------------------


async def test_a_text_asks_for_the_report_of_its_recipient(
    sinch: SinchSimulator, send: Callable[..., Any]
) -> None:
    result = await send(key="e1:sms", callback_url="https://chat.example.org/sinch")
    (request,) = sinch.requests
    assert request.path == f"/xms/v1/{sinch.service_plan_id}/batches"
    assert request.json() == {
        "type": "mt_text",
        "to": [ANN],
        "from": sinch.numbers[0],
        "body": "hello",
        "delivery_report": "per_recipient",
        "callback_url": "https://chat.example.org/sinch",
        "client_reference": "e1:sms",
    }
    assert (result.provider_message_id, result.parts) == (sinch.messages[0].id, ())


async def test_the_sender_is_named_configured_or_chosen(
    sinch: SinchSimulator, send: Callable[..., Any]
) -> None:
    sinch.numbers = (*sinch.numbers, "+14375550111")
    await send(hints=SMSHints(from_="+14375550111"))
    await send()
    await send(from_number=None)
    senders = [each.json().get("from") for each in sinch.requests]
    assert senders == ["+14375550111", sinch.numbers[0], None]


async def test_a_batch_has_a_file_and_its_words(sinch: SinchSimulator, send: Callable[..., Any]) -> None:
    await send(CompositeContent(parts=(TextContent(body="Look:"), PICTURE)))
    await send(PICTURE.replace(caption=None))
    assert [(each.text, each.media_urls) for each in sinch.messages] == [
        ("Look:\nthe meter", (PNG,)),
        ("", (PNG,)),
    ]
    with pytest.raises(ProviderError, match="Sinch cannot carry a message of 2 files") as caught:
        await send(CompositeContent(parts=(PICTURE, PICTURE)))
    assert (caught.value.error_code, len(sinch.messages)) == (ErrorCode.UNSUPPORTED_CONTENT, 2)


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        (
            Failure(400, {"code": "syntax_invalid_json", "text": "x"}),
            ErrorCode.INVALID_REQUEST,
            "sinch_syntax_invalid_json",
        ),
        (
            Failure(403, {"code": "missing_permission", "text": "x"}),
            ErrorCode.PERMISSION,
            "sinch_missing_permission",
        ),
        (Failure(401, {}), ErrorCode.AUTH, None),
        (Failure(429, {"text": 7}), ErrorCode.RATE_LIMIT, None),
        (Failure(500, "nonsense"), ErrorCode.SERVER, None),
    ],
)
async def test_errors_are_classified_by_their_status(
    sinch: SinchSimulator, send: Callable[..., Any], failure: Failure, kind: ErrorCode, code: str | None
) -> None:
    sinch.play(failure)
    with pytest.raises(ProviderError) as caught:
        await send()
    assert (caught.value.error_code, caught.value.vendor_code) == (kind, code)


# -- credentials --------------------------------------------------------------------------------


async def test_an_access_key_is_exchanged_once_for_a_token(
    sinch: SinchSimulator, send: Callable[..., Any]
) -> None:
    """And again when it ends, or was revoked."""
    for _ in range(2):
        await send(**project(sinch))
    paths = [each.path for each in sinch.requests]
    assert paths == ["/oauth2/token", *[f"/xms/v1/{sinch.project_id}/batches"] * 2]
    sinch.revoke_tokens()
    with pytest.raises(ProviderError) as caught:
        await send(**project(sinch))
    assert caught.value.error_code is ErrorCode.AUTH
    assert (await send(**project(sinch))).success
    assert [each.path for each in sinch.requests].count("/oauth2/token") == 2


async def test_a_token_that_has_ended_is_not_used(sinch: SinchSimulator, send: Callable[..., Any]) -> None:
    sinch.token_seconds = 1
    for _ in range(2):
        await send(**project(sinch))
    assert [each.path for each in sinch.requests].count("/oauth2/token") == 2


async def test_a_key_that_is_refused_has_sent_nothing(
    sinch: SinchSimulator, send: Callable[..., Any]
) -> None:
    with pytest.raises(ProviderError) as caught:
        await send(**{**project(sinch), "key_secret": "canary-of-a-wrong-secret"})
    assert (caught.value.error_code, caught.value.accepted) == (ErrorCode.AUTH, False)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("kind", ["plan", "project"])
async def test_the_probe_names_the_account_and_sends_nothing(
    sinch: SinchSimulator, configure: Callable[..., SinchConfig], kind: str
) -> None:
    fields = project(sinch) if kind == "project" else {}
    provider = SinchSMSProvider(configure(**fields))
    name = f"project {sinch.project_id}" if kind == "project" else f"service plan {sinch.service_plan_id}"
    assert await provider.probe() == f"{name} is accepted by {sinch.origin}"
    await provider.close()
    assert sinch.messages == []
    provider = SinchSMSProvider(configure(**fields, webhook_secret=None))
    assert "without webhook_secret no callback is taken" in await provider.probe()
    await provider.close()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"api_token": "wrong-token"}, "compare the credentials with the dashboard"),
        ({"base_url": "http://127.0.0.1:9"}, "can be reached from here"),
    ],
)
async def test_the_probe_says_what_to_do(
    configure: Callable[..., SinchConfig], fields: dict[str, str], said: str
) -> None:
    provider = SinchSMSProvider(configure(**fields))
    with pytest.raises(ProviderError, match=said):
        await provider.probe()
    await provider.close()


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "set service_plan_id and api_token"),
        ({"service_plan_id": "p"}, "set service_plan_id and api_token"),
        ({"project_id": "p"}, "a project needs key_id and key_secret"),
        ({"service_plan_id": "p", "api_token": "t", "key_id": "k"}, "set project_id"),
        ({"service_plan_id": "p", "api_token": "t", "region": "mars"}, "region"),
        ({"service_plan_id": "p", "api_token": "t t"}, "api_key"),
        ({"service_plan_id": "p", "api_token": "t", "base_url": "http://example.org"}, "https"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], wrong: str
) -> None:
    for name in ("SINCH_SERVICE_PLAN_ID", "SINCH_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValidationError, match=wrong):
        SinchConfig(**fields)


def test_the_host_is_that_of_the_region_and_the_kind_of_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINCH_SERVICE_PLAN_ID", "p")
    monkeypatch.setenv("SINCH_API_TOKEN", "t")
    assert SinchConfig().api_url == "https://us.sms.api.sinch.com/xms/v1/p/batches"
    assert SinchConfig(region="eu").api_url == "https://eu.sms.api.sinch.com/xms/v1/p/batches"
    config = SinchConfig(project_id="q", key_id="k", key_secret="s", region="eu")  # type: ignore[arg-type]
    assert config.api_url == "https://zt.eu.sms.api.sinch.com/xms/v1/q/batches"


# -- callbacks ----------------------------------------------------------------------------------


def received(kind: str = "mo_text", **fields: Any) -> dict[str, Any]:
    said = {"type": kind, "id": "m1", "from": "14165550123", "to": "14375550999", "body": "Hello"}
    return {**said, "received_at": "2026-11-22T15:04:05.123Z", **fields}


def the_message(payload: object) -> InboundMessage:
    (found,) = read_webhook(payload, "sms")
    assert isinstance(found, InboundMessage)
    return found


def test_numbers_get_their_plus_back_and_short_codes_none() -> None:
    message = the_message(received())
    assert (message.sender_id, message.extra, message.content) == (
        ANN,
        {"to": "+14375550999"},
        TextContent(body="Hello"),
    )
    assert {message.external_id, message.provider_message_id, message.idempotency_key} == {"m1"}
    assert the_message(received(to="12345")).extra == {"to": "12345"}


def file(url: str | None = PNG, **fields: Any) -> dict[str, Any]:
    return {"url": url, "content_type": "image/png", "status": "Uploaded", "code": 0, **fields}


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ({"media": [file()]}, PICTURE.replace(caption=None)),
        ({"message": "the meter", "media": [file()]}, PICTURE),
        ({"subject": "Meter", "message": "see it"}, TextContent(body="Meter\nsee it")),
        ({}, TextContent(body="")),
        (
            {"message": "two", "media": [file(), file(None, status="Failed", code=405)]},
            CompositeContent(
                parts=(
                    TextContent(body="two"),
                    PICTURE.replace(caption=None),
                    SystemContent(body="A file (image/png) did not arrive", code="missing_file"),
                )
            ),
        ),
    ],
)
def test_files_have_their_words_and_missing_ones_are_named(body: dict[str, Any], content: object) -> None:
    assert the_message(received("mo_media", body=body)).content == content


def test_octets_of_a_binary_message_are_a_file() -> None:
    data = b64encode(b"\x00\x01").decode()
    content = the_message(received("mo_binary", body=data, udh="050003")).content
    assert content == MediaContent(
        url=f"data:application/octet-stream;base64,{data}",
        mime_type="application/octet-stream",
        size_bytes=2,
    )


def test_what_is_not_known_is_said_and_kept() -> None:
    """A person's message of a new kind is a message; a callback of another one is reported."""
    message = the_message(received("mo_hologram"))
    assert message.content == SystemContent(body="A message of an unknown kind, mo_hologram", code="unparsed")
    assert message.raw_payload["body"] == "Hello"
    payload = {"type": "plan_suspended", "plan": "p"}
    assert read_webhook(payload, "sms") == [
        UnparsedPart(channel_id="sms", reason="a callback of Sinch, plan_suspended", raw=payload)
    ]


@pytest.mark.parametrize(("code", "error"), [(0, None), (400, None), (401, None), (405, "405")])
def test_a_receipt_has_its_code_if_it_is_a_failure(code: int, error: str | None) -> None:
    report = {
        "type": "recipient_delivery_report_mms",
        "batch_id": "b1",
        "recipient": "14165550123",
        "code": code,
        "status": "FAILED",
        "client_reference": "e1:sms",
    }
    (status,) = read_webhook(report, "sms")
    assert isinstance(status, DeliveryStatus)
    assert status.reference == "e1:sms"
    assert (status.message_id, status.recipient, status.error_code) == ("b1", ANN, error)


def test_the_report_of_a_batch_is_a_receipt_for_each_outcome() -> None:
    statuses = [
        {"code": 0, "status": "DELIVERED", "count": 1, "recipients": ["14165550123"]},
        {"code": 402, "status": "REJECTED", "count": 1},
    ]
    found = read_webhook({"type": "delivery_report_sms", "batch_id": "b1", "statuses": statuses}, "sms")
    assert [(each.status, each.recipient) for each in found] == [  # type: ignore[union-attr]
        ("DELIVERED", ANN),
        ("REJECTED", ""),
    ]


@pytest.mark.parametrize(
    ("payload", "wrong"),
    [
        ({}, "type is not there"),
        (received(id=None), "id is not there"),
        (received(**{"from": ""}), "from is not there"),
        (received("mo_media", body="text"), "body is not an object"),
        (received("mo_binary", body="no base64"), "body is not base64"),
        ({"type": "delivery_report_sms", "batch_id": "b"}, "statuses is not a list of statuses"),
        ({"type": "recipient_delivery_report_sms", "status": "FAILED"}, "batch_id is not there"),
    ],
)
async def test_what_sinch_does_not_send_is_refused_by_name(
    sinch: SinchSimulator, configure: Callable[..., SinchConfig], payload: object, wrong: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_webhook(payload, "sms")
    assert wrong in str(caught.value)
    provider = SinchSMSProvider(configure())
    with pytest.raises(WebhookRejected) as rejected:
        await provider.webhook(sinch.signed(json.dumps(payload).encode()), channel_id="sms")
    assert rejected.value.status_code == 400


@pytest.mark.parametrize("algorithm", ["HmacSHA256", "HmacSHA384", "HmacSHA512"])
async def test_each_algorithm_of_sinch_is_verified(
    sinch: SinchSimulator, configure: Callable[..., SinchConfig], algorithm: str
) -> None:
    provider = SinchSMSProvider(configure())
    signed = sinch.signed(json.dumps(received()).encode(), algorithm=algorithm)
    assert len(await provider.webhook(signed, channel_id="sms")) == 1
    unsigned = SinchSMSProvider(configure(webhook_secret=None))
    with pytest.raises(WebhookRejected, match="set webhook_secret"):
        await unsigned.webhook(signed, channel_id="sms")


def test_a_message_is_parsed_for_those_who_verified_it() -> None:
    assert parse_sinch_webhook(received(), "sms") == the_message(received())
    with pytest.raises(ValueError, match="process_webhook"):
        parse_sinch_webhook({"type": "plan_suspended"}, "sms")
